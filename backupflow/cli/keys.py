"""`backupflow keys`: the versions of a tenant's keys, and what is sealed under them."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import output
from backupflow.cli.exits import Exit
from backupflow.cli.options import AsJson, actor, confirm_typed, seconds
from backupflow.cli.session import wiring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from backupflow.core.keys import Loss, Rewrapped
    from backupflow.core.model import Purpose
    from backupflow.flows.keys import KeyState

app = typer.Typer(
    name="keys",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Rotate the keys, move everything to the newest version, renew what is lost.\n\n"
    "Example: backupflow keys rotate && backupflow keys rewrap",
)
OfTenant = Annotated[str, typer.Option("--tenant", metavar="NAME", help="Whose keys.")]
LOOK_AGAIN_SECONDS = 2.0
_AT_STAKE = {
    "content": "snapshots",
    "aside": "exports kept aside",
    "login": "logins",
    "next login": "next logins of rotations",
    "pepper": "pepper",
}
_SHOWN = 20  # texts that could not be moved


@app.command()
def show(tenant: OfTenant = "default", as_json: AsJson = False) -> None:
    """Show each key, and how much is sealed under which version. Example: `backupflow keys show`."""
    from backupflow.flows import keys

    states = keys.show(wiring().key_ports(actor()), wiring().devices("reader").tenant(tenant))
    if as_json:
        output.as_document({"tenant": tenant, "keys": [_document(state) for state in states]})
        return
    columns = ("key", "newest", "opens from", "canary", "sealed", "given up")
    output.show_table(columns, [_row(state) for state in states])


@app.command()
def rotate(tenant: OfTenant = "default", as_json: AsJson = False) -> None:
    """Add a version to each of the three keys.

    What is sealed from now on is under it; all else stays readable. `keys rewrap` then moves what there is.

    \b
    Example: backupflow keys rotate
    """  # noqa: D301 - \b keeps the line of the example
    from backupflow.flows import keys

    versions = keys.rotate(wiring().key_ports(actor()), wiring().devices("reader").tenant(tenant))
    if as_json:
        output.as_document({"tenant": tenant, "versions": _versions(versions)})
    else:
        output.say(f"newest versions: {_in_words(versions)}; now move what there is: `backupflow keys rewrap`")


@app.command()
def rewrap(
    retire: Annotated[
        bool, typer.Option("--retire", help="Then open older versions no more; `keys reopen` takes it back.")
    ] = False,
    wait: Annotated[
        str,
        typer.Option(metavar="SPAN", help="With --retire: how long to wait for what is under way; 0: not at all."),
    ] = "10m",
    tenant: OfTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Move everything to the newest versions; with --retire, retire the older ones.

    Without opening anything, and while collections run. It can be interrupted and run again at any time. Older versions
    are retired only when nothing is sealed under them any more, nowhere; they are not deleted. Back up vault and
    database before: what was backed up earlier does not open by itself any more. The exit code is 1 if something could
    not be moved, or if it is too early to retire them.

    \b
    Examples:
      backupflow keys rewrap
      backupflow keys rewrap --retire
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.flows import rewrapping

    patience = seconds(wait) or 0.0
    tenant_id = wiring().devices("reader").tenant(tenant)
    with _progress(quiet=as_json) as (began, moved):
        watching = rewrapping.Watching(began, moved, _patient(patience))
        done = rewrapping.rewrap(wiring().key_ports(actor()), tenant_id, watching, retire=retire)
    if as_json:
        output.as_document(_rewrapped(tenant, done))
    else:
        _tell(done)
    if done.unmoved or done.holds:
        raise typer.Exit(Exit.WRONG)


@app.command()
def reopen(tenant: OfTenant = "default", as_json: AsJson = False) -> None:
    """Take back that older versions were retired: the vault opens all of them again.

    For a database that was put back to before `keys rewrap --retire`, and for a message that came too late for it. Run
    `keys rewrap --retire` afterwards.

    \b
    Example: backupflow keys reopen
    """  # noqa: D301 - \b keeps the line of the example
    from backupflow.flows import keys

    opened = keys.reopen(wiring().key_ports(actor()), wiring().devices("reader").tenant(tenant))
    if as_json:
        output.as_document({"tenant": tenant, "opened_from_before": _versions(opened)})
    elif opened:
        output.say(f"all versions open again: {', '.join(opened)}; now move what there is: `backupflow keys rewrap`")
    else:
        output.say("nothing is retired, and nothing was changed")


@app.command()
def renew(
    lost: Annotated[bool, typer.Option("--lost", help="The old keys are gone for good: needed.")] = False,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Use what the vault has under their names, other or older keys.")
    ] = False,
    confirmed: Annotated[
        str | None, typer.Option("--confirm", metavar="TENANT", help="Instead of being asked.", show_default=False)
    ] = None,
    tenant: OfTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Give up keys that are lost for good, and begin with new ones.

    The way out when the vault's storage is gone and there is no backup of it. Refused while the old keys answer. What
    is sealed with the lost keys stays where it is, marked: nobody can open it. Logins have to be set again: one
    that is shared with `credential edit NAME --ask-password` or `--key-file FILE`, a device's own with `device edit`.
    Then each device's history goes on with a new stretch.

    \b
    Example: backupflow keys renew --lost
    """  # noqa: D301 - \b keeps the line of the example
    from backupflow.flows import keys, renewing

    if not lost:
        raise typer.BadParameter("keys are renewed only when they are lost: --lost; to change them see `keys rotate`")
    tenant_id = wiring().devices("reader").tenant(tenant)
    gone = renewing.lost(wiring().key_ports(actor()), tenant_id)
    if gone:
        output.note(_at_stake(gone, keys.show(wiring().key_ports(actor()), tenant_id)))
        _confirm(gone, tenant, confirmed)
    done = renewing.renew(wiring().renew_ports(actor()), tenant_id, adopt=adopt, confirmed=gone)
    if as_json:
        document = {"lost": {purpose.value: why.name.lower() for purpose, why in done.lost.items()}}
        output.as_document({"tenant": tenant, **document, "devices": done.devices, "logins": done.logins})
        return
    output.say(f"new keys: {', '.join(sorted(done.lost))}")
    if done.devices:
        output.say(f"{done.devices} devices begin a new stretch of their history with their next collection")
    if done.logins:
        output.say(
            f"suspended until set again: {output.counted(done.logins, 'login')} – `credential list`, "
            "`credential edit PROFILE --ask-password`; `device list`, `device edit DEVICE --ask-password`"
        )


