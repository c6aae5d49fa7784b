"""How many collections may still be claimed: by the workers of a lane, in all, through a jump host, within a scope."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backupflow.core.jump import CHANNELS
from backupflow.core.model import Lane

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

LANES = (Lane.NORMAL, Lane.SLOW)


def shared(lane: Lane) -> Lane:
    """Normal and immediate work share their workers' window."""
    return Lane.NORMAL if lane is Lane.NOW else lane


@dataclass(frozen=True, slots=True)
class Open:
    """So many rows are claimed or running, of devices that have these in common; `ids`: jump host and scopes."""

    lane: Lane
    ids: frozenset[UUID]
    count: int


@dataclass(slots=True)
class Room:
    """What is left of each limit; `most` is by (jump host or scope, lane), None: over all lanes.

    `trials` is what is left for tests and scans, by lane; a lane that is not there has no such limit.
    """

    window: dict[Lane, int]
    total: int | None = None
    most: dict[tuple[UUID, Lane | None], int] = field(default_factory=dict)
    trials: dict[Lane, int] = field(default_factory=dict)

    def left(self, lane: Lane) -> int:
        """Of the workers' window and the total."""
        room = self.window[shared(lane)]
        return max(room if self.total is None else min(room, self.total), 0)

    @property
    def shared_by_lanes(self) -> list[UUID]:
        """The jump hosts and scopes of which a place that is taken in one lane is missing in the other."""
        return [key for key, of in self.most if of is None]

    @property
    def for_trials(self) -> bool:
        """Whether any lane has room for a test or a scan."""
        return not self.trials or any(left > 0 for left in self.trials.values())

    def full(self, lane: Lane) -> list[UUID]:
        """The jump hosts and scopes of which no device of this lane may be claimed any more."""
        return [key for (key, of), left in self.most.items() if left <= 0 and of in {None, shared(lane)}]

    def take(self, lane: Lane, ids: Iterable[UUID | None], *, trial: bool = False) -> bool:
        """Take one place everywhere, or none if there is none somewhere. `trial`: for a test or a scan."""
        keys = [(one, of) for one in ids if one for of in (None, shared(lane)) if (one, of) in self.most]
        if not self.left(lane) or any(self.most[key] <= 0 for key in keys):
            return False
        if trial and shared(lane) in self.trials:
            if self.trials[shared(lane)] <= 0:
                return False
            self.trials[shared(lane)] -= 1
        for key in keys:
            self.most[key] -= 1
        self.window[shared(lane)] -= 1
        if self.total is not None:
            self.total -= 1
        return True


def trials_of(slots: Mapping[Lane, int], taken: Mapping[Lane, int]) -> dict[Lane, int]:
    """What is left for tests and scans while anything is due: half of the workers, and never none at all.

    `taken` counts those that are claimed or running: workers prefer what is asked for, so that as many of them as there
    are workers would leave none to the schedule.
    """
    return {lane: max(count // 2, 1) - taken.get(lane, 0) for lane, count in slots.items()}


def limits_of(
    jump_hosts: Mapping[UUID, bool], scopes: Mapping[UUID, int], processes: Mapping[Lane, int], taken: Iterable[Open]
) -> dict[tuple[UUID, Lane | None], int]:
    """What is left through each jump host, and of each scope's concurrency.

    `jump_hosts`: whether each is in trouble, or its login was not proved yet; then one session in all may try it. Else
    each process of a lane's workers has its own connection to it, of so many channels.
    """
    most: dict[tuple[UUID, Lane | None], int] = {(one, None): count for one, count in scopes.items()}
    for one, one_at_a_time in jump_hosts.items():
        most |= {(one, None): 1} if one_at_a_time else {(one, lane): CHANNELS * processes[lane] for lane in LANES}
    for open_ in taken:
        for one in open_.ids:
            for of in (None, shared(open_.lane)):
                if (one, of) in most:
                    most[one, of] -= open_.count
    return most
