"""A diff as a person reads it, unified or side by side, without the secrets that `mask` hides."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Final, NamedTuple

from backupflow.core.tree import HEADER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from backupflow.core.diff import Diff, Hunk, Line

    Mask = Callable[[str, str], str]

MASKED: Final = "•••"
CHANGED: Final = f"{MASKED} changed"


class Row(NamedTuple):
    """One row of two columns; marks are " ", "-", "+", or "" where a side has no line or goes on with its last one."""

    old_mark: str
    old: str  # of exactly the column's width
    new_mark: str
    new: str
    heading: str = ""  # of a row without lines: where the hunk stands


def unmasked(_component: str, text: str) -> str:
    """Hide nothing: for those who may see the secrets, and have asked to."""
    return text


def unified(change: Diff, mask: Mask) -> Iterator[str]:
    """Lines of a unified diff without newlines, each with its mark; one that begins with a backslash is a remark."""
    texts = _Masked(change, mask)
    if change.coarse:
        yield f"\\ {change.coarse}"
    for hunk in change.hunks:
        yield heading(hunk, mask)
        for line in hunk.lines:
            yield line.mark + texts.of(line)


def side_by_side(change: Diff, width: int, mask: Mask) -> Iterator[Row]:
    """Rows of two columns: a row is as wide as `width` when marks and a separator of three are added."""
    texts, column = _Masked(change, mask), max((width - 5) // 2, 10)
    empty = " " * column
    if change.coarse:
        yield Row("", empty, "", empty, f"\\ {change.coarse}")
    for hunk in change.hunks:
        yield Row("", empty, "", empty, heading(hunk, mask))
        for old, new in _opposite(hunk.lines):
            yield from _rows(_side(old, texts), _side(new, texts), column)


def heading(hunk: Hunk, mask: Mask) -> str:
    """Where it stands, as unified diffs say it, and the menu of its first difference: equal lines may be of others."""
    component = next((line.component for line in hunk.lines if line.mark != " "), hunk.component)
    old, new = _range(hunk.old_start, hunk.count("-")), _range(hunk.new_start, hunk.count("+"))
    return f"@@ -{old} +{new} @@ {menu(component, mask)}".rstrip()


def menu(component: str, mask: Mask) -> str:
    """Name a component as its line is shown: what is no menu's path may hold what somebody typed."""
    line = "/" + component.replace("/", " ")
    return component if component in {"", HEADER} or mask(component, line) == line else MASKED


def _range(start: int, count: int) -> str:
    """Of no lines, the line before is named: as programs that apply such diffs expect."""
    return f"{start if count else start - 1},{count}"


class _Masked:
    """The texts of one diff as they may be seen; an added line that differs from a removed one in a secret says so."""

    def __init__(self, change: Diff, mask: Mask) -> None:
        self._mask = mask
        # Each text once, the first one first: thousands of lines may look the same without their secrets.
        self._removed: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        moved = Counter(line[1:] for hunk in change.hunks for line in hunk.lines if line.mark == "+")
        for line in (line for hunk in change.hunks for line in hunk.lines if line.mark == "-"):
            if moved[line[1:]]:
                moved[line[1:]] -= 1  # it stands elsewhere now, with all its secrets
            elif MASKED in (text := mask(line.component, line.text)):
                self._removed[line.component, text][line.text] = None

    def of(self, line: Line) -> str:
        """What is shown of a line."""
        text = self._mask(line.component, line.text)
        before = self._removed.get((line.component, text), {}) if line.mark == "+" else {}
        if not before or line.text in before:
            return text
        return _told(text, next(iter(before)), line.text)


def _told(masked: str, old: str, new: str) -> str:
    """Say of each secret that it changed, or of all if it cannot be told which did."""
    pieces = masked.split(MASKED)
    before, after = _between(old, pieces), _between(new, pieces)
    told = [one != other for one, other in zip(before, after, strict=False)]
    if len(told) != len(pieces) - 1 or not any(told):
        return masked.replace(MASKED, CHANGED)
    marks = [CHANGED if changed else MASKED for changed in told]
    return "".join(piece + mark for piece, mark in zip_longest(pieces, marks, fillvalue=""))


def _between(text: str, pieces: Sequence[str]) -> list[str]:
    """What stands between the pieces that masking left; less of it if the text does not have them."""
    if not text.startswith(pieces[0]):
        return []
    found, at = list[str](), len(pieces[0])
    for index, piece in enumerate(pieces[1:], 2):
        last = index == len(pieces)
        end = len(text) - len(piece) if last and text.endswith(piece) else text.find(piece, at) if piece else -1
        if end < at:
            return []
        found.append(text[at:end])
        at = end + len(piece)
    return found


def _opposite(lines: Sequence[Line]) -> Iterator[tuple[Line | None, Line | None]]:
    """Equal lines beside themselves, removed ones beside those that were added in their place."""
    for equal, run in groupby(lines, key=lambda line: line.mark == " "):
        if equal:
            yield from ((line, line) for line in run)
            continue
        here = list(run)
        yield from zip_longest((one for one in here if one.mark == "-"), (one for one in here if one.mark == "+"))


def _side(line: Line | None, texts: _Masked) -> tuple[str, str]:
    return (line.mark, texts.of(line)) if line else ("", "")


def _rows(old: tuple[str, str], new: tuple[str, str], column: int) -> Iterator[Row]:
    marks = iter([(old[0], new[0])])
    for left, right in zip_longest(_folded(old[1], column), _folded(new[1], column), fillvalue=""):
        old_mark, new_mark = next(marks, ("", ""))
        yield Row(old_mark, left.ljust(column), new_mark, right.ljust(column))


def _folded(text: str, column: int) -> list[str]:
    """After a blank where one is in the second half of a row: a long word goes on below as it is."""
    rows, at = [], 0
    while len(text) - at > column:
        blank = text.rfind(" ", at + column // 2, at + column)
        end = at + column if blank < 0 else blank + 1
        rows.append(text[at:end])
        at = end
    return [*rows, text[at:]]
