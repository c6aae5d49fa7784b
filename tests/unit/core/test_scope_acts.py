"""What each act on a scope changes, decided over values alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from backupflow.core import scope_acts as acts
from backupflow.core.inventory import DIRECT, DeviceLogin, SeenKey
from backupflow.core.model import ExpectedKey, HostKey, JumpHostId, SealedSecret, TenantId, TrustedHow
from backupflow.core.scopes import Changes, HopRecord, ProfileRecord, ScopeKind, ScopeRecord, checked_scope_name
from backupflow.errors import Conflict, InputInvalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.scopes import ScopeUpdate

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
TENANT = TenantId(UUID(int=1))
SITE = ScopeRecord(ScopeKind.SITE, UUID(int=2), TENANT, "north", {"interval_seconds": 60}, "p", "hop-1", False, 0)
GROUP = replace(SITE, kind=ScopeKind.GROUP, name="core")
PROFILE = ProfileRecord(UUID(int=3), TENANT, "p", "backup", "password", {}, None, None, NOW, {}, (), 0)
HOP = HopRecord(
    JumpHostId(UUID(int=4)), TENANT, "hop-1", "203.0.113.7", 22, "p", {}, 0, None, None, None, None, None, None, (),
    (), 0, 0, (), NOW,
)  # fmt: skip
SECRET = DeviceLogin("backup", "password", SealedSecret("vault:v1:YQ=="))


def seen(number: int, status: str, blob: bytes) -> SeenKey:
    """A host key on record."""
    return SeenKey(number, status, HostKey("ssh-ed25519", blob), NOW, NOW, None)


OLD, NEW = seen(1, "pinned", b"old"), seen(2, "offered", b"new")
FINGERPRINT = NEW.key.fingerprint
BLOCKED = replace(HOP, keys=(NEW, OLD, seen(0, "retired", b"older")), blocked_code="host_key_mismatch")


@pytest.mark.parametrize(
    "wanted",
    [
        Changes(),
        Changes(name="north", settings={"interval_seconds": 60}, profile="p", jump="hop-1"),
        Changes(unset=("trust",)),
    ],
)
def test_an_edit_that_changes_nothing_is_none(wanted: Changes) -> None:
    """What is so already needs no audit row."""
    assert acts.scope_edited(SITE, wanted) is None


def test_settings_are_merged_and_taken_back() -> None:
    """What is not named stays; what is unset goes; both in one edit."""
    update = acts.scope_edited(SITE, Changes(settings={"concurrency": 3}, unset=("interval_seconds",)))
    assert update
    assert update.columns == {"settings": {"concurrency": 3}}


def test_a_cron_expression_takes_the_place_of_an_interval_and_back() -> None:
    """One scope says when in one way: of two nobody could tell which holds."""
    update = acts.scope_edited(SITE, Changes(settings={"cron": "0  2 * * sun"}))
    assert update
    assert update.columns == {"settings": {"cron": "0 2 * * SUN"}}
    back = acts.scope_edited(
        replace(SITE, settings=update.columns["settings"]), Changes(settings={"interval_seconds": 60})
    )
    assert back
    assert back.columns == {"settings": {"interval_seconds": 60}}


def test_only_a_group_may_say_direct() -> None:
    """A site has nothing above it but the tenant, and a device and its group may differ from that."""
    update = acts.scope_edited(GROUP, Changes(jump=DIRECT))
    assert update
    assert update.jump == DIRECT
    assert acts.scope_edited(replace(GROUP, jump=None, direct=True), Changes(jump=DIRECT)) is None
    with pytest.raises(InputInvalid, match=DIRECT):
        acts.scope_edited(SITE, Changes(jump=DIRECT))


@pytest.mark.parametrize("kind", list(ScopeKind))
@pytest.mark.parametrize("name", ["", " a", "a ", "-a", "a\n", "a" * 101, "\u202ea"])
def test_a_name_can_be_borne_everywhere(kind: ScopeKind, name: str) -> None:
    """By a terminal, a table and a command line."""
    with pytest.raises(InputInvalid):
        checked_scope_name(kind, name)


def test_no_jump_host_is_called_direct() -> None:
    """The word says that there is none; other things may be called so."""
    with pytest.raises(InputInvalid):
        checked_scope_name(ScopeKind.JUMP_HOST, DIRECT)
    assert checked_scope_name(ScopeKind.SITE, DIRECT) == DIRECT


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (SITE, {"colour": "red"}),
        (SITE, {"concurrency": 0}),
        (SITE, {"concurrency": True}),
        (SITE, {"concurrency": 1.5}),
    ],
)
def test_a_wrong_setting_is_refused(kind: ScopeRecord, settings: dict[str, object]) -> None:
    """By its name."""
    with pytest.raises(InputInvalid, match=next(iter(settings))):
        acts.scope_edited(kind, Changes(settings=settings))


@pytest.mark.parametrize("settings", [{"interval_seconds": 60}, {"legacy_ssh": True}, {"concurrency": 1}])
def test_a_profile_speaks_of_trust_alone(settings: dict[str, object]) -> None:
    """It is no scope of a device's other settings."""
    with pytest.raises(InputInvalid, match=next(iter(settings))):
        acts.profile_edited(PROFILE, Changes(settings=settings), None)


