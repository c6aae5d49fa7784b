"""Whether an offered host key may be logged in to."""

from __future__ import annotations

import pytest

from backupflow.core.model import HostKey, Trust
from backupflow.core.trust import FirstSeen, Mismatch, SharedLogin, Trusted, devices_in_question, judge

PINNED = HostKey("ssh-ed25519", b"one key")


def test_a_device_without_a_pin_is_seen_for_the_first_time() -> None:
    """No pin: the offered key is new, and neither trusted nor refused by itself."""
    assert judge(None, PINNED) == FirstSeen(PINNED)


def test_the_pinned_key_is_trusted() -> None:
    """The same type and the same bytes are the same key."""
    assert judge(PINNED, HostKey("ssh-ed25519", b"one key")) == Trusted()


@pytest.mark.parametrize("offered", [HostKey("ssh-ed25519", b"other"), HostKey("ssh-rsa", b"one key")])
def test_any_other_key_is_a_mismatch(offered: HostKey) -> None:
    """Another type or other bytes are another key."""
    assert judge(PINNED, offered) == Mismatch(PINNED, offered)


@pytest.mark.parametrize(
    ("method", "trust", "devices", "adding", "asked"),
    [
        ("password", None, 0, 20, None),
        ("password", None, 0, 21, 21),
        ("password", None, 20, 1, 21),
        ("password", None, 30, 0, 30),
        ("password", Trust.TOFU, 20, 1, None),
        ("password", Trust.MANUAL, 20, 1, None),
        ("key", None, 1000, 1000, None),
    ],
)
def test_the_twenty_first_device_of_a_password_raises_the_question(
    method: str, trust: Trust | None, devices: int, adding: int, asked: int | None
) -> None:
    """Once: what the profile says is the answer. A key gives nothing away to whoever answers."""
    assert devices_in_question(SharedLogin("edge", method, devices, trust), adding) == asked
