"""Changes applied to a tree: what shows that they are all that happened, and true."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from backupflow.core.changes import Change
    from backupflow.core.driver import Grammar
    from backupflow.core.tree import Tree


def applied(tree: Tree, done: Iterable[Change], grammar: Grammar) -> Tree:
    """Give the tree after these changes of it; raises ValueError if they are none of this tree."""
    leave: defaultdict[str, list[Change]] = defaultdict(list)
    come: defaultdict[str, list[Change]] = defaultdict(list)
    for change in done:
        if change.old is not None:
            leave[change.was_in or change.component].append(change)
        if change.new is not None:
            come[change.component].append(change)
    after = dict(tree)
    for component in leave.keys() | come.keys():
        stay = _without(after.pop(component, ()), leave[component], ordered=grammar.is_ordered(component))
        if items := _with(stay, come[component], ordered=grammar.is_ordered(component)):
            after[component] = items
    return after


def _without(items: Sequence[str], leave: list[Change], *, ordered: bool) -> list[str]:
    if ordered:
        texts = {change.at_old: change.old for change in leave}
        if len(texts) < len(leave) or any(at is None or items[at : at + 1] != [text] for at, text in texts.items()):
            raise ValueError
        return [item for at, item in enumerate(items) if at not in texts]
    left = Counter(change.old for change in leave)
    stay: list[str] = []
    for item in items:
        if left[item] > 0:
            left[item] -= 1
        else:
            stay.append(item)
    if left.total() > 0:
        raise ValueError
    return stay


def _with(stay: list[str], come: list[Change], *, ordered: bool) -> list[str]:
    if not ordered:
        return [*stay, *(change.new for change in come if change.new is not None)]
    texts = {change.at_new: change.new for change in come}
    rest = iter(stay)
    items = [text if (text := texts.get(at)) is not None else next(rest, None) for at in range(len(stay) + len(come))]
    if len(texts) < len(come) or None in items:
        raise ValueError
    return [item for item in items if item is not None]
