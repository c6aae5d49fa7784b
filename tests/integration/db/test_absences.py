"""Due devices that somebody says are away: no row, no connection, and tried once in each period anyway."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from backupflow.adapters.db.claims import Claims
from tests.integration.db.fleet import LIMITS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from backupflow.core.ledger import Claimed
    from backupflow.core.model import DeviceId
    from tests.integration.db.fleet import Fleet

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
HOURLY = {"interval_seconds": 3600}


class Scheduler:
    """Claims, with a poller's word that a test sets, and what was asked for it."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.away: set[UUID] = set()
        self.everybody = False
        self.asked: list[list[DeviceId]] = []

    def word(self, devices: Sequence[DeviceId]) -> Collection[DeviceId]:
        """Which of these are away."""
        self.asked.append(list(devices))
        return [device for device in devices if self.everybody or device in self.away]

    def claim(self) -> Claimed:
        """One claim, by a beat whose workers live."""
        self._fleet.sql("UPDATE process SET heartbeat_at = now()")
        claims = Claims(self._fleet.engine("scheduler"), self._fleet.policy, lambda: 0.0, self.word)
        claimed = claims.claim(LIMITS)
        assert claimed
        return claimed

    def claimed(self) -> list[UUID]:
        """The devices that a claim takes; their rows are ended at once, as if nothing had answered."""
        claims = self.claim()
        rows = self._fleet.sql("SELECT device_id FROM collection WHERE state = 'claimed'")
        assert len(rows) == len(claims.new)
        self._fleet.sql("UPDATE collection SET state = 'failed', ended_at = now() WHERE state = 'claimed'")
        return [row.device_id for row in rows]


@pytest.fixture
def scheduler(fleet: Fleet) -> Scheduler:
    """Workers with room for all."""
    fleet.workers(collect=20, collect_slow=5)
    return Scheduler(fleet)


def waits(fleet: Fleet, device: DeviceId) -> Any:  # noqa: ANN401 - a row
    """When it is looked at again, and since when it is away, in seconds from now."""
    return fleet.sql(
        "SELECT extract(epoch FROM next_due_at - now()) AS again, extract(epoch FROM now() - offline_since) AS since, "
        "last_seq FROM device WHERE id = :id",
        id=device,
    )[0]


def test_who_is_away_is_not_claimed_and_leaves_no_row(fleet: Fleet, scheduler: Scheduler) -> None:
    """It is counted, looked at again within a minute, and nothing else of it moves; the others are claimed."""
    away, here = fleet.device(), fleet.device()
    scheduler.away = {away}
    claimed = scheduler.claim()
    assert (len(claimed.new), claimed.skipped_offline) == (1, 1)
    assert [row.device_id for row in fleet.sql("SELECT device_id FROM collection")] == [here]
    row = waits(fleet, away)
    assert 30 < row.again <= 60
    assert (row.since < 30, row.last_seq) == (True, 0)
    assert fleet.row("device", here).offline_since is None


def test_who_is_back_is_claimed_at_the_next_look(fleet: Fleet, scheduler: Scheduler) -> None:
    """Whatever its interval; and nothing of the absence is left."""
    device = fleet.device()
    scheduler.away = {device}
    assert scheduler.claimed() == []
    scheduler.away = set()
    assert scheduler.claimed() == []
    fleet.sql("UPDATE device SET next_due_at = now()")
    assert scheduler.claimed() == [device]
    assert fleet.row("device", device).offline_since is None


def test_since_when_it_is_away_is_kept(fleet: Fleet, scheduler: Scheduler) -> None:
    """Each look finds how long it has been so, not the look before."""
    device = fleet.device()
    scheduler.away = {device}
    scheduler.claimed()
    fleet.sql("UPDATE device SET next_due_at = now(), offline_since = offline_since - interval '30 minutes'")
    assert scheduler.claimed() == []
    assert waits(fleet, device).since > 1800


def test_after_one_period_it_is_tried_anyway(fleet: Fleet, scheduler: Scheduler) -> None:
    """A poller that is wrong, or was forgotten, keeps nobody from being collected for longer; nor does it later."""
    device = fleet.device(settings=HOURLY)
    scheduler.away = {device}
    for _ in range(2):
        assert scheduler.claimed() == []
        fleet.sql("UPDATE device SET next_due_at = now(), offline_since = now() - interval '59.5 minutes'")
        assert scheduler.claimed() == []
        assert waits(fleet, device).again <= 30
        fleet.sql("UPDATE device SET next_due_at = now(), offline_since = now() - interval '1 hour'")
        assert scheduler.claimed() == [device]
        fleet.sql("UPDATE device SET next_due_at = now()")


def test_of_whom_the_period_is_over_nobody_is_asked(fleet: Fleet, scheduler: Scheduler) -> None:
    """Whatever the answer would be."""
    device = fleet.device(settings=HOURLY, offline_since=fleet.value("SELECT now() - interval '1 hour'"))
    scheduler.everybody = True
    assert scheduler.claimed() == [device]
    assert device not in {one for asked in scheduler.asked for one in asked}


def test_a_time_that_lies_in_the_future_starts_anew(fleet: Fleet, scheduler: Scheduler) -> None:
    """A clock that stood ahead must not keep a device waiting until it is that late."""
    device = fleet.device(settings=HOURLY, offline_since=fleet.value("SELECT now() + interval '3 days'"))
    scheduler.away = {device}
    assert scheduler.claimed() == []
    assert 0 <= waits(fleet, device).since < 30


def test_what_somebody_asks_for_is_not_looked_up(fleet: Fleet, scheduler: Scheduler) -> None:
    """Manual runs, tests and scans ignore what a poller says; a run ends the absence."""
    device = fleet.device(due=HOUR, offline_since=fleet.value("SELECT now() - interval '5 minutes'"))
    tested = fleet.device(due=HOUR)
    scheduler.everybody = True
    fleet.request(device)
    fleet.request(tested, "test")
    assert set(scheduler.claimed()) == {device, tested}
    assert scheduler.asked == []
    assert fleet.row("device", device).offline_since is None


@pytest.mark.parametrize("lane", ["collect", "collect.slow"])
def test_thousands_away_do_not_hide_who_is_there(fleet: Fleet, scheduler: Scheduler, lane: str) -> None:
    """One free place and 2,000 due before it that are away: the one that is there is claimed in the same claim."""
    fleet.sql('UPDATE process SET slots = \'{"collect": 1, "collect.slow": 1}\'')
    fleet.fleet(2000, lane=lane)
    here = fleet.device(due=-timedelta(seconds=1), lane=lane)
    scheduler.away = {row.id for row in fleet.sql("SELECT id FROM device WHERE id <> :here", here=here)}
    claimed = scheduler.claim()
    assert [row.device_id for row in fleet.sql("SELECT device_id FROM collection")] == [here]
    assert claimed.skipped_offline == 2000
    assert len(scheduler.asked) < 10


def test_those_of_a_full_site_are_not_looked_up_again_and_again(fleet: Fleet, scheduler: Scheduler) -> None:
    """What is away and what waits for a place are different things: neither loop runs for ever."""
    site = fleet.value(
        "INSERT INTO site (tenant_id, name, settings) VALUES (:t, 's', '{\"concurrency\": 1}') RETURNING id",
        t=fleet.tenant,
    )
    devices = [fleet.device(site_id=site) for _ in range(10)]
    away = fleet.device()
    scheduler.away = {away}
    claimed = scheduler.claim()
    assert (len(claimed.new), claimed.skipped_offline) == (1, 1)
    assert len([one for asked in scheduler.asked for one in asked]) < 3 * len(devices)
