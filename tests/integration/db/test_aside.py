"""What a device's next export is compared with, and what is kept aside of it, on a real PostgreSQL."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError

from backupflow.adapters.db.collections import REPLACED
from backupflow.core.driver import Facts
from backupflow.core.enrolment import (
    Edit,
    edited,
    export_believed,
    removed,
    router_replaced,
    unblocked,
)
from backupflow.core.key_acts import key_accepted, key_reset
from backupflow.core.ledger import Assignment, Ending, Stored, Withdrawn
from backupflow.core.model import Claim, ContentHash, DeviceId, EndMark, HostKey, Secrets, State
from backupflow.core.suspicion import NOTHING, Accepted, Known, Observed, OtherRouter, Suspect, completed, judge
from backupflow.errors import Conflict
from tests.conftest import SIZE
from tests.integration.db.fleet import KEY, LIMITS, Fleet, doubted, facts, hashed, message, published, seen
from tests.integration.db.invariants import check

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.inventory import DeviceRecord, Update

HOUR = timedelta(hours=1)
OF_BEFORE = "UPDATE collection SET shape_hash = NULL, masked_hash = NULL, facts = CAST(:facts AS jsonb)"
OTHER = HostKey("ssh-ed25519", b"other")
OTHER_ROUTER = Ending(State.BLOCKED, "identity_changed", "serial number S2, it was S1", counts=True, blocks=True)
FELL_BACK = Ending(State.BLOCKED, "ssh_downgraded", "host key: it offers ssh-rsa", counts=True, blocks=True)
ANOTHER_KEY = Ending(State.BLOCKED, "host_key_mismatch", "another", counts=True, blocks=True, offered=OTHER)
OF_ANY_ROUTER = ("authentication_failed", "algorithms_incompatible", "host_key_unapproved", "unexpected")
ALLOW_SHA1 = Edit(settings={"legacy_ssh": True})


def blocked(content: str) -> Ending:
    """How a collection ends that met another router behind the same key."""
    return replace(OTHER_ROUTER, aside=doubted(content).aside)


def refused(code: str) -> Ending:
    """How a collection ends that the router before gave no chance."""
    return Ending(State.BLOCKED, code, "x", counts=True, blocks=True)


def known(fleet: Fleet, device_id: DeviceId) -> tuple[Observed | None, Observed | None]:
    """What the next collection is given to compare with; that one leaves no trace."""
    started = fleet.running(device_id)
    fleet.sql("DELETE FROM collection WHERE id = :c", c=started.collection_id)
    return started.known.before, started.known.aside


def claimed(fleet: Fleet) -> Claim:
    """The only claim of one tick."""
    ticked = fleet.claims.claim(LIMITS)
    assert ticked
    (claim,) = ticked.new
    return claim


def aside(fleet: Fleet) -> list[int]:
    """The rows that something is kept aside of."""
    return [row.collection_id for row in fleet.sql("SELECT collection_id FROM aside ORDER BY collection_id")]


# --- what is compared with ---------------------------------------------------------------------------------------


def test_the_first_of_a_device_is_compared_with_nothing(fleet: Fleet) -> None:
    """Nothing is known of it yet."""
    assert known(fleet, fleet.device()) == (None, None)


@pytest.mark.parametrize(
    "said",
    [
        seen("A"),
        seen("A", sections=0, size=0, secret_count=0, secrets=Secrets.NONE, facts=facts(model=None, serial=None)),
        seen("A", secrets=Secrets.HIDDEN, facts=facts(markers=("#error exporting /a", "#error exporting /b \u00e9"))),
        seen("A", normalization_version=7, secrets=Secrets.OMITTED, facts=facts(identity="\u202e <b>", system_id="X")),
    ],
    ids=["usual", "empty", "markers", "another version"],
)
def test_an_observation_comes_back_as_it_was(fleet: Fleet, said: Observed) -> None:
    """Every figure, digest and fact, also of another version of the normalization; published is enough."""
    running = fleet.running()
    assert fleet.collections.publish(running, published("A", observed=said))
    assert known(fleet, running.device_id) == (said, None)


def test_the_newest_accepted_one_is_compared_with(fleet: Fleet) -> None:
    """Stored or still on its way; nothing that was lost, refused or in doubt."""
    first = fleet.passed("A")
    device = first.device_id
    fleet.observations.store([first])
    assert known(fleet, device) == (seen("A"), None)
    fleet.passed("B", device)
    assert known(fleet, device) == (seen("B"), None)
    for ended in ("lost", "failed"):
        late = fleet.passed("C", device)
        fleet.sql("UPDATE collection SET state = :s WHERE id = :c", s=ended, c=late.collection_id)
        assert known(fleet, device) == (seen("B"), None)
    fleet.doubted("D", device)
    assert known(fleet, device) == (seen("B"), seen("D"))
    check(fleet)


def test_only_what_was_doubted_since_then_counts(fleet: Fleet) -> None:
    """The newest of several; none any more once an export was believed, whichever."""
    device = fleet.passed("A").device_id
    fleet.doubted("B", device)
    fleet.doubted("C", device)
    assert known(fleet, device) == (seen("A"), seen("C"))
    fleet.passed("D", device)
    assert known(fleet, device) == (seen("D"), None)


@pytest.mark.parametrize("facts_then", [{"serial": "S1", "version": "6.49", "model": "CCR"}, {"serial": "S1"}])
def test_of_rows_from_before_the_serial_number_is_compared(fleet: Fleet, facts_then: dict[str, str]) -> None:
    """They have no digests and no figures: nothing else of a later export can be held against them."""
    device = fleet.passed("A").device_id
    fleet.sql(OF_BEFORE, facts=json.dumps(facts_then))
    known_now = fleet.running(device).known
    named = Facts("routeros", version=facts_then.get("version"), serial="S1")
    was = ContentHash(hashed("A"))
    assert known_now.before == Observed(was, 1, b"", b"", 0, 0, 0, Secrets.NONE, named, "S1")
    assert isinstance(judge(known_now, seen("B", facts=facts(serial="S2"))), OtherRouter)
    assert isinstance(judge(known_now, seen("B", sections=1, size=1)), Accepted)


def test_the_first_run_after_the_upgrade_doubts_no_marker(fleet: Fleet) -> None:
    """A menu that never could be exported is nothing new; the second run is compared with the first as ever."""
    device = fleet.passed("A").device_id
    fleet.sql(OF_BEFORE, facts=json.dumps({"serial": "S1"}))
    running = fleet.running(device)
    assert running.known.before is not None
    assert running.known.before.shape_hash == b""
    now = seen("B", facts=facts(markers=("#error exporting /a",)))
    assert isinstance(judge(running.known, now), Accepted)
    assert fleet.collections.publish(running, published("B", observed=now))
    another = replace(now, facts=replace(now.facts, markers=("#error exporting /b",)))
    assert isinstance(judge(fleet.running(device).known, another), Suspect)


def test_secrets_that_were_deleted_are_hidden_no_more_once_they_were_omitted(fleet: Fleet) -> None:
    """The way out of an alarm that RouterOS 6 cannot end by itself, as its runbook says it: omit once, then collect."""
    device, hidden = fleet.device(), seen("A", secret_count=0, secrets=Secrets.NONE)
    said = (
        seen("A", secret_count=3),
        hidden,
        hidden,
        replace(hidden, secrets=Secrets.OMITTED),
        hidden,
    )
    found = []
    for one in said:
        running = fleet.running(device)
        judged = completed(running.known.before, one, may_hide=one.secrets is Secrets.NONE)
        assert fleet.collections.publish(running, published("A", observed=judged))
        found.append((judged.secrets, bool(fleet.alarms())))
    assert found == [
        (Secrets.SHOWN, False),
        (Secrets.HIDDEN, True),
        (Secrets.HIDDEN, True),
        (Secrets.OMITTED, False),
        (Secrets.NONE, False),
    ]


@pytest.mark.parametrize("facts_then", [{}, {"model": "CCR"}, {"serial": None}, None])
def test_rows_from_before_without_a_serial_number_are_compared_with_nothing(
    fleet: Fleet, facts_then: dict[str, object] | None
) -> None:
    """They tell nothing that could be compared."""
    device = fleet.passed("A").device_id
    fleet.sql(OF_BEFORE, facts=json.dumps(facts_then))
    assert known(fleet, device) == (None, None)


def test_the_last_serial_number_is_kept_beside_the_one_that_was_named(fleet: Fleet) -> None:
    """A router that stopped to name it is still known by it."""
    said = seen("A", facts=facts(serial=None), known_serial="S1")
    running = fleet.running()
    assert fleet.collections.publish(running, published("A", observed=said))
    assert known(fleet, running.device_id) == (said, None)


def test_another_device_is_never_compared_with(fleet: Fleet) -> None:
    """Each has a history of its own (I11)."""
    fleet.passed("A")
    fleet.doubted("B")
    assert known(fleet, fleet.device()) == (None, None)


@pytest.mark.parametrize("broken", ["'{}'", "'[]'", "NULL", 'facts || \'{"secrets": "?"}\'', "facts - 'size'"])
def test_what_cannot_be_read_back_is_told(fleet: Fleet, broken: str) -> None:
    """Nothing is believed without a comparison because a row was altered: the device waits, with an alarm."""
    device = fleet.passed("A").device_id
    fleet.sql(f"UPDATE collection SET facts = {broken}")  # noqa: S608 - ours
    seq = fleet.value("UPDATE device SET last_seq = last_seq + 1 RETURNING last_seq")
    claim = fleet.value(
        "INSERT INTO collection (tenant_id, device_id, seq, trigger, lane) "
        "VALUES (:t, :d, :s, 'schedule', 'collect') RETURNING id", t=fleet.tenant, d=device, s=seq,
    )  # fmt: skip
    assert isinstance(fleet.collections.start(claim, "h"), Withdrawn)
    assert fleet.alarms() == [("row_unusable", f"device {device}")]


# --- what is kept aside ------------------------------------------------------------------------------------------


def test_what_is_in_doubt_is_kept_sealed_beside_its_row(fleet: Fleet) -> None:
    """All that a later one is compared with, the very bytes, and nothing of it current (I8)."""
    first = fleet.passed("A")
    fleet.observations.store([first])
    running = fleet.running(first.device_id)
    said = seen("B", sections=3, facts=facts(markers=("#error exporting /x",)))
    assert fleet.collections.end(running, doubted("B", observed=said, exit_status=255))
    row, device = fleet.row("collection", running.collection_id), fleet.row("device", running.device_id)
    assert (row.state, row.code, row.detail, row.lease_until) == ("suspect", "export_suspect", "too small", None)
    assert bytes(row.digest) == message(running, "B").sealed.digest
    assert (row.raw_bytes, row.exit_status, row.facts["markers"]) == (100, 255, ["#error exporting /x"])
    assert row.collected_at is not None
    assert row.collected_at <= row.ended_at + timedelta(seconds=1)
    kept = fleet.sql("SELECT * FROM aside")
    assert [(k.collection_id, k.tenant_id, k.device_id, k.sealed) for k in kept] == [
        (running.collection_id, fleet.tenant, running.device_id, message(running, "B").sealed.text)
    ]
    assert (device.current_seq, device.failures, device.next_due_at) == (1, 1, row.ended_at + timedelta(minutes=5))
    assert fleet.observations.store([message(running, "B")]) == [Stored.WRONG_STATE]
    check(fleet)


def test_what_is_in_doubt_teaches_nothing_but_its_handshake(fleet: Fleet) -> None:
    """Not how to ask; but what its handshake proved: that it has its key, and is modern (I6)."""
    running = fleet.running(remembered_command="/export x", end_mark=EndMark.REPEATED)
    fleet.collections.pin(running, KEY)
    assert fleet.collections.end(running, doubted("A", end_mark=EndMark.ABSENT))
    device = fleet.row("device", running.device_id)
    assert (device.remembered_command, device.end_mark) == ("/export x", "repeated")
    assert device.modern_ssh_at is not None
    assert fleet.value("SELECT last_verified_at IS NOT NULL FROM host_key") is True
    assert fleet.alarms() == []


def test_nothing_is_kept_aside_by_who_lost_its_lease(fleet: Fleet) -> None:
    """It may have been read by a worker that slept: what it knows is over (I4)."""
    running = fleet.running()
    fleet.sql("UPDATE collection SET state = 'lost'")
    assert fleet.collections.end(running, doubted("A")) is None
    stranger = fleet.running()
    assert fleet.collections.end(replace(stranger, holder=str(uuid4())), doubted("A")) is None
    row = fleet.row("collection", stranger.collection_id)
    assert (row.state, row.digest, aside(fleet)) == ("running", None, [])


def test_what_passed_the_fence_is_never_put_aside(fleet: Fleet) -> None:
    """Its message may be on its way: the row keeps the digest that ingest will look for (I1)."""
    running = fleet.running()
    assert fleet.collections.publish(running, published("A"))
    assert fleet.collections.end(running, doubted("B")) is None
    assert aside(fleet) == []
    assert fleet.observations.store([message(running, "A")]) == [Stored.STORED]
    check(fleet)


def test_the_row_ends_with_what_is_kept_or_not_at_all(fleet: Fleet) -> None:
    """If the bytes cannot be written the row does not say that they were."""
    running = fleet.running()
    refuse, allow = ("REVOKE INSERT ON aside FROM", "GRANT INSERT ON aside TO")
    fleet.sql(f"{refuse} backupflow_collector")
    try:
        with pytest.raises(DBAPIError, match="permission denied"):
            fleet.collections.end(running, doubted("A"))
    finally:
        fleet.sql(f"{allow} backupflow_collector")
    row = fleet.row("collection", running.collection_id)
    assert (row.state, row.digest) == ("running", None)


def test_the_database_keeps_no_plain_text_and_no_strangers_aside(fleet: Fleet) -> None:
    """What is not sealed, or is of another device's collection, does not fit (I5, I11)."""
    running, other = fleet.running(), fleet.running()
    insert = "INSERT INTO aside (collection_id, tenant_id, device_id, sealed) VALUES (:c, :t, :d, :s)"
    values = {"c": running.collection_id, "t": fleet.tenant, "d": running.device_id, "s": "vault:v1:AAAA"}
    with pytest.raises(DBAPIError, match="ck_aside_sealed"):
        fleet.sql(insert, **values | {"s": "/ip address"})
    with pytest.raises(DBAPIError, match="fk_aside_collection"):
        fleet.sql(insert, **values | {"d": other.device_id})
    fleet.sql(insert, **values)
    fleet.sql("DELETE FROM collection WHERE id = :c", c=running.collection_id)
    assert aside(fleet) == []


