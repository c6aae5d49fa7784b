"""One component of two trees compared: which of its items stayed, moved, became others, are gone, have come."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from backupflow.core.alignment import aligned, rising
from backupflow.core.partners import Reading, partners
from backupflow.core.tree import Parsed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backupflow.core.alignment import Alignment
    from backupflow.core.driver import Grammar

MOST_PROPERTIES: Final = 1_000_000
"""Of all items that differ; a configuration with twice as many as any known, rewritten altogether, has as many."""


class Reader:
    """Reads items, up to so many properties; what comes after them stays one text, so that work is bounded."""

    def __init__(self, grammar: Grammar) -> None:
        """Begin with the whole allowance."""
        self.grammar = grammar
        self._left = MOST_PROPERTIES

    def parsed(self, component: str, text: str) -> Parsed:
        """Read an item."""
        if self._left <= 0:
            return Parsed("", None, (), {"": text})
        parsed = self.grammar.parsed(component, text)
        self._left -= len(parsed.properties)
        return parsed

    def reading(self, component: str, text: str) -> Reading:
        """Read an item, and who it is."""
        parsed = self.parsed(component, text)
        return Reading(parsed, self.grammar.identity(component, parsed), self.grammar.alias(component, parsed))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of the items of one component; by their positions in the two sequences."""

    kept: list[tuple[int, int]]
    """Equal items in their places, sorted by the old one; without the beginning and end that both share."""
    moved: list[tuple[int, int]]
    """Equal items that stand elsewhere among the others."""
    modified: list[tuple[int, int]]
    displaced: frozenset[tuple[int, int]]
    """Those of the modified ones that stand elsewhere among the others."""
    removed: list[int]
    added: list[int]
    begin: int
    """How many items both begin with."""
    end: int
    """How many more both end in."""
    old: dict[int, Parsed]
    """What is modified or removed, as it was read."""
    new: dict[int, Parsed]
    """What is modified or added."""

    @property
    def size(self) -> int:
        """How many changes that is."""
        return len(self.moved) + len(self.modified) + len(self.removed) + len(self.added)

    def mirrored(self) -> Comparison:
        """The same the other way round."""
        back = {(i, j): (j, i) for pairs in (self.kept, self.moved, self.modified) for i, j in pairs}
        return Comparison(
            sorted(back[pair] for pair in self.kept),
            [back[pair] for pair in self.moved],
            [back[pair] for pair in self.modified],
            frozenset(back[pair] for pair in self.displaced),
            self.added,
            self.removed,
            self.begin,
            self.end,
            self.new,
            self.old,
        )


def compared(
    component: tuple[str, str], old: Sequence[str], new: Sequence[str], reader: Reader, most: int
) -> Comparison | None:
    """Compare the items of a component, which has a name in the old tree and one in the new; as many stay as can.

    Nothing depends on which tree is the old one: what is told of a change and of its way back is the same. None if more
    than `most` items differ, before any is read.
    """
    if list(old) > list(new):
        back = compared((component[1], component[0]), new, old, reader, most)
        return None if back is None else back.mirrored()
    ordered = reader.grammar.is_ordered(component[1])
    alignment = aligned(old, new, ordered=ordered)
    if len(alignment.moved) + max(len(alignment.gone), len(alignment.come)) > most:
        return None
    olds = {i: reader.reading(component[0], old[i]) for i in alignment.gone}
    news = {j: reader.reading(component[1], new[j]) for j in alignment.come}
    modified = partners(olds, news, lambda found: [*_gaps(alignment, found)] if ordered else [])
    stayed_old, stayed_new = {i for i, _ in modified}, {j for _, j in modified}
    return Comparison(
        alignment.kept,
        alignment.moved,
        modified,
        _displaced(alignment, modified) if ordered else frozenset(),
        [i for i in alignment.gone if i not in stayed_old],
        [j for j in alignment.come if j not in stayed_new],
        alignment.begin,
        alignment.end,
        {i: reading.parsed for i, reading in olds.items()},
        {j: reading.parsed for j, reading in news.items()},
    )


def _gaps(alignment: Alignment, found: list[tuple[int, int]]) -> Iterator[tuple[list[int], list[int]]]:
    """Give what is gone, and what has come, between two neighbours that stayed."""
    stayed = sorted([*alignment.kept, *_fitting(alignment, found)])
    come = _by_gap(alignment.come, [j for _, j in stayed])
    for gap, gone in _by_gap(alignment.gone, [i for i, _ in stayed]).items():
        if gap in come:
            yield gone, come[gap]


def _by_gap(positions: list[int], kept: list[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for at in positions:
        found.setdefault(bisect_left(kept, at), []).append(at)
    return found


def _displaced(alignment: Alignment, modified: list[tuple[int, int]]) -> frozenset[tuple[int, int]]:
    """Give the fewest of these pairs without which the others, and what was kept, stand in one order."""
    return frozenset(modified).difference(_fitting(alignment, modified))


def _fitting(alignment: Alignment, modified: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Give the most of these pairs that stand in one order with what was kept."""
    kept_old, kept_new = [i for i, _ in alignment.kept], [j for _, j in alignment.kept]
    fit = [(i, j) for i, j in modified if bisect_left(kept_old, i) == bisect_left(kept_new, j)]
    return rising(fit)
