"""Which items of two sequences are the same ones: as many as can be, in their order as far as order has a meaning.

Near-linear whatever the items are: the longest common subsequence is exact as long as equal items form a bounded number
of pairs (items of a configuration are nearly all different), else the first of equal ones goes with the first, the
second with the second.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MOST_PAIRS: Final = 400_000  # of equal items that are weighed against one another; some 100 bytes each


@dataclass(frozen=True, slots=True)
class Alignment:
    """What is equal in two sequences; without the beginning and the end that they have in common."""

    begin: int
    """How many items both begin with."""
    end: int
    """How many more both end in."""
    kept: list[tuple[int, int]]
    """Equal items in their places: positions in the old and in the new sequence, both rising if order counts."""
    moved: list[tuple[int, int]]
    """Equal items that are elsewhere among the others; none if order has no meaning."""
    gone: list[int]
    """Positions in the old sequence that have no equal item left in the new one."""
    come: list[int]
    """Positions in the new sequence that have none in the old one."""


def aligned(old: Sequence[str], new: Sequence[str], *, ordered: bool) -> Alignment:
    """Pair equal items, each with one; if order counts, as many as possible keep their places."""
    begin, end = _common_ends(old, new)
    olds, news = range(begin, len(old) - end), range(begin, len(new) - end)
    if not olds or not news:
        return Alignment(begin, end, [], [], [*olds], [*news])
    pairs = _by_rank(old, olds, new, news)
    kept = _longest(_candidates(old, olds, new, news, pairs)) if ordered else pairs
    stay_old, stay_new = {i for i, _ in kept}, {j for _, j in kept}
    rest_old, rest_new = [i for i in olds if i not in stay_old], [j for j in news if j not in stay_new]
    moved = _by_rank(old, rest_old, new, rest_new) if ordered else []
    left_old, left_new = {i for i, _ in moved}, {j for _, j in moved}
    gone, come = [i for i in rest_old if i not in left_old], [j for j in rest_new if j not in left_new]
    return Alignment(begin, end, kept, moved, gone, come)


def rising(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Give a longest part of these pairs, sorted by both, in which both positions rise strictly."""
    return _longest((i, (j,)) for i, j in sorted(pairs))


def _common_ends(old: Sequence[str], new: Sequence[str]) -> tuple[int, int]:
    shorter = min(len(old), len(new))
    begin = next((at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), shorter)
    backwards = zip(reversed(old), reversed(new), strict=False)
    end = next((at for at, (one, other) in enumerate(backwards) if one != other), shorter)
    return begin, min(end, shorter - begin)


def _by_rank(old: Sequence[str], olds: Iterable[int], new: Sequence[str], news: Iterable[int]) -> list[tuple[int, int]]:
    """Pair the first of equal items with the first, the second with the second, and so on."""
    places = _places(new, news)
    for of_text in places.values():
        of_text.reverse()
    return [(i, left.pop()) for i in olds if (left := places.get(old[i]))]


def _places(items: Sequence[str], positions: Iterable[int]) -> dict[str, list[int]]:
    places = defaultdict[str, list[int]](list)
    for at in positions:
        places[items[at]].append(at)
    return dict(places)


def _candidates(
    old: Sequence[str], olds: range, new: Sequence[str], news: range, pairs: list[tuple[int, int]]
) -> Iterator[tuple[int, Sequence[int]]]:
    """Give for each old position the new ones that it may keep: all equal ones, unless there are too many pairs."""
    places = _places(new, news)
    if sum(len(places.get(old[i], ())) for i in olds) > MOST_PAIRS:
        return ((i, (j,)) for i, j in pairs)
    return ((i, places.get(old[i], ())) for i in olds)


def _longest(candidates: Iterable[tuple[int, Sequence[int]]]) -> list[tuple[int, int]]:
    """Give a longest common subsequence (Hunt and Szymanski, 1977); old positions rise, and so do those of each."""
    ends: list[int] = []  # the lowest new position in which a subsequence of this length ends
    links: list[tuple[int, int, int]] = []  # old, new, and the link before; -1 is none
    tips: list[int] = []  # which link that is
    for i, of_text in candidates:
        for j in reversed(of_text):  # downwards: an old item is taken once
            length = bisect_left(ends, j)
            if length == len(ends):
                ends.append(j)
                tips.append(-1)
            elif ends[length] == j:
                continue
            ends[length], tips[length] = j, len(links)
            links.append((i, j, tips[length - 1] if length else -1))
    found, at = list[tuple[int, int]](), tips[-1] if tips else -1
    while at >= 0:
        i, j, at = links[at]
        found.append((i, j))
    found.reverse()
    return found
