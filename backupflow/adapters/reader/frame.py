"""How values go over the pipes between a worker and a process that works for it: a JSON header, then bytes.

Not pickle: what comes back was made of hostile text, by a process that had to look at it. Whatever the other end sends,
these give values of the right types and of no more bytes than came, or raise Unreadable.

1. `READY` (answers only): the process has begun, and what it does from now on is the text's doing.
2. four bytes: the length of the header
3. the header; its `sizes` say how many bytes follow, and in what parts
4. those bytes
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

READY: Final = b"+"
LARGEST_HEADER: Final = 1024 * 1024  # bytes; what is in one is bounded by who fills it, to much less
LENGTH: Final = 4  # bytes, most significant first
_LONGEST_NAME: Final = 100  # of an exception's class


class Unreadable(ValueError):
    """The other end sent something else than it should have."""


class OtherVersion(RuntimeError):
    """The code was replaced under a running worker: the other end would make another normal form than this one says."""


@dataclass(frozen=True, slots=True)
class Defect:
    """Whoever was asked raised; only the name of the exception's class, since its words may quote a configuration."""

    name: str


def header_of(stream: BinaryIO) -> Mapping[str, Any]:
    """Read the header of a request; this end trusts the one that started it. EOFError if that is gone."""
    header: Mapping[str, Any] = json.loads(exactly(stream, int.from_bytes(exactly(stream, LENGTH))))
    return header


def understood(said: memoryview) -> tuple[Mapping[str, Any], list[bytes]]:
    """Split a whole answer (without READY) into header and parts; Unreadable, ValueError or KeyError if it is none."""
    length = int.from_bytes(said[:LENGTH])
    if length > LARGEST_HEADER:
        raise Unreadable("a header too long")
    header = json.loads(bytes(said[LENGTH : LENGTH + length]))
    return header, parts(said[LENGTH + length :], header["sizes"])


def pieces(header: Mapping[str, object], parts: Sequence[bytes]) -> list[bytes]:
    """Header and parts as what is to be sent: the parts themselves are not copied."""
    said = json.dumps({**header, "sizes": [len(part) for part in parts]}).encode("ascii")
    return [len(said).to_bytes(LENGTH) + said, *parts]


def parts(rest: memoryview, sizes: Sequence[object]) -> list[bytes]:
    """The bytes after the header, cut as it says."""
    cut, start = [], 0
    for size in map(number, sizes):
        cut.append(bytes(rest[start : start + size]))
        start += size
    if start != len(rest) or any(size < 0 for size in map(number, sizes)):
        raise Unreadable("parts of other sizes")
    return cut


def exactly(stream: BinaryIO, size: int) -> bytes:
    """So many bytes, or EOFError."""
    data = stream.read(size)
    if len(data) != size:
        raise EOFError
    return data


def text(value: object) -> str:
    """A text."""
    if not isinstance(value, str):
        raise Unreadable("not a text")
    return value


def text_or_none(value: object) -> str | None:
    """A text, or none."""
    return None if value is None else text(value)


def texts(value: object) -> tuple[str, ...]:
    """A list of texts."""
    if not isinstance(value, list):
        raise Unreadable("not a list")
    return tuple(map(text, value))


def name(value: object) -> str:
    """The name of a class."""
    said = text(value)
    if not (said.isascii() and said.isidentifier()) or len(said) > _LONGEST_NAME:
        raise Unreadable("not a name")
    return said


def number(value: object) -> int:
    """A number of 64 bits."""
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise Unreadable("not a number")
    return value


def flag(value: object) -> bool:
    """A truth value."""
    if not isinstance(value, bool):
        raise Unreadable("not a flag")
    return value
