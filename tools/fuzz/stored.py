"""Targets over what this house wrote itself, and somebody may have touched: what a reader answered, a row's facts."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, Final

from backupflow.adapters.db.observed import _observed
from backupflow.adapters.reader import wire
from backupflow.core.driver import Facts, Incomplete, Outline, Reading, Reason
from backupflow.core.model import NormalConfig, RawConfig, Secrets
from backupflow.core.suspicion import Known, completed, judge
from backupflow.errors import MessageMalformed
from tools.fuzz.harness import Target, law

_LONGEST: Final = 8192  # bytes of an input
_RAW: Final = RawConfig(b"/a\nadd x=1\n")
_FACTS: Final = Facts("MikroTik", "7.14", "CHR", "0123", "Qx/y+0", "core", ("error exporting /ip socks",))
_READING: Final = Reading(
    _RAW,
    NormalConfig(_RAW),
    _FACTS,
    Outline(1, len(_RAW), 0, bytes(32), bytes(32)),
    Secrets.SHOWN,
    "/export",
    "/export",
    0,
    marked=True,
    ended=True,
    may_hide=False,
)
_ROW: Final[dict[str, Any]] = {
    "version": "7.14",
    "model": "CHR",
    "serial": None,
    "system_id": "Qx/y+0",
    "identity": "core",
    "markers": ["error exporting /ip socks"],
    "sections": 3,
    "size": 900,
    "secret_count": 2,
    "secrets": "shown",
    "known_serial": "0123",
}
_ODD: Final[tuple[Any, ...]] = (0, -1, 2**63, 1e999, True, None, "", "x", [], {}, [1], [{}], {"a": 1}, "\ud800")


def answered(data: bytes) -> None:
    """It is unreadable, or values of the right types, of no more bytes than came; an input has its length in front.

    One that begins with `{` is a header without its length, up to the first newline, and the parts.
    """
    if data.startswith(b"{"):
        header, _, parts = data.partition(b"\n")
        data = len(header).to_bytes(4, "big") + header + parts
    try:
        found = wire.answer_of(memoryview(data))
    except wire.Unreadable as exc:
        law(str(exc).isprintable(), "a refusal is of our own words")
        return
    if isinstance(found, Reading):
        law(len(found.raw) + len(found.normal) <= len(data), "no more bytes than came")
    written = b"".join(wire.answer(found))
    law(wire.answer_of(memoryview(written)) == found, "an answer comes back from its written form")


def observed(data: bytes) -> None:
    """Facts of a row are unreadable, or they can be compared; an input is JSON, or a field's place and its value."""
    names = list(_ROW)
    try:
        given = json.loads(data[1:] if data and data[0] < len(names) else data)
    except (ValueError, RecursionError):
        return  # the database holds no such thing
    facts = _ROW | {names[data[0]]: given} if data[0] < len(names) else given
    row: Any = SimpleNamespace(
        seq=1,
        content_hash=bytes(32),
        normalization_version=1,
        shape_hash=bytes(32),
        masked_hash=bytes(32),
        facts=facts,
    )
    try:
        found = _observed(row, "MikroTik")
    except MessageMalformed as exc:
        law(str(exc).isprintable(), "a refusal is of our own words")
        return
    if found is None:
        raise AssertionError
    judge(Known(found), found)
    judge(Known(found, found), found, cut="x")
    completed(found, found, may_hide=True)


def _answer_seeds() -> tuple[bytes, ...]:
    whole = b"".join(wire.answer(_READING))
    header = json.loads(whole[4 : 4 + int.from_bytes(whole[:4], "big")])
    parts = whole[4 + int.from_bytes(whole[:4], "big") :]
    fields: list[dict[str, Any]] = [header | {name: value} for name in header for value in _ODD]
    for inner in ("facts", "outline"):
        fields += [header | {inner: header[inner] | {name: value}} for name in header[inner] for value in _ODD]
    fields += [header | {"sizes": sizes} for sizes in ([], [-1, 1], [99, 0], [True], [2**62, 2**62], ["1"], {"1": 1})]
    others = (wire.Defect("MemoryError"), Incomplete(Reason.TRUNCATED, "x (line 3)"))
    deep = (
        b"{" + b'"a":{' * 1500,
        b"\0\0\x0b\xb8" + b"[" * 3000,
        b"\xff\xff\xff\xff{}",
        b"\0\0\0\2{}",
        b"\0\0\0\2[]",
        b"",
    )
    texts = (json.dumps(said).encode() + b"\n" + parts for said in fields)
    return (whole, *(b"".join(wire.answer(other)) for other in others), *deep, *texts)


_ROW_SEEDS: Final = (
    json.dumps(_ROW).encode(),
    *(bytes((place,)) + json.dumps(value).encode() for place in range(len(_ROW)) for value in _ODD),
    *(bytes((place,)) + json.dumps(value).encode() for place, value in enumerate(_ROW.values())),
    *(b"{}", b"[]", b"null", b"1", b'"x"'),
)
_KEYS: Final = tuple(f'"{name}":'.encode() for name in (*_ROW, "kind", "sizes", "reason", "detail", "name", "facts"))
_WORDS: Final = (
    b"null",
    b"true",
    b"1e999",
    b"-1",
    b"NaN",
    b'"reading"',
    b'"incomplete"',
    b'"\\ud800"',
    b"[",
    b"{",
    b"[[]]",
)
TARGETS: Final = (
    Target("reader", answered, _answer_seeds(), (*_KEYS, *_WORDS), longest=_LONGEST),
    Target("observed", observed, _ROW_SEEDS, (*_KEYS, *_WORDS), longest=_LONGEST),
)
