"""Whether the slots suffice: how many sessions at a time the timetables of a fleet keep busy on average."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of the workers: sessions a second, how long one takes (None: there was none yet), and slots."""

    rate: float
    session: timedelta | None
    slots: int

    @property
    def needed(self) -> int | None:
        """Slots that are busy on average (Little's law); None if nobody knows how long a session takes."""
        return None if self.session is None else math.ceil(self.rate * self.session.total_seconds())

    @property
    def short(self) -> bool:
        """Whether they do not suffice; a lane without any worker is another matter."""
        return self.needed is not None and 0 < self.slots < self.needed


def rate(periods: Iterable[tuple[timedelta, int]]) -> float:
    """Sessions a second, of so many devices for each period."""
    return sum(devices / period.total_seconds() for period, devices in periods)
