"""What an operator does while a session runs: the old session neither blocks the device nor speaks for it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backupflow.core.enrolment import Edit, edited, removed, router_replaced
from backupflow.core.jump import JumpTrouble
from backupflow.core.key_acts import key_accepted, key_reset
from backupflow.core.ledger import Ending, Stored
from backupflow.core.model import HostKey, State
from backupflow.errors import LoginSuspended
from tests.integration.db.fleet import HOP_KEY, KEY, Fleet, doubted, message, published

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.inventory import DeviceRecord, Update
    from backupflow.core.ledger import Assignment

OTHER = HostKey("ssh-ed25519", b"other")
WAIT = timedelta(minutes=5)
BLOCKS = (
    "authentication_failed",
    "host_key_mismatch",
    "host_key_unapproved",
    "ssh_downgraded",
    "algorithms_incompatible",
    "identity_changed",
)


def blocked(code: str) -> Ending:
    """How a session ends that blocks its device."""
    return Ending(State.BLOCKED, code, "x", counts=True, blocks=True, offered=OTHER)


TIMED_OUT = Ending(State.FAILED, "device_timeout", counts=True, again_in=WAIT, slow=True)
DEFECT = Ending(State.FAILED, "unexpected", counts=True, again_in=WAIT)


def edit(**wanted: object) -> Callable[[DeviceRecord], Update | None]:
    """`device edit`."""
    return lambda record: edited(record, Edit(**wanted), None)  # type: ignore[arg-type]


MOVED = [edit(host="192.0.2.77"), edit(port=2222), removed]


@pytest.mark.parametrize("act", MOVED, ids=["host", "port", "removed"])
@pytest.mark.parametrize(
    "ending", [*map(blocked, BLOCKS), TIMED_OUT, DEFECT, doubted("B")], ids=lambda ending: ending.code
)
def test_an_old_address_says_nothing_of_a_device(
    fleet: Fleet, act: Callable[[DeviceRecord], Update | None], ending: Ending
) -> None:
    """No block, no count, no wait, no alarm, no slow lane, and its key is nothing to be accepted here (I6, I7)."""
    running = fleet.running()
    assert fleet.act(running.device_id, act)
    due = fleet.row("device", running.device_id).next_due_at
    assert fleet.collections.end(running, replace(ending, alarm=f"device {running.device_id}"))
    row = fleet.row("device", running.device_id)
    assert (row.blocked_code, row.failures, row.lane, row.next_due_at) == (None, 0, "collect", due)
    assert fleet.row("collection", running.collection_id).state in {"failed", "suspect"}
    assert (fleet.alarms(), fleet.sql("SELECT * FROM host_key")) == ([], [])


@pytest.mark.parametrize("ending", [TIMED_OUT, blocked("host_key_mismatch")], ids=lambda ending: ending.code)
def test_an_edit_of_something_else_answers_nothing(fleet: Fleet, ending: Ending) -> None:
    """The device is where it was: what was met there counts as ever."""
    running = fleet.running()
    assert fleet.act(running.device_id, edit(name="another", settings={"end_mark": False}))
    assert fleet.collections.end(running, ending)
    row = fleet.row("device", running.device_id)
    assert (row.failures, row.blocked_code) == (1, ending.code if ending.blocks else None)


@pytest.mark.parametrize("code", ["host_key_mismatch", "host_key_unapproved"])
@pytest.mark.parametrize("act", [key_reset, lambda record: key_accepted(record, OTHER.fingerprint)])
def test_another_pin_answers_a_refusal_of_the_one_before(
    fleet: Fleet, act: Callable[[DeviceRecord], Update | None], code: str
) -> None:
    """Reset or accepted while the old session was refused; it may have met a third key (I6)."""
    device = fleet.running().device_id
    fleet.sql("DELETE FROM collection")
    for status, key in (("pinned", KEY), ("offered", OTHER)):
        fleet.sql(
            "INSERT INTO host_key (tenant_id, device_id, status, key_type, blob, fingerprint) "
            "VALUES (:t, :d, :s, :k, :b, :f)",
            t=fleet.tenant, d=device, s=status, k=key.key_type, b=key.blob, f=key.fingerprint,
        )  # fmt: skip
    running = fleet.running(device)
    assert running.target.pinned == KEY
    assert fleet.act(device, act)
    third = replace(blocked(code), offered=HostKey("ssh-ed25519", b"third"))
    assert fleet.collections.end(running, third)
    assert fleet.row("device", device).blocked_code is None
    assert fleet.value("SELECT count(*) FROM host_key WHERE status = 'offered'") == 0


@pytest.mark.parametrize("code", ["host_key_mismatch", "host_key_unapproved"])
@pytest.mark.parametrize("now", ["corrected", "added", "forgotten", "same"])
def test_other_expected_keys_answer_a_refusal_by_those_before(fleet: Fleet, now: str, code: str) -> None:
    """The fingerprint that was typed wrong is put right while the session is on its way (I6)."""
    device = fleet.device()
    fleet.expect(device, "SHA256:wrong")
    running = fleet.running(device)
    if now in {"corrected", "forgotten"}:
        fleet.sql("DELETE FROM expected_key")
    if now in {"corrected", "added"}:
        fleet.expect(device, "SHA256:right")
    assert fleet.collections.end(running, blocked(code))
    assert fleet.row("device", device).blocked_code == (code if now == "same" else None)


@pytest.mark.parametrize(
    ("before", "now", "code", "answered"),
    [
        ({}, {"legacy_ssh": True}, "algorithms_incompatible", True),
        ({}, {"legacy_ssh": True}, "ssh_downgraded", True),
        ({}, {"legacy_ssh": True}, "host_key_mismatch", False),
        ({"legacy_ssh": True}, {"legacy_ssh": True}, "algorithms_incompatible", False),
        ({"trust": "manual"}, {"trust": "tofu"}, "host_key_unapproved", True),
        ({"trust": "manual"}, {"trust": "tofu"}, "host_key_mismatch", False),
        ({"trust": "tofu"}, {"trust": "tofu"}, "host_key_unapproved", False),
        ({}, {"interval_seconds": "x"}, "algorithms_incompatible", False),
    ],
)
def test_a_setting_of_any_scope_answers_what_it_allows(
    fleet: Fleet, before: dict[str, object], now: dict[str, object], code: str, *, answered: bool
) -> None:
    """What is effective counts, whichever scope says it; what stood already answers nothing."""
    running = fleet.running(settings=before, modern_ssh_at="2026-01-01T00:00:00Z")
    fleet.sql("UPDATE device SET settings = '{}'")
    fleet.sql("UPDATE tenant SET settings = CAST(:s AS jsonb)", s=json.dumps(now))
    assert fleet.collections.end(running, blocked(code))
    assert fleet.row("device", running.device_id).blocked_code == (None if answered else code)


ANOTHER_LOGIN = pytest.mark.parametrize(
    ("columns", "another"),
    [
        ("sealed = 'vault:v1:bmV3', changed_at = clock_timestamp()", True),
        ("username = 'renamed', changed_at = clock_timestamp()", True),
        ("sealed = 'vault:v2:bmV3'", False),
        ("name = 'another'", False),
    ],
    ids=["password", "user name", "newer key", "name"],
)


@ANOTHER_LOGIN
def test_a_shared_login_that_was_edited_is_another_one(fleet: Fleet, columns: str, *, another: bool) -> None:
    """It keeps its id: the one of before is sent no more, and its refusal blocks nobody (I7)."""
    profile = fleet.login(name="shared")
    running = fleet.running(login=False, credential_profile_id=profile)
    fleet.collections.pin(running, KEY)
    assert fleet.collections.login_allowed(running, KEY)
    fleet.sql(f"UPDATE credential_profile SET {columns}")  # noqa: S608 - of the lines above
    assert fleet.collections.login_allowed(running, KEY) is not another
    assert fleet.collections.end(running, blocked("authentication_failed"))
    row = fleet.row("device", running.device_id)
    assert (row.blocked_code, row.failures) == ((None, 0) if another else ("authentication_failed", 1))


@ANOTHER_LOGIN
def test_the_login_of_a_jump_host_that_was_edited_is_another_one(fleet: Fleet, columns: str, *, another: bool) -> None:
    """Neither sent nor, when it is refused, a reason to block the jump host (I7)."""
    hop = fleet.jump_host()
    running = fleet.running(jump_host_id=hop)
    shared = "id = (SELECT credential_profile_id FROM jump_host)"
    fleet.sql(f"UPDATE credential_profile SET {columns} WHERE {shared}")  # noqa: S608 - of the lines above
    assert fleet.collections.jump_login_allowed(running, HOP_KEY) is not another
    refused = JumpTrouble("authentication_failed", "no", blocks=True)
    assert fleet.collections.end(running, Ending(State.FAILED, "jump_host_blocked", jump_trouble=refused))
    assert fleet.row("jump_host", hop).blocked_code == (None if another else "authentication_failed")


# --- the fence -----------------------------------------------------------------------------------------------------

PAUSED = Ending(State.FAILED, LoginSuspended.code, "x", again_in=timedelta(0), pauses=True)
OMIT = edit(settings={"secrets": "omit"})


@pytest.mark.parametrize("act", [*MOVED, OMIT], ids=["host", "port", "removed", "omit"])
def test_the_export_of_an_old_session_is_not_published(
    fleet: Fleet, act: Callable[[DeviceRecord], Update | None]
) -> None:
    """Of another address, of a device that is gone, or with secrets that are to stay on the router (I5, I8)."""
    fleet.observations.store([first := fleet.passed("A")])
    running = fleet.running(first.device_id)
    assert fleet.act(running.device_id, act)
    before = fleet.row("device", running.device_id)
    with pytest.raises(LoginSuspended):
        fleet.collections.publish(running, published("B"))
    row = fleet.row("collection", running.collection_id)
    assert (row.state, row.digest, row.facts) == ("running", None, None)
    assert fleet.row("device", running.device_id) == before
    assert fleet.observations.store([message(running, "B")]) == [Stored.WRONG_STATE]
    assert fleet.collections.end(running, PAUSED)
    row = fleet.row("device", running.device_id)
    assert (row.current_seq, row.failures, row.blocked_code) == (first.seq, 0, None)


@pytest.mark.parametrize("where", ["host = 'elsewhere'", "port = 2222"])
def test_another_network_behind_the_jump_host_is_another_address(fleet: Fleet, where: str) -> None:
    """The way to the device is another one: no pin, no login, no export, no block, and nothing counts (I6, I7)."""
    hop = fleet.jump_host()
    keyed, first, refused = (fleet.running(jump_host_id=hop) for _ in range(3))
    fleet.collections.pin(keyed, KEY)
    fleet.sql(f"UPDATE jump_host SET {where}")  # noqa: S608 - of the lines above
    with pytest.raises(LoginSuspended):
        fleet.collections.pin(first, KEY)
    assert not fleet.collections.login_allowed(keyed, KEY)
    with pytest.raises(LoginSuspended):
        fleet.collections.publish(keyed, published("A"))
    assert fleet.collections.end(refused, blocked("authentication_failed"))
    row = fleet.row("device", refused.device_id)
    assert (row.blocked_code, row.failures) == (None, 0)


def test_settings_that_became_unusable_publish_nothing(fleet: Fleet) -> None:
    """Nobody can say whether its secrets may leave the router."""
    running = fleet.running()
    fleet.sql('UPDATE tenant SET settings = \'{"secrets": "?"}\'')
    with pytest.raises(LoginSuspended):
        fleet.collections.publish(running, published("A"))


@pytest.mark.parametrize(
    "act",
    [edit(name="another"), edit(settings={"interval_seconds": 60}), edit(settings={"secrets": "collect"}), key_reset],
    ids=["name", "interval", "collect", "no key"],
)
def test_what_leaves_an_export_true_lets_it_through(fleet: Fleet, act: Callable[[DeviceRecord], Update | None]) -> None:
    """The device is where it was, and its secrets may be read as before."""
    running = fleet.running()
    fleet.act(running.device_id, act)
    assert fleet.collections.publish(running, published("A"))


@pytest.mark.parametrize("scope", ["omit", "collect"])
def test_secrets_of_a_policy_that_omitted_them_before_are_no_change(fleet: Fleet, scope: str) -> None:
    """The session left them out itself, or the policy asks for more by now."""
    running = fleet.running(settings={"secrets": "omit"})
    fleet.act(running.device_id, edit(settings={"secrets": scope}))
    assert fleet.collections.publish(running, published("A"))


def test_the_last_export_of_a_router_that_was_replaced_is_kept(fleet: Fleet) -> None:
    """There is no other way to have it; the next one is compared with nothing."""
    running = fleet.running()
    fleet.act(running.device_id, router_replaced)
    assert fleet.collections.publish(running, published("A"))
    assert fleet.running(running.device_id).known.before is None


def test_who_lost_its_lease_hears_that_first(fleet: Fleet) -> None:
    """Its row is another's by now: there is nothing to end."""
    running = fleet.running()
    fleet.sql("UPDATE collection SET state = 'lost'")
    fleet.act(running.device_id, edit(host="192.0.2.77"))
    assert fleet.collections.publish(running, published("A")) is False


