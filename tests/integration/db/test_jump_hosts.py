"""Jump hosts in the ledger: assigned, pinned and passed once it may be, in trouble once, tried again by one session."""

# ruff: noqa: S608 - the statements are put together of our own constants

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from backupflow.adapters.db.scopes import Scopes
from backupflow.adapters.db.status import Statuses
from backupflow.core.jump import CHANNELS, JumpTrouble
from backupflow.core.ledger import Assignment, Claimed, Ending, Withdrawn
from backupflow.core.model import ExpectedKey, HostKey, JumpHostId, State, Trust, TrustedHow
from backupflow.core.overview import Overview, Standing
from backupflow.core.scope_acts import hop_unblocked
from backupflow.core.scopes import ScopeKind
from backupflow.errors import HostKeyMismatch, HostKeyUnapproved, LeaseLost, LoginSuspended
from tests.integration.db.fleet import HOP_KEY, KEY, LIMITS, Fleet, published

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.scopes import ScopeUpdate

OTHER = HostKey("ssh-ed25519", b"other")
MINUTE = timedelta(minutes=1)
DOWN = JumpTrouble("connection_refused", "no answer", blocks=False, again_in=5 * MINUTE)
REFUSED = JumpTrouble("authentication_failed", "no", blocks=True)
CHANGED = JumpTrouble("host_key_mismatch", "another key", blocks=True, offered=OTHER)
FORWARDS_NOT = JumpTrouble("command_rejected", "it forwards no connections, or not to this device", blocks=True)
EXPECTED = """
    INSERT INTO expected_key (tenant_id, jump_host_id, fingerprint, how, added_by)
    SELECT tenant_id, id, 'SHA256:other', 'import', 'me' FROM jump_host"""
HOP_STATE = "failures, down_since, retry_at, blocked_code, blocked_detail, blocked_at"


def ended(fleet: Fleet, assignment: Assignment, trouble: JumpTrouble = DOWN) -> None:
    """A collection ends for its jump host."""
    code = "jump_host_blocked" if trouble.blocks else "jump_host_unreachable"
    ending = Ending(State.FAILED, code, trouble.detail, again_in=timedelta(seconds=30), jump_trouble=trouble)
    assert fleet.collections.end(assignment, ending)


def hop_state(fleet: Fleet, hop: JumpHostId) -> tuple[Any, ...]:
    """What stands against it."""
    return tuple(fleet.sql(f"SELECT {HOP_STATE} FROM jump_host WHERE id = :h", h=hop)[0])


def tick(fleet: Fleet) -> Claimed:
    """One claim."""
    claimed = fleet.claims.claim(LIMITS)
    assert claimed is not None
    return claimed


def hops_of(fleet: Fleet, claimed: Claimed) -> list[JumpHostId | None]:
    """The jump hosts of what was claimed."""
    numbers = [claim.collection_id for claim in claimed.new]
    rows = fleet.sql(
        "SELECT d.via_id FROM collection c JOIN device d ON d.id = c.device_id WHERE c.id = ANY(:n)", n=numbers
    )
    return [row.via_id for row in rows]


def later(fleet: Fleet, hop: JumpHostId) -> None:
    """The time to try it again has come."""
    fleet.sql("UPDATE jump_host SET retry_at = now() - interval '1 second' WHERE id = :h", h=hop)


# --- what a collector is given -----------------------------------------------------------------------------------


def test_an_assignment_has_its_jump_host(fleet: Fleet) -> None:
    """Address, own settings before the tenant's, pinned key and the login of its own profile."""
    hop = fleet.jump_host(name="hop-1", host="192.0.2.9", port=2200, settings={"trust": "manual"})
    fleet.sql("UPDATE tenant SET settings = CAST(:s AS jsonb)", s='{"trust": "tofu", "legacy_ssh": true}')
    found = fleet.running(jump_host_id=hop).jump_host
    assert found is not None
    assert (found.jump_host_id, found.name, found.target.host, found.target.port) == (hop, "hop-1", "192.0.2.9", 2200)
    assert (found.trust, found.target.legacy_ssh, found.target.pinned) == (Trust.MANUAL, True, HOP_KEY)
    row = fleet.row("jump_host", hop)
    assert (found.login_id, found.username, found.failures) == (row.credential_profile_id, "backup", 0)
    assert fleet.running().jump_host is None


