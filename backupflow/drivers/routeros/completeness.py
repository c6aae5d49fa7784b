"""Whether an answer is a whole configuration: RouterOS writes no trailer, so the text itself must show it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from backupflow.core.driver import Complete, Completeness, Incomplete, Reason
from backupflow.drivers.routeros.identity import facts, is_header
from backupflow.drivers.routeros.lexer import Kind, Line, scan, strings_end
from backupflow.drivers.routeros.noise import header_version, marker, without_presentation

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
_CUT: Final = re.compile(rb"interrupted\b", re.IGNORECASE)
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SHORT: Final = 4096  # bytes; a refusal is a line or two, however long the answer may be


def unknown_command(answer: bytes) -> bool:
    """Tell whether the answer says that the router does not know the command."""
    lines = without_presentation(answer[:_SHORT]).split(b"\n")
    return any(_UNKNOWN.match(line.strip()) for line in lines) and not any(line.startswith(b"/") for line in lines)


def major_version(answer: bytes) -> int | None:
    """Give the first number of the version in the header, None if there is no header."""
    for line in without_presentation(answer[:_SHORT]).split(b"\n"):
        version = header_version(line.strip()) if line.startswith(b"#") else None
        if version and (digits := re.match(rb"[0-9]{1,3}", version)):
            return int(digits[0])
    return None


@dataclass(slots=True)
class _Reading:
    """What was seen on the way through an export."""

    header: list[bytes] = field(default_factory=list)
    markers: list[str] = field(default_factory=list)
    strange: int = 0  # the first line before the header that is no comment
    sections: int = 0

    def comment(self, text: bytes) -> None:
        if (said := marker(text)) is not None:
            self.markers.append(said)
        elif not self.sections and (self.header or is_header(text)):
            self.header.append(text)


def judge(raw: bytes) -> Completeness:
    """Judge a text by itself, whatever way it came."""
    text = without_presentation(raw)
    if found := _CONTROLS.search(text):
        return _broken(Reason.NOT_A_CONFIGURATION, "control characters", text.count(b"\n", 0, found.start()) + 1)
    reading = _Reading()
    for line in scan(text):
        if (fault := _fault(line, reading)) is not None:
            return fault
    return _whole(reading)


def _fault(line: Line, reading: _Reading) -> Incomplete | None:
    kind, number, path, text = line
    if kind is Kind.COMMENT:
        reading.comment(text)
        if path and header_version(text) is not None:
            return _broken(Reason.NOT_A_CONFIGURATION, "a second export begins", number)
        return None
    if kind is Kind.SECTION or kind is Kind.ITEM:
        reading.sections += 1
        if reading.strange and not reading.header:
            return _broken(Reason.NOT_A_CONFIGURATION, "neither a header nor a section comes first", reading.strange)
        return None if strings_end(text) else _broken(Reason.TRUNCATED, "a string does not end", number)
    if kind is Kind.DANGLING:
        begun = path or reading.header
        return _broken(Reason.TRUNCATED if begun else Reason.NOT_A_CONFIGURATION, "the text ends inside a line", number)
    return _strange(line, reading)


def _strange(line: Line, reading: _Reading) -> Incomplete | None:
    if _REFUSED.match(line.text):
        return _broken(Reason.REJECTED, "the router answered with an error", line.number)
    if _CUT.match(line.text):
        return _broken(Reason.INTERRUPTED, "the router broke off", line.number)
    if not strings_end(line.text) and line.path:
        return _broken(Reason.TRUNCATED, "a string does not end", line.number)
    if line.path or reading.header:
        return _broken(Reason.NOT_A_CONFIGURATION, "not a line of a configuration", line.number)
    reading.strange = reading.strange or line.number
    return None


def _whole(reading: _Reading) -> Completeness:
    if any(_CUT.match(said.encode()) for said in reading.markers):
        return Incomplete(Reason.INTERRUPTED, "the router says that it was interrupted")
    if reading.sections:
        return Complete(facts(reading.header, reading.markers))
    if reading.header:
        return Incomplete(Reason.TRUNCATED, "a header without a section")
    return Incomplete(Reason.NOT_A_CONFIGURATION, "neither a header nor a section")


def _broken(reason: Reason, what: str, number: int) -> Incomplete:
    return Incomplete(reason, f"{what} (line {number})")