# --- the ratchet of algorithms -------------------------------------------------------------------------------------


def ends(fleet: Fleet, running: Assignment, how: str) -> None:
    """A session that agreed on nothing but modern algorithms ends, believed or in doubt."""
    if how == "published":
        assert fleet.collections.publish(running, published("B"))
    else:
        assert fleet.collections.end(running, doubted("B"))


ENDS = pytest.mark.parametrize("how", ["published", "suspect"])
ALLOWED = edit(settings={"legacy_ssh": True})
LONG_SINCE = "2026-01-01T00:00:00Z"


@ENDS
@pytest.mark.parametrize(
    ("settings", "since"),
    [({}, None), ({}, LONG_SINCE), ({"legacy_ssh": True}, LONG_SINCE)],
    ids=["not yet", "modern before", "the setting stood"],
)
def test_sha1_that_was_allowed_stays_so_whatever_the_old_session_spoke(
    fleet: Fleet, how: str, settings: dict[str, object], since: str | None
) -> None:
    """The act counts; the next session learns it anew."""
    running = fleet.running(modern_ssh_at=since, settings=settings)
    assert fleet.act(running.device_id, ALLOWED)
    ends(fleet, running, how)
    assert fleet.row("device", running.device_id).modern_ssh_at is None
    ends(fleet, fleet.running(running.device_id), how)
    assert fleet.row("device", running.device_id).modern_ssh_at is not None


