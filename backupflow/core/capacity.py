"""Whether the slots suffice: how many sessions at a time a fleet keeps busy on average, and what holds it back."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from backupflow.core.claiming import LANES, shared
from backupflow.core.model import Lane

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CAPACITY = "capacity"  # code of an alarm
SHORT_FOR = timedelta(minutes=15)  # before anybody is told: workers that start anew are no lack of them
ENOUGH = 0.9  # of the slots: an alarm that stands is over below that, so that it does not come and go


@dataclass(frozen=True, slots=True)
class Load:
    """Devices with one period; of `measured` of them the last session is known, `seconds` all of those together."""

    lane: Lane
    period: timedelta
    devices: int
    measured: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """Slots by lane: how many are needed on average, and how many there are; `seconds` of all devices, once each."""

    needed: Mapping[Lane, float]
    slots: Mapping[Lane, int]
    seconds: float

    @property
    def total_needed(self) -> int:
        """Whole slots, over all lanes."""
        return math.ceil(sum(self.needed.values()))

    @property
    def total(self) -> int:
        """That there are, over all lanes."""
        return sum(self.slots.values())

    @property
    def round(self) -> timedelta | None:
        """How long all devices would take once, one behind the other in every slot; None without a slot or a session.

        By the last session of each: what takes its time to fail counts with it.
        """
        return timedelta(seconds=self.seconds / self.total) if self.total and self.seconds else None

    @property
    def short(self) -> Lane | None:
        """The lane that lacks slots, if it has any: one without workers is another matter."""
        return self._over(1)

    @property
    def scarce(self) -> bool:
        """Whether an alarm that stands has to go on standing."""
        return self._over(ENOUGH) is not None

    def _over(self, share: float) -> Lane | None:
        return next((one for one in LANES if 0 < self.slots[one] * share < self.needed[one]), None)


def capacity(loads: Iterable[Load], slots: Mapping[Lane, int]) -> Capacity:
    """What these devices need of these slots; of devices that had no session yet the others' mean is taken."""
    loads = list(loads)
    mean = mean_seconds(loads)
    needed = dict.fromkeys(LANES, 0.0)
    for load in loads:
        needed[shared(load.lane)] += seconds_of(load, mean) / load.period.total_seconds()
    counted: dict[Lane, int] = dict.fromkeys(LANES, 0)
    for lane, count in slots.items():
        counted[shared(Lane(lane))] += count
    return Capacity(needed, counted, sum(seconds_of(load, mean) for load in loads))


def needed_by(loads: Iterable[tuple[str, Load]], mean: float) -> dict[str, float]:
    """How many slots each part of a fleet keeps busy on average, by the names that stand before its loads."""
    found: dict[str, float] = defaultdict(float)
    for name, load in loads:
        found[name] += seconds_of(load, mean) / load.period.total_seconds()
    return dict(found)


def mean_seconds(loads: Iterable[Load]) -> float:
    """Of one session; 0 if none is known."""
    loads = list(loads)
    measured = sum(load.measured for load in loads)
    return sum(load.seconds for load in loads) / measured if measured else 0.0


def seconds_of(load: Load, mean: float) -> float:
    """All of its devices once, those that had no session yet with the mean of the others."""
    return load.seconds + (load.devices - load.measured) * mean
