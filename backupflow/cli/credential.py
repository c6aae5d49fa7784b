"""`backupflow credential`: named logins that devices share, sealed once. No command ever shows a secret."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from backupflow.cli import output, scope_view
from backupflow.cli.credentials import Source, read_login
from backupflow.cli.device_settings import TrustFirst, Unset, unset_names
from backupflow.cli.option_groups import with_groups
from backupflow.cli.options import AsJson, Yes, actor, confirm
from backupflow.cli.rotate import rotate
from backupflow.cli.scope_commands import Name, Rename, Whose
from backupflow.cli.session import wiring
from backupflow.cli.trust_question import settle_trust
from backupflow.core.inventory import checked_username
from backupflow.core.scopes import Changes, NewScope, ProfileRecord, ScopeKind

if TYPE_CHECKING:
    from backupflow.core.model import Trust
    from backupflow.flows.scopes import Done

app = typer.Typer(
    name="credential",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Credential profiles: logins that devices and jump hosts share, each sealed once.\n\n"
    "A login by key is the better one: a stranger in a router's place learns nothing from it, while a password that "
    "many devices share is worth all of them.\n\n"
    "Example: backupflow credential add routers --username backup --key-file id_ed25519",
)

_NOTHING = (
    "say what it should change: --ask-password for a new password, --key-file FILE for another key, --username, "
    "--name, --trust or --unset"
)


@app.command()
@with_groups
def add(
    name: Name,
    *,
    username: Annotated[str, typer.Option(metavar="NAME", help="Login name on the devices.")],
    source: Source,
    trust: TrustFirst = None,
    tenant: Whose = "default",
    as_json: AsJson = False,
) -> None:
    """Add a login that devices can share.

    By key (--key-file) is recommended: only the public half lies on the routers. Without a source the password is asked
    for.

    \b
    Examples:
      backupflow credential add routers --username backup --key-file id_ed25519
      pass show routers | backupflow credential add old --username admin --password-stdin --trust manual
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.flows import scopes

    tenant_id = wiring().devices("enroller").tenant(tenant)
    new = NewScope(ScopeKind.PROFILE, tenant_id, uuid4(), name, _trust(trust))
    ports = wiring().scope_ports(actor())
    scopes.look_before_adding(ports, new)
    done = scopes.add(ports, new, read_login(checked_username(username), source))
    _told(done, "added", as_json=as_json)


@app.command("list")
def list_all(tenant: Whose = "default", as_json: AsJson = False) -> None:
    """List all, and how many devices use each. Example: `backupflow credential list`."""
    found = wiring().scopes("reader").every(ScopeKind.PROFILE, wiring().devices("reader").tenant(tenant))
    scope_view.show_all(ScopeKind.PROFILE.word, found, as_json=as_json)


@app.command()
def show(name: Name, tenant: Whose = "default", as_json: AsJson = False) -> None:
    """Show one, and what uses it; never its secret. Example: `backupflow credential show routers`."""
    found = wiring().scopes("reader").find(ScopeKind.PROFILE, wiring().devices("reader").tenant(tenant), name)
    scope_view.show(found, as_json=as_json)


@app.command()
@with_groups
def edit(
    name: Name,
    *,
    rename: Rename = None,
    username: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another login name.", show_default=False)
    ] = None,
    ask_password: Annotated[bool, typer.Option("--ask-password", help="Ask for a new password.")] = False,
    source: Source,
    trust: TrustFirst = None,
    unset: Unset = None,
    tenant: Whose = "default",
    as_json: AsJson = False,
) -> None:
    """Change what is named, for all that use it.

    Another login is tried at once where the old one was refused, on devices and jump hosts, and soon on all others that
    use it; a new secret also ends a suspension.

    \b
    Examples:
      backupflow credential edit routers --key-file id_ed25519.new
      backupflow credential edit old --ask-password --trust tofu
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.flows import scopes

    ports, tenant_id = wiring().scope_ports(actor()), wiring().devices("enroller").tenant(tenant)
    login = None
    if not (source.given or ask_password or rename or username or trust or unset):
        raise typer.BadParameter(_NOTHING)
    if source.given or ask_password:
        there = ports.store.find(ScopeKind.PROFILE, tenant_id, name)
        known = there.username if isinstance(there, ProfileRecord) else ""
        login = read_login(username or known, source, new=True)
        if login.password is not None and trust is None:
            settle_trust(tenant_id, {name: 0}, to_password={name})
    wanted = Changes(rename, _trust(trust) or None, unset_names(unset))
    done = scopes.edit_profile(ports, tenant_id, name, wanted, login or username)
    scope_view.say_done("edited", done.record, changed=done.changed, as_json=as_json, more=_soon(done))


app.command()(rotate)


@app.command()
def suspend(
    name: Name,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for whoever looks at it next.")],
    tenant: Whose = "default",
    as_json: AsJson = False,
) -> None:
    """Send it nowhere any more until it is resumed; its devices wait.

    \b
    Example: backupflow credential suspend routers --reason "RADIUS is rebuilt"
    """  # noqa: D301 - \b keeps the line of the example
    from backupflow.flows import scopes

    tenant_id = wiring().devices("enroller").tenant(tenant)
    done = scopes.suspend_profile(wiring().scope_ports(actor()), tenant_id, name, reason)
    stops = ""
    if isinstance(done.record, ProfileRecord):
        count, again = done.record.devices, f"`credential resume {shlex.quote(name)}` ends that"
        stops = f"; {output.counted(count, 'device')} {'is' if count == 1 else 'are'} not collected any more; {again}"
    scope_view.say_done("suspended", done.record, changed=done.changed, as_json=as_json, more=stops)


@app.command()
def resume(name: Name, tenant: Whose = "default", as_json: AsJson = False) -> None:
    """Use it again. Example: `backupflow credential resume routers`."""
    from backupflow.flows import scopes

    tenant_id = wiring().devices("enroller").tenant(tenant)
    _told(scopes.resume_profile(wiring().scope_ports(actor()), tenant_id, name), "resumed", as_json=as_json)


@app.command()
def remove(name: Name, yes: Yes = False, tenant: Whose = "default", as_json: AsJson = False) -> None:
    """Forget it for good; refused while anything uses it. Example: `backupflow credential remove old --yes`."""
    from backupflow.flows import scopes

    ports, tenant_id = wiring().scope_ports(actor()), wiring().devices("enroller").tenant(tenant)
    scopes.look_before_removal(ports, ScopeKind.PROFILE, tenant_id, name)
    confirm(f"Remove the credential profile {name}, with its secret?", yes=yes)
    _told(scopes.remove_profile(ports, tenant_id, name), "removed", as_json=as_json)


def _trust(trust: Trust | None) -> dict[str, Any]:
    return {"trust": trust.value} if trust else {}


def _soon(done: Done) -> str:
    """When the devices that use it are collected by it."""
    soon = done.expected
    if soon is None or not isinstance(done.record, ProfileRecord) or done.record.suspended_at is not None:
        return ""
    left = soon.devices - soon.held
    span = output.span(soon.by - soon.now) if soon.by > soon.now else "0 s"
    words = [f"{output.counted(left, 'device')} due within {span}"] if left else []
    if soon.held_until is not None:
        many = output.counted(soon.held, "device")
        words.append(f"{many} tried by {output.in_words(soon.held_until)}, not before their firewalls let us: `status`")
    return f"; {', '.join(words)}"


def _told(outcome: Done, done: str, *, as_json: bool) -> None:
    scope_view.say_done(done, outcome.record, changed=outcome.changed, as_json=as_json)
