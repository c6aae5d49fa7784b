"""An export's normal form: what its owner configured, written in the one canonical way."""

from __future__ import annotations

import re
from io import BytesIO
from itertools import chain
from typing import TYPE_CHECKING, Final

from backupflow.core.export import Statement, render
from backupflow.drivers.routeros.identity import is_header
from backupflow.drivers.routeros.lexer import COMMENT, DANGLING, ITEM, UNKNOWN, encode, printable, scan, tokens
from backupflow.drivers.routeros.noise import header_line, without_presentation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from backupflow.core.model import NormalConfig, RawConfig
    from backupflow.drivers.routeros.lexer import Line, Token

_PLAIN: Final = rb"[A-Za-z0-9./,:_!@#*<>~+&-]++"
# A string that `encode` would write just so: it needs its quotes and has no escape that is written otherwise.
_STRING: Final = (
    rb'"(?!' + _PLAIN + rb'")(?:[ !#%->@-\[\]^-~]++|\\["\\?$nrt]|\\0[0-8BCEF]|\\1[0-9A-F]|\\7F|\\[89A-F][0-9A-F])*+"'
)
_VALUE: Final = b"(?:" + _PLAIN + b"|" + _STRING + b")"
# An item that is canonical already, which is nearly every one: written again token by token it would be the same.
_CANONICAL: Final = re.compile(
    rb"[a-z]++(?:(?=( (?:[\[\]]|" + _STRING + rb"|(?!\.)" + _PLAIN + rb"(?:=" + _VALUE + rb")?)(?= |\Z)))\1)*"
)
_VERB: Final = re.compile(rb"[a-z]++")
_LONGEST_PREFIX: Final = 32  # bytes; RouterOS has "configuration", and what a router sends must not blow up


def normalize(raw: RawConfig) -> NormalConfig:
    """Reduce an export to its normal form; see docs/normalizer.md for every rule and its reason."""
    lines = scan(without_presentation(raw))
    header: list[bytes] = []
    strange: list[Statement] = []
    for line in lines:
        kind, _, path, text = line
        if path:
            return render(header, chain(strange, _statements(chain((line,), lines))))
        if kind is COMMENT:
            if (header or is_header(text)) and (kept := header_line(text)) is not None:
                header.append(kept)
        elif header:  # before it, whatever a terminal left there
            strange.append(Statement(b"", printable(text)))
    return render(header, strange)


def canonical_item(text: bytes) -> bytes:
    """Write an item (it begins with its verb) canonically; one that is not made of tokens stays as it is, printable."""
    if _CANONICAL.fullmatch(text):
        return text
    verb = _VERB.match(text)
    read = tokens(text[verb.end() :]) if verb else None
    if verb is None or read is None:
        return printable(text)
    written = BytesIO()
    written.write(verb[0])
    written.writelines(_written(read))
    return written.getvalue()


def _statements(lines: Iterable[Line]) -> Iterator[Statement]:
    for kind, _number, path, text in lines:
        if kind is ITEM:
            yield Statement(path, canonical_item(text))
        elif kind is UNKNOWN or kind is DANGLING:
            yield Statement(path, printable(text))


def _written(read: Iterable[Token]) -> Iterator[bytes]:
    """Write tokens: `.mode=` after `configuration.country=` is short for `configuration.mode=`, written in full."""
    prefix = b""
    for key, value in read:
        if value is None:
            yield b" %b" % (key or b"")
        elif key is None:
            yield b" " + encode(value)
        else:
            if key.startswith(b"."):
                key = prefix + key  # noqa: PLW2901
            elif b"." in key:
                prefix = key.rpartition(b".")[0]
                prefix = prefix if len(prefix) <= _LONGEST_PREFIX else b""
            yield b" %b=%b" % (printable(key), encode(value))
