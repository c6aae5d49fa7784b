"""A device that changes without end: collected once a day, until a day stays within what is usual."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

FLAPPING: Final = "flapping"  # code of an alarm
DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Quota:
    """How many changes of one device, and how many bytes of changed configurations, a day may bring."""

    changes: int = 24
    bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LastDay:
    """What the last 24 hours brought."""

    changes: int
    bytes: int


class Turn(StrEnum):
    """What becomes of a device."""

    BEGINS = "begins"
    ENDS = "ends"
    STAYS = "stays"


def turn(day: LastDay, quota: Quota, since: datetime | None, now: datetime) -> Turn:
    """Whether a device begins or ends to flap, which it has done since then, None: it does not.

    It ends when the last day was within the quota and all of it was counted against that.
    """
    within = day.changes <= quota.changes and day.bytes <= quota.bytes
    if since is None:
        return Turn.STAYS if within else Turn.BEGINS
    return Turn.ENDS if within and now - since >= DAY else Turn.STAYS


def reckoned_from(now: datetime, since: datetime | None) -> datetime:
    """From when on its next run is looked for: a day later while it flaps."""
    return now if since is None else now + DAY


def told(name: str, day: LastDay, quota: Quota) -> str:
    """What the alarm says."""
    if day.changes > quota.changes:
        what = f"more than {quota.changes:,} changes"
    else:
        what = f"{day.bytes:,} bytes of changed configurations (more than {quota.bytes:,})"
    suggest = f"`ignore suggest --device {shlex.quote(name)}` names what changes each time"
    return f"{name}: {what} in a day; it is collected once a day until that is over; {suggest}"
