"""RouterOS export text: items, quoting and wrapping, and where device comments may stand.

Source of the forms: public exports as counted in this project's notes; lines wrap at 79 columns with a backslash
and go on after four blanks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 79
_INDENT = "    "
_BARE = re.compile(r"[^\s\"\\$?;={}\[\]()#`~\x00-\x1f\x7f-\U0010ffff]+")
_PLAIN = {'"': '\\"', "\\": "\\\\", "$": "\\$", "?": "\\?", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SPECIAL = re.compile(r"[^ !#%->@-\[\]-~]")  # all that does not stand for itself in quotes
SECRET_KEYS = frozenset(
    {"password", "secret", "wpa2-pre-shared-key", "security.passphrase", "private-key", "authentication-password"},
)


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a section: `add` or `set`, an optional selector, and the arguments in their order."""

    verb: str
    args: tuple[tuple[str, str], ...]
    selector: str = ""
    about: str = ""  # the device comment that may come and go before it

    def value(self, key: str) -> str | None:
        """The value of an argument, None if the item has none of that name."""
        return next((value for name, value in self.args if name == key), None)

    def having(self, key: str, value: str) -> Item:
        """The same item with one argument changed."""
        args = tuple((name, value if name == key else old) for name, old in self.args)
        return Item(self.verb, args, self.selector, self.about)


@dataclass(frozen=True, slots=True)
class Section:
    """One menu of an export with its items."""

    path: str
    items: tuple[Item, ...]
    error: str = ""  # the marker that stands in its place: it could not be exported


@dataclass(frozen=True, slots=True)
class Body:
    """The text below the header, CRLF, without device comments, and the offsets where one may be put."""

    text: bytes
    spots: tuple[tuple[int, str], ...]
    secrets: int  # values of secret arguments in the text
    markers: tuple[tuple[int, str], ...] = ()  # the same for what could not be exported: these always stand there


def quoted(value: str) -> str:
    """A value as RouterOS prints it: bare if it may be, else in quotes with escapes."""
    return value if _BARE.fullmatch(value) else f'"{_SPECIAL.sub(_escaped, value)}"'


def _escaped(found: re.Match[str]) -> str:
    r"""What stands for one character in quotes: `\1B` for a byte that has no name, as often as UTF-8 has bytes."""
    return _PLAIN.get(found[0]) or "".join(f"\\{byte:02X}" for byte in found[0].encode("utf-8"))


def line(item: Item, *, sensitive: bool) -> str:
    """One item as one logical line, without the secret arguments unless `sensitive`."""
    shown = (f"{key}={quoted(value)}" for key, value in item.args if sensitive or key not in SECRET_KEYS)
    return " ".join((item.verb, *((item.selector,) if item.selector else ()), *shown))


def wrapped(text: str) -> str:
    r"""A logical line, broken with `\` at blanks and after `=` where it can be, else in the middle of a value."""
    rows: list[str] = []
    row = ""
    for piece in _pieces(text):
        left = piece
        if row.strip() and len(row) + len(left.rstrip()) >= WIDTH:
            rows.append(row)
            row = _INDENT
        while len(row) + len(left.rstrip()) >= WIDTH:
            cut = _breakable(left, WIDTH - 1 - len(row))
            rows.append(row + left[:cut])
            row, left = _INDENT, left[cut:]
            if left.startswith(" "):  # a blank at a wrap point inside quotes would be lost with the indentation
                left = "\\_" + left[1:]
        row += left
    rows.append(row)
    return "\\\r\n".join(rows)


def _pieces(text: str) -> Iterator[str]:
    """The unbreakable-if-possible parts of a line: words with the blank after them, keys with their `=`."""
    start, inside, at = 0, False, 0
    while at < len(text):
        mark = text[at]
        if mark == "\\":
            at += 2
            continue
        if mark == '"':
            inside = not inside
        if not inside and mark in " =":
            yield text[start : at + 1]
            start = at + 1
        at += 1
    yield text[start:]


def _breakable(text: str, cut: int) -> int:
    r"""The greatest place up to `cut` that is not inside an escape such as `\\n`."""
    slashes = len(text[:cut]) - len(text[:cut].rstrip("\\"))
    return cut - 1 if slashes % 2 else cut


def body(sections: tuple[Section, ...], *, sensitive: bool) -> Body:
    """The sections as text, with the places of their possible device comments."""
    rows: list[str] = []
    spots: list[tuple[int, str]] = []
    markers: list[tuple[int, str]] = []
    length = secrets = 0
    for section in sections:
        if section.error:
            markers.append((length, section.error))
            continue
        rows.append(section.path)
        length += len(section.path) + 2
        for item in section.items:
            if item.about:
                spots.append((length, item.about))
            secrets += sensitive and sum(key in SECRET_KEYS for key, _ in item.args)
            text = line(item, sensitive=sensitive)
            if len(text) > WIDTH:
                text = wrapped(text)
            rows.append(text)
            length += len(text) + 2
    rows.append("")
    return Body("\r\n".join(rows).encode("ascii"), tuple(spots), secrets, tuple(markers))
