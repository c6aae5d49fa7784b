"""`backupflow backup`: collections out of turn. It writes requests; beat takes them up, within the same limits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import asking, output
from backupflow.cli.exits import Exit
from backupflow.cli.options import AsJson, InTenant, actor, seconds
from backupflow.cli.session import wiring

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from backupflow.core.overview import Asked

_STYLES = {"stored": "green", "failed": "red", "blocked": "red", "lost": "yellow", "refused": "red", "running": "cyan"}


def backup(
    devices: Annotated[list[str] | None, typer.Argument(metavar="DEVICE…", help="Names of devices.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All that are active and not blocked.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Show how it goes until all have ended.")] = False,
    timeout: Annotated[
        str | None, typer.Option(metavar="SPAN", help="With --wait: give up watching after this.", show_default=False)
    ] = None,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Collect devices now, before their turn.

    Without --wait it returns when the request is written down; with it, exit code 1 says that one did not succeed.

    \b
    Examples:
      backupflow backup core-1 core-2 --wait
      backupflow backup --all
    """  # noqa: D301 - \b keeps the lines of the examples
    if bool(devices) == every:
        raise typer.BadParameter("name devices, or say --all")
    patience = seconds(timeout)
    tenant_id = wiring().devices("reader").tenant(tenant)
    numbers = wiring().requests.ask(tenant_id, None if every else devices, actor())
    if not numbers:
        output.stop(Exit.NOT_FOUND, "no device is active and not blocked; see `device list`")
    asked = _watch(numbers, patience, quiet=as_json) if wait else wiring().requests.asked(numbers)
    if as_json:
        output.as_document({"requests": [document(one) for one in asked]})
    elif not wait:
        output.say(f"asked for {len(numbers)}: " + ", ".join(one.device for one in asked[:10]))
        asking.mind_beat(wiring().requests.beat_silent_for())
    if wait and not all(one.succeeded for one in asked):
        raise typer.Exit(Exit.WRONG)


def document(asked: Asked) -> dict[str, Any]:
    """A request as JSON."""
    return {
        "request": asked.number,
        "device": asked.device,
        "ended": asked.ended,
        "succeeded": asked.succeeded,
        "answer": asked.answer,
        "seq": asked.seq,
        "state": asked.state,
        "code": asked.code,
        "detail": asked.detail,
        "is_change": asked.is_change,
    }


def _watch(numbers: Sequence[int], patience: float | None, *, quiet: bool) -> Sequence[Asked]:
    """Look until all have ended; a live table on a terminal, else a line for each that moved."""
    if quiet or not sys.stdout.isatty():
        said: dict[int, str] = {}
        return asking.wait(numbers, patience, (lambda _: None) if quiet else (lambda asked: _say_moved(asked, said)))
    from rich.live import Live

    with Live(console=output.console(), auto_refresh=False, transient=True) as live:
        asked = asking.wait(numbers, patience, lambda now: live.update(_table(now), refresh=True))
    output.console().print(_table(asked))
    return asked


def _say_moved(asked: Sequence[Asked], said: dict[int, str]) -> None:
    for one in asked:
        words = _words(one)
        if said.get(one.number) != words:
            said[one.number] = words
            output.say(f"{one.device}: {words}")


def _words(one: Asked) -> str:
    return " – ".join(word for word in (_state(one), _says(one)) if word)


def _table(asked: Sequence[Asked]) -> RenderableType:
    rows = [(one.device, _state(one), _says(one)) for one in asked]
    return output.make_table(("device", "state", ""), rows, _STYLES)


def _state(one: Asked) -> str:
    if one.refused:
        return "refused"
    return one.state.value if one.state else "waiting for beat"


def _says(one: Asked) -> str:
    """What came of it, and what to do if it failed."""
    if one.refused:
        return asking.refusal(one)
    if one.succeeded:
        return {True: "changed", False: "unchanged", None: ""}[one.is_change]
    if one.state == "withdrawn":
        return asking.withdrawal(one)
    return asking.failure(one)
