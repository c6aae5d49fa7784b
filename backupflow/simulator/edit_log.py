"""A router's log of edits as `/system history print detail` shows it, after MikroTik's manual; the newest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupflow.simulator.configuration import clock_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from backupflow.simulator.configuration import Edit
    from backupflow.simulator.spec import RouterSpec

KEPT = 100  # edits, as a router has them
_WIDTH = 78
_WORDS = {
    "/ip firewall filter": "filter rule",
    "/ip firewall address-list": "address list entry",
    "/ppp secret": "ppp secret",
}


@dataclass(frozen=True, slots=True)
class Made:
    """An edit, by whom it was made and when."""

    edit: Edit
    by: str
    at: datetime


def edit_log(spec: RouterSpec, made: Sequence[Made]) -> bytes:
    """The text with its lines wrapped where a console wraps them."""
    flags = "Flags: U - undoable, R - redoable, F - floating-undo"
    shown = [_shown(spec, one) for one in reversed(made[-KEPT:])]
    return "".join(f"{line}\r\n" for line in (flags, *(line for one in shown for line in (*one, "")))).encode(
        "utf-8", "surrogateescape"
    )


def _shown(spec: RouterSpec, made: Made) -> list[str]:
    edit = made.edit
    menu = edit.section if spec.release < (7, 10) else edit.section.replace(" ", "/")
    join = " " if spec.release < (7, 10) else "/"
    before, after = (_arguments(one) for one in (edit.before, edit.after))
    what = _WORDS.get(edit.section, edit.section.rpartition(" ")[2])
    if not before:
        redo, undo, said = f"{menu}{join}add {after}", f"{menu}{join}remove *{edit.revision:X}", f"{what} added"
    elif not after:
        redo, undo, said = f"{menu}{join}remove *{edit.revision:X}", f"{menu}{join}add {before}", f"{what} removed"
    else:
        number = f"*{edit.revision:X}"
        redo, undo, said = f"{menu}{join}set {number} {after}", f"{menu}{join}set {number} {before}", f"{what} changed"
    fields = [f"redo={redo}", f"undo={undo}", f'action="{said}"', f'by="{made.by}"', "policy=write"]
    return _wrapped([*fields, f"time={clock_text(spec, made.at)}"])


def _arguments(line: str) -> str:
    return line.partition(" ")[2]


def _wrapped(fields: Sequence[str]) -> list[str]:
    """Fields one after the other, a new line where one has no room; a long command is continued after a backslash."""
    lines, row = [], " U"
    for field in fields:
        if len(row) + 1 + len(field) > _WIDTH and row.strip():
            lines.append(row)
            row = "   "
        row += f" {field}"
        while len(row) > _WIDTH and (at := row.rfind(" ", 8, _WIDTH - 1)) > 0:
            lines.append(f"{row[: at + 1]}\\")
            row = f"          {row[at + 1 :]}"
    return [*lines, row]
