"""Which lines two texts share, in their order: what a diff leaves standing.

Lines that come once in both texts are anchors, as many of them as stand in one order (a longest increasing
subsequence: "patience"). What lies between two anchors is compared exactly (Myers, "An O(ND) Difference Algorithm and
Its Variations", 1986), the smallest stretches first, until a bounded number of steps is spent: texts are what a router
said, and may be made to be hard. What is left then stays uncompared, and is told.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Pair = tuple[int, int]

_NOWHERE: Final = -2
STEPS: Final = 6_000_000
"""Of the exact comparison, in all of a diff: some 2 seconds, and 30 MB."""


class Stretch(NamedTuple):
    """Lines of the old text, and those of the new one that stand in their place; the ends are exclusive."""

    old: int
    old_end: int
    new: int
    new_end: int

    @property
    def size(self) -> int:
        """Lines on both sides."""
        return self.old_end - self.old + self.new_end - self.new


class Run(NamedTuple):
    """So many lines that are equal, from these positions on."""

    old: int
    new: int
    length: int


class Shared(NamedTuple):
    """What is equal, as runs that both texts have in this order, and what was too much to be compared."""

    runs: list[Run]
    uncompared: list[Stretch]


def shared(old: Sequence[int], new: Sequence[int], steps: int = STEPS) -> Shared:
    """Find the lines that both have, each line given as a number: equal lines are equal numbers."""
    runs, middle = _ends(old, new, Stretch(0, len(old), 0, len(new)))
    anchors = _anchors(old, new, middle)
    runs += [Run(one, other, 1) for one, other in anchors]
    left, uncompared = steps, list[Stretch]()
    for gap in sorted(_gaps(middle, anchors), key=lambda one: one.size):
        same, rest = _ends(old, new, gap)
        runs += same
        found, spent = _exactly(old, new, rest, left)
        left -= spent
        if found is None:
            uncompared.append(rest)
        else:
            runs += [Run(one, other, 1) for one, other in found]
    return Shared(sorted(runs), sorted(uncompared))


def _ends(old: Sequence[int], new: Sequence[int], within: Stretch) -> tuple[list[Run], Stretch]:
    """What both begin with and what both end with, and the stretch that remains."""
    first, old_end, second, new_end = within
    while first < old_end and second < new_end and old[first] == new[second]:
        first, second = first + 1, second + 1
    while first < old_end and second < new_end and old[old_end - 1] == new[new_end - 1]:
        old_end, new_end = old_end - 1, new_end - 1
    runs = (
        Run(within.old, within.new, first - within.old),
        Run(old_end, new_end, within.old_end - old_end),
    )
    return [run for run in runs if run.length], Stretch(first, old_end, second, new_end)


def _anchors(old: Sequence[int], new: Sequence[int], within: Stretch) -> list[Pair]:
    """A longest list of lines that come once on each side and stand in one order on both."""
    once = _once(old, within.old, within.old_end)
    other = _once(new, within.new, within.new_end)
    return _increasing([(at, other[line]) for line, at in once.items() if line in other])


def _once(lines: Sequence[int], start: int, end: int) -> dict[int, int]:
    counts = Counter(lines[start:end])
    return {lines[at]: at for at in range(start, end) if counts[lines[at]] == 1}


def _increasing(pairs: Sequence[Pair]) -> list[Pair]:
    """A longest subsequence whose second numbers increase, by bisection over the least ends of each length."""
    ends, last, before = list[int](), list[int](), [-1] * len(pairs)
    for index, (_, at) in enumerate(pairs):
        length = bisect_left(ends, at)
        ends[length : length + 1] = [at]
        last[length : length + 1] = [index]
        before[index] = last[length - 1] if length else -1
    found, index = list[tuple[int, int]](), last[-1] if last else -1
    while index >= 0:
        found.append(pairs[index])
        index = before[index]
    return found[::-1]


def _gaps(within: Stretch, anchors: Iterable[Pair]) -> Iterator[Stretch]:
    first, second = within.old, within.new
    for old, new in (*anchors, (within.old_end, within.new_end)):
        if first < old and second < new:
            yield Stretch(first, old, second, new)
        first, second = old + 1, new + 1


def _exactly(old: Sequence[int], new: Sequence[int], within: Stretch, steps: int) -> tuple[list[Pair] | None, int]:
    """The most lines that both sides share, and the steps that it took; None if these are not enough."""
    # A line that only one side has cannot be shared: without those, two texts that have little in common are short.
    theirs, ours = set(new[within.new : within.new_end]), set(old[within.old : within.old_end])
    left = [at for at in range(within.old, within.old_end) if old[at] in theirs]
    right = [at for at in range(within.new, within.new_end) if new[at] in ours]
    found, spent = _most([old[at] for at in left], [new[at] for at in right], steps)
    return None if found is None else [(left[one], right[other]) for one, other in found], spent


def _most(old: Sequence[int], new: Sequence[int], steps: int) -> tuple[list[Pair] | None, int]:
    """Myers' greedy search: with ever more edits, how far one comes on each diagonal (old position − new position)."""
    n, m, spent = len(old), len(new), 0
    reached = array("i", [_NOWHERE]) * (n + m + 3)
    trace: list[array[int]] = []
    for edits in range(n + m + 1):
        low, high = _diagonals(edits, n, m)
        trace.append(reached[m + low : m + high + 3 : 2])  # those of one edit less, which these begin from
        for diagonal in range(low, high + 1, 2):
            down, right = (
                reached[m + diagonal + 2],
                reached[m + diagonal] + 1,
            )  # as in _moves: calls cost more than this
            if right > n or (down >= right and down - diagonal <= m):
                right = down if down - diagonal <= m else _NOWHERE
            at = began = right if edits else 0
            while 0 <= at < n and at - diagonal < m and old[at] == new[at - diagonal]:
                at += 1
            reached[m + diagonal + 1] = at if at >= 0 else _NOWHERE
            spent += at - began + 1
            if at == n and at - diagonal == m:
                return _path(trace, n, m), spent
        if spent > steps:
            break
    return None, spent


def _diagonals(edits: int, n: int, m: int) -> tuple[int, int]:
    return 2 * max(0, edits - m) - edits, edits - 2 * max(0, edits - n)


def _moves(above: int, left: int, diagonal: int, n: int, m: int) -> tuple[int, int]:
    """Old positions after one line more of the new text, and of the old one; negative: there is none."""
    return (above if above - diagonal <= m else _NOWHERE), (left + 1 if left < n else _NOWHERE)


def _path(trace: Sequence[array[int]], n: int, m: int) -> list[Pair]:
    """The equal lines on the way back, last ones first."""
    pairs, at, diagonal = list[tuple[int, int]](), n, n - m
    for edits in range(len(trace) - 1, -1, -1):
        nth = (diagonal - _diagonals(edits, n, m)[0]) // 2
        down, right = _moves(trace[edits][nth + 1], trace[edits][nth], diagonal, n, m)
        began = max(down, right) if edits else 0
        pairs += [(one, one - diagonal) for one in range(began, at)]
        at, diagonal = (down, diagonal + 1) if down >= right else (right - 1, diagonal - 1)
    return pairs
