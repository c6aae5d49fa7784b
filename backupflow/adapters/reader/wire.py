"""What goes over the pipes between a worker and the process that reads for it: one session's answers, and a reading.

As in adapters.reader.frame: whatever the other end sends, `answer_of` gives values of the right types and of no more
bytes than came, or raises Unreadable.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from backupflow.adapters.reader import frame
from backupflow.core.driver import Asking, Facts, Incomplete, Outline, Reading, Reason, Reply
from backupflow.core.export import NORMALIZATION_VERSION
from backupflow.core.model import NormalConfig, RawConfig, Secrets, SecretsPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

READY: Final = frame.READY
LARGEST_HEADER: Final = frame.LARGEST_HEADER
Defect = frame.Defect
OtherVersion = frame.OtherVersion
Unreadable = frame.Unreadable
_PLAIN: Final = ("secrets", "command", "remember", "exit_status", "marked", "ended", "may_hide")


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
    return frame.pieces(header, [part for reply in replies for part in (reply.stdout, reply.stderr)])


def request_of(stream: BinaryIO) -> Request:
    """Read a request; this end trusts the one that started it. EOFError if that is gone, OtherVersion."""
    return request_under(frame.header_of(stream), stream)


def request_under(header: Mapping[str, Any], stream: BinaryIO) -> Request:
    """The same, after its header."""
    if header["normalization_version"] != NORMALIZATION_VERSION:
        raise OtherVersion
    parts = iter([frame.exactly(stream, size) for size in header["sizes"]])
    replies = [Reply(said["command"], next(parts), next(parts), said["exit_status"]) for said in header["replies"]]
    asked = header["asking"]
    asking = Asking(SecretsPolicy(asked["secrets"]), asked["remembered"], asked["end_mark"])
    return Request(header["driver"], asking, tuple(replies))


def answer(read: Reading | Incomplete | frame.Defect) -> list[bytes]:
    """Say what was read."""
    match read:
        case Reading():
            return frame.pieces({"kind": "reading"} | _reading(read), [read.raw, read.normal])
        case Incomplete(reason, detail):
            return frame.pieces({"kind": "incomplete", "reason": reason, "detail": detail}, [])
        case frame.Defect(name):
            return frame.pieces({"kind": "defect", "name": name}, [])


def answer_of(said: memoryview) -> Reading | Incomplete | frame.Defect:
    """Understand a whole answer (without READY), or raise Unreadable."""
    try:
        header, parts = frame.understood(said)
        match header["kind"]:
            case "reading":
                return _reading_of(header, *parts)
            case "incomplete":
                return Incomplete(Reason(header["reason"]), frame.text(header["detail"]))
            case _:
                return frame.Defect(frame.name(header["name"]))
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
        command=frame.text(header["command"]),
        remember=frame.text(header["remember"]),
        exit_status=None if header["exit_status"] is None else frame.number(header["exit_status"]),
        marked=frame.flag(header["marked"]),
        ended=frame.flag(header["ended"]),
        may_hide=frame.flag(header["may_hide"]),
    )


def _facts(said: Mapping[str, object]) -> Facts:
    return Facts(
        vendor=frame.text(said["vendor"]),
        version=frame.text_or_none(said["version"]),
        model=frame.text_or_none(said["model"]),
        serial=frame.text_or_none(said["serial"]),
        system_id=frame.text_or_none(said["system_id"]),
        identity=frame.text_or_none(said["identity"]),
        markers=frame.texts(said["markers"]),
    )


def _outline(said: Mapping[str, object]) -> Outline:
    return Outline(
        sections=frame.number(said["sections"]),
        size=frame.number(said["size"]),
        secrets=frame.number(said["secrets"]),
        shape=bytes.fromhex(frame.text(said["shape"])),
        masked=bytes.fromhex(frame.text(said["masked"])),
    )
