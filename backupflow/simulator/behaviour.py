"""How a simulated router answers: one frozen value, checked wherever a field of it is set."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from backupflow.errors import InputInvalid
from backupflow.simulator import given

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

Mute = Literal["", "banner", "handshake", "command"]
CutManner = Literal["tcp", "reset", "channel"]
Babble = Literal["", "banner", "login"]
Step = Literal["", "banner", "kex", "newkeys", "login", "proof", "channel", "command"]

ALL_METHODS = ("publickey", "password", "keyboard-interactive")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a router answers; may be switched while it runs, and holds from the next step of each session on."""

    # -- the connection
    listening: bool = True  # False: connections are refused
    banner_delay: timedelta = given.NO_TIME  # after the TCP connect, before the SSH banner
    mute: Mute = ""  # silent for ever before the banner, after the handshake or after the command
    babble: Babble = ""  # without end: lines before the SSH banner, or messages before the verdict on a login
    reset_at: Step = ""  # resets the connection after its SSH banner, its list of algorithms (`kex`), its new keys, the
    # request to log in, the password or signature (`proof`), opening the channel, or taking the command
    legacy: bool | None = None  # only SHA-1, or not any more; None: as specified
    # -- the login
    login_delay: timedelta = given.NO_TIME  # before the verdict on an offered login
    login_methods: tuple[str, ...] = ALL_METHODS
    refuse_login: bool = False
    # -- how an answer is sent
    answer_delay: timedelta = given.NO_TIME  # after the command, before the first byte
    bytes_per_second: int | None = None  # None: as fast as it goes; a small figure is a drip
    loses_beyond_window: bool = False  # what the client's window has no room for is dropped, and the rest with it
    exit_status: int | None = 0  # None: the channel closes without one
    stderr: bytes = field(default=b"", repr=False)
    cut_after: int | None = None  # export bytes after which the answer breaks off
    cut_manner: CutManner = "tcp"  # the connection is closed, or reset, or the channel ends as if all had been sent
    stall_after: int | None = None  # export bytes after which nothing more comes while the connection stays
    # -- what is answered
    preface: bytes = field(default=b"", repr=False)  # before each answer: a banner, a note, a nag about the licence
    sensitive: bool = True  # False: its users lack the policy `sensitive`, which shows secrets
    end_mark: bool = True  # False: its parser refuses `;`, so nothing can follow an export on the same line
    edit_log: bytes | None = field(default=b"", repr=False)  # sent in place of its log of edits; None: it knows none
    serial: str | None = None  # another router behind the same key; None: as specified
    shrunk: bool = False  # every other section is missing from an export
    unexportable: tuple[str, ...] = ()  # menus such as `/ip ssh` that are missing, each with a marker in its place
    raw_export: bytes | None = field(default=None, repr=False)  # sent as it is in place of the export
    export_size: int | None = None  # bytes: the export is filled up to exactly this many
    flapping: float = 0.3  # probability that a possible device comment stands in an export

    def changed(self, changes: Mapping[str, object]) -> Behaviour:
        """A copy with some fields set, as JSON may give them (seconds for spans, text for bytes).

        Raises InputInvalid for a field that does not exist or a value of the wrong kind: a wrong one would
        otherwise be noticed only by a test that never ends.
        """
        return replace(self, **{name: _read(name, value) for name, value in changes.items()})


def _read(name: str, value: object) -> Any:  # noqa: ANN401 - dataclasses.replace takes the fields by name
    try:
        read = READERS[name]
    except KeyError:
        raise InputInvalid(f"no such behaviour: {name}") from None
    try:
        return read(value)
    except (TypeError, ValueError):
        raise InputInvalid(f"{name} cannot be {value!r}") from None


HEALTHY = Behaviour()
READERS: Mapping[str, Callable[[object], object]] = {
    "listening": given.flag,
    "banner_delay": given.span,
    "mute": given.one_of(*get_args(Mute)),
    "babble": given.one_of(*get_args(Babble)),
    "reset_at": given.one_of(*get_args(Step)),
    "legacy": given.optional(given.flag),
    "login_delay": given.span,
    "login_methods": given.some_of(*ALL_METHODS),
    "refuse_login": given.flag,
    "answer_delay": given.span,
    "bytes_per_second": given.optional(given.speed),
    "loses_beyond_window": given.flag,
    "exit_status": given.optional(given.count),
    "stderr": given.octets,
    "cut_after": given.optional(given.count),
    "cut_manner": given.one_of(*get_args(CutManner)),
    "stall_after": given.optional(given.count),
    "preface": given.octets,
    "sensitive": given.flag,
    "end_mark": given.flag,
    "edit_log": given.optional(given.octets),
    "serial": given.optional(given.text),
    "shrunk": given.flag,
    "unexportable": given.menus,
    "raw_export": given.optional(given.octets),
    "export_size": given.optional(given.count),
    "flapping": given.probability,
}
