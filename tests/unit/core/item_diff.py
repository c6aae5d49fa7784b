"""An independent judge of changes: a diff of items that knows nothing of their properties, by the book and slow."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backupflow.core.tree import Tree


def kept_at_most(old: Sequence[str], new: Sequence[str]) -> int:
    """The length of a longest common subsequence."""
    row = [0] * (len(new) + 1)
    for one in old:
        before, row = row, [0]
        for at, other in enumerate(new):
            row.append(before[at] + 1 if one == other else max(before[at + 1], row[-1]))
    return row[-1]


def at_most(old: Tree, new: Tree, is_ordered: Callable[[str], bool]) -> int:
    """How many changes such a diff has: what came, what went, and what moved where order has a meaning."""
    total = 0
    for component in old.keys() | new.keys():
        before, after = list(old.get(component, ())), list(new.get(component, ()))
        one, other = Counter(before), Counter(after)
        total += (one - other).total() + (other - one).total()
        if before != after and is_ordered(component):
            total += (one & other).total() - kept_at_most(before, after)
    return total
