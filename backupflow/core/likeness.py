"""Which changes are of one sort, so that one line can tell them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from backupflow.core.changes import Action
from backupflow.core.tree import FLAG, UNSET

if TYPE_CHECKING:
    from collections.abc import Hashable

    from backupflow.core.changes import Change, Property
    from backupflow.core.driver import Grammar

FROM: Final = 4  # changes of one sort; fewer are told one by one
_MOST_READ: Final = 20_000  # edited rules of which it is known what they do; a firewall has a tenth of it
_MOST_RENAMES: Final = 1000  # that are looked for in what follows
_DEEDS: Final = ("action", "chain")
"""What a rule does and where: a rule that drops is never told among those that accept."""
OWN: Final = frozenset({"name", "comment"})
"""What never refers to another item by its name."""
_WORDS: Final = frozenset({FLAG, UNSET})


@dataclass(slots=True)
class Run:
    """What one line tells of: changes of one sort in one menu, or what is in `line`."""

    component: str
    count: int
    first: list[Change]
    """FROM of them at the most."""
    shared: list[Property]
    """Properties that are the same in all."""
    places: list[int] = field(default_factory=list)
    """Where those stand among all changes."""
    at_once: bool = True
    """Whether the router's log has the same time for all."""
    by_release: bool = False
    line: str = ""

    def add(self, change: Change, at: int) -> None:
        """Add another one, the so many-th of all changes."""
        self.count += 1
        if len(self.first) < FROM:
            self.first.append(change)
            self.places.append(at)
        self.at_once = self.at_once and change.made_at == self.first[0].made_at
        if self.shared:
            others = set(change.properties)
            self.shared = [one for one in self.shared if one in others]


class Likeness:
    """What makes changes one sort: the menu, what happened, to which properties, by whom, and what a rule does."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._left = _MOST_READ
        self._renames = set[tuple[str | None, str | None]]()

    def sort(self, change: Change, at: int) -> Hashable:
        """Give it; of what has words without a value, which may be secrets, each is a sort of its own."""
        for one in change.properties:
            if one.old in _WORDS or one.new in _WORDS:
                return at
        return (
            change.component,
            change.action,
            change.moved,
            change.was_in,
            change.by,
            change.old is None,
            change.new is None,
            tuple([(one.name, one.old is None, one.new is None) for one in change.properties]),
            tuple([one.new if one.old != "yes" else "no" for one in change.properties if one.name == "disabled"]),
            self._deeds(change),
            self._renamed(change),
        )

    def _renamed(self, change: Change) -> Hashable:
        """Give the new name that a change follows, if it does; names are defined before they are referred to."""
        if change.action is not Action.MODIFIED or len(change.properties) != 1:
            return None
        one = change.properties[0]
        if one.name == "name" and len(self._renames) < _MOST_RENAMES:
            self._renames.add((one.old, one.new))
        return (one.old, one.new) if one.name not in OWN and (one.old, one.new) in self._renames else None

    def _deeds(self, change: Change) -> Hashable:
        if change.at_old is None and change.at_new is None:
            return ()
        if change.action in {Action.ADDED, Action.REMOVED}:
            return tuple([(one.name, one.old, one.new) for one in change.properties if one.name in _DEEDS])
        self._left -= 1
        if self._left < 0:
            return None
        item = self._grammar.parsed(change.component, change.old or change.new or "")
        edited = tuple([(one.name, one.new) for one in change.properties if one.name in _DEEDS])
        return (*[item.properties.get(deed) for deed in _DEEDS], edited)
