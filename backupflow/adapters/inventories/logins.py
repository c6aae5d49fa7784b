"""Logins of another tool become credential profiles with names that the next sync finds again."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

from backupflow.core.importing import WantedProfile
from backupflow.core.inventory import LONGEST_NAME

_KEY = re.compile(r"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----\n(.+?)-----END \1PRIVATE KEY-----", re.DOTALL)
_OPENSSH = b"openssh-key-v1\0"  # PROTOCOL.key of OpenSSH: then the length and the name of its cipher
_UNSEALED = b"\0\0\0\x04none"
_ROOM = 10  # characters of a name that are kept for a number


@dataclass(frozen=True, slots=True)
class Found:
    """A login as it was found; equal ones are one profile."""

    username: str
    password: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class Logins:
    """Names each login once, after the tool and after where it stands in it."""

    tool: str
    stems: dict[str, str] = field(default_factory=dict)  # of those names that are numbered
    _names: dict[Found, str] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)

    def name(self, found: Found, of: str = "", *, fixed: bool = False) -> str:
        """The name of its profile: `oxidized`, `oxidized-GROUP`; another login of the same place is numbered.

        `fixed`: the place has one login only, and is named before all that are not: its name says all.
        """
        if found not in self._names:
            stem = f"{self.tool}-{plain(of)}" if plain(of) else self.tool
            stem = stem[: LONGEST_NAME - _ROOM]
            number, name = 1, stem
            while name in self._taken:
                number += 1
                name = f"{stem}-{number}"
            self._taken.add(name)
            self._names[found] = name
            if not fixed or number > 1:
                self.stems[name] = stem
        return self._names[found]

    def profiles(self) -> tuple[WantedProfile, ...]:
        """All of them, in the order in which they were named."""
        return tuple(
            WantedProfile(
                name,
                found.username,
                password=found.password,
                private_key=found.private_key,
                passphrase=found.passphrase,
            )
            for found, name in self._names.items()
        )


def plain(text: str) -> str:
    """A name of another tool as it can be one here: without what neither a name nor a command line bears."""
    kept = "".join(c if c.isprintable() and c not in "/\\" else "-" for c in text)
    return kept.strip().lstrip("-").strip()[:LONGEST_NAME]


def is_key(text: str) -> bool:
    """Whether it is a private key in PEM or in OpenSSH's own form, which looks like PEM."""
    return _KEY.search(text) is not None


def is_locked(text: str) -> bool:
    """Whether a private key needs a passphrase."""
    found = _KEY.search(text)
    if not found:
        return False
    if "ENCRYPTED" in found[0]:
        return True
    try:
        inside = base64.b64decode("".join(found[2].split()), validate=True)
    except (binascii.Error, ValueError):
        return False
    return inside.startswith(_OPENSSH) and not inside.startswith(_OPENSSH + _UNSEALED)
