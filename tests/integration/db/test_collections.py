"""One collection on a real PostgreSQL, as the role `collector`: started once, fenced, ended once, with what follows."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from backupflow.adapters.db.collections import LEASE_GRACE, Collections
from backupflow.core.ledger import Assignment, Ending, Stored, Withdrawn
from backupflow.core.model import CollectionId, HostKey, State
from backupflow.errors import HostKeyMismatch, LeaseLost, LoginSuspended
from tests.integration.db.fleet import KEY, LIMITS, Fleet, facts, message, published, sealed, seen

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from tests.conftest import Size

OTHER = HostKey("ssh-ed25519", b"other")
REFUSED = Ending(State.FAILED, "bus_unavailable", again_in=timedelta(seconds=30))
BLOCKED = Ending(State.BLOCKED, "host_key_mismatch", "another key", counts=True, blocks=True, offered=OTHER)
HOUR = timedelta(hours=1)


def both(first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
    """Do two things at the same moment."""
    start = threading.Barrier(2)

    def run(act: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever it gives
        start.wait()
        return act()

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(run, act) for act in (first, second)]
        return futures[0].result(), futures[1].result()


def claimed(fleet: Fleet, **columns: Any) -> CollectionId:  # noqa: ANN401 - columns of any type
    """A collection that beat has just claimed."""
    fleet.device(**columns)
    if not fleet.sql("SELECT 1 FROM process"):
        fleet.workers(collect=100)
    done = fleet.claims.claim(LIMITS)
    assert done is not None
    return done.new[0].collection_id


def everything(fleet: Fleet) -> list[Any]:
    """All that a collector may write to."""
    tables = ("collection", "device", "host_key", "alarm", "content")
    return [fleet.sql(f"SELECT * FROM {table} ORDER BY id") for table in tables]  # noqa: S608 - ours


# --- start -------------------------------------------------------------------------------------------------------


def test_a_claim_is_started_once_however_many_try(fleet: Fleet) -> None:
    """Every copy of the message but one finds nothing to start (I4)."""
    for _ in range(5):
        collection = claimed(fleet)
        start = threading.Barrier(8)

        def run(number: int, collection: CollectionId = collection, start: threading.Barrier = start) -> object:
            start.wait()
            return fleet.collections.start(collection, f"holder-{number}")

        with ThreadPoolExecutor(8) as pool:
            got = [one for one in pool.map(run, range(8)) if one is not None]
        assert len(got) == 1
        assert isinstance(got[0], Assignment)
        assert fleet.row("collection", collection).holder == got[0].holder


@pytest.mark.parametrize("grace", [timedelta(seconds=3), timedelta(milliseconds=1), timedelta(0)])
def test_a_lease_outlasts_its_session_however_long_its_start_waited(fleet: Fleet, grace: timedelta) -> None:
    """It is counted from when the session may begin, not from when its transaction began to wait for a lock (I4)."""
    collection = claimed(fleet)
    collector = Collections(fleet.engine("collector"), fleet.policy, grace)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with ThreadPoolExecutor(1) as pool:
        with fleet.admin.begin() as tx:
            tx.execute(text("SELECT 1 FROM device FOR UPDATE"))
            starting = pool.submit(collector.start, collection, "h")
            while not fleet.value(waiting):
                threading.Event().wait(0.02)
            threading.Event().wait(2)
            free: datetime = tx.execute(text("SELECT clock_timestamp()")).scalar_one()
        started = starting.result()
    assert isinstance(started, Assignment)
    row = fleet.row("collection", collection)
    assert row.started_at >= free
    assert row.lease_until >= row.started_at + started.target.timeouts.deadline + timedelta(seconds=1)


def test_a_session_is_over_before_its_lease(fleet: Fleet) -> None:
    """By this process's own clock, so that nobody else's session can begin meanwhile (I4)."""
    running = fleet.running()
    lease_until = fleet.row("collection", running.collection_id).lease_until
    ends = []
    for _ in range(5):  # the quickest answer tells best when the lease is over
        asked = time.monotonic()
        now: datetime = fleet.value("SELECT clock_timestamp()")
        ends.append(asked + (lease_until - now).total_seconds())
    assert running.target.not_after is not None
    assert running.target.not_after < max(ends)


def test_the_time_of_reading_is_that_of_the_fence(fleet: Fleet) -> None:
    """A fence that waited for its lock was not passed when it began to wait: the order of times is that of seq."""
    running = fleet.running()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with ThreadPoolExecutor(1) as pool:
        with fleet.admin.begin() as tx:
            tx.execute(text("SELECT 1 FROM device FOR UPDATE"))
            passing = pool.submit(fleet.collections.publish, running, published("A"))
            while not fleet.value(waiting):
                threading.Event().wait(0.02)
            free: datetime = tx.execute(text("SELECT clock_timestamp()")).scalar_one()
        assert passing.result()
    assert fleet.row("collection", running.collection_id).collected_at >= free


@pytest.mark.parametrize("state", ["published", "failed", "lost", "stored"])
def test_a_second_copy_of_a_message_finds_nothing(fleet: Fleet, state: str) -> None:
    """Whatever became of the row, it is not started again."""
    running = fleet.running()
    if state in {"published", "stored"}:
        assert fleet.collections.publish(running, published("A"))
    if state == "stored":
        fleet.observations.store([message(running, "A")])
    if state == "failed":
        assert fleet.collections.end(running, REFUSED)
    if state == "lost":
        fleet.expire(running.collection_id)
        fleet.claims.claim(LIMITS)
    before = everything(fleet)
    assert fleet.row("collection", running.collection_id).state == state
    assert fleet.collections.start(running.collection_id, "late") is None
    assert fleet.collections.start(CollectionId(10**9), "stranger") is None
    assert everything(fleet) == before


@pytest.mark.parametrize(
    ("settings", "asks"),
    [({}, False), ({"who": True}, True), ({"who": False}, False), ({"who": True, "secrets": "omit"}, False)],
)
def test_a_router_is_asked_who_edited_it_where_somebody_wants_to_know(
    fleet: Fleet, settings: dict[str, object], asks: bool
) -> None:
    """Off unless it is said, by any scope; and never where secrets stay on the router: its log may hold them."""
    device = fleet.device(name="r")
    fleet.sql("UPDATE tenant SET settings = CAST(:s AS jsonb)", s=json.dumps(settings))
    assert fleet.running(device).asks_who is asks


def test_a_log_of_edits_passes_the_fence_with_its_export(fleet: Fleet) -> None:
    """Or not at all: who lost the lease writes neither; and what came of the question is noted."""
    device = fleet.device(name="r")
    late = fleet.running(device)
    told = published("a", who="kept", log=sealed("log"))
    fleet.sql("UPDATE collection SET holder = 'other' WHERE id = :c", c=late.collection_id)
    assert not fleet.collections.publish(late, told)
    assert fleet.row("collection", late.collection_id).log_sealed is None
    fleet.sql("UPDATE collection SET holder = :h WHERE id = :c", c=late.collection_id, h=late.holder)
    assert fleet.collections.publish(late, told)
    row = fleet.row("collection", late.collection_id)
    assert (row.log_sealed, row.facts["who"]) == (sealed("log").text, "kept")


def test_an_assignment_has_all_that_its_row_says(fleet: Fleet) -> None:
    """Address, settings of the nearest scope, pinned key, login and what counts against the device."""
    settings: dict[str, object] = {"legacy_ssh": True, "command_timeout_seconds": 7, "trust": "manual"}
    settings |= {"secrets": "omit", "end_mark": False, "who": True}
    device = fleet.device(host="192.0.2.7", port=2222, failures=4, remembered_command="/export x")
    first = fleet.running(device)
    fleet.collections.pin(first, KEY)
    fleet.sql("UPDATE device SET settings = CAST(:s AS jsonb)", s=json.dumps(settings))
    fleet.collections.end(first, REFUSED)
    found = fleet.running(device)
    assert (found.target.host, found.target.port, found.target.pinned) == ("192.0.2.7", 2222, KEY)
    assert (found.target.legacy_ssh, found.target.timeouts.command, found.trust) == (
        True,
        timedelta(seconds=7),
        "manual",
    )
    assert (found.failures, found.remembered_command, found.seq) == (4, "/export x", 2)
    assert (found.secrets, found.asks_end_mark, found.asks_who) == ("omit", False, False)
    assert (found.device_id, found.tenant_id, found.login_context) == (device, fleet.tenant, device)
    row = fleet.row("collection", found.collection_id)
    lease = found.target.timeouts.deadline + LEASE_GRACE
    assert abs(row.lease_until - row.started_at - lease) < timedelta(milliseconds=100)  # two looks at one clock


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE device SET status = 'paused', next_due_at = NULL", "paused"),
        ("UPDATE device SET blocked_code = 'x'", "blocked: x"),
        ("UPDATE credential_profile SET suspended_at = now()", "login suspended"),
        ("UPDATE tenant SET pepper = NULL", "no keys"),
    ],
    ids=["paused", "blocked", "suspended", "no-keys"],
)
def test_a_claim_is_withdrawn_before_any_connection(fleet: Fleet, change: str, reason: str) -> None:
    """The collector looks itself; the row is final, and the run is still owed once nothing is in the way."""
    collection = claimed(fleet)
    fleet.sql(change)
    assert fleet.collections.start(collection, "h") == Withdrawn(reason)
    row = fleet.row("collection", collection)
    assert (row.state, row.detail, row.holder) == ("withdrawn", reason, None)
    due = fleet.row("device", row.device_id).next_due_at
    assert due is None if reason == "paused" else due <= row.ended_at


def test_a_row_that_nobody_can_work_with_ends(fleet: Fleet) -> None:
    """A login that is no sealed text ends its claim with an alarm, instead of being emitted for ever."""
    collection = claimed(fleet)
    fleet.sql("UPDATE credential_profile SET sealed = 'plain'")
    assert isinstance(fleet.collections.start(collection, "h"), Withdrawn)
    row = fleet.row("collection", collection)
    assert row.state == "withdrawn"
    assert fleet.alarms() == [("row_unusable", f"device {row.device_id}")]
    assert fleet.row("device", row.device_id).next_due_at > row.ended_at
    fleet.sql("UPDATE credential_profile SET sealed = 'vault:v1:AAAA'")
    assert fleet.collections.publish(fleet.running(row.device_id), published("A"))
    assert fleet.alarms() == []


def test_starting_and_withdrawing_exclude_each_other(fleet: Fleet) -> None:
    """Beat withdraws in the moment in which a worker starts: one of them wins, and the row says who."""
    for _ in range(15):
        collection = claimed(fleet)
        device = fleet.row("collection", collection).device_id
        fleet.sql("UPDATE device SET status = 'paused' WHERE id = :d", d=device)
        _, started = both(lambda: fleet.claims.claim(LIMITS), lambda c=collection: fleet.collections.start(c, "h"))  # type: ignore[misc]
        assert not isinstance(started, Assignment)
        assert fleet.row("collection", collection).state == "withdrawn"


# --- the fence ---------------------------------------------------------------------------------------------------


def test_publishing_writes_what_ingest_will_check(fleet: Fleet) -> None:
    """Hash, digest, version and facts are in the row before the message is sent; failures are forgotten."""
    running = fleet.running(failures=3, lane="collect.slow")
    said = seen("A", facts=facts(serial=None, markers=("#error exporting /user",)))
    assert fleet.collections.publish(running, published("A", observed=said))
    row, device = fleet.row("collection", running.collection_id), fleet.row("device", running.device_id)
    sent = message(running, "A")
    assert (row.state, bytes(row.digest), bytes(row.content_hash)) == (
        "published",
        sent.sealed.digest,
        sent.content_hash,
    )
    assert row.facts == {
        "version": "7.14", "model": "CCR", "serial": None, "system_id": None, "identity": "core",
        "markers": ["#error exporting /user"], "sections": 20, "size": 1000, "secret_count": 2, "secrets": "shown",
        "known_serial": "S1", "end_mark": "untried",
    }  # fmt: skip
    assert (bytes(row.shape_hash), bytes(row.masked_hash)) == (said.shape_hash, said.masked_hash)
    assert (row.normalization_version, row.command, row.exit_status, row.raw_bytes) == (1, "/export", 0, 100)
    assert row.collected_at is not None
    assert row.lease_until is None
    assert (device.failures, device.remembered_command, device.lane) == (0, "/export", "collect")


@pytest.mark.parametrize("status", [None, 0, 255, 2**31, 2**32 - 1])
def test_any_exit_status_that_ssh_can_carry_passes_the_fence(fleet: Fleet, status: int | None) -> None:
    """It is a uint32 on the wire (RFC 4254, section 6.10): a router that says -1 must not be collected for ever."""
    running = fleet.running()
    assert fleet.collections.publish(running, published("A", exit_status=status))
    assert fleet.row("collection", running.collection_id).exit_status == status


def test_a_defect_is_an_alarm_until_the_device_is_collected(fleet: Fleet) -> None:
    """It counts and waits like a failure, and once the device was read it is over."""
    device = fleet.device(failures=1)
    running = fleet.running(device)
    scope = f"device {running.device_id}"
    defect = Ending(State.FAILED, "unexpected", "KeyError", counts=True, again_in=HOUR, alarm=scope)
    assert fleet.collections.end(running, defect)
    assert fleet.alarms() == [("unexpected", scope)]
    assert fleet.row("device", device).failures == 2
    assert fleet.row("collection", running.collection_id).code == "unexpected"
    assert fleet.collections.publish(fleet.running(device), published("A"))
    assert fleet.alarms() == []


@pytest.mark.parametrize("how", ["lost", "another_holder", "unknown_row"])
def test_without_the_lease_nothing_is_changed(fleet: Fleet, how: str) -> None:
    """A collector that was stopped beyond its lease publishes nothing, ends nothing, pins nothing (I4)."""
    running = fleet.running(due=HOUR)
    if how == "lost":
        fleet.expire(running.collection_id)
        fleet.claims.claim(LIMITS)
    if how == "another_holder":
        running = replace(running, holder="another")
    if how == "unknown_row":
        running = replace(running, collection_id=CollectionId(10**9))
    before = everything(fleet)
    assert fleet.collections.publish(running, published("A")) is False
    assert fleet.collections.end(running, REFUSED) is None
    assert fleet.collections.end(running, BLOCKED) is None
    with pytest.raises(LeaseLost):
        fleet.collections.pin(running, KEY)
    assert fleet.collections.login_allowed(running, KEY) is False
    assert everything(fleet) == before


def test_publishing_and_losing_exclude_each_other(fleet: Fleet) -> None:
    """The lease is taken away in the moment of the fence: either it is published, or it is lost and dropped."""
    seen = set()
    for _ in range(25):
        running = fleet.running(due=HOUR)
        fleet.expire(running.collection_id)
        done, passed = both(
            lambda: fleet.claims.claim(LIMITS),
            lambda r=running: fleet.collections.publish(r, published("A")),  # type: ignore[misc]
        )
        state = fleet.row("collection", running.collection_id).state
        seen.add(state)
        assert (state, done.lost) in {("published", 0), ("lost", 1)}
        assert passed is (state == "published")


def test_of_a_device_one_row_is_open(fleet: Fleet) -> None:
    """The database itself refuses a second one, whoever asks for it."""
    running = fleet.running()
    again = (
        "INSERT INTO collection (tenant_id, device_id, seq, trigger, lane) VALUES (:t, :d, 9, 'schedule', 'collect')"
    )
    with pytest.raises(DBAPIError, match="uq_collection_open"):
        fleet.sql(again, t=running.tenant_id, d=running.device_id)


# --- host keys ---------------------------------------------------------------------------------------------------


def test_a_first_key_is_committed_before_the_login(fleet: Fleet) -> None:
    """When `pin` returns, everybody sees the pin; it is verified by the success, not by the sight (I6)."""
    running = fleet.running()
    fleet.collections.pin(running, KEY)
    pinned = fleet.sql("SELECT * FROM host_key")[0]
    assert (pinned.status, pinned.key_type, bytes(pinned.blob)) == ("pinned", KEY.key_type, KEY.blob)
    assert (pinned.fingerprint, pinned.last_verified_at) == (KEY.fingerprint, None)
    assert fleet.collections.publish(running, published("A"))
    verified = fleet.sql("SELECT * FROM host_key")[0]
    assert verified.last_verified_at is not None
    assert verified.first_seen_at == pinned.first_seen_at


def test_only_one_key_is_pinned(fleet: Fleet) -> None:
    """The same key again is fine; another one is a mismatch, also if it was pinned a moment ago by somebody else."""
    running = fleet.running()
    fleet.collections.pin(running, KEY)
    fleet.collections.pin(running, KEY)
    with pytest.raises(HostKeyMismatch):
        fleet.collections.pin(running, OTHER)
    with pytest.raises(HostKeyMismatch):
        fleet.collections.pin(running, HostKey("ssh-rsa", KEY.blob))
    assert len(fleet.sql("SELECT * FROM host_key")) == 1


@pytest.mark.parametrize("role", ["collector", "operator", "enroller", "migrator"])
@pytest.mark.parametrize("column", ["first_seen_at = now()", "blob = 'x'", "key_type = 'x'", "fingerprint = 'x'"])
def test_what_a_key_is_never_changes(fleet: Fleet, role: str, column: str) -> None:
    """Not its bytes and not when it was first seen, by right or by trigger (I6)."""
    fleet.collections.pin(fleet.running(), KEY)
    with pytest.raises(DBAPIError, match=r"permission denied|never changes"), fleet.engine(role).begin() as tx:
        tx.execute(text(f"UPDATE host_key SET {column}"))  # noqa: S608 - ours


def test_first_seen_stays_over_all_successes(fleet: Fleet) -> None:
    """`last_verified_at` moves with each success, `first_seen_at` never (I6)."""
    device = fleet.device()
    running = fleet.running(device)
    fleet.collections.pin(running, KEY)
    first = fleet.value("SELECT first_seen_at FROM host_key")
    verified = set()
    for _ in range(3):
        fleet.collections.publish(running, published("A"))
        verified.add(fleet.value("SELECT last_verified_at FROM host_key"))
        assert fleet.value("SELECT first_seen_at FROM host_key") == first
        running = fleet.running(device)
    assert len(verified) == 3


def test_an_offered_key_is_kept_once(fleet: Fleet) -> None:
    """So that an operator sees it, however often it is offered; each other key is another row."""
    device = fleet.device()
    for key in (OTHER, OTHER, replace(OTHER, blob=b"third")):
        fleet.sql("UPDATE device SET blocked_code = NULL")
        fleet.collections.end(fleet.running(device), replace(BLOCKED, offered=key))
    offered = fleet.sql("SELECT * FROM host_key WHERE status = 'offered' ORDER BY id")
    assert [bytes(key.blob) for key in offered] == [b"other", b"third"]
    assert offered[0].last_seen_at > offered[0].first_seen_at


# --- endings -----------------------------------------------------------------------------------------------------


def test_a_block_stands_until_somebody_acts(fleet: Fleet) -> None:
    """One attempt, one alarm; no tick claims it, a request is refused, and its lease cannot bring it back (I7)."""
    running = fleet.running()
    assert fleet.collections.end(running, BLOCKED)
    row, device = fleet.row("collection", running.collection_id), fleet.row("device", running.device_id)
    assert (row.state, row.code, row.detail) == ("blocked", "host_key_mismatch", "another key")
    assert row.ended_at is not None
    assert (device.blocked_code, device.blocked_detail, device.failures) == ("host_key_mismatch", "another key", 1)
    assert device.blocked_at is not None
    assert fleet.alarms() == [("host_key_mismatch", f"device {running.device_id}")]
    assert fleet.collections.end(running, BLOCKED) is None
    fleet.workers(collect=5)
    fleet.sql("UPDATE device SET next_due_at = now() - interval '1 day'")
    request = fleet.request(running.device_id)
    done = fleet.claims.claim(LIMITS)
    assert done is not None
    assert done.new == ()
    assert fleet.row("request", request).answer == "refused: blocked: host_key_mismatch"
    assert len(fleet.alarms()) == 1


@pytest.mark.parametrize(
    ("ending", "failures", "wait"),
    [
        (Ending(State.FAILED, "device_timeout", counts=True, again_in=timedelta(minutes=5)), 3, timedelta(minutes=5)),
        (Ending(State.FAILED, "command_rejected", counts=True), 3, None),
        (REFUSED, 2, timedelta(seconds=30)),
    ],
    ids=["retry", "give-up", "pause"],
)
def test_an_ending_says_when_it_is_due_again(
    fleet: Fleet, ending: Ending, failures: int, wait: timedelta | None
) -> None:
    """After a wait, or at the regular interval; what is not the device's fault does not count against it."""
    running = fleet.running(due=HOUR, failures=2, losses=2)
    due = fleet.row("device", running.device_id).next_due_at
    assert fleet.collections.end(running, ending)
    row, device = fleet.row("collection", running.collection_id), fleet.row("device", running.device_id)
    assert (row.state, row.code, row.lease_until) == ("failed", ending.code, None)
    assert (device.failures, device.losses, device.blocked_code) == (failures, 0, None)
    assert device.next_due_at == (due if wait is None else row.ended_at + wait)


