"""One change of a device for a person: a line that says which, and below it what changed, a line each."""

from __future__ import annotations

import shlex
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from backupflow.cli import output
from backupflow.cli.paging import Line, Piece, line
from backupflow.core.interpretation import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.core.changes import Change
    from backupflow.core.driver import Grammar
    from backupflow.core.timeline import Entry
    from backupflow.flows.timeline import Opened

MOST = 0  # changes of it that are held: its lines are made while they are read
_INDENT = "    "
_MARKS = {
    Kind.FIRST: "first snapshot",
    Kind.CHANGE: "",
    Kind.UPGRADE: "upgrade",
    Kind.SECRETS: "only the visibility of its secrets changed",
    Kind.ORDER: "only an order without meaning changed",
    Kind.UNREAD: "cannot be read",
}
_STYLES = {Kind.UPGRADE: "yellow", Kind.UNREAD: "red"}
_CLOSED = {
    "transit_key_missing": "what was told of it cannot be opened: its key is gone",
    "message_malformed": "DAMAGED: what was told of it is not what was written",
}


def lines(opened: Opened, *, named: bool) -> Iterator[Line]:
    """The heading, then what changed; `named`: it is one of several devices."""
    entry = opened.entry
    yield heading(entry, named=named)
    if opened.closed:
        yield line(_INDENT + closed(opened), "red")
    told = opened.few
    for one in told.lines if told else ():
        for part in folded(one):
            yield line(part)
    if told and told.rest:
        for part in folded(f"… and {told.rest}: `diff {shlex.quote(entry.owner.name)} {entry.seq}`"):
            yield line(part, "dim")
    if opened.ignored:
        yield line(f"{_INDENT}+{opened.ignored:,} ignored", "dim")


def heading(entry: Entry, *, named: bool) -> Line:
    """Number, device, time, lines and marks."""
    told = entry.told
    pieces = [Piece(f"{entry.seq:>5}  ", "bold")]
    if named:
        pieces.append(Piece(f"{entry.owner.name}  ", "bold"))
    pieces.append(Piece(output.in_words(entry.at)))
    if told and (told.lines_added or told.lines_removed):
        pieces += [Piece(f"  +{told.lines_added:,}", "green"), Piece(f" −{told.lines_removed:,}", "red")]
    if marked := mark(entry):
        pieces.append(Piece(f"  {marked}", _STYLES.get(Kind(told.kind), "dim") if told else "yellow"))
    return tuple(pieces)


def mark(entry: Entry) -> str:
    """What sort of change it is, if that is to be said: an upgrade, the first, nothing but …, not interpreted yet."""
    if entry.given_up_at:
        return output.given_up(entry.given_up_at)
    if entry.told is None:
        tried = f", begun {entry.tries} times" if entry.tries > 1 else ""
        return f"not interpreted yet{tried}" if entry.previous_seq else _MARKS[Kind.FIRST]
    kind = Kind(entry.told.kind)
    said = _MARKS[kind]
    if kind is Kind.UPGRADE and (version := output.told(entry.facts.get("version"))):
        said = f"{said} to {version}"
    detail = output.told(entry.told.detail, output.LONGEST_DETAIL)
    return f"{said}: {detail}" if said and detail else detail or said


def closed(opened: Opened) -> str:
    """Why nothing more is said of it."""
    if opened.entry.given_up_at:
        return f"nobody can open what was told of it: {output.given_up(opened.entry.given_up_at)}"
    return _CLOSED.get(opened.closed, f"what was told of it cannot be opened: {opened.closed}")


def document(opened: Opened, grammar: Grammar, *, reveal: bool) -> dict[str, Any]:
    """As JSON."""
    entry, told = opened.entry, opened.entry.told
    return {
        "device": entry.owner.name,
        "snapshot": entry.seq,
        "collected_at": entry.at,
        "after_snapshot": entry.after or None,
        "kind": told.kind if told else None,
        "detail": told.detail if told else "",
        "lines_added": told.lines_added if told else None,
        "lines_removed": told.lines_removed if told else None,
        "components": list(told.components) if told else [],
        "summaries": list(summaries(opened, grammar, reveal=reveal)),
        "changes": [_change(one, grammar, reveal=reveal) for one in opened.changes or ()],
        "ignored": opened.ignored,
        "cannot_be_opened": opened.closed or None,
        "keys_given_up_at": entry.given_up_at,
        "version": entry.facts.get("version"),
    }


def _change(change: Change, grammar: Grammar, *, reveal: bool) -> dict[str, Any]:
    from backupflow.core.wording import called

    def seen(name: str, value: str | None) -> str | None:
        return value if value is None or reveal else grammar.masked_value(change.component, name, value)

    items = [grammar.parsed(change.component, text) for text in (change.old, change.new) if text is not None]
    names = {} if reveal else grammar.masked_names(change.component, items)
    return {
        "component": called(change.component, grammar, reveal=reveal),
        "action": change.action,
        "moved": change.moved,
        "by": change.by,
        "made_at": change.made_at,
        "item": grammar.name(change.component, grammar.parsed(change.component, change.old or change.new or "")),
        "properties": [
            {
                "name": names.get(one.name, one.name),
                "old": seen(one.name, one.old),
                "new": seen(one.name, one.new),
                "secret": one.name in change.secret,
            }
            for one in change.properties
        ],
    }


def summaries(opened: Opened, grammar: Grammar, *, reveal: bool) -> tuple[str, ...]:
    """All that changed, a line each, without what is ignored."""
    from backupflow.core import summary  # heavy, and every command imports this

    return summary.told(opened.changes or (), grammar, reveal=reveal)


def folded(text: str, indent: str = _INDENT) -> list[str]:
    """Below the heading; on a terminal what is too long goes on, set off."""
    shown = output.visible(text)
    if not sys.stdout.isatty():
        return [indent + shown]
    columns = max(shutil.get_terminal_size().columns - 1, 40)
    return textwrap.wrap(shown, columns, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False)