def test_a_doubt_that_stays_is_an_alarm_until_an_export_is_believed(fleet: Fleet) -> None:
    """Once however often it is said."""
    device = fleet.device()
    scope = f"device {device}"
    for _ in range(2):
        assert fleet.collections.end(fleet.running(device), replace(doubted("A"), alarm=scope))
        assert fleet.alarms() == [("export_suspect", scope)]
    fleet.passed("B", device)
    assert fleet.alarms() == []


# --- an operator's word ------------------------------------------------------------------------------------------


def test_the_next_export_is_believed_once_an_operator_says_so(fleet: Fleet) -> None:
    """Due at once, without its alarm; the word is spent by what is accepted, not by what fails meanwhile."""
    device = fleet.passed("A").device_id
    assert fleet.collections.end(fleet.running(device), replace(doubted("B"), alarm=f"device {device}"))
    assert fleet.running(device).known == Known(seen("A"), seen("B"), believes=False)
    fleet.sql("DELETE FROM collection WHERE state = 'running'")
    assert fleet.act(device, export_believed)
    assert fleet.alarms() == []
    assert fleet.value("SELECT next_due_at <= now() FROM device") is True
    assert fleet.act(device, export_believed) is False
    assert fleet.value("SELECT count(*) FROM audit WHERE action = 'export_believed'") == 1
    for ending in (Ending(State.FAILED, "device_timeout"), doubted("C")):
        running = fleet.running(device)
        assert running.known.believes
        assert fleet.collections.end(running, ending)
    assert fleet.running(device).known == Known(seen("A"), seen("C"), believes=True)
    fleet.sql("DELETE FROM collection WHERE state = 'running'")
    fleet.passed("D", device)
    assert fleet.running(device).known == Known(seen("D"), None, believes=False)


