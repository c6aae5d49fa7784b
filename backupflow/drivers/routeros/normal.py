"""An export's normal form: what its owner configured, written in the one canonical way."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Final

from backupflow.core.export import Statement, render
from backupflow.drivers.routeros.identity import is_header
from backupflow.drivers.routeros.lexer import Kind, Line, encode, printable, scan, tokens
from backupflow.drivers.routeros.noise import header_line, without_presentation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from backupflow.core.model import NormalConfig, RawConfig
    from backupflow.drivers.routeros.lexer import Token

# An item that is canonical already, which is nearly every one: no string, no bracket, no key that continues a prefix.
_CANONICAL: Final = re.compile(rb"[a-z]++(?: (?![.=])[A-Za-z0-9./,:_!@#*<>~+&-]++(?:=[A-Za-z0-9./,:_!@#*<>~+&-]++)?)*+")


def normalize(raw: RawConfig) -> NormalConfig:
    """Reduce an export to its normal form; see docs/normalizer.md for every rule and its reason."""
    lines = scan(without_presentation(raw))
    before: list[Line] = []
    for line in lines:
        if line.path:
            return render(*_opening(before, chain((line,), lines)))
        before.append(line)
    return render(*_opening(before, ()))


def canonical_item(text: bytes) -> bytes:
    """Write an item (it begins with its verb) canonically; one that is not made of tokens stays as it is, printable."""
    if _CANONICAL.fullmatch(text):
        return text
    verb, _, rest = text.partition(b" ")
    read = tokens(rest)
    return printable(text) if read is None else b" ".join(chain((verb,), _written(read)))


def _opening(before: list[Line], body: Iterable[Line]) -> tuple[list[bytes], Iterator[Statement]]:
    """Split what stands before the first section: captured junk goes, the header stays, strange lines stay after it."""
    start = next(
        (at for at, line in enumerate(before) if line.kind is Kind.COMMENT and is_header(line.text)), len(before)
    )
    header = (header_line(line.text) for line in before[start:] if line.kind is Kind.COMMENT)
    return [line for line in header if line is not None], _statements(chain(before[start:], body))


def _statements(lines: Iterable[Line]) -> Iterator[Statement]:
    for kind, _number, path, text in lines:
        if kind is Kind.ITEM:
            yield Statement(path, canonical_item(text))
        elif kind is Kind.UNKNOWN or kind is Kind.DANGLING:
            yield Statement(path, printable(text))


def _written(read: Iterable[Token]) -> Iterator[bytes]:
    """Write tokens: `.mode=` after `configuration.country=` is short for `configuration.mode=`, written in full."""
    prefix = b""
    for key, value in read:
        if value is None:
            yield key or b""
        elif key is None:
            yield encode(value)
        else:
            if key.startswith(b"."):
                full = prefix + key
            else:
                full = key
                prefix = key.rpartition(b".")[0] or prefix
            yield b"%b=%b" % (printable(full), encode(value))
