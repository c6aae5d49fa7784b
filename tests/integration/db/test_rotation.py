"""A shared login that is rotated: each device is sent what it took last, the other in its turn, and nothing is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from backupflow.adapters.db.scopes import Scopes
from backupflow.core import rotation_acts, scope_acts
from backupflow.core.enrolment import Edit, edited, router_replaced, unblocked
from backupflow.core.inventory import DeviceLogin, Placement
from backupflow.core.ledger import Ending, Step
from backupflow.core.model import LoginOn, SealedSecret, State
from backupflow.core.rotation import Act, Tally
from backupflow.core.scopes import Changes, NewScope, ProfileRecord, ScopeKind
from backupflow.errors import Conflict
from tests.integration.db.fleet import LIMITS, Fleet, published

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from backupflow.core.ledger import Assignment
    from backupflow.core.model import DeviceId
    from backupflow.core.scopes import Record, ScopeUpdate

NEXT = DeviceLogin("backup2", "key", SealedSecret("vault:v1:bmV4dA=="))
REFUSED = Ending(State.BLOCKED, "authentication_failed", "", counts=True, blocks=True)
OLD, NEW = "vault:v1:bG9naW4=", "vault:v1:bmV4dA=="


def act(fleet: Fleet, decide: Callable[[ProfileRecord], ScopeUpdate | None]) -> ProfileRecord:
    """What a person does to the profile `p`."""

    def decided(record: Record) -> ScopeUpdate | None:
        assert isinstance(record, ProfileRecord)
        return decide(record)

    found = Scopes(fleet.engine("enroller")).change(ScopeKind.PROFILE, fleet.tenant, "p", decided, "me")[0]
    assert isinstance(found, ProfileRecord)
    return found


def begin(fleet: Fleet, login: DeviceLogin = NEXT) -> ProfileRecord:
    """`credential rotate p`."""
    return act(fleet, lambda record: rotation_acts.rotation_begun(record, login))


def end(fleet: Fleet, how: Act, typed: int | None = None) -> ProfileRecord:
    """`credential rotate p --finish` or `--cancel`."""
    return act(fleet, lambda record: rotation_acts.rotation_ended(record, how, typed))


def tally(fleet: Fleet) -> Tally:
    """How far it is, as whoever may only read is told."""
    found = Scopes(fleet.engine("reader")).find(ScopeKind.PROFILE, fleet.tenant, "p")
    assert isinstance(found, ProfileRecord)
    assert found.rotation is not None
    return found.rotation.tally


def standing(fleet: Fleet, device: UUID) -> tuple[str, str | None, bool]:
    """What is sent next, what was refused, and whether it is known since when it works."""
    row = fleet.row("device", device)
    return row.login_on, row.refused_on, row.login_since is not None


def sends(assignment: Assignment) -> tuple[str, str, LoginOn]:
    """Which login a session has in hand."""
    assert assignment.sealed_login
    return assignment.username, assignment.sealed_login.text, assignment.login_on


def session(fleet: Fleet, device: DeviceId, takes: str, *, trigger: str = "schedule") -> Assignment:
    """One connection to a router that takes the secret `takes` only."""
    running = fleet.running(device, trigger=trigger)
    assert running.sealed_login
    if running.sealed_login.text == takes:
        assert fleet.collections.publish(running, published("A"))
    else:
        assert fleet.collections.end(running, REFUSED)
    return running


def wait_of(fleet: Fleet, device: UUID) -> timedelta:
    """How long it is left alone from now on."""
    wait: timedelta = fleet.value("SELECT next_due_at - now() FROM device WHERE id = :d", d=device)
    return wait


@pytest.fixture
def profile(fleet: Fleet) -> UUID:
    """A login that devices share."""
    return fleet.login(name="p")


@pytest.fixture
def router(fleet: Fleet, profile: UUID) -> DeviceId:
    """A device that uses it."""
    return fleet.device(login=False, credential_profile_id=profile)


def test_what_worked_last_is_sent_first_and_the_other_later(fleet: Fleet, router: DeviceId) -> None:
    """A router whose password is the new one: one refusal, six minutes, the other login in a connection of its own."""
    assert sends(fleet.running(router)) == ("backup", OLD, LoginOn.CURRENT)
    fleet.sql("UPDATE collection SET state = 'failed'")
    begin(fleet)
    assert tally(fleet) == Tally(unseen=1)
    first = session(fleet, router, NEW)
    assert sends(first) == ("backup", OLD, LoginOn.CURRENT)
    row = fleet.row("collection", first.collection_id)
    assert (row.state, row.code) == ("failed", "authentication_failed")
    assert row.detail == "the old login was refused, the new login has its turn in a later connection"
    device = fleet.row("device", router)
    assert (device.blocked_code, device.failures, fleet.alarms()) == (None, 0, [])
    assert timedelta(minutes=6.2) < wait_of(fleet, router) < timedelta(minutes=7.6)
    assert standing(fleet, router) == ("next", "current", False)
    assert tally(fleet) == Tally(waiting=1)
    second = session(fleet, router, NEW)
    assert sends(second) == ("backup2", NEW, LoginOn.NEXT)
    assert standing(fleet, router) == ("next", None, True)
    assert tally(fleet) == Tally(new=1)
    assert session(fleet, router, NEW).login_on is LoginOn.NEXT


def test_a_router_that_was_not_changed_is_sent_nothing_new(fleet: Fleet, router: DeviceId) -> None:
    """It takes the old one, every time, and is known to since its first session."""
    begin(fleet)
    assert session(fleet, router, OLD).login_on is LoginOn.CURRENT
    since = fleet.row("device", router).login_since
    assert since is not None
    assert session(fleet, router, OLD).login_on is LoginOn.CURRENT
    assert fleet.row("device", router).login_since == since
    assert tally(fleet) == Tally(old=1)


def test_only_both_refused_block(fleet: Fleet, router: DeviceId) -> None:
    """With one block and one alarm; unblocked, it is sent both once more, what worked last first."""
    begin(fleet)
    session(fleet, router, OLD)
    session(fleet, router, "another")
    session(fleet, router, "another")
    row = fleet.row("device", router)
    assert (row.blocked_code, row.failures) == ("authentication_failed", 1)
    assert fleet.alarms() == [("authentication_failed", f"device {router}")]
    assert tally(fleet) == Tally(neither=1)
    fleet.act(router, unblocked)
    assert standing(fleet, router) == ("current", None, False)
    assert [session(fleet, router, "another").login_on for _ in range(2)] == [LoginOn.CURRENT, LoginOn.NEXT]
    assert fleet.row("device", router).blocked_code == "authentication_failed"


def test_a_router_may_change_its_mind(fleet: Fleet, router: DeviceId) -> None:
    """Set back to the old password: the new one is refused, the old one has its turn, and is what it is on."""
    begin(fleet)
    session(fleet, router, NEW)
    session(fleet, router, NEW)
    session(fleet, router, OLD)
    assert standing(fleet, router) == ("current", "next", True)
    assert session(fleet, router, OLD).login_on is LoginOn.CURRENT
    assert standing(fleet, router) == ("current", None, True)
    assert tally(fleet) == Tally(old=1)


def test_a_login_that_was_taken_counts_whatever_came_then(fleet: Fleet, router: DeviceId) -> None:
    """A router that lets us in and refuses the export has taken its login: it is on the new one."""
    begin(fleet)
    session(fleet, router, NEW)
    rejected = Ending(State.FAILED, "command_rejected", "no rights", counts=True)
    fleet.collections.end(fleet.running(router), rejected)
    assert standing(fleet, router) == ("next", None, True)


@pytest.mark.parametrize("takes", [OLD, NEW])
def test_a_test_tries_one_login_and_blocks_only_for_both(fleet: Fleet, router: DeviceId, takes: str) -> None:
    """Its refusal is told, the other has its turn in a later connection, and is not sent by the schedule before."""
    begin(fleet)
    refused = Ending(State.TESTED, "authentication_failed", blocks=True)
    for on in ("current", "next") if takes == NEW else ("current",):
        tested = fleet.running(router, trigger="test")
        assert tested.login_on == on
        taken = (Step("login", well=True),)
        well = tested.sealed_login is not None and tested.sealed_login.text == takes
        assert fleet.collections.end(tested, Ending(State.TESTED, "", report=taken) if well else refused)
        assert fleet.row("collection", tested.collection_id).state == "tested"
        assert fleet.row("device", router).blocked_code is None
        if not well:
            assert wait_of(fleet, router) > timedelta(minutes=6)
    assert standing(fleet, router) == ("next" if takes == NEW else "current", None, True)
    fleet.collections.end(fleet.running(router, trigger="test"), refused)
    assert fleet.row("device", router).blocked_code is None
    fleet.collections.end(fleet.running(router, trigger="test"), refused)
    assert fleet.row("device", router).blocked_code == "authentication_failed"


def test_the_old_login_is_gone_when_it_is_finished(fleet: Fleet, profile: UUID, router: DeviceId) -> None:
    """Nobody is asked if all are on the new one; who has it in hand goes on with it, who has the old one does not."""
    begin(fleet)
    session(fleet, router, NEW)
    session(fleet, router, NEW)
    with_new = fleet.running(router)
    other = fleet.device(login=False, credential_profile_id=profile)
    with_old = fleet.running(other)
    with pytest.raises(Conflict, match=r"1 device is not known to take the new login \(1 not seen since it began\)"):
        end(fleet, Act.FINISH)
    end(fleet, Act.FINISH, 1)
    row = fleet.row("credential_profile", profile)
    assert (row.username, row.method, row.sealed, row.next_sealed, row.next_changed_at) == (
        "backup2", "key", NEW, None, None,
    )  # fmt: skip
    key = published("A").host_key
    for device in (router, other):
        fleet.sql(
            "INSERT INTO host_key (tenant_id, device_id, status, key_type, blob, fingerprint) "
            "VALUES (:t, :d, 'pinned', :key_type, :blob, :f) ON CONFLICT DO NOTHING",
            t=fleet.tenant, d=device, key_type=key.key_type, blob=key.blob, f=key.fingerprint,
        )  # fmt: skip
    assert fleet.collections.login_allowed(with_new, key)
    assert not fleet.collections.login_allowed(with_old, key)
    assert fleet.collections.publish(with_new, published("A"))
    assert fleet.collections.end(with_old, REFUSED)
    assert [fleet.row("device", one).blocked_code for one in (router, other)] == [None, None]
    assert standing(fleet, router) == ("current", None, False)
    assert sends(fleet.running(other)) == ("backup2", NEW, LoginOn.CURRENT)


def test_the_next_login_is_given_up(fleet: Fleet, profile: UUID, router: DeviceId) -> None:
    """Who is on it is counted; its session that is under way sends it no more, and blocks nobody."""
    begin(fleet)
    session(fleet, router, NEW)
    session(fleet, router, NEW)
    with_new = fleet.running(router)
    for typed in (None, 0, 2):
        with pytest.raises(Conflict, match=r"1 device is not known to take the old login \(1 on new\)"):
            end(fleet, Act.CANCEL, typed)
    end(fleet, Act.CANCEL, 1)
    row = fleet.row("credential_profile", profile)
    assert (row.username, row.sealed, row.next_username, row.next_sealed) == ("backup", OLD, None, None)
    assert fleet.collections.end(with_new, REFUSED)
    assert fleet.row("device", router).blocked_code is None
    assert session(fleet, router, NEW).login_on is LoginOn.CURRENT
    assert fleet.row("device", router).blocked_code == "authentication_failed"


def test_each_act_has_one_audit_row(fleet: Fleet, router: DeviceId) -> None:
    """With what was left behind, and no secret, sealed or not."""
    begin(fleet)
    end(fleet, Act.CANCEL)
    begin(fleet)
    session(fleet, router, OLD)
    end(fleet, Act.FINISH, 1)
    rows = fleet.sql("SELECT action, detail FROM audit WHERE action LIKE 'credential_rotation%' ORDER BY id")
    assert [row.action.removeprefix("credential_rotation_") for row in rows] == [
        "begun", "cancelled", "begun", "finished",
    ]  # fmt: skip
    assert rows[0].detail == {"credential_profile": "p", "username": "backup2", "method": "key", "devices": 1}
    assert rows[3].detail["left_behind"] == rows[3].detail["devices"]["on_old"] == 1
    assert "vault:" not in str(rows)


def test_a_login_that_is_rotated_is_neither_edited_nor_rotated_again(fleet: Fleet, router: DeviceId) -> None:
    """Which of the two would be meant? Its name and what it says of trust may change."""
    begin(fleet)
    for decide in (
        lambda record: rotation_acts.rotation_begun(record, NEXT),
        lambda record: scope_acts.profile_edited(record, Changes(), NEXT),
        lambda record: scope_acts.profile_edited(record, Changes(), DeviceLogin("other")),
    ):
        with pytest.raises(Conflict, match="is being rotated: end that first, `credential rotate p --finish`"):
            act(fleet, decide)
    act(fleet, lambda record: scope_acts.profile_edited(record, Changes(settings={"trust": "manual"}), None))
    end(fleet, Act.CANCEL)
    with pytest.raises(Conflict, match="not being rotated: there is nothing to finish"):
        end(fleet, Act.FINISH)


@pytest.mark.usefixtures("profile")
def test_a_jump_host_has_one_login(fleet: Fleet) -> None:
    """A profile that one uses is not rotated, and no jump host gets one that is; nor at the same moment."""
    scopes = Scopes(fleet.engine("enroller"))
    hop = NewScope(ScopeKind.JUMP_HOST, fleet.tenant, uuid4(), "hop-1", {}, "p", host="203.0.113.7")
    begin(fleet)
    with pytest.raises(Conflict, match="the login of p is being rotated, and a jump host has one login"):
        scopes.add(hop, "me")
    end(fleet, Act.CANCEL)
    scopes.add(hop, "me")
    with pytest.raises(Conflict, match="hop-1 uses p: give it a profile of its own first, `jump edit hop-1"):
        begin(fleet)
    scopes.change(ScopeKind.JUMP_HOST, fleet.tenant, "hop-1", scope_acts.hop_removed, "me")  # type: ignore[arg-type]

    def round_of(number: int) -> None:
        name = f"hop-{number}"
        acts = [lambda: begin(fleet), lambda: scopes.add(NewScope(
            ScopeKind.JUMP_HOST, fleet.tenant, uuid4(), name, {}, "p", host=name), "me")]  # fmt: skip

        def tried(what: Callable[[], object]) -> bool:
            try:
                what()
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(tried, acts))
        assert done.count(True) == 1
        if done[0]:
            end(fleet, Act.CANCEL)
        else:
            scopes.change(ScopeKind.JUMP_HOST, fleet.tenant, name, scope_acts.hop_removed, "me")  # type: ignore[arg-type]

    for number in range(5):
        round_of(number)


def test_what_was_refused_before_begins_with_the_next_login(fleet: Fleet, router: DeviceId) -> None:
    """A password that was changed by hand is made known by a rotation: its blocks end, the old one stays unsent."""
    session(fleet, router, NEW)
    assert fleet.row("device", router).blocked_code == "authentication_failed"
    begin(fleet)
    assert fleet.row("device", router).blocked_code is None
    assert fleet.alarms() == []
    assert session(fleet, router, NEW).login_on is LoginOn.NEXT
    assert tally(fleet) == Tally(new=1)


def test_another_profile_or_router_is_nothing_known_of(fleet: Fleet, router: DeviceId) -> None:
    """What a device was on says nothing of another login, nor of the router in its place."""
    begin(fleet)
    session(fleet, router, NEW)
    fleet.act(router, router_replaced)
    assert standing(fleet, router) == ("current", None, False)
    session(fleet, router, NEW)
    session(fleet, router, NEW)
    fleet.login(name="q")
    fleet.act(router, lambda record: edited(record, Edit(placement=Placement(profile="q")), None))
    assert standing(fleet, router) == ("current", None, False)
    fleet.act(router, lambda record: edited(record, Edit(placement=Placement(profile="p")), None))
    assert session(fleet, router, NEW).login_on is LoginOn.CURRENT
    with_other = fleet.running(router)
    assert with_other.login_on is LoginOn.NEXT
    fleet.act(router, router_replaced)
    assert fleet.collections.publish(with_other, published("A"))
    assert standing(fleet, router) == ("current", None, False)


def test_a_session_of_before_says_what_it_knows(fleet: Fleet, router: DeviceId) -> None:
    """The old login was in hand when the rotation began: refused, the new one has its turn; no lease, no word."""
    before = fleet.running(router)
    begin(fleet)
    gone = fleet.running(fleet.device(login=False, credential_profile_id=before.login_id))
    fleet.sql("UPDATE collection SET state = 'lost' WHERE id = :c", c=gone.collection_id)
    assert not fleet.collections.end(gone, REFUSED)
    assert standing(fleet, gone.device_id) == ("current", None, False)
    assert fleet.collections.end(before, REFUSED)
    assert standing(fleet, router) == ("next", "current", False)
    assert fleet.row("device", router).blocked_code is None


def test_rotated_keys_are_no_other_login(fleet: Fleet, router: DeviceId) -> None:
    """The same login under a newer version of its key, current or next, is the one that was sent."""
    begin(fleet)
    session(fleet, router, "another")
    running = fleet.running(router)
    fleet.sql("UPDATE credential_profile SET next_sealed = 'vault:v2:bmV4dA==', sealed = 'vault:v2:bG9naW4='")
    assert fleet.collections.publish(running, published("A"))
    assert standing(fleet, router) == ("next", None, True)


def test_a_claim_waits_for_the_turn_of_the_other_login(fleet: Fleet, router: DeviceId) -> None:
    """The schedule leaves it alone for that long."""
    fleet.workers(collect=2)
    begin(fleet)
    session(fleet, router, NEW)
    assert not fleet.claims.claim(LIMITS).new  # type: ignore[union-attr]
