"""What goes over the pipes between a worker and the process that reads for it: a JSON header, then bytes.

Not pickle: what comes back was made of hostile text, by a process that had to look at it. Whatever the other end sends,
`answer_of` gives values of the right types and of no more bytes than came, or raises Unreadable.

1. `READY` (answers only): the process has begun, and what it does from now on is the text's doing.
2. four bytes: the length of the header
3. the header; its `sizes` say how many bytes follow, and in what parts
4. those bytes
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from backupflow.core.driver import Asking, Facts, Incomplete, Outline, Reading, Reason, Reply
from backupflow.core.export import NORMALIZATION_VERSION
from backupflow.core.model import NormalConfig, RawConfig, Secrets, SecretsPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

READY: Final = b"+"
LARGEST_HEADER: Final = 1024 * 1024  # bytes; facts are bounded by their driver, to much less
_LENGTH: Final = 4  # bytes, most significant first
_LONGEST_NAME: Final = 100  # of an exception's class
_PLAIN: Final = ("secrets", "command", "remember", "exit_status", "marked", "ended", "may_hide")


class Unreadable(ValueError):
    """The other end sent something else than it should have."""


class OtherVersion(RuntimeError):
    """The code was replaced under a running worker: the other end would make another normal form than this one says."""


@dataclass(frozen=True, slots=True)
class Defect:
    """The driver raised; only the name of the exception's class, since its words may quote a configuration."""

    name: str


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be read."""

    driver: str
    asking: Asking
    replies: tuple[Reply, ...]


def request(driver: str, asking: Asking, replies: Sequence[Reply]) -> list[bytes]:
    """Say what is to be read, in pieces: the answers themselves are not copied."""
    header = {
        "normalization_version": NORMALIZATION_VERSION,
        "driver": driver,
        "asking": asdict(asking),
        "replies": [{"command": reply.command, "exit_status": reply.exit_status} for reply in replies],
    }
    return _pieces(header, [part for reply in replies for part in (reply.stdout, reply.stderr)])


def request_of(stream: BinaryIO) -> Request:
    """Read a request; this end trusts the one that started it. EOFError if that is gone, OtherVersion."""
    header = json.loads(_exactly(stream, int.from_bytes(_exactly(stream, _LENGTH))))
    if header["normalization_version"] != NORMALIZATION_VERSION:
        raise OtherVersion
    parts = iter([_exactly(stream, size) for size in header["sizes"]])
    replies = [Reply(said["command"], next(parts), next(parts), said["exit_status"]) for said in header["replies"]]
    asked = header["asking"]
    asking = Asking(SecretsPolicy(asked["secrets"]), asked["remembered"], asked["end_mark"])
    return Request(header["driver"], asking, tuple(replies))


def answer(read: Reading | Incomplete | Defect) -> list[bytes]:
    """Say what was read."""
    match read:
        case Reading():
            return _pieces({"kind": "reading"} | _reading(read), [read.raw, read.normal])
        case Incomplete(reason, detail):
            return _pieces({"kind": "incomplete", "reason": reason, "detail": detail}, [])
        case Defect(name):
            return _pieces({"kind": "defect", "name": name}, [])


def answer_of(said: memoryview) -> Reading | Incomplete | Defect:
    """Understand a whole answer (without READY), or raise Unreadable."""
    length = int.from_bytes(said[:_LENGTH])
    if length > LARGEST_HEADER:
        raise Unreadable("a header too long")
    try:
        header = json.loads(bytes(said[_LENGTH : _LENGTH + length]))
        parts = _parts(said[_LENGTH + length :], header["sizes"])
        match header["kind"]:
            case "reading":
                return _reading_of(header, *parts)
            case "incomplete":
                return Incomplete(Reason(header["reason"]), _text(header["detail"]))
            case _:
                return Defect(_name(header["name"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise Unreadable(type(exc).__name__) from None


def _reading(read: Reading) -> dict[str, object]:
    outline = asdict(read.outline) | {"shape": read.outline.shape.hex(), "masked": read.outline.masked.hex()}
    plain = {name: getattr(read, name) for name in _PLAIN}
    return plain | {"facts": asdict(read.facts), "outline": outline}


def _reading_of(header: Mapping[str, Any], raw: bytes, normal: bytes) -> Reading:
    return Reading(
        raw=RawConfig(raw),
        normal=NormalConfig(normal),
        facts=_facts(header["facts"]),
        outline=_outline(header["outline"]),
        secrets=Secrets(header["secrets"]),
        command=_text(header["command"]),
        remember=_text(header["remember"]),
        exit_status=None if header["exit_status"] is None else _number(header["exit_status"]),
        marked=_flag(header["marked"]),
        ended=_flag(header["ended"]),
        may_hide=_flag(header["may_hide"]),
    )


def _facts(said: Mapping[str, object]) -> Facts:
    return Facts(
        vendor=_text(said["vendor"]),
        version=_text_or_none(said["version"]),
        model=_text_or_none(said["model"]),
        serial=_text_or_none(said["serial"]),
        system_id=_text_or_none(said["system_id"]),
        identity=_text_or_none(said["identity"]),
        markers=_texts(said["markers"]),
    )


def _outline(said: Mapping[str, object]) -> Outline:
    return Outline(
        sections=_number(said["sections"]),
        size=_number(said["size"]),
        secrets=_number(said["secrets"]),
        shape=bytes.fromhex(_text(said["shape"])),
        masked=bytes.fromhex(_text(said["masked"])),
    )


def _pieces(header: Mapping[str, object], parts: Sequence[bytes]) -> list[bytes]:
    said = json.dumps({**header, "sizes": [len(part) for part in parts]}).encode("ascii")
    return [len(said).to_bytes(_LENGTH) + said, *parts]


def _parts(rest: memoryview, sizes: Sequence[object]) -> list[bytes]:
    parts, start = [], 0
    for size in map(_number, sizes):
        parts.append(bytes(rest[start : start + size]))
        start += size
    if start != len(rest) or any(size < 0 for size in map(_number, sizes)):
        raise Unreadable("parts of other sizes")
    return parts


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise EOFError
    return data


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Unreadable("not a text")
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Unreadable("not a list")
    return tuple(map(_text, value))


def _name(value: object) -> str:
    name = _text(value)
    if not (name.isascii() and name.isidentifier()) or len(name) > _LONGEST_NAME:
        raise Unreadable("not a name")
    return name


def _number(value: object) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise Unreadable("not a number")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Unreadable("not a flag")
    return value
