"""The grammar of RouterOS: a normal form as a tree of menus and items, and what tells items from one another."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from backupflow.core.tree import FLAG, HEADER, UNSET, Parsed
from backupflow.drivers.routeros.lexer import encode, printable, tokens
from backupflow.drivers.routeros.menus import ORDERED, aliases, defaults, identities, lineage
from backupflow.drivers.routeros.noise import header_property, header_version
from backupflow.drivers.routeros.pieces import AS_WRITTEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from backupflow.core.model import NormalConfig
    from backupflow.core.tree import Tree
    from backupflow.drivers.routeros.lexer import Token
    from backupflow.drivers.routeros.menus import Names

TEXT: Final = "text"
"""The component of a text that is no configuration: one item, nobody can say more of it. No menu is called so."""
_MOST_TOKENS: Final = 2000  # of one item; real ones have up to some fifty
_SHORT: Final = 4096  # characters; the quick way takes memory in proportion to a value's escapes
# In a normal form, where values are canonical and one blank stands between two of them.
_PAIRS: Final = re.compile(r'(?:(?<= )|\A)([A-Za-z0-9._-]+)=("[^"\\]*(?:\\.[^"\\]*)*"|[^ "\\\[\]]+)(?= |\Z)')
_VERB: Final = re.compile(rb"[a-z]++")
_LICENCE: Final = ("software id", "system id")  # one question, asked in two ways


def tree(normal: NormalConfig) -> Tree:
    """Split a normal form into menus; lines that stand before the first one are the header's."""
    if normal.startswith(AS_WRITTEN):
        return {TEXT: [normal.decode("ascii", "backslashreplace")]}
    first, *parts = ("\n" + normal.decode("ascii", "backslashreplace")).removesuffix("\n").split("\n/")
    found: dict[str, list[str]] = {HEADER: lines} if (lines := first.split("\n")[1:]) else {}
    for part in parts:
        path, *items = part.split("\n")
        if items:
            found.setdefault(path.replace(" ", "/"), []).extend(items)
    return found


def parsed(component: str, text: str) -> Parsed:
    """Read an item of a menu, or a line of the header."""
    if len(text) <= _SHORT and component not in {HEADER, TEXT} and (plain := _plain(text)) is not None:
        return plain
    raw = text.encode("ascii", "backslashreplace")
    if component == HEADER and text.startswith("#"):
        return _header(raw, text)
    verb = _VERB.match(raw)
    read = tokens(raw[verb.end() :]) if verb and component != TEXT else None
    some = [*islice(read or (), _MOST_TOKENS + 1)]
    if verb is None or read is None or len(some) > _MOST_TOKENS:
        return Parsed("", None, (), {"": text})
    selector, words, properties = _sorted_out(verb[0], some)
    return Parsed(verb[0].decode(), selector, tuple(words), properties)


def adjusts(component: str, item: Parsed) -> bool:
    """Tell whether an item only adjusts what is there anyway: `set`, and what the header says."""
    return item.verb == "set" or _header_name(component, item) is not None


@lru_cache(maxsize=10_000)
def is_ordered(component: str) -> bool:
    """Tell whether a menu's items are looked at from the first to the last."""
    return lineage(component) in ORDERED


def identity(component: str, item: Parsed) -> tuple[str, ...] | None:
    """Give what stays the same when an item is edited; None: nothing is sure to."""
    if (name := _header_name(component, item)) is not None:
        return ("licence",) if name in _LICENCE else (name,)
    if item.selector is not None or item.verb == "set":
        return ("selector", item.selector or "")
    return _first(identities(component), {**defaults(component), **item.properties})


def alias(component: str, item: Parsed) -> tuple[str, ...] | None:
    """Give what an item is known by if its identity was edited."""
    return _first(aliases(component), item.properties)


def _first(choice: Names, properties: Mapping[str, str]) -> tuple[str, ...] | None:
    for names in choice:
        if all(name in properties for name in names):
            return tuple(part for name in names for part in (name, properties[name]))
    return None


def _plain(text: str) -> Parsed | None:
    """Read an item of a verb and properties with values, each of another name, which nearly all are; None: another."""
    verb, _, rest = text.partition(" ")
    found = _PAIRS.findall(rest)
    properties = dict(found)
    whole = sum(map(len, chain.from_iterable(found))) + 2 * len(found) - 1
    if whole != len(rest) or len(properties) != len(found) or not _VERB.fullmatch(verb.encode()):
        return None
    return Parsed(verb, None, (), properties)


def _header_name(component: str, item: Parsed) -> str | None:
    """Give what a header line says something of; None for all else."""
    return next(iter(item.properties), None) or None if component == HEADER and not item.verb else None


def _header(raw: bytes, text: str) -> Parsed:
    version = header_version(raw)
    if version is not None:
        return Parsed("", None, (), {"version": version.decode("ascii") or '""'})
    named = header_property(raw)
    if named is None:
        return Parsed("", None, (), {"": text})
    return Parsed("", None, (), {named[0].decode("ascii"): named[1].decode("ascii") or '""'})


def _sorted_out(verb: bytes, read: list[Token]) -> tuple[str | None, list[str], dict[str, str]]:
    """Give the selector, the words and the properties of an item."""
    selector: str | None = None
    words: list[str] = []
    named: list[tuple[str, str]] = []
    for word, value in _joined(read):
        if value is not None:
            named.append((word, value))
        elif selector is None and not words and not named and (verb != b"add" or word.startswith("[")):
            selector = word
        else:
            words.append(word)
            unset = word.startswith("!") and len(word) > 1
            named.append((word[1:], UNSET) if unset else (word, FLAG))
    return selector, words, _numbered(named)


def _joined(read: Iterable[Token]) -> Iterator[tuple[str, str | None]]:
    """Give properties with their spelled values, words without one; brackets and what they enclose are one word."""
    depth, inside = 0, list[str]()
    for key, value in read:
        word = printable(key or b"").decode("ascii")
        spelled = encode(value).decode("ascii") if value is not None else None
        if value is None or depth:
            depth += {"[": 1, "]": -1}.get(word if value is None else "", 0)
            inside.append(word if spelled is None else spelled if key is None else f"{word}={spelled}")
            if depth <= 0:
                yield " ".join(inside), None
                depth, inside = 0, []
        elif key is None:
            yield spelled or "", None
        else:
            yield word, spelled
    if inside:
        yield " ".join(inside), None


def _numbered(named: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Keep every property: from the second one of a name on under another name."""
    properties: dict[str, str] = {}
    times = Counter[str]()
    for name, value in named:
        times[name] += 1
        properties[name if times[name] == 1 else f"{name} ({times[name]})"] = value
    return properties
