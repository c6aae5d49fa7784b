"""The claim transaction on a real PostgreSQL, as the role `scheduler`: claimed, refused, emitted again, lost."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, text

from backupflow.adapters.db import claims as claims_module
from backupflow.adapters.db.claims import Claims
from backupflow.core import backoff
from backupflow.core.ledger import Assignment, Claimed, Limits, Withdrawn
from backupflow.core.model import Claim, CollectionId, Lane
from backupflow.core.scope import Policy
from backupflow.errors import StoreUnavailable
from tests.integration.db.fleet import LIMITS, Fleet, message, published

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from backupflow.core.claiming import Room
    from tests.conftest import Size

HOUR = timedelta(hours=1)


def tick(fleet: Fleet, limits: Limits = LIMITS) -> Claimed:
    """One claim that nobody else is in the way of."""
    claimed = fleet.claims.claim(limits)
    assert claimed is not None
    return claimed


def ids(claimed: Claimed) -> list[int]:
    """What was newly claimed."""
    return [claim.collection_id for claim in claimed.new]


# --- what is due -------------------------------------------------------------------------------------------------


def test_a_due_device_is_claimed_once(fleet: Fleet) -> None:
    """One row with the next seq, and the next run lies in the future in the device's own phase."""
    fleet.workers(collect=2)
    device = fleet.device(due=timedelta(hours=-13), last_seq=41)
    first, second = tick(fleet), tick(fleet)
    assert len(first.new) == 1
    assert first.new[0].lane is Lane.NORMAL
    assert (second.new, second.again) == ((), ())
    row, after = fleet.row("collection", first.new[0].collection_id), fleet.row("device", device)
    assert (row.state, row.seq, row.trigger, row.emits) == ("claimed", 42, "schedule", 1)
    assert after.last_seq == 42
    phase = (after.next_due_at - after.anchor_at) / fleet.policy.interval
    assert phase == 3  # 13 hours late at an interval of 6: one run, not three
    assert timedelta(0) < after.next_due_at - row.claimed_at <= fleet.policy.interval


@pytest.mark.parametrize("state", ["claimed", "running"])
def test_a_device_whose_row_is_open_is_not_claimed_again(fleet: Fleet, state: str) -> None:
    """However long it takes: it waits until that row has ended, and holds up no other (I4, I9)."""
    fleet.workers(collect=5)
    slow = fleet.running()
    if state == "claimed":
        fleet.sql("UPDATE collection SET state = 'claimed', holder = NULL, lease_until = NULL, started_at = NULL")
    fleet.sql("UPDATE device SET next_due_at = now() - interval '1 hour'")
    other = fleet.device()
    assert [fleet.row("collection", key).device_id for key in ids(tick(fleet))] == [other]
    assert fleet.row("device", slow.device_id).last_seq == 1


def test_nothing_is_claimed_before_it_is_due(fleet: Fleet) -> None:
    """A device that is due in a minute stays where it is."""
    fleet.workers(collect=2)
    fleet.device(due=timedelta(minutes=1))
    assert tick(fleet).new == ()


def test_the_longest_overdue_comes_first(fleet: Fleet) -> None:
    """With room for some only, nobody starves."""
    fleet.workers(collect=1)
    devices = [fleet.device(due=timedelta(minutes=-minutes)) for minutes in (1, 9, 5, 7, 3)]
    claimed = [fleet.row("collection", key).device_id for key in ids(tick(fleet))]
    assert set(claimed) == {devices[1], devices[3], devices[2]}


@pytest.mark.parametrize(
    "columns",
    [
        {"status": "paused"},
        {"status": "removed"},
        {"blocked_code": "host_key_mismatch"},
        {"login": False},
    ],
    ids="-".join,
)
def test_a_hindered_device_costs_no_row(fleet: Fleet, columns: dict[str, object]) -> None:
    """Paused, removed, blocked or without a login: it is not claimed at all, and stays due."""
    fleet.workers(collect=2)
    device = fleet.device(**columns)  # type: ignore[arg-type]
    before = fleet.row("device", device).next_due_at
    assert tick(fleet).new == ()
    assert fleet.value("SELECT count(*) FROM collection") == 0
    assert fleet.row("device", device).next_due_at == before


def test_a_suspended_login_costs_no_row_and_resumes(fleet: Fleet) -> None:
    """All devices of a suspended profile wait, and are taken at the next tick after it is lifted."""
    fleet.workers(collect=5)
    profile = fleet.login(name="radius")
    for _ in range(3):
        fleet.device(login=False, credential_profile_id=profile)
    fleet.sql("UPDATE credential_profile SET suspended_at = now() WHERE id = :p", p=profile)
    assert tick(fleet).new == ()
    fleet.sql("UPDATE credential_profile SET suspended_at = NULL WHERE id = :p", p=profile)
    assert len(tick(fleet).new) == 3


