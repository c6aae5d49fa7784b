"""A file of fingerprints that somebody compared: `name,fingerprint` in each line, as a spreadsheet writes it.

A spreadsheet takes a cell that begins with one of `= + - @` for a formula, quoted or not: such a name is written with
an apostrophe before it, as a spreadsheet marks text, and read without.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupflow.core.inventory import LONGEST_NAME, checked_fingerprint
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES = 4 * 1024 * 1024
MOST_FAULTS = 50
HEADER = ("name", "fingerprint")
_BREAK = re.compile(r"\r\n|\n|\r")
_FORMULA = re.compile(r"'*[=+@-]")
_INNER_FORMULA = re.compile(r"(?<=[,;\t])(\s*)([=+@-])")  # in a cell of a comment


@dataclass(frozen=True, slots=True)
class Compared:
    """Somebody says that this is the key of the device of this name."""

    line: int
    name: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a line; never what stands in it."""

    line: int
    says: str


def read(text: str) -> tuple[tuple[Compared, ...], tuple[Fault, ...]]:
    """All lines that say something, and what is wrong with others; whoever finds anything wrong takes nothing of it.

    Empty lines and those that begin with `#` say nothing, nor does a first one that names the columns.
    """
    said: dict[str, Compared] = {}
    faults: list[Fault] = []
    for number, line in enumerate(_BREAK.split(text.removeprefix("\ufeff")), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            cells = _cells(line)
            if not said and not faults and tuple(cell.lower() for cell in cells) == HEADER:
                continue
            one = _compared(number, cells)
            if one.name in said:
                raise InputInvalid(f"this device is in line {said[one.name].line} already")
            said[one.name] = one
        except InputInvalid as exc:
            faults.append(Fault(number, exc.detail))
        if len(faults) == MOST_FAULTS:
            break
    return tuple(said.values()), tuple(faults)


def written(name: str, fingerprint: str) -> str:
    """One line, without its end; a name that begins like a comment is quoted, one like a formula is none."""
    line = io.StringIO()
    if _FORMULA.match(name):
        name = f"'{name}"
    if name.startswith("#"):
        csv.writer(line, lineterminator="", quoting=csv.QUOTE_ALL).writerow((name, fingerprint))
    else:
        csv.writer(line, lineterminator="").writerow((name, fingerprint))
    return line.getvalue()


def comment(text: str) -> str:
    """A line that says nothing."""
    return "# " + _INNER_FORMULA.sub(r"\1'\2", text)


def _cells(line: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(_rows(line))]
    except (csv.Error, StopIteration) as exc:
        raise InputInvalid("it cannot be read: the quotes do not match, or it is too long") from exc


def _rows(line: str) -> Iterator[list[str]]:
    return csv.reader([line], strict=True)


def _compared(number: int, cells: list[str]) -> Compared:
    if len(cells) != len(HEADER):
        raise InputInvalid(f"{len(cells)} column{'' if len(cells) == 1 else 's'}, not name,fingerprint")
    name, fingerprint = cells
    if name.startswith("'") and _FORMULA.match(name):
        name = name[1:]
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise InputInvalid("no device can have such a name")
    return Compared(number, name, checked_fingerprint(fingerprint))
