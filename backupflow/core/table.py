"""A table of devices as text (RFC 4180, with `,`, `;` or tabs) -> what it wants, and what is wrong with it.

Nothing that is said of it holds a value: a column that slipped may hold a password.
"""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any

from backupflow.core.importing import Problem, Wanted
from backupflow.core.table_cells import CELLS, COLUMNS, SECRET_COLUMNS
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LARGEST = 64 * 1024 * 1024  # bytes
MOST_ROWS = 200_000
_COMMENT = "#"
_DELIMITERS = ",;\t"
_LONGEST_COLUMN_SHOWN = 24
_PLAIN_COLUMN = re.compile(rf"[A-Za-z][A-Za-z_ -]{{0,{_LONGEST_COLUMN_SHOWN - 1}}}")
_BYTE_MARKS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\0\0\xfe\xff", "UTF-32"))
_KINDS = ((b"PK\x03\x04", "a spreadsheet or a ZIP file"), (b"\xd0\xcf\x11\xe0", "a spreadsheet"), (b"\x1f\x8b", "gzip"))


def decoded(data: bytes) -> str:
    """The text of a file: UTF-8, with or without a byte order mark; InputInvalid says what it is instead."""
    if len(data) > LARGEST:
        raise InputInvalid(f"more than {LARGEST // 1024**2} MiB")
    for mark, kind in _KINDS:
        if data.startswith(mark):
            raise InputInvalid(f"this is {kind}, not text: save it as CSV")
    for mark, kind in _BYTE_MARKS:
        if data.startswith(mark):
            raise InputInvalid(f"this is {kind} text: save it as CSV in UTF-8")
    if (at := data.find(b"\0")) >= 0:
        raise InputInvalid(f"line {_line(data, at)}: a NUL byte, this is not text")
    wrong_at = _not_utf8(data)
    if wrong_at is not None:  # raised out here: the other exception holds all that was read
        raise InputInvalid(f"line {_line(data, wrong_at)}: not UTF-8 text: save it as CSV in UTF-8")
    return data.decode("utf-8-sig")


def _not_utf8(data: bytes) -> int | None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as exc:
        return exc.start
    return None


def _line(data: bytes, at: int) -> int:
    return data.count(b"\n", 0, at) + 1


def read_table(text: str, *, passwords: bool = False) -> tuple[tuple[Wanted, ...], tuple[Problem, ...]]:
    """All rows that are right, and all that is wrong; no row at all where the table itself cannot be understood.

    `passwords`: the columns username and password may be there; else nothing behind such a header is read.
    """
    rows = _Rows(text)
    try:
        columns = _columns(rows, passwords=passwords)
        return _read(rows, columns)
    except _Unreadable as exc:
        return (), exc.problems


class _Unreadable(Exception):
    def __init__(self, *problems: Problem) -> None:
        super().__init__()
        self.problems = problems


class _Rows:
    """The rows of a table, each with the number of the line that it begins in; blank ones and comments left out."""

    def __init__(self, text: str) -> None:
        self._lines = io.StringIO(text, newline="")
        self._number = 0
        self._between = True
        self.begins = 0
        self.header = next(self._without_comments(), "")

    def cells(self, delimiter: str) -> Iterator[list[str]]:
        """What stands below the header."""
        reader = csv.reader(self._without_comments(), delimiter=delimiter, strict=True)
        while True:
            self._between = True
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error:
                says = "a quote that does not end, text behind one, or a cell that is too long"
                raise _Unreadable(Problem(self.begins, None, f"{says}; nothing below it was read")) from None
            if any(cell.strip() for cell in row):
                yield row

    def _without_comments(self) -> Iterator[str]:
        for line in self._lines:
            self._number += 1
            if self._between:
                if line.lstrip().startswith(_COMMENT) or not line.strip():
                    continue
                self.begins = self._number
                self._between = False
            yield line