@pytest.mark.parametrize(
    ("tenant", "profile", "own", "trust"),
    [("tofu", "manual", None, "manual"), ("manual", "tofu", None, "tofu"), ("tofu", "manual", "tofu", "tofu")],
)
def test_the_trust_of_a_login_holds_for_a_jump_host_too(
    fleet: Fleet, tenant: str, profile: str, own: str | None, trust: str
) -> None:
    """Whatever the login is sent to, unless the jump host says otherwise itself."""
    hop = fleet.jump_host(settings={"trust": own} if own else {})
    for table, says in (("tenant", tenant), ("credential_profile", profile)):
        fleet.sql(f"UPDATE {table} SET settings = jsonb_build_object('trust', CAST(:s AS text))", s=says)
    found = fleet.running(jump_host_id=hop).jump_host
    assert found is not None
    assert found.trust == Trust(trust)


def test_expected_keys_come_with_what_has_no_pinned_one(fleet: Fleet) -> None:
    """Of device and jump host, each its own; where a key is pinned they are not looked at."""
    hop = fleet.jump_host(key=None)
    device = fleet.device(jump_host_id=hop)
    for owner, key, of in (("device_id", KEY, device), ("jump_host_id", HOP_KEY, hop)):
        fleet.sql(
            f"INSERT INTO expected_key (tenant_id, {owner}, fingerprint, how, added_by) "
            "VALUES (:t, :o, :f, 'import', 'me')",
            t=fleet.tenant,
            o=of,
            f=key.fingerprint,
        )
    first = fleet.running(device)
    assert first.jump_host is not None
    assert first.target.expected == (ExpectedKey(KEY.fingerprint, TrustedHow.IMPORT),)
    assert first.jump_host.target.expected == (ExpectedKey(HOP_KEY.fingerprint, TrustedHow.IMPORT),)
    fleet.collections.pin(first, KEY, TrustedHow.IMPORT)
    fleet.collections.pin_jump_host(first, HOP_KEY, TrustedHow.IMPORT)
    assert fleet.collections.end(first, Ending(State.FAILED, "device_unreachable"))
    second = fleet.running(device)
    assert second.jump_host is not None
    assert (second.target.expected, second.jump_host.target.expected) == ((), ())
    pins = fleet.sql("SELECT trusted_how, status FROM host_key ORDER BY id")
    assert [tuple(row) for row in pins] == [("import", "pinned")] * 2


# --- pin and login -----------------------------------------------------------------------------------------------


def test_the_key_of_a_jump_host_is_pinned_once(fleet: Fleet) -> None:
    """Another one offered to a second session meanwhile is refused; the same one is not."""
    hop = fleet.jump_host(key=None)
    first, second = fleet.running(jump_host_id=hop), fleet.running(jump_host_id=hop)
    fleet.collections.pin_jump_host(first, HOP_KEY, TrustedHow.FIRST_USE)
    fleet.collections.pin_jump_host(second, HOP_KEY, TrustedHow.FIRST_USE)
    with pytest.raises(HostKeyMismatch):
        fleet.collections.pin_jump_host(second, OTHER, TrustedHow.FIRST_USE)
    assert fleet.value("SELECT count(*) FROM host_key WHERE jump_host_id = :h", h=hop) == 1


def test_the_first_key_of_a_jump_host_is_not_pinned_once_somebody_has_to_approve_it(fleet: Fleet) -> None:
    """Said while the handshake was under way (I6)."""
    hop = fleet.jump_host(key=None)
    running = fleet.running(jump_host_id=hop)
    fleet.sql("""UPDATE jump_host SET settings = '{"trust": "manual"}'""")
    with pytest.raises(HostKeyUnapproved):
        fleet.collections.pin_jump_host(running, HOP_KEY, TrustedHow.FIRST_USE)
    assert fleet.value("SELECT count(*) FROM host_key") == 0


