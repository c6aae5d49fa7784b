"""Whether an offered host key gets a login at all, and the secret part of one; of devices and jump hosts alike."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from backupflow.core import trust
from backupflow.core.model import Login, Trust, TrustedHow
from backupflow.errors import HostKeyMismatch, HostKeyUnapproved, InputInvalid

if TYPE_CHECKING:
    from backupflow.core.model import HostKey, Target


def admitted(target: Target, trusts: Trust, key: HostKey) -> TrustedHow | None:
    """None: it is the pinned one; else how it is trusted, and it is to be pinned before anything is sent (I6).

    Raises HostKeyMismatch, or HostKeyUnapproved if a person has to compare it first.
    """
    match trust.judge(target.pinned, key, target.expected):
        case trust.Mismatch(pinned, other):
            raise HostKeyMismatch(
                f"pinned {pinned.key_type} {pinned.fingerprint}, offered {other.key_type} {other.fingerprint}"
            )
        case trust.Unexpected(expected, other):
            wanted = ", ".join(one.fingerprint for one in expected)
            raise HostKeyMismatch(f"expected {wanted}, offered {other.key_type} {other.fingerprint}")
        case trust.FirstSeen(first) if trusts is Trust.MANUAL:
            raise HostKeyUnapproved(f"offered {first.key_type} {first.fingerprint}")
        case trust.FirstSeen():
            return TrustedHow.FIRST_USE
        case trust.Foretold(_, how):
            return how
        case trust.Trusted():
            return None


def login_secret(login: Login) -> bytes:
    """The part of a login that is sealed."""
    fields = {"password": login.password, "private_key": login.private_key, "passphrase": login.passphrase}
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def login_of(username: str, secret: bytes) -> Login:
    """The inverse of `login_secret`; InputInvalid, without a word of it, if it is nothing that was sealed there."""
    try:
        return Login(username, **json.loads(secret))
    except (ValueError, TypeError):
        raise InputInvalid("the login that was opened cannot be read") from None