PAUSED = Ending(State.FAILED, "vault_unavailable", "403", again_in=timedelta(0), pauses=True, alarm="collecting")


def test_what_only_a_collector_sees_is_an_alarm_and_does_not_run_hot(fleet: Fleet) -> None:
    """A vault that refuses this role: said once, slower from the third time on, over when one passes (I9, I15)."""
    device = fleet.device()
    for losses in range(3):
        running = fleet.running(device)
        assert running.losses == losses
        assert fleet.collections.end(running, PAUSED)
        assert fleet.alarms() == [("vault_unavailable", "collecting")]
    assert fleet.value("SELECT count(*) FROM alarm") == 1
    row = fleet.row("device", device)
    assert (row.losses, row.failures) == (3, 0)
    sent = fleet.passed("A", device)
    assert fleet.alarms() == []
    fleet.observations.store([sent])
    assert fleet.row("device", device).losses == 0


def test_a_bus_that_refuses_is_an_alarm_until_something_came_through(fleet: Fleet) -> None:
    """The fence lies before the bus: neither it nor what was read before says that the bus takes messages again."""
    early = fleet.passed("A")
    running = fleet.running()
    assert fleet.collections.publish(running, published("A"))
    assert fleet.collections.end(running, replace(PAUSED, code="bus_unavailable"))
    late = fleet.passed("B")
    fleet.observations.store([early])
    assert fleet.alarms() == [("bus_unavailable", "collecting")]
    fleet.observations.store([late])
    assert fleet.alarms() == []