def test_nothing_is_pinned_for_who_lost_its_lease_or_its_way(fleet: Fleet) -> None:
    """Neither a device's key nor a jump host's, once the device is behind another jump host, or that has moved."""
    hop = fleet.jump_host(key=None)
    gone, moved, other = (fleet.running(jump_host_id=hop) for _ in range(3))
    fleet.sql("UPDATE collection SET holder = 'else' WHERE id = :c", c=gone.collection_id)
    fleet.sql("UPDATE device SET jump_host_id = NULL WHERE id = :d", d=other.device_id)
    with pytest.raises(LeaseLost):
        fleet.collections.pin_jump_host(gone, HOP_KEY, TrustedHow.FIRST_USE)
    for pin in (fleet.collections.pin, fleet.collections.pin_jump_host):
        with pytest.raises(LoginSuspended):
            pin(other, HOP_KEY, TrustedHow.FIRST_USE)
    fleet.sql("UPDATE jump_host SET host = 'elsewhere' WHERE id = :h", h=hop)
    with pytest.raises(LoginSuspended):
        fleet.collections.pin_jump_host(moved, HOP_KEY, TrustedHow.FIRST_USE)
    assert fleet.value("SELECT count(*) FROM host_key") == 0


@pytest.mark.parametrize(
    "act",
    [
        "UPDATE jump_host SET host = 'elsewhere'",
        "UPDATE jump_host SET port = 23",
        "UPDATE jump_host SET blocked_code = 'authentication_failed'",
        "UPDATE credential_profile SET suspended_at = now() WHERE id = (SELECT credential_profile_id FROM jump_host)",
        "UPDATE credential_profile SET sealed = 'vault:v1:bmV3', changed_at = clock_timestamp()",
        "UPDATE host_key SET status = 'retired' WHERE jump_host_id IS NOT NULL",
        "UPDATE device SET jump_host_id = NULL",
        "UPDATE device SET status = 'removed'",
        "UPDATE collection SET state = 'lost'",
    ],
)
def test_the_login_of_a_jump_host_is_sent_to_nothing_that_was_changed(fleet: Fleet, act: str) -> None:
    """It may be sent until then, and not after it (I6, I7)."""
    running = fleet.running(jump_host_id=fleet.jump_host())
    assert fleet.collections.jump_login_allowed(running, HOP_KEY)
    assert not fleet.collections.jump_login_allowed(running, OTHER)
    fleet.sql(act)
    assert not fleet.collections.jump_login_allowed(running, HOP_KEY)


def test_a_jump_host_that_others_find_down_takes_no_login_from_the_device(fleet: Fleet) -> None:
    """Who has passed it goes on; who sits behind another one by now does not (I6)."""
    hop = fleet.jump_host()
    running, other = fleet.running(jump_host_id=hop), fleet.running(jump_host_id=hop)
    fleet.collections.pin(running, KEY)
    ended(fleet, other)
    assert fleet.collections.login_allowed(running, KEY)
    assert fleet.collections.jump_login_allowed(running, HOP_KEY)
    fleet.sql("UPDATE device SET jump_host_id = :h", h=fleet.jump_host())
    assert not fleet.collections.login_allowed(running, KEY)
    with pytest.raises(LoginSuspended):
        fleet.collections.publish(running, published("A"))


# --- trouble -----------------------------------------------------------------------------------------------------


def test_a_jump_host_that_is_down_is_nobodys_failure(fleet: Fleet) -> None:
    """The device keeps its failures and losses, and is due within a minute; the jump host and its one alarm stand."""
    hop = fleet.jump_host(name="hop-1")
    sessions = [fleet.running(jump_host_id=hop, failures=2, losses=1, due=timedelta(hours=3)) for _ in range(3)]
    for session in sessions:
        ended(fleet, session)
    for session in sessions:
        device, row = fleet.row("device", session.device_id), fleet.row("collection", session.collection_id)
        assert (device.failures, device.losses, device.lane, device.blocked_code) == (2, 1, "collect", None)
        assert timedelta(0) <= device.next_due_at - row.ended_at <= MINUTE
        assert (row.state, row.code) == ("failed", "jump_host_unreachable")
    failures, down_since, retry_at, *blocked = hop_state(fleet, hop)
    assert (failures, retry_at - down_since, blocked) == (1, 5 * MINUTE, [None] * 3)
    assert fleet.alarms() == [("jump_host_unreachable", f"jump host {hop}")]
    assert fleet.value("SELECT detail FROM alarm") == "hop-1: no answer"


