"""What changed between two trees, as few changes as can be, each as a person would tell it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Action(StrEnum):
    """What happened to an item."""

    ADDED = "added"
    REMOVED = "removed"
    MODIFIED = "modified"
    MOVED = "moved"  # and nothing else


@dataclass(frozen=True, slots=True)
class Property:
    """A property of an item, before and after, as the normal form spells it; None: it was not there."""

    name: str
    old: str | None = field(repr=False)
    new: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that happened to one item."""

    component: str
    action: Action
    properties: tuple[Property, ...]
    """What differs, sorted by name; of what was added or removed all of it. Empty: only their order, or a move."""
    old: str | None = field(repr=False)
    """The item's text before; None: it was not there."""
    new: str | None = field(repr=False)
    """The item's text after; None: it is there no more."""
    at_old: int | None = None
    """Where it stood among the items of its component, from 0; None where order has no meaning, or it was not there."""
    at_new: int | None = None
    """Where it stands now."""
    before: str | None = None
    """What the item that follows it now is called (`Grammar.name`, so without secrets), of what was added or moved;
    None: it is the last, or order has no meaning.
    """
    moved: bool = False
    """Whether it stands elsewhere among the others; always of `MOVED`, perhaps of `MODIFIED`."""
    secret: frozenset[str] = frozenset()
    """The names of those properties that hold secrets."""
    ignored: bool = False
    """Whether the owner asked not to be told of it."""
