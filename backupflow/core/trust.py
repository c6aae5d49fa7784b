"""Whether an offered host key may be logged in to: (pinned key, offered key) -> what follows; and who must be asked."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.model import ExpectedKey, HostKey, Trust, TrustedHow

MOST_UNASKED = 20  # devices that may share a password without a word about their first keys


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


@dataclass(frozen=True, slots=True)
class Foretold:
    """No key is pinned yet, and it is one of those that are expected."""

    offered: HostKey
    how: TrustedHow


@dataclass(frozen=True, slots=True)
class Unexpected:
    """No key is pinned yet, and it is none of those that are expected: no login may be sent."""

    expected: tuple[ExpectedKey, ...]
    offered: HostKey


Judgement = FirstSeen | Trusted | Mismatch | Foretold | Unexpected


def judge(pinned: HostKey | None, offered: HostKey, expected: Sequence[ExpectedKey] = ()) -> Judgement:
    """Compare the whole key with the pinned one; where none is, its fingerprint with those that are expected."""
    if pinned is None:
        if not expected:
            return FirstSeen(offered)
        found = next((key for key in expected if hmac.compare_digest(key.fingerprint, offered.fingerprint)), None)
        return Foretold(offered, found.how) if found else Unexpected(tuple(expected), offered)
    same = pinned.key_type == offered.key_type and hmac.compare_digest(pinned.blob, offered.blob)
    return Trusted() if same else Mismatch(pinned, offered)


@dataclass(frozen=True, slots=True)
class SharedLogin:
    """A credential profile by its name: how it logs in, how many devices do so, and what it says of first keys."""

    name: str
    method: str  # password or key
    devices: int
    trust: Trust | None  # None: nothing of its own


def devices_in_question(login: SharedLogin, adding: int) -> int | None:
    """How many devices would share this password, if somebody has to say what their first keys are worth; else None.

    A key proves who logs in without giving anything away; a password goes to whoever answers.
    """
    devices = login.devices + adding
    asked = login.method == "password" and login.trust is None and devices > MOST_UNASKED
    return devices if asked else None
