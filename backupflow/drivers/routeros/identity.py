"""Which router an export says that it comes from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from backupflow.core.driver import Facts
from backupflow.drivers.routeros.lexer import printable, tokens
from backupflow.drivers.routeros.noise import header_property, header_version

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backupflow.core.model import NormalConfig

# `software id` until 7.16, `system id` on CHR since 7.17: the same question to the licence.
_FIELDS: Final = {b"model": "model", b"serial number": "serial", b"software id": "system_id", b"system id": "system_id"}
_VERSION: Final = re.compile(rb"[0-9][0-9A-Za-z._-]*+")
_LONGEST: Final = 200  # characters; what an export says comes from the router, and goes to rows and screens
_MOST_MARKERS: Final = 50  # menus that could not be exported; real exports have up to a dozen
_LONGEST_ITEM: Final = 4096  # bytes; RouterOS takes 64 characters for a name, at most 3 bytes each when escaped


def is_header(comment: bytes) -> bool:
    """Tell whether this comment opens an export's header."""
    named = header_property(comment)
    return header_version(comment) is not None or (named is not None and named[0] in _FIELDS)


def facts(header: Iterable[bytes], markers: Iterable[str] = ()) -> Facts:
    """Read the header's comments; the first statement of each thing counts, an empty one says nothing."""
    known: dict[str, str] = {}
    for comment in header:
        version = header_version(comment)
        if version is not None:
            if found := _VERSION.match(version):
                known.setdefault("version", _text(found[0]))
        elif (named := header_property(comment)) is not None and named[0] in _FIELDS and named[1]:
            known.setdefault(_FIELDS[named[0]], _text(named[1]))
    return Facts(
        vendor="MikroTik",
        version=known.get("version"),
        model=known.get("model"),
        serial=known.get("serial"),
        system_id=known.get("system_id"),
        markers=_bounded(markers),
    )


def identity(normal: NormalConfig) -> str | None:
    """Give the name of the router, from the `set name=…` of `/system identity`; None if the export has none.

    An export leaves out the name that RouterOS comes with.
    """
    _, found, rest = (b"\n" + normal).partition(b"\n/system identity\n")
    item = rest[:_LONGEST_ITEM].partition(b"\n")[0] if found else b""
    read = tokens(item.removeprefix(b"set")) if item.startswith(b"set ") else None
    name = next((token.value for token in read or () if token.key == b"name"), None)
    return _text(name) if name else None


def _bounded(markers: Iterable[str]) -> tuple[str, ...]:
    """Sort them, without repeats; of too many say how many, so that one more of them is another set all the same."""
    known = sorted({marker[:_LONGEST] for marker in markers})
    if len(known) <= _MOST_MARKERS:
        return tuple(known)
    return (*known[: _MOST_MARKERS - 1], f"and {len(known) - _MOST_MARKERS + 1} more")


def _text(value: bytes) -> str:
    return printable(value).decode("ascii")[:_LONGEST]