def test_a_tenant_without_keys_or_removed_costs_no_row(fleet: Fleet) -> None:
    """What could not be sealed is not collected: its claims would fill the window and never start."""
    fleet.workers(collect=2)
    bare = fleet.value("INSERT INTO tenant (name) VALUES ('bare') RETURNING id")
    device = fleet.device(tenant_id=bare)
    assert tick(fleet).new == ()
    fleet.sql("UPDATE tenant SET pepper = 'vault:v1:AAAA', removed_at = now() WHERE id = :t", t=bare)
    assert tick(fleet).new == ()
    fleet.sql("UPDATE tenant SET removed_at = NULL WHERE id = :t", t=bare)
    assert [fleet.row("collection", key).device_id for key in ids(tick(fleet))] == [device]


@pytest.mark.parametrize("scope", ["group", "site", "own"])
def test_the_nearest_login_counts(fleet: Fleet, scope: str) -> None:
    """A device's own login comes before its profile, that before its group's, that before its site's."""
    fleet.workers(collect=5)
    make = "INSERT INTO {} (tenant_id, name, credential_profile_id) VALUES (:t, 'x', :p) RETURNING id"
    far, near = fleet.login(name="far"), fleet.login(name="near")
    site = fleet.value(make.format("site"), t=fleet.tenant, p=near if scope == "site" else far)
    group = fleet.value(make.format("device_group"), t=fleet.tenant, p=near if scope == "group" else None)
    device = fleet.device(login=scope == "own", site_id=site, device_group_id=group)
    collection = ids(tick(fleet))[0]
    started = fleet.collections.start(CollectionId(collection), "h")
    assert isinstance(started, Assignment)
    own = fleet.sql("SELECT id FROM credential_profile WHERE device_id = :d", d=device)
    assert started.login_id == (own[0].id if own else near)
    assert started.login_context == (device if own else near)  # what the login was sealed for


def test_changes_are_taken_up_at_the_next_tick(fleet: Fleet) -> None:
    """Added, resumed, edited or removed while everything runs: beat keeps no list."""
    fleet.workers(collect=10)
    assert tick(fleet).new == ()
    added = fleet.device()
    assert len(tick(fleet).new) == 1
    paused = fleet.device(status="paused")
    assert tick(fleet).new == ()
    fleet.sql("UPDATE device SET status = 'active' WHERE id = :d", d=paused)
    assert len(tick(fleet).new) == 1
    later = fleet.device(due=HOUR)
    assert tick(fleet).new == ()
    fleet.sql("UPDATE device SET next_due_at = now() WHERE id = :d", d=later)
    assert len(tick(fleet).new) == 1
    fleet.sql("UPDATE device SET status = 'removed' WHERE id = ANY(:d)", d=[added, paused])
    assert tick(fleet).withdrawn == 2


def test_an_edited_interval_counts_from_the_next_claim(fleet: Fleet) -> None:
    """The nearest scope that sets the interval decides when it is due next."""
    fleet.workers(collect=10)
    fleet.sql("UPDATE tenant SET settings = '{\"interval_seconds\": 7200}' WHERE id = :t", t=fleet.tenant)
    of_tenant, own = fleet.device(), fleet.device(settings={"interval_seconds": 600})
    tick(fleet)
    due = "SELECT next_due_at - anchor_at FROM device WHERE id = :d"
    assert fleet.value(due, d=of_tenant) == timedelta(hours=2)
    assert fleet.value(due, d=own) == timedelta(minutes=10)


@pytest.mark.parametrize(
    "settings", [{"interval_seconds": 1e15}, {"interval_seconds": True}, {"interval_seconds": 0}, {"trust": "?"}]
)
def test_settings_that_make_no_sense_stop_nobody_else(fleet: Fleet, settings: dict[str, object]) -> None:
    """One device with unusable settings is refused with an alarm; the fleet goes on, and it does not loop."""
    fleet.workers(collect=10)
    bad, good = fleet.device(settings=settings), fleet.device()
    claimed = ids(tick(fleet))
    states = {fleet.row("collection", key).device_id: key for key in claimed}
    assert set(states) == {bad, good}
    assert isinstance(fleet.collections.start(CollectionId(states[bad]), "h"), Withdrawn)
    assert isinstance(fleet.collections.start(CollectionId(states[good]), "h"), Assignment)
    assert fleet.alarms() == [("settings_unusable", f"device {bad}")]
    assert tick(fleet).new == ()


# --- the window --------------------------------------------------------------------------------------------------


