"""`backupflow credential rotate`: another login for a whole fleet, while both the old and the new one are known."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from backupflow.cli import output, scope_view
from backupflow.cli.credentials import Source, read_login
from backupflow.cli.exits import Exit
from backupflow.cli.key_view import named
from backupflow.cli.option_groups import with_groups
from backupflow.cli.options import AsJson, actor, confirm_typed
from backupflow.cli.scope_commands import Name, Whose
from backupflow.cli.session import wiring
from backupflow.cli.trust_question import settle_trust
from backupflow.core import rotation
from backupflow.core.rotation import Act
from backupflow.core.rotation_acts import refuse_beginning
from backupflow.core.scopes import ProfileRecord

if TYPE_CHECKING:
    from backupflow.core.model import Login, TenantId
    from backupflow.flows.scopes import Done

_DONE = {
    Act.FINISH: ("rotated", "; the old login is destroyed"),
    Act.CANCEL: ("kept as it was", "; the new login is destroyed"),
}

_FOLLOWS = {
    Act.FINISH: "They will be blocked unless they do.",
    Act.CANCEL: "Put the old login back on those that have the new one first: whoever does not take it is blocked.",
}


@with_groups
def rotate(
    name: Name,
    *,
    username: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another login name, if it is another.", show_default=False)
    ] = None,
    source: Source,
    finish: Annotated[bool, typer.Option("--finish", help="All are on the new login: destroy the old one.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Give the new login up, and destroy it.")] = False,
    yes: Annotated[
        int | None,
        typer.Option("--yes", metavar="N", min=0, show_default=False, help="Do not ask: N devices are left behind."),
    ] = None,
    tenant: Whose = "default",
    as_json: AsJson = False,
) -> None:
    """Change a login that many devices share, without a day on which all must have it.

    The new login is kept beside the old one. Each device is sent first what it took last, and the other one in a later
    connection, 6 minutes after it has refused the first: only who refuses both is blocked. So change the password on
    the routers in your own time, before or after this, and see with `credential show` how many are on which. When all
    are on the new one --finish destroys the old one; --cancel gives the new one up. Where that would leave devices
    behind their number has to be typed.

    A profile that a jump host uses is not rotated: give that one a profile of its own, and edit it.

    \b
    Examples:
      backupflow credential rotate fleet
      backupflow credential rotate fleet --username backup2 --key-file id_ed25519.new
      backupflow credential show fleet
      backupflow credential rotate fleet --finish
    """  # noqa: D301 - \b keeps the lines of the examples
    if finish and cancel:
        raise typer.BadParameter("--finish or --cancel: one of them")
    if (finish or cancel) and (source.given or username):
        raise typer.BadParameter("--finish and --cancel take no login")
    if yes is not None and not (finish or cancel):
        raise typer.BadParameter("--yes goes with --finish or --cancel")
    tenant_id = wiring().devices("enroller").tenant(tenant)
    if finish or cancel:
        _end(tenant_id, name, Act.FINISH if finish else Act.CANCEL, yes, as_json=as_json)
    else:
        _begin(tenant_id, name, username, source, as_json=as_json)


def _begin(tenant_id: TenantId, name: str, username: str | None, source: Source, *, as_json: bool) -> None:
    from backupflow.flows import rotation as flow

    ports = wiring().scope_ports(actor())
    there = flow.profile(ports, tenant_id, name)
    refuse_beginning(there)  # before anybody types a password
    login = read_login(username or there.username, source, new=True, twice=True)
    _warn_of_password(tenant_id, there, login)
    done = flow.begin(ports, tenant_id, name, login)
    scope_view.say_done("is being rotated", done.record, changed=True, as_json=as_json, more=_begun(done, name))


def _warn_of_password(tenant_id: TenantId, there: ProfileRecord, login: Login) -> None:
    if login.password is not None:
        settle_trust(tenant_id, {there.name: 0}, to_password={there.name})


def _begun(done: Done, name: str) -> str:
    quoted = shlex.quote(name)
    suspended = isinstance(done.record, ProfileRecord) and done.record.suspended_at is not None
    waits = f"; it is suspended, and nothing is sent before `credential resume {quoted}`" if suspended else ""
    return (
        f"; change it on the routers now: `credential show {quoted}` says how far it is, "
        f"`credential rotate {quoted} --finish` ends it{waits}"
    )


def _end(tenant_id: TenantId, name: str, act: Act, typed: int | None, *, as_json: bool) -> None:
    from backupflow.flows import rotation as flow

    ports = wiring().scope_ports(actor())
    there = flow.profile(ports, tenant_id, name)
    if there.rotation is not None and typed is None and (left := there.rotation.tally.left_behind(act)):
        says = f"{rotation.told_left(act, there.rotation.tally)}: {named(there.rotation.left_behind(act))}."
        if not sys.stdin.isatty():
            output.stop(Exit.REFUSED, f"{says} Nobody can be asked here: say --yes {left}")
        confirm_typed(f"{says} {_FOLLOWS[act]}", str(left), yes=False)
        typed = left
    done = flow.end(ports, tenant_id, name, act, typed)
    says, more = _DONE[act]
    scope_view.say_done(says, done.record, changed=True, as_json=as_json, more=more)
