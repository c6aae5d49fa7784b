"""An export as sections and items, whatever the vendor: the form in which two exports are compared.

The normal form is text that a person can read and diff: header lines that begin with `#`, then sections, each
a line that begins with `/` followed by its items, one a line.
All of it is printable ASCII; every line ends in a newline.
"""

from __future__ import annotations

from io import BytesIO
from itertools import chain, groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from backupflow.core.model import NormalConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NORMALIZATION_VERSION: Final = 1
"""Raised whenever any export would get another normal form: hashes compare only within one version."""


class Statement(NamedTuple):
    """One configured thing: where it stands, and its canonical text without a newline."""

    path: bytes
    text: bytes


class Section(NamedTuple):
    """Items that stand together under one path, in the order of the export; a path may come more than once."""

    path: bytes
    items: tuple[bytes, ...]


def render(header: Iterable[bytes], statements: Iterable[Statement]) -> NormalConfig:
    """Write the normal form: neighbours of one path share a section line, a section without items has none."""
    text = BytesIO()
    text.writelines(chain(_ended(header), _grouped(statements)))
    return NormalConfig(text.getvalue())


def sections(normal: NormalConfig) -> Iterator[Section]:
    """Read the sections of a normal form back; what stands before the first one has the empty path."""
    path, items = b"", list[bytes]()
    for line in normal.splitlines():
        if line.startswith(b"/"):
            if items:
                yield Section(path, tuple(items))
            path, items = line, []
        elif not line.startswith(b"#"):
            items.append(line)
    if items:
        yield Section(path, tuple(items))


def _ended(lines: Iterable[bytes]) -> Iterator[bytes]:
    for line in lines:
        yield line
        yield b"\n"


def _grouped(statements: Iterable[Statement]) -> Iterator[bytes]:
    for path, group in groupby(statements, key=attrgetter("path")):
        if path:
            yield path
            yield b"\n"
        for statement in group:
            yield statement.text
            yield b"\n"
