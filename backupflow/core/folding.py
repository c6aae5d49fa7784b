"""Of many changes the few lines that are read: what is the same for many items is told once, and no menu is left out.

    ip/firewall/address-list: 10,000 in blk removed (10.0.0.1, 10.0.0.2, 10.0.0.3, …)
    ip/firewall/filter: drop rule in input removed: in-interface ether1
    … and 41 more in ip/dns/static (38), ip/route (3)

Only what is told is put into words, so the time is linear in the changes, and short.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from backupflow.core.changes import Action
from backupflow.core.folded_line import LONGEST_MENU, Folded, places
from backupflow.core.likeness import FROM, OWN, Likeness, Run
from backupflow.core.summary import made, plain, summary
from backupflow.core.told_change import LINES
from backupflow.core.tree import HEADER
from backupflow.core.upgrading import VERSION, Renamings, about, of_header, only_renamed, release
from backupflow.core.wording import Values, called, clipped

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    from backupflow.core.changes import Change, Property
    from backupflow.core.driver import Grammar
    from backupflow.core.upgrading import Release


_MOST_MENUS: Final = 400  # that may have a line; RouterOS has as many, and no router changes in all of them


@dataclass(frozen=True, slots=True)
class Few:
    """What is told, and what is not."""

    lines: tuple[str, ...]
    rest: str
    """How many changes are not told, and in which menus; empty: none."""


def few(changes: Iterable[Change], grammar: Grammar, *, reveal: bool = False, most: int = LINES) -> Few:
    """Tell all changes between two configurations in so many lines at the most; `reveal`: secrets too.

    In the order of `summary.told`. If there are more, each menu has one line before any has two, and so on; what a
    new version perhaps set itself comes after what a person did. Of the changes only what may be told is held.
    """
    folding = Folding(grammar, reveal=reveal, most=most)
    for change in changes:
        folding.add(change)
    return folding.few()


class Folding:
    """Changes that are to be told, added one by one, those of the header first (as `changes.changes` gives them)."""

    def __init__(self, grammar: Grammar, *, reveal: bool = False, most: int = LINES) -> None:
        """Begin with none; `reveal`: secrets too; `most`: lines."""
        self._grammar, self._reveal, self._most = grammar, reveal, most
        self._header: list[Change] = []
        self._release: Release | None = None
        self._renamings = Renamings()
        self._sorting = Likeness(grammar)
        self._runs: dict[Hashable, Run] = {}
        self._in_menu = Counter[tuple[str, bool]]()
        self._beyond = Counter[str]()
        self._added = 0

    def add(self, change: Change) -> None:
        """Add the next one."""
        self._added += 1
        if change.component == HEADER:
            if len(self._header) > self._most and about(change) != VERSION:
                self._beyond[HEADER] += 1
                return
            self._header.append(change)
            self._release = self._release or release([change])
            return
        self._renamings.add(change)
        if not only_renamed(change):
            self._sort(change)

    def _sort(self, change: Change) -> None:
        """Put it to its like; of a sort that begins behind more lines than there may be it is only counted."""
        by_release = self._release is not None and self._release.perhaps_set(change)
        sort = self._sorting.sort(change, self._added)
        change = change if change.was_in is None else plain(change)
        if sort in self._runs:
            self._runs[sort].add(change, self._added)
            return
        menu = (change.component, by_release)
        if self._in_menu[menu] >= self._most or (menu not in self._in_menu and len(self._in_menu) >= _MOST_MENUS):
            self._beyond[change.component] += 1
            return
        self._in_menu[menu] += 1
        shared = self._may_be_told(change)
        self._runs[sort] = Run(change.component, 1, [change], shared, [self._added], by_release=by_release)

    def _may_be_told(self, change: Change) -> list[Property]:
        """Give the properties without secrets: nor is it told that two have the same one."""
        return [one for one in change.properties if self._reveal or not self._is_hidden(change, one)]

    def _is_hidden(self, change: Change, one: Property) -> bool:
        shown = self._grammar.masked_value
        return one.name in change.secret or any(
            value is not None and shown(change.component, one.name, value) != value for value in (one.old, one.new)
        )

    def few(self) -> Few:
        """Tell them."""
        runs = [*self._said(), *self._in_order()]
        shown = _chosen(runs, self._most)
        beyond = Counter[str]()
        for at, run in enumerate(runs):
            if at not in shown and run.count:
                beyond[run.component] += run.count
        beyond.update(self._beyond)
        rest = Counter[str]()
        for component, count in beyond.items():
            rest[called(component, self._grammar, reveal=self._reveal)] += count
        lines = tuple(self._line(runs[at]) for at in sorted(shown))
        return Few(lines, f"{rest.total():,} more in {places(rest)}" if rest.total() else "")

    def _said(self) -> Iterator[Run]:
        """What concerns the router: its header, and menus that have other names now."""
        yield from (Run(HEADER, 1, [change], []) for change in of_header(self._header))
        for component, count, line in self._renamings.told(self._release, self._grammar, reveal=self._reveal):
            yield Run(component, count, [], [], line=line)

    def _in_order(self) -> list[Run]:
        """Give the runs, each where its first change stands; those of few changes one by one."""
        found = [run for run in self._runs.values() if run.count >= FROM]
        found += [
            Run(run.component, 1, [change], [], [at], by_release=run.by_release)
            for run in self._runs.values()
            if run.count < FROM
            for at, change in zip(run.places, run.first, strict=True)
        ]
        return sorted(self._with_references(found), key=lambda run: (run.by_release, run.places[0]))

    def _with_references(self, runs: list[Run]) -> list[Run]:
        """Put what only follows a new name to it, if there is much of it."""
        renamed = dict[tuple[str, str], Run | None]()
        for run in runs:
            if run.count == 1 and (one := self._only(run)) is not None and one[0] == "name":
                renamed[one[1:]] = None if one[1:] in renamed else run  # two: nobody knows whose name it is
        following = dict[tuple[str, str], list[Run]]()
        for run in runs:
            one = self._only(run)
            if one is not None and one[0] not in OWN and renamed.get(one[1:]):
                following.setdefault(one[1:], []).append(run)
        gone = set[int]()
        for pair, references in following.items():
            renaming, count = renamed[pair], sum(run.count for run in references)
            if renaming is not None and count >= FROM:
                renaming.line = self._renaming(renaming.first[0], references)
                renaming.count += count
                gone.update(id(run) for run in references)
        return [run for run in runs if id(run) not in gone]

    def _only(self, run: Run) -> tuple[str, str, str] | None:
        """Give the property in which all changed, from one value to one other, and in nothing else."""
        change = run.first[0]
        if change.action is not Action.MODIFIED or len(change.properties) != 1 or change.moved:
            return None
        one = change.properties[0]
        if one.old is None or one.new is None or (run.count > 1 and not run.shared) or not self._may_be_told(change):
            return None
        return one.name, one.old, one.new

    def _renaming(self, change: Change, references: Sequence[Run]) -> str:
        one, menus = change.properties[0], Counter[str]()
        for run in references:
            menus[called(run.component, self._grammar, reveal=self._reveal)] += run.count
        values = Values(change.component, self._grammar, self._reveal)
        menu = clipped(called(change.component, self._grammar, reveal=self._reveal), LONGEST_MENU)
        names = f"{values.said(one.name, one.old or '')} renamed to {values.said(one.name, one.new or '')}"
        return f"{menu}: {names} ({menus.total():,} references follow in {places(menus)}){made(change)}"

    def _line(self, run: Run) -> str:
        if run.line:
            return run.line
        if run.count == 1:
            line = summary(run.first[0], self._grammar, reveal=self._reveal)
        else:
            line = Folded(run, self._grammar, self._reveal).told()
        return f"{line}{self._release.caution}" if self._release and run.by_release else line


def _chosen(runs: Sequence[Run], most: int) -> set[int]:
    """Choose which lines are told: menu by menu, one of each, then the next of each."""
    if len(runs) <= most:
        return set(range(len(runs)))
    told = Counter[str]()
    ranked = list[tuple[bool, int, bool, int]]()
    for at, run in enumerate(runs):
        turn = told[run.component]
        told[run.component] += 1
        ranked.append((turn > 0 and run.by_release, turn, run.by_release, at))
    return {at for _, _, _, at in sorted(ranked)[:most]}
