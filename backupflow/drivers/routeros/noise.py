"""What differs between two exports of one configuration, rule by rule, each with its reason."""

from __future__ import annotations

import re
from typing import Final

from backupflow.drivers.routeros.lexer import printable

# Colours and cursor movements: a pseudo-terminal on the way. They never cross a line, so that none can hide lines.
_ANSI: Final = re.compile(rb"\x1b(?:\[[0-9;?]*+[ -/]*+[@-~]|\][^\x07\x1b\n]*+(?:\x07|\x1b\\)|[@-Z\\-_])")
_MOST_SEQUENCES: Final = 500_000  # to take out more needs much memory
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"  # editors on Windows
# `# jan/02/2024 10:30:00 by RouterOS 6.49`, `# 2024-01-15 10:30:00 by RouterOS 7.14` (7.10 and later), and the same
# with the time masked or cut by its owner: whatever stands before "by" is the time of the export, no configuration.
_HEADER: Final = re.compile(rb"#[^\n]*?\bby RouterOS(?:[ \t]++(.*+))?", re.IGNORECASE | re.DOTALL)
_NAME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9 _-]*+")
# The two texts among the comments that speak of the export and not of the device's state.
_MARKER: Final = re.compile(rb"#[ \t]*+((?:error exporting|interrupted)\b.*+)", re.IGNORECASE | re.DOTALL)


def without_presentation(raw: bytes) -> bytes:
    """Drop what the way of the text added: colours (if it is not little else), a byte order mark, carriage returns.

    CR LF on files and exec channels, LF where a transport or an editor changed it: one device flips between both.
    """
    text = _ANSI.sub(b"", raw) if 0 < raw.count(b"\x1b") <= _MOST_SEQUENCES else raw
    return text.removeprefix(_BYTE_ORDER_MARK).replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def header_version(comment: bytes) -> bytes | None:
    """Give what a header's first line says after "by RouterOS" (perhaps nothing), None for any other comment."""
    found = _HEADER.fullmatch(comment) if b"routeros" in comment.lower() else None
    return (found[1] or b"").strip() if found else None


def header_property(comment: bytes) -> tuple[bytes, bytes] | None:
    """Give name and value of `# name = value`, None for any other comment."""
    name, equals, value = comment[1:].partition(b"=")
    return (name.strip().lower(), value.strip()) if equals and _NAME.fullmatch(name.strip()) else None


def marker(comment: bytes) -> str | None:
    """Give the text of `#error exporting …` and `#interrupted`, None for any other comment."""
    found = _MARKER.fullmatch(comment)
    return " ".join(printable(found[1]).decode("ascii").split()) if found else None


def header_line(comment: bytes) -> bytes | None:
    """Give a header line without its time; None if nothing is left of it (a bare `#`: their number varies)."""
    version = header_version(comment)
    if version is not None:
        return printable(b"# by RouterOS " + version).rstrip()
    if (named := header_property(comment)) is not None:
        return printable(b"# %b = %b" % named).rstrip()
    return printable(comment) if comment.strip(b"# \t") and marker(comment) is None else None