@ENDS
def test_a_modern_handshake_is_learnt_once(fleet: Fleet, how: str) -> None:
    """Whatever is made of the export behind it; not of one that was not modern."""
    old = fleet.running()
    assert fleet.collections.end(old, doubted("A", modern_ssh=False))
    assert fleet.row("device", old.device_id).modern_ssh_at is None
    ends(fleet, fleet.running(old.device_id), how)
    since = fleet.row("device", old.device_id).modern_ssh_at
    assert since is not None
    ends(fleet, fleet.running(old.device_id), how)
    assert fleet.row("device", old.device_id).modern_ssh_at == since


@pytest.mark.parametrize("act", [*MOVED[:2], router_replaced], ids=["host", "port", "replaced"])
def test_the_handshake_of_an_old_session_teaches_nothing(
    fleet: Fleet, act: Callable[[DeviceRecord], Update | None]
) -> None:
    """Another router may answer by now, which speaks nothing but SHA-1."""
    running = fleet.running()
    assert fleet.act(running.device_id, act)
    ends(fleet, running, "suspect")
    assert fleet.row("device", running.device_id).modern_ssh_at is None


def test_another_router_behind_the_key_teaches_nothing(fleet: Fleet) -> None:
    """Its handshake is not that of the router that the device stands for."""
    running = fleet.running()
    assert fleet.collections.end(running, replace(blocked("identity_changed"), offered=None, aside=doubted("B").aside))
    assert fleet.row("device", running.device_id).modern_ssh_at is None
