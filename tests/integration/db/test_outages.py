"""Sites that go away and come back, on a real PostgreSQL: judged, probed by two, told once, released at once."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from backupflow.core.ledger import Assignment, Claimed, Ending
from backupflow.core.model import DeviceId, State
from backupflow.core.scope import Policy
from tests.integration.db.fleet import LIMITS, Fleet, message, migrated, published
from tests.integration.db.virtual_time import VirtualTime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backupflow.embedded import Servers
    from tests.conftest import Size

MINUTE = timedelta(minutes=1)
NO_ANSWER = Ending(State.FAILED, "device_unreachable", counts=True, again_in=5.5 * MINUTE)


def site(fleet: Fleet, **columns: Any) -> UUID:  # noqa: ANN401
    """A site with a name of its own."""
    values = {"tenant_id": fleet.tenant, "name": f"s-{uuid4()}", **columns}
    marks = ", ".join(f":{name}" for name in values)
    made: UUID = fleet.value(f"INSERT INTO site ({', '.join(values)}) VALUES ({marks}) RETURNING id", **values)  # noqa: S608
    return made


def tick(fleet: Fleet) -> Claimed:
    """One claim that nobody else is in the way of."""
    claimed = fleet.claims.claim(LIMITS)
    assert claimed is not None
    return claimed


def work(fleet: Fleet, claimed: Claimed) -> list[Assignment]:
    """Collectors take what was claimed."""
    started = [fleet.collections.start(claim.collection_id, f"w-{claim.collection_id}") for claim in claimed.new]
    assert all(isinstance(one, Assignment) for one in started)
    return [one for one in started if isinstance(one, Assignment)]


def goes_away(fleet: Fleet, site_id: UUID, count: int = 5, *, due: timedelta = timedelta(hours=1)) -> list[DeviceId]:
    """So many devices of it were heard an hour ago, and did not answer a moment ago."""
    devices = [fleet.device(site_id=site_id, due=due) for _ in range(count)]
    for number, device in enumerate(devices):
        fleet.sql(
            "UPDATE device SET answered_at = now() - :heard, unreachable_since = now() - interval '1 second', "
            "failures = 1 WHERE id = :d",
            heard=timedelta(hours=1) + number * MINUTE,
            d=device,
        )
    return devices


def probe(fleet: Fleet) -> Assignment:
    """The one session that is opened at a site that is down."""
    claimed = tick(fleet)
    (assignment,) = work(fleet, claimed)
    assert assignment.trigger == "probe"
    return assignment


def later(fleet: Fleet, site_id: UUID, by: timedelta = 5 * MINUTE) -> None:
    """So much time passed at a site that is down."""
    fleet.sql("UPDATE site SET probe_at = probe_at - :by WHERE id = :s", by=by, s=site_id)
    fleet.sql(
        "UPDATE device SET met_at = met_at - :by, hold_until = hold_until - :by WHERE site_id = :s", by=by, s=site_id
    )


def is_down(fleet: Fleet, site_id: UUID) -> bool:
    """As its row says."""
    return fleet.row("site", site_id).down_since is not None


# --- a judgement that is right, and one that is not ---------------------------------------------------------------


def test_a_site_is_tried_once_more_before_anybody_is_told(fleet: Fleet) -> None:
    """By the device that was heard last; the alarm comes with its silence, and names how many are away."""
    fleet.workers(collect=9)
    place = site(fleet)
    devices = goes_away(fleet, place)
    first = probe(fleet)
    assert (first.device_id, is_down(fleet, place)) == (devices[0], True)
    assert tick(fleet).new == ()
    assert fleet.alarms() == []
    assert fleet.collections.end(first, NO_ANSWER)
    tick(fleet)
    assert fleet.alarms() == [("site_down", f"site {place}")]
    assert "5 of 5 devices" in fleet.value("SELECT detail FROM alarm")


def test_a_site_that_is_down_tells_of_its_devices(fleet: Fleet) -> None:
    """Who was called for a device that went away with it is called for the site; not for one that is dead by itself."""
    fleet.workers(collect=9)
    place = site(fleet)
    first, *_ = goes_away(fleet, place)
    dead = fleet.device(site_id=place, due=timedelta(hours=1))
    fleet.sql("UPDATE device SET unreachable_since = now() - interval '3 days' WHERE id = :d", d=dead)
    for device in (first, dead):
        fleet.sql(
            "INSERT INTO alarm (tenant_id, code, scope) VALUES (:t, 'device_down', :s)",
            t=fleet.tenant,
            s=f"device {device}",
        )
    asked = probe(fleet)
    assert len(fleet.alarms()) == 2  # it may be a false judgement
    assert fleet.collections.end(asked, NO_ANSWER)
    tick(fleet)
    assert sorted(fleet.alarms()) == [("device_down", f"device {dead}"), ("site_down", f"site {place}")]


def test_a_false_judgement_ends_without_an_alarm(fleet: Fleet) -> None:
    """Five devices of one switch: the next that is asked answers, and nothing is judged over those five again."""
    fleet.workers(collect=9)
    place = site(fleet)
    goes_away(fleet, place)
    alive = fleet.device(site_id=place, due=timedelta(hours=1))
    fleet.sql("UPDATE device SET answered_at = now() - interval '2 seconds' WHERE id = :d", d=alive)
    first = probe(fleet)
    assert first.device_id == alive
    assert fleet.collections.publish(first, published("A"))
    for _ in range(3):
        tick(fleet)
        assert not is_down(fleet, place)
    assert fleet.value("SELECT count(*) FROM alarm") == 0


def test_the_chronically_dead_make_no_site_down(fleet: Fleet) -> None:
    """Twenty of thirty that went away over weeks, and one more today."""
    fleet.workers(collect=9)
    place = site(fleet)
    goes_away(fleet, place, 20)
    fleet.sql("UPDATE device SET unreachable_since = now() - interval '2 days' - failures * interval '1 day'")
    for _ in range(10):
        assert fleet.collections.publish(fleet.running(site_id=place), published("A"))
    assert fleet.collections.end(fleet.running(site_id=place), NO_ANSWER)
    tick(fleet)
    assert not is_down(fleet, place)


def test_trouble_at_a_jump_host_makes_no_site_down(fleet: Fleet) -> None:
    """Nobody behind it is to blame."""
    from backupflow.core.jump import JumpTrouble

    fleet.workers(collect=9)
    place, hop = site(fleet), fleet.jump_host()
    trouble = JumpTrouble("device_unreachable", "", blocks=False, again_in=5 * MINUTE)
    ending = Ending(State.FAILED, "jump_host_unreachable", jump_trouble=trouble)
    running = [fleet.running(site_id=place, jump_host_id=hop) for _ in range(6)]
    for assignment in running:
        assert fleet.collections.end(assignment, ending)
    tick(fleet)
    assert not is_down(fleet, place)
    assert fleet.value("SELECT count(*) FROM device WHERE unreachable_since IS NOT NULL") == 0


# --- who is tried, and when ---------------------------------------------------------------------------------------


def test_two_devices_take_turns_and_after_two_hours_the_next_two(fleet: Fleet) -> None:
    """One attempt every five minutes, an ordinary collection that counts; nothing else of the site is claimed."""
    fleet.workers(collect=9)
    place = site(fleet)
    devices = goes_away(fleet, place, 6, due=-MINUTE)
    tried = []
    for _ in range(28):
        assignment = probe(fleet)
        assert tick(fleet).new == ()
        assert fleet.collections.end(assignment, NO_ANSWER)
        assert tick(fleet).new == ()
        tried.append(devices.index(assignment.device_id))
        later(fleet, place)
    assert tried == [0, 1] * 12 + [2, 3] * 2
    assert fleet.row("device", devices[0]).failures == 13
    assert fleet.alarms() == [("site_down", f"site {place}")]  # and none of a device


def test_who_may_not_be_tried_lets_the_next_one(fleet: Fleet) -> None:
    """Blocked, paused, held by its firewall, or open already; a site of which nobody may be tried waits."""
    fleet.workers(collect=9)
    place = site(fleet)
    devices = goes_away(fleet, place, 5)
    fleet.sql("UPDATE device SET hold_until = now() + interval '10 minutes' WHERE id = :d", d=devices[0])
    fleet.sql("UPDATE device SET blocked_code = 'host_key_mismatch' WHERE id = :d", d=devices[1])
    more = goes_away(fleet, place, 1)
    fleet.sql("UPDATE device SET answered_at = now() - interval '1 day' WHERE id = ANY(:d)", d=more)
    assignment = probe(fleet)
    assert assignment.device_id == devices[2]
    fleet.expire(assignment.collection_id)
    fleet.sql("UPDATE device SET hold_until = now() + interval '10 minutes'")
    later(fleet, place)
    assert tick(fleet).new == ()
    assert fleet.row("site", place).probes == 1
    assert is_down(fleet, place)


def test_a_probe_keeps_to_the_limits(fleet: Fleet) -> None:
    """Of a site whose one place is taken nobody is tried; nor is its turn lost."""
    fleet.workers(collect=9)
    place = site(fleet, settings='{"concurrency": 1}')
    goes_away(fleet, place)
    alone = fleet.running(site_id=place, trigger="manual")
    assert tick(fleet).new == ()
    assert (is_down(fleet, place), fleet.row("site", place).probes) == (True, 0)
    assert fleet.collections.end(alone, NO_ANSWER)
    assert probe(fleet).trigger == "probe"


def test_what_was_claimed_when_the_site_went_down_is_withdrawn(fleet: Fleet) -> None:
    """It was not begun: it waits with the others, and is due when they are."""
    fleet.workers(collect=9)
    place = site(fleet)
    waiting = fleet.device(site_id=place)
    (claim,) = tick(fleet).new
    goes_away(fleet, place)
    assert tick(fleet).withdrawn == 1
    row = fleet.row("collection", claim.collection_id)
    assert (row.state, row.detail.partition(":")[0]) == ("withdrawn", "site down")
    assert fleet.value("SELECT next_due_at <= now() FROM device WHERE id = :d", d=waiting)


# --- its end ------------------------------------------------------------------------------------------------------


def test_the_first_answer_makes_all_that_waited_due_within_five_minutes(fleet: Fleet) -> None:
    """Whatever answers, and whatever it says; those whose turn comes later keep it."""
    fleet.workers(collect=9)
    place = site(fleet)
    late, backing_off = goes_away(fleet, place, 10, due=-MINUTE), goes_away(fleet, place, 10)
    soon = fleet.device(site_id=place, due=2 * MINUTE)
    healthy = fleet.device(site_id=place, due=timedelta(hours=3))
    before = fleet.row("device", healthy).next_due_at, fleet.row("device", soon).next_due_at
    first = probe(fleet)
    assert fleet.collections.end(first, NO_ANSWER)
    tick(fleet)
    refused = replace(NO_ANSWER, code="connection_refused")
    assert fleet.collections.end(fleet.running(backing_off[3], trigger="manual"), refused)
    claims = fleet.claims
    claims._dice = iter(number / 40 for number in range(1, 40)).__next__
    assert claims.claim(LIMITS)
    assert (is_down(fleet, place), fleet.alarms()) == (False, [])
    waits = fleet.sql(
        "SELECT id, next_due_at - now() AS wait FROM device WHERE id = ANY(:d)",
        d=[one for one in late + backing_off if one not in {first.device_id, backing_off[3]}],
    )
    assert len(waits) == 18
    assert all(timedelta(0) < row.wait <= 5 * MINUTE for row in waits)
    assert len({row.wait for row in waits}) == 18
    after = fleet.row("device", healthy).next_due_at, fleet.row("device", soon).next_due_at
    assert after == before
    assert fleet.row("site", place).probe_at is None


def test_a_device_that_somebody_works_on_is_released_in_the_next_tick(fleet: Fleet) -> None:
    """Beat waits for nobody, and forgets nobody over it."""
    fleet.workers(collect=9)
    place = site(fleet)
    devices = goes_away(fleet, place, 6)
    assert fleet.collections.publish(probe(fleet), published("A"))
    with fleet.admin.begin() as tx:
        tx.execute(text("SELECT 1 FROM device WHERE id = :d FOR UPDATE"), {"d": devices[5]})
        assert len(work(fleet, tick(fleet))) == 4
        assert work(fleet, tick(fleet)) == []
        assert fleet.row("device", devices[5]).next_due_at - fleet.row("site", place).probe_at > 5 * MINUTE
    assert [one.device_id for one in work(fleet, tick(fleet))] == [devices[5]]


@pytest.mark.parametrize(
    "act",
    [
        "UPDATE device SET status = 'paused', next_due_at = NULL WHERE site_id = :s",
        "UPDATE device SET status = 'removed', removed_at = now(), next_due_at = NULL WHERE site_id = :s",
        "UPDATE device SET blocked_code = 'host_key_mismatch' WHERE site_id = :s",
        "UPDATE device SET site_id = NULL WHERE site_id = :s",
        "UPDATE tenant SET removed_at = now() WHERE id = (SELECT tenant_id FROM site WHERE id = :s)",
        "WITH left_it AS (UPDATE device SET site_id = NULL WHERE site_id = :s) DELETE FROM site WHERE id = :s",
    ],
    ids=["paused", "removed", "blocked", "moved", "tenant removed", "site removed"],
)
def test_an_outage_of_nobody_is_over(fleet: Fleet, act: str) -> None:
    """Nobody is left there who could answer: its alarm would stand for ever."""
    fleet.workers(collect=9)
    place = site(fleet)
    goes_away(fleet, place)
    assert fleet.collections.end(probe(fleet), NO_ANSWER)
    tick(fleet)
    assert fleet.alarms()
    fleet.sql(act, s=place)
    tick(fleet)
    assert fleet.alarms() == []
    assert fleet.value("SELECT count(*) FROM site WHERE down_since IS NOT NULL") == 0


def test_a_device_that_is_moved_away_waits_for_nobody(fleet: Fleet) -> None:
    """It is due where it is now; one that comes to a site that is down waits with the others."""
    fleet.workers(collect=9)
    place = site(fleet)
    devices = goes_away(fleet, place, 6)
    assert fleet.collections.end(probe(fleet), NO_ANSWER)
    fleet.sql("UPDATE device SET site_id = NULL, next_due_at = now() WHERE id = :d", d=devices[4])
    came = fleet.device(site_id=place)
    (assignment,) = work(fleet, tick(fleet))
    assert (assignment.device_id, assignment.trigger) == (devices[4], "schedule")
    assert fleet.row("device", came).last_seq == 0
    assert is_down(fleet, place)


@pytest.mark.parametrize("column", ["down_since", "probe_at"])
def test_a_clock_that_stood_ahead_keeps_no_site_down(fleet: Fleet, column: str) -> None:
    """Times that lie in the future mean nothing: it is tried, and the first answer counts."""
    fleet.workers(collect=9)
    place = site(fleet)
    goes_away(fleet, place)
    assert fleet.collections.end(probe(fleet), NO_ANSWER)
    later(fleet, place)
    fleet.sql(f"UPDATE site SET {column} = now() + interval '1 year' WHERE id = :s", s=place)  # noqa: S608
    assert fleet.collections.publish(probe(fleet), published("A"))
    assert len(work(fleet, tick(fleet))) == 4
    assert not is_down(fleet, place)


# --- at once ------------------------------------------------------------------------------------------------------


def test_twenty_that_end_at_one_moment_wait_for_nobody(fleet: Fleet, size: Size) -> None:
    """Collectors, beat, and an operator who edits the site: no deadlock, one judgement, one alarm."""
    from backupflow.adapters.db.scope_following import lock_all
    from backupflow.core.scopes import ScopeKind

    fleet.workers(collect=9)
    place = site(fleet)
    for _ in range(10 if size == "soak" else 2):
        running = [fleet.running(site_id=place) for _ in range(20)]
        fleet.sql("UPDATE device SET answered_at = now() - interval '1 hour'")
        stop = threading.Event()

        def edit(stop: threading.Event = stop) -> None:
            while not stop.is_set():
                with fleet.engine("operator").begin() as tx:
                    assert lock_all(tx, ScopeKind.SITE, place)
                    tx.execute(text("UPDATE site SET settings = settings WHERE id = :s"), {"s": place})

        def beat(stop: threading.Event = stop) -> None:
            while not stop.is_set():
                fleet.claims.claim(LIMITS)

        with ThreadPoolExecutor(22) as pool:
            others = [pool.submit(edit), pool.submit(beat)]
            ends = [pool.submit(fleet.collections.end, one, NO_ANSWER) for one in running]
            assert all(one.result(60) for one in ends)
            stop.set()
            for other in others:
                other.result(60)
        tick(fleet)
        assert is_down(fleet, place)
        fleet.sql("UPDATE collection SET state = 'withdrawn' WHERE state = 'claimed'")
        fleet.sql("UPDATE device SET status = 'removed', removed_at = now(), next_due_at = NULL")
        tick(fleet)
        assert not is_down(fleet, place)


# --- three days ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ahead(servers: Servers, postgres_roles: Path) -> Iterator[Fleet]:
    """A database of its own: its time is another one."""
    with migrated(servers, postgres_roles) as made:
        yield made


@dataclass
class Days:
    """Beat and collectors, from one moment at which something happens to the next; a session takes ten seconds."""

    fleet: Fleet
    away: UUID | None = None
    open: dict[datetime, list[Assignment]] = field(default_factory=dict)
    most: Counter[UUID] = field(default_factory=Counter)
    collected: dict[DeviceId, datetime] = field(default_factory=dict)
    sites: dict[DeviceId, UUID] = field(default_factory=dict)

    def run(self, time: VirtualTime, until: datetime) -> None:
        """Let everything happen up to then."""
        while (now := time.now) < until:
            self._end(now)
            self.fleet.sql("UPDATE process SET heartbeat_at = now()")
            if started := work(self.fleet, tick(self.fleet)):
                self.open.setdefault(now + timedelta(seconds=10), []).extend(started)
            busy = Counter(self.sites[one.device_id] for several in self.open.values() for one in several)
            self.most |= busy
            nearest = self.fleet.value("""
                SELECT min(at) FROM (SELECT next_due_at AS at FROM device WHERE next_due_at > now() UNION ALL
                    SELECT probe_at FROM site WHERE probe_at > now()) moments""")
            then = min([*self.open, nearest or until, until])
            time.forward(max(then - now, timedelta(0)) + timedelta(milliseconds=200))

    def _end(self, now: datetime) -> None:
        for over in [at for at in self.open if at <= now]:
            for one in self.open.pop(over):
                if self.sites[one.device_id] == self.away:
                    again = timedelta(minutes=5 if not one.failures else 15 if one.failures == 1 else 60) * 1.15
                    assert self.fleet.collections.end(one, replace(NO_ANSWER, again_in=again))
                else:
                    assert self.fleet.collections.publish(one, published("A"))
                    assert all(stored.acceptable for stored in self.fleet.observations.store([message(one, "A")]))
                    self.collected[one.device_id] = now


@pytest.mark.timeout(3600)
def test_a_site_that_is_down_for_days_is_two_events_and_one_session(ahead: Fleet, size: Size) -> None:
    """Nobody else waits for it, none of its devices raises an alarm, and all are collected soon after its return."""
    soak = size == "soak"
    count, every, lasts = (200, 360, timedelta(days=3)) if soak else (20, 40, timedelta(hours=2.5))
    time, days = VirtualTime(ahead), Days(ahead)
    ahead.policy = Policy(interval=every * MINUTE)
    ahead.workers(collect=20)
    place, other = site(ahead, settings='{"concurrency": 8}'), site(ahead)
    for home, many in ((place, count), (other, 3)):
        for number in range(many):
            device = ahead.device(site_id=home, due=every * MINUTE * (number + 1) / (many + 1))
            days.sites[device] = home
    days.run(time, time.now + every * MINUTE)
    assert len(days.collected) == count + 3
    began, days.away, days.most = time.now, place, Counter()
    days.run(time, began + lasts)
    assert days.most[place] <= 2
    told = [(row.code, row.scope) for row in ahead.sql("SELECT * FROM alarm")]
    assert told == [("site_down", f"site {place}")]
    returned, days.away = time.now, None
    days.run(time, returned + 15 * MINUTE)
    late = [one for one, home in days.sites.items() if home == place and days.collected[one] <= returned]
    assert late == []
    others = [one for one, home in days.sites.items() if home == other]
    assert all(returned - days.collected[one] <= every * MINUTE for one in others)
    alarms = ahead.sql("SELECT code, cleared_at FROM alarm")
    assert [(row.code, row.cleared_at is not None) for row in alarms] == [("site_down", True)]
    assert days.most[place] <= 8
