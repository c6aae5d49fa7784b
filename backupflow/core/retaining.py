"""What of a device's history is old enough to be taken away: always a prefix of it, and never what is current."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from backupflow.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.model import DeviceId, Seq, TenantId

BRAKED: Final = "retention_braked"  # code of an alarm
_MOST_AT_ONCE: Final = 0.2  # of what a tenant has: what takes more is a setting that was lowered, or a clock
_FEW: Final = 20  # configurations that no brake is for: of three of them one is more than 20 %


@dataclass(frozen=True, slots=True)
class Age:
    """How long configurations are kept: those last seen since `before`, and of each device the last `keep`, 1 or more.

    The current one is always among them.
    """

    before: datetime
    keep: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A configuration as it is kept: the first of a run of equal observations, and when its last was collected."""

    first: Seq
    last: Seq  # of its observations
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Cut:
    """All below this goes, None: all there is; so many configurations."""

    below: Seq | None
    configurations: int


def cut(kept: Sequence[Kept], age: Age, removed_at: datetime | None = None) -> Cut | None:
    """Decide over a device's configurations, the oldest first; None: all of them stay.

    `removed_at`: when the device was removed. Its whole history goes when that is long enough ago.
    """
    if removed_at is not None and removed_at < age.before:
        return Cut(None, len(kept)) if kept else None
    most = len(kept) - max(age.keep, 1)
    gone = 0
    while gone < most and kept[gone].last_at < age.before:
        gone += 1
    return Cut(kept[gone].first, gone) if gone else None


def is_too_much(taken: int, there: int) -> bool:
    """Whether a round takes so many of a tenant's configurations that a person has to say that it is meant."""
    return taken > _FEW and taken > _MOST_AT_ONCE * there


def cut_at(kept: Sequence[Kept], at: Seq | datetime | None) -> Cut | None:
    """What goes if somebody says so: all before the configuration of an observation, or that was last seen before.

    None: all there is. The current one goes with all of them only. NotFound if there is nothing at that point yet: a
    slip of the pen must not take more than was meant.
    """
    if at is None:
        return Cut(None, len(kept)) if kept else None
    if isinstance(at, datetime):
        if kept and at > kept[-1].last_at:
            raise NotFound(f"nothing was seen so late: the newest was last seen at {kept[-1].last_at:%Y-%m-%d %H:%M}Z")
        return cut(kept, Age(at, 1))
    if kept and at > kept[-1].last:
        raise NotFound(f"no snapshot {at}; the newest is {kept[-1].first}")
    gone = max(sum(one.first <= at for one in kept) - 1, 0)
    return Cut(kept[gone].first, gone) if gone else None


@dataclass(frozen=True, slots=True)
class Doomed:
    """What goes with a tenant; `removed`: it was removed before, and that was cut off."""

    tenant_id: TenantId
    name: str
    devices: int
    configurations: int
    removed: bool


@dataclass(frozen=True, slots=True)
class Holding:
    """What a tenant has: so many configurations of its devices."""

    tenant_id: TenantId
    tenant: str
    configurations: int


@dataclass(frozen=True, slots=True)
class Aged:
    """A device of which something is to go; `waits`: why not now, in words."""

    device_id: DeviceId
    name: str
    cut: Cut
    waits: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """What went in one transaction."""

    devices: int = 0
    configurations: int = 0
    collections: int = 0
    texts: int = 0

    def __add__(self, other: Taken) -> Taken:
        """Both together."""
        return Taken(
            self.devices + other.devices,
            self.configurations + other.configurations,
            self.collections + other.collections,
            self.texts + other.texts,
        )
