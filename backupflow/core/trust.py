"""Whether an offered host key may be logged in to: (pinned key, offered key) -> FirstSeen | Trusted | Mismatch."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backupflow.core.model import HostKey


@dataclass(frozen=True, slots=True)
class FirstSeen:
    """No key is pinned yet."""

    offered: HostKey


@dataclass(frozen=True, slots=True)
class Trusted:
    """The offered key is the pinned one, type and all."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Another key than the pinned one: no login may be sent."""

    pinned: HostKey
    offered: HostKey


def judge(pinned: HostKey | None, offered: HostKey) -> FirstSeen | Trusted | Mismatch:
    """Compare the whole key, not its fingerprint."""
    if pinned is None:
        return FirstSeen(offered)
    same = pinned.key_type == offered.key_type and hmac.compare_digest(pinned.blob, offered.blob)
    return Trusted() if same else Mismatch(pinned, offered)