def _columns(rows: _Rows, *, passwords: bool) -> tuple[str, list[str]]:
    """The delimiter, and the name of each column."""
    if not rows.header:
        raise _Unreadable(Problem(1, None, "there is nothing in it"))
    found = {delimiter: _header(rows.header, delimiter) for delimiter in _DELIMITERS}
    known = {*COLUMNS, *SECRET_COLUMNS}
    delimiter = max(_DELIMITERS, key=lambda one: len(known.intersection(found[one])))
    names = found[delimiter]
    line = rows.begins
    if "name" not in names:
        raise _Unreadable(Problem(line, None, "no column `name`: the first line must say what each column is"))
    if refused := [name for name in SECRET_COLUMNS if name in names and not passwords]:
        says = "a file with logins needs --passwords-in-file; nothing below it was read"
        raise _Unreadable(*(Problem(line, name, says) for name in refused))
    if wrong := _wrong_columns(line, names, (*COLUMNS, *(SECRET_COLUMNS if passwords else ()))):
        raise _Unreadable(*wrong)
    if len({*SECRET_COLUMNS}.intersection(names)) == 1:
        raise _Unreadable(Problem(line, None, "the columns username and password go together"))
    return delimiter, names


def _wrong_columns(line: int, names: Sequence[str], known: Sequence[str]) -> list[Problem]:
    """Those that are unknown, the first of them with all that there are, and those that stand twice."""
    wrong: list[Problem] = []
    there = f"; there are {', '.join(known)}"
    for number, name in enumerate(names, 1):
        if name not in known:
            wrong.append(Problem(line, _shown(name, number), f"unknown{there}"))
            there = ""
        elif name in names[: number - 1]:
            wrong.append(Problem(line, name, "there twice"))
    return wrong


def _header(line: str, delimiter: str) -> list[str]:
    try:
        cells = next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error:
        return []
    names = [re.sub(r"[ -]", "_", cell.strip().lower()) for cell in cells]
    while names and not names[-1]:
        names.pop()
    return names


def _shown(name: str, number: int) -> str:
    """An unknown column by its name, if it looks like one: a first line that is none may hold anything."""
    return name if _PLAIN_COLUMN.fullmatch(name) else f"number {number}"


def _read(rows: _Rows, columns: tuple[str, list[str]]) -> tuple[tuple[Wanted, ...], tuple[Problem, ...]]:
    delimiter, names = columns
    wanted: list[Wanted] = []
    problems: list[Problem] = []
    seen: dict[tuple[str, str], _Row] = {}
    for count, cells in enumerate(rows.cells(delimiter), 1):
        if count > MOST_ROWS:
            raise _Unreadable(Problem(rows.begins, None, f"more than {MOST_ROWS:,} rows"))
        if len(cells) < len(names) or any(cell.strip() for cell in cells[len(names) :]):
            problems.append(Problem(rows.begins, None, f"{len(cells)} cells, and the header has {len(names)}"))
            continue
        row = _Row(rows.begins, dict(zip(names, cells, strict=False)))
        wants = row.wanted()
        problems += row.problems
        first = seen.setdefault(row.key, row) if row.key[1] else row
        if first is not row and (row.problems or first.problems):  # of two that are right core.import_problems tells
            problems.append(Problem(row.line, "name", f"the same name as in line {first.line}"))
            continue
        wanted += wants
    return tuple(wanted), tuple(problems)


class _Row:
    """One row, cell by cell."""

    def __init__(self, line: int, cells: Mapping[str, str]) -> None:
        self.line = line
        self.problems: list[Problem] = []
        self.key = ("", "")  # tenant and name, as far as they can be read
        self._cells = cells

    def wanted(self) -> Sequence[Wanted]:
        """What it wants, if nothing is wrong."""
        read = {name: self._read(name, text) for name, text in self._cells.items()}
        self.key = (read.get("tenant") or "", read["name"] or "")
        if not read["name"] and not self.problems:
            self.problems.append(Problem(self.line, "name", "missing"))
        if (read.get("username") is None) != (read.get("password") is None) and not self.problems:
            lacking = "password" if read.get("password") is None else "username"
            self.problems.append(Problem(self.line, lacking, "missing"))
        if read.get("interval") is not None and read.get("cron") is not None:
            self.problems.append(Problem(self.line, "cron", "an interval or a cron expression, not both"))
        return [] if self.problems else [Wanted(**read, line=self.line)]

    def _read(self, name: str, text: str) -> Any:  # noqa: ANN401 - of each column its own
        text = text if name == "password" else text.strip()
        if not text:
            return None
        try:
            return CELLS[name].read(text)
        except (InputInvalid, KeyError, ValueError):
            self.problems.append(Problem(self.line, name, CELLS[name].wrong))
            return None
