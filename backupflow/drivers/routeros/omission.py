"""Whether something came that was to stay on the router: a value that looks like a secret, in whatever form.

Stricter than an outline, and without its limits: it looks for what RouterOS writes, for what it might read
(`Password=`, `password = x`), and where an item is not made of tokens, for the bare name of a secret.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from backupflow.drivers.routeros.outside import EMPTY, chunks, outside
from backupflow.drivers.routeros.secrets import MENUS, ending, may_hold_some

if TYPE_CHECKING:
    from backupflow.core.model import NormalConfig

_CAME: Final = "came although secrets were to be left out"
_NO_TOKENS: Final = f"what may be a secret {_CAME}: an item is not made of tokens"
_MOST_STRANGE: Final = 1000  # items that are not made of tokens; real exports have none
_MOST_EXEMPT: Final = 1000  # sections in one chunk that are exempt
_HINTS: Final = (b"pass", b"secret", b"key", b"pin", b"psk", b"token", b"cak", b"/zerotier\n")
# All in lower case, with strings written as quotes.
_NOTHING: Final = rb"%b(?=\n| (?:[^ =\"\[\]\n!]++=|[!\[\]]))" % EMPTY  # no word follows, which might be it
_STRANGE: Final = re.compile(rb'["\[\]\\\x01\x02](?:(?![ \n])|(?<=[\\\x01\x02])|(?<=[^= ]")|(?<=[^ ][\[\]]))')
_ANY_FORM: Final = re.compile(rb"pass(?:word|phrase|wd)|secret|psk|token|(?<![a-z])(?:key|pin|cak|identity)(?![a-z])")
_PROPERTY: Final = re.compile(rb"[ .]([a-z0-9-]{1,64})=")
_MENU: Final = re.compile(rb"/[a-z0-9-]{1,64}(?: [a-z0-9-]{1,64}){0,8}")


def came(normal: NormalConfig) -> str | None:
    """Say what came, by menu and property if these are plausible names, never with a value; None: nothing."""
    path, strange = b"", 0
    begin = 0 if normal.startswith(b"/") else normal.find(b"\n/") + 1  # a header may hold anything
    for chunk in chunks(normal[begin:]):
        lowered = chunk.lower()
        if any(hint in lowered for hint in _HINTS) or path == b"/zerotier":
            text = outside(lowered)
            if text is None:
                return _NO_TOKENS
            if (found := _property(text, path)) is not None:
                return found
            strange += (many := _strange(text, lowered))
            if many < 0 or strange > _MOST_STRANGE:
                return _NO_TOKENS
        path = _path(lowered, 0, len(lowered), path)
    return None


def _strange(text: bytes, written: bytes) -> int:
    """Count the places where items are not made of tokens; -1 if such an item speaks of a secret."""
    lines = written.split(b"\n") if _STRANGE.search(text) else []
    at = before = count = 0
    for count, found in enumerate(_STRANGE.finditer(text), start=1):
        at, before = at + text.count(b"\n", before, found.start()), found.start()
        if _ANY_FORM.search(lines[at]):
            return -1
        if count > _MOST_STRANGE:
            break
    return count


def _property(text: bytes, path: bytes) -> str | None:
    """Say which property of a name that looks secret has a value, if one; `path`: the section of the first line."""
    if not may_hold_some(text) and not may_hold_some(text, b' "'):
        return None
    at = 0
    for _ in range(_MOST_EXEMPT):
        if (place := _PLACE.search(text, at)) is None:
            return None
        path = _path(text, at, place.start(), path)
        end = text.find(b"\n/", place.start())
        end = len(text) if end < 0 else end + 1
        if (found := _PLACES.get(path, _PLACE_ANYWHERE).search(text, place.start(), end)) is not None:
            return _named(text, found, path)
        at = end  # this menu is known for it
    return f"a secret may have {_CAME}: more menus that are exempt than there are"


def _named(text: bytes, found: re.Match[bytes], path: bytes) -> str:
    begin = max(text.rfind(b" ", 0, found.start()), text.rfind(b"\n", 0, found.start()))
    names = list(_PROPERTY.finditer(text, begin, found.end()))
    if names and names[-1].end() == found.end() and _MENU.fullmatch(path):
        return f"{names[-1][1].decode()} in {path.decode()} {_CAME}"
    return f"a secret {_CAME}"


def _path(text: bytes, begin: int, end: int, before: bytes) -> bytes:
    """Give the last section line between two places, which may be none."""
    at = text.rfind(b"\n/", begin, end)
    return before if at < 0 else text[at + 1 : text.index(b"\n", at + 1)]


def _places(menu: bytes) -> re.Pattern[bytes]:
    """Match the equal sign behind such a name, or the string (`"= x"`) that follows such a word."""
    return re.compile(rb'[="](?:(?<==)%b(?!%b)|%b)' % (ending(menu), _NOTHING, ending(menu, b' "')))


_PLACE_ANYWHERE: Final = _places(b"")
_PLACE: Final = _places(b"/zerotier")  # where nothing is exempt, and more than elsewhere is one
_PLACES: Final = {menu: _places(menu) for menu in MENUS}