@pytest.mark.parametrize("trouble", [REFUSED, CHANGED])
def test_what_a_person_has_to_mend_blocks_the_jump_host_alone(fleet: Fleet, trouble: JumpTrouble) -> None:
    """No device is blocked; the key that it offered is kept on record; the alarm of its being down gives way (I7)."""
    hop = fleet.jump_host()
    first, second, third, through = (fleet.running(jump_host_id=hop) for _ in range(4))
    ended(fleet, first)
    ended(fleet, second, trouble)
    ended(fleet, third)
    state = fleet.row("jump_host", hop)
    assert (state.blocked_code, state.blocked_detail, state.retry_at) == (trouble.code, trouble.detail, None)
    assert fleet.row("device", second.device_id).blocked_code is None
    assert fleet.alarms() == [("jump_host_blocked", f"jump host {hop}")]
    offered = fleet.sql("SELECT blob FROM host_key WHERE jump_host_id = :h AND status = 'offered'", h=hop)
    assert [bytes(row.blob) for row in offered] == ([OTHER.blob] if trouble.offered else [])
    fleet.collections.jump_host_reached(through)  # over a connection that stood before
    assert fleet.row("jump_host", hop).blocked_code == trouble.code


def test_a_jump_host_that_has_forwarded_is_not_blocked_for_one_device(fleet: Fleet) -> None:
    """Neither by who knows that, nor by who had begun before anybody was forwarded; other trouble blocks as ever."""
    hop = fleet.jump_host(reached_at=None)
    fleet.workers(collect=8)
    good, bad, other = (fleet.running(jump_host_id=hop) for _ in range(3))
    assert good.jump_host is not None
    assert not good.jump_host.passed
    fleet.collections.jump_host_reached(good)
    ended(fleet, bad, FORWARDS_NOT)
    assert hop_state(fleet, hop) == (0, None, None, None, None, None)
    assert fleet.value("SELECT count(*) FROM alarm") == 0
    assert fleet.row("device", bad.device_id).failures == 0
    again = fleet.running(jump_host_id=hop)
    assert again.jump_host is not None
    assert again.jump_host.passed
    ended(fleet, other, REFUSED)
    assert fleet.row("jump_host", hop).blocked_code == "authentication_failed"


def test_a_jump_host_that_never_forwarded_is_blocked_for_the_first_device(fleet: Fleet) -> None:
    """Then it must be told to."""
    hop = fleet.jump_host(reached_at=None)
    ended(fleet, fleet.running(jump_host_id=hop), FORWARDS_NOT)
    assert fleet.row("jump_host", hop).blocked_code == "command_rejected"


def test_the_key_of_a_jump_host_is_kept_by_who_saw_it(fleet: Fleet) -> None:
    """Sessions that only shared the attempt know no key, and may end first."""
    hop = fleet.jump_host()
    shared, saw = fleet.running(jump_host_id=hop), fleet.running(jump_host_id=hop)
    ended(fleet, shared, replace(CHANGED, offered=None))
    ended(fleet, saw, CHANGED)
    offered = fleet.sql("SELECT blob FROM host_key WHERE jump_host_id = :h AND status = 'offered'", h=hop)
    assert [bytes(row.blob) for row in offered] == [OTHER.blob]
    assert fleet.row("jump_host", hop).failures == 1


def test_whoever_passes_ends_the_trouble(fleet: Fleet) -> None:
    """All of it, with its alarm; a jump host in no trouble is written to once a minute at most."""
    hop = fleet.jump_host()
    through, stopped = fleet.running(jump_host_id=hop), fleet.running(jump_host_id=hop)
    ended(fleet, stopped)
    fleet.collections.jump_host_reached(through)
    assert hop_state(fleet, hop) == (0, None, None, None, None, None)
    assert fleet.alarms() == []
    reached = fleet.row("jump_host", hop).reached_at
    fleet.collections.jump_host_reached(through)
    assert fleet.row("jump_host", hop).reached_at == reached
    fleet.sql("UPDATE jump_host SET reached_at = now() - interval '61 seconds'")
    fleet.collections.jump_host_reached(through)
    assert fleet.row("jump_host", hop).reached_at > reached