def test_a_window_is_three_times_the_slots_that_live(fleet: Fleet) -> None:
    """Claimed rows of a lane stay within three times its slots; workers that died have none."""
    fleet.workers(collect=2)
    fleet.workers(collect=1, collect_slow=1)
    fleet.workers(collect=50, age=timedelta(seconds=31))
    fleet.fleet(20)
    fleet.fleet(20, lane="collect.slow")
    lanes = [claim.lane for claim in tick(fleet).new]
    assert (lanes.count(Lane.NORMAL), lanes.count(Lane.SLOW)) == (9, 3)
    assert tick(fleet).new == ()


def test_without_workers_nothing_is_claimed(fleet: Fleet) -> None:
    """A fleet never piles up in the broker."""
    fleet.fleet(5)
    assert tick(fleet).new == ()


def test_more_workers_drain_faster_without_being_told(fleet: Fleet) -> None:
    """A new worker widens the window at the next tick, and what has started leaves it."""
    fleet.fleet(20)
    fleet.workers(collect=1)
    first = ids(tick(fleet))
    assert len(first) == 3
    fleet.workers(collect=2)
    assert len(tick(fleet).new) == 6
    assert isinstance(fleet.collections.start(CollectionId(first[0]), "h"), Assignment)
    assert len(tick(fleet).new) == 1


def test_requests_share_the_window_of_their_workers(fleet: Fleet) -> None:
    """collect.now and collect are taken by the same workers, so they are counted together."""
    fleet.workers(collect=1)
    for _ in range(2):
        fleet.request(fleet.device(due=HOUR))
    fleet.fleet(5)
    lanes = [claim.lane for claim in tick(fleet).new]
    assert (lanes.count(Lane.NOW), lanes.count(Lane.NORMAL)) == (2, 1)
    fleet.request(fleet.device(due=HOUR))
    assert tick(fleet).new == ()
    assert fleet.value("SELECT count(*) FROM request WHERE answered_at IS NULL") == 1


def test_the_total_counts_what_is_claimed_and_what_runs(fleet: Fleet) -> None:
    """CONFIG_BACKUP_MAX_TOTAL holds over all lanes, whatever the windows would allow."""
    fleet.workers(collect=10, collect_slow=10)
    fleet.fleet(10)
    fleet.fleet(10, lane="collect.slow")
    limits = Limits(max_total=7)
    first = ids(tick(fleet, limits))
    assert len(first) == 7
    started = fleet.collections.start(CollectionId(first[0]), "h")
    assert isinstance(started, Assignment)
    assert tick(fleet, limits).new == ()  # it runs: it still counts
    assert fleet.collections.publish(started, published("A"))
    assert len(tick(fleet, limits).new) == 1


def test_a_batch_bounds_one_transaction(fleet: Fleet) -> None:
    """However wide the window, one tick stays short."""
    fleet.workers(collect=10)
    fleet.fleet(20)
    assert [len(tick(fleet, Limits(batch=8)).new) for _ in range(3)] == [8, 8, 4]


# --- requests ----------------------------------------------------------------------------------------------------


def test_requests_come_first(fleet: Fleet) -> None:
    """Who waits in front of a screen is served before the schedule; the phase of the device stays."""
    fleet.workers(collect=1)
    fleet.fleet(10)
    device = fleet.device(due=HOUR)
    fleet.sql("UPDATE device SET anchor_at = anchor_at - interval '6 h' WHERE id = :d", d=device)
    due = fleet.row("device", device).next_due_at
    request = fleet.request(device)
    claimed = tick(fleet)
    assert [claim.lane for claim in claimed.new] == [Lane.NOW, Lane.NORMAL, Lane.NORMAL]
    answer, row = fleet.row("request", request), fleet.row("collection", claimed.new[0].collection_id)
    assert (answer.answer, answer.collection_id, row.device_id) == ("claimed", row.id, device)
    assert (row.trigger, row.lane) == ("manual", "collect.now")
    assert fleet.row("device", device).next_due_at == due


def test_a_run_that_was_asked_for_takes_the_place_of_the_first_turn(fleet: Fleet) -> None:
    """Who adds a device and does not wait for it would see it collected twice, and its firewall would count both."""
    fleet.workers(collect=1)
    device = fleet.device(due=timedelta(minutes=2))
    fleet.request(device)
    assert len(tick(fleet).new) == 1
    row = fleet.row("device", device)
    claimed_at = fleet.value("SELECT claimed_at FROM collection WHERE device_id = :d", d=device)
    assert (row.anchor_at, row.next_due_at) == (claimed_at, claimed_at + timedelta(hours=6))


