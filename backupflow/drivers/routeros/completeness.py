"""Whether an answer is a whole configuration: RouterOS writes no trailer, so the text itself must show it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from backupflow.core.driver import Complete, Completeness, Incomplete, Reason
from backupflow.drivers.routeros.identity import facts, is_header
from backupflow.drivers.routeros.lexer import strings_end, tokens
from backupflow.drivers.routeros.noise import marker, without_presentation
from backupflow.drivers.routeros.pieces import (
    COMMENTS,
    DANGLING,
    EXCESS,
    ITEM,
    RUN,
    SECTION,
    Piece,
    apart,
    joined,
    line_number,
    scan,
)

# What RouterOS answers (on stdout, as text) instead of an export, or in the midst of one.
_UNKNOWN_COMMAND: Final = (
    rb"expected end of command|bad command name|syntax error|no such command|bad parameter|expected command name"
)
_UNKNOWN: Final = re.compile(rb"(?:" + _UNKNOWN_COMMAND + rb")\b", re.IGNORECASE)
_REFUSED: Final = re.compile(
    rb"(?:"
    + _UNKNOWN_COMMAND
    + rb"|not enough permissions|no such item|failure:|action timed out|input does not match)",
    re.IGNORECASE,
)
_DENIED: Final = re.compile(rb"(?:failure: *|error: *)?(?:not enough permissions|permission denied)\b", re.IGNORECASE)
_CUT: Final = re.compile(rb"interrupted\b", re.IGNORECASE)
_INTERRUPTED: Final = "interrupted"
# A device comment may name an interface called "wan by RouterOS": what a router prints has its time there, masked or
# not, or nothing but the version. (Of a file's own header more is taken: owners cut it as they like.)
_DIGIT: Final = rb"[0-9_*xX?#-]"
_DATE: Final = rb"(?:[A-Za-z]{3}|%b{2,4})[/-]%b{1,2}[/-]%b{2,4}" % ((_DIGIT,) * 3)
_TIME: Final = rb"%b{1,2}:%b{2}(?::%b{2})?" % ((_DIGIT,) * 3)
_PRINTED_HEADER: Final = re.compile(
    rb"#[ \t]*+(?:(?:" + _DATE + rb"(?:[ \t]++" + _TIME + rb")?|" + _TIME + rb")[ \t]++by RouterOS(?![^ \t])"
    rb"|by RouterOS[ \t]++(?=[0-9]))(?:[ \t]*+([0-9]{1,3}))?",
    re.IGNORECASE,
)
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_NO_CONTROLS: Final = bytes(set(range(256)) - {*range(0x20), 0x7F}) + b"\t\n\r"
# Comments in a body that may be more than a device's remark on an item, and words without which there is none.
_SAYING: Final = re.compile(
    rb"^#(?:[ \t]*+(?:error exporting|interrupted)\b|[^\n]*?\bby RouterOS(?![^ \t\n]))[^\n]*+",
    re.IGNORECASE | re.MULTILINE,
)
_SAYING_WORDS: Final = (b"error exporting", b"interrupted", b"by routeros")
_MOST_JUNK: Final = 1000  # lines; a banner and a note are shorter
_MOST_MARKERS: Final = 10_000  # lines; RouterOS has some 400 menus
_TOO_MUCH: Final = "more lines or tokens than a configuration has"
_SHORT: Final = 4096  # bytes at each end of an answer, where a refusal stands
_LONG: Final = 65536  # bytes; a header stands in its first lines, after a banner and a note


def unknown_command(answer: bytes) -> bool:
    """Tell whether the answer says that the router does not know the command, and is no export."""
    lines = _ends(answer)
    return any(_UNKNOWN.match(line.strip()) for line in lines) and not any(line.startswith(b"/") for line in lines)


def denied(answer: bytes) -> bool:
    """Tell whether the answer says, at either end, that the user's rights do not suffice."""
    return any(_DENIED.match(line) for line in _ends(answer))


def complaint(stderr: bytes) -> Reason | None:
    """Give what an error beside an export means for it; None if nothing there is one of RouterOS."""
    lines = _ends(stderr)
    if any(_REFUSED.match(line) for line in lines):
        return Reason.REJECTED
    return Reason.INTERRUPTED if any(_CUT.match(line) for line in lines) else None


def major_version(answer: bytes) -> int | None:
    """Give the first number of the version in the header, None if there is no header (a banner may precede it)."""
    for line in without_presentation(answer[:_LONG]).split(b"\n"):
        if line.startswith(b"#") and (header := _PRINTED_HEADER.match(line)) and header[1]:
            return int(header[1])
    return None


def _ends(answer: bytes) -> list[bytes]:
    """Give the lines at the beginning and at the end: a refusal is a line or two, whatever precedes it."""
    both = answer if len(answer) <= 2 * _SHORT else answer[:_SHORT] + b"\n" + answer[-_SHORT:]
    return without_presentation(both).split(b"\n")


@dataclass(slots=True)
class _Reading:
    """What was seen on the way through an export."""

    header: list[bytes] = field(default_factory=list)
    markers: set[str] = field(default_factory=set)
    marked: int = 0  # lines with a marker
    junk: int = 0  # lines before the header or the first section that are no comments
    begun: bool = False  # there was a section
    pending: bool = False  # a section line or a device comment came last: the item that it announces is to come


