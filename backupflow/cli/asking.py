"""What the commands share that ask workers for something: of which devices, and how it goes until all have ended."""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from backupflow.cli import output
from backupflow.cli.exits import Exit
from backupflow.cli.options import actor
from backupflow.cli.session import wiring
from backupflow.core.next_step import Refused, after_refusal, hindered, next_step
from backupflow.core.overview import AT_JUMP_HOST
from backupflow.errors import AuthenticationFailed, of_code

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from rich.console import RenderableType

    from backupflow.core.ledger import Kind
    from backupflow.core.overview import Asked

POLL_SECONDS = 0.5
TOLD_SECONDS = 10.0  # that a change may take to be interpreted before it is left to itself
# What `backup --force` tries in spite of it; see adapters.db.effective.
_FORCIBLE = ("blocked: authentication_failed", "blocked: algorithms_incompatible", "login refused: ")
_SHOWN_WRONG = 8  # of the last that were not well, while others are still under way

Names = Annotated[list[str] | None, typer.Argument(metavar="DEVICE…", help="Names of devices.", show_default=False)]
Timeout = Annotated[str | None, typer.Option(metavar="SPAN", help="Give up watching after this.", show_default=False)]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="All that was found, of each device.")]


@dataclass(frozen=True)
class Chosen:
    """Which devices, if they are not named one by one."""

    every: Annotated[bool, typer.Option("--all", help="All that are active.")] = False
    group: Annotated[str | None, typer.Option(metavar="NAME", help="Those of a group.", show_default=False)] = None
    site: Annotated[str | None, typer.Option(metavar="NAME", help="Those of a site.", show_default=False)] = None


def ask(kind: Kind, names: list[str] | None, chosen: Chosen, tenant: str) -> list[int]:
    """Write the requests down; their numbers. It ends the command if they would be none."""
    from backupflow.core.overview import Within

    part = bool(chosen.group or chosen.site)
    if (bool(names), chosen.every, part).count(True) != 1:
        raise typer.BadParameter("name devices, or say --all, --group or --site")
    tenant_id = wiring().devices("reader").tenant(tenant)
    numbers = wiring().requests.ask(tenant_id, names or None, actor(), kind, Within(chosen.group, chosen.site))
    if not numbers:
        output.stop(Exit.NOT_FOUND, "there is no such device that is active and not blocked; see `device list`")
    return list(numbers)


def blocked(chosen: Chosen, tenant: str) -> int:
    """How many of those are blocked, and were not asked about if it was no scan."""
    from backupflow.core.overview import Within

    tenant_id = wiring().devices("reader").tenant(tenant)
    return wiring().requests.blocked(tenant_id, Within(chosen.group, chosen.site))


def wait(numbers: Sequence[int], patience: float | None, show: Callable[[Sequence[Asked]], None]) -> list[Asked]:
    """Look until all have ended, or for `patience` seconds; only who has not ended is asked about again."""
    try:
        return _wait(numbers, patience, show)
    except KeyboardInterrupt:
        output.stop(Exit.INTERRUPTED, "stopped watching; what was asked for goes on: see `status`")


def _wait(numbers: Sequence[int], patience: float | None, show: Callable[[Sequence[Asked]], None]) -> list[Asked]:
    until = time.monotonic() + patience if patience is not None else None
    told_until: float | None = None  # from when all have ended
    found: dict[int, Asked] = {}
    minded = False
    while True:
        left = [number for number in numbers if number not in found or not found[number].ended or found[number].untold]
        found.update((one.number, one) for one in wiring().requests.asked(left))
        asked = [found[number] for number in numbers]
        show(asked)
        if all(one.ended for one in asked):
            # Who asks right after this what changed is to be answered.
            told_until = told_until or time.monotonic() + TOLD_SECONDS
            if not any(one.untold for one in asked) or time.monotonic() >= min(told_until, until or told_until):
                return asked
        elif until is not None and time.monotonic() >= until:
            output.note("backupflow: not all have ended; what was asked for stays asked for")
            return asked
        elif any(one.answer is None for one in asked) and not minded:
            minded = mind_beat(wiring().requests.beat_silent_for())
        time.sleep(POLL_SECONDS)


