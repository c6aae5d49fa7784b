"""When devices run next whose timetable has become another.

By an interval: at its old turn, or an interval after its last attempt if that is sooner; what is past is spread.
By a cron expression: at its next time, and no more at the old turn, since who names hours wants no others; but what has
waited already is not put off, nor is a first contact. What waits after a failure is never brought forward: routers ban
who comes back too soon. Policy only, no clock, no dice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from backupflow.core import backoff

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from backupflow.core.timetable import Timetable

LONGEST_SPREAD = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A device that waits for its turn, with its new timetable.

    `attempted_at`: when its last collection began, None if there was none. `failing`: it may wait after a failure.
    """

    device_id: UUID
    due: datetime
    anchor: datetime
    attempted_at: datetime | None
    failing: bool
    timetable: Timetable


@dataclass(frozen=True, slots=True)
class Rescheduled:
    """What an act made of timetables: how many devices follow another one, and how many of them run at once.

    At once: within `spread`, since by the new timetable they should have run already.
    """

    devices: int
    now: int
    spread: timedelta = timedelta(0)

    def __add__(self, other: Rescheduled) -> Rescheduled:
        """Both together."""
        return Rescheduled(self.devices + other.devices, self.now + other.now, max(self.spread, other.spread))


class Turn(NamedTuple):
    """When a device runs next, and its phase from then on."""

    device_id: UUID
    due: datetime
    anchor: datetime


def rescheduled(waiting: Sequence[Waiting], now: datetime) -> tuple[list[Turn], Rescheduled]:
    """The turns of devices that have a new timetable, and how many of them run at once since they are late by it."""
    due = {one.device_id: _turn(one, now) for one in waiting}
    late = sorted((one for one in waiting if due[one.device_id] <= now < one.due), key=lambda one: one.due)
    for place, one in enumerate(late):
        due[one.device_id] = min(one.due, now + _spread(one) * place / len(late))
    turns = [Turn(one.device_id, due[one.device_id], _anchor(one, due[one.device_id])) for one in waiting]
    owed = sum(one.due <= now for one in waiting)
    return turns, Rescheduled(len(waiting), owed + len(late), max(map(_spread, late), default=timedelta(0)))


def _spread(one: Waiting) -> timedelta:
    return min(one.timetable.interval, LONGEST_SPREAD)


def _turn(one: Waiting, now: datetime) -> datetime:
    if one.due <= now:  # it waits for a worker
        return one.due
    if one.timetable.cron is not None:
        if one.attempted_at is None:
            return one.due
        turn = one.timetable.next_run(one.device_id, one.anchor, now)
        return min(one.due, max(turn, now + backoff.LONGEST_WAIT)) if one.failing else turn
    turn = min(one.attempted_at or now, now) + one.timetable.interval
    return min(one.due, max(turn, now + backoff.LONGEST_WAIT) if one.failing else turn)


def _anchor(one: Waiting, due: datetime) -> datetime:
    """Its phase begins anew with its next turn, else that would be followed by one of the old phase soon after."""
    return one.anchor if one.failing or one.timetable.cron is not None else due