def test_a_request_attaches_to_what_is_open(fleet: Fleet) -> None:
    """Claimed or running already: the request gets that row, and so does a second one for the same device."""
    fleet.workers(collect=5)
    claimed, running = fleet.device(), fleet.running()
    row = ids(tick(fleet))[0]
    both = fleet.device(due=HOUR)
    wanted = [fleet.request(claimed), fleet.request(running.device_id), fleet.request(both), fleet.request(both)]
    new = ids(tick(fleet))
    answers = [(a.answer, a.collection_id) for a in (fleet.row("request", key) for key in wanted)]
    assert len(new) == 1
    assert answers == [
        ("attached", row),
        ("attached", running.collection_id),
        ("claimed", new[0]),
        ("attached", new[0]),
    ]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"status": "paused"}, "paused"),
        ({"status": "removed"}, "removed"),
        ({"blocked_code": "authentication_failed"}, "blocked: authentication_failed"),
        ({"login": False}, "no login"),
    ],
    ids=["paused", "removed", "blocked", "no-login"],
)
def test_a_request_that_cannot_be_is_refused_with_the_reason(
    fleet: Fleet, columns: dict[str, object], reason: str
) -> None:
    """Whoever asks for it hears why not, and no row is made."""
    fleet.workers(collect=5)
    request = fleet.request(fleet.device(**columns))  # type: ignore[arg-type]
    tick(fleet)
    assert fleet.row("request", request).answer == f"refused: {reason}"
    assert fleet.value("SELECT count(*) FROM collection") == 0


def test_a_request_for_a_suspended_login_is_refused(fleet: Fleet) -> None:
    """No login is tried on a wish while its profile is suspended (I7)."""
    fleet.workers(collect=5)
    device = fleet.device(due=HOUR)
    fleet.sql("UPDATE credential_profile SET suspended_at = now()")
    request = fleet.request(device)
    tick(fleet)
    assert fleet.row("request", request).answer == "refused: login suspended"


def test_a_request_for_a_locked_device_waits_a_tick(fleet: Fleet) -> None:
    """A claim waits for nobody: what somebody works on is answered at the next tick."""
    fleet.workers(collect=5)
    request = fleet.request(fleet.device(due=HOUR))
    with fleet.admin.begin() as tx:
        tx.execute(text("SELECT 1 FROM device FOR UPDATE"))
        assert tick(fleet).new == ()
        assert fleet.row("request", request).answered_at is None
    assert len(tick(fleet).new) == 1


def test_a_request_for_a_slow_device_stays_in_its_lane(fleet: Fleet) -> None:
    """Whoever asks for many slow devices must not hold up those who ask for others (I9)."""
    fleet.workers(collect=1)
    slow, quick = (fleet.request(fleet.device(due=HOUR, lane=lane)) for lane in ("collect.slow", "collect"))
    assert [claim.lane for claim in tick(fleet).new] == [Lane.NOW]
    assert fleet.row("request", slow).answered_at is None
    assert fleet.row("request", quick).answer == "claimed"
    fleet.workers(collect_slow=1)
    assert [claim.lane for claim in tick(fleet).new] == [Lane.SLOW]
    assert fleet.row("request", slow).answer == "claimed"


# --- lanes without workers ---------------------------------------------------------------------------------------


def scheduler(fleet: Fleet, since: timedelta) -> None:
    """A beat that has been running for so long."""
    fleet.sql("DELETE FROM process WHERE role = 'scheduler'")
    insert = (
        "INSERT INTO process (id, role, host, pid, started_at) "
        "VALUES (gen_random_uuid(), 'scheduler', 'test', 1, now() - :since)"
    )
    fleet.sql(insert, since=since)


@pytest.mark.parametrize("asked", [False, True], ids=["due", "asked"])
def test_a_lane_that_nobody_works_on_is_an_alarm(fleet: Fleet, asked: bool) -> None:
    """What waits in it waits in the open, and when a worker comes it is over (I9)."""
    fleet.workers(collect=5)
    scheduler(fleet, HOUR)
    device = fleet.device(lane="collect.slow", due=HOUR if asked else timedelta(minutes=-1))
    if asked:
        fleet.request(device)
        fleet.sql("UPDATE request SET requested_at = now() - interval '1 minute'")
    for _ in range(2):
        assert tick(fleet).new == ()
    assert fleet.alarms() == [("lane_without_workers", "lane collect.slow")]
    fleet.workers(collect_slow=1)
    assert [claim.lane for claim in tick(fleet).new] == [Lane.SLOW]
    assert fleet.alarms() == []


def test_a_lane_without_work_needs_no_workers(fleet: Fleet) -> None:
    """Nor is it an alarm at a start, before the workers have said that they live, or while a device is not due."""
    scheduler(fleet, timedelta(seconds=1))
    device = fleet.device(due=timedelta(days=-1))
    tick(fleet)
    scheduler(fleet, HOUR)
    fleet.sql("UPDATE device SET next_due_at = now() + interval '1 hour' WHERE id = :d", d=device)
    fleet.device(due=timedelta(days=-1), status="paused")
    fleet.device(due=timedelta(days=-1), login=False)
    tick(fleet)
    tick(fleet, replace(LIMITS, may_claim=False))
    assert fleet.alarms() == []