def watch(numbers: Sequence[int], patience: float | None, *, quiet: bool) -> list[Asked]:
    """Wait, and show how it goes: on a terminal how many and the last that went wrong, else a line for each that ended.

    What they found comes with them.
    """
    if quiet or (len(numbers) == 1 and not sys.stdout.isatty()):  # all of one device is shown anyway
        wait(numbers, patience, lambda _: None)
    elif sys.stdout.isatty():
        from rich.live import Live

        with Live(console=output.console(), auto_refresh=False, transient=True) as live:
            wait(numbers, patience, lambda asked: live.update(_progress(asked), refresh=True))
    else:
        told: set[int] = set()
        wait(numbers, patience, lambda asked: _tell(asked, told))
    return list(wiring().requests.asked(numbers, reports=True))


def mind_beat(silent_for: timedelta | None) -> bool:
    """Say so if nobody would take a request up; True if it was said."""
    from backupflow.core.overview import BEAT_SILENT

    if silent_for is not None and silent_for <= BEAT_SILENT:
        return False
    since = "ever" if silent_for is None else f"for {output.span(silent_for)}"
    output.note(f"backupflow: no beat has ticked {since}; requests wait until one runs (`backupflow up`, `doctor`)")
    return True


def exit_of(asked: Sequence[Asked]) -> Exit:
    """The exit code of who has waited for these: what failed, or has not ended, counts more than what is locked."""
    from backupflow.core.overview import Result

    results = {one.result for one in asked}
    if results <= {Result.SUCCESS}:
        return Exit.OK
    return Exit.LOCKED if results <= {Result.SUCCESS, Result.LOCKED} else Exit.WRONG


def why(one: Asked) -> str:
    """Why it is not well, in a word or two: a code, or what became of it instead."""
    if one.refused:
        return "refused"
    if not one.ended:
        return "waiting" if one.state is None else one.state.value
    return one.code or (one.state.value if one.state else "")


def refusal(one: Asked) -> str:
    """Why beat would not claim the device, and what to do about it."""
    return _with_step((one.answer or "").partition(": ")[2], one)


def withdrawal(one: Asked) -> str:
    """Why it was not begun after all, and what to do about it."""
    return _with_step(one.detail or "", one)


def _with_step(reason: str, one: Asked) -> str:
    step = hindered(reason, one.device, one.profile, by_key=one.by_key, taken=one.taken)
    if reason.startswith(_FORCIBLE) and not one.forced:
        once = f"`backup {shlex.quote(one.device)} --force --wait` tries it once more in spite of it"
        step = f"{step}; {once}" if step else once
    if reason == "paused" and one.paused_reason:
        reason = f"paused: {output.told(one.paused_reason, output.LONGEST_DETAIL)}"
    if reason == "login suspended" and one.profile:
        reason = f"login suspended: {one.profile}"
    return f"{reason}; {step}" if step else reason


def failure(one: Asked) -> str:
    """The code of what failed with its meaning, and what to do about it."""
    detail, step, means = output.told(one.detail, output.LONGEST_DETAIL), next_of(one), meaning(one.code)
    words = [f"{one.code}:" if means else one.code, means.partition(";")[0] if step else means]
    said = " ".join(filter(None, [*words, f"({detail})" if detail and means else detail]))
    return f"{said}: {step}" if step else said


def next_of(one: Asked) -> str | None:
    """What to do next, if there is something for this one device."""
    if one.code in AT_JUMP_HOST and one.jump:
        return f"`jump show {shlex.quote(one.jump)}`"
    if one.code == AuthenticationFailed.code:
        how = {"by_key": one.by_key, "taken": one.taken, "blocked": bool(one.blocked), "suspended": one.suspended}
        return after_refusal(Refused(one.device, one.profile, **how, tried=one.tried, turn=one.turn))
    return next_step(one.code, one.device, one.profile, by_key=one.by_key, taken=one.taken)


def meaning(code: str | None) -> str:
    """What a code of ours says; empty for another."""
    kind = of_code(code)
    return str(kind()) if kind else ""


def _progress(asked: Sequence[Asked]) -> RenderableType:
    from rich.text import Text

    ended = [one for one in asked if one.ended]
    wrong = [one for one in ended if not one.succeeded]
    running = sum(one.state is not None and not one.ended for one in asked)
    head = f"{len(ended):,} of {len(asked):,} done, {len(wrong):,} not well; {running:,} under way"
    lines = [head, *(f"  {output.visible(one.device)}: {why(one)}" for one in wrong[-_SHOWN_WRONG:])]
    return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")


def _tell(asked: Sequence[Asked], told: set[int]) -> None:
    for one in asked:
        if one.ended and one.number not in told:
            told.add(one.number)
            output.note(f"{one.device}: {'well' if one.succeeded else why(one)}")
