"""What placing a device elsewhere changes for it, decided over values alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from backupflow.core.enrolment import NOT_MET, Edit, edited, router_replaced
from backupflow.core.inventory import DIRECT, DeviceLogin, DeviceRecord, Placement, SeenKey, checked_fingerprint
from backupflow.core.model import DeviceId, ExpectedKey, HostKey, Login, SealedSecret, TenantId, TrustedHow
from backupflow.errors import Conflict, InputInvalid

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
SEALED = DeviceLogin("backup", "password", SealedSecret("vault:v1:YQ=="))
RECORD = DeviceRecord(
    TenantId(UUID(int=1)), DeviceId(UUID(int=2)), "core-1", "192.0.2.1", 22, "routeros", "active", {}, "backup",
    "password", False, None, None, None, 2, NOW - timedelta(days=1), NOW + timedelta(hours=1), timedelta(hours=6),
    NOW - timedelta(hours=5), NOW, group="core", site="north", profile="p", jump="hop-1",
)  # fmt: skip
HERE = Placement("p", "core", "north", "hop-1")
KEY = HostKey("ssh-ed25519", b"known")
PINNED = replace(RECORD, keys=(SeenKey(1, "pinned", KEY, NOW, NOW, None),))
OTHER = HostKey("ssh-ed25519", b"other").fingerprint


def test_a_placement_that_is_so_already_is_nothing() -> None:
    """Also where a device says that it is reached directly, or nothing at all."""
    assert edited(RECORD, Edit(placement=HERE), None) is None
    assert edited(replace(RECORD, jump=None, direct=True), Edit(placement=Placement(jump=DIRECT)), None) is None
    assert edited(replace(RECORD, group=None), Edit(placement=Placement(group="")), None) is None


@pytest.mark.parametrize(
    ("wanted", "changed"),
    [
        (Placement(group="access"), {"group": "access"}),
        (Placement(site="", jump="hop-1"), {"site": ""}),
        (Placement(jump=DIRECT), {"jump": DIRECT}),
        (replace(HERE, profile="q"), {"profile": "q"}),
    ],
)
def test_only_what_is_another_is_written_and_told(wanted: Placement, changed: dict[str, str]) -> None:
    """The audit has the names; whether it is another way or login only the database can tell."""
    update = edited(RECORD, Edit(placement=wanted), None)
    assert update
    assert update.placement.named == changed
    assert update.detail["placement"] == changed
    assert update.columns == {}


def test_another_way_is_like_another_address() -> None:
    """Failures, an operator's word and the waiting are forgotten; a block and the pin stay."""
    update = edited(replace(PINNED, blocked_code="host_key_mismatch"), Edit(placement=Placement(jump="hop-2")), None)
    assert update
    assert update.if_moved.columns == {"failures": 0, "believe_seq": 0, "next_due_at": NOW, **NOT_MET}
    assert (update.retires, update.clears, update.if_moved.clears) == ((), (), ("device_down",))
    paused = edited(replace(RECORD, status="paused"), Edit(placement=Placement(jump="hop-2")), None)
    assert paused
    assert "next_due_at" not in paused.if_moved.columns


@pytest.mark.parametrize(("code", "ends"), [("authentication_failed", True), ("host_key_mismatch", False)])
def test_another_login_ends_a_refused_one_alone(code: str, ends: bool) -> None:
    """As new credentials of its own do (I7)."""
    update = edited(replace(RECORD, blocked_code=code), Edit(placement=Placement(profile="q")), None)
    assert update
    assert ("blocked_code" in update.if_other_login.columns) is ends
    assert "blocked_code" not in update.columns


def test_a_profile_takes_the_place_of_a_login_of_its_own() -> None:
    """Naming one, or asking to forget its own; both a login and a profile is a contradiction."""
    own = replace(RECORD, has_own_login=True, profile=None)
    for wanted in (Edit(placement=Placement(profile="q")), Edit(forget_login=True)):
        update = edited(own, wanted, None)
        assert update
        assert update.drops_login
        assert "login" in update.detail["changed"]
    again = edited(replace(own, profile="q"), Edit(placement=Placement(profile="q")), None)
    assert again
    assert again.drops_login
    with pytest.raises(InputInvalid, match="only one"):
        edited(own, Edit(login=Login("backup", password="x"), placement=Placement(profile="q")), SEALED)


def test_settings_are_taken_back() -> None:
    """In the same edit as others are given; one that does not exist is named."""
    record = replace(RECORD, settings={"interval_seconds": 60, "trust": "manual"})
    update = edited(record, Edit(settings={"legacy_ssh": True}, unset=("interval_seconds",)), None)
    assert update
    assert update.columns["settings"] == {"trust": "manual", "legacy_ssh": True}
    assert edited(RECORD, Edit(unset=("trust",)), None) is None
    with pytest.raises(InputInvalid, match="colour"):
        edited(RECORD, Edit(unset=("colour",)), None)


def test_an_expected_key_is_for_a_device_that_has_none() -> None:
    """It ends a block over its key, contradicts another pin, and is nothing where it is pinned already."""
    update = edited(replace(RECORD, blocked_code="host_key_unapproved"), Edit(fingerprint=KEY.fingerprint), None)
    assert update
    assert update.expects == (ExpectedKey(KEY.fingerprint, TrustedHow.IMPORT),)
    assert update.columns["blocked_code"] is None
    assert edited(replace(RECORD, expected=update.expects), Edit(fingerprint=KEY.fingerprint), None) is None
    assert edited(PINNED, Edit(fingerprint=KEY.fingerprint), None) is None
    with pytest.raises(Conflict, match="hostkey accept"):
        edited(PINNED, Edit(fingerprint=OTHER), None)
    anew = edited(PINNED, Edit(fingerprint=OTHER, new_router=True), None)
    assert anew
    assert (anew.expects, anew.retires) == ((ExpectedKey(OTHER, TrustedHow.IMPORT),), (1,))


def test_what_was_expected_of_another_router_is_forgotten() -> None:
    """Else the router in its place would be blocked over the old one's key."""
    expecting = replace(RECORD, expected=(ExpectedKey(OTHER, TrustedHow.IMPORT),))
    assert router_replaced(expecting).expects == ()
    update = edited(expecting, Edit(new_router=True), None)
    assert update
    assert update.expects == ()


@pytest.mark.parametrize("text", ["", "SHA256:", "MD5:00:11", KEY.fingerprint[:-1], f"{KEY.fingerprint}x", "a" * 50])
def test_what_is_no_fingerprint_is_refused(text: str) -> None:
    """One that could never match would block for ever."""
    with pytest.raises(InputInvalid, match="ssh-keygen"):
        checked_fingerprint(text)


def test_a_fingerprint_may_be_padded() -> None:
    """As other programs print it."""
    assert checked_fingerprint(f" {KEY.fingerprint}= ") == KEY.fingerprint