# --- again, lost, withdrawn --------------------------------------------------------------------------------------


def test_what_was_not_started_is_emitted_again(fleet: Fleet) -> None:
    """The same row and the same seq, not before its time, and again after that: never lost."""
    fleet.workers(collect=5)
    device = fleet.device()
    row = ids(tick(fleet))[0]
    for emits in (2, 3):
        assert tick(fleet).again == ()
        fleet.sql("UPDATE collection SET emitted_at = emitted_at - interval '61 seconds'")
        again = tick(fleet)
        assert [claim.collection_id for claim in again.again] == [row]
        assert again.new == ()
        assert fleet.row("collection", row).emits == emits
    assert (fleet.row("collection", row).seq, fleet.row("device", device).last_seq) == (1, 1)


def test_what_runs_is_not_emitted_again(fleet: Fleet) -> None:
    """A session under its lease is left alone, however long ago it was emitted."""
    running = fleet.running()
    fleet.sql("UPDATE collection SET emitted_at = emitted_at - interval '1 day'")
    done = tick(fleet)
    assert (done.again, done.lost) == ((), 0)
    assert fleet.row("collection", running.collection_id).state == "running"


def test_a_lapsed_lease_is_lost_and_the_device_due_at_once(fleet: Fleet) -> None:
    """The row ends as lost with a reason; the device is claimed anew, with the next seq, and nothing counts."""
    fleet.workers(collect=5)
    running = fleet.running(due=HOUR)
    assert tick(fleet).lost == 0
    fleet.expire(running.collection_id)
    done = tick(fleet)
    assert done.lost == 1
    row, device = fleet.row("collection", running.collection_id), fleet.row("device", running.device_id)
    assert (row.state, row.code) == ("lost", "lease_over")
    assert row.ended_at is not None
    assert (device.losses, device.failures, device.blocked_code) == (1, 0, None)
    assert [fleet.row("collection", key).seq for key in ids(done)] == [2]


def test_lost_devices_are_spread_over_a_minute(fleet: Fleet) -> None:
    """A worker with hundreds of sessions that died must not bring them all back in one second."""
    running = fleet.running(due=HOUR)
    fleet.expire(running.collection_id)
    Claims(fleet.engine("scheduler"), fleet.policy, lambda: 0.5).claim(LIMITS)
    row = fleet.row("collection", running.collection_id)
    assert fleet.row("device", running.device_id).next_due_at - row.ended_at == timedelta(seconds=30)


def test_the_third_loss_in_a_row_waits(fleet: Fleet) -> None:
    """A device over which workers vanish must not take one after the other: it goes through the backoff."""
    device = fleet.device(due=HOUR)
    waits = []
    for _ in range(5):
        running = fleet.running(device)
        fleet.expire(running.collection_id)
        assert tick(fleet).lost == 1
        ended = fleet.row("collection", running.collection_id).ended_at
        waits.append(fleet.row("device", device).next_due_at - ended)
    assert waits == [timedelta(0), timedelta(0), *(backoff.step(n, 0.0) for n in range(3))]
    running = fleet.running(device)
    assert fleet.collections.publish(running, published("A"))
    assert fleet.row("device", device).losses == 5  # a publish may still be lost: only what is stored ends the row
    fleet.observations.store([message(running, "A")])
    assert fleet.row("device", device).losses == 0


def test_a_lost_row_of_a_paused_device_makes_nothing_due(fleet: Fleet) -> None:
    """Paused while it ran, then its worker died: it stays out of the schedule."""
    running = fleet.running(due=HOUR)
    fleet.sql("UPDATE device SET status = 'paused', next_due_at = NULL")
    fleet.expire(running.collection_id)
    assert tick(fleet).lost == 1
    assert fleet.row("device", running.device_id).next_due_at is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE device SET status = 'paused', next_due_at = NULL", "paused"),
        ("UPDATE device SET status = 'removed', next_due_at = NULL", "removed"),
        ("UPDATE device SET blocked_code = 'x'", "blocked: x"),
        ("UPDATE credential_profile SET suspended_at = now()", "login suspended"),
        ("DELETE FROM credential_profile", "no login"),
    ],
    ids=["paused", "removed", "blocked", "suspended", "no-login"],
)
def test_a_claim_is_withdrawn_when_its_device_goes(fleet: Fleet, change: str, reason: str) -> None:
    """Nothing connects to it any more, the row is final with its reason, and a late message starts nothing."""
    fleet.workers(collect=5)
    device = fleet.device()
    row = ids(tick(fleet))[0]
    fleet.sql(change)
    assert tick(fleet).withdrawn == 1
    after = fleet.row("collection", row)
    assert (after.state, after.code, after.detail) == ("withdrawn", "withdrawn", reason)
    assert after.ended_at is not None
    assert fleet.collections.start(CollectionId(row), "late") is None
    due = fleet.row("device", device).next_due_at
    assert due is None if reason in {"paused", "removed"} else due <= after.ended_at  # the run it lost is still owed