def test_an_operators_word_lets_no_other_router_through(fleet: Fleet) -> None:
    """Another serial number blocks as ever; and once the router was replaced the word was for the one before."""
    device = fleet.passed("A").device_id
    fleet.doubted("B", device)
    fleet.act(device, export_believed)
    running = fleet.running(device)
    known_now = running.known
    assert known_now.believes
    assert isinstance(judge(known_now, seen("C", sections=1)), Accepted)
    assert isinstance(judge(known_now, seen("C", facts=facts(serial="S2"))), OtherRouter)
    assert fleet.collections.end(running, blocked("C"))
    assert fleet.row("device", device).blocked_code == "identity_changed"
    fleet.act(device, router_replaced)
    assert fleet.running(device).known == NOTHING


def test_a_doubt_that_was_answered_while_it_arose_waits_for_nothing(fleet: Fleet) -> None:
    """The session began before the word and could not know it: no alarm, no wait, and the next one is believed."""
    device = fleet.passed("A").device_id
    fleet.doubted("B", device)
    running = fleet.running(device)
    assert not running.known.believes
    fleet.act(device, export_believed)
    assert fleet.collections.end(running, replace(doubted("C"), alarm=f"device {device}"))
    row = fleet.row("device", device)
    assert (row.next_due_at <= fleet.value("SELECT now()"), fleet.alarms()) == (True, [])
    assert fleet.running(device).known.believes


