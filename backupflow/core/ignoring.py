"""What an owner does not want to be told of: rules over changes, and which rules might be wanted.

A rule hides a change only if it covers all of it. What comes or goes is more than one property: `*` covers it. But a
menu's own settings (`set`) stand in an export only where they differ from the defaults: that one comes or goes is a
change of its properties.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from backupflow.core.changes import Action
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from backupflow.core.changes import Change
    from backupflow.core.driver import Grammar
    from backupflow.core.model import DeviceId, Pepper, SealedSecret, Seq, TenantId
    from backupflow.core.tree import Parsed

ANY: Final = "*"
LOOKED_AT: Final = 10  # observations
OFTEN: Final = 8  # of them: an item that changed in so many is noise
MOST_TOUCHED: Final = 500  # items of one change of a device that are remembered
_MANY_ITEMS: Final = 3  # with the same property: it is the property that changes
_KEY_BYTES: Final = 12
_COMPONENT: Final = re.compile(r"[a-z0-9][a-z0-9./_-]{0,199}")
_PROPERTY: Final = re.compile(r"\*|[a-z0-9][A-Za-z0-9._-]{0,99}")
_LONGEST_IDENTITY: Final = 200  # characters


@dataclass(frozen=True, slots=True)
class Rule:
    """What is not told: a property of a component's items (`*`: any, and that they come, go and move).

    `identity` is a pattern with `*` and `?` for what an item is called; None: whatever it is.
    """

    component: str
    property: str
    identity: str | None = None

    def __str__(self) -> str:
        return f"{self.component}:{self.property}" + ("" if self.identity is None else f", {self.identity}")


@dataclass(frozen=True, slots=True)
class Place:
    """For whom a rule is: the device or the group of that name, or neither: the whole tenant."""

    device: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class StandingRule:
    """A rule, for which device or group, if for one, and who added it when."""

    rule: Rule
    device: str | None
    group: str | None
    added_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Noisy:
    """The sealed changes of one observation, the keys of those that came nearly every time, and what is ignored there.

    `changes_sealed` is what the row has: whether that is a sealed text is to be checked.
    """

    tenant_id: TenantId
    device_id: DeviceId
    device_name: str
    driver: str
    seq: Seq
    after_seq: Seq
    changes_sealed: str = field(repr=False)
    sealed_pepper: SealedSecret
    keys: frozenset[str]
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Touch:
    """What a change touched: a property of an item (`*`: it came, went or moved); without identity: of whichever."""

    component: str
    property: str
    identity: str | None

    def key(self, pepper: Pepper) -> str:
        """A keyed hash: what can be counted at rest without saying what it is."""
        words = (self.component, self.property, *(() if self.identity is None else (self.identity,)))
        text = b"touched\0" + "\0".join(words).encode()
        return hmac.digest(pepper, text, hashlib.sha256)[:_KEY_BYTES].hex()

    def rule(self) -> Rule:
        """What would hide it."""
        return Rule(self.component, self.property, self.identity or None)


def rule(text: str) -> Rule:
    """Read `component:property[, identity pattern]`, such as `system/note:note`; InputInvalid says what is wrong."""
    what, comma, identity = text.partition(",")
    component, colon, name = what.strip().partition(":")
    component, identity = component.strip().strip("/").replace(" ", "/"), identity.strip()
    if not colon:
        raise InputInvalid("a rule is component:property, such as system/note:note; * is any property")
    if not _COMPONENT.fullmatch(component):
        raise InputInvalid("a component is a menu's path, such as ip/firewall/filter")
    if not _PROPERTY.fullmatch(name.strip()):
        raise InputInvalid("a property is a word such as comment, or * for any")
    if comma and (not identity or len(identity) > _LONGEST_IDENTITY or not identity.isprintable()):
        raise InputInvalid("after the comma stands a pattern for the item, such as ether1 or vpn-*")
    return Rule(component, name.strip(), identity or None)


def with_ignored(done: Iterable[Change], rules: Sequence[Rule], grammar: Grammar) -> tuple[Change, ...]:
    """The same changes, each with whether these rules hide it; what it said of that before counts no more."""
    by_component: dict[str, list[Rule]] = {}
    for one in rules:
        by_component.setdefault(one.component, []).append(one)
    return tuple(
        change if change.ignored == hidden else replace(change, ignored=hidden)
        for change in done
        for hidden in (_is_hidden(change, by_component.get(change.component, ()), grammar),)
    )


def touched(done: Iterable[Change], grammar: Grammar, pepper: Pepper) -> list[str]:
    """The keys of what these changes touched and no rule hides, sorted; of bounded number."""
    found = {touch.key(pepper) for change in done if not change.ignored for touch in touches(change, grammar)}
    return sorted(found)[:MOST_TOUCHED]


def touches(change: Change, grammar: Grammar) -> Iterator[Touch]:
    """What a change touched, in words; names of items come from a router."""
    if not grammar.is_menu(change.component):
        return
    item = _items(change, grammar)[-1]
    identity = _called(change.component, item, grammar)
    if _is_of_settings(change, item, grammar) and not change.moved:
        masked = grammar.masked_names(change.component, _items(change, grammar))
        for name in dict.fromkeys(ANY if one.name in masked else one.name for one in change.properties):
            yield Touch(change.component, name, identity)
    else:
        yield Touch(change.component, ANY, identity)
        if change.action in {Action.ADDED, Action.REMOVED}:  # another one each time has another name
            yield Touch(change.component, ANY, None)


def often(runs: Sequence[Iterable[str]]) -> frozenset[str]:
    """The keys of what was touched in nearly all of the last runs; none while there are too few.

    `runs` are the newest observations, the newest first, each with the keys of what it touched: none, if it was equal.
    """
    if len(runs) < LOOKED_AT:
        return frozenset()
    counted = Counter(key for run in runs[:LOOKED_AT] for key in set(run))
    return frozenset(key for key, count in counted.items() if count >= OFTEN)


def suggested(done: Iterable[Change], keys: frozenset[str], grammar: Grammar, pepper: Pepper) -> list[Rule]:
    """Rules that would hide what of these changes is among the keys of `often`, the fewest; by component."""
    found = {touch for change in done for touch in touches(change, grammar) if touch.key(pepper) in keys}
    whole = {touch.component for touch in found if touch.identity is None}
    left = [touch for touch in found if touch.property != ANY or touch.component not in whole]
    many = Counter((touch.component, touch.property) for touch in left)
    rules = {Rule(component, ANY) for component in whole}
    for touch in left:
        several = many[touch.component, touch.property] >= _MANY_ITEMS
        rules.add(Rule(touch.component, touch.property) if several else touch.rule())
    return sorted(rules, key=str)


def _is_hidden(change: Change, rules: Sequence[Rule], grammar: Grammar) -> bool:
    if not rules:
        return False
    items = _items(change, grammar)
    meant = [one for one in rules if one.identity is None or _is_called(change.component, items, one.identity, grammar)]
    covered = {one.property for one in meant}
    if ANY in covered:
        return True
    if change.moved or not _is_of_settings(change, items[-1], grammar) or not change.properties:
        return False
    return all(one.name in covered for one in change.properties)


def _is_of_settings(change: Change, item: Parsed, grammar: Grammar) -> bool:
    """Whether it is told by its properties: it was modified, or only adjusts what is there anyway."""
    return change.action is Action.MODIFIED or (
        change.action is not Action.MOVED and grammar.adjusts(change.component, item)
    )


def _items(change: Change, grammar: Grammar) -> list[Parsed]:
    """What the change is of, before and after; one at least."""
    texts = dict.fromkeys(text for text in (change.old, change.new) if text is not None)
    return [grammar.parsed(change.component, text) for text in texts or ("",)]


def _called(component: str, item: Parsed, grammar: Grammar) -> str:
    """What tells it from the others of its menu, as somebody would write it; empty: nothing does, or a secret."""
    return " ".join(_words(component, item, grammar))[:_LONGEST_IDENTITY]


def _words(component: str, item: Parsed, grammar: Grammar) -> list[str]:
    found = grammar.identity(component, item) or ()
    if item.selector is not None:
        return [grammar.name(component, item)]
    pairs = zip(found[::2], found[1::2], strict=False)
    return [
        _bare(grammar.masked_value(component, name, value))
        for name, value in pairs
        if value and not grammar.is_secret(component, name)
    ]


def _is_called(component: str, items: Iterable[Parsed], pattern: str, grammar: Grammar) -> bool:
    wanted = pattern.replace("[", "[[]")  # has no meaning of its own here
    return any(fnmatchcase(name, wanted) for item in items for name in _names(component, item, grammar))


def _names(component: str, item: Parsed, grammar: Grammar) -> Iterator[str]:
    """All that somebody may call it."""
    yield _called(component, item, grammar)
    yield grammar.name(component, item)
    yield from _words(component, item, grammar)


def _bare(word: str) -> str:
    """Without the quotes of the normal form."""
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] == '"' else word
