"""What the job `watch` tells: devices that are late, by site, and slots that do not suffice for a while."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

    from backupflow.core.capacity import Load

OVERDUE = "overdue"  # code of an alarm, of scope `site ID`, or `device ID` where it has no site
CAPACITY = "capacity"  # the same of scope `slots`
SLOTS = "slots"
SHORT_FOR = timedelta(minutes=15)  # before anybody is told: workers that start anew are no lack of them
ENOUGH = 0.9  # of the slots: an alarm that stands is over below that, so that it does not come and go
NAMED = 3  # devices of a site


@dataclass(frozen=True, slots=True)
class Late:
    """A device that is overdue, since `due_at`."""

    tenant_id: UUID
    device_id: UUID
    name: str
    site_id: UUID | None
    site: str | None
    due_at: datetime

    @property
    def scope(self) -> str:
        """Of its alarm, which it shares with its site."""
        return f"site {self.site_id}" if self.site_id else f"device {self.device_id}"


@dataclass(frozen=True, slots=True)
class Telling:
    """An alarm that is to stand."""

    tenant_id: UUID
    scope: str
    detail: str


@dataclass(frozen=True, slots=True)
class Shortage:
    """Since when slots are short, None: they are not; and whether that is to stand as an alarm."""

    since: datetime | None
    stands: bool


def of_the_late(late: Iterable[Late]) -> list[Telling]:
    """One alarm for each site, and for each device without one."""
    places: dict[str, list[Late]] = defaultdict(list)
    for one in sorted(late, key=lambda one: (one.due_at, one.name)):
        places[one.scope].append(one)
    return [Telling(found[0].tenant_id, scope, _says(found)) for scope, found in places.items()]


def _says(found: list[Late]) -> str:
    first = found[0]
    since = f"since {first.due_at:%Y-%m-%d %H:%M} UTC"
    if len(found) == 1:
        return f"{first.name} is overdue {since}"
    more = f" and {len(found) - NAMED:,} more" if found[NAMED:] else ""
    names = ", ".join(one.name for one in found[:NAMED]) + more
    return f"{len(found):,} devices at {first.site} are overdue, the longest {since}: {names}"


def shortage(load: Load, since: datetime | None, now: datetime, *, stands: bool) -> Shortage:
    """What a look at the load makes of what the one before it left; `stands`: the alarm does."""
    needed = load.needed
    if needed is None or not load.slots or needed <= (ENOUGH * load.slots if stands else load.slots):
        return Shortage(None, stands=False)
    begun = since if since is not None and since <= now else now
    return Shortage(begun, stands=stands or now - begun >= SHORT_FOR)


@dataclass(frozen=True, slots=True)
class Watched:
    """What a look gives. `excused`: something else is, or was until now, to blame for all that is late."""

    now: datetime
    late: tuple[Late, ...]
    load: Load
    short_since: datetime | None  # as the look before it left it
    short_stands: bool
    excused: bool


@dataclass(frozen=True, slots=True)
class Tellings:
    """The alarms that are to stand; `raises`: new ones of devices may be raised, else only those that stand stay."""

    late: tuple[Telling, ...]
    raises: bool
    shortage: Shortage
    says: str  # of the shortage


def judge(seen: Watched) -> Tellings:
    """What is to be told of it."""
    load = seen.load
    short = shortage(load, seen.short_since, seen.now, stands=seen.short_stands)
    says = f"needs {load.needed:,} of {load.slots:,} slots" if load.needed is not None else ""
    return Tellings(tuple(of_the_late(seen.late)), not seen.excused, short, says)
