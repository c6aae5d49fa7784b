"""What each act on a device changes, decided over values alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.enrolment import (
    Edit,
    edited,
    export_believed,
    paused,
    removed,
    resumed,
    router_replaced,
    unblocked,
)
from backupflow.core.inventory import DeviceLogin, DeviceRecord, SeenKey, checked_host, checked_name
from backupflow.core.key_acts import key_accepted, key_reset
from backupflow.core.model import DeviceId, EndMark, HostKey, Login, SealedSecret, TenantId
from backupflow.errors import Conflict, InputInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.inventory import Update

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SEALED = DeviceLogin("backup", "password", SealedSecret("vault:v1:YQ=="))


def seen(number: int, status: str, blob: bytes) -> SeenKey:
    """A host key on record."""
    return SeenKey(number, status, HostKey("ssh-ed25519", blob), NOW, NOW, None)


RECORD = DeviceRecord(
    TenantId(UUID(int=1)), DeviceId(UUID(int=2)), "core-1", "192.0.2.1", 22, "routeros", "active", {}, "backup",
    "password", True, None, None, None, 0, NOW - timedelta(days=1), NOW + timedelta(hours=1), timedelta(hours=6),
    NOW - timedelta(hours=5), NOW,
)  # fmt: skip
BLOCKED = replace(RECORD, blocked_code="host_key_mismatch", failures=3, keys=(
    seen(2, "offered", b"new"), seen(1, "pinned", b"old"), seen(0, "retired", b"older"),
))  # fmt: skip


@pytest.mark.parametrize(
    ("code", "wanted", "ends"),
    [
        ("authentication_failed", Edit(login=Login("backup", password="x")), True),
        ("authentication_failed", Edit(host="192.0.2.2"), False),
        ("algorithms_incompatible", Edit(settings={"legacy_ssh": True}), True),
        ("algorithms_incompatible", Edit(settings={"legacy_ssh": False}), False),
        ("host_key_unapproved", Edit(settings={"trust": "tofu"}), True),
        ("host_key_mismatch", Edit(settings={"trust": "tofu"}), False),
        ("host_key_mismatch", Edit(login=Login("backup", password="x")), False),
        ("host_key_mismatch", Edit(new_router=True), True),
        ("host_key_mismatch", Edit(settings={"legacy_ssh": True}), False),
        ("ssh_downgraded", Edit(settings={"legacy_ssh": True}), True),
        ("ssh_downgraded", Edit(settings={"legacy_ssh": False}), False),
        ("ssh_downgraded", Edit(host="192.0.2.2"), False),
        ("ssh_downgraded", Edit(new_router=True), True),
        ("identity_changed", Edit(new_router=True), True),
        ("identity_changed", Edit(settings={"legacy_ssh": True}), False),
        ("authentication_failed", Edit(new_router=True), False),
    ],
)
def test_an_edit_ends_only_the_block_whose_cause_it_takes_away(code: str, wanted: Edit, ends: bool) -> None:
    """A new password says nothing about a changed host key, and the other way round (I6, I7)."""
    update = edited(replace(RECORD, blocked_code=code), wanted, SEALED if wanted.login else None)
    assert update
    assert (update.columns.get("blocked_code", code) is None) is ends
    assert (code in update.clears) is ends


FELL_BACK = replace(RECORD, blocked_code="ssh_downgraded", blocked_at=NOW, modern_ssh_at=NOW - timedelta(days=1),
    settings={"legacy_ssh": True})  # fmt: skip
SHA1 = Edit(settings={"legacy_ssh": True})


@pytest.mark.parametrize(
    ("record", "ends"),
    [
        (FELL_BACK, True),
        (replace(FELL_BACK, modern_ssh_at=None), True),
        (replace(FELL_BACK, settings={}), True),
        (replace(FELL_BACK, keys=(seen(2, "offered", b"x"), seen(1, "pinned", b"old"))), True),
        (replace(FELL_BACK, blocked_code="host_key_mismatch"), False),
        (replace(FELL_BACK, blocked_code="host_key_mismatch", blocked_detail="it offers SHA-1 only"), False),
        (replace(FELL_BACK, blocked_code="authentication_failed"), False),
    ],
    ids=["fell back", "allowed before", "no setting yet", "keys on offer", "another key", "whatever is said of it",
         "refused login"],
)  # fmt: skip
def test_allowing_sha1_ends_the_block_of_a_fall_back_alone(record: DeviceRecord, ends: bool) -> None:
    """A block by another key is a question about that key (I6, I7); the router may speak SHA-1 again all the same."""
    update = edited(record, SHA1, None)
    assert update
    assert (update.columns.get("blocked_code", "as it was") is None) is ends
    assert (record.blocked_code in update.clears) is ends
    assert update.columns["modern_ssh_at"] is None


@pytest.mark.parametrize("settings", [{"legacy_ssh": False}, {"trust": "tofu"}, {"interval_seconds": 60}])
def test_no_other_setting_ends_the_block_of_a_fall_back(settings: dict[str, object]) -> None:
    """Nor lets SHA-1 back."""
    update = edited(FELL_BACK, Edit(settings=settings), None)
    assert update
    assert not {"blocked_code", "modern_ssh_at"} & set(update.columns)


@pytest.mark.parametrize(
    "act", [key_reset, lambda record: key_accepted(record, HostKey("ssh-ed25519", b"new").fingerprint)]
)
def test_no_key_ends_the_block_of_a_fall_back(act: Callable[[DeviceRecord], Update | None]) -> None:
    """It was not refused for its key, and none was seen."""
    update = act(replace(BLOCKED, blocked_code="ssh_downgraded", modern_ssh_at=NOW))
    assert update
    assert not {"blocked_code", "modern_ssh_at"} & set(update.columns)
    assert "ssh_downgraded" not in update.clears


@pytest.mark.parametrize(
    ("record", "wanted", "forgotten"),
    [
        (replace(RECORD, modern_ssh_at=NOW), SHA1, True),
        (replace(RECORD, modern_ssh_at=NOW, settings={"legacy_ssh": True}), SHA1, True),
        (replace(RECORD, modern_ssh_at=NOW), Edit(settings={"legacy_ssh": False}), False),
        (replace(RECORD, modern_ssh_at=NOW), Edit(settings={"trust": "tofu"}), False),
        (replace(RECORD, modern_ssh_at=NOW), Edit(host="192.0.2.2"), False),
    ],
)
def test_only_who_asks_for_sha1_lets_it_back(record: DeviceRecord, wanted: Edit, forgotten: bool) -> None:
    """In that very act, also where the setting stands already; nothing else takes the ratchet back."""
    update = edited(record, wanted, None)
    assert update
    assert ("modern_ssh_at" in update.columns) is forgotten


def test_asking_for_sha1_twice_is_nothing() -> None:
    """No audit row for what is so already."""
    assert edited(replace(RECORD, settings={"legacy_ssh": True}), SHA1, None) is None


OF_THE_ROUTER = {"remembered_command": None, "end_mark": EndMark.UNTRIED, "modern_ssh_at": None}


@pytest.mark.parametrize("act", [router_replaced, lambda record: edited(record, Edit(new_router=True), None)])
@given(st.integers(0, 2**40))
def test_nothing_outlives_a_router_that_was_replaced(
    act: Callable[[DeviceRecord], Update | None], last_seq: int
) -> None:
    """Both ways of saying it: nothing up to now is compared with, and nothing learnt is kept."""
    for code in ("host_key_mismatch", "ssh_downgraded", "identity_changed"):
        update = act(replace(BLOCKED, last_seq=last_seq, modern_ssh_at=NOW, blocked_code=code))
        assert_another_router(update, code, last_seq)


def assert_another_router(update: Update | None, code: str, last_seq: int) -> None:
    """Nothing up to now is compared with, nothing learnt is kept, the block is over."""
    assert update
    assert update.columns["router_since_seq"] == last_seq
    assert {name: update.columns.get(name, "") for name in OF_THE_ROUTER} == OF_THE_ROUTER
    assert set(update.clears) >= {code, "export_suspect", "secrets_hidden"}
    assert update.columns["blocked_code"] is None


@pytest.mark.parametrize(
    "act",
    [
        unblocked,
        key_reset,
        lambda record: key_accepted(record, HostKey("ssh-ed25519", b"new").fingerprint),
        lambda record: edited(record, Edit(host="192.0.2.9"), None),
        paused,
    ],
)
def test_no_other_act_says_that_the_router_is_another(act: Callable[[DeviceRecord], Update | None]) -> None:
    """Neither a new key, nor a new address, nor another try: what is known of it stays."""
    update = act(replace(BLOCKED, last_seq=9, modern_ssh_at=NOW))
    assert update
    assert not {"router_since_seq", *OF_THE_ROUTER} & set(update.columns)


IN_DOUBT = replace(RECORD, in_doubt=True, last_seq=9, failures=2)


def test_the_next_export_is_believed_by_an_operators_word() -> None:
    """It counts from the newest collection on, at once; nothing else of the device is another."""
    update = export_believed(IN_DOUBT)
    assert update
    assert (update.action, update.clears) == ("export_believed", ("export_suspect",))
    assert update.columns == {"believe_seq": 9, "next_due_at": NOW}
    paused_one = export_believed(replace(IN_DOUBT, status="paused"))
    assert paused_one
    assert "next_due_at" not in paused_one.columns


def test_an_operators_word_is_for_what_somebody_could_look_at() -> None:
    """Where nothing is in doubt it would be a blank cheque; said twice it is one word."""
    with pytest.raises(Conflict, match="no export of core-1 is in doubt"):
        export_believed(replace(IN_DOUBT, in_doubt=False))
    assert export_believed(replace(IN_DOUBT, believes=True)) is None
    for believes in (False, True):
        with pytest.raises(Conflict, match="is blocked: identity_changed; end that first"):
            export_believed(replace(IN_DOUBT, believes=believes, blocked_code="identity_changed"))


@pytest.mark.parametrize(
    ("act", "ends"),
    [
        (lambda record: edited(record, Edit(host="192.0.2.9"), None), True),
        (lambda record: edited(record, Edit(port=2222), None), True),
        (lambda record: edited(record, Edit(new_router=True), None), True),
        (router_replaced, True),
        (key_reset, True),
        (lambda record: key_accepted(record, HostKey("ssh-ed25519", b"new").fingerprint), True),
        (lambda record: edited(record, Edit(name="core-2"), None), False),
        (lambda record: edited(record, Edit(host="192.0.2.1", settings={"end_mark": False}), None), False),
        (unblocked, False),
        (paused, False),
    ],
)
def test_an_operators_word_does_not_outlive_what_it_was_said_of(
    act: Callable[[DeviceRecord], Update | None], *, ends: bool
) -> None:
    """Another address, another key, another router: the next export may be a stranger's."""
    update = act(replace(BLOCKED, believes=True))
    assert update
    assert update.columns.get("believe_seq") == (0 if ends else None)