@pytest.mark.parametrize("state", ["published", "stored"])
def test_nothing_is_in_doubt_that_was_believed_since(fleet: Fleet, state: str) -> None:
    """No word for the unknown: neither of a new device, nor of one whose doubts are over, nor of a replaced one."""
    device = fleet.device()
    with pytest.raises(Conflict, match="in doubt"):
        fleet.act(device, export_believed)
    fleet.doubted("A", device)
    passed = fleet.passed("A", device)
    if state == "stored":
        fleet.observations.store([passed])
    with pytest.raises(Conflict, match="in doubt"):
        fleet.act(device, export_believed)
    fleet.doubted("B", device)
    fleet.act(device, router_replaced)
    with pytest.raises(Conflict, match="in doubt"):
        fleet.act(device, export_believed)
    assert fleet.value("SELECT believe_seq FROM device") == 0


# --- another router ----------------------------------------------------------------------------------------------


def test_another_router_blocks_until_somebody_says_that_it_was_replaced(fleet: Fleet) -> None:
    """It is kept aside, unblocking alone meets the same again; after `replaced` nothing of before is compared with."""
    device = fleet.passed("A").device_id
    running = fleet.running(device)
    assert fleet.collections.end(running, blocked("B"))
    row = fleet.row("collection", running.collection_id)
    assert (row.state, row.code, fleet.row("device", device).blocked_code) == ("blocked", *["identity_changed"] * 2)
    assert aside(fleet) == [running.collection_id]
    assert fleet.alarms() == [("identity_changed", f"device {device}")]
    fleet.act(device, unblocked)
    assert known(fleet, device) == (seen("A"), None)
    assert fleet.collections.end(fleet.running(device), blocked("B"))
    fleet.act(device, router_replaced)
    assert (fleet.row("device", device).blocked_code, fleet.alarms()) == (None, [])
    assert known(fleet, device) == (None, None)
    fleet.observations.store([fleet.passed("B", device)])
    assert known(fleet, device) == (seen("B"), None)
    check(fleet)


