"""Each mend of the job `reconcile` on a real PostgreSQL, as the role `operator`: what it mends, and what it leaves."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text

from backupflow.adapters.db import house as house_module
from backupflow.adapters.db.house import House
from backupflow.core.enrolment import router_replaced
from backupflow.core.ledger import Stored
from backupflow.core.model import CollectionId, Secrets, SecretsPolicy
from backupflow.flows import maintain
from tests.integration.db.fleet import LIMITS, Fleet, doubted, message, published, seen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from backupflow.core.message import SnapshotMessage

HOUR = timedelta(hours=1)


def mended(fleet: Fleet) -> Mapping[str, int]:
    """What was mended, and only that."""
    return {kind: count for kind, count in fleet.house.mend().items() if count}


def test_the_newest_of_what_was_kept_aside_stay(fleet: Fleet) -> None:
    """Three of each device, none of one that was removed; their rows and the others' bytes are left alone."""
    devices = [fleet.device() for _ in range(3)]
    made = {device: [fleet.doubted("A", device).collection_id for _ in range(n)] for device, n in zip(
        devices, (5, 3, 4), strict=True)}  # fmt: skip
    fleet.sql("UPDATE device SET status = 'removed', next_due_at = NULL WHERE id = :d", d=devices[2])
    assert mended(fleet) == {"aside_long_ago": 2, "aside_of_removed": 4, "login_without_owner": 1}
    assert kept_aside(fleet) == made[devices[0]][-3:] + made[devices[1]]
    assert fleet.value("SELECT count(*) FROM collection WHERE state = 'suspect'") == 12
    assert mended(fleet) == {}


def kept_aside(fleet: Fleet) -> list[int]:
    """The rows that something is kept aside of."""
    return [row.collection_id for row in fleet.sql("SELECT collection_id FROM aside ORDER BY collection_id")]


def test_what_was_kept_aside_is_not_kept_for_ever(fleet: Fleet) -> None:
    """Thirty days, however few there are: each may hold every password of a network."""
    device = fleet.device()
    old, new = (fleet.doubted(letter, device).collection_id for letter in "AB")
    age = "UPDATE aside SET created_at = now() - CAST(:age AS interval) WHERE collection_id = :c"
    fleet.sql(age, age="30 days 1 minute", c=old)
    fleet.sql(age, age="29 days 23 hours", c=new)
    assert mended(fleet) == {"aside_long_ago": 1}
    assert kept_aside(fleet) == [new]


def test_a_strangers_secrets_go_once_the_router_was_replaced(fleet: Fleet) -> None:
    """What is of the router before is never promoted: only its row stays. What the new one gives stays."""
    device, other = fleet.device(), fleet.device()
    fleet.doubted("A", device)
    running = fleet.running(device)
    kept = [fleet.doubted("A", other).collection_id]
    fleet.act(device, router_replaced)
    assert fleet.collections.end(running, doubted("B"))
    kept.append(fleet.doubted("C", device).collection_id)
    assert mended(fleet) == {"aside_of_router_before": 2}
    assert kept_aside(fleet) == kept


@pytest.mark.parametrize(
    ("of_device", "of_tenant", "everywhere", "goes"),
    [
        ({"secrets": "omit"}, {}, "collect", True),
        ({}, {"secrets": "omit"}, "collect", True),
        ({"secrets": "collect"}, {"secrets": "omit"}, "omit", False),
        ({"end_mark": False}, {}, "omit", True),
        ({}, {}, "collect", False),
    ],
)
def test_secrets_that_are_to_stay_on_the_router_are_kept_aside_no_longer(
    fleet: Fleet, of_device: dict[str, object], of_tenant: dict[str, object], everywhere: str, *, goes: bool
) -> None:
    """By the narrowest scope that says something; what shows none stays."""
    device = fleet.device(settings=of_device)
    fleet.sql("UPDATE tenant SET settings = CAST(:s AS jsonb)", s=json.dumps(of_tenant))
    shows = fleet.doubted("A", device).collection_id
    hides = fleet.doubted("B", device, observed=seen("B", secrets=Secrets.HIDDEN)).collection_id
    House(fleet.engine("operator"), SecretsPolicy(everywhere)).mend()
    assert kept_aside(fleet) == ([hides] if goes else [shows, hides])