def test_a_paused_device_stays_paused_whatever_is_edited() -> None:
    """An edit makes nothing due that an operator has stopped."""
    update = edited(replace(RECORD, status="paused", next_due_at=None), Edit(host="192.0.2.2"), None)
    assert update
    assert "next_due_at" not in update.columns


def test_a_device_that_is_left_alone_is_no_alarm() -> None:
    """Whoever pauses one that is down, or gives it another address, knows of it."""
    for update in (paused(RECORD), edited(RECORD, Edit(host="192.0.2.2"), None)):
        assert update
        assert "device_down" in update.clears


def test_a_user_name_alone_needs_a_login_to_belong_to() -> None:
    """A device that uses its group's login has no password of its own to keep."""
    with pytest.raises(InputInvalid):
        edited(replace(RECORD, has_own_login=False), Edit(username="x"), DeviceLogin("x"))


def test_resumed_within_its_interval_it_waits_for_its_phase() -> None:
    """Nothing was missed, so the phase is kept."""
    update = resumed(replace(RECORD, status="paused"))
    assert update
    assert update.columns["next_due_at"] == RECORD.anchor_at + 5 * timedelta(hours=6)


@pytest.mark.parametrize("last", [None, NOW - timedelta(hours=6)])
def test_resumed_after_a_missed_run_it_is_due_at_once(last: datetime | None) -> None:
    """A device that was paused over its turn is not left for another interval."""
    update = resumed(replace(RECORD, status="paused", last_collected_at=last))
    assert update
    assert update.columns["next_due_at"] == NOW