def test_an_ending_makes_no_paused_device_due(fleet: Fleet) -> None:
    """Paused in mid-session: it stays out of the schedule."""
    running = fleet.running()
    fleet.sql("UPDATE device SET status = 'paused', next_due_at = NULL")
    assert fleet.collections.end(running, REFUSED)
    assert fleet.row("device", running.device_id).next_due_at is None


def test_what_a_router_says_never_keeps_a_row_open(fleet: Fleet) -> None:
    """NUL bytes, lone surrogates and endless texts end their row all the same (I10)."""
    hostile = "bad\x00\udcff" + "x" * 100_000
    running = fleet.running()
    assert fleet.collections.end(running, replace(BLOCKED, detail=hostile))
    assert fleet.row("collection", running.collection_id).detail.startswith("bad\N{REPLACEMENT CHARACTER}?xx")
    other = fleet.running()
    said = seen("A", facts=facts(model=hostile, serial=None, markers=(hostile, hostile)))
    assert fleet.collections.publish(other, published("A", observed=said))
    stored = fleet.row("collection", other.collection_id).facts
    assert [len(text) for text in (stored["model"], *stored["markers"])] == [2000] * 3
    assert stored["serial"] is None


# --- the login ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE device SET status = 'paused'",
        "UPDATE device SET status = 'removed'",
        "UPDATE device SET blocked_code = 'x'",
        "UPDATE credential_profile SET suspended_at = now()",
        "UPDATE credential_profile SET sealed = 'vault:v1:bmV3'",
        "DELETE FROM credential_profile",
        "UPDATE collection SET state = 'lost'",
        "UPDATE device SET host = '192.0.2.77'",
        "UPDATE device SET port = 2222",
        "UPDATE host_key SET status = 'retired'",
        "DELETE FROM host_key",
    ],
)
def test_a_login_is_looked_at_once_more(fleet: Fleet, change: str) -> None:
    """Right before it is sent: device, address, key or login are others or lost meanwhile, and it is not (I6, I7)."""
    running = fleet.running()
    fleet.collections.pin(running, KEY)
    assert fleet.collections.login_allowed(running, KEY) is True
    fleet.sql(change)
    assert fleet.collections.login_allowed(running, KEY) is False