def new_router(record: DeviceRecord) -> Update | None:
    """The other way to say it."""
    return edited(record, Edit(new_router=True), None)


@pytest.mark.parametrize("act", [router_replaced, new_router])
def test_what_was_kept_aside_of_the_old_router_is_never_promoted(
    fleet: Fleet, act: Callable[[DeviceRecord], Update | None]
) -> None:
    """Nor does anything else outlive it that was learnt of it; the history stays."""
    first = fleet.passed("A")
    fleet.observations.store([first])
    device = first.device_id
    fleet.doubted("B", device)
    fleet.sql("UPDATE device SET end_mark = 'required', modern_ssh_at = now(), remembered_command = 'x'")
    fleet.act(device, act)
    row = fleet.row("device", device)
    assert (row.router_since_seq, row.end_mark, row.modern_ssh_at, row.remembered_command) == (2, "untried", None, None)
    assert row.current_seq == 1
    assert known(fleet, device) == (None, None)
    assert len(aside(fleet)) == 1
    check(fleet)


@pytest.mark.parametrize("act", [unblocked, key_reset, lambda record: key_accepted(record, OTHER.fingerprint)])
def test_no_other_act_makes_a_device_another_router(fleet: Fleet, act: Callable[[DeviceRecord], Update | None]) -> None:
    """A new key is no new router, and no leave for SHA-1: all that was known stays (I6)."""
    device = fleet.passed("A").device_id
    fleet.doubted("B", device)
    fleet.sql(
        "INSERT INTO host_key (tenant_id, device_id, status, key_type, blob, fingerprint) "
        "VALUES (:t, :d, 'pinned', :k, :b, :f)",
        t=fleet.tenant, d=device, k=KEY.key_type, b=KEY.blob, f=KEY.fingerprint,
    )  # fmt: skip
    running = fleet.running(device)
    assert fleet.collections.end(running, ANOTHER_KEY)
    fleet.sql("UPDATE device SET end_mark = 'required'")
    assert fleet.act(device, act)
    row = fleet.row("device", device)
    assert (row.blocked_code, row.router_since_seq, row.end_mark) == (None, 0, "required")
    assert row.modern_ssh_at is not None
    assert known(fleet, device) == (seen("A"), seen("B"))