def test_a_running_session_is_not_withdrawn(fleet: Fleet) -> None:
    """It has its connection: it looks itself before it logs in."""
    running = fleet.running()
    fleet.sql("UPDATE device SET status = 'paused'")
    assert tick(fleet).withdrawn == 0
    assert fleet.row("collection", running.collection_id).state == "running"


def test_only_housekeeping_is_done_while_ours_is_down(fleet: Fleet) -> None:
    """What was claimed is emitted again, lost or withdrawn, and jobs run; nothing new is claimed or answered."""
    fleet.workers(collect=5)
    for _ in range(3):
        fleet.device()
    rows = ids(tick(fleet))
    running = fleet.collections.start(CollectionId(rows[0]), "h")
    assert isinstance(running, Assignment)
    fleet.expire(running.collection_id)
    withdrawn = fleet.row("collection", rows[1]).device_id
    fleet.sql("UPDATE device SET blocked_code = 'x' WHERE id = :d", d=withdrawn)
    fleet.sql("UPDATE collection SET emitted_at = emitted_at - interval '61 seconds'")
    fleet.sql("UPDATE job SET due_at = now()")
    fleet.device()
    request = fleet.request(fleet.device(due=HOUR))
    done = tick(fleet, replace(LIMITS, may_claim=False))
    assert (done.new, done.lost, done.withdrawn, done.jobs) == ((), 1, 1, ("reconcile",))
    assert [claim.collection_id for claim in done.again] == [rows[2]]
    assert fleet.row("request", request).answered_at is None
    assert len(tick(fleet).new) == 3  # the lost one, the new one and the request


def test_due_jobs_are_claimed_once(fleet: Fleet) -> None:
    """A job is handed out when it is due, then not before its time is over."""
    assert tick(fleet).jobs == ("reconcile",)
    assert tick(fleet).jobs == ()
    job = fleet.sql("SELECT * FROM job")[0]
    assert job.due_at - job.claimed_at == job.every
    fleet.sql("UPDATE job SET due_at = now() - interval '3 days'")
    assert tick(fleet).jobs == ("reconcile",)


DAILY = "INSERT INTO job (name, every) VALUES ('verify', interval '1 day')"
LATER = "UPDATE job SET due_at = due_at - interval '10 minutes', claimed_at = claimed_at - interval '10 minutes'"


def test_a_job_that_nobody_finished_is_handed_out_again(fleet: Fleet) -> None:
    """Its task may be lost: a whole period begins only when it is finished, as collections are emitted again (I9)."""
    fleet.sql(DAILY)
    assert tick(fleet).jobs == ("reconcile", "verify")
    fleet.sql(LATER)
    assert tick(fleet).jobs == ("reconcile", "verify")
    fleet.house.finished("verify", "part", timedelta(minutes=1))
    assert due(fleet, "verify") <= timedelta(minutes=1)
    fleet.house.finished("verify", "all")
    fleet.sql(LATER)
    assert tick(fleet).jobs == ("reconcile",)
    assert due(fleet, "verify") > timedelta(hours=23)


def due(fleet: Fleet, job: str) -> timedelta:
    """How long until a job is due."""
    left = fleet.value("SELECT due_at - now() FROM job WHERE name = :job", job=job)
    assert isinstance(left, timedelta)
    return left


def test_one_task_does_a_job_however_many_were_sent(fleet: Fleet) -> None:
    """Not two at once, and not again what was finished since it was claimed; who dies with it leaves it free."""
    tick(fleet)
    with fleet.house.turn("reconcile") as first, fleet.house.turn("reconcile") as second:
        assert (first, second) == (True, False)
    with fleet.house.turn("reconcile") as again:
        assert again
    fleet.house.finished("reconcile", "x")
    with fleet.house.turn("reconcile") as duplicate, fleet.house.turn("verify") as other:
        assert (duplicate, other) == (False, True)
    fleet.sql("UPDATE job SET finished_at = now() + interval '1 hour'")  # a clock stood ahead
    with fleet.house.turn("reconcile") as mine:
        assert mine


