"""What of all that waits to be told is told now, and together: few events, each of something that still holds."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from backupflow.core.events import Kind, hold_of, kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from backupflow.core.told_change import ToldChange

APART: Final = timedelta(hours=1)  # two events of one key
_AHEAD = timedelta(minutes=1)  # at the most, of what was written while this one was looked for
CLEARED: Final = "cleared"
RAISED: Final = "raised"


class Key(NamedTuple):
    """Of what one event an hour is told: it lists all."""

    tenant_id: UUID | None
    kind: Kind
    code: str
    place: str  # a site, jump host or login; of a change: the device; "": none of them


@dataclass(frozen=True, slots=True)
class About:
    """What or whom an alarm is about, by names; None where it has none."""

    device: str | None = None
    site: str | None = None
    jump_host: str | None = None
    profile: str | None = None  # the shared login that the device uses, or that it is about
    by_key: bool = False
    tenant: str | None = None
    detail: str = ""  # may quote a router
    taken: bool = False  # other devices took this login as it is now
    change: ToldChange | None = None


@dataclass(frozen=True, slots=True)
class Happened:
    """A row of the outbox. `what` is RAISED or CLEARED, of an alarm, or a kind of event."""

    number: int
    what: str
    code: str
    scope: str
    at: datetime
    since: datetime
    tenant_id: UUID | None = None
    place: str = ""
    stands: bool = True  # the alarm
    told_in: UUID | None = None  # of a clearing: the event that told of what is over
    about: About = About()

    @property
    def kind(self) -> Kind | None:
        """What it is told as; None: not at all."""
        if self.what == CLEARED:
            of = kind_of(self.code)
            return Kind.RECOVERED if of and of.recovers else None
        if self.what == RAISED:
            return kind_of(self.code)
        return Kind(self.what) if self.what in list(Kind) else None

    @property
    def alone(self) -> bool:
        """Whether it is told at once and in an event of its own: it is no alarm, which may be over, or be of many."""
        return self.what == Kind.CHANGED

    def ripe_at(self, now: datetime) -> datetime:
        """When it has held for long enough; a time far ahead means nothing: a clock was set right since then."""
        hold = hold_of(self.code, shared_login=self.about.profile is not None)
        return now if self.at > now + _AHEAD else self.at + hold

    def key(self, kind: Kind) -> Key:
        """What it is told together with."""
        return Key(self.tenant_id, kind, self.code, self.place)


@dataclass(frozen=True, slots=True)
class Gathered:
    """What becomes of each row: told in one of `events`, `later`, told by an event of before, or `dropped`."""

    events: tuple[tuple[Key, tuple[Happened, ...]], ...] = ()
    later: tuple[tuple[int, datetime], ...] = ()
    continued: tuple[tuple[int, UUID], ...] = ()
    dropped: tuple[int, ...] = ()


def gather(waiting: Sequence[Happened], told_at: Mapping[Key, datetime], now: datetime) -> Gathered:
    """Decide over all rows that wait; `told_at`: when each key was told last.

    What is over before it was told is dropped with its end. What was told, is over, and is back before its end was told
    is the same outage still: nothing is told, and its end will be.
    """
    continued = _continued(waiting)
    groups: defaultdict[Key, list[Happened]] = defaultdict(list)
    dropped: list[int] = []
    later: list[tuple[int, datetime]] = []
    events: list[tuple[Key, tuple[Happened, ...]]] = []
    changes: list[tuple[Key, tuple[Happened, ...]]] = []
    for one in waiting:
        kind = one.kind
        if one.number in continued and one.what == RAISED:
            continue
        if kind is None or _pointless(one) or one.number in continued:
            dropped.append(one.number)
        elif one.alone:
            changes.append((one.key(kind), (one,)))
        else:
            groups[one.key(kind)].append(one)
    for key, rows in groups.items():
        last = told_at.get(key)
        not_before = last + APART if last is not None and last <= now else now
        ripe = [one for one in rows if max(one.ripe_at(now), not_before) <= now]
        if ripe:
            events.append((key, tuple(ripe)))
            not_before = now + APART
        later += [(one.number, max(one.ripe_at(now), not_before)) for one in rows if one not in ripe]
    back = [(one.number, continued[one.number]) for one in waiting if one.what == RAISED and one.number in continued]
    return Gathered((*events, *changes), tuple(later), tuple(back), tuple(dropped))


def _pointless(one: Happened) -> bool:
    """Over before it was told, or the end of what was never told."""
    return (one.what == RAISED and not one.stands) or (one.what == CLEARED and one.told_in is None)


def _continued(waiting: Sequence[Happened]) -> dict[int, UUID]:
    """Ends that nobody was told, and the alarms that stand in their place, by the event that told of the first."""
    found: dict[int, UUID] = {}
    standing = {(one.code, one.scope): one.number for one in waiting if one.what == RAISED and one.stands}
    for one in waiting:
        again = standing.get((one.code, one.scope))
        if again is not None and one.what == CLEARED and one.told_in is not None and one.kind is not None:
            found |= {one.number: one.told_in, again: one.told_in}
    return found