@pytest.mark.parametrize(
    ("login", "ends"),
    [
        (SECRET, True),
        (DeviceLogin("other"), True),
        (DeviceLogin("backup"), None),
        (None, None),
    ],
)
def test_another_login_ends_refusals(login: DeviceLogin | None, ends: bool | None) -> None:
    """The same user's name is nothing; a trust setting is no login."""
    update = acts.profile_edited(PROFILE, Changes(), login)
    assert (update and update.ends_refusals) is ends
    update = acts.profile_edited(PROFILE, Changes(settings={"trust": "manual"}), None)
    assert update
    assert not update.ends_refusals


def test_a_suspension_has_a_reason_that_is_a_persons() -> None:
    """The word for lost keys is not anybody's to say; twice is once."""
    for reason in ("", "  ", "keys_lost", "a\nb", "x" * 201):
        with pytest.raises(InputInvalid):
            acts.profile_suspended(PROFILE, reason)
    suspended = replace(PROFILE, suspended_at=NOW, suspended_reason="why")
    assert acts.profile_suspended(suspended, "again") is None
    assert acts.profile_resumed(suspended)
    assert acts.profile_resumed(PROFILE) is None
    with pytest.raises(Conflict, match="credential edit"):
        acts.profile_resumed(replace(suspended, suspended_reason="keys_lost"))


@pytest.mark.parametrize(
    ("act", "record"),
    [
        (acts.profile_removed, replace(PROFILE, named_by=("site north",))),
        (acts.hop_removed, replace(HOP, named_by=("3 devices",))),
        (acts.scope_removed, replace(SITE, devices=1)),
    ],
)
def test_what_is_used_stays(act: Callable[[object], ScopeUpdate], record: object) -> None:
    """The refusal says by what."""
    with pytest.raises(Conflict, match=r"north|3 devices|1 device"):
        act(record)


@pytest.mark.parametrize(
    ("record", "wanted", "tried"),
    [
        (BLOCKED, Changes(host="203.0.113.9"), True),
        (BLOCKED, Changes(port=23), True),
        (BLOCKED, Changes(profile="q"), True),
        (BLOCKED, Changes(new_host=True), True),
        (BLOCKED, Changes(name="hop-2"), False),
        (BLOCKED, Changes(settings={"trust": "tofu"}), False),
        (BLOCKED, Changes(settings={"legacy_ssh": True}), False),
        (replace(HOP, blocked_code="algorithms_incompatible"), Changes(settings={"legacy_ssh": True}), True),
        (replace(HOP, blocked_code="algorithms_incompatible"), Changes(settings={"legacy_ssh": False}), False),
        (replace(HOP, blocked_code="host_key_unapproved"), Changes(settings={"trust": "tofu"}), True),
        (replace(HOP, blocked_code="host_key_unapproved"), Changes(fingerprint=FINGERPRINT), True),
    ],
)
def test_an_edit_of_a_jump_host_ends_the_trouble_that_it_takes_away(
    record: HopRecord, wanted: Changes, tried: bool
) -> None:  # fmt: skip
    """Where and as whom it is reached is the question; a setting answers its own block alone."""
    update = acts.hop_edited(record, wanted)
    assert update
    assert update.ends_trouble is tried
    assert update.retires == ((2, 1) if wanted.new_host else ())


def test_an_expected_key_contradicts_a_pinned_one() -> None:
    """Unless it is that one, or another machine is said to be there."""
    pinned = replace(HOP, keys=(OLD,))
    with pytest.raises(Conflict, match="jump accept-key"):
        acts.hop_edited(pinned, Changes(fingerprint=FINGERPRINT))
    assert acts.hop_edited(pinned, Changes(fingerprint=OLD.key.fingerprint)) is None
    update = acts.hop_edited(pinned, Changes(fingerprint=FINGERPRINT, new_host=True))
    assert update
    assert update.expects == (ExpectedKey(FINGERPRINT, TrustedHow.IMPORT),)
    assert acts.hop_edited(replace(pinned, expected=update.expects), Changes(new_host=True)).expects == ()  # type: ignore[union-attr]


def test_a_jump_host_keeps_a_login() -> None:
    """Nobody is let through without one."""
    with pytest.raises(InputInvalid):
        acts.hop_edited(HOP, Changes(profile=""))


@pytest.mark.parametrize(("record", "how"), [(BLOCKED, "accepted"), (replace(BLOCKED, keys=(NEW,)), "approved")])
def test_an_offered_key_is_pinned_by_its_fingerprint(record: HopRecord, how: str) -> None:
    """In place of the pinned one; a first key is approved, a changed one accepted."""
    update = acts.hop_key_accepted(record, FINGERPRINT)
    assert (update.pins, update.how, update.ends_trouble) == (2, how, True)
    assert update.retires == ((1,) if how == "accepted" else ())
    with pytest.raises(Conflict, match="does not offer"):
        acts.hop_key_accepted(record, OLD.key.fingerprint)


@pytest.mark.parametrize("act", [acts.hop_key_reset, lambda record: acts.hop_key_accepted(record, FINGERPRINT)])
def test_no_key_ends_the_block_of_a_refused_login(act: Callable[[HopRecord], ScopeUpdate]) -> None:
    """It was not refused for its key (I7)."""
    assert not act(replace(BLOCKED, blocked_code="authentication_failed")).ends_trouble


def test_who_is_well_needs_no_unblocking() -> None:
    """Down counts as trouble: it is tried at once."""
    assert acts.hop_unblocked(HOP) is None
    assert acts.hop_key_reset(HOP) is None
    down = acts.hop_unblocked(replace(HOP, down_since=NOW - timedelta(minutes=3), failures=2))
    assert down
    assert (down.ends_trouble, down.detail["was"]) == (True, "down")
