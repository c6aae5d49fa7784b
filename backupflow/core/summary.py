"""What changed, in one line each, as a person would tell it; without secrets unless they are asked for.

    ip/firewall/filter: accept rule "allow winbox": src-address 10.0.0.0/8 → 10.1.0.0/16

What it says comes from a router: each value and each line is cut to a length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from backupflow.core.changes import Action
from backupflow.core.tree import HEADER
from backupflow.core.upgrading import VERSION, about, of_header, only_renamed, release, renamings, way
from backupflow.core.wording import Values, called, clipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.changes import Change, Property
    from backupflow.core.driver import Grammar
    from backupflow.core.tree import Parsed

LONGEST: Final = 400  # characters of a line; a screen's width and some more
_LONGEST_COMPONENT: Final = 80
_LONGEST_NAME: Final = 160
_MOST_PROPERTIES: Final = 20
SERIAL: Final = "serial number"
"""What the header's property is called by every vendor that has it."""


def summary(change: Change, grammar: Grammar, *, reveal: bool = False) -> str:
    """Tell one change; `reveal`: secrets too."""
    items = [grammar.parsed(change.component, text) for text in (change.old, change.new) if text is not None]
    names = {} if reveal else grammar.masked_names(change.component, items)
    line = clipped(_Line(change, grammar, Values(change.component, grammar, reveal, names)).told(), LONGEST)
    return f"{line}{made(change)}"


def told(changes: Sequence[Change], grammar: Grammar, *, reveal: bool = False) -> tuple[str, ...]:
    """Tell all changes between two configurations: an upgrade first, components that it renamed by one line each.

    What an upgrade added to items that were there is perhaps a default of the new version: marked so, and told last.
    """
    found = release(changes)
    lines = [summary(change, grammar, reveal=reveal) for change in of_header(changes)]
    lines += [line for _, _, line in renamings(changes, found, grammar, reveal=reveal)]
    defaults: list[str] = []
    for change in changes:
        if change.component == HEADER or only_renamed(change):
            continue
        line = summary(plain(change), grammar, reveal=reveal)
        if found and found.perhaps_set(change):
            defaults.append(line + found.caution)
        else:
            lines.append(line)
    return (*lines, *defaults)


def plain(change: Change) -> Change:
    """Give what is told of a change beside the line that says that its menu has another name now."""
    return replace(change, was_in=None, moved=change.moved and not change.was_in)


def made(change: Change) -> str:
    """By whom, as far as the router itself told so."""
    if change.by is None:
        return ""
    at = "" if change.made_at is None else f" {change.made_at:%Y-%m-%d %H:%MZ}"
    return f" (by {clipped(change.by, _LONGEST_COMPONENT)}{at})"


@dataclass(frozen=True, slots=True)
class _Line:
    """One change that is being told."""

    change: Change
    grammar: Grammar
    values: Values

    def told(self) -> str:
        if self.change.component == HEADER and about(self.change):
            return self._of_router(self.change.properties[0])
        component = self._called(self.change.component)
        if self.change.component == HEADER and self.change.action in {Action.ADDED, Action.REMOVED}:
            return f"{component}: {self._remark()} {self.change.action}"
        match self.change.action:
            case Action.ADDED:
                return f"{component}: {self._whole('added', self.change.new)}"
            case Action.REMOVED:
                return f"{component}: {self._whole('removed', self.change.old)}"
            case Action.MOVED | Action.MODIFIED:
                return f"{component}: {self._edited()}"

    def _of_router(self, said: Property) -> str:
        """Tell what the header says: not of the configuration, but of the router that has it."""
        name = self.grammar.name(HEADER, self._item(self.change.new or self.change.old))
        if said.old is None or said.new is None:
            return f"router: {self.values.difference(said, name)}"
        what = f"{name} {self.values.said(said.name, said.old)} → {self.values.said(said.name, said.new)}"
        if said.name == VERSION:
            return f"{way(said.old, said.new)}: {what}"
        return f"router replaced: {what}" if said.name == SERIAL else f"router: {what}"

    def _remark(self) -> str:
        """Give a line of the header that is about nothing known: somebody's words."""
        text = self.change.new or self.change.old or ""
        return clipped(text if self.values.reveal else self.grammar.masked_line(HEADER, text), _LONGEST_NAME)

    def _whole(self, verb: str, text: str | None) -> str:
        item = self._item(text)
        known = self.grammar.named_by(self.change.component, item)
        told = [self.values.one(name, value) for name, value in sorted(item.properties.items()) if name not in known]
        name = clipped(self.grammar.name(self.change.component, item, brief=True), _LONGEST_NAME)
        place = self._place(" before {}", " at the end") if self.change.action is Action.ADDED else ""
        return f"{name} {verb}".lstrip() + place + _listed(told)

    def _edited(self) -> str:
        item = self._item(self.change.old or self.change.new)
        name = clipped(self.grammar.name(self.change.component, item), _LONGEST_NAME)
        told = [self.values.difference(one) for one in self.change.properties]
        if self.change.moved:
            told.append(self._moved())
        if not told:
            told = ["the order of its properties"]
        if not name:
            return _joined(told)
        alone = len(told) == 1 and (not self.change.properties or told[0] in {"disabled", "enabled"})
        return f"{name} {told[0]}" if alone else f"{name}{_listed(told)}"

    def _moved(self) -> str:
        if self.change.was_in is not None:
            return f"was in {self._called(self.change.was_in)}"
        at_old, at_new = self.change.at_old or 0, self.change.at_new or 0
        way = " up" if at_new < at_old else " down" if at_new > at_old else ""
        return f"moved{way}, now" + self._place(" before {}", " last")

    def _place(self, before: str, last: str) -> str:
        if self.change.before is not None:
            return before.format(clipped(self.change.before, _LONGEST_NAME))
        return "" if self.change.at_new is None else last

    def _called(self, component: str) -> str:
        return clipped(called(component, self.grammar, reveal=self.values.reveal), _LONGEST_COMPONENT)

    def _item(self, text: str | None) -> Parsed:
        return self.grammar.parsed(self.change.component, text or "")


def _listed(told: Sequence[str]) -> str:
    return f": {_joined(told)}" if told else ""


def _joined(told: Sequence[str]) -> str:
    shown, length = list[str](), 0
    for one in told:
        if shown and (length + len(one) > LONGEST // 2 + 60 or len(shown) == _MOST_PROPERTIES):
            break
        shown.append(one)
        length += len(one) + 2
    more = len(told) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