@pytest.mark.parametrize(
    ("ending", "state"),
    [
        (blocked("B"), "failed"),
        (replace(doubted("B"), alarm="device x"), "suspect"),
        (ANOTHER_KEY, "failed"),
        (FELL_BACK, "failed"),
        *((refused(code), "failed") for code in OF_ANY_ROUTER),
    ],
    ids=["another router", "in doubt", "another key", "fell back", *OF_ANY_ROUTER],
)
def test_an_answer_that_comes_before_its_question_is_one(fleet: Fleet, ending: Ending, state: str) -> None:
    """The router was declared replaced while the session ran: no block, no alarm, no wait; what was read is kept."""
    device = fleet.passed("A").device_id
    running = fleet.running(device)
    fleet.act(device, router_replaced)
    assert fleet.collections.end(running, ending)
    row, after = fleet.row("collection", running.collection_id), fleet.row("device", device)
    assert (row.state, after.blocked_code, after.failures, fleet.alarms()) == (state, None, 0, [])
    assert after.next_due_at <= row.ended_at
    assert aside(fleet) == ([running.collection_id] if ending.aside else [])
    assert known(fleet, device) == (None, None)
    assert fleet.observations.store([message(running, "B")]) == [Stored.WRONG_STATE]
    check(fleet)


@pytest.mark.parametrize("act", [router_replaced, new_router])
def test_a_claim_for_the_router_before_is_not_started(
    fleet: Fleet, act: Callable[[DeviceRecord], Update | None]
) -> None:
    """Its number is one of the old router: the new one is claimed anew at once, and compared from then on."""
    device = fleet.passed("A").device_id
    fleet.workers(collect=1)
    claim = claimed(fleet)
    fleet.act(device, act)
    fleet.sql("UPDATE device SET next_due_at = now() + interval '6 hours'")
    assert fleet.collections.start(claim.collection_id, "h") == Withdrawn(REPLACED)
    row = fleet.row("collection", claim.collection_id)
    assert (row.state, row.detail) == ("withdrawn", "the router was replaced since it was claimed")
    anew = claimed(fleet)
    started = fleet.collections.start(anew.collection_id, "h")
    assert isinstance(started, Assignment)
    assert started.known == NOTHING
    assert fleet.collections.publish(started, published("B", end_mark=EndMark.REPEATED))
    after = fleet.running(device)
    assert (after.known.before, after.end_mark) == (seen("B"), EndMark.REPEATED)


def test_a_session_with_the_old_router_teaches_nothing_of_the_new_one(fleet: Fleet) -> None:
    """It was replaced while its export was read: that is stored, and the device is known by nothing of it."""
    running = fleet.running()
    fleet.act(running.device_id, router_replaced)
    assert fleet.collections.publish(running, published("A", end_mark=EndMark.REQUIRED))
    row = fleet.row("device", running.device_id)
    assert (row.remembered_command, row.end_mark, row.modern_ssh_at) == (None, "untried", None)
    assert fleet.observations.store([message(running, "A")]) == [Stored.STORED]
    assert known(fleet, running.device_id) == (None, None)


# --- secrets -----------------------------------------------------------------------------------------------------


