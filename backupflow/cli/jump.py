"""`backupflow jump`: jump hosts, that stand between the collectors and some devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from backupflow.cli import output, scope_view
from backupflow.cli.device_settings import Fingerprint, TrustFirst, Unset, unset_names
from backupflow.cli.exits import Exit
from backupflow.cli.option_groups import with_groups
from backupflow.cli.options import BY_FINGERPRINT, AsJson, Yes, actor, confirm
from backupflow.cli.scope_commands import Name, Rename, Whose
from backupflow.cli.session import wiring
from backupflow.core.scopes import Changes, HopRecord, NewScope, ScopeKind

if TYPE_CHECKING:
    from backupflow.core.model import TenantId
    from backupflow.flows.scopes import Done

app = typer.Typer(
    name="jump",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Jump hosts: OpenSSH servers or RouterOS through which devices are reached.\n\n"
    "A router's own host key is checked end to end, through the jump host.\n\n"
    "Example: backupflow jump add hop-1 203.0.113.7 --profile jumps",
)
Port = Annotated[int | None, typer.Option(min=1, max=65535, help="TCP port of its SSH service.", show_default=False)]


@dataclass(frozen=True, slots=True)
class HopSettings:
    """What a jump host may be told of itself."""

    trust: TrustFirst = None
    legacy_ssh: Annotated[
        bool | None, typer.Option("--legacy-ssh/--no-legacy-ssh", help="Allow SHA-1 for it.", show_default=False)
    ] = None

    def named(self) -> dict[str, Any]:
        """Those that were named."""
        said = {"trust": self.trust and self.trust.value, "legacy_ssh": self.legacy_ssh}
        return {name: value for name, value in said.items() if value is not None}


@app.command()
@with_groups
def add(
    name: Name,
    host: Annotated[str, typer.Argument(metavar="HOST", help="Host name or address.")],
    *,
    profile: Annotated[str, typer.Option(metavar="NAME", help="The credential profile to log in with.")],
    port: Port = None,
    fingerprint: Fingerprint = None,
    settings: HopSettings,
    tenant: Whose = "default",
    as_json: AsJson = False,
) -> None:
    """Add a jump host; a site, a group, a device or the tenant then names it.

    OpenSSH forwards by default (AllowTcpForwarding); RouterOS: `/ip ssh set forwarding-enabled=local`.

    \b
    Examples:
      backupflow jump add hop-1 203.0.113.7 --profile jumps --fingerprint SHA256:Yp1l…
      backupflow site edit north --jump hop-1
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.core.model import ExpectedKey, TrustedHow
    from backupflow.flows import scopes

    expected = (ExpectedKey(fingerprint, TrustedHow.IMPORT),) if fingerprint else ()
    new = NewScope(
        ScopeKind.JUMP_HOST, _tenant(tenant), uuid4(), name, settings.named(), profile, host=host, port=port or 22,
        expected=expected,
    )  # fmt: skip
    outcome = scopes.add(wiring().scope_ports(actor()), new)
    more = "; untried until a device behind it is collected or tested"
    scope_view.say_done("added", outcome.record, changed=outcome.changed, as_json=as_json, more=more)


@app.command("list")
def list_all(tenant: Whose = "default", as_json: AsJson = False) -> None:
    """List all, and whether each can be passed. Example: `backupflow jump list`."""
    found = wiring().scopes("reader").every(ScopeKind.JUMP_HOST, wiring().devices("reader").tenant(tenant))
    scope_view.show_all(ScopeKind.JUMP_HOST.word, found, as_json=as_json)


@app.command()
def show(name: Name, tenant: Whose = "default", as_json: AsJson = False) -> None:
    """Show one: whether it can be passed, its keys, what waits for it. Example: `backupflow jump show hop-1`."""
    found = wiring().scopes("reader").find(ScopeKind.JUMP_HOST, wiring().devices("reader").tenant(tenant), name)
    scope_view.show(found, as_json=as_json)


