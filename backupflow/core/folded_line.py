"""One line of many changes of one sort: what is the same for all is said once, and the first are called by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from backupflow.core.changes import Action
from backupflow.core.summary import made
from backupflow.core.wording import Values, called, clipped

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from backupflow.core.changes import Change, Property
    from backupflow.core.driver import Grammar
    from backupflow.core.likeness import Run

_NAMED: Final = 3  # items of a sort, and menus of the rest, that are called by their names
_LONGEST_NAME: Final = 80
LONGEST_MENU: Final = 80
_MOST_SHARED: Final = 6  # properties that are the same for all


@dataclass(frozen=True, slots=True)
class Folded:
    """One line of many changes."""

    run: Run
    grammar: Grammar
    reveal: bool

    def told(self) -> str:
        """Tell them."""
        first = self.run.first[0]
        menu = clipped(called(first.component, self.grammar, reveal=self.reveal), LONGEST_MENU)
        whole = first.action in {Action.ADDED, Action.REMOVED}
        return f"{menu}: {self._whole(first) if whole else self._edited(first)}{self._made(first)}"

    def _whole(self, first: Change) -> str:
        """Tell what came or went: how much of it, what all of it says, and the first names."""
        names, count = self._names(), f"{self.run.count:,}"
        values = Values(first.component, self.grammar, self.reveal)
        shared = [(one.name, one.old if one.new is None else one.new) for one in self.run.shared]
        inside = told = ""
        for name, value in shared:
            tail = f" in {values.said(name, value or '')}"
            if not inside and all(one.endswith(tail) for one in names):
                inside, told = tail, name
        if inside:
            names = [one.removesuffix(inside) for one in names]
            shared = [one for one in shared if one[0] != told]
        what = f"{count}{inside or ' items'} {first.action}"
        said = [values.one(name, value or "") for name, value in shared[:_MOST_SHARED]]
        return f"{what}{', all with ' if said else ''}{', '.join(said)}{self._listed(names)}"

    def _edited(self, first: Change) -> str:
        """Tell what differs now: once, if it is the same for all."""
        values = Values(first.component, self.grammar, self.reveal)
        shared = {one.name: one for one in self.run.shared}
        said = [
            values.difference(shared[one.name]) if one.name in shared else _verb(values, one, self.grammar)
            for one in first.properties
        ]
        if first.moved:
            said.append("moved")
        count, names = f"{self.run.count:,} items", self._listed(self._names())
        if not said:
            said = ["the order of their properties"]
        same = len(shared) == len(first.properties) and not first.moved
        return f"{', '.join(said)} on {count}{names}" if same else f"{count}: {', '.join(said)}{names}"

    def _names(self) -> list[str]:
        found = [
            self.grammar.name(one.component, self.grammar.parsed(one.component, one.old or one.new or ""))
            for one in self.run.first[:_NAMED]
        ]
        return [clipped(name, _LONGEST_NAME) for name in found]

    def _listed(self, names: Sequence[str]) -> str:
        return f" ({', '.join([name for name in names if name] + ['…'])})"

    def _made(self, first: Change) -> str:
        return made(first if self.run.at_once else replace(first, made_at=None))


def _verb(values: Values, one: Property, grammar: Grammar) -> str:
    """Tell that each item has another value, as of a secret that is another one."""
    verb = "set" if one.old is None else "removed" if one.new is None else "changed"
    hidden = " •••" if grammar.is_secret(values.component, one.name) else ""
    return f"{clipped(one.name, _LONGEST_NAME)}{hidden} {verb}"


def places(rest: Counter[str]) -> str:
    """Name the menus, in their order."""
    named = [f"{clipped(menu, LONGEST_MENU)} ({count:,})" for menu, count in list(rest.items())[:_NAMED]]
    others = list(rest.items())[_NAMED:]
    if others:
        menus = "1 other menu" if len(others) == 1 else f"{len(others):,} other menus"
        named.append(f"{menus} ({sum(count for _, count in others):,})")
    return ", ".join(named)
