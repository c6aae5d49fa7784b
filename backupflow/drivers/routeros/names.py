"""What items are called when a person speaks of them, such as `accept rule "allow winbox"`; never with a secret."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from backupflow.core.tree import FLAG, HEADER, UNSET
from backupflow.core.wording import clipped
from backupflow.drivers.routeros.masking import masked_value, masked_words
from backupflow.drivers.routeros.menus import ORDERED, lineage
from backupflow.drivers.routeros.nouns import ANY, NOUNS, REMARKED, WAYS
from backupflow.drivers.routeros.secrets import is_secret
from backupflow.drivers.routeros.shown import shown

if TYPE_CHECKING:
    from backupflow.core.tree import Parsed

LONGEST: Final = 80  # characters
_LONGEST_VALUE: Final = 40
_MOST_MATCHERS: Final = 3
_DEFAULT_ROUTES: Final = ("0.0.0.0/0", "::/0")
# What a rule does with a packet, and what only describes it, does not tell it from its neighbours.
_NO_MATCHERS: Final = frozenset({"action", "chain", "comment", "disabled", "log", "log-prefix", "passthrough"})
_CHAINS: Final = frozenset({"input", "forward", "output"})  # of which `accept` is what a rule does unless it says so
_HEADER: Final = {"version": "RouterOS"}
_SELECTED: Final = re.compile(r'\[ find (?:default-name|name|default)=([^ "]+|"(?:[^"\\]|\\.)*") \]')


_PLACES: Final = re.compile(r"\{([a-z-]+)\}")


def name(component: str, item: Parsed, *, brief: bool = False) -> str:
    """Call an item as a person would, in at most `LONGEST` characters; empty: it is the menu itself.

    `brief`: its properties are told beside, so what it is and where is enough.
    """
    if component == HEADER:
        said = next(iter(item.properties), "")
        return _HEADER.get(said, said)
    if "" in item.properties:
        return "a line that cannot be read"
    menu = lineage(component)
    noun = NOUNS.get(menu) or ("rule" if menu in ORDERED else "")
    if item.verb != "add":
        return clipped(_selected(component, noun, item), LONGEST)
    if menu in ORDERED and "chain" in item.properties:
        return clipped(_rule(component, item, brief=brief), LONGEST if brief else 2 * LONGEST)
    return clipped(_by_ways(component, menu, item) or _plain(component, menu, noun, item), LONGEST)


def named_by(component: str, item: Parsed) -> frozenset[str]:
    """Give the properties that the brief name of an item says already."""
    menu = lineage(component)
    if item.verb != "add":
        return frozenset()
    if menu in ORDERED and "chain" in item.properties:
        return frozenset({"action", "comment"}) if "comment" in item.properties else frozenset({"action", "chain"})
    return frozenset(_taken(component, menu, item))


def _selected(component: str, noun: str, item: Parsed) -> str:
    if item.selector is None:
        return noun if item.verb != "set" else ""
    if item.selector == "[ find default=yes ]":
        return f"default {noun}".rstrip()
    words = masked_words(component, item.selector)
    found = _SELECTED.fullmatch(words)
    called = shown(found[1] if found else words)
    return f"{noun} {_quoted(called)}" if noun else called


def _rule(component: str, item: Parsed, *, brief: bool) -> str:
    action = item.properties.get("action", "accept" if item.properties["chain"] in _CHAINS else "")
    kind = f"{action} rule".lstrip()
    if "comment" in item.properties:
        return f"{kind} {_quoted(_value(component, item, 'comment'))}"
    kind += f" in {_value(component, item, 'chain')}"
    matchers = [key for key in item.properties if key not in _NO_MATCHERS and not key.startswith(("to-", "new-"))]
    if brief or not matchers:
        return kind
    return f"{kind} ({', '.join(_said(component, item, key) for key in matchers[:_MOST_MATCHERS])})"


def _by_ways(component: str, menu: str, item: Parsed) -> str:
    for way in WAYS.get(menu, ()):
        if all(key in item.properties for key in _PLACES.findall(way)):
            called = _PLACES.sub(lambda found: _spoken(component, item, found[1]), way)
            return f"{called}{_remark(component, menu, item)}"
    return ""


def _plain(component: str, menu: str, noun: str, item: Parsed) -> str:
    if noun == "route":
        to = item.properties.get("dst-address", _DEFAULT_ROUTES[0])
        called = "default route" if to in _DEFAULT_ROUTES else f"route to {_value(component, item, 'dst-address')}"
        return called + _remark(component, menu, item)
    key = _key(component, item)
    if key is None:
        return noun or "item"
    value = _value(component, item, key)
    if key == "comment":
        return f"{noun or 'item'} {_quoted(value)}"
    return f"{noun} {_quoted(value) if key == 'name' else value}" if noun else value


def _taken(component: str, menu: str, item: Parsed) -> tuple[str, ...]:
    remark = ("comment",) if menu in REMARKED else ()
    for way in WAYS.get(menu, ()):
        keys = tuple(_PLACES.findall(way))
        if all(key in item.properties for key in keys):
            return keys + remark
    if NOUNS.get(menu) == "route":
        return ("dst-address", *remark)
    key = _key(component, item)
    return () if key is None else (key,)


def _key(component: str, item: Parsed) -> str | None:
    """Give the property that an item is called by: its name, else what its owner wrote, else where it is."""
    keys = ("name", "comment", *ANY) if not is_secret(component, "name") else ("comment",)
    return next((key for key in keys if item.properties.get(key) not in {None, FLAG, UNSET, '""'}), None)


def _remark(component: str, menu: str, item: Parsed) -> str:
    if menu not in REMARKED or "comment" not in item.properties:
        return ""
    return f" {_quoted(_value(component, item, 'comment'))}"


def _spoken(component: str, item: Parsed, key: str) -> str:
    value = _value(component, item, key)
    return _quoted(value) if key == "comment" else value


def _said(component: str, item: Parsed, key: str) -> str:
    return f"{key} {_value(component, item, key)}".rstrip()


def _value(component: str, item: Parsed, key: str) -> str:
    return clipped(shown(masked_value(component, key, item.properties[key])), _LONGEST_VALUE)


def _quoted(value: str) -> str:
    return value if value.startswith('"') else f'"{value}"'