@app.command()
@with_groups
def edit(
    name: Name,
    *,
    rename: Rename = None,
    host: Annotated[str | None, typer.Option(help="Another address; its host key stays pinned.")] = None,
    port: Port = None,
    new_host: Annotated[bool, typer.Option("--new-host", help="Another machine: forget its host key.")] = False,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="The credential profile to log in with.", show_default=False)
    ] = None,
    fingerprint: Fingerprint = None,
    settings: HopSettings,
    unset: Unset = None,
    tenant: Whose = "default",
    as_json: AsJson = False,
) -> None:
    """Change what is named. At another address, or with another login, it is tried anew at once.

    \b
    Example: backupflow jump edit hop-1 --host 203.0.113.9 --new-host
    """  # noqa: D301 - \b keeps the line of the example
    from backupflow.flows import scopes

    wanted = Changes(
        rename, settings.named() or None, unset_names(unset), profile, None, host, port, new_host, fingerprint
    )
    _told(scopes.edit_hop(wiring().scope_ports(actor()), _tenant(tenant), name, wanted), "edited", as_json=as_json)


@app.command("accept-key")
def accept_key(
    name: Name,
    fingerprint: Annotated[
        str | None, typer.Option(metavar="SHA256:…", help="The fingerprint that you compared.", show_default=False)
    ] = None,
    yes: Yes = False,
    tenant: Whose = "default",
    as_json: AsJson = False,
) -> None:
    """Pin the key that it offers, in place of the pinned one; compare it first (`ssh-keygen -lf` there).

    \b
    Examples:
      backupflow jump accept-key hop-1
      backupflow jump accept-key hop-1 --yes --fingerprint SHA256:Yp1l…
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.flows import scopes

    if yes and fingerprint is None:
        raise typer.BadParameter("--yes needs the --fingerprint that you compared")
    ports, tenant_id = wiring().scope_ports(actor()), _tenant(tenant)
    record = ports.store.find(ScopeKind.JUMP_HOST, tenant_id, name)
    offered = record.offered if isinstance(record, HopRecord) else ()
    chosen = fingerprint or next((seen.key.fingerprint for seen in offered), None)
    if chosen is None:
        output.stop(Exit.NOT_FOUND, f"{name} offers no other key than the pinned one; `jump show {name}` shows that")
    if not yes and isinstance(record, HopRecord):
        pinned = record.pinned
        output.note(f"pinned:  {f'{pinned.key.key_type}  {pinned.key.fingerprint}' if pinned else 'none'}")
        output.note(f"to pin:  {chosen}")
        confirm(
            f"Trust this key of {name} from now on?",
            yes=False,
            instead=BY_FINGERPRINT,
        )
    _told(scopes.accept_hop_key(ports, tenant_id, name, chosen), f"is known by {chosen} now", as_json=as_json)


@app.command("reset-key")
def reset_key(name: Name, yes: Yes = False, tenant: Whose = "default", as_json: AsJson = False) -> None:
    """Forget its host key; the next one is a first sight again. Example: `backupflow jump reset-key hop-1`."""
    from backupflow.flows import scopes

    ports, tenant_id = wiring().scope_ports(actor()), _tenant(tenant)
    ports.store.find(ScopeKind.JUMP_HOST, tenant_id, name)
    confirm(f"Forget the host key of {name}? Whoever answers next at its address may be pinned.", yes=yes)
    _told(scopes.reset_hop_key(ports, tenant_id, name), "has no pinned host key any more", as_json=as_json)


@app.command()
def unblock(name: Name, tenant: Whose = "default", as_json: AsJson = False) -> None:
    """Try it at once, whatever was met there; its pin stays. Example: `backupflow jump unblock hop-1`."""
    from backupflow.flows import scopes

    says = "is tried with the next device behind it that is due"
    _told(scopes.unblock_hop(wiring().scope_ports(actor()), _tenant(tenant), name), says, as_json=as_json)


@app.command()
def remove(name: Name, yes: Yes = False, tenant: Whose = "default", as_json: AsJson = False) -> None:
    """Remove it, with its keys; refused while anything names it. Example: `backupflow jump remove hop-1 --yes`."""
    from backupflow.flows import scopes

    ports, tenant_id = wiring().scope_ports(actor()), _tenant(tenant)
    scopes.look_before_removal(ports, ScopeKind.JUMP_HOST, tenant_id, name)
    confirm(f"Remove the jump host {name}?", yes=yes)
    _told(scopes.remove_hop(ports, tenant_id, name), "removed", as_json=as_json)


def _tenant(name: str) -> TenantId:
    return wiring().devices("enroller").tenant(name)


def _told(outcome: Done, done: str, *, as_json: bool) -> None:
    scope_view.say_done(done, outcome.record, changed=outcome.changed, as_json=as_json)
