"""Values of properties, and how one became another, in few words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from backupflow.core.redact import MASK
from backupflow.core.tree import FLAG

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backupflow.core.changes import Property
    from backupflow.core.driver import Grammar

OTHER: Final = "other"
"""Stands for components that may not be named: what a router sends may look like a menu, and hold what was typed."""
_LONGEST_VALUE: Final = 60  # characters
_LONGEST_NAME: Final = 60
_LONG_LISTS: Final = 80  # characters of both: from there on only what differs in them is told
_MOST_ELEMENTS: Final = 8
_KEPT: Final = 10  # characters before the place where two long values begin to differ
_NEWLINE, _RETURN, _BACKSLASH = r"\n", r"\r", r"\\"  # as values are spelled


def clipped(text: str, longest: int) -> str:
    """Cut a text to so many characters; where it was cut, it says so, and a quote that was cut off is given back."""
    if len(text) <= longest:
        return text
    ending = '…"' if text.startswith('"') else "…"
    return text[: longest - len(ending)].rstrip("\\ ") + ending


def called(component: str, grammar: Grammar, *, reveal: bool = False) -> str:
    """Name a component as it may stand in clear."""
    return component if reveal or grammar.is_menu(component) else OTHER


@dataclass(frozen=True, slots=True)
class Values:
    """The properties of one component, as they are told."""

    component: str
    grammar: Grammar
    reveal: bool
    names: Mapping[str, str] = field(default_factory=dict)
    """How those names of properties are told that may be secrets."""

    def said(self, name: str, value: str) -> str:
        """Write a value."""
        return clipped(self._whole(name, value), _LONGEST_VALUE)

    def one(self, name: str, value: str) -> str:
        """Tell a property of an item that came or went."""
        label = self._label(name)
        if value == FLAG:
            return label
        if name == "disabled" and value == "yes":
            return "disabled"
        if (lines := self._lines(name, value)) > 1:
            return f"{label} ({lines} lines)"
        return f"{label} {self.said(name, value)}".lstrip()

    def difference(self, changed: Property, label: str | None = None) -> str:
        """Tell how a property changed."""
        old, new = changed.old, changed.new
        name = clipped(label, _LONGEST_NAME) if label else self._label(changed.name)
        if changed.name == "disabled" and (toggled := _toggled(old, new)):
            return toggled
        if old is None or new is None:
            return self._came_or_went(name, changed)
        was, now = self._whole(changed.name, old), self._whole(changed.name, new)
        if was == now:
            return f"{name} {MASK} changed"
        if max(self._lines(changed.name, old), self._lines(changed.name, new)) > 1:
            return f"{name} changed ({_counted(old, new)})"
        return f"{name} {_listed(was, now) or _arrow(was, now)}"

    def _came_or_went(self, name: str, changed: Property) -> str:
        value, verb = (changed.new, "set") if changed.old is None else (changed.old, "removed")
        if value is None or value == FLAG:
            return f"{name} {verb}"
        if (lines := self._lines(changed.name, value)) > 1:
            return f"{name} {verb} ({lines} lines)"
        said = self.said(changed.name, value)
        if said == MASK:
            return f"{name} {said} {verb}"
        return f"{name} set to {said}" if changed.old is None else f"{name} {said} removed"

    def _label(self, name: str) -> str:
        return clipped(name if self.reveal else self.names.get(name, name), _LONGEST_NAME)

    def _lines(self, name: str, value: str) -> int:
        """Count the lines of a script; a secret is one word, whatever is in it."""
        return 1 if self.grammar.is_secret(self.component, name) else len(_split(value))

    def _whole(self, name: str, value: str) -> str:
        return self.grammar.shown(value if self.reveal else self.grammar.masked_value(self.component, name, value))


def _toggled(old: str | None, new: str | None) -> str | None:
    if new == "yes":
        return "disabled"
    return "enabled" if old == "yes" or (old is None and new == "no") else None


def _split(value: str) -> list[str]:
    return value.strip('"').replace(_BACKSLASH, "\\0").replace(_RETURN, "").split(_NEWLINE)


def _counted(old: str, new: str) -> str:
    """Say how many lines came and went, however they moved."""
    was, now = Counter(_split(old)), Counter(_split(new))
    added, removed = (now - was).total(), (was - now).total()
    lines = "line" if (added or removed) == 1 else "lines"
    if added and removed:
        return f"{added} {lines} added, {removed} removed"
    return f"{added} {lines} added" if added else f"{removed} {lines} removed" if removed else "lines moved"


def _listed(was: str, now: str) -> str | None:
    """Tell only what differs in two long lists; None: they are short, or no lists."""
    if len(was) + len(now) <= _LONG_LISTS or was.startswith('"') or now.startswith('"'):
        return None
    old, new = was.split(","), now.split(",")
    gone, come = _without(old, new), _without(new, old)
    if min(len(old), len(new)) < 3 or not 0 < len(gone) + len(come) <= _MOST_ELEMENTS:  # noqa: PLR2004  (a list)
        return None
    return " ".join([*(f"−{clipped(one, 30)}" for one in gone), *(f"+{clipped(one, 30)}" for one in come)])


def _without(some: Sequence[str], others: Sequence[str]) -> list[str]:
    known = set(others)
    return [one for one in some if one not in known]


def _arrow(was: str, now: str) -> str:
    if len(was) <= _LONGEST_VALUE and len(now) <= _LONGEST_VALUE:
        return f"{was} → {now}"
    same = next((at for at, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), min(len(was), len(now)))
    begin = max(same - _KEPT, 0)
    if begin:
        was, now = "…" + was[begin:], "…" + now[begin:]
    return f"{clipped(was, _LONGEST_VALUE)} → {clipped(now, _LONGEST_VALUE)}"
