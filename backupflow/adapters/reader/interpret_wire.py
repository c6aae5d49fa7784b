"""What goes over the pipes between a worker and the process that interprets for it: two exports, and what changed.

As in adapters.reader.frame: whatever the other end sends, `answer_of` gives values of the right types and of no more
bytes than came, or raises Unreadable.
"""

from __future__ import annotations

from dataclasses import astuple
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from backupflow.adapters.reader import frame
from backupflow.core import edits
from backupflow.core.edits import Witness
from backupflow.core.export import NORMALIZATION_VERSION
from backupflow.core.ignoring import Rule
from backupflow.core.interpretation import Answer, Interpretation, Kind, Question
from backupflow.core.model import ContentHash, Pepper, RawConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

ASKS: Final = "asks"
INTERPRET: Final = "interpret"
_LONGEST_DETAIL: Final = 1000
_COUNTS: Final = ("lines_added", "lines_removed", "count", "ignored")
_TEXTS: Final = ("components", "touched", "summaries")


def request(question: Question) -> list[bytes]:
    """Say what is to be interpreted, in pieces: the texts themselves are not copied."""
    witness = question.witness
    header = {
        ASKS: INTERPRET,
        "normalization_version": NORMALIZATION_VERSION,
        "driver": question.driver,
        "follows": question.before is not None,
        "versions": question.versions,
        "only_secrets": question.only_secrets,
        "rules": [astuple(rule) for rule in question.rules],
        "witness": None if witness is None else [witness.since.isoformat(), witness.read_at.isoformat()],
    }
    log = b"" if witness is None else edits.pack(witness.log)
    return frame.pieces(header, [question.pepper, question.after, question.before or b"", log])


def question_under(header: Mapping[str, Any], stream: BinaryIO) -> Question:
    """Read a request after its header; this end trusts the one that started it. EOFError, OtherVersion."""
    if header["normalization_version"] != NORMALIZATION_VERSION:
        raise frame.OtherVersion
    pepper, after, before, log = (frame.exactly(stream, size) for size in header["sizes"])
    return Question(
        header["driver"],
        RawConfig(before) if header["follows"] else None,
        RawConfig(after),
        Pepper(pepper),
        (header["versions"][0], header["versions"][1]),
        header["only_secrets"],
        tuple(Rule(*rule) for rule in header["rules"]),
        None
        if header["witness"] is None
        else Witness(edits.unpack(log), *map(datetime.fromisoformat, header["witness"])),
    )


def answer(found: Answer | frame.Defect) -> list[bytes]:
    """Say what came of it."""
    if isinstance(found, frame.Defect):
        return frame.pieces({"kind": "defect", "name": found.name}, [])
    made = found.interpretation
    header = {
        "kind": made.kind,
        "detail": made.detail,
        "is_same": found.is_same,
        "hash_before": None if found.hash_before is None else found.hash_before.hex(),
        "hash_after": None if found.hash_after is None else found.hash_after.hex(),
        "there": [made.changes is not None, made.diff is not None],
        **{name: getattr(made, name) for name in (*_COUNTS, *_TEXTS)},
    }
    return frame.pieces(header, [made.changes or b"", made.diff or b""])


def answer_of(said: memoryview) -> Answer | frame.Defect:
    """Understand a whole answer (without READY), or raise Unreadable."""
    try:
        header, parts = frame.understood(said)
        if header["kind"] == "defect":
            return frame.Defect(frame.name(header["name"]))
        return Answer(
            _hash(header["hash_before"]),
            _hash(header["hash_after"]),
            frame.flag(header["is_same"]),
            _interpretation(header, *parts),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise frame.Unreadable(type(exc).__name__) from None


def _interpretation(header: Mapping[str, Any], changes: bytes, diff: bytes) -> Interpretation:
    has_changes, has_diff = map(frame.flag, header["there"])
    added, removed, count, ignored = (_count(header[name]) for name in _COUNTS)
    components, touched, summaries = (frame.texts(header[name]) for name in _TEXTS)
    return Interpretation(
        Kind(header["kind"]),
        frame.text(header["detail"])[:_LONGEST_DETAIL],
        lines_added=added,
        lines_removed=removed,
        count=count,
        ignored=ignored,
        components=components,
        touched=touched,
        changes=changes if has_changes else None,
        diff=diff if has_diff else None,
        summaries=summaries,
    )


def _hash(value: object) -> ContentHash | None:
    digits = frame.text_or_none(value)
    return None if digits is None else ContentHash(bytes.fromhex(digits))


def _count(value: object) -> int:
    number = frame.number(value)
    if number not in range(2**31):  # as its column has it
        raise frame.Unreadable("not a count")
    return number
