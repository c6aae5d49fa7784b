"""Weekly windows of maintenance: while one is open, nothing that lies within it is collected by itself.

They are times of a wall clock. Where the clock jumps over the beginning of one, it begins as much later as the clock
jumps; of an hour that comes twice both lie within.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from backupflow.core.timetable import UTC_NAME, zone_of
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY = "daily"
MOST = 20  # windows of one scope
# When nothing is over that somebody has ended by hand: an earlier end than any window has.
ENDED = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST_BY_HAND = timedelta(days=31)  # what is at rest for longer is paused: that is shown, and has a reason
# Windows end with a minute, and what a person has said does not: so whose word stands in a row can be told.
_BY_HAND = timedelta(microseconds=1)
_WINDOW = re.compile(r"(\S+)\s+(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})(?:\s+(\S+))?")
_DAY = 24 * 60  # minutes
_EXAMPLE = "such as sat,sun 01:00-05:00 Europe/Berlin"


class Open(NamedTuple):
    """A window as it comes, in UTC."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Window:
    """On these days of the week (0: Monday), in minutes since midnight; one that ends no later ends the next day."""

    days: frozenset[int]
    start: int
    end: int
    zone: str = UTC_NAME

    def on(self, day: date) -> Open | None:
        """The one that begins on a day."""
        if day.weekday() not in self.days:
            return None
        start = self._at(day, self.start)[0]
        end = max(self._at(day + timedelta(days=self.end <= self.start), self.end))
        return Open(start, end) if start < end else None

    def _at(self, day: date, minutes: int) -> tuple[datetime, datetime]:
        """A time of day, that may come twice."""
        local = datetime.combine(day + timedelta(days=minutes // _DAY), time(minutes // 60 % 24, minutes % 60))
        zone = zone_of(self.zone)
        first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        return first, second


@lru_cache(maxsize=256)
def read_window(text: str) -> Window:
    """`sat,sun 01:00-05:00`, with a time zone behind it where it is not UTC; InputInvalid says what is wrong."""
    found = _WINDOW.fullmatch(text.strip())
    if not found:
        raise InputInvalid(f"maintenance: {text[:60]!r} is no window {_EXAMPLE}")
    start, end = _minutes(found[2], found[3]), _minutes(found[4], found[5])
    if start in {end, _DAY}:
        raise InputInvalid(f"maintenance: {text[:60]!r} is empty; a whole day is 00:00-24:00")
    zone = found[6] or UTC_NAME
    zone_of(zone)
    return Window(frozenset(_days(found[1].lower())), start, end, zone)


def read_windows(texts: Sequence[str]) -> tuple[Window, ...]:
    """All of one scope; InputInvalid names the first that is wrong."""
    if len(texts) > MOST:
        raise InputInvalid(f"maintenance: more than {MOST} windows")
    return tuple(read_window(text) for text in texts)


def current(windows: Iterable[Window], now: datetime) -> Open | None:
    """The time around `now` that lies within windows without a break; None: it lies in none."""
    open_ = sorted(_around(windows, now))
    found: Open | None = None
    for one in open_:
        if found is not None and one.start <= found.end:
            found = Open(found.start, max(found.end, one.end))
        elif found is None or found.end <= now:
            found = one
    return found if found is not None and found.start <= now < found.end else None


def until(windows: Iterable[Window], now: datetime) -> datetime | None:
    """When what is open now is over; None: nothing is."""
    return _until(tuple(windows), now)


def by_hand(end: datetime) -> datetime:
    """The end of a maintenance that a person has said, told apart from that of any window."""
    return end if _is_by_hand(end) else end + _BY_HAND


def standing(windows: Iterable[Window], said: datetime | None, now: datetime) -> datetime | None:
    """What a scope's maintenance_until is to be, where `said` stands there now.

    A window makes it longer and never shorter than what a person said (`by_hand`); what somebody has ended by hand
    (ENDED) stays so until it is over. What is over stays for a day, so that nobody is called late for the time in which
    it was not to run. A clock that stood ahead leaves the end of a window that is not open: nobody has said that.
    """
    end = until(windows, now)
    if said is not None and said > (end or now) and not (_is_by_hand(said) and said <= now + LONGEST_BY_HAND):
        said = None
    if end is None:
        return said if said is not None and said > now - timedelta(days=1) else None
    return said if said == ENDED else max(said or end, end)


def _is_by_hand(end: datetime) -> bool:
    return bool(end.second or end.microsecond)


def after_edit(
    before: Iterable[Window], after: Iterable[Window], said: datetime | None, now: datetime
) -> datetime | None:
    """The same when other windows are said: what is open through the ones of before alone ends with them."""
    was = until(before, now)
    return standing(after, None if said in {was, ENDED} else said, now)


@lru_cache(maxsize=256)
def _until(windows: tuple[Window, ...], now: datetime) -> datetime | None:
    """Many scopes say the same, and are asked about in one moment."""
    found = current(windows, now)
    return found and found.end


def _around(windows: Iterable[Window], now: datetime) -> Iterator[Open]:
    """What comes in the week around a moment: joined to each other, they may go on for as long as that, or for ever."""
    for window in windows:
        today = now.astimezone(zone_of(window.zone)).date()
        found = (window.on(today + timedelta(days=days)) for days in range(-8, 9))
        yield from (one for one in found if one)


def _minutes(hours: str, minutes: str) -> int:
    found = int(hours) * 60 + int(minutes)
    if int(minutes) >= 60 or found > _DAY:  # noqa: PLR2004
        raise InputInvalid(f"maintenance: {hours}:{minutes} is no time of day, {_EXAMPLE}")
    return found


def _days(text: str) -> Iterator[int]:
    if text == EVERY_DAY:
        yield from range(7)
        return
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise InputInvalid(f"maintenance: {part[:20]!r} is no day: {', '.join(DAYS)}, mon-fri or {EVERY_DAY}")
        begin = DAYS.index(first)
        yield from ((begin + n) % 7 for n in range((DAYS.index(last or first) - begin) % 7 + 1))
