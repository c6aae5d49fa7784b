"""Tests and scans in the ledger: claimed on request, within all limits, and nothing of the history moves with them."""
# ruff: noqa: S608 - the statements are put together of our own constants

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from backupflow.adapters.db.status import Statuses
from backupflow.core.jump import JumpTrouble
from backupflow.core.ledger import Assignment, Claimed, Ending, Step, Withdrawn
from backupflow.core.model import HostKey, State, Trigger
from tests.integration.db.fleet import KEY, LIMITS, Fleet, published

if TYPE_CHECKING:
    from backupflow.core.model import DeviceId

HOUR = timedelta(hours=1)
OTHER = HostKey("ssh-ed25519", b"other")
WELL = Ending(State.TESTED, "")
KINDS = ("test", "scan")
# All that a device's row says of its runs.
RUNS = "next_due_at, failures, losses, lane, current_seq, blocked_code, remembered_command, end_mark, modern_ssh_at"


def tick(fleet: Fleet) -> Claimed:
    """One claim."""
    claimed = fleet.claims.claim(LIMITS)
    assert claimed is not None
    return claimed


def runs(fleet: Fleet, device: DeviceId) -> tuple[Any, ...]:
    """What no test and no scan ever changes."""
    return tuple(fleet.sql(f"SELECT {RUNS} FROM device WHERE id = :d", d=device)[0])


def counted(fleet: Fleet) -> dict[str, int]:
    """How many are open, by what they are for."""
    rows = fleet.sql("SELECT trigger, count(*) AS n FROM collection WHERE ended_at IS NULL GROUP BY trigger")
    return {row.trigger: row.n for row in rows}


def answers(fleet: Fleet) -> list[str | None]:
    """What became of the requests."""
    return [row.answer for row in fleet.sql("SELECT answer FROM request ORDER BY id")]


def started(fleet: Fleet, claimed: Claimed) -> Assignment:
    """Take the one that was claimed."""
    assignment = fleet.collections.start(claimed.new[0].collection_id, "holder")
    assert isinstance(assignment, Assignment)
    return assignment


# --- claimed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("lane", "queue"), [("collect", "collect.now"), ("collect.slow", "collect.slow")])
def test_a_request_is_claimed_as_what_it_asks_for(fleet: Fleet, kind: str, lane: str, queue: str) -> None:
    """With the next seq, on the lane of what is asked for; what is due stays due."""
    fleet.workers(collect=2, collect_slow=2)
    device = fleet.device(due=HOUR, lane=lane, last_seq=4, failures=2, losses=1)
    fleet.sql("UPDATE device SET anchor_at = now() - interval '100 minutes'")
    before = runs(fleet, device)
    fleet.request(device, kind)
    claim = tick(fleet).new[0]
    row = fleet.row("collection", claim.collection_id)
    assert (row.trigger, row.seq, claim.lane, answers(fleet)) == (kind, 5, queue, ["claimed"])
    assert runs(fleet, device) == before
    assignment = fleet.collections.start(claim.collection_id, "holder")
    assert isinstance(assignment, Assignment)
    assert assignment.trigger is Trigger(kind)


@pytest.mark.parametrize(
    ("columns", "refused"),
    [
        ({"status": "paused", "due": None}, {"backup": "paused"}),
        ({"blocked_code": "identity_changed"}, dict.fromkeys(("backup", "test"), "blocked: identity_changed")),
        ({"login": False}, {"backup": "no login", "test": "no login"}),
        ({"status": "removed", "due": None}, dict.fromkeys(("backup", "test", "scan"), "removed")),
    ],
)  # fmt: skip
def test_what_is_in_the_way_depends_on_what_is_asked_for(
    fleet: Fleet, columns: dict[str, Any], refused: dict[str, str]
) -> None:
    """A test may be of what is paused; a scan sends no login, so that a block or none of it is in its way (I7)."""
    for kind in ("backup", "test", "scan"):
        fleet.workers(collect=2)
        device = fleet.device(**({"due": HOUR} | columns))
        fleet.request(device, kind)
        claimed = tick(fleet).new
        expected = f"refused: {refused[kind]}" if kind in refused else "claimed"
        assert (kind, answers(fleet)[-1], len(claimed)) == (kind, expected, int(kind not in refused))
        if claimed:
            assert isinstance(fleet.collections.start(claimed[0].collection_id, "holder"), Assignment)