@pytest.mark.parametrize(
    "meanwhile",
    [
        "UPDATE jump_host SET reached_at = clock_timestamp()",
        "UPDATE jump_host SET retry_at = now() + interval '4 minutes', failures = 1, down_since = now()",
        "UPDATE jump_host SET host = 'elsewhere'",
        "UPDATE jump_host SET blocked_code = 'authentication_failed', failures = 1, down_since = now()",
        "UPDATE credential_profile SET sealed = 'vault:v1:bmV3', changed_at = clock_timestamp()",
    ],
)
def test_what_is_older_than_what_stands_changes_nothing(fleet: Fleet, meanwhile: str) -> None:
    """A session that began before the jump host was reached, found down, blocked or changed by somebody else."""
    hop = fleet.jump_host()
    session = fleet.running(jump_host_id=hop)
    fleet.sql(meanwhile)
    before = hop_state(fleet, hop)
    ended(fleet, session)
    assert hop_state(fleet, hop) == before
    assert fleet.alarms() == []
    assert fleet.row("device", session.device_id).failures == 0


def test_a_refused_login_counts_though_others_still_pass(fleet: Fleet) -> None:
    """Connections that stand say nothing of the login: it is not tried again (I7)."""
    hop = fleet.jump_host()
    session = fleet.running(jump_host_id=hop)
    fleet.sql("UPDATE jump_host SET reached_at = clock_timestamp()")
    ended(fleet, session, REFUSED)
    assert fleet.row("jump_host", hop).blocked_code == "authentication_failed"


def test_a_key_that_was_accepted_meanwhile_blocks_nothing(fleet: Fleet) -> None:
    """The operator was faster than the session's end."""
    hop = fleet.jump_host()
    session = fleet.running(jump_host_id=hop)
    fleet.sql("UPDATE host_key SET status = 'retired'")
    fleet.collections.pin_jump_host(session, OTHER, TrustedHow.ACCEPTED)
    ended(fleet, session, CHANGED)
    assert hop_state(fleet, hop)[3:] == (None, None, None)


@pytest.mark.parametrize("code", ["host_key_mismatch", "host_key_unapproved"])
@pytest.mark.parametrize("act", ["UPDATE host_key SET status = 'retired'", EXPECTED])
def test_a_key_that_was_reset_or_foretold_meanwhile_blocks_nothing(fleet: Fleet, act: str, code: str) -> None:
    """What the session compared it with is no more; its key is nothing to be accepted."""
    hop = fleet.jump_host(key=None if act == EXPECTED else HOP_KEY)
    session, later_one = fleet.running(jump_host_id=hop), fleet.running(jump_host_id=hop)
    fleet.sql(act)
    ended(fleet, session, replace(CHANGED, code=code))
    assert hop_state(fleet, hop)[3:] == (None, None, None)
    assert fleet.value("SELECT count(*) FROM host_key WHERE status = 'offered'") == 0
    assert fleet.collections.end(later_one, Ending(State.FAILED, "device_unreachable"))
    ended(fleet, fleet.running(jump_host_id=hop), replace(CHANGED, code=code))
    assert hop_state(fleet, hop)[3] == code


# --- claiming ----------------------------------------------------------------------------------------------------


