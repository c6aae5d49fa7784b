"""What a simulated router is and how it behaves: frozen values, no behaviour of their own."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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

    def changed(self, changes: Mapping[str, object]) -> Behaviour:
        """A copy with some fields set, as JSON may give them (seconds for spans, text for bytes).

        Raises InputInvalid for a field that does not exist or a value of the wrong kind: a wrong one would
        otherwise be noticed only by a test that never ends.
        """
        return replace(self, **{name: _read(name, value) for name, value in changes.items()})


def _read(name: str, value: object) -> Any:  # noqa: ANN401 - dataclasses.replace takes the fields by name
    try:
        read = _READERS[name]
    except KeyError:
        raise InputInvalid(f"no such behaviour: {name}") from None
    try:
        return read(value)
    except (TypeError, ValueError):
        raise InputInvalid(f"{name} cannot be {value!r}") from None


def _span(value: object) -> timedelta:
    span = value if isinstance(value, timedelta) else timedelta(seconds=_number(value))
    if span < timedelta():
        raise ValueError
    return span


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)


def _probability(value: object) -> float:
    if not 0 <= (number := _number(value)) <= 1:
        raise ValueError
    return number


def _count(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    if value < 0:
        raise ValueError
    return value


def _speed(value: object) -> int | None:
    if (speed := _count(value)) == 0:
        raise ValueError
    return speed


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _bytes(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8")
    if not isinstance(value, bytes):
        raise TypeError
    return value


def _bytes_or_none(value: object) -> bytes | None:
    return None if value is None else _bytes(value)


def _methods(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not set(value) <= set(ALL_METHODS):
        raise ValueError
    return tuple(value)


def _one_of(*choices: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError
        return value

    return read


_READERS: Mapping[str, Callable[[object], object]] = {
    "banner_delay": _span,
    "login_delay": _span,
    "answer_delay": _span,
    "bytes_per_second": _speed,
    "mute": _one_of(*get_args(Mute)),
    "refuse_login": _flag,
    "login_methods": _methods,
    "cut_after": _count,
    "cut_manner": _one_of(*get_args(CutManner)),
    "stall_after": _count,
    "exit_status": _count,
    "stderr": _bytes,
    "raw_export": _bytes_or_none,
    "export_size": _count,
    "listening": _flag,
    "flapping": _probability,
}


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
    def old(self) -> bool:
        """RouterOS 6: it shows secrets unless told not to, and knows no `show-sensitive`."""
        return self.release < (7, 0)

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor number: of `7.10rc1` it is (7, 10)."""
        found = re.match(r"(\d+)\.(\d+)", self.version)
        if found is None:
            msg = f"{self.version!r} is no RouterOS version"
            raise InputInvalid(msg)
        return int(found[1]), int(found[2])