def test_unblocking_touches_no_key() -> None:
    """The pin is the business of `hostkey accept` alone (I7)."""
    update = unblocked(BLOCKED)
    assert update
    assert (update.retires, update.pins) == ((), None)


def test_a_replaced_router_leaves_no_key_behind() -> None:
    """Pinned and offered ones are retired, the remembered command is forgotten."""
    update = router_replaced(BLOCKED)
    assert set(update.retires) == {1, 2}
    assert update.columns["remembered_command"] is None
    assert update.columns["blocked_code"] is None


def test_a_removed_device_keeps_no_login() -> None:
    """Its sealed login goes with the act, and it is never due again."""
    update = removed(RECORD)
    assert update.drops_login
    assert set(update.clears) == {"export_suspect", "secrets_hidden", "device_down"}
    assert update.columns["next_due_at"] is None


@given(st.text(max_size=120))
def test_a_name_that_passes_is_printable(name: str) -> None:
    """What is stored can be shown anywhere and be part of a file name."""
    try:
        checked_name(name)
    except InputInvalid:
        return
    assert name.isprintable()
    assert 1 <= len(name) <= 100
    assert not set(name) & set("/\\\0\n")


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "r1.example.net", "r_1", "a-b", "10.0.0.1a", "7.lan"])
def test_hosts_that_may_be_connected_to(host: str) -> None:
    """Names and addresses of both families."""
    assert checked_host(host) == host


@pytest.mark.parametrize(
    "host",
    ["", "-o", "a b", "a/b", "a\n", "user@h", "[::1]", "h:22", "a..b", "x" * 254, "é", "10.0.0.300", "10.0.0", "17"],
)
def test_hosts_that_are_none(host: str) -> None:
    """Nothing that another program could read as more than a host."""
    with pytest.raises(InputInvalid):
        checked_host(host)
