"""Of many changes the few lines that are read: what is the same for many items is told once, and no menu is left out.

    ip/firewall/address-list: 10,000 in blk removed (10.0.0.1, 10.0.0.2, 10.0.0.3, …)
    ip/firewall/filter: drop rule in input removed: in-interface ether1
    … and 41 more in ip/dns/static (38), ip/route (3)

Only what is told is put into words, so the time is linear in the changes, and short.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from backupflow.core.changes import Action
from backupflow.core.summary import made, plain, summary
from backupflow.core.telling import Values, called, clipped
from backupflow.core.told_change import LINES
from backupflow.core.tree import FLAG, HEADER, UNSET
from backupflow.core.upgrading import VERSION, Renamings, about, of_header, only_renamed, release

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    from backupflow.core.changes import Change, Property
    from backupflow.core.driver import Grammar
    from backupflow.core.upgrading import Release

FROM: Final = 4  # changes of one sort; fewer are told one by one
_NAMED: Final = 3  # items of a sort, and menus of the rest, that are called by their names
_LONGEST_NAME: Final = 80
_LONGEST_MENU: Final = 80
_MOST_SHARED: Final = 6  # properties that are the same for all
_MOST_READ: Final = 20_000  # edited rules of which it is known what they do; a firewall has a tenth of it
_MOST_RENAMES: Final = 1000  # that are looked for in what follows
_DEEDS: Final = ("action", "chain")
"""What a rule does and where: a rule that drops is never told among those that accept."""
_OWN: Final = frozenset({"name", "comment"})
"""What never refers to another item by its name."""
_WORDS: Final = frozenset({FLAG, UNSET})


@dataclass(frozen=True, slots=True)
class Few:
    """What is told, and what is not."""

    lines: tuple[str, ...]
    rest: str
    """How many changes are not told, and in which menus; empty: none."""


@dataclass(slots=True)
class _Run:
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
        self.count += 1
        if len(self.first) < FROM:
            self.first.append(change)
            self.places.append(at)
        self.at_once = self.at_once and change.made_at == self.first[0].made_at
        if self.shared:
            others = set(change.properties)
            self.shared = [one for one in self.shared if one in others]


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
        self._sorting = _Sorting(grammar)
        self._runs: dict[Hashable, _Run] = {}
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
        if self._in_menu[menu] >= self._most:
            self._beyond[change.component] += 1
            return
        self._in_menu[menu] += 1
        shared = self._may_be_told(change)
        self._runs[sort] = _Run(change.component, 1, [change], shared, [self._added], by_release=by_release)

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
        return Few(lines, f"{rest.total():,} more in {_places(rest)}" if rest.total() else "")

    def _said(self) -> Iterator[_Run]:
        """What concerns the router: its header, and menus that have other names now."""
        yield from (_Run(HEADER, 1, [change], []) for change in of_header(self._header))
        for component, count, line in self._renamings.told(self._release):
            yield _Run(component, count, [], [], line=line)

    def _in_order(self) -> list[_Run]:
        """Give the runs, each where its first change stands; those of few changes one by one."""
        found = [run for run in self._runs.values() if run.count >= FROM]
        found += [
            _Run(run.component, 1, [change], [], [at], by_release=run.by_release)
            for run in self._runs.values()
            if run.count < FROM
            for at, change in zip(run.places, run.first, strict=True)
        ]
        return sorted(self._with_references(found), key=lambda run: (run.by_release, run.places[0]))

    def _with_references(self, runs: list[_Run]) -> list[_Run]:
        """Put what only follows a new name to it, if there is much of it."""
        renamed = dict[tuple[str, str], _Run | None]()
        for run in runs:
            if run.count == 1 and (one := self._only(run)) is not None and one[0] == "name":
                renamed[one[1:]] = None if one[1:] in renamed else run  # two: nobody knows whose name it is
        following = dict[tuple[str, str], list[_Run]]()
        for run in runs:
            one = self._only(run)
            if one is not None and one[0] not in _OWN and renamed.get(one[1:]):
                following.setdefault(one[1:], []).append(run)
        gone = set[int]()
        for pair, references in following.items():
            renaming, count = renamed[pair], sum(run.count for run in references)
            if renaming is not None and count >= FROM:
                renaming.line = self._renaming(renaming.first[0], references)
                renaming.count += count
                gone.update(id(run) for run in references)
        return [run for run in runs if id(run) not in gone]

    def _only(self, run: _Run) -> tuple[str, str, str] | None:
        """Give the property in which all changed, from one value to one other, and in nothing else."""
        change = run.first[0]
        if change.action is not Action.MODIFIED or len(change.properties) != 1 or change.moved:
            return None
        one = change.properties[0]
        if one.old is None or one.new is None or (run.count > 1 and not run.shared) or not self._may_be_told(change):
            return None
        return one.name, one.old, one.new

    def _renaming(self, change: Change, references: Sequence[_Run]) -> str:
        one, menus = change.properties[0], Counter[str]()
        for run in references:
            menus[called(run.component, self._grammar, reveal=self._reveal)] += run.count
        values = Values(change.component, self._grammar, self._reveal)
        menu = clipped(called(change.component, self._grammar, reveal=self._reveal), _LONGEST_MENU)
        names = f"{values.said(one.name, one.old or '')} renamed to {values.said(one.name, one.new or '')}"
        return f"{menu}: {names} ({menus.total():,} references follow in {_places(menus)}){made(change)}"

    def _line(self, run: _Run) -> str:
        if run.line:
            return run.line
        if run.count == 1:
            line = summary(run.first[0], self._grammar, reveal=self._reveal)
        else:
            line = _Folded(run, self._grammar, self._reveal).told()
        return f"{line}{self._release.caution}" if self._release and run.by_release else line


def _chosen(runs: Sequence[_Run], most: int) -> set[int]:
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


class _Sorting:
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
        return (one.old, one.new) if one.name not in _OWN and (one.old, one.new) in self._renames else None

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


@dataclass(frozen=True, slots=True)
class _Folded:
    """One line of many changes."""

    run: _Run
    grammar: Grammar
    reveal: bool

    def told(self) -> str:
        first = self.run.first[0]
        menu = clipped(called(first.component, self.grammar, reveal=self.reveal), _LONGEST_MENU)
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


def _places(rest: Counter[str]) -> str:
    """Name the menus, in their order."""
    named = [f"{clipped(menu, _LONGEST_MENU)} ({count:,})" for menu, count in list(rest.items())[:_NAMED]]
    others = list(rest.items())[_NAMED:]
    if others:
        menus = "1 other menu" if len(others) == 1 else f"{len(others):,} other menus"
        named.append(f"{menus} ({sum(count for _, count in others):,})")
    return ", ".join(named)
