"""What can be compared of two exports without their texts: how much there is, in which menus, and what is no secret.

Works on the normal form, whose tokens are canonical: one blank between them, a string ends in its line, and a quote or
backslash inside a string is escaped. So plain searches find the few places that matter, and time is linear.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from backupflow.core.driver import Outline
from backupflow.drivers.routeros.secrets import MENUS, hidden_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.core.model import NormalConfig

_MOST_SECTIONS: Final = 10_000  # RouterOS has some 400 menus; what a text has beyond this is taken as it is
_MOST_PLACES: Final = 100_000  # that look like a secret, in one section; beyond this nothing more is masked

_STRING: Final = rb'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"'
# Bounded, because each turn of a repeat that may go back takes memory.
_CLOSED: Final = re.compile(rb'[^"\n]*+(?:' + _STRING + rb'[^"\n]*+){0,1000}')
_EMPTY: Final = b'=""'
_A_STRING: Final = re.compile(_STRING)
_SELECTOR: Final = rb'(?: \[(?:[^\]"\n]++|' + _STRING + rb")*+\])?+"
_WORDS: Final = rb'(?: (?:[^ !="\[\]\n][^ ="\[\]\n]*+|' + _STRING + rb")){0,4}+"
# `set [ find default=yes ]`: what is left of an item when all its properties are secrets. Many at a time: a hostile
# text has millions.
_BARE_ITEMS: Final = re.compile(rb"(?:\n[a-z]++" + _SELECTOR + _WORDS + rb"(?=\n)){1,1000}")


def outline(normal: NormalConfig) -> Outline:
    """Outline a normal form.

    Its masked form has no secrets (see `secrets.hidden_keys`), no items without any property, no sections without
    items, and one section line for neighbours of one path: the same whether the router showed its secrets or not.
    """
    header, *parts = (b"\n" + normal).split(b"\n/", _MOST_SECTIONS)
    drawn = _Drawn()
    drawn.masked.update(header.removesuffix(b"\n"))
    rest = parts.pop() if len(parts) == _MOST_SECTIONS else b""
    for part in parts:
        path, _, items = part.partition(b"\n")
        drawn.add(b"/" + path, items.removesuffix(b"\n"))
    drawn.shape.update(rest)
    drawn.masked.update(rest)
    return Outline(len(drawn.paths), len(normal), drawn.secrets, drawn.shape.digest(), drawn.masked.digest())


@dataclass(slots=True)
class _Drawn:
    """An outline in the making."""

    paths: set[bytes] = field(default_factory=set)
    secrets: int = 0
    shape: hashlib._Hash = field(default_factory=hashlib.sha256)
    masked: hashlib._Hash = field(default_factory=hashlib.sha256)
    last: bytes = b""  # the path whose section line was masked last

    def add(self, path: bytes, items: bytes) -> None:
        self.paths.add(path)
        self.shape.update(b"%b %d\n" % (path, items.count(b"\n") + 1))
        text, secrets = _without_secrets(path, b"\n%b\n" % items)
        self.secrets += secrets
        text = _BARE_ITEMS.sub(b"", text)
        if len(text) <= 1:
            return
        if path != self.last:
            self.masked.update(b"\n" + path)
            self.last = path
        self.masked.update(text[:-1])


def _without_secrets(path: bytes, items: bytes) -> tuple[bytes, int]:
    """Give the items without their secrets, and how many there were: an empty one is none, but goes with them."""
    found = list(_secrets(_PATTERNS.get(path, _ANYWHERE), items))
    if not found:
        return items, 0
    kept, at = [], 0
    for start, end in found:
        kept.append(items[at:start])
        at = end
    return b"".join([*kept, items[at:]]), sum(not items.endswith(_EMPTY, start, end) for start, end in found)


def _secrets(pattern: re.Pattern[bytes], items: bytes) -> Iterator[tuple[int, int]]:
    """Find the properties that hold a secret: those that look so and do not stand inside a string, as scripts do."""
    outside = 0  # up to here everything was looked at, and no string is open
    for _ in range(_MOST_PLACES):
        if (found := pattern.search(items, outside)) is None:
            return
        line = max(outside, items.rfind(b"\n", outside, found.start()) + 1)
        quote = _open_string(items, line, found.start())
        if quote is None:
            outside = found.end()
            blank = items.rfind(b" ", line, found.start() + 1)  # before all of `security.passphrase`
            yield max(blank, line), outside
        else:
            string = _A_STRING.match(items, quote)
            outside = string.end() if string else found.end()


def _open_string(items: bytes, begin: int, end: int) -> int | None:
    """Where the string begins that is open at `end`; None if there is none. `begin` is outside of strings."""
    while (closed := _CLOSED.match(items, begin, end)) is not None and closed.end() > begin:
        begin = closed.end()
    return begin if begin < end else None


def _pattern(menu: bytes) -> re.Pattern[bytes]:
    """Match such a property, from the blank or the dot before its name to the end of its value."""
    names = groupby(sorted(hidden_keys(menu)), key=itemgetter(0))
    # Told apart by their first letters: most places that might be a name are none, and this settles it at once.
    tree = "|".join(f"{first}(?:{'|'.join(re.escape(name[1:]) for name in those)})" for first, those in names)
    return re.compile(rb"[ .](?:" + tree.encode() + rb")=(?:" + _STRING + rb'|[^ "\n]++)(?=[ \n])')


_ANYWHERE: Final = _pattern(b"")
_PATTERNS: Final = {menu: _pattern(menu) for menu in MENUS}
