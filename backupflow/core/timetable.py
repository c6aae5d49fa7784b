"""When a device runs: every so often in a phase of its own, or at the times of a cron expression, a little apart.

An expression whose minute and hour are both fixed means a time of day: where the clock jumps over it, it is the first
minute after the jump; where it comes twice, its first. One whose minute or hour begins with `*` goes by the time that
passes: it runs in both of two equal hours, and has nothing to do in one that is left out (as Debian's cron, cron(8)).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import islice, pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from backupflow.core import cadence
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

# Devices that have the same expression start within this of its times, and within so much of the time to the next one.
LONGEST_SPREAD = timedelta(minutes=5)
SPREAD = 0.1
SHOWN = 3  # times of a new expression that a person is shown
LONGEST_CRON = 200  # characters
UTC_NAME = "UTC"
_FIELDS = 5
_PLACES = {"minute": "0-59", "hour": "0-23", "day-of-month": "1-31 or L", "month": "1-12 or JAN-DEC",
           "day-of-week": "0-7 or SUN-SAT"}  # fmt: skip
# Not `localtime` nor `posixrules`: what those say depends on the machine.
_ZONE = re.compile(r"[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Cron:
    """Minute, hour, day of month, month and day of week, in a time zone."""

    expression: str
    zone: str = UTC_NAME

    def __str__(self) -> str:
        """As it is written."""
        return self.expression if self.zone == UTC_NAME else f"{self.expression} {self.zone}"

    def times(self, after: datetime) -> Iterator[datetime]:
        """When it comes after a moment, in UTC."""
        for found in CronSim(self.expression, after.astimezone(zone_of(self.zone))):
            at = found.astimezone(UTC)
            if at > after:  # in an hour that comes twice it gives the first once more
                after = at
                yield at


@dataclass(frozen=True, slots=True)
class Timetable:
    """How often, or when; an expression stands over the interval."""

    interval: timedelta
    cron: Cron | None = None

    def next_run(self, device_id: UUID, anchor: datetime, now: datetime) -> datetime:
        """The first of a device's turns after `now`. Its `anchor` is its phase, of an interval only."""
        if self.cron is None:
            return cadence.next_due(anchor, self.interval, now)
        share = phase(device_id)
        runs = (at + min(gap * SPREAD, LONGEST_SPREAD) * share for at, gap in _near(self.cron, now))
        return next(run for run in runs if run > now)

    def missed(self, device_id: UUID, since: datetime | None, now: datetime) -> bool:
        """Whether a turn has passed since it was collected last; None: it never was."""
        if since is None or self.cron is None:
            return since is None or now - since >= self.interval
        return self.next_run(device_id, since, since) <= now

    def period(self, now: datetime) -> timedelta:
        """How far the turns lie apart at this moment: from the one before it to the next."""
        return self.interval if self.cron is None else _gap(self.cron, now)


@lru_cache(maxsize=256)
def read_cron(text: str) -> Cron:
    """`0 2 * * *`, with a time zone behind it where it is not UTC; InputInvalid names the place that is wrong."""
    words = text.split()
    if len(text) > LONGEST_CRON or len(words) not in {_FIELDS, _FIELDS + 1}:
        raise _wrong("five words are wanted (minute, hour, day of month, month, day of week), then perhaps a time zone")
    zone = words[_FIELDS] if len(words) > _FIELDS else UTC_NAME
    zone_of(zone)
    cron = Cron(" ".join(words[:_FIELDS]).upper(), zone)
    try:
        if next(cron.times(_EPOCH), None) is None:
            raise _wrong("there is no such day in fifty years")
    except CronSimError as exc:
        place = str(exc).removeprefix("Bad ")
        said = words[list(_PLACES).index(place)]
        if place == "day-of-month" and _is_right(" ".join((*words[:3], "*", *words[4:_FIELDS])).upper()):
            raise _wrong(f"day {said[:60]!r} never comes in month {words[3][:60]!r}") from None
        raise _wrong(f"{said[:60]!r} is no {place.replace('-', ' ')} ({_PLACES[place]})") from None
    return cron


@lru_cache(maxsize=64)
def zone_of(name: str) -> tzinfo:
    """A time zone of the tz database by its name; InputInvalid if there is none."""
    if name == UTC_NAME:
        return UTC
    try:
        if _ZONE.fullmatch(name):
            return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # a folder of zones, a file that is none, nothing at all
        pass
    raise InputInvalid(f"time zone: {name[:60]!r} is none such as Europe/Berlin, in capitals as the tz database has it")


def phase(device_id: UUID) -> float:
    """A number in [0, 1) that a device keeps for ever, as even as dice over a fleet."""
    return int.from_bytes(hashlib.sha256(device_id.bytes).digest()[:6]) / 2**48


def upcoming(cron: Cron, now: datetime, count: int = SHOWN) -> tuple[datetime, ...]:
    """The next times, in its own time zone."""
    zone = zone_of(cron.zone)
    return tuple(at.astimezone(zone) for at in islice(cron.times(now), count))


@lru_cache(maxsize=256)
def _is_right(expression: str) -> bool:
    try:
        CronSim(expression, _EPOCH)
    except CronSimError:
        return False
    return True


def _near(cron: Cron, now: datetime) -> tuple[tuple[datetime, timedelta], ...]:
    """The times of which a device's turn may be the next one, each with how far the following is."""
    found: list[datetime] = []
    for at in cron.times(now - LONGEST_SPREAD):
        found.append(at)
        if len(found) > 1 and found[-2] > now:
            break
    return tuple((one, after - one) for one, after in pairwise(found))


@lru_cache(maxsize=256)
def _gap(cron: Cron, now: datetime) -> timedelta:
    """Looked for from the time before: backwards the first of two equal hours may be missed, forwards it never is."""
    before = next(CronSim(cron.expression, now.astimezone(zone_of(cron.zone)), reverse=True))
    one = before.astimezone(UTC)
    for after in cron.times(one):
        if after > now:
            return after - one
        one = after
    raise AssertionError(cron)  # pragma: no cover - an expression without a next time is not taken


def _wrong(says: str) -> InputInvalid:
    return InputInvalid(f"cron: {says}, such as 0 2 * * * Europe/Berlin")
