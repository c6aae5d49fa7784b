"""When a device is due: a start-up spread, then a fixed phase for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, timedelta


def first_due(added_at: datetime, spread: tuple[timedelta, timedelta], dice: float) -> datetime:
    """Spread new devices over a window (30-300 s by default), so that an import does not arrive all at once.

    `dice` lies in [0, 1). The answer is also the device's anchor: its phase from then on.
    """
    return added_at + first_after(spread, dice)


def first_after(spread: tuple[timedelta, timedelta], dice: float) -> timedelta:
    """How long after it was added a device runs first."""
    shortest, longest = spread
    return shortest + max(longest - shortest, shortest * 0) * dice


def next_due(anchor: datetime, interval: timedelta, now: datetime) -> datetime:
    """anchor + k * interval, the first k in the future: three days down are one run, and the phase is kept."""
    return anchor if now < anchor else next_in_phase(anchor, interval, now)


def next_in_phase(anchor: datetime, interval: timedelta, now: datetime) -> datetime:
    """The first of the phase in the future, within an interval, also if the anchor lies far ahead."""
    periods = (now - anchor) // interval + 1
    return anchor + periods * interval