def test_a_request_waits_while_something_else_is_open(fleet: Fleet) -> None:
    """It attaches to its own kind only: of one device one row is open at a time (I4)."""
    fleet.workers(collect=5)
    device = fleet.device(due=HOUR)
    for kind in ("test", "backup", "test", "scan"):
        fleet.request(device, kind)
    for expected in (
        ["claimed", None, "attached", None],
        ["claimed", "claimed", "attached", None],
        ["claimed", "claimed", "attached", "claimed"],
    ):
        claimed = tick(fleet)
        assert (len(claimed.new), answers(fleet), tick(fleet).new) == (1, expected, ())
        fleet.sql("UPDATE collection SET state = 'failed', code = 'x', ended_at = now() WHERE ended_at IS NULL")
    kinds = fleet.sql("SELECT trigger FROM collection ORDER BY seq")
    assert [row.trigger for row in kinds] == ["test", "manual", "scan"]


def test_what_is_due_waits_for_a_test_and_comes_then(fleet: Fleet) -> None:
    """A test takes no run away (I9)."""
    fleet.workers(collect=5)
    device = fleet.device()
    fleet.request(device, "test")
    test = started(fleet, tick(fleet))
    assert (test.trigger, tick(fleet).new) == (Trigger.TEST, ())
    assert fleet.collections.end(test, WELL)
    assert started(fleet, tick(fleet)).trigger is Trigger.SCHEDULE


# --- ended -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["test", "scan"])
def test_whatever_is_tried_leaves_half_of_the_workers_to_what_is_due(fleet: Fleet, kind: str) -> None:
    """However many were asked for first, waiting or running; a backup that is asked for is none of them (I9)."""
    fleet.workers(collect=8)
    fleet.fleet(90)
    asked = [row.id for row in fleet.sql("SELECT id FROM device ORDER BY name LIMIT 30")]
    fleet.sql("UPDATE device SET next_due_at = now() + interval '1 h' WHERE id = ANY(:a)", a=asked)
    for device in asked[:-1]:
        fleet.request(device, kind)
    fleet.request(asked[-1])
    tick(fleet)
    assert counted(fleet) == {kind: 4, "manual": 1, "schedule": 24 - 5}
    fleet.sql("UPDATE collection SET state = 'running', holder = 'x', lease_until = now() + interval '1 h'")
    tick(fleet)
    assert counted(fleet) == {kind: 4, "manual": 1, "schedule": 24 - 5 + 24}


def test_where_nothing_is_due_all_workers_try(fleet: Fleet) -> None:
    """Nobody is in their way."""
    fleet.workers(collect=8)
    fleet.fleet(40)
    fleet.sql("UPDATE device SET next_due_at = now() + interval '1 h'")
    for row in fleet.sql("SELECT id FROM device"):
        fleet.request(row.id, "test")
    tick(fleet)
    assert counted(fleet) == {"test": 24}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("code", ["", "device_timeout", "vault_unavailable"])
def test_a_test_leaves_all_but_its_report(fleet: Fleet, kind: str, code: str) -> None:
    """Whatever it found: no failure, no loss, no due time, no lane; what it says is stored as PostgreSQL can."""
    device = fleet.device(due=HOUR, failures=2, losses=1)
    before = runs(fleet, device)
    steps = (Step("reach", well=True), Step("login", well=False, says="a\0b", code=code, facts={"seconds": 3}))
    test = fleet.running(device, trigger=kind)
    ending = Ending(State.TESTED, code, counts=True, pauses=True, again_in=HOUR, slow=True, report=steps)
    assert fleet.collections.end(test, ending)
    row = fleet.row("collection", test.collection_id)
    assert (row.state, row.code, row.lease_until, row.ended_at is None) == ("tested", code, None, False)
    assert [(one["name"], one["well"], one["facts"]) for one in row.report] == [
        ("reach", True, {}),
        ("login", False, {"seconds": 3}),
    ]
    assert "\0" not in json.dumps(row.report)
    assert runs(fleet, device) == before


def test_a_test_never_passes_the_fence(fleet: Fleet) -> None:
    """Not even if its collector tried: what it read is no observation."""
    for kind in KINDS:
        assert not fleet.collections.publish(fleet.running(trigger=kind), published("A"))


def test_a_scan_gets_no_login(fleet: Fleet) -> None:
    """Whatever its collector asks for, also where a login is there and a key is pinned."""
    for kind, allowed in (("test", True), ("scan", False)):
        running = fleet.running(trigger=kind)
        fleet.collections.pin(running, KEY)
        assert fleet.collections.login_allowed(running, KEY) is allowed


def test_a_refused_login_in_a_test_blocks_as_ever(fleet: Fleet) -> None:
    """One attempt (I7): the block, its alarm and the key that was offered; the due time stays."""
    device = fleet.device(due=HOUR)
    due = fleet.row("device", device).next_due_at
    test = fleet.running(device, trigger="test")
    assert fleet.collections.end(test, Ending(State.TESTED, "host_key_mismatch", "x", blocks=True, offered=OTHER))
    after = fleet.row("device", device)
    assert (after.blocked_code, after.failures, after.next_due_at) == ("host_key_mismatch", 0, due)
    assert fleet.row("collection", test.collection_id).state == "tested"
    assert fleet.alarms() == [("host_key_mismatch", f"device {device}")]
    assert [row.status for row in fleet.sql("SELECT status FROM host_key")] == ["offered"]