def _at_stake(gone: Mapping[Purpose, Loss], states: Sequence[KeyState]) -> str:
    """How much is sealed with the keys that are lost, and which vault was asked: it may be the wrong one."""
    sealed = [one for state in states if state.purpose in gone for one in state.stock if not one.given_up]
    counts = {kind: sum(one.count for one in sealed if one.held == kind) for kind in _AT_STAKE}
    words = ", ".join(f"{counts[kind]} {what}" for kind, what in _AT_STAKE.items() if counts[kind])
    return f"vault: {wiring().settings.servers.openbao_addr}; sealed with what it does not have: {words or 'nothing'}"


def _confirm(gone: Mapping[Purpose, Loss], tenant: str, confirmed: str | None) -> None:
    for purpose, why in gone.items():
        output.note(f"{purpose}: {why.value}")
    question = f"Give up what is sealed with these keys of {tenant}, for good?"
    if confirmed is not None and confirmed != tenant:
        output.stop(Exit.REFUSED, f"--confirm names another tenant than {tenant}; nothing was changed")
    if confirmed is None and not sys.stdin.isatty():
        output.stop(Exit.REFUSED, f"{question} Nobody can be asked here: --confirm {tenant}")
    confirm_typed(question, tenant, yes=confirmed is not None)


def _patient(patience: float) -> Callable[[Sequence[str]], bool]:
    """Wait a little and say so once for each reason, until the time is over."""
    until = time.monotonic() + patience
    said: set[str] = set()

    def patient(holds: Sequence[str]) -> bool:
        if time.monotonic() >= until:
            return False
        for hold in set(holds) - said:
            said.add(hold)
            output.note(f"waiting: {hold}")
        time.sleep(min(LOOK_AGAIN_SECONDS, max(until - time.monotonic(), 0.05)))
        return True

    return patient