def test_what_was_kept_aside_goes_a_part_at_a_time(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction is not as long as what has gathered: the rest is for the next time."""
    statement = house_module._MENDS["aside_long_ago"]
    assert f"LIMIT {house_module._ASIDES}" in statement
    small = statement.replace(f"LIMIT {house_module._ASIDES}", "LIMIT 2")
    monkeypatch.setitem(house_module._MENDS, "aside_long_ago", small)
    device = fleet.device()
    made = [fleet.doubted("A", device).collection_id for _ in range(6)]
    assert [mended(fleet).get("aside_long_ago", 0) for _ in range(3)] == [2, 1, 0]
    assert [row.collection_id for row in fleet.sql("SELECT * FROM aside ORDER BY collection_id")] == made[-3:]


def test_a_house_in_order_is_left_alone(fleet: Fleet) -> None:
    """Claims, sessions, histories, logins and waiting requests of living devices are no disorder."""
    fleet.workers(collect=5)
    fleet.device()
    fleet.claims.claim(LIMITS)
    fleet.running()
    fleet.observations.store([fleet.passed("A")])
    fleet.device(status="paused", due=None)
    fleet.request(fleet.device(due=HOUR))
    fleet.doubted("A")
    tables = ("device", "collection", "credential_profile", "request", "process", "alarm")
    before = [fleet.sql(f"SELECT * FROM {table} ORDER BY id") for table in tables]  # noqa: S608 - ours
    assert mended(fleet) == {}
    assert [fleet.sql(f"SELECT * FROM {table} ORDER BY id") for table in tables] == before  # noqa: S608 - ours


def test_a_device_that_is_never_due_becomes_due(fleet: Fleet) -> None:
    """Active, but without a next run: it would be overdue without anybody seeing it (I9)."""
    fleet.workers(collect=5)
    device = fleet.device(due=None)
    assert mended(fleet) == {"no_due_time": 1}
    done = fleet.claims.claim(LIMITS)
    assert done is not None
    assert [fleet.row("collection", claim.collection_id).device_id for claim in done.new] == [device]
    assert mended(fleet) == {}


@pytest.mark.parametrize("status", ["paused", "removed"])
def test_what_is_not_active_is_not_due(fleet: Fleet, status: str) -> None:
    """A paused or removed device has no next run."""
    device = fleet.device(status=status, login=False)
    assert mended(fleet) == {"due_though_inactive": 1}
    assert fleet.row("device", device).next_due_at is None


def test_a_claim_of_a_removed_device_is_withdrawn(fleet: Fleet) -> None:
    """No worker starts it any more, even if its message is still in a queue."""
    fleet.workers(collect=5)
    device, other = fleet.device(login=False), fleet.device()
    profile = fleet.login(name="shared")
    fleet.sql("UPDATE device SET credential_profile_id = :p WHERE id = :d", p=profile, d=device)
    done = fleet.claims.claim(LIMITS)
    assert done is not None
    fleet.sql("UPDATE device SET status = 'removed', next_due_at = NULL WHERE id = :d", d=device)
    assert mended(fleet) == {"claim_of_removed": 1}
    rows = {row.device_id: row for row in fleet.sql("SELECT * FROM collection")}
    assert (rows[device].state, rows[device].code, rows[device].detail) == ("withdrawn", "withdrawn", "removed")
    assert rows[device].ended_at is not None
    assert rows[other].state == "claimed"
    assert fleet.collections.start(CollectionId(rows[device].id), "late") is None


def test_the_login_of_a_removed_device_goes(fleet: Fleet) -> None:
    """A secret that nobody needs is deleted; a profile that others share is not."""
    device = fleet.device(status="removed", due=None)
    profile, living = fleet.login(name="shared"), fleet.device()
    fleet.sql("UPDATE device SET credential_profile_id = :p WHERE id = :d", p=profile, d=device)
    assert mended(fleet) == {"login_without_owner": 1}
    left = {(row.name, row.device_id) for row in fleet.sql("SELECT * FROM credential_profile")}
    assert left == {("shared", None), (None, living)}


def test_no_alarm_outlives_its_device(fleet: Fleet) -> None:
    """Nobody could ever end it; another device's, a lane's or a collector's stand."""
    gone, living = fleet.device(status="removed", login=False, due=None), fleet.device()
    for code, scope in (
        ("settings_unusable", f"device {gone}"),
        ("host_key_mismatch", f"device {gone}"),
        ("settings_unusable", f"device {living}"),
        ("settings_unusable", "collecting"),
    ):
        fleet.sql("INSERT INTO alarm (code, scope, detail) VALUES (:c, :s, 'x')", c=code, s=scope)
    assert mended(fleet) == {"alarm_of_removed": 2}
    assert fleet.alarms() == [("settings_unusable", f"device {living}"), ("settings_unusable", "collecting")]
    assert mended(fleet) == {}


def test_a_request_for_a_removed_device_is_refused(fleet: Fleet) -> None:
    """Whoever waits for it hears why, even when no beat runs."""
    gone, living = fleet.request(fleet.device(status="removed", login=False, due=None)), fleet.request(fleet.device())
    assert mended(fleet) == {"request_of_removed": 1}
    assert fleet.row("request", gone).answer == "refused: removed"
    assert fleet.row("request", gone).answered_at is not None
    assert fleet.row("request", living).answered_at is None


def test_a_process_that_is_long_gone_is_forgotten(fleet: Fleet) -> None:
    """One that was silent for a day; one that was silent for an hour is still shown."""
    fleet.workers(collect=1, age=timedelta(hours=25))
    fleet.workers(collect=1, age=-timedelta(hours=25))  # a clock stood ahead, and was set right
    silent = fleet.workers(collect=1, age=timedelta(hours=1))
    assert mended(fleet) == {"process_long_gone": 2}
    assert [row.id for row in fleet.sql("SELECT * FROM process")] == [silent]


def test_what_nobody_looks_at_any_more_goes(fleet: Fleet) -> None:
    """Requests that were answered and alarms that were cleared more than 90 days ago; what stands or waits stays."""
    device = fleet.device()
    old, young, waiting = (fleet.request(device) for _ in range(3))
    answer = "UPDATE request SET answered_at = now() - :age, answer = 'claimed' WHERE id = :r"
    fleet.sql(answer, r=old, age=timedelta(days=91))
    fleet.sql(answer, r=young, age=timedelta(days=89))
    fleet.sql("UPDATE request SET requested_at = now() - interval '1 year'")
    for code, age in (("old", 91), ("young", 89), ("standing", None)):
        cleared = None if age is None else timedelta(days=age)
        fleet.sql(
            "INSERT INTO alarm (code, scope, since, cleared_at) "
            "VALUES (:c, 'x', now() - interval '1 year', now() - CAST(:a AS interval))",
            c=code,
            a=cleared,
        )
    assert mended(fleet) == {"request_long_answered": 1, "alarm_long_cleared": 1}
    assert {row.id for row in fleet.sql("SELECT id FROM request")} == {young, waiting}
    assert {row.code for row in fleet.sql("SELECT code FROM alarm")} == {"young", "standing"}


@pytest.mark.parametrize(
    "wrong",
    [
        "UPDATE device SET (current_seq, current_collection_id) = (1, (SELECT min(id) FROM collection))",
        "UPDATE device SET current_seq = 0, current_collection_id = NULL",
        "UPDATE device SET current_seq = 9",
    ],
    ids=["older", "none", "seq-too-great"],
)
def test_a_wrong_current_observation_is_mended_with_an_alarm(fleet: Fleet, wrong: str) -> None:
    """It is the one with the greatest stored seq (I3); that it was not is a defect of ours, so it is said."""
    sent = fleet.observed(["AB", "C"])
    fleet.observations.store([m for one in sent for m in one])
    device = sent[0][0].device_id
    fleet.sql(wrong + " WHERE id = :d", d=device)
    fleet.sql("UPDATE device SET next_due_at = now()")
    assert mended(fleet) == {"wrong_current": 1}
    row = fleet.row("device", device)
    assert (row.current_seq, row.current_collection_id) == (2, sent[0][1].collection_id)
    assert fleet.alarms() == [("wrong_current", f"device {device}")]
    assert mended(fleet) == {}


def test_mending_waits_for_nobody_and_nobody_for_it(fleet: Fleet) -> None:
    """What somebody works on is left to the next time, and what is in order is never locked."""
    fleet.workers(collect=50)
    busy = fleet.device(due=None)
    request = fleet.request(fleet.device(status="removed", login=True, due=HOUR))
    with fleet.admin.begin() as tx:
        tx.execute(text("SELECT 1 FROM device FOR NO KEY UPDATE"))
        assert mended(fleet) == {}
    assert fleet.row("device", busy).next_due_at is None
    healthy = fleet.device()
    said: list[str] = []
    with fleet.admin.connect() as other:

        def look(*args: object) -> None:
            """At each commit of the job: what it had locked must not have been this one."""
            rows = other.execute(text("SELECT id FROM device WHERE id = :d FOR UPDATE SKIP LOCKED"), {"d": healthy})
            said.extend(str(row.id) for row in rows)
            other.rollback()

        engine = fleet.engine("operator")
        event.listen(engine, "commit", look)
        try:
            assert mended(fleet) == {
                "no_due_time": 1, "due_though_inactive": 1, "login_without_owner": 1, "request_of_removed": 1,
            }  # fmt: skip
        finally:
            event.remove(engine, "commit", look)
    assert set(said) == {str(healthy)}
    assert len(said) >= 7
    assert fleet.row("request", request).answered_at is not None


def test_a_current_observation_that_moved_meanwhile_is_no_disorder(fleet: Fleet) -> None:
    """Found as wrong, then stored anew before it was locked: it is looked at again."""
    first, second = fleet.observed(["AB"])[0]
    fleet.observations.store([first])
    fleet.sql("UPDATE device SET next_due_at = now() + interval '1 hour'")
    late = _LateLock(fleet, second)
    event.listen(fleet.engine("operator"), "before_cursor_execute", late)
    fleet.sql("UPDATE device SET current_seq = 0, current_collection_id = NULL")
    try:
        assert mended(fleet) == {}
    finally:
        event.remove(fleet.engine("operator"), "before_cursor_execute", late)
    assert late.done
    assert fleet.row("device", first.device_id).current_seq == 2
    assert fleet.alarms() == []


class _LateLock:
    """Stores an observation just before the suspects are locked."""

    def __init__(self, fleet: Fleet, message: SnapshotMessage) -> None:
        self._fleet = fleet
        self._message = message
        self.done = False

    def __call__(self, *args: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
        if "SKIP LOCKED" in args[2] and args[2].startswith("SELECT id FROM device"):
            assert self._fleet.observations.store([self._message]) == [Stored.STORED]
            self.done = True


def test_a_long_history_is_read_by_its_index(fleet: Fleet) -> None:
    """What is current is found without a look at the history of the whole fleet: one row of it a device, by an index.

    Which of the two indexes that begin with the device is the planner's choice: it hangs on what lies in the pages.
    """
    fleet.observations.store([m for one in fleet.observed(["ABAB" * 20] * 20) for m in one])
    fleet.sql("ANALYZE")
    with fleet.engine("operator").begin() as tx:
        explain = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {house_module._SUSPECTS}")
        steps = list(_steps(tx.execute(explain).scalar_one()[0]["Plan"]))
    assert not [step for step in steps if "Sort" in step["Node Type"] or "Aggregate" in step["Node Type"]]
    (looks,) = [step for step in steps if step.get("Relation Name") == "collection"]
    assert looks["Node Type"] in {"Index Scan", "Index Only Scan"}
    assert looks["Index Cond"] == "(device_id = d.id)"
    assert (looks["Actual Loops"], looks["Actual Rows"]) == (20, 1)
    assert looks.get("Rows Removed by Filter", 0) == 0


def _steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's steps, each before those that it stands on."""
    yield plan
    for one in plan.get("Plans", []):
        yield from _steps(one)


def test_mending_stands_in_nobodys_way(fleet: Fleet) -> None:
    """Beat claims, workers publish and ingest stores at the same time: devices first, in one order, everywhere."""
    fleet.workers(collect=50)
    for _ in range(12):
        fleet.device(due=timedelta(days=-1))
    ended = threading.Event()

    def mend() -> None:
        while not ended.wait(0.01):
            fleet.house.mend()

    # What was met just now is held for minutes: here it is due again at once.
    due = (
        "UPDATE device SET next_due_at = now(), met_at = NULL, hold_until = NULL, wary_until = NULL "
        "WHERE id IN (SELECT id FROM device ORDER BY id FOR UPDATE)"
    )

    def work() -> int:
        rounds = 0
        while rounds < 8 and not ended.is_set():  # how long it takes is the machine's affair
            done = fleet.claims.claim(LIMITS)
            if not done:
                ended.wait(0.01)  # not to starve the one whose turn it is
                continue
            for claim in done.new:
                started = fleet.collections.start(claim.collection_id, "h")
                if started is not None:
                    assert fleet.collections.publish(started, published("A"))  # type: ignore[arg-type]
                    fleet.observations.store([message(started, "A")])  # type: ignore[arg-type]
            rounds += bool(done.new)
            fleet.sql(due)
        return rounds

    with ThreadPoolExecutor(3) as pool:
        mending, working = pool.submit(mend), [pool.submit(work) for _ in range(2)]
        try:
            failed = [future.exception() for future in working]
        finally:
            ended.set()
        mending.result()
    assert failed == [None, None]
    assert [future.result() for future in working] == [8, 8]
    states = {row.state for row in fleet.sql("SELECT state FROM collection")}
    assert states == {"stored"}
    assert fleet.alarms() == []


def test_a_job_that_ran_says_so(fleet: Fleet) -> None:
    """With the time and what it did."""
    assert maintain.run("reconcile", fleet.house).counts["no_due_time"] == 0
    assert fleet.sql("SELECT * FROM job")[0].outcome == "nothing to do"
    fleet.device(due=None)
    maintain.run("reconcile", fleet.house)
    job = fleet.sql("SELECT * FROM job")[0]
    assert job.outcome == "no_due_time 1"
    assert job.finished_at is not None
