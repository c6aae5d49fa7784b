"""An export's normal form: what its owner configured, written in the one canonical way."""

from __future__ import annotations

import re
from io import BytesIO
from itertools import chain
from typing import TYPE_CHECKING, Final

from backupflow.core.model import NormalConfig
from backupflow.drivers.routeros.canonical import PAIR, STEADY, VALUE
from backupflow.drivers.routeros.identity import is_header
from backupflow.drivers.routeros.lexer import PLAIN, encode, printable, tokens
from backupflow.drivers.routeros.noise import header_line, without_presentation
from backupflow.drivers.routeros.pieces import (
    AS_WRITTEN,
    COMMENTS,
    EXCESS,
    ITEM,
    RUN,
    SECTION,
    apart,
    joined,
    last_path,
    may_be_too_much,
    scan,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from backupflow.core.model import RawConfig
    from backupflow.drivers.routeros.lexer import Token

_COMMENT_LINES: Final = re.compile(rb"^#.*\n", re.MULTILINE)
_PATHS: Final = re.compile(rb"^(/.*\n)", re.MULTILINE)
# A look-behind after the quote: the search for a quote is quick, and one inside a string stands behind a backslash.
_NEEDLESS_QUOTES: Final = re.compile(rb'"(?<=[= ]")(' + PLAIN + rb'++)"')
_ITEMS_WITH_PREFIXES: Final = re.compile(rb"^[a-z].*? \..*\n", re.MULTILINE)
# Tokens that have nothing to do with prefixes, then one that gives a prefix, or takes the last.
_STEP: Final = re.compile(
    STEADY + rb"* (?:(?!\.)(" + PLAIN + rb"+)\." + PLAIN.replace(b".", b"") + rb"*+|()\." + PLAIN + rb"*+)=" + VALUE
)
_VERB: Final = re.compile(rb"[a-z]++")
# What the judge accepts has a normal form that is read, though it may have more lines, quotes and blanks.
_ALLOWANCE: Final = 1.25
_MANY_STEPS: Final = 320_000  # the normal form takes at most one and a half times as many
_LONGEST_PREFIX: Final = 32  # bytes; RouterOS has "configuration", and what a router sends must not blow up


def normalize(raw: RawConfig) -> NormalConfig:
    """Reduce an export to its normal form; see docs/normalizer.md for every rule and its reason."""
    text = without_presentation(raw)
    normal, steps = _normal(text)
    # Its own normal form must be itself, also where it holds more than the text that it was made of.
    if normal is None or not _readable(normal, steps):
        normal = _as_written(text)
    return NormalConfig(normal)


def canonical_item(text: bytes) -> bytes:
    """Write an item (it begins with its verb) canonically; one that is not made of tokens stays as it is, printable."""
    verb = _VERB.match(text)
    read = tokens(text[verb.end() :]) if verb else None
    if verb is None or read is None:  # written printably it may be tokens all the same: a tab parts two no longer
        written = printable(text)
        return written if verb is None or written == text else canonical_item(written)
    return b"".join((verb[0], *_written(read)))


def _as_written(text: bytes) -> bytes:
    """Keep a text that is no configuration: printable, with a first line that says so and that keeps it so."""
    lines = printable(text.removeprefix(AS_WRITTEN), lines=True)
    return b"".join((AS_WRITTEN, lines, b"\n" if lines and not lines.endswith(b"\n") else b""))


def _readable(normal: bytes, steps: int) -> bool:
    """Tell whether a normal form that took so many steps will be read: looks closely only where that is in doubt."""
    if steps <= _MANY_STEPS and not may_be_too_much(normal, _ALLOWANCE):
        return True
    lines = joined(normal, _ALLOWANCE)
    return lines is not None and all(piece[0] is not EXCESS for piece in scan(lines, _ALLOWANCE))


def _normal(text: bytes) -> tuple[bytes | None, int]:
    """Write the normal form of a text, None if that would take too long; and say how much work it was."""
    lines = joined(text, _ALLOWANCE)
    if lines is None:
        return None, 0
    header: list[bytes] = []
    strange: list[bytes] = []
    body = BytesIO()
    stood = last = b""  # the section of the piece before, and of what was written last
    steps = 0
    for kind, _, path, piece, steps in scan(lines, _ALLOWANCE):
        if kind is EXCESS:
            return None, steps
        if kind is RUN:
            run = _run(piece, stood, last)
            body.write(run)
            last = last_path(run) or last
        elif path and kind is not SECTION and not piece.startswith(b"#"):  # a comment that breaks off is one
            if path != last:
                body.write(path + b"\n")
                last = path
            body.write((canonical_item(piece) if kind is ITEM else printable(piece)) + b"\n")
        elif not path and kind is COMMENTS:
            _add_header(header, piece)
        elif not path and header and not piece.startswith(b"#"):  # before it, whatever a terminal left there
            strange.append(printable(piece))
        stood = path
    return b"".join((*(line + b"\n" for line in chain(header, strange)), body.getbuffer())), steps


def _add_header(header: list[bytes], comments: bytes) -> None:
    for comment in apart(comments).splitlines():
        if (header or is_header(comment)) and (kept := header_line(comment)) is not None:
            header.append(kept)


def _run(text: bytes, stood: bytes, last: bytes) -> bytes:
    """Write a run that follows the section `stood`, after something of the section `last` was written."""
    text = _COMMENT_LINES.sub(b"", text) if b"#" in text else text
    text = text if text.startswith(b"/") else b"%b\n%b" % (stood, text)
    text = _grouped(text, last + b"\n")
    if b'"' in text:
        text = _NEEDLESS_QUOTES.sub(rb"\1", text)
    if b" ." in text:
        text = _ITEMS_WITH_PREFIXES.sub(_in_full, text)
    return printable(text.replace(rb"\_", b" ").replace(PAIR, rb"\\"), lines=True)


def _grouped(text: bytes, last: bytes) -> bytes:
    """Drop section lines without items, and those that only repeat the last with items."""
    _, *parts = _PATHS.split(text)
    written: list[bytes] = []
    for path, items in zip(parts[::2], parts[1::2], strict=True):
        if items:
            written += (items,) if path == last else (path, items)
            last = path
    return b"".join(written)


def _in_full(item: re.Match[bytes]) -> bytes:
    """Write an item of a run with the prefixes that its tokens leave out."""
    text = item[0]
    written: list[bytes] = []
    prefix, since = b"", 0
    end = text.find(b" ")
    while found := _STEP.match(text, end):  # from token to token: a search would go on inside of strings
        end = found.end()
        if found.lastindex == 1:
            prefix = found[1] if found.end(1) - found.start(1) <= _LONGEST_PREFIX else b""
        elif prefix:
            at = found.start(2)
            written += text[since:at], prefix
            since = at
    written.append(text[since:])
    return b"".join(written)


def _written(read: Iterable[Token]) -> Iterator[bytes]:
    prefix = b""
    for key, value in read:
        if value is None:
            yield b" %b" % (key or b"")
        elif key is None:
            yield b" " + encode(value)
        else:
            name = prefix + key if key.startswith(b".") else key
            prefix = _prefix(key, prefix)
            yield b" %b=%b" % (printable(name), encode(value))


def _prefix(key: bytes, prefix: bytes) -> bytes:
    """Give the prefix after a key: `.mode=` after `configuration.country=` is short for `configuration.mode=`."""
    if key.startswith(b".") or b"." not in key:
        return prefix
    prefix = key.rpartition(b".")[0]
    return prefix if len(prefix) <= _LONGEST_PREFIX else b""
