"""What changed between two trees, as few changes as can be, each as a person would tell it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from enum import StrEnum
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from backupflow.core.pairing import Reader, compared

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from backupflow.core.driver import Grammar
    from backupflow.core.pairing import Comparison
    from backupflow.core.tree import Tree

MOST_CHANGES: Final = 200_000
"""More are not told: the largest configuration known would give half of it if every line of it were another."""


class TooManyChanges(ValueError):
    """There are more changes between two texts than anybody could read."""


class Action(StrEnum):
    """What happened to an item."""

    ADDED = "added"
    REMOVED = "removed"
    MODIFIED = "modified"  # also where an item that adjusts what is there anyway came (no `old`) or went (no `new`)
    MOVED = "moved"  # and nothing else


@dataclass(frozen=True, slots=True)
class Property:
    """A property of an item, before and after, as the normal form spells it; None: it was not there."""

    name: str
    old: str | None = field(repr=False)
    new: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that happened to one item."""

    component: str
    action: Action
    properties: tuple[Property, ...]
    """What differs, sorted by name; of what was added or removed all of it. Empty: only their order, or a move."""
    old: str | None = field(repr=False)
    """The item's text before; None: it was not there."""
    new: str | None = field(repr=False)
    """The item's text after; None: it is there no more."""
    at_old: int | None = None
    """Where it stood among the items of its component, from 0; None where order has no meaning, or it was not there."""
    at_new: int | None = None
    """Where it stands now."""
    moved: bool = False
    """Whether it stands elsewhere among the others, or in another component; always of `MOVED`."""
    secret: frozenset[str] = frozenset()
    """The names of those properties that hold secrets."""
    ignored: bool = False
    """Whether the owner asked not to be told of it."""
    was_in: str | None = None
    """The name that the component had before, if this version of the router calls it otherwise."""
    before: str | None = None
    """What the item that now follows it is called (`Grammar.name`), of what was added or moved where order has a
    meaning; None: nothing follows.
    """
    by: str | None = None
    """The router's user who probably made it, as the router's own log has it; None: nobody knows. See core.who."""
    made_at: datetime | None = None
    """When, in UTC; reckoned from the router's own clock."""


def changes(old: Tree, new: Tree, grammar: Grammar) -> tuple[Change, ...]:
    """Give what turns the old tree into the new one; raises TooManyChanges.

    Components come in the order of the new tree, then those that are gone; what changed in one comes in its order.
    """
    if len(old.keys() ^ new.keys()) > 2 * MOST_CHANGES:  # perhaps renamed, each with an item at least
        raise TooManyChanges
    found: list[Change] = []
    reader = Reader(grammar)
    for was, component in _components(old, new, grammar):
        before, after = old.get(was, ()), new.get(component, ())
        if was == component and before == after:
            continue
        left = MOST_CHANGES - len(found)
        comparison = compared((was, component), before, after, reader, left)
        if comparison is None or comparison.size > left:
            raise TooManyChanges
        telling = _Telling(was, component, before, after, comparison, grammar)
        found += telling.changes()
    return tuple(found)


def _components(old: Tree, new: Tree, grammar: Grammar) -> Iterator[tuple[str, str]]:
    """Give each component with the name that it had before: another one if the version in between renamed it."""
    gone, come = _by_lineage(old, new, grammar), _by_lineage(new, old, grammar)
    was = {come[line][0]: gone[line][0] for line in come if len(come[line]) == len(gone.get(line, ())) == 1}
    for component in new:
        yield was.get(component, component), component
    left = set(was.values())
    yield from ((component, component) for component in old if component not in new and component not in left)


def _by_lineage(one: Tree, other: Tree, grammar: Grammar) -> dict[str, list[str]]:
    """Give the components that only one tree has."""
    found: dict[str, list[str]] = {}
    for component in one:
        if component not in other:
            found.setdefault(grammar.lineage(component), []).append(component)
    return found


@dataclass(frozen=True, slots=True)
class _Telling:
    """How the changes of one component are told."""

    was: str
    component: str
    old: Sequence[str]
    new: Sequence[str]
    made: Comparison
    grammar: Grammar

    def changes(self) -> list[Change]:
        """Give them in the order in which a reader of both texts would meet them."""
        found = [*self._paired(), *self._gone(), *self._come()]
        return [change for _, change in sorted(found, key=itemgetter(0))]

    def _paired(self) -> Iterator[tuple[tuple[int, ...], Change]]:
        renamed = self.was != self.component
        for i, j in self.made.modified:
            properties = _differing(self.made.old[i].properties, self.made.new[j].properties)
            moved = renamed or (i, j) in self.made.displaced
            yield (j, 0), self._change(Action.MODIFIED, properties, i, j, moved=moved)
        for i, j in [*self.made.moved, *(self._stayed() if renamed else ())]:
            yield (j, 0), self._change(Action.MOVED, (), i, j, moved=True)

    def _stayed(self) -> Iterator[tuple[int, int]]:
        yield from ((at, at) for at in range(self.made.begin))
        yield from self.made.kept
        yield from ((len(self.old) - at, len(self.new) - at) for at in range(1, self.made.end + 1))

    def _gone(self) -> Iterator[tuple[tuple[int, ...], Change]]:
        if not self.made.removed:
            return
        anchors = sorted([*self.made.kept, *(pair for pair in self.made.modified if pair not in self.made.displaced)])
        olds = [i for i, _ in anchors]
        for i in self.made.removed:
            before = bisect_left(olds, i)
            place = anchors[before - 1][1] if before else self.made.begin - 1
            item = self.made.old[i]
            action = Action.MODIFIED if self.grammar.adjusts(self.was, item) else Action.REMOVED
            yield (place, 1, i), self._change(action, _gone(item.properties), i, None)

    def _come(self) -> Iterator[tuple[tuple[int, ...], Change]]:
        for j in self.made.added:
            item = self.made.new[j]
            action = Action.MODIFIED if self.grammar.adjusts(self.component, item) else Action.ADDED
            yield (j, 0), self._change(action, _come(item.properties), None, j)

    def _change(
        self, action: Action, properties: tuple[Property, ...], i: int | None, j: int | None, *, moved: bool = False
    ) -> Change:
        ordered = self.grammar.is_ordered(self.component)
        return Change(
            self.component,
            action,
            properties,
            None if i is None else self.old[i],
            None if j is None else self.new[j],
            i if ordered else None,
            j if ordered else None,
            moved,
            frozenset(each.name for each in properties if self.grammar.is_secret(self.component, each.name)),
            was_in=None if self.was == self.component else self.was,
            before=self._following(j) if ordered and (moved or i is None) else None,
        )

    def _following(self, j: int | None) -> str | None:
        if j is None or j + 1 >= len(self.new) or self.was != self.component:
            return None
        return self.grammar.name(self.component, self.grammar.parsed(self.component, self.new[j + 1]))


def _differing(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Property, ...]:
    return tuple(
        Property(name, old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )


def _gone(properties: Mapping[str, str]) -> tuple[Property, ...]:
    return tuple([Property(name, properties[name], None) for name in sorted(properties)])


def _come(properties: Mapping[str, str]) -> tuple[Property, ...]:
    return tuple([Property(name, None, properties[name]) for name in sorted(properties)])
