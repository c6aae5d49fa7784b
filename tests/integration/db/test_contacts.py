"""How often a device was met, as each role writes it down and reads it: its router's firewall never bans us."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast

import pytest

from backupflow.adapters.db.scopes import Scopes
from backupflow.core.enrolment import Edit, edited, router_replaced
from backupflow.core.firewall import SECOND, THIRD
from backupflow.core.inventory import Placement
from backupflow.core.ledger import Assignment, Claimed, Ending
from backupflow.core.model import CollectionId, DeviceId, State
from backupflow.core.scope import Policy
from backupflow.core.scope_acts import scope_edited
from backupflow.core.scopes import Changes, ScopeKind
from tests.integration.db.fleet import LIMITS, Fleet, published

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.scopes import ScopeRecord

MINUTE = timedelta(minutes=1)
NO_ANSWER = Ending(State.FAILED, "device_unreachable", counts=True, again_in=5.5 * MINUTE)


def tick(fleet: Fleet) -> Claimed:
    """One claim that nobody else is in the way of."""
    claimed = fleet.claims.claim(LIMITS)
    assert claimed is not None
    return claimed


def start(fleet: Fleet, claimed: Claimed) -> Assignment:
    """A collector takes the one that was claimed."""
    (claim,) = claimed.new
    started = fleet.collections.start(claim.collection_id, f"worker-{claim.collection_id}")
    assert isinstance(started, Assignment)
    return started


def met_before(fleet: Fleet, device: DeviceId, ago: timedelta) -> None:
    """It was met that long ago, and so is all that it knows of it."""
    fleet.sql(
        "UPDATE device SET met_at = now() - :ago, hold_until = hold_until - :ago, wary_until = wary_until - :ago, "
        "next_due_at = now() - interval '1 second' WHERE id = :d",
        ago=ago,
        d=device,
    )


def until(fleet: Fleet, device: DeviceId) -> tuple[timedelta | None, timedelta | None]:
    """How long it is held, and how long whoever asks is refused, from its last contact on."""
    row = fleet.row("device", device)
    held, wary = row.hold_until, row.wary_until
    return held and held - row.met_at, wary and wary - row.met_at


def test_a_second_contact_within_minutes_holds_the_third(fleet: Fleet) -> None:
    """What is lost is due again at once, and collected; after that it waits, and takes up no room and no row."""
    fleet.workers(collect=5)
    device = fleet.device()
    first = start(fleet, tick(fleet))
    assert until(fleet, device) == (None, None)
    fleet.expire(first.collection_id)
    second = start(fleet, tick(fleet))
    assert until(fleet, device) == (SECOND, None)
    fleet.expire(second.collection_id)
    assert (tick(fleet).new, fleet.row("device", device).losses) == ((), 2)
    met_before(fleet, device, SECOND + MINUTE)
    third = start(fleet, tick(fleet))
    assert third.device_id == device


def test_a_person_may_come_once_more_and_then_has_to_wait(fleet: Fleet) -> None:
    """A request is answered while the device is held; the next is refused with the time from which on it is not."""
    fleet.workers(collect=5)
    device = fleet.device(due=timedelta(hours=1))
    for _ in range(3):
        request = fleet.request(device)
        assert fleet.collections.publish(start(fleet, tick(fleet)), published("A"))
        assert fleet.row("request", request).answer == "claimed"
    assert until(fleet, device) == (THIRD, THIRD)
    kinds = {kind: fleet.request(device, kind) for kind in ("backup", "test", "scan")}
    assert tick(fleet).new == ()
    again = fleet.value("SELECT to_char(wary_until AT TIME ZONE 'UTC' + interval '1 minute', 'HH24:MI') FROM device")
    for request in kinds.values():
        said = fleet.row("request", request).answer
        assert said.startswith("refused: too many connections lately")
        assert f"again at {again} UTC" in said


def test_whoever_asks_for_what_is_on_its_way_is_not_refused(fleet: Fleet) -> None:
    """It needs no other connection."""
    fleet.workers(collect=5)
    device = fleet.device()
    start(fleet, tick(fleet))
    fleet.sql("UPDATE device SET wary_until = now() + interval '1 hour', hold_until = now() + interval '1 hour'")
    request = fleet.request(device)
    assert tick(fleet).new == ()
    assert fleet.row("request", request).answer == "attached"


@pytest.mark.parametrize("trigger", ["schedule", "manual", "forced", "probe", "trial", "test", "scan"])
def test_every_session_is_a_contact(fleet: Fleet, trigger: str) -> None:
    """Whatever it is for; one that never came to be is none."""
    device = fleet.running(trigger=trigger).device_id
    assert fleet.value("SELECT now() - met_at BETWEEN '0 s' AND '1 min' FROM device WHERE id = :d", d=device)
    paused = fleet.device(status="removed", removed_at="now", due=None)
    with pytest.raises(AssertionError):
        fleet.running(paused, trigger=trigger)
    assert fleet.row("device", paused).met_at is None


def test_a_router_that_is_met_every_few_minutes_has_no_such_rules(fleet: Fleet) -> None:
    """An interval below five minutes would ban us each hour: nothing is counted, and what was counted is forgotten."""
    fleet.workers(collect=5)
    device = fleet.device(met_at="now", hold_until="now", settings={"interval_seconds": 120})
    fleet.sql("UPDATE device SET hold_until = now() - interval '1 minute'")
    for _ in range(4):
        assert fleet.collections.publish(start(fleet, tick(fleet)), published("A"))
        fleet.sql("UPDATE device SET next_due_at = now()")
        row = fleet.row("device", device)
        assert (row.met_at, row.hold_until, row.wary_until) == (None, None, None)


@pytest.mark.parametrize("column", ["hold_until", "wary_until"])
def test_a_time_too_far_ahead_holds_nobody(fleet: Fleet, column: str) -> None:
    """A clock stood ahead for a while."""
    fleet.workers(collect=5)
    device = fleet.device()
    fleet.sql(f"UPDATE device SET {column} = now() + interval '121 minutes'")  # noqa: S608 - one of two columns
    request = fleet.request(device)
    assert len(tick(fleet).new) == 1
    assert fleet.row("request", request).answer == "claimed"


def test_a_held_device_hides_nobody(fleet: Fleet) -> None:
    """Of those that are due it is passed over, however long it has been due."""
    fleet.workers(collect=1)
    for _ in range(9):
        fleet.device(due=timedelta(hours=-1))
    fleet.sql("UPDATE device SET met_at = now(), hold_until = now() + interval '10 minutes'")
    fleet.device()
    assert len(tick(fleet).new) == 1


def _jump(fleet: Fleet, device: DeviceId) -> object:
    fleet.jump_host(name="hop-1")
    return fleet.act(device, lambda record: edited(record, Edit(placement=Placement(jump="hop-1")), None))


def _jump_of_all(fleet: Fleet, _: DeviceId) -> object:
    """Of its tenant."""
    fleet.jump_host(name="hop-1")
    scopes = Scopes(fleet.engine("enroller"), fleet.policy)
    changes = Changes(jump="hop-1")
    return scopes.change(
        ScopeKind.TENANT, fleet.tenant, "main", lambda there: scope_edited(cast("ScopeRecord", there), changes), "me"
    )


@pytest.mark.parametrize(
    ("act", "forgets"),
    [
        (lambda fleet, device: fleet.act(device, lambda there: edited(there, Edit(host="192.0.2.9"), None)), True),
        (lambda fleet, device: fleet.act(device, lambda there: edited(there, Edit(port=2222), None)), True),
        (lambda fleet, device: fleet.act(device, lambda there: edited(there, Edit(new_router=True), None)), True),
        (lambda fleet, device: fleet.act(device, router_replaced), True),
        (_jump, True),
        (_jump_of_all, True),
        (lambda fleet, device: fleet.act(device, lambda there: edited(there, Edit("other"), None)), False),
    ],
    ids=["host", "port", "new router", "replaced", "jump host", "jump host of its tenant", "name"],
)
def test_another_router_has_another_firewall(
    fleet: Fleet, act: Callable[[Fleet, DeviceId], object], *, forgets: bool
) -> None:
    """How often the one before was met keeps nobody away from it; another name is no other router."""
    device = fleet.device()
    fleet.sql(
        "UPDATE device SET met_at = now(), hold_until = now() + interval '1 hour', "
        "wary_until = now() + interval '1 hour'"
    )
    assert act(fleet, device)
    row = fleet.row("device", device)
    assert [row.met_at is None, row.hold_until is None, row.wary_until is None] == [forgets] * 3


# --- what is heard ------------------------------------------------------------------------------------------------


def _publish(fleet: Fleet, assignment: Assignment) -> object:
    return fleet.collections.publish(assignment, published("A"))


def _end(
    code: str, state: State = State.FAILED, *, counts: bool = True, blocks: bool = False
) -> Callable[[Fleet, Assignment], object]:
    ending = dataclasses.replace(NO_ANSWER, code=code, state=state, counts=counts, blocks=blocks)
    return lambda fleet, assignment: fleet.collections.end(assignment, ending)


@pytest.mark.parametrize(
    ("ends", "answers"),
    [
        (_publish, True),
        (_end("device_unreachable"), False),
        (_end("connection_refused"), True),
        (_end("device_timeout"), True),
        (_end("authentication_failed", State.BLOCKED, blocks=True), True),
        (_end("vault_unavailable", counts=False), None),
        (_end("name_unresolved"), None),
    ],
    ids=["stored", "unreachable", "refused", "timeout", "login refused", "pause", "name"],
)
def test_what_was_heard_is_written_down(
    fleet: Fleet, ends: Callable[[Fleet, Assignment], object], answers: bool | None
) -> None:
    """An answer ends a silence; a silence begins once."""
    before = datetime.fromisoformat("2026-01-01T00:00:00Z")
    for since in (None, before):
        assignment = fleet.running()
        fleet.sql("UPDATE device SET unreachable_since = :s WHERE id = :d", s=since, d=assignment.device_id)
        assert ends(fleet, assignment)
        row = fleet.row("device", assignment.device_id)
        assert (row.answered_at is not None) is (answers is True)
        if answers is None or since:
            assert row.unreachable_since == (None if answers else since)
        else:
            assert (row.unreachable_since is not None) is (answers is False)


def test_what_is_heard_at_the_address_of_before_says_nothing(fleet: Fleet) -> None:
    """The device was moved while the session ran."""
    assignment = fleet.running()
    fleet.sql("UPDATE device SET host = 'elsewhere' WHERE id = :d", d=assignment.device_id)
    assert fleet.collections.end(assignment, NO_ANSWER)
    row = fleet.row("device", assignment.device_id)
    assert (row.unreachable_since, row.answered_at) == (None, None)


def test_a_device_is_down_at_its_third_failure_and_up_with_its_success(fleet: Fleet) -> None:
    """One alarm, whatever it failed with; a test that fails counts nothing."""
    device = fleet.device()
    for code in ("device_unreachable", "output_truncated"):
        assert fleet.collections.end(fleet.running(device), dataclasses.replace(NO_ANSWER, code=code))
    tested = Ending(State.TESTED, "device_unreachable")
    assert fleet.collections.end(fleet.running(device, trigger="test"), tested)
    assert fleet.alarms() == []
    for _ in range(2):
        assert fleet.collections.end(fleet.running(device), NO_ANSWER)
        assert fleet.alarms() == [("device_down", f"device {device}")]
    assert fleet.collections.publish(fleet.running(device), published("A"))
    assert fleet.alarms() == []


def test_a_device_that_was_down_and_is_blocked_needs_a_person(fleet: Fleet) -> None:
    """One alarm stands, that of the block."""
    device = fleet.device(failures=2)
    assert fleet.collections.end(fleet.running(device), NO_ANSWER)
    blocked = dataclasses.replace(NO_ANSWER, state=State.BLOCKED, code="host_key_mismatch", blocks=True, again_in=None)
    assert fleet.collections.end(fleet.running(device), blocked)
    assert fleet.alarms() == [("host_key_mismatch", f"device {device}")]


def test_it_is_the_policy_of_the_device_that_counts(fleet: Fleet) -> None:
    """The global interval where it has none of its own."""
    fleet.policy = Policy(interval=4 * MINUTE)
    device = fleet.running().device_id
    assert fleet.row("device", device).met_at is None


def test_a_contact_is_written_with_the_start(fleet: Fleet) -> None:
    """A claim that somebody else has started is none once more."""
    fleet.workers(collect=5)
    device = fleet.device()
    assignment = start(fleet, tick(fleet))
    met_at = fleet.row("device", device).met_at
    assert fleet.collections.start(CollectionId(assignment.collection_id), "another") is None
    assert fleet.row("device", device).met_at == met_at