def test_a_login_goes_only_to_the_key_that_is_pinned_now(fleet: Fleet) -> None:
    """It was admitted when it was the pinned one; an operator has accepted another since, or none is left (I6)."""
    running = fleet.running()
    assert fleet.collections.login_allowed(running, KEY) is False
    fleet.collections.pin(running, KEY)
    assert fleet.collections.login_allowed(running, OTHER) is False
    assert fleet.collections.login_allowed(running, HostKey("ssh-rsa", KEY.blob)) is False
    fleet.sql("UPDATE host_key SET status = 'retired'")
    fleet.sql(
        "INSERT INTO host_key (tenant_id, device_id, status, key_type, blob, fingerprint) "
        "VALUES (:t, :d, 'pinned', :type, :blob, 'x')",
        t=running.tenant_id, d=running.device_id, type=OTHER.key_type, blob=OTHER.blob,
    )  # fmt: skip
    assert fleet.collections.login_allowed(running, KEY) is False
    assert fleet.collections.publish(running, published("A", host_key=KEY))
    assert fleet.value("SELECT count(*) FROM host_key WHERE last_verified_at IS NOT NULL") == 0
    assert fleet.collections.publish(fleet.running(running.device_id), published("A", host_key=OTHER))
    assert bytes(fleet.value("SELECT blob FROM host_key WHERE last_verified_at IS NOT NULL")) == OTHER.blob