def test_secrets_that_stay_away_are_an_alarm_until_they_come(fleet: Fleet) -> None:
    """With what helps; being shown, asked for no more, or not being there ends it, and so does another router."""
    device = fleet.device(name="core-1")
    scope = f"device {device}"
    for over in (Secrets.SHOWN, Secrets.OMITTED, Secrets.NONE):
        for _ in range(2):
            hidden = published("A", observed=seen("A", secrets=Secrets.HIDDEN))
            assert fleet.collections.publish(fleet.running(device), hidden)
        assert fleet.alarms() == [("secrets_hidden", scope)]
        assert fleet.collections.publish(fleet.running(device), published("A", observed=seen("A", secrets=over)))
        assert fleet.alarms() == []
    assert fleet.value("SELECT DISTINCT detail FROM alarm") == (
        "core-1: the router leaves its secrets out; add `sensitive` to the policy of the user's group"
    )
    for act in (router_replaced, removed):
        hidden = published("A", observed=seen("A", secrets=Secrets.HIDDEN))
        assert fleet.collections.publish(fleet.running(device), hidden)
        fleet.act(device, act)
        assert fleet.alarms() == []


# --- the ratchet of algorithms, and the end mark -------------------------------------------------------------------


def test_modern_once_is_modern_for_good(fleet: Fleet) -> None:
    """The first time counts, and an old session takes nothing back; every later one is told."""
    running = fleet.running()
    assert running.target.spoke_modern is False
    assert fleet.collections.publish(running, published("A", modern_ssh=False))
    running = fleet.running(running.device_id)
    assert running.target.spoke_modern is False
    assert fleet.collections.publish(running, published("A"))
    since = fleet.row("device", running.device_id).modern_ssh_at
    assert since is not None
    for modern in (True, False):
        running = fleet.running(running.device_id)
        assert running.target.spoke_modern is True
        assert fleet.collections.publish(running, published("A", modern_ssh=modern))
        assert fleet.row("device", running.device_id).modern_ssh_at == since


def allow_sha1(record: DeviceRecord) -> Update | None:
    """`device edit --legacy-ssh`."""
    return edited(record, ALLOW_SHA1, None)


def test_an_operator_allows_sha1_anew(fleet: Fleet) -> None:
    """Also where the setting stands already: the block of a fall back ends, and the next session may speak SHA-1."""
    running = fleet.running(settings={"legacy_ssh": True})
    assert fleet.collections.publish(running, published("A"))
    running = fleet.running(running.device_id)
    assert fleet.collections.end(running, FELL_BACK)
    assert fleet.act(running.device_id, allow_sha1)
    row = fleet.row("device", running.device_id)
    assert (row.blocked_code, row.modern_ssh_at, fleet.alarms()) == (None, None, [])
    assert fleet.running(running.device_id).target.spoke_modern is False
    assert fleet.act(running.device_id, allow_sha1) is False


def test_after_sha1_was_allowed_another_key_is_a_matter_of_its_own(fleet: Fleet) -> None:
    """A router that came back with a key of another type: now it can be seen, and is on record to be accepted (I7)."""
    running = fleet.running()
    fleet.collections.pin(running, KEY)
    assert fleet.collections.publish(running, published("A"))
    assert fleet.collections.end(fleet.running(running.device_id), FELL_BACK)
    assert fleet.act(running.device_id, allow_sha1)
    assert fleet.collections.end(fleet.running(running.device_id), ANOTHER_KEY)
    assert fleet.row("device", running.device_id).blocked_code == "host_key_mismatch"
    assert fleet.act(running.device_id, lambda record: key_accepted(record, OTHER.fingerprint))
    again = fleet.running(running.device_id)
    assert (again.target.pinned, again.target.spoke_modern) == (OTHER, False)


def test_allowing_sha1_ends_no_block_by_another_key(fleet: Fleet) -> None:
    """That key was written down with the block, and is to be accepted or not (I6, I7)."""
    running = fleet.running()
    assert fleet.collections.publish(running, published("A"))
    running = fleet.running(running.device_id)
    assert fleet.collections.end(running, ANOTHER_KEY)
    assert fleet.act(running.device_id, allow_sha1)
    row = fleet.row("device", running.device_id)
    assert (row.blocked_code, row.modern_ssh_at) == ("host_key_mismatch", None)
    assert fleet.alarms() == [("host_key_mismatch", f"device {running.device_id}")]


