"""The commands that a group and a site have alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from uuid import uuid4

import typer

from backupflow.cli import maintenance, scope_view, timetable_view
from backupflow.cli.device_settings import ScopeSettings, UnsetOrWay, taken_back
from backupflow.cli.maintenance import HowLong
from backupflow.cli.option_groups import with_groups
from backupflow.cli.options import AsJson, Yes, actor, confirm
from backupflow.cli.session import wiring
from backupflow.cli.trust_question import settle_scope
from backupflow.core.scopes import Changes, NewScope, ScopeKind

Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name.")]
Whose = Annotated[str, typer.Option("--tenant", metavar="NAME", help="Whose it is.")]
Rename = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Another name.", show_default=False)]


@dataclass(frozen=True, slots=True)
class ForItsDevices:
    """The login of, and the way to, all devices that have none of their own."""

    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help='The credential profile of its devices; "": none.', show_default=False),
    ] = None
    jump: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help='The jump host in front of its devices; direct (groups): none; "": as above it.',
            show_default=False,
        ),
    ] = None  # fmt: skip


def commands_of(kind: ScopeKind, example: str, what: str) -> typer.Typer:
    """`add`, `list`, `show`, `edit` and `remove`; `example` is a name for the help, `what` says what it is for."""
    app = typer.Typer(
        name=kind.value,
        no_args_is_help=True,
        rich_markup_mode=None,
        help=f"{what}\n\nExample: backupflow {kind} add {example} --profile routers",
    )

    def helped(says: str, line: str) -> str:
        return f"{says}\n\n\b\nExample: backupflow {kind} {line}"

    @app.command(help=helped(f"Add a {kind}.", f"add {example} --profile routers --jump hop-1 --interval 1h"))
    @with_groups
    def add(
        name: Name, *, place: ForItsDevices, settings: ScopeSettings, tenant: Whose = "default", as_json: AsJson = False
    ) -> None:
        from backupflow.flows import scopes

        named, tenant_id = settings.named(), wiring().devices("enroller").tenant(tenant)
        new = NewScope(kind, tenant_id, uuid4(), name, named, place.profile, place.jump)
        scope_view.say_done(
            "added", scopes.add(wiring().scope_ports(actor()), new).record, changed=True, as_json=as_json
        )
        timetable_view.say_times(named, as_json=as_json)

    @app.command("list", help=helped(f"List all {kind}s.", "list"))
    def list_all(tenant: Whose = "default", as_json: AsJson = False) -> None:
        found = wiring().scopes("reader").every(kind, wiring().devices("reader").tenant(tenant))
        scope_view.show_all(kind.word, found, as_json=as_json)

    @app.command(help=helped(f"Show one {kind}.", f"show {example} --json"))
    def show(name: Name, tenant: Whose = "default", as_json: AsJson = False) -> None:
        found = wiring().scopes("reader").find(kind, wiring().devices("reader").tenant(tenant), name)
        scope_view.show(found, as_json=as_json)

    @app.command(
        help=helped(
            f"Change what is named, for all devices of the {kind} that do not say otherwise.",
            f"edit {example} --interval 30m --concurrency 4 --unset secrets",
        )
    )
    @with_groups
    def edit(
        name: Name, *, rename: Rename = None, place: ForItsDevices, settings: ScopeSettings, unset: UnsetOrWay = None,
        tenant: Whose = "default", as_json: AsJson = False,
    ) -> None:  # fmt: skip
        back, way = taken_back(unset, place.jump)
        wanted = Changes(rename, settings.named() or None, back, place.profile, way)
        edit_scope(kind, name, tenant, wanted, as_json=as_json)

    @app.command("maintenance", help=helped(maintenance.WHAT, f"maintenance {example} --for 2h"))
    @with_groups
    def maintain(name: Name, *, how_long: HowLong, tenant: Whose = "default", as_json: AsJson = False) -> None:
        maintenance.of_scope(kind, name, tenant, how_long, as_json=as_json)

    @app.command(help=helped(f"Remove a {kind} that no device belongs to.", f"remove {example} --yes"))
    def remove(name: Name, yes: Yes = False, tenant: Whose = "default", as_json: AsJson = False) -> None:
        from backupflow.flows import scopes

        ports, tenant_id = wiring().scope_ports(actor()), wiring().devices("enroller").tenant(tenant)
        scopes.look_before_removal(ports, kind, tenant_id, name)
        confirm(f"Remove the {kind} {name}?", yes=yes)
        done = scopes.remove(ports, kind, tenant_id, name)
        scope_view.say_done("removed", done.record, changed=done.changed, as_json=as_json)

    return app


def edit_scope(kind: ScopeKind, name: str, tenant: str, wanted: Changes, *, as_json: bool) -> None:
    """Change a group, a site or a tenant, and say what becomes of it."""
    from backupflow.flows import scopes

    tenant_id = wiring().devices("enroller").tenant(tenant)
    if wanted.profile is not None:
        settle_scope(kind, tenant, name, wanted.profile)
    done = scopes.edit(wiring().scope_ports(actor()), kind, tenant_id, name, wanted)
    scope_view.say_done("edited", done.record, changed=done.changed, as_json=as_json, rescheduled=done.rescheduled)
    timetable_view.say_times(wanted.settings or {}, as_json=as_json)