@pytest.mark.parametrize("change", ["host = '192.0.2.77'", "port = 2222"])
def test_the_key_of_an_old_address_is_not_pinned(fleet: Fleet, change: str) -> None:
    """The device was moved while the handshake ran: that key is another router's (I6)."""
    running = fleet.running()
    fleet.sql(f"UPDATE device SET {change}")  # noqa: S608 - ours
    with pytest.raises(LoginSuspended):
        fleet.collections.pin(running, KEY)
    assert fleet.sql("SELECT * FROM host_key") == []


# --- after the publish -------------------------------------------------------------------------------------------


def test_a_definite_refusal_ends_what_was_published(fleet: Fleet) -> None:
    """The stream said no: the row is final at once, and the device is due again."""
    running = fleet.running(due=HOUR)
    assert fleet.collections.publish(running, published("A"))
    assert fleet.collections.end(running, REFUSED)
    row = fleet.row("collection", running.collection_id)
    assert (row.state, row.code) == ("failed", "bus_unavailable")
    assert fleet.row("device", running.device_id).next_due_at == row.ended_at + timedelta(seconds=30)
    assert fleet.observations.store([message(running, "A")]) == [Stored.WRONG_STATE]


@pytest.mark.parametrize("state", ["stored", "lost"])
def test_a_refusal_changes_nothing_that_is_stored_or_lost(fleet: Fleet, state: str) -> None:
    """A collector that is late with its ending finds that others have decided (I10)."""
    running = fleet.running()
    assert fleet.collections.publish(running, published("A"))
    if state == "stored":
        fleet.observations.store([message(running, "A")])
    else:
        fleet.sql("UPDATE collection SET collected_at = now() - interval '1 hour'")
        assert fleet.observations.lose_published(timedelta(seconds=60)) == 1
    before = everything(fleet)
    assert fleet.collections.end(running, REFUSED) is None
    assert everything(fleet) == before


