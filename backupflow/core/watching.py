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
    more = f" and {len(found) - NAMED:,} more" if found[NAMED:] else ""
    names = ", ".join(one.name for one in found[:NAMED]) + more
    what = f"{len(found):,} devices at {first.site} are" if first.site and len(found) > 1 else f"{names} is"
    listed = f": {names}" if len(found) > 1 else ""
    return f"{what} overdue, the longest since {first.due_at:%Y-%m-%d %H:%M} UTC{listed}"


def shortage(load: Load, since: datetime | None, now: datetime, *, stands: bool) -> Shortage:
    """What a look at the load makes of what the one before it left; `stands`: the alarm does."""
    needed = load.needed
    if needed is None or not load.slots or needed <= (ENOUGH * load.slots if stands else load.slots):
        return Shortage(None, stands=False)
    begun = since if since is not None and since <= now else now
    return Shortage(begun, stands=stands or now - begun >= SHORT_FOR)
