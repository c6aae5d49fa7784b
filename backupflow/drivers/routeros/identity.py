"""Which router an export says that it comes from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from backupflow.core.driver import Facts
from backupflow.drivers.routeros.lexer import printable
from backupflow.drivers.routeros.noise import header_property, header_version

if TYPE_CHECKING:
    from collections.abc import Iterable

# `software id` until 7.16, `system id` on CHR since 7.17: the same question to the licence.
_FIELDS: Final = {b"model": "model", b"serial number": "serial", b"software id": "system_id", b"system id": "system_id"}
_VERSION: Final = re.compile(rb"[0-9][0-9A-Za-z._-]*+")
_LONGEST: Final = 200  # what a header says comes from the router: it goes to rows and screens


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
        markers=tuple(sorted(set(markers))),
    )


def _text(value: bytes) -> str:
    return printable(value).decode("ascii")[:_LONGEST]