def test_ending_and_storing_exclude_each_other(fleet: Fleet, size: Size) -> None:
    """Ingest and a late refusal at the same moment: exactly one final state, and both know which (I1, I10)."""
    for _ in range(25 if size == "small" else 300):
        running = fleet.running()
        assert fleet.collections.publish(running, published("A"))
        ended, stored = both(
            lambda r=running: fleet.collections.end(r, REFUSED),  # type: ignore[misc]
            lambda r=running: fleet.observations.store([message(r, "A")]),  # type: ignore[misc]
        )
        row, device = fleet.row("collection", running.collection_id), fleet.row("device", running.device_id)
        if ended:
            assert (row.state, stored, device.current_seq) == ("failed", [Stored.WRONG_STATE], 0)
        else:
            assert (row.state, stored, device.current_seq) == ("stored", [Stored.STORED], running.seq)


def test_a_holder_that_never_was_ends_nothing(fleet: Fleet) -> None:
    """Knowing the number of a published row is not enough to end it."""
    running = fleet.running()
    assert fleet.collections.publish(running, published("A"))
    assert fleet.collections.end(replace(running, holder=str(uuid4())), REFUSED) is None
    assert fleet.row("collection", running.collection_id).state == "published"


def test_a_login_that_was_refused_after_it_was_changed_blocks_nobody(fleet: Fleet) -> None:
    """An operator gave a new login while the old one was being refused: the device is tried again at once (I7)."""
    running = fleet.running()
    fleet.sql("DELETE FROM credential_profile WHERE device_id = :device", device=running.device_id)
    fleet.login(running.device_id)
    refused = Ending(State.BLOCKED, "authentication_failed", "password", counts=True, blocks=True)
    assert fleet.collections.end(running, refused)
    device = fleet.row("device", running.device_id)
    assert (device.blocked_code, device.failures) == (None, 0)
    assert fleet.row("collection", running.collection_id).state == "failed"
    assert fleet.value("SELECT count(*) FROM device WHERE next_due_at <= now() AND id = :id", id=running.device_id) == 1


