"""Another version of the router's software: its word, new names of menus, and what it may have set itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from backupflow.core.changes import Action
from backupflow.core.release import rank
from backupflow.core.tree import HEADER
from backupflow.core.wording import called, clipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backupflow.core.changes import Change
    from backupflow.core.driver import Grammar

VERSION: Final = "version"
"""What the header's property is called by every vendor that has it."""
_LONGEST: Final = 80


def way(old: str, new: str) -> str:
    """Say which way it went from one version to another."""
    return "downgrade" if rank(new) < rank(old) else "upgrade"


@dataclass(frozen=True, slots=True)
class Release:
    """The version that the router has now, and had not before."""

    version: str
    way: str

    def perhaps_set(self, change: Change) -> bool:
        """Tell whether the version, and no person, may have made the change.

        A newer one shows defaults that it did not know before; an older one drops what it does not know, too.
        """
        if change.component == HEADER or change.action is not Action.MODIFIED or change.moved:
            return False
        came = all(one.old is None for one in change.properties)
        went = self.way == "downgrade" and all(one.new is None for one in change.properties)
        return came or went

    @property
    def caution(self) -> str:
        """What is told behind such a change."""
        return f" (perhaps a default of {self.version})"


def release(changes: Sequence[Change]) -> Release | None:
    """Give the version that is another one now; None: it is the same, or nobody knows."""
    for change in changes:
        if change.component == HEADER and about(change) == VERSION:
            old, new = change.properties[0].old, change.properties[0].new
            if old is not None:
                return None if new is None else Release(clipped(new, _LONGEST), way(old, new))
    return None


def about(change: Change) -> str:
    """Say what a header's line is about; empty: anything."""
    return change.properties[0].name if change.properties else ""


def of_header(changes: Sequence[Change]) -> list[Change]:
    """Give what changed in the header, the version first."""
    return sorted((one for one in changes if one.component == HEADER), key=lambda one: about(one) != VERSION)


def only_renamed(change: Change) -> bool:
    """Tell whether the item is what it was, in a menu that has another name now."""
    return change.was_in is not None and change.action is Action.MOVED


class Renamings:
    """The menus that have another name now."""

    def __init__(self) -> None:
        """Begin with none."""
        self._items: dict[tuple[str, str], list[int]] = {}

    def add(self, change: Change) -> None:
        """Count an item that stood in a menu of another name."""
        if change.was_in is not None and change.old is not None and change.new is not None:
            counts = self._items.setdefault((change.was_in, change.component), [0, 0])
            counts[0] += 1
            counts[1] += change.action is Action.MOVED

    def told(self, found: Release | None, grammar: Grammar, *, reveal: bool) -> Iterator[tuple[str, int, str]]:
        """Give each menu, how many items only moved with it, and what is told of it."""
        word = found.way if found else "upgrade"
        for (old, new), (count, moved) in self._items.items():
            many = "1 item" if count == 1 else f"{count:,} items"
            was, now = (clipped(called(one, grammar, reveal=reveal), _LONGEST) for one in (old, new))
            yield new, moved, f"{word}: {was} is now {now} ({many})"


def renamings(
    changes: Sequence[Change], found: Release | None, grammar: Grammar, *, reveal: bool
) -> Iterator[tuple[str, int, str]]:
    """Give those of all changes."""
    menus = Renamings()
    for change in changes:
        menus.add(change)
    return menus.told(found, grammar, reveal=reveal)
