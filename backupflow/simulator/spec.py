"""What a simulated router is and how it behaves: frozen values, no behaviour of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import Any, Literal

from backupflow.errors import InputInvalid

HostKeyType = Literal["ed25519", "rsa", "ecdsa"]
Mute = Literal["", "banner", "handshake", "command"]
CutManner = Literal["tcp", "channel"]

ALL_METHODS = ("publickey", "password", "keyboard-interactive")


@dataclass(frozen=True, slots=True)
class Login:
    """One user of a router; `public_keys` are lines as in an authorized_keys file."""

    username: str
    password: str | None = field(default=None, repr=False)
    public_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a router answers; may be switched while it runs, and holds from the next step of each session on."""

    banner_delay: timedelta = timedelta()  # after the TCP connect, before the SSH banner
    login_delay: timedelta = timedelta()  # before the verdict on an offered login
    answer_delay: timedelta = timedelta()  # after the command, before the first byte
    bytes_per_second: int | None = None  # None: as fast as it goes; a small figure is a drip
    mute: Mute = ""  # silent for ever before the banner, after the handshake or after the command
    refuse_login: bool = False
    login_methods: tuple[str, ...] = ALL_METHODS
    cut_after: int | None = None  # export bytes after which the answer breaks off
    cut_manner: CutManner = "tcp"  # the connection drops, or the channel ends as if all had been sent
    stall_after: int | None = None  # export bytes after which nothing more comes while the connection stays
    exit_status: int | None = 0  # None: the channel closes without one
    stderr: bytes = field(default=b"", repr=False)
    raw_export: bytes | None = field(default=None, repr=False)  # sent as it is in place of the export
    export_size: int | None = None  # bytes: the export is filled up to exactly this many
    listening: bool = True  # False: connections are refused
    flapping: float = 0.3  # probability that a possible device comment stands in an export

    def changed(self, changes: Mapping[str, Any]) -> Behaviour:
        """A copy with some fields set, as JSON may give them (seconds for spans, text for bytes).

        Raises InputInvalid for a field that does not exist or a value of the wrong kind.
        """
        known = {item.name: item for item in fields(self)}
        if unknown := sorted(set(changes) - set(known)):
            raise InputInvalid("no such behaviour: " + ", ".join(unknown))
        return replace(self, **{name: _as_field(getattr(_PLAIN, name), name, changes[name]) for name in changes})


_BYTES_FIELDS = frozenset({"stderr", "raw_export"})
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "mute": ("", "banner", "handshake", "command"),
    "cut_manner": ("tcp", "channel"),
}
_OPTIONAL_COUNTS = frozenset({"bytes_per_second", "cut_after", "stall_after", "exit_status", "export_size"})


def _as_field(default: object, name: str, value: Any) -> object:
    """One value of a behaviour, checked: a wrong one would otherwise be noticed only by a test that never ends."""
    if isinstance(default, timedelta):
        if isinstance(value, timedelta):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return timedelta(seconds=value)
    elif name in _BYTES_FIELDS:
        if isinstance(value, str):
            return value.encode("utf-8")
        if isinstance(value, bytes) or (value is None and name == "raw_export"):
            return value
    elif name in _CHOICES:
        if value in _CHOICES[name]:
            return value
    elif name == "login_methods":
        if isinstance(value, list | tuple) and set(value) <= set(ALL_METHODS):
            return tuple(value)
    elif name in _OPTIONAL_COUNTS:
        if value is None or (type(value) is int and value >= 0):
            return value
    elif name == "flapping":
        if isinstance(value, int | float) and 0 <= value <= 1:
            return float(value)
    elif isinstance(value, bool):
        return value
    msg = f"{name} cannot be {type(value).__name__} {value!r}"
    raise InputInvalid(msg)


@dataclass(frozen=True, slots=True)
class RouterSpec:
    """What a simulated router is from its start; `seed` and `name` together decide its configuration."""

    name: str
    seed: int = 0
    version: str = "7.14"
    model: str = "RB5009UG+S+"  # "CHR" has no serial number and another header
    serial: str | None = None  # None: drawn from the seed
    identity: str | None = None  # None: the name
    logins: tuple[Login, ...] = (Login("backup", "backup"),)
    host_key_type: HostKeyType = "ed25519"
    legacy: bool = False  # only SHA-1: ssh-rsa host key, diffie-hellman-group14-sha1, hmac-sha1
    size: int = 6_000  # bytes of the configuration's text, roughly
    marker: str | None = field(default=None, repr=False)  # planted as the password of a PPP secret
    behaviour: Behaviour = Behaviour()
    port: int = 0  # on 127.0.0.1; 0: a free one

    @property
    def major(self) -> int:
        """RouterOS 6 or 7."""
        return self.release[0]

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor number: of `7.10rc1` it is (7, 10)."""
        found = re.match(r"(\d+)\.(\d+)", self.version)
        if found is None:
            msg = f"{self.version!r} is no RouterOS version"
            raise InputInvalid(msg)
        return int(found[1]), int(found[2])


_PLAIN = Behaviour()
