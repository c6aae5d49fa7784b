"""Looks for markers wherever something may have leaked: as they are, encoded, deflated, and one inside the other.

Every marker of a `Markers` begins with the same random stem, so that one pass over a file looks for all of them, and so
that one that was cut off behind it is found too.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import zlib
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_DEFLATED = re.compile(rb"\x78[\x01\x5e\x9c\xda]")  # zlib at any level (RFC 1950)
_GZIP = re.compile(rb"\x1f\x8b\x08")  # RFC 1952
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{32,}")
_HEX = re.compile(rb"[0-9a-fA-F]{64,}")
_URLSAFE = bytes.maketrans(b"+/", b"-_")
_STANDARD = bytes.maketrans(b"-_", b"+/")
_INFLATED_AT_MOST = 16 * 1024**2  # bytes of one stream
_DEPTH = 3  # base64 of zlib of base64
_PAGE = 8192
_AROUND = 400  # bytes beside a hit in which the marker's name is looked for
UNNAMED = "a part of one"


@dataclass(frozen=True, slots=True, order=True)
class Hit:
    """A marker that was found: where, which, and in which form."""

    where: str
    marker: str
    form: str


class Markers:
    """Random texts, each with a name; letters and digits, so that no quoting alters them."""

    def __init__(self) -> None:
        self._stem = f"mk{secrets.token_hex(7)}"
        self._texts: dict[str, bytes] = {}
        self._stems: list[bytes] = [self._stem.encode()]

    def make(self, name: str) -> str:
        """A new one."""
        text = f"{self._stem}{secrets.token_hex(8)}"
        self._texts[name] = text.encode()
        return text

    def add(self, name: str, text: bytes) -> None:
        """A secret that somebody else made; of 12 bytes at least, or it may be found by chance."""
        assert len(text) >= 12
        self._texts[name] = text
        self._stems.append(text)

    def finder(self) -> Finder:
        """What looks for those that were made so far."""
        return Finder(self._texts, self._stems)


class Finder:
    """Looks for markers in bytes, files and folders."""

    def __init__(self, texts: dict[str, bytes], stems: list[bytes]) -> None:
        self._named = {name: forms(text) for name, text in texts.items()}
        self._stems = [(form, needle) for stem in stems for form, needle in forms(stem)]

    def in_bytes(self, where: str, data: bytes) -> set[Hit]:
        """What the bytes hold, and what is encoded or deflated in them."""
        return {Hit(where, marker, form) for marker, form in self._deep(data, "", _DEPTH)}

    def in_tree(self, root: Path, *, skip: Collection[Path] = ()) -> set[Hit]:
        """What the files and names below a folder hold; those that vanish meanwhile are left out."""
        hits: set[Hit] = set()
        for here, below, names in os.walk(root):
            folder = Path(here)
            below[:] = [name for name in below if folder / name not in skip]
            for name in names:
                hits |= self.in_file(folder / name, str((folder / name).relative_to(root)))
        return hits

    def in_file(self, path: Path, where: str) -> set[Hit]:
        """What one regular file and its name hold."""
        data = b""
        with suppress(FileNotFoundError):
            data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        return self.in_bytes(where, _without_empty_pages(data)) | self.in_bytes(where, path.name.encode())

    def _deep(self, data: bytes, way: str, depth: int) -> Iterator[tuple[str, str]]:
        for form, needle in self._stems:
            at = data.find(needle)
            while at >= 0:
                yield self._name(data, at, needle), way + form
                at = data.find(needle, at + len(needle))
        if depth:
            for kind, inside in _decoded(data):
                yield from self._deep(inside, f"{way}{kind}, ", depth - 1)

    def _name(self, data: bytes, at: int, needle: bytes) -> str:
        beside = data[max(0, at - _AROUND) : at + len(needle) + _AROUND]
        start = min(at, _AROUND)
        for name, found in self._named.items():
            for _, whole in found:
                where = beside.find(whole)
                while where >= 0:
                    if where - 4 <= start <= where + len(whole):  # base64 forms begin some letters later
                        return name
                    where = beside.find(whole, where + 1)
        return UNNAMED


def forms(text: bytes) -> list[tuple[str, bytes]]:
    """A text as it may stand inside something larger, whatever stands beside it."""
    found = [("raw", text), ("hex", text.hex().encode()), ("HEX", text.hex().upper().encode())]
    found.append(("UTF-16", text.decode("latin-1").encode("utf-16-le")[:-1]))  # so cut it stands in big-endian too
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + text)
        own = encoded[-(-offset * 8 // 6) : (offset + len(text)) * 8 // 6]  # letters that no neighbour decides
        found += [("base64", needle) for needle in dict.fromkeys((own, own.translate(_URLSAFE)))]
    return found


def _decoded(data: bytes) -> Iterator[tuple[str, bytes]]:
    for match in chain(_DEFLATED.finditer(data), _GZIP.finditer(data)):
        inflated = _inflate(data, match.start())
        if inflated:
            yield "deflated", inflated
    for match in _BASE64.finditer(data):
        run = match[0].translate(_STANDARD)
        for offset in range(4):  # the run may have begun with letters that belong to something else
            odd = (len(run) - offset) % 4
            whole = run[offset : len(run) - (odd == 1)] + b"=" * (4 - odd if odd > 1 else 0)
            yield "in base64", binascii.a2b_base64(whole)
        for digits in _HEX.findall(run):  # whose letters are those of base64 too
            yield from (("in hex", binascii.unhexlify(part[: len(part) // 2 * 2])) for part in (digits, digits[1:]))


def _without_empty_pages(data: bytes) -> bytes:
    """Database files are mostly zeros."""
    pages = (data[at : at + _PAGE] for at in range(0, len(data), _PAGE))
    return b"".join(page for page in pages if page.count(0) < len(page))


def _inflate(data: bytes, start: int) -> bytes:
    """As much as can be inflated, also of a stream that is cut off or goes wrong later."""
    stream = zlib.decompressobj(wbits=47)  # zlib or gzip, as the header says
    out, piece = bytearray(), 4096
    with suppress(zlib.error):
        while not stream.eof and start < len(data) and len(out) < _INFLATED_AT_MOST:
            out += stream.decompress(data[start : start + piece], _INFLATED_AT_MOST)
            start += piece
            piece = 65536
    return bytes(out)
