"""Which item that is gone became which item that has come: what a person would call the same thing, edited.

Items are paired only where there is no doubt; what is in doubt was removed and added. Five looks, the surest first:
the same identity; all but one property equal; the same alias; the same place between neighbours that stayed; the most
alike. Each is symmetrical, and takes time in proportion to the properties it looks at. What one look pairs may clear up
what was in doubt: so the few that are left are looked at again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

    from backupflow.core.tree import Parsed

MOST_WEIGHED: Final = 400_000  # pairs of items that share a property, and are weighed against one another
MOST_ROUNDS: Final = 4
FEW: Final = 5000  # items that are left: more are not looked at again
_MANY: Final = -1  # stands for an item where there is more than one
_WIDE: Final = 2**64

Pairs: TypeAlias = list[tuple[int, int]]
Gaps: TypeAlias = Sequence[tuple[list[int], list[int]]]
Look: TypeAlias = "Callable[[dict[int, Reading], dict[int, Reading]], Pairs]"


@dataclass(frozen=True, slots=True)
class Reading:
    """An item as it is compared with others."""

    parsed: Parsed
    identity: tuple[str, ...] | None
    alias: tuple[str, ...] | None
    marks: frozenset[tuple[str, str]] = field(init=False)
    """Its properties; those of `add` and `set`, and of different selectors, are never the same item's."""

    def __post_init__(self) -> None:
        """Take the properties out once."""
        object.__setattr__(self, "marks", frozenset(self.parsed.properties.items()))

    @property
    def of(self) -> tuple[str, str | None]:
        """What two readings of one item have in common, whatever was edited."""
        return self.parsed.verb, self.parsed.selector

    def differs_in(self, other: Reading) -> int:
        """Count the properties in which they differ."""
        return len({name for name, _ in self.marks ^ other.marks})

    def may_be(self, other: Reading) -> bool:
        """Tell whether they may be one item although more than one property differs: half of them are equal."""
        known = self.identity is not None and other.identity is not None
        if self.of != other.of or (known and self.identity != other.identity):
            return False
        shared, most = len(self.marks & other.marks), max(len(self.marks), len(other.marks))
        return shared > 0 and 2 * shared >= most


def partners(old: Mapping[int, Reading], new: Mapping[int, Reading], gaps: Callable[[Pairs], Gaps]) -> Pairs:
    """Pair what is gone with what has come; keys are positions.

    `gaps`: positions, gone and come, between the same two neighbours that stayed or are paired so; none if order does
    not count.
    """
    found: Pairs = []
    left_old, left_new = dict(old), dict(new)
    looks: tuple[Look, ...] = (
        lambda one, other: _of_one(one, other, attrgetter("identity")),
        _all_but_one,
        lambda one, other: _of_one(one, other, attrgetter("alias")),
        lambda one, other: [*_in_place(one, other, gaps(found))],
        _most_alike,
    )
    for _ in range(MOST_ROUNDS):
        before = len(found)
        for look in looks:
            pairs = look(left_old, left_new) if left_old and left_new else []
            for i, j in pairs:
                del left_old[i], left_new[j]
            found += pairs
        if len(found) == before or len(left_old) + len(left_new) > FEW:
            break
    return found


def _of_one(old: dict[int, Reading], new: dict[int, Reading], known_by: Callable[[Reading], Hashable]) -> Pairs:
    """Pair items that are known by the same, if no other is."""
    olds, news = _named(old, known_by), _named(new, known_by)
    return [(i, j) for who, i in olds.items() if i != _MANY and (j := news.get(who, _MANY)) != _MANY]


def _named(items: Mapping[int, Reading], known_by: Callable[[Reading], Hashable]) -> dict[Hashable, int]:
    return _only(((reading.of, who), at) for at, reading in items.items() if (who := known_by(reading)) is not None)


def _only(keys: Iterable[tuple[Hashable, int]]) -> dict[Hashable, int]:
    """Give the one position of each key, `_MANY` if there are more."""
    found: dict[Hashable, int] = {}
    for key, at in keys:
        if found.setdefault(key, at) != at:
            found[key] = _MANY
    return found


def _all_but_one(old: dict[int, Reading], new: dict[int, Reading]) -> Pairs:
    """Pair items that differ in one property (or in the order of them), if each is the other's only one."""
    olds, news = _Rests.of(old), _Rests.of(new)
    found = ((i, _candidate(olds, i, news)) for i in old)
    sure = ((i, j) for i, j in found if j is not None and j != _MANY and _candidate(news, j, olds) == i)
    return [(i, j) for i, j in sure if old[i].differs_in(new[j]) <= 1]  # equal hashes are no proof