@contextmanager
def _progress(*, quiet: bool) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """How far it is, on a terminal."""
    if quiet or not sys.stderr.isatty():
        yield (lambda _: None), (lambda _: None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(
        "rewrapping", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True),
        transient=True, redirect_stdout=False, redirect_stderr=False,
    ) as bar:  # fmt: skip
        task = bar.add_task("", total=None)
        yield (lambda total: bar.update(task, total=total)), (lambda more: bar.advance(task, more))


def _tell(done: Rewrapped) -> None:
    output.say(f"{done.moved} moved to the newest version" if done.moved else "all is under the newest version")
    if done.given_up:
        output.say(f"{done.given_up} sealed with keys that were given up stay as they are")
    for one in done.unmoved[:_SHOWN]:
        output.say_long(f"NOT MOVED  {one.name}: {one.why}")
    if len(done.unmoved) > _SHOWN:
        output.say(f"… and {len(done.unmoved) - _SHOWN} more: --json")
    if done.unmoved:
        output.say("what is not moved stays readable if it was; see docs/runbook/snapshot_damaged.md, and `verify`")
    for hold in done.holds:
        output.say_long(f"older versions are not retired yet: {hold}; run `keys rewrap --retire` again")
    if not (done.unmoved or done.holds or done.retired):
        output.say("older versions open as before; when vault and database are backed up: `keys rewrap --retire`")
    if done.retired:
        output.say(f"retired what is older than: {_in_words(done.retired)}")


def _rewrapped(tenant: str, done: Rewrapped) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "moved": done.moved,
        "given_up": done.given_up,
        "not_moved": [{"what": one.name, "why": one.why} for one in done.unmoved],
        "holds": done.holds,
        "retired_below": _versions(done.retired),
    }


def _versions(versions: Mapping[Purpose, int]) -> dict[str, int]:
    return {purpose.value: version for purpose, version in versions.items()}


def _in_words(versions: Mapping[Purpose, int]) -> str:
    return ", ".join(f"{purpose} v{version}" for purpose, version in versions.items())


def _row(state: KeyState) -> tuple[output.Cell, ...]:
    counts: dict[int | None, int] = {}
    for one in state.stock:
        if not one.given_up:
            counts[one.version] = counts.get(one.version, 0) + one.count
    ordered = sorted(counts.items(), key=lambda pair: pair[0] or 0)
    sealed = ", ".join(f"v{version}: {n}" if version else f"damaged: {n}" for version, n in ordered)
    given_up = sum(one.count for one in state.stock if one.given_up)
    key = state.vault
    versions = (f"v{key.newest}", f"v{key.oldest_opened}") if key else ("gone", None)
    return (state.purpose, *versions, f"v{state.record.version}", sealed or None, given_up or None)


def _document(state: KeyState) -> dict[str, Any]:
    key = state.vault
    return {
        "purpose": state.purpose,
        "newest_version": key.newest if key else None,
        "min_decryption_version": key.oldest_opened if key else None,
        "canary_version": state.record.version,
        "oldest_version_taken_in": state.record.oldest_version,
        "made_at": state.record.made_at,
        "sealed": [
            {"what": one.held, "version": one.version, "given_up": one.given_up, "count": one.count}
            for one in state.stock
        ],
    }