class _Fault(NamedTuple):
    """What is broken, and where: an offset in the joined lines."""

    reason: Reason
    what: str
    at: int


def judge(raw: bytes) -> Completeness:
    """Judge a text by itself, whatever way it came."""
    text = without_presentation(raw)
    if text.translate(None, _NO_CONTROLS) and (found := _CONTROLS.search(text)):
        return _broken(Reason.NOT_A_CONFIGURATION, "control characters", text.count(b"\n", 0, found.start()) + 1)
    lines = joined(text)
    if lines is None:
        return Incomplete(Reason.NOT_A_CONFIGURATION, _TOO_MUCH)
    reading = _Reading()
    for piece in scan(lines):
        if piece[0] is EXCESS:
            return Incomplete(Reason.NOT_A_CONFIGURATION, _TOO_MUCH)
        if (fault := _fault(piece, reading)) is not None:
            return _broken(fault.reason, fault.what, line_number(text, lines.count(b"\n", 0, fault.at)))
    return _whole(reading)


def _fault(piece: Piece, reading: _Reading) -> _Fault | None:
    kind, at, _, text, _ = piece
    if kind is COMMENTS:
        return _heading(text, reading)
    if kind is RUN or kind is ITEM or kind is SECTION:
        if not reading.begun and reading.junk and not reading.header:
            return _Fault(Reason.NOT_A_CONFIGURATION, "a section, but neither it nor a header comes first", at)
        reading.begun, reading.pending = True, kind is SECTION
        if kind is RUN:
            return _run(text, at, reading)
        return _item(text, at) if kind is ITEM else None
    if kind is DANGLING and (reading.begun or reading.header):
        return _Fault(Reason.TRUNCATED, "the text ends inside a line", at)
    return _strange(text, at, reading)


def _item(text: bytes, at: int) -> _Fault | None:
    if not strings_end(text):
        return _Fault(Reason.TRUNCATED, "a string does not end", at)
    if text.count(b"[") != text.count(b"]") and (read := tokens(text)) is not None:
        brackets = [token.key for token in read if token.value is None]
        if brackets.count(b"[") != brackets.count(b"]"):
            return _Fault(Reason.TRUNCATED, "a bracket does not end", at)
    return None


def _heading(text: bytes, reading: _Reading) -> _Fault | None:
    """Read comments before the first section."""
    for comment in apart(text).splitlines():
        if (said := _said(comment)) is not None:
            reading.markers.add(said)
        elif reading.header or is_header(comment):
            reading.header.append(comment)
    return None


def _run(text: bytes, at: int, reading: _Reading) -> _Fault | None:
    """Read a run; its last line tells whether an item is to come, and its comments may be markers."""
    last = text[text.rfind(b"\n", 0, -1) + 1 : -1]
    reading.pending = last.startswith(b"/") or (last.startswith(b"#") and _said(apart(last)) is None)
    if b"#" not in text or not any(word in text.lower() for word in _SAYING_WORDS):
        return None
    for found in _SAYING.finditer(text):
        comment = apart(found[0])
        if (said := _said(comment)) is not None:
            reading.markers.add(said)
            reading.marked += 1
            if reading.marked > _MOST_MARKERS:
                return _Fault(Reason.NOT_A_CONFIGURATION, "more markers than there are menus", at + found.start())
        elif _PRINTED_HEADER.match(comment):
            return _Fault(Reason.NOT_A_CONFIGURATION, "a second export begins", at + found.start())
    return None


def _said(comment: bytes) -> str | None:
    """Give what a marker says; `# interrupted by carrier` is none, but a remark on an interface."""
    said = marker(comment)
    if said is None or said.lower() == _INTERRUPTED or not _CUT.match(said.encode()):
        return said
    return None


def _strange(text: bytes, at: int, reading: _Reading) -> _Fault | None:
    if _REFUSED.match(text):
        return _Fault(Reason.REJECTED, "the router answered with an error", at)
    if _CUT.match(text):
        return _Fault(Reason.INTERRUPTED, "the router broke off", at)
    if reading.begun and not strings_end(text):
        return _Fault(Reason.TRUNCATED, "a string does not end", at)
    if reading.begun or reading.header:
        return _Fault(Reason.NOT_A_CONFIGURATION, "not a line of a configuration", at)
    reading.junk += 1
    return None if reading.junk <= _MOST_JUNK else _Fault(Reason.NOT_A_CONFIGURATION, "no header, no section", at)


def _whole(reading: _Reading) -> Completeness:
    if any(said.lower() == _INTERRUPTED for said in reading.markers):
        return Incomplete(Reason.INTERRUPTED, "the router says that it was interrupted")
    if reading.pending:
        return Incomplete(Reason.TRUNCATED, "the text ends where an item was to come")
    if reading.begun:
        return Complete(facts(reading.header, reading.markers))
    if reading.header:
        return Incomplete(Reason.TRUNCATED, "a header without a section")
    return Incomplete(Reason.NOT_A_CONFIGURATION, "neither a header nor a section")


def _broken(reason: Reason, what: str, number: int) -> Incomplete:
    return Incomplete(reason, f"{what} (line {number})")