def test_a_job_that_is_never_done_completely_is_an_alarm(fleet: Fleet) -> None:
    """After two of its periods, and while a beat hands it out; it ends when all of it was done once."""
    fleet.sql(DAILY)
    fleet.sql("UPDATE job SET created_at = now() - interval '47 hours' WHERE name = 'verify'")
    beat = "INSERT INTO process (id, role, host, pid, started_at) VALUES (gen_random_uuid(), 'scheduler', 'h', 1, {})"
    tick(fleet)
    fleet.sql("UPDATE job SET created_at = now() - interval '49 hours' WHERE name = 'verify'")
    fleet.sql(beat.format("now() - interval '9 minutes'"))  # it began just now
    tick(fleet)
    assert fleet.alarms() == []
    fleet.sql(beat.format("now() - interval '11 minutes'"))
    for outcome in ("to be continued", "ended by x"):
        fleet.house.finished("verify", outcome, timedelta(minutes=1))
        tick(fleet)
        assert fleet.alarms() == [("job_late", "job verify")]
    fleet.house.finished("verify", "all")
    tick(fleet)
    assert fleet.alarms() == []


def due_in(fleet: Fleet, device: object) -> timedelta:
    """How long until a device is due."""
    left = fleet.value("SELECT next_due_at - now() FROM device WHERE id = :d", d=device)
    assert isinstance(left, timedelta)
    return left


@pytest.mark.parametrize("scope", ["device", "tenant", "global"])
def test_what_is_due_later_than_its_interval_says_is_drawn_nearer(fleet: Fleet, scope: str) -> None:
    """A week became a minute, in whatever scope: with the job of every few minutes it takes effect."""
    device = fleet.device(due=timedelta(days=-1))
    fleet.sql("UPDATE device SET next_due_at = now() + interval '6 days'")
    if scope == "global":
        fleet.policy = Policy(interval=timedelta(minutes=1))
    else:
        fleet.sql(f"UPDATE {scope} SET settings = '{{\"interval_seconds\": 60}}'")  # noqa: S608 - ours
    assert tick(fleet).jobs == ("reconcile",)
    assert due_in(fleet, device) <= timedelta(minutes=1)
    assert due_in(fleet, device) > timedelta(0)


def test_who_waits_for_a_reason_waits_on(fleet: Fleet) -> None:
    """After a failure, for its other login, for a first turn, paused, locked or with unusable settings: not nearer."""
    fleet.policy = Policy(interval=timedelta(minutes=1))
    failing = fleet.device(due=timedelta(days=-1), failures=3)
    fleet.sql("UPDATE device SET next_due_at = now() + interval '70 minutes'")
    others = [
        fleet.device(due=timedelta(minutes=4)),
        fleet.device(due=HOUR, settings={"interval_seconds": 1e15}),
        fleet.device(due=None, status="paused"),
        fleet.device(due=timedelta(days=-1), refused_on="current", login_on="next"),
    ]
    fleet.sql("UPDATE device SET next_due_at = now() + interval '7 minutes' WHERE refused_on IS NOT NULL")
    before = fleet.sql("SELECT id, next_due_at FROM device ORDER BY id")
    assert tick(fleet).jobs == ("reconcile",)
    assert fleet.sql("SELECT id, next_due_at FROM device ORDER BY id") == before
    assert {row.id for row in before} == {failing, *others}
    fleet.sql("UPDATE device SET anchor_at = now() - interval '1 day', next_due_at = now() + interval '1 hour'")
    fleet.sql("UPDATE job SET due_at = now()")
    with fleet.admin.begin() as tx:
        tx.execute(text("SELECT 1 FROM device FOR NO KEY UPDATE"))
        assert tick(fleet).jobs == ("reconcile",)
        assert due_in(fleet, others[0]) > timedelta(minutes=50)


YEARS = "now() + interval '10 years'"


def test_a_clock_that_stood_ahead_leaves_nothing_behind(fleet: Fleet) -> None:
    """Set right again, jobs, devices, claims and leases of that hour do not wait for years (I9)."""
    fleet.workers(collect=5)
    waiting, running = fleet.device(due=timedelta(days=-1)), fleet.running(due=timedelta(days=-1))
    added = fleet.device(due=HOUR)
    claimed = fleet.device(due=timedelta(minutes=-1))
    row = ids(tick(fleet))[0]
    fleet.sql(f"UPDATE collection SET emitted_at = {YEARS} WHERE id = :c", c=row)  # noqa: S608 - ours
    fleet.sql(f"UPDATE collection SET lease_until = {YEARS} WHERE state = 'running'")  # noqa: S608 - ours
    fleet.sql(f"UPDATE device SET next_due_at = {YEARS}")  # noqa: S608 - ours
    fleet.sql(f"UPDATE device SET created_at = {YEARS}, anchor_at = {YEARS} WHERE id = :d", d=added)  # noqa: S608 - ours
    fleet.sql(f"UPDATE job SET due_at = {YEARS}")  # noqa: S608 - ours
    done = tick(fleet)
    assert (done.jobs, done.lost, [claim.collection_id for claim in done.again]) == (("reconcile",), 1, [row])
    for device in (waiting, claimed, added, running.device_id):
        assert due_in(fleet, device) <= fleet.policy.interval
    assert tick(fleet).jobs == ()