@dataclass(slots=True)
class _Rests:
    """What is left of items without one of their properties, as sums of hashes: so no rest is ever built."""

    sums: dict[int, tuple[int, list[tuple[str, int]]]]  # of all; and for each property the sum of the rest
    whole: dict[Hashable, int]
    without: dict[Hashable, int]
    without_named: dict[Hashable, int]

    @classmethod
    def of(cls, items: Mapping[int, Reading]) -> _Rests:
        sums: dict[int, tuple[int, list[tuple[str, int]]]] = {}
        for at, reading in items.items():
            hashed = [(name, hash((name, value))) for name, value in reading.parsed.properties.items()]
            total = (sum(each for _, each in hashed) + hash(reading.of)) % _WIDE
            sums[at] = total, [(name, (total - each) % _WIDE) for name, each in hashed]
        rests = [(rest, at) for at, (_, each) in sums.items() for _, rest in each]
        named = ((named, at) for at, (_, each) in sums.items() for named in each)
        return cls(sums, _only((total, at) for at, (total, _) in sums.items()), _only(rests), _only(named))


def _candidate(mine: _Rests, at: int, theirs: _Rests) -> int | None:
    """Give the only item of the others that differs in one property at most; None: there is none."""
    total, rests = mine.sums[at]
    found = {theirs.whole.get(total), theirs.without.get(total)}
    for named in rests:
        found |= {theirs.without_named.get(named), theirs.whole.get(named[1])}
    found.discard(None)
    return None if not found else found.pop() if len(found) == 1 else _MANY


def _in_place(old: Mapping[int, Reading], new: Mapping[int, Reading], gaps: Gaps) -> Iterator[tuple[int, int]]:
    """Pair items that stand where the other stood: as many are gone between two neighbours as have come."""
    for gone, come in gaps:
        olds, news = [i for i in gone if i in old], [j for j in come if j in new]
        if len(olds) == len(news):
            for i, j in zip(olds, news, strict=True):
                one, other = old[i], new[j]
                if (one.of == other.of and one.differs_in(other) <= 1 and one.marks & other.marks) or one.may_be(other):
                    yield i, j


def _most_alike(old: dict[int, Reading], new: dict[int, Reading]) -> Pairs:
    """Pair items of which each is more like the other than any third one is."""
    best_old, best_new = _Best(), _Best()
    for i, j in _acquainted(_open_to(old, new), _open_to(new, old)):
        if old[i].may_be(new[j]):
            alike = len(old[i].marks & new[j].marks) / max(len(old[i].marks), len(new[j].marks))
            best_old.saw(i, j, alike)
            best_new.saw(j, i, alike)
    return [(i, j) for i, (_, j) in best_old.found.items() if j != _MANY and best_new.found[j][1] == i]


def _open_to(some: Mapping[int, Reading], others: Mapping[int, Reading]) -> dict[int, Reading]:
    """Leave out items that have an identity of their own, which none of the others has or might have."""
    known = {reading.identity for reading in others.values()}
    return {at: one for at, one in some.items() if None in known or one.identity is None or one.identity in known}


class _Best:
    """For each item the one that is most like it, `_MANY` if there are two."""

    def __init__(self) -> None:
        self.found: dict[int, tuple[float, int]] = {}

    def saw(self, at: int, other: int, alike: float) -> None:
        best, _ = self.found.get(at, (0.0, _MANY))
        if alike >= best:
            self.found[at] = (alike, other if alike > best else _MANY)


def _acquainted(old: Mapping[int, Reading], new: Mapping[int, Reading]) -> Iterable[tuple[int, int]]:
    """Give pairs that share a property, by way of the rarest ones: so their number is bounded."""
    olds, news = _holders(old), _holders(new)
    shared = sorted((len(those) * len(news[mark]), str(mark), mark) for mark, those in olds.items() if mark in news)
    met: set[tuple[int, int]] = set()
    left = MOST_WEIGHED
    for times, _, mark in shared:
        left -= times
        if left < 0:
            break
        met.update((i, j) for i in olds[mark] for j in news[mark])
    return sorted(met)


def _holders(items: Mapping[int, Reading]) -> dict[tuple[object, ...], list[int]]:
    found = defaultdict[tuple[object, ...], list[int]](list)
    for at, reading in items.items():
        for mark in reading.marks:
            found[*reading.of, *mark].append(at)
    return dict(found)