@pytest.mark.parametrize("settings", [{}, {"legacy_ssh": True}], ids=["no setting yet", "allowed before"])
@pytest.mark.parametrize(
    ("ending", "code"), [(FELL_BACK, None), (ANOTHER_KEY, "host_key_mismatch")], ids=["fell back", "another key"]
)
def test_sha1_that_was_allowed_while_it_was_refused_blocks_nobody(
    fleet: Fleet, settings: dict[str, object], ending: Ending, code: str | None
) -> None:
    """The operator was faster than the block, which comes for nothing else any more."""
    running = fleet.running(settings=settings)
    assert fleet.collections.publish(running, published("A"))
    running = fleet.running(running.device_id)
    assert fleet.act(running.device_id, allow_sha1)
    assert fleet.collections.end(running, ending)
    assert fleet.row("device", running.device_id).blocked_code == code


@pytest.mark.parametrize("settings", [{"end_mark": False}, {"legacy_ssh": False}, {"trust": "tofu"}])
def test_no_other_edit_answers_a_fall_back(fleet: Fleet, settings: dict[str, object]) -> None:
    """It blocks whoever edited something else meanwhile."""
    running = fleet.running()
    assert fleet.collections.publish(running, published("A"))
    running = fleet.running(running.device_id)
    assert fleet.act(running.device_id, lambda record: edited(record, Edit(settings=settings), None))
    assert fleet.collections.end(running, FELL_BACK)
    assert fleet.row("device", running.device_id).blocked_code == "ssh_downgraded"
    assert fleet.alarms() == [("ssh_downgraded", f"device {running.device_id}")]


def test_what_is_known_of_the_end_mark_is_what_was_seen_last(fleet: Fleet) -> None:
    """Each of its states, in any order; no other fits."""
    device = fleet.device()
    assert fleet.row("device", device).end_mark == EndMark.UNTRIED
    for known_now in (*EndMark, *reversed(EndMark)):
        running = fleet.running(device)
        assert fleet.collections.publish(running, published("A", end_mark=known_now))
        assert fleet.running(device).end_mark is known_now
        fleet.sql("DELETE FROM collection WHERE state = 'running'")
    with pytest.raises(DBAPIError, match="ck_device_end_mark"):
        fleet.sql("UPDATE device SET end_mark = 'true'")


# --- any order of all of it ----------------------------------------------------------------------------------------


class Model:
    """What a device must be compared with, in a few lines."""

    def __init__(self) -> None:
        self.before: Observed | None = None
        self.aside: Observed | None = None
        self.kept = 0
        self.replaced_meanwhile = False

    def did(self, what: str, letter: str) -> None:
        """One thing happened."""
        match what:
            case "store" | "publish" if not self.replaced_meanwhile:
                self.before, self.aside = seen(letter), None
            case "doubt":
                self.aside = self.aside if self.replaced_meanwhile else seen(letter)
                self.kept += 1
            case "block":
                self.kept += 1
            case "replace":
                self.before = self.aside = None
            case _:
                pass


STEPS = st.tuples(
    st.sampled_from(["store", "publish", "doubt", "block", "fail", "replace"]), st.sampled_from("ABC"), st.booleans()
)


@given(st.lists(STEPS, max_size=10))
@settings(
    max_examples=15 if SIZE == "small" else 400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_happens_the_right_ones_are_compared_with(fleet: Fleet, steps: list[tuple[str, str, bool]]) -> None:
    """Believed, doubted, blocked, failed, and replaced, also in mid-session, in any order: a small model agrees."""
    device, model = fleet.device(), Model()
    before = len(aside(fleet))
    for what, letter, meanwhile in steps:
        if what == "replace":
            fleet.act(device, router_replaced)
        else:
            running = fleet.running(device)
            assert (running.known.before, running.known.aside) == (model.before, model.aside)
            if meanwhile:
                fleet.act(device, router_replaced)
                model.did("replace", "")
            model.replaced_meanwhile = meanwhile
            _ends(fleet, running, what, letter)
            if fleet.row("device", device).blocked_code:
                fleet.act(device, unblocked)
        model.did(what, letter)
    assert known(fleet, device) == (model.before, model.aside)
    assert len(aside(fleet)) - before == model.kept
    check(fleet)


def _ends(fleet: Fleet, running: Assignment, what: str, letter: str) -> None:
    how: dict[str, Any] = {"doubt": doubted(letter), "block": blocked(letter), "fail": Ending(State.FAILED, "x")}
    if what in how:
        assert fleet.collections.end(running, how[what])
        return
    assert fleet.collections.publish(running, published(letter))
    if what == "store":
        assert fleet.observations.store([message(running, letter)]) == [Stored.STORED]
