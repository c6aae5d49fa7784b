"""What a timetable means, in words: its next times, who runs at once by it, and whether the workers can keep up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backupflow.cli import output
from backupflow.cli.session import wiring
from backupflow.core.timetable import read_cron, upcoming

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from backupflow.core.rescheduling import Rescheduled

NOBODY_KNOWS = "nobody knows yet how long they take"


def say_times(named: Mapping[str, Any], *, as_json: bool) -> None:
    """The next times of an expression that was given: whether it is what was meant is seen there."""
    if "cron" in named and not as_json:
        output.say(f"times: {times(named['cron'], wiring().statuses.clock())}")


def times(cron: str, now: datetime) -> str:
    """`Mon 2026-11-23 02:00 CET, …`, in the time zone that it names; devices follow within minutes of each."""
    return ", ".join(f"{at:%a %Y-%m-%d %H:%M %Z}" for at in upcoming(read_cron(cron), now))


def pressure(done: Rescheduled | None) -> str:
    """`; 1,200 devices; 340 due now, within 30 min; needs 14 of 10 slots`; nothing, if no timetable is another."""
    if done is None:
        return ""
    load = wiring().capacity.load()
    now = f"; {done.now:,} due now" if done.now else ""
    within = f", within {output.span(done.spread)}" if done.now and done.spread else ""
    if load.needed is None:
        needs = NOBODY_KNOWS
    else:
        needs = f"needs {load.needed:,} of {output.counted(load.slots, 'slot')}"
        needs += ": raise CONFIG_BACKUP_MAX_CONCURRENT or start another worker" if load.short else ""
    return f"; {output.counted(done.devices, 'device')}{now}{within}; {needs}"


def note(done: Rescheduled | None) -> None:
    """The same beside what else an import says; nothing, if no timetable is another."""
    if done is not None:
        output.note(pressure(done).removeprefix("; "))


def document(done: Rescheduled | None) -> dict[str, Any]:
    """The same as JSON; nothing, if no timetable is another."""
    if done is None:
        return {}
    load = wiring().capacity.load()
    turns = {"devices": done.devices, "due_now": done.now, "within_seconds": done.spread.total_seconds()}
    return {"rescheduled": turns | {"needs_slots": load.needed, "slots": load.slots}}