def test_a_key_that_was_accepted_while_it_was_refused_blocks_nobody(fleet: Fleet) -> None:
    """An operator accepted the new key while a session was being refused for it: no block comes late (I6)."""
    running = fleet.running()
    fleet.collections.pin(running, OTHER)
    assert fleet.collections.end(running, BLOCKED)
    assert fleet.row("device", running.device_id).blocked_code is None


def test_a_device_that_timed_out_waits_in_a_lane_of_its_own(fleet: Fleet) -> None:
    """The next one of a slow device does not take a place from the others; a success brings it back (I9)."""
    running = fleet.running()
    slow = Ending(State.FAILED, "device_timeout", counts=True, again_in=timedelta(0), slow=True)
    assert fleet.collections.end(running, slow)
    assert fleet.row("device", running.device_id).lane == "collect.slow"
    fleet.workers(collect=10)
    assert fleet.claims.claim(LIMITS).new == ()  # type: ignore[union-attr]
    fleet.sql("DELETE FROM process")
    fleet.workers(collect_slow=1)
    claims = fleet.claims.claim(LIMITS)
    assert claims is not None
    assert [claim.lane for claim in claims.new] == ["collect.slow"]
    again = fleet.collections.start(claims.new[0].collection_id, "another")
    assert isinstance(again, Assignment)
    assert fleet.collections.publish(again, published("A"))
    assert fleet.row("device", running.device_id).lane == "collect"


def test_a_spread_is_no_later_than_the_next_turn(fleet: Fleet) -> None:
    """What ended by our fault is spread over a minute; a device of a short interval waits no longer than that (I9)."""
    running = fleet.running()
    fleet.sql("UPDATE device SET next_due_at = now() + interval '3 seconds'")
    assert fleet.collections.end(running, replace(REFUSED, again_in=timedelta(seconds=59)))
    waits = fleet.value("SELECT next_due_at - now() FROM device WHERE id = :id", id=running.device_id)
    assert waits < timedelta(seconds=4)
