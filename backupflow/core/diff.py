"""Two normal forms → what differs between them, line by line, with the section that each line stands in.

A line is equal to another only in the same section. What of a hard pair of texts could not be compared in a bounded
time stands as one block, and `coarse` says so: every diff is true, not every one is short.
"""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from backupflow.core.equal_lines import Run, Stretch, shared
from backupflow.core.model import NormalConfig
from backupflow.errors import MessageMalformed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

HEADER: Final = "header"
CONTEXT: Final = 3  # equal lines before and after a difference
_FORM: Final = 1
_MARKS: Final = frozenset(" -+")


class Line(NamedTuple):
    """One line: `mark` is " " (both have it), "-" (the old text has it) or "+" (the new one)."""

    mark: str
    component: str  # "ip/firewall/filter"; of a section line its own; HEADER; "" before the first section
    text: str


@dataclass(frozen=True, slots=True)
class Hunk:
    """Differences that stand together, with a few equal lines around; starts count from 1.

    Of a side that has no line here, the start is that of the line that follows.
    """

    component: str  # of its first line
    old_start: int
    new_start: int
    lines: tuple[Line, ...]

    def count(self, mark: str) -> int:
        """Lines of one side: "-" the old one, "+" the new one."""
        return sum(line.mark in {" ", mark} for line in self.lines)


@dataclass(frozen=True, slots=True)
class Diff:
    """What leads from an old text to a new one."""

    hunks: tuple[Hunk, ...]
    added: int  # lines
    removed: int
    coarse: str = ""  # which part was not compared line by line, in words; "": all was


def diff(old: NormalConfig, new: NormalConfig, context: int = CONTEXT) -> Diff:
    """Compare two normal forms; time and memory are bounded by their size. `context`: equal lines that are shown."""
    numbers: dict[tuple[str, str], int] = {}
    before, after = _numbered(old, numbers), _numbered(new, numbers)
    same, known = shared(before, after), tuple(numbers)
    equal = sum(run.length for run in same.runs)
    hunks = tuple(_hunks(_Text(known, before), _Text(known, after), same.runs, context))
    return Diff(hunks, len(after) - equal, len(before) - equal, _coarse(same.uncompared))


def applied(old: NormalConfig, change: Diff) -> NormalConfig:
    """The new text; ValueError if the diff was made from another one."""
    before, at = [text for _, text in _lines(old)], 0
    after = list[str]()
    for hunk in change.hunks:
        after += before[at : hunk.old_start - 1]
        at = hunk.old_start - 1 + hunk.count("-")
        if before[hunk.old_start - 1 : at] != [line.text for line in hunk.lines if line.mark != "+"]:
            raise ValueError("the diff is not of this text")
        after += [line.text for line in hunk.lines if line.mark != "-"]
    return NormalConfig("".join(f"{text}\n" for text in after + before[at:]).encode("latin-1"))


def encode(change: Diff) -> bytes:
    """As it is sealed; not compressed."""
    hunks = [[hunk.old_start, hunk.new_start, _written(hunk.lines)] for hunk in change.hunks]
    counts = {"added": change.added, "removed": change.removed}
    return json.dumps(
        {"form": _FORM, **counts, "coarse": change.coarse, "hunks": hunks}, separators=(",", ":")
    ).encode()


def decode(body: bytes) -> Diff:
    """MessageMalformed if `encode` did not write it."""
    try:
        fields = json.loads(body)
        if fields["form"] != _FORM:
            raise MessageMalformed("a diff of another form")
        hunks = tuple(_hunk(int(old), int(new), tuple(_read(written))) for old, new, written in fields["hunks"])
        return Diff(hunks, int(fields["added"]), int(fields["removed"]), str(fields["coarse"]))
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as exc:
        raise MessageMalformed("a damaged diff") from exc


def _lines(normal: NormalConfig) -> Iterator[tuple[str, str]]:
    """Each line after the component that it stands in."""
    component = ""
    for line in BytesIO(normal):
        text = line.removesuffix(b"\n").decode("latin-1")
        if line.startswith(b"/"):
            component = text[1:].replace(" ", "/")
        yield (HEADER if line.startswith(b"#") else component), text


def _numbered(normal: NormalConfig, numbers: dict[tuple[str, str], int]) -> array[int]:
    """Each line as a number: a text of millions of lines may have only a few of them."""
    return array("i", (numbers.setdefault(line, len(numbers)) for line in _lines(normal)))


class _Text:
    """The lines of a text, from their numbers."""

    def __init__(self, known: Sequence[tuple[str, str]], numbers: array[int]) -> None:
        self._known = known
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def lines(self, mark: str, start: int, end: int) -> Iterator[Line]:
        """Those from one position to before another."""
        return (Line(mark, *self._known[number]) for number in self._numbers[start:end])


def _differences(runs: Iterable[Run], ends: tuple[int, int]) -> Iterator[Stretch]:
    old_at = new_at = 0
    for old, new, length in (*runs, Run(*ends, 0)):
        if (old_at, new_at) != (old, new):
            yield Stretch(old_at, old, new_at, new)
        old_at, new_at = old + length, new + length


def _hunks(before: _Text, after: _Text, runs: Iterable[Run], context: int) -> Iterator[Hunk]:
    near = list[Stretch]()
    for stretch in _differences(runs, (len(before), len(after))):
        if near and stretch.old - near[-1].old_end > 2 * context:
            yield _hunk_of(before, after, near, context)
            near = []
        near.append(stretch)
    if near:
        yield _hunk_of(before, after, near, context)


def _hunk_of(before: _Text, after: _Text, stretches: Sequence[Stretch], context: int) -> Hunk:
    first, lines = stretches[0], list[Line]()
    start = at = max(0, first.old - context)
    for old, old_end, new, new_end in stretches:
        lines += before.lines(" ", at, old)
        lines += before.lines("-", old, old_end)
        lines += after.lines("+", new, new_end)
        at = old_end
    lines += before.lines(" ", at, at + context)
    return _hunk(start + 1, first.new - (first.old - start) + 1, tuple(lines))


def _hunk(old_start: int, new_start: int, lines: tuple[Line, ...]) -> Hunk:
    return Hunk(lines[0].component, old_start, new_start, lines)


def _coarse(uncompared: Sequence[Stretch]) -> str:
    if not uncompared:
        return ""
    of_old = sum(one.old_end - one.old for one in uncompared)
    of_new = sum(one.new_end - one.new for one in uncompared)
    return (
        f"too different to be compared line by line: {of_old} lines of the old text stand as removed "
        f"and {of_new} of the new one as added, although some of them may be equal"
    )


def _written(lines: Iterable[Line]) -> list[list[Any]]:
    """Runs of one section: its name once, then each line after its mark."""
    return [
        [component, [line.mark + line.text for line in run]]
        for component, run in groupby(lines, key=lambda line: line.component)
    ]


def _read(written: Iterable[tuple[str, Iterable[str]]]) -> Iterator[Line]:
    for component, run in written:
        for text in run:
            if text[0] not in _MARKS:
                raise MessageMalformed("a line of a diff without its mark")
            yield Line(text[0], str(component), str(text[1:]))
