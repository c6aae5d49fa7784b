"""Whether an offered host key may be logged in to."""

from __future__ import annotations

import pytest

from backupflow.core.model import HostKey
from backupflow.core.trust import FirstSeen, Mismatch, Trusted, judge

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