def test_what_waits_for_a_jump_host_is_not_claimed(fleet: Fleet) -> None:
    """It costs no row, what is claimed is withdrawn and owed, and all others are collected as ever (I9)."""
    fleet.workers(collect=10)
    hop = fleet.jump_host(name="hop-1")
    behind = [fleet.device(jump_host_id=hop) for _ in range(2)]
    claimed = tick(fleet)
    started = fleet.collections.start(claimed.new[0].collection_id, "holder")
    assert isinstance(started, Assignment)
    ended(fleet, started)
    straight = fleet.device()
    second = tick(fleet)
    assert (hops_of(fleet, second), second.withdrawn) == ([None], 1)
    row = fleet.row("collection", claimed.new[1].collection_id)
    assert (row.state, row.detail) == ("withdrawn", "jump host down: hop-1")
    assert all(fleet.row("device", one).next_due_at <= row.ended_at + MINUTE for one in behind)
    assert fleet.value("SELECT device_id FROM collection WHERE id = :c", c=second.new[0].collection_id) == straight


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"blocked_code": "host_key_mismatch"}, "jump host blocked: hop-1"),
        ({"credential_profile_id": None}, "jump host without login: hop-1"),
    ],
)
def test_a_claim_is_withdrawn_for_its_jump_host(fleet: Fleet, columns: dict[str, Any], reason: str) -> None:
    """The collector looks once more before it starts; the reason names the jump host."""
    fleet.workers(collect=10)
    hop = fleet.jump_host(name="hop-1")
    fleet.device(jump_host_id=hop)
    claimed = tick(fleet)
    for name, value in columns.items():
        fleet.sql(f"UPDATE jump_host SET {name} = :v", v=value)
    assert fleet.collections.start(claimed.new[0].collection_id, "holder") == Withdrawn(reason)
    fleet.request(fleet.value("SELECT id FROM device"))
    tick(fleet)
    assert fleet.value("SELECT answer FROM request") == f"refused: {reason}"


@pytest.mark.parametrize("kind", ["schedule", "test", "scan"])
def test_nothing_begins_behind_a_jump_host_whose_login_was_suspended(fleet: Fleet, kind: str) -> None:
    """Whatever stands to it already: the collector looks once more before it starts."""
    fleet.workers(collect=10, collect_now=10)
    hop = fleet.jump_host(name="hop-1")
    passing = fleet.running(jump_host_id=hop)
    fleet.collections.jump_host_reached(passing)
    device = fleet.device(jump_host_id=hop)
    if kind != "schedule":
        fleet.request(device, kind=kind)
    (claim,) = tick(fleet).new
    fleet.sql(
        "UPDATE credential_profile SET suspended_at = now() WHERE id = (SELECT credential_profile_id FROM jump_host)"
    )
    reason = "jump host login suspended: hop-1"
    assert fleet.collections.start(claim.collection_id, "holder") == Withdrawn(reason)
    assert fleet.value("SELECT trigger FROM collection WHERE id = :c", c=claim.collection_id) == kind


def test_one_session_at_a_time_tries_a_jump_host_again(fleet: Fleet) -> None:
    """When its time has come, over all lanes; until somebody passes, then all go on (I9)."""
    fleet.workers(collect=10, collect_slow=10)
    hop = fleet.jump_host()
    ended(fleet, fleet.running(jump_host_id=hop, due=timedelta(hours=1)))
    for lane in ("collect", "collect", "collect.slow", "collect.slow"):
        fleet.device(jump_host_id=hop, lane=lane)
    assert tick(fleet).new == ()
    later(fleet, hop)
    probe = tick(fleet).new
    assert (len(probe), tick(fleet).new) == (1, ())
    session = fleet.collections.start(probe[0].collection_id, "holder")
    assert isinstance(session, Assignment)
    ended(fleet, session)
    assert (fleet.row("jump_host", hop).failures, tick(fleet).new) == (2, ())
    later(fleet, hop)
    again = fleet.collections.start(tick(fleet).new[0].collection_id, "holder")
    assert isinstance(again, Assignment)
    fleet.collections.jump_host_reached(again)
    assert len(tick(fleet).new) == 2  # the first probe waits for its own spread to be over


@pytest.mark.parametrize(
    "act",
    [
        "UPDATE jump_host SET reached_at = NULL",
        "UPDATE credential_profile SET sealed = 'vault:v1:bmV3', changed_at = clock_timestamp()",
        "unblocked",
    ],
)
def test_one_session_tries_a_login_that_nobody_has_passed_with(fleet: Fleet, act: str) -> None:
    """New, edited or unblocked: refused, it is refused once and not to each worker process (I7)."""
    fleet.workers(collect=10, collect_slow=10)
    fleet.workers(collect=10)
    hop = fleet.jump_host()
    for number in range(6):
        fleet.device(jump_host_id=hop, lane="collect.slow" if number % 2 else "collect")
    if act == "unblocked":
        ended(fleet, fleet.running(jump_host_id=hop, due=None), REFUSED)
        name = fleet.row("jump_host", hop).name
        unblock = cast("Callable[[Any], ScopeUpdate | None]", hop_unblocked)
        Scopes(fleet.engine("enroller")).change(ScopeKind.JUMP_HOST, fleet.tenant, name, unblock, "me")
    else:
        fleet.sql(act)
    probe = tick(fleet).new
    assert (len(probe), tick(fleet).new) == (1, ())
    session = fleet.collections.start(probe[0].collection_id, "holder")
    assert isinstance(session, Assignment)
    fleet.collections.jump_host_reached(session)
    assert len(tick(fleet).new) == 5


