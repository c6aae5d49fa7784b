"""Host keys that wait for a person: first ones, changed ones, and what many of them at one site may mean."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

WITHIN = timedelta(hours=1)
FEWEST = 2  # devices: what happens to one is no pattern


class Waiting(StrEnum):
    """What somebody has to say of a key."""

    FIRST = "first"  # none is pinned, none is expected
    CHANGED = "changed"  # another one is pinned
    UNEXPECTED = "not the expected one"  # none is pinned, and others are expected

    @property
    def command(self) -> str:
        """Who takes it."""
        return "approve" if self is Waiting.FIRST else "accept"


@dataclass(frozen=True, slots=True)
class PendingKey:
    """The newest key that a device or a jump host offers and that is not trusted; `old`: fingerprints instead of it."""

    name: str
    jump_host: bool
    site: str | None
    group: str | None
    host: str
    port: int
    waiting: Waiting
    key_type: str
    fingerprint: str
    old: tuple[str, ...]
    old_type: str | None
    since: datetime  # it was seen first
    last_seen_at: datetime
    blocked: bool
    facts: Mapping[str, Any] = field(default_factory=dict)  # what the current export of a device says of it


@dataclass(frozen=True, slots=True)
class Outbreak:
    """So many of a site's devices came to offer another key, the first of them `since`; `together`: within an hour."""

    site: str | None
    changed: int
    devices: int
    since: datetime
    together: bool = True


def outbreaks(keys: Iterable[PendingKey], devices: Mapping[str | None, int]) -> Iterator[Outbreak]:
    """The sites where at least half of the devices changed within an hour; `devices`: how many there are at each."""
    return (one for one in by_site(keys, devices) if one.together)


def by_site(keys: Iterable[PendingKey], devices: Mapping[str | None, int]) -> list[Outbreak]:
    """The sites where devices offer another key, the largest first; of one where they did together only those."""
    seen: dict[str | None, list[datetime]] = defaultdict(list)
    for key in keys:
        if key.waiting is not Waiting.FIRST and not key.jump_host:
            seen[key.site].append(key.since)
    found = [_of_site(site, sorted(times), devices.get(site, 0)) for site, times in seen.items()]
    return sorted(found, key=lambda one: (-one.changed, one.site or ""))


def _of_site(site: str | None, times: list[datetime], devices: int) -> Outbreak:
    changed, since = _most(times)
    if changed >= FEWEST and 2 * changed >= devices:
        return Outbreak(site, changed, max(devices, changed), since)
    return Outbreak(site, len(times), max(devices, len(times)), times[0], together=False)


def _most(times: list[datetime]) -> tuple[int, datetime]:
    """How many lie within one span at most, and when that span begins; of sorted times."""
    best, first = 0, 0
    since = times[0]
    for last, at in enumerate(times):
        while at - times[first] > WITHIN:
            first += 1
        if last - first + 1 > best:
            best, since = last - first + 1, times[first]
    return best, since
