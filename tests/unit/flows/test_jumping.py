"""The way through a jump host: its key and login are treated like a device's, and its trouble is nobody else's."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from backupflow.core.jump import JumpHost
from backupflow.core.model import (
    ExpectedKey,
    HostKey,
    JumpHostId,
    Login,
    SealedSecret,
    State,
    Target,
    Timeouts,
    Trust,
    TrustedHow,
)
from backupflow.errors import (
    AuthenticationFailed,
    BackupflowError,
    ConnectionRefused,
    DeviceUnreachable,
    HostKeyMismatch,
    JumpHostBlocked,
    JumpHostUnreachable,
    MessageMalformed,
    VaultUnavailable,
)
from tests.unit.flows.world import HOP_KEY, OTHER, WORK, World

HOP = JumpHost(
    JumpHostId(UUID(int=8)),
    "hop-1",
    Target("192.0.2.9", 22, HOP_KEY, legacy_ssh=False, timeouts=Timeouts()),
    Trust.TOFU,
    "jumper",
    UUID(int=9),
    SealedSecret("vault:v1:SE9Q"),
    None,
    0,
)
BEHIND = replace(WORK, jump_host=HOP, failures=3, losses=2)


def met(error: BackupflowError, cause: BackupflowError) -> BackupflowError:
    """What a collector raises for what it met."""
    error.__cause__ = cause
    return error


def unpinned(trust: Trust = Trust.TOFU, *expected: ExpectedKey) -> JumpHost:
    """A jump host that was never met."""
    return replace(HOP, trust=trust, target=replace(HOP.target, pinned=None, expected=expected))


def test_a_jump_host_is_passed_before_the_device_is_spoken_to() -> None:
    """Its login is opened for its own profile, right before it is sent; who passed says so; then all is as ever."""
    world = World()
    assert world.collect(BEHIND).what == "published"
    assert world.calls[2:10] == [
        "jump", "jump allowed", "open", "jump login", "reached", "connect", "allowed", "open",
    ]  # fmt: skip
    assert world.opened == [(HOP.login_id, HOP.sealed_login), (WORK.login_context, WORK.sealed_login)]
    assert world.logins == [Login("jumper", "s3cret"), Login("backup", "s3cret")]


@pytest.mark.parametrize(
    ("hop", "how"),
    [
        (unpinned(), TrustedHow.FIRST_USE),
        (unpinned(Trust.MANUAL, ExpectedKey(HOP_KEY.fingerprint, TrustedHow.IMPORT)), TrustedHow.IMPORT),
    ],
)
def test_a_first_key_of_a_jump_host_is_pinned_before_its_login_is_opened(hop: JumpHost, how: TrustedHow) -> None:
    """On first use, or as one that is expected (I6)."""
    world = World()
    world.collect(replace(BEHIND, jump_host=hop))
    assert world.calls[2:6] == ["jump", f"pin jump host as {how}", "jump allowed", "open"]


@pytest.mark.parametrize(
    ("hop", "offers", "code"),
    [
        (HOP, OTHER, "host_key_mismatch"),
        (unpinned(Trust.TOFU, ExpectedKey("SHA256:other", TrustedHow.IMPORT)), HOP_KEY, "host_key_mismatch"),
        (unpinned(Trust.MANUAL), HOP_KEY, "host_key_unapproved"),
    ],
)
def test_a_jump_host_that_is_not_trusted_gets_no_login(hop: JumpHost, offers: HostKey, code: str) -> None:
    """It is blocked, with the key that it offered; nothing counts against the device, nor blocks it (I6, I7)."""
    world = World()
    world.hop_offers = offers
    assert world.collect(replace(BEHIND, jump_host=hop)).code == "jump_host_blocked"
    assert world.calls == ["start", "pepper", "jump", "end"]
    ending = world.endings[0]
    assert (ending.state, ending.counts, ending.blocks, ending.offered) == (State.FAILED, False, False, None)
    assert ending.jump_trouble is not None
    assert (ending.jump_trouble.code, ending.jump_trouble.blocks, ending.jump_trouble.offered) == (code, True, offers)
    assert offers.fingerprint in ending.jump_trouble.detail


def test_a_key_that_was_pinned_meanwhile_blocks_the_jump_host() -> None:
    """Two first sights at once: the second is measured against the first."""
    world = World(**{"pin jump host as first_use": HostKeyMismatch("meanwhile")})
    world.collect(replace(BEHIND, jump_host=unpinned()))
    assert "open" not in world.calls
    trouble = world.endings[0].jump_trouble
    assert trouble is not None
    assert (trouble.code, trouble.offered) == ("host_key_mismatch", HOP_KEY)


@pytest.mark.parametrize(
    ("error", "code", "blocks"),
    [
        (met(JumpHostUnreachable("no answer"), ConnectionRefused()), "connection_refused", False),
        (met(JumpHostBlocked("no"), AuthenticationFailed()), "authentication_failed", True),
        (JumpHostBlocked("it forwards nothing"), "jump_host_blocked", True),
    ],
)
def test_what_is_met_at_a_jump_host_is_its_own_trouble(error: BackupflowError, code: str, *, blocks: bool) -> None:
    """The device is due again within a minute and nothing counts; the jump host is left alone for five, and longer."""
    world = World(jump=error)
    world.collect(BEHIND, dice=0.5)
    ending = world.endings[0]
    assert (ending.state, ending.code, ending.again_in) == (State.FAILED, error.code, timedelta(seconds=30))
    assert not any((ending.counts, ending.blocks, ending.pauses, ending.slow, ending.alarm, ending.offered))
    assert ending.jump_trouble is not None
    assert (ending.jump_trouble.code, ending.jump_trouble.detail) == (code, error.detail)
    assert ending.jump_trouble.blocks is blocks
    assert ending.jump_trouble.again_in == (None if blocks else timedelta(minutes=5) * 1.15)


@pytest.mark.parametrize("login", [MessageMalformed("other key"), None])
def test_a_login_that_does_not_open_is_the_jump_hosts(login: BackupflowError | None) -> None:
    """Or is nothing that can be read: a person has to set it again."""
    world = World(**({"open": login} if login else {}))
    world.secret = b"not a login"
    assert world.collect(BEHIND).code == "jump_host_blocked"
    assert "jump login" not in world.calls


@pytest.mark.parametrize(
    ("fails", "code"),
    [({"open": VaultUnavailable()}, "vault_unavailable"), ({"connect": DeviceUnreachable()}, "device_unreachable")],
)
def test_what_is_not_the_jump_hosts_fault_is_no_trouble_of_it(fails: dict[str, BackupflowError], code: str) -> None:
    """Ours that is down, and a device that does not answer behind it."""
    world = World(**fails)
    assert world.collect(BEHIND).code == code
    assert world.endings[0].jump_trouble is None
    assert world.endings[0].counts is (code == "device_unreachable")


def test_a_jump_login_that_may_not_be_used_is_not_even_opened() -> None:
    """Changed since the collection began: it ends without counting against anybody (I7)."""
    world = World()
    world.jump_allowed = False
    assert world.collect(BEHIND).code == "suspended"
    assert "open" not in world.calls
    assert (world.endings[0].counts, world.endings[0].jump_trouble) == (False, None)


def test_the_devices_key_is_still_judged_behind_a_jump_host() -> None:
    """End to end: what the jump host says of itself says nothing of the device (I6)."""
    world = World()
    world.offers = OTHER
    world.collect(BEHIND)
    ending = world.endings[0]
    assert (ending.code, ending.blocks, ending.offered, ending.jump_trouble) == ("host_key_mismatch", True, OTHER, None)
