"""`backupflow tenant`: whose devices they are. Each has keys of its own, and never sees another's."""

from __future__ import annotations

from uuid import uuid4

import typer

from backupflow.cli import maintenance, output, scope_view, shredding, timetable_view
from backupflow.cli.device_settings import ScopeSettings, UnsetOrWay, taken_back
from backupflow.cli.exits import Exit
from backupflow.cli.maintenance import WHAT, HowLong
from backupflow.cli.option_groups import with_groups
from backupflow.cli.options import AsJson, actor
from backupflow.cli.scope_commands import ForItsDevices, Name, Rename, edit_scope
from backupflow.cli.session import wiring
from backupflow.core.scopes import Changes, NewScope, ScopeKind

app = typer.Typer(
    name="tenant",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Tenants: each with devices, logins and keys of its own.\n\nExample: backupflow tenant add customer-1",
)


@app.command()
@with_groups
def add(name: Name, *, settings: ScopeSettings, as_json: AsJson = False) -> None:
    """Add a tenant and make its keys.

    Its credential profiles and jump hosts come after it: `credential add --tenant`, then `tenant edit --profile`.

    \b
    Example: backupflow tenant add customer-1 --interval 12h
    """  # noqa: D301 - \b keeps the line of the example
    from backupflow.core.model import TenantId
    from backupflow.flows import scopes

    named = settings.named()
    known = {tenant.name: tenant for tenant in wiring().scopes("enroller").every(ScopeKind.TENANT, None)}
    there = known.get(name)
    if there is None:
        tenant_id = TenantId(uuid4())
        new = NewScope(ScopeKind.TENANT, tenant_id, tenant_id, name, named)
        there = scopes.add(wiring().scope_ports(actor()), new).record
    elif wiring().keys("operator").records(there.tenant_id):
        output.stop(Exit.REFUSED, f"a tenant named {name} is there already; `tenant edit` changes it")
    wiring().make_tenant(name)  # also what an earlier try left without keys
    scope_view.say_done("added, with its keys", there, changed=True, as_json=as_json)
    timetable_view.say_times(named, as_json=as_json)


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List all tenants. Example: `backupflow tenant list`."""
    scope_view.show_all("tenant", wiring().scopes("reader").every(ScopeKind.TENANT, None), as_json=as_json)


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Show one tenant. Example: `backupflow tenant show default`."""
    tenant_id = wiring().devices("reader").tenant(name)
    scope_view.show(wiring().scopes("reader").find(ScopeKind.TENANT, tenant_id, name), as_json=as_json)


app.command()(shredding.remove)


@app.command("maintenance", help=f"{WHAT}\n\n\b\nExample: backupflow tenant maintenance customer-1 --until 05:00")
@with_groups
def maintain(name: Name, *, how_long: HowLong, as_json: AsJson = False) -> None:  # noqa: D103 - its help is above
    maintenance.of_scope(ScopeKind.TENANT, name, name, how_long, as_json=as_json)


@app.command()
@with_groups
def edit(
    name: Name, *, rename: Rename = None, place: ForItsDevices, settings: ScopeSettings, unset: UnsetOrWay = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Change what is named, for all of its devices that do not say otherwise, nor their group or site.

    \b
    Example: backupflow tenant edit default --profile routers --interval 6h
    """  # noqa: D301 - \b keeps the line of the example
    back, way = taken_back(unset, place.jump)
    wanted = Changes(rename, settings.named() or None, back, place.profile, way)
    edit_scope(ScopeKind.TENANT, name, name, wanted, as_json=as_json)
