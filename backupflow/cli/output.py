"""What a person or a program is shown.

Names and texts of routers and inventories are hostile: no control character and no markup of theirs reaches a terminal.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NoReturn, TextIO

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from backupflow.cli.exits import Exit

Cell = str | int | datetime | timedelta | None
LONGEST_TOLD = 32  # characters of a name, a model or a number that a router gives itself
LONGEST_DETAIL = 300  # of what a failure says
_GOES_ON = " " * 9  # before what a long line goes on with
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def visible(text: str) -> str:
    """The text with control, bidirectional and other unprintable characters as escapes."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def told(text: str | None, longest: int = LONGEST_TOLD) -> str | None:
    """What a router says of itself, as a few words for a person: visible, and no longer than its place."""
    if text is None:
        return None
    shown = visible(text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def say(text: str) -> None:
    """A line for a person, on stdout."""
    _write(sys.stdout, visible(text))


def say_long(text: str) -> None:
    """A line for a person that may be long: on a terminal it goes on below, set off, and is broken at blanks only."""
    if not sys.stdout.isatty():
        say(text)
        return
    _write(sys.stdout, wrapped(text))


def say_verdict(text: str, style: str) -> None:
    """The same, its first word in a style (rich's words for one) where there is colour."""
    if not sys.stdout.isatty():
        say(text)
        return
    from rich.text import Text

    shown = Text(_writable(sys.stdout, wrapped(text)))
    shown.stylize(style, 0, len(text.split(maxsplit=1)[0]))
    console().print(shown, soft_wrap=True)


def wrapped(text: str, room: int = 0) -> str:
    """The same as text; at its end so many columns are left. No word is cut: it may be a fingerprint."""
    width = max(shutil.get_terminal_size().columns - room, len(_GOES_ON) + 20)
    return "\n".join(
        textwrap.wrap(visible(text), width, subsequent_indent=_GOES_ON, break_on_hyphens=False, break_long_words=False)
    )


def note(text: str) -> None:
    """A line beside the result, on stderr."""
    _write(sys.stderr, visible(text))


def stop(code: Exit, text: str) -> NoReturn:
    """End the command: one line that says why and what to do, and the exit code."""
    note(f"backupflow: {text}")
    raise typer.Exit(code)


def as_document(value: object) -> None:
    """The result as one JSON document on stdout, in ASCII: whatever a terminal does with it is harmless."""
    _write(sys.stdout, json.dumps(value, indent=2, default=_plain))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], styles: Mapping[str, str] | None = None) -> None:
    """A table on stdout: fitted and coloured on a terminal (`styles` colours whole words), else a line for each row."""
    if sys.stdout.isatty():
        console().print(make_table(columns, rows, styles))
        return
    lines = [[visible(column) for column in columns], *([in_words(cell) for cell in row] for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    for line in lines:
        _write(sys.stdout, "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())


def fitting(columns: Sequence[str], rows: Sequence[Sequence[Cell]], drops: Sequence[str]) -> list[str]:
    """The columns that a terminal has room for without folding a cell: those of `drops` are left out in their order."""
    kept = list(columns)
    if not sys.stdout.isatty():
        return kept
    places = {column: number for number, column in enumerate(columns)}
    widths = {c: max([len(c), *(len(in_words(row[places[c]])) for row in rows)]) for c in columns}
    room = shutil.get_terminal_size().columns
    for column in drops:
        if sum(widths[each] + 1 for each in kept) - 1 <= room:
            break
        kept.remove(column)
    return kept


def make_table(
    columns: Sequence[str], rows: Iterable[Sequence[Cell]], styles: Mapping[str, str] | None = None
) -> Table:
    """A table for rich; its cells are plain text, so that no markup is read in them."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(Text(visible(column)), overflow="fold")  # never cut: what is left out might be what matters
    for row in rows:
        words = [in_words(cell) for cell in row]
        table.add_row(*(Text(word, style=(styles or {}).get(word, "")) for word in words))
    return table


def console() -> Console:
    """The terminal."""
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False)


def in_words(cell: Cell) -> str:
    """A cell as text; times in UTC, to the second."""
    match cell:
        case None:
            return "–"
        case datetime():
            return cell.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        case timedelta():
            return span(cell)
        case _:
            return visible(str(cell))


def given_up(at: datetime | None) -> str:
    """Why something cannot be opened, and why that is no alarm."""
    return f"sealed with keys that were given up on {f'{at.astimezone(UTC):%Y-%m-%d}' if at else 'an unknown day'}"


def counted(count: int, what: str) -> str:
    """`1 device`, `1,200 devices`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def short(digest: bytes) -> str:
    """A hash by its first digits, to be compared by eye; whole ones are in --json."""
    return digest.hex()[:8]


def span(length: timedelta) -> str:
    """A span in its largest unit, and the next one if there is some of it: `2 h 5 min`."""
    left, words = int(abs(length).total_seconds()), list[str]()
    for seconds, unit in _UNITS:
        count, left = divmod(left, seconds)
        if count:
            words.append(f"{count} {unit}")
        elif words:
            break
    return " ".join(words[:2]) or "0 s"


def _write(stream: TextIO, line: str) -> None:
    stream.write(_writable(stream, line) + "\n")
    stream.flush()


def _writable(stream: TextIO, text: str) -> str:
    """What the stream has no character for as escapes."""
    encoding = stream.encoding or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _plain(value: object) -> str | float:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)