def test_a_block_that_an_operator_has_answered_is_none(fleet: Fleet) -> None:
    """Also one that a test would bring; its row says `tested` all the same."""
    device = fleet.device(due=HOUR)
    test = fleet.running(device, trigger="test")
    fleet.sql("UPDATE device SET host = 'elsewhere' WHERE id = :d", d=device)
    assert fleet.collections.end(test, Ending(State.TESTED, "authentication_failed", blocks=True))
    row, after = fleet.row("collection", test.collection_id), fleet.row("device", device)
    assert (row.state, after.blocked_code, after.failures) == ("tested", None, 0)


def test_the_key_that_a_scan_saw_is_on_record(fleet: Fleet) -> None:
    """Another one is on offer, the pinned one was seen again; nothing of an address that is another one by now."""
    device = fleet.device(due=HOUR)
    scan = fleet.running(device, trigger="scan")
    assert fleet.collections.end(scan, replace(WELL, scanned=KEY))
    assert [row.status for row in fleet.sql("SELECT status FROM host_key")] == ["offered"]
    fleet.sql("UPDATE host_key SET status = 'pinned', last_seen_at = now() - interval '1 h'")
    before = fleet.sql("SELECT last_seen_at FROM host_key")[0].last_seen_at
    assert fleet.collections.end(fleet.running(device, trigger="scan"), replace(WELL, scanned=KEY))
    assert fleet.sql("SELECT last_seen_at FROM host_key")[0].last_seen_at > before
    moved = fleet.running(device, trigger="scan")
    fleet.sql("UPDATE device SET port = 23 WHERE id = :d", d=device)
    assert fleet.collections.end(moved, replace(WELL, scanned=OTHER))
    assert fleet.value("SELECT count(*) FROM host_key") == 1


def test_a_test_tells_of_a_jump_host_in_trouble(fleet: Fleet) -> None:
    """As a collection does."""
    hop = fleet.jump_host()
    test = fleet.running(trigger="test", jump_host_id=hop)
    trouble = JumpTrouble("connection_refused", "no", blocks=False, again_in=HOUR)
    assert fleet.collections.end(test, Ending(State.TESTED, "jump_host_unreachable", jump_trouble=trouble))
    assert fleet.row("jump_host", hop).failures == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_test_that_is_lost_or_withdrawn_moves_nothing(fleet: Fleet, kind: str) -> None:
    """By a lease that is over, by beat, by its collector: no loss, no due time (I9)."""
    fleet.workers(collect=5)
    lost = fleet.device(due=HOUR)
    before = runs(fleet, lost)
    fleet.expire(fleet.running(lost, trigger=kind).collection_id)
    withdrawn, refused = fleet.device(due=HOUR), fleet.device(due=HOUR)
    for device in (withdrawn, refused):
        fleet.request(device, kind)
    claimed = {fleet.row("collection", one.collection_id).device_id: one.collection_id for one in tick(fleet).new}
    assert runs(fleet, lost) == before
    fleet.sql("UPDATE tenant SET removed_at = now()")
    kept = {device: runs(fleet, device) for device in (withdrawn, refused)}
    assert isinstance(fleet.collections.start(claimed[refused], "holder"), Withdrawn)
    assert tick(fleet).withdrawn == 1
    assert {device: runs(fleet, device) for device in kept} == kept
    states = fleet.sql("SELECT state FROM collection ORDER BY state")
    assert [row.state for row in states] == ["lost", "withdrawn", "withdrawn"]


# --- nobody takes it for a run ------------------------------------------------------------------------------------


def test_a_test_is_no_last_run(fleet: Fleet) -> None:
    """What a device's last run was, how it stands, and what is compared with, stay what they were."""
    device = fleet.device(due=HOUR)
    first = fleet.running(device)
    assert fleet.collections.publish(first, published("A"))
    for kind in KINDS:
        test = fleet.running(device, trigger=kind)
        assert test.known.before == published("A").observed
        assert fleet.collections.end(test, Ending(State.TESTED, "device_timeout"))
    shown = Statuses(fleet.engine("reader"), fleet.policy).overview().devices[0]
    assert shown.last is not None
    assert (shown.last.seq, shown.last.state) == (1, State.PUBLISHED)
    again = fleet.running(device)
    assert (again.seq, again.known.before) == (4, published("A").observed)