def test_no_more_sessions_than_a_jump_host_takes(fleet: Fleet) -> None:
    """Eight a living process of the lane; a full one hides nobody, though its devices wait longest (I9)."""
    fleet.workers(collect=40)
    fleet.workers(collect=40)
    fleet.workers(collect=40, age=timedelta(minutes=5))  # a dead one
    full, other = fleet.jump_host(), fleet.jump_host()
    for _ in range(2 * CHANNELS + 5):
        fleet.device(jump_host_id=full, due=timedelta(hours=-3))
    for _ in range(3):
        fleet.device(jump_host_id=other)
    fleet.device()
    found = hops_of(fleet, tick(fleet))
    assert {one: found.count(one) for one in (full, other, None)} == {full: 2 * CHANNELS, other: 3, None: 1}
    assert tick(fleet).new == ()
    fleet.sql(
        "UPDATE collection SET state = 'running', holder = 'x', lease_until = now() + interval '1 h' "
        "WHERE state = 'claimed'"
    )
    assert tick(fleet).new == ()  # those that run count as well


def test_a_full_jump_host_hides_nobody_in_a_small_window(fleet: Fleet) -> None:
    """More devices wait for it than fit into the question for what is due."""
    fleet.workers(collect=4)
    full = fleet.jump_host()
    for _ in range(30):
        fleet.device(jump_host_id=full, due=timedelta(hours=-3))
    for _ in range(4):
        fleet.device()
    found = hops_of(fleet, tick(fleet))
    assert (found.count(full), found.count(None)) == (CHANNELS, 4)


def test_requests_pass_those_that_wait_for_a_full_jump_host(fleet: Fleet) -> None:
    """More of them than one page, each asked for before."""
    fleet.workers(collect=40)
    full = fleet.jump_host()
    for _ in range(CHANNELS + 6):
        fleet.request(fleet.device(jump_host_id=full, due=timedelta(hours=1)))
    straight = fleet.request(fleet.device(due=timedelta(hours=1)))
    claimed = fleet.claims.claim(replace(LIMITS, batch=3))
    assert claimed is not None
    assert hops_of(fleet, claimed).count(full) == CHANNELS
    assert fleet.row("request", straight).answer == "claimed"
    assert fleet.value("SELECT count(*) FROM request WHERE answered_at IS NULL") == 6


# --- what is shown -----------------------------------------------------------------------------------------------


def overview(fleet: Fleet) -> Overview:
    """The install at one look."""
    return Statuses(fleet.engine("reader"), fleet.policy).overview()


def test_devices_wait_for_a_jump_host_in_trouble(fleet: Fleet) -> None:
    """They are neither overdue nor failing, and need nobody: the jump host does; also while it is being tried."""
    hop = fleet.jump_host(name="hop-1")
    session = fleet.running(jump_host_id=hop, due=timedelta(days=-3))
    fleet.device(jump_host_id=hop, due=timedelta(days=-3))
    fleet.device(jump_host_id=hop, status="paused", due=None)
    ended(fleet, session)
    for _ in range(2):
        shown = overview(fleet)
        standings = sorted(device.standing(shown.now) for device in shown.devices)
        assert standings == [Standing.PAUSED, Standing.AT_JUMP_HOST, Standing.AT_JUMP_HOST]
        assert not any(device.overdue(shown.now) for device in shown.devices)
        assert [(one.name, one.in_trouble, one.waiting) for one in shown.jump_hosts] == [("hop-1", True, 2)]
        later(fleet, hop)
    fleet.collections.jump_host_reached(session)
    assert not overview(fleet).jump_hosts[0].in_trouble
