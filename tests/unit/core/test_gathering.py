"""What is told together and when, by its laws, and over days of alarms that come and go."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.events import HOLD, HOLD_REFUSED, Kind
from backupflow.core.gathering import APART, CLEARED, RAISED, About, Happened, Key, gather

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
TOLD = UUID(int=7)
CODES = ["site_down", "device_down", "vault_unavailable", "host_key_mismatch", "authentication_failed", "login_refused"]
CODES += ["events_undelivered", "overdue"]


def seconds(longest: int) -> st.SearchStrategy[timedelta]:
    """A span."""
    return st.integers(0, longest).map(lambda count: timedelta(seconds=count))


@st.composite
def happened(draw: st.DrawFn) -> Happened:
    """Any row."""
    at = NOW - draw(seconds(8000))
    what = draw(st.sampled_from([RAISED, CLEARED, "down", "changed", "of_tomorrow"]))
    return Happened(
        number=0,
        what=what,
        code="changed" if what == "changed" else draw(st.sampled_from(CODES)),
        scope=draw(st.sampled_from(["device a", "device b", "site c"])),
        at=at,
        since=at,
        place=draw(st.sampled_from(["", "c"])),
        stands=draw(st.booleans()),
        told_in=draw(st.sampled_from([None, TOLD])),
        about=About(profile=draw(st.sampled_from([None, "core"]))),
    )


rows = st.lists(happened(), max_size=12).map(lambda some: [replace(one, number=n) for n, one in enumerate(some)])
keys = st.builds(Key, st.none(), st.sampled_from(Kind), st.sampled_from(CODES), st.sampled_from(["", "c"]))
told_at = st.dictionaries(keys, seconds(8000).map(lambda ago: NOW - ago), max_size=6)


@given(rows, told_at)
def test_each_row_has_one_fate(waiting: list[Happened], told: dict[Key, datetime]) -> None:
    """It is told, told later, told already, or dropped: none is forgotten, and none is told twice."""
    done = gather(waiting, told, NOW)
    fates = [one.number for _, some in done.events for one in some]
    fates += [*done.dropped, *(number for number, _ in done.later), *(number for number, _ in done.continued)]
    assert sorted(fates) == [one.number for one in waiting]


@given(rows, told_at)
def test_what_is_told_still_holds_and_has_held(waiting: list[Happened], told: dict[Key, datetime]) -> None:
    """No alarm that is over, none before its time, no end of what was never told, and no more than one an hour."""
    events = [(key, some) for key, some in gather(waiting, told, NOW).events if key.kind is not Kind.CHANGED]
    for key, some in events:
        assert key not in told or NOW - told[key] >= APART
        for one in some:
            assert one.kind is key.kind
            assert (one.code, one.place, one.tenant_id) == (key.code, key.place, key.tenant_id)
            refused = one.code == "authentication_failed" and one.about.profile
            assert NOW - one.at >= (HOLD_REFUSED if refused else HOLD)
            assert one.stands or one.what != RAISED
            assert one.told_in or one.what != CLEARED
    assert len({key for key, _ in events}) == len(events)


@given(rows, told_at)
def test_each_change_is_told_at_once_and_by_itself(waiting: list[Happened], told: dict[Key, datetime]) -> None:
    """Whatever was told before, and after all alarms; in the order in which they were written."""
    events = gather(waiting, told, NOW).events
    changed = [some for key, some in events if key.kind is Kind.CHANGED]
    assert [(one.number,) for one in waiting if one.what == "changed"] == [tuple(o.number for o in s) for s in changed]
    assert [key.kind for key, _ in events[len(events) - len(changed) :]] == [Kind.CHANGED] * len(changed)


@given(rows, told_at)
def test_what_waits_is_told_when_its_time_comes(waiting: list[Happened], told: dict[Key, datetime]) -> None:
    """Each that is put off is told at the time that was said for it, and not before."""
    done = gather(waiting, told, NOW)
    at = dict(done.later)
    assert all(due > NOW for due in at.values())
    told |= {key: NOW for key, _ in done.events}
    assert not {one.number for one in waiting if one.what == "changed"} & set(at)
    left = [one for one in waiting if one.number in at]
    for due in sorted(set(at.values())):
        numbers = {one.number for _, some in gather(left, told, due).events for one in some}
        assert {number for number, when in at.items() if when <= due} <= numbers


@dataclass
class World:
    """Alarms and a receiver: what happened waits in an outbox until a sender looks at it."""

    now: datetime = NOW
    waiting: list[Happened] = field(default_factory=list)
    standing: dict[tuple[str, str], int] = field(default_factory=dict)  # by their first row's number
    told_in: dict[int, UUID] = field(default_factory=dict)
    events: list[tuple[datetime, Key, tuple[Happened, ...]]] = field(default_factory=list)
    count: int = 0

    def flip(self, code: str, scope: str) -> None:
        """Raise it if it does not stand, else clear it."""
        self.count += 1
        place = "c" if scope.startswith("device") else scope
        one = Happened(self.count, RAISED, code, scope, self.now, self.now, place=place)
        began = self.standing.pop((code, scope), None)
        if began is None:
            self.standing[code, scope] = self.count
        else:
            one = replace(one, what=CLEARED, stands=False, told_in=None, since=self.now)
            self._began[self.count] = began
        self.waiting.append(one)

    _began: dict[int, int] = field(default_factory=dict)

    def look(self) -> None:
        """One round of the sender."""
        numbers = set(self.standing.values())
        waiting = [
            replace(one, stands=one.number in numbers, told_in=self.told_in.get(self._began.get(one.number, 0)))
            for one in self.waiting
        ]
        last = {key: at for at, key, _ in self.events}
        done = gather(waiting, last, self.now)
        for key, some in done.events:
            event = UUID(int=len(self.events) + 1)
            self.events.append((self.now, key, some))
            self.told_in |= {one.number: event for one in some}
        self.told_in |= dict(done.continued)
        later = {number for number, _ in done.later}
        self.waiting = [one for one in self.waiting if one.number in later]


steps = st.lists(
    st.tuples(
        st.sampled_from(["site_down", "device_down", "vault_unavailable"]),
        st.sampled_from(["device a", "device b", "claiming"]),
        st.sampled_from([1, 10, 40, 100, 600, 3000, 4000]),
    ),
    max_size=40,
)


@given(steps)
def test_a_receiver_knows_at_last_what_holds(story: list[tuple[str, str, int]]) -> None:
    """However alarms come and go: two hours later the last word about each is the truth; one event a key an hour."""
    world = World()
    for code, scope, wait in story:
        world.flip(code, scope)
        until = world.now + timedelta(seconds=wait)
        while world.now < until:
            world.look()
            world.now = min(until, world.now + timedelta(seconds=20))
    for _ in range(3):
        world.now += APART
        world.look()
    believed: dict[tuple[str, str], bool] = {}
    at: defaultdict[Key, list[datetime]] = defaultdict(list)
    for when, key, some in world.events:
        at[key].append(when)
        for one in some:
            assert believed.get((one.code, one.scope), False) is (key.kind is Kind.RECOVERED)
            believed[one.code, one.scope] = key.kind is not Kind.RECOVERED
    assert {alarm for alarm, stands in believed.items() if stands} == set(world.standing)
    assert all(later - earlier >= APART for times in at.values() for earlier, later in pairwise(times))
    assert world.waiting == []


def test_a_storm_is_few_events() -> None:
    """200 devices of one site that are blocked within an hour: the first ones are told at once, then all others."""
    world = World()
    for number in range(200):
        world.flip("host_key_mismatch", f"device {number}")
        world.now += timedelta(seconds=18)
        world.look()
    for _ in range(2):
        world.now += APART
        world.look()
    assert next(len(some) for _, _, some in world.events) < 5
    assert len(world.events) <= 3
    assert sum(len(some) for _, _, some in world.events) == 200


def test_two_sites_are_two_events() -> None:
    """What is told together is of one site: the other one is no part of it."""
    one = Happened(1, RAISED, "site_down", "site a", NOW - HOLD, NOW, place="a")
    other = replace(one, number=2, scope="site b", place="b")
    assert [len(some) for _, some in gather([one, other], {}, NOW).events] == [1, 1]


def test_a_clock_that_was_set_right_delays_nothing() -> None:
    """A row of the future is told now, and an event of the future holds nothing back."""
    one = Happened(1, RAISED, "site_down", "site a", NOW + timedelta(days=3), NOW, place="a")
    done = gather([one], {Key(None, Kind.DOWN, "site_down", "a"): NOW + timedelta(days=3)}, NOW)
    assert len(done.events) == 1
    late = replace(one, at=NOW + timedelta(seconds=1))  # written while this one was looked for
    assert gather([late], {}, NOW).events == ()


def test_what_is_back_before_its_end_was_told_is_the_same_outage() -> None:
    """A receiver that knows of it is told neither that it is over nor that it has begun; its end is told at last."""
    over = Happened(2, CLEARED, "site_down", "site a", NOW - HOLD, NOW, place="a", stands=False, told_in=TOLD)
    back = Happened(3, RAISED, "site_down", "site a", NOW, NOW, place="a")
    done = gather([over, back], {}, NOW)
    assert (done.events, done.later, done.dropped, done.continued) == ((), (), (2,), ((3, TOLD),))
    [(key, _)] = gather([over], {}, NOW).events
    assert key.kind is Kind.RECOVERED
    blocked = replace(over, code="host_key_mismatch"), replace(back, code="host_key_mismatch")
    assert gather(blocked, {}, NOW + HOLD).events[0][0].kind is Kind.BLOCKED  # somebody has acted in between
