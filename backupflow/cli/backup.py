"""`backupflow backup`: collections out of turn. It writes requests; beat takes them up, within the same limits."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import asking, output
from backupflow.cli.asking import Chosen, Names
from backupflow.cli.exits import Exit
from backupflow.cli.option_groups import with_groups
from backupflow.cli.options import AsJson, InTenant, actor, seconds
from backupflow.cli.session import wiring
from backupflow.core.ledger import Kind
from backupflow.core.model import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from backupflow.core.overview import Asked

# Before it has ended, in the words of who waits.
_UNDER_WAY = {State.CLAIMED: "waiting for a worker", State.PUBLISHED: "collected, being stored"}
_STYLES = {"success": "green", "failed": "red", "locked": "yellow", "running": "cyan"}


@with_groups
def backup(
    devices: Names = None,
    *,
    chosen: Chosen,
    wait: Annotated[bool, typer.Option("--wait", help="Show how it goes until all have ended.")] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Try once although the login was refused, or too many connections were made: a refusal may lock the "
            "account. Never past another host key or another router.",
        ),
    ] = False,
    timeout: Annotated[
        str | None, typer.Option(metavar="SPAN", help="With --wait: give up watching after this.", show_default=False)
    ] = None,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Collect devices now, before their turn, whatever they wait for after a failure.

    Without --wait it returns when the request is written down. With it each device ends in one word: success, with
    the hash of its configuration and whether it changed; failed; or locked, where nothing was tried. Exit code 1 says
    that one failed, 75 that the others were locked. A block stays, whatever --force brings: `device unblock` ends it;
    --all, --group and --site leave out who is blocked.

    \b
    Examples:
      backupflow backup core-1 core-2 --wait
      backupflow backup core-1 --wait --force
      backupflow backup --group access --wait
      backupflow backup --all
    """  # noqa: D301 - \b keeps the lines of the examples
    if force and not devices:
        raise typer.BadParameter("--force is of devices that are named: each refusal may lock an account")
    patience = seconds(timeout)
    numbers = _ask(devices, chosen, tenant, force=force)
    asked = _watch(numbers, patience, quiet=as_json) if wait else wiring().requests.asked(numbers)
    if as_json:
        output.as_document({"requests": [document(one) for one in asked]})
    elif not wait:
        output.say(f"asked for {len(numbers)}: " + ", ".join(one.device for one in asked[:10]))
        asking.mind_beat(wiring().requests.beat_silent_for())
    if wait and (code := asking.exit_of(asked)) is not Exit.OK:
        raise typer.Exit(code)


def _ask(devices: list[str] | None, chosen: Chosen, tenant: str, *, force: bool) -> Sequence[int]:
    if force and devices:
        return wiring().requests.force(wiring().devices("reader").tenant(tenant), devices, actor())
    return asking.ask(Kind.BACKUP, devices, chosen, tenant)


def document(asked: Asked) -> dict[str, Any]:
    """A request as JSON."""
    return {
        "request": asked.number,
        "device": asked.device,
        "ended": asked.ended,
        "succeeded": asked.succeeded,
        "result": asked.result,
        "answer": asked.answer,
        "says": says(asked) if asked.ended else None,
        "run": asked.run,
        "seq": asked.seq,
        "snapshot": asked.snapshot,
        "state": asked.state,
        "code": asked.code,
        "detail": asked.detail,
        "is_change": asked.is_change,
        "hash": asked.content_hash.hex() if asked.content_hash else None,
        "blocked": asked.blocked,
    }


def _watch(numbers: Sequence[int], patience: float | None, *, quiet: bool) -> Sequence[Asked]:
    """Look until all have ended; a live table on a terminal, else a line for each that moved."""
    if quiet or not sys.stdout.isatty():
        said: dict[int, str] = {}
        return asking.wait(numbers, patience, (lambda _: None) if quiet else (lambda asked: _say_moved(asked, said)))
    from rich.live import Live

    with Live(console=output.console(), auto_refresh=False) as live:  # its last table stays
        return asking.wait(numbers, patience, lambda now: live.update(_table(now), refresh=True))


def _say_moved(asked: Sequence[Asked], said: dict[int, str]) -> None:
    for one in asked:
        words = " – ".join(word for word in (_stands(one), says(one)) if word)
        if said.get(one.number) != words:
            said[one.number] = words
            output.say(f"{one.device}: {words}")


def _table(asked: Sequence[Asked]) -> Table:
    table = output.make_table(("device", "", ""), [(one.device, _stands(one), says(one)) for one in asked], _STYLES)
    table.show_header = False  # what stands there explains itself
    return table


def _stands(one: Asked) -> str:
    if one.result:
        return one.result
    return _UNDER_WAY.get(one.state, one.state.value) if one.state else "waiting for beat"


def says(one: Asked) -> str:
    """What came of it, and what to do where that was not what was asked for."""
    if one.refused:
        return asking.refusal(one)
    if one.state == "withdrawn":
        return asking.withdrawal(one)
    return _stored(one) if one.succeeded else asking.failure(one)


def _stored(one: Asked) -> str:
    words = [{True: "changed", False: "unchanged", None: ""}[one.is_change], f"snapshot {one.snapshot or one.seq}"]
    if one.content_hash:
        words.append(f"hash {output.short(one.content_hash)}")
    stays = f"; it stays blocked: {one.blocked}, `device unblock {shlex.quote(one.device)}` ends that"
    return ", ".join(filter(None, words)) + (stays if one.blocked else "")