def test_a_heartbeat_from_the_future_has_no_slots(fleet: Fleet) -> None:
    """A dead worker's, from when the clock stood ahead; a second's difference between two processes is nothing."""
    fleet.device()
    fleet.workers(collect=5, age=timedelta(days=-1))
    assert tick(fleet).new == ()
    fleet.workers(collect=5, age=timedelta(seconds=-2))
    assert len(tick(fleet).new) == 1


# --- several at once ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claimers", [2, 3])
def test_claimers_at_once_neither_overshoot_nor_double(fleet: Fleet, claimers: int, size: Size) -> None:
    """Each device at most one open row, the window never passed, every claim handed out by exactly one of them."""
    fleet.workers(collect=7)
    devices = 400 if size == "soak" else 90
    fleet.fleet(devices)
    given: list[int] = []
    most: list[int] = []
    start = threading.Barrier(claimers)

    def claim() -> None:
        scheduler = fleet.claims
        start.wait()
        for _ in range(10_000):
            if len(given) >= devices:
                break
            done = scheduler.claim(LIMITS)
            if done is not None:
                given.extend(ids(done))
                most.append(fleet.value("SELECT count(*) FROM collection WHERE state = 'claimed'"))
                with fleet.admin.begin() as tx:  # workers take some of them away
                    tx.execute(text("UPDATE collection SET state = 'failed' WHERE id = ANY(:ids)"), {"ids": given[-5:]})

    with ThreadPoolExecutor(claimers) as pool:
        for future in [pool.submit(claim) for _ in range(claimers)]:
            future.result()
    assert len(given) == len(set(given)) == devices
    assert max(most) <= 21
    assert fleet.value("SELECT count(DISTINCT device_id) FROM collection") == devices


def test_a_claimer_gives_way_to_another(fleet: Fleet) -> None:
    """While one claims, the others do nothing and wait for nobody."""
    fleet.workers(collect=5)
    fleet.device()
    with fleet.admin.begin() as tx:
        tx.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": claims_module._CLAIMING})
        assert fleet.claims.claim(LIMITS) is None
    assert len(tick(fleet).new) == 1


class Stopped(Claims):
    """A beat that is stopped in the middle of its claim (SIGSTOP), with all its locks."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet.engine("scheduler"), Policy(), lambda: 0.0)
        self.holds = threading.Event()
        self.resumes = threading.Event()

    def _claim(self, tx: Connection, room: Room, limits: Limits) -> tuple[list[Claim], int]:
        self.holds.set()
        self.resumes.wait(60)
        return super()._claim(tx, room, limits)


def test_a_stopped_claimer_frees_the_others(fleet: Fleet) -> None:
    """Its transaction is ended by the server, it claims nothing when it wakes, and says that the store was away."""
    fleet.workers(collect=5)
    fleet.device()
    stopped = Stopped(fleet)
    with ThreadPoolExecutor(1) as pool:
        asleep = pool.submit(stopped.claim, LIMITS)
        assert stopped.holds.wait(10)
        assert fleet.claims.claim(LIMITS) is None
        began = time.monotonic()
        while (claimed := fleet.claims.claim(LIMITS)) is None:
            assert time.monotonic() - began < 60, "the lock was never freed"
            time.sleep(0.1)
        assert len(claimed.new) == 1
        stopped.resumes.set()
        with pytest.raises(StoreUnavailable):
            asleep.result()
    assert claims_module._IDLE_SECONDS <= 5
    assert fleet.value("SELECT count(*) FROM collection") == 1


def test_the_time_out_stands_before_the_lock(fleet: Fleet) -> None:
    """A beat that is stopped right after it got the lock is freed too."""
    said: list[str] = []
    engine = fleet.engine("scheduler")
    event.listen(engine, "before_cursor_execute", lambda *args: said.append(args[2]))
    fleet.claims.claim(LIMITS)
    lock = next(n for n, statement in enumerate(said) if "pg_try_advisory" in statement)
    assert any("idle_in_transaction_session_timeout" in statement for statement in said[:lock])


# --- the size of a fleet -----------------------------------------------------------------------------------------


def test_a_large_fleet_is_claimed_by_its_index(fleet: Fleet) -> None:
    """Finding what is due reads the due devices, not the whole fleet."""
    fleet.workers(collect=400)
    fleet.fleet(2000)
    fleet.sql("UPDATE device SET next_due_at = now() + interval '1 hour' WHERE name NOT LIKE '%00'")
    fleet.sql("ANALYZE")
    explain = text("EXPLAIN (FORMAT JSON) " + str(claims_module._DUE))
    with fleet.engine("scheduler").begin() as tx:
        plan = str(tx.execute(explain, {"lane": "collect", "room": 30, "full": []}).scalar_one())
    assert "ix_device_due" in plan
