"""Reading an export: its lines, in as few pieces as possible; pure, and quick whatever a router sends.

To look at a line by itself takes some microseconds, and 16 MiB hold millions of lines. So lines are joined by a few
passes over the whole text, and what is canonical already, which is nearly all of every export, is taken in runs by one
pattern. What is left is looked at line by line, and there may be only so much of it: see `EXCESS`.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from io import BytesIO
from typing import TYPE_CHECKING, Final

from backupflow.drivers.routeros.canonical import ITEM_REST, PAIR

if TYPE_CHECKING:
    from collections.abc import Iterator

AS_WRITTEN: Final = b"# as written: more lines or tokens than a configuration has\n"
"""The first line of the normal form of a text that is not read; such a form is not read either."""
_TAIL: Final = b"\x02"  # stands for a backslash that ends a comment, and is no wrap
_MOST_LINES: Final = 1_250_000  # twice what 16 MiB of the densest real exports have: address lists, 27 bytes a line
_MOST_QUOTES: Final = 2_500_000  # nearly four times what 16 MiB of PPP secrets have
_MOST_BLANKS: Final = 5_000_000  # outside of wraps: twice what scripts have
_MOST_TAILS: Final = 20_000  # groups of comments that end in a backslash: no real one does
_MOST_ESCAPES: Final = 3_500_000
_DENSEST_ESCAPES: Final = 0.35  # of a normal form: one of names in UTF-8 is escapes of three bytes
_MOST_RAGGED: Final = (
    500_000  # lines with blanks before them (but for those of wraps), and lines with blanks after them
)
# A step takes a microsecond or so, judge and normalizer together; of 31,000 real items 8 are no part of a run. A
# long text leaves less time for them than a short one.
_MOST_STEPS: Final = 1_400_000
_BYTES_A_STEP: Final = 16
_STEPS_OF_A_PIECE: Final = 10
_STEPS_OF_A_TOKEN: Final = 4
_STEPS_OF_A_PREFIX: Final = 1
_RUN_LINES: Final = 5000  # until it is done, the pattern keeps some hundred bytes for each

_HASH, _SLASH, _BACKSLASH = b"#/\\"
_PRINTABLE: Final = bytes(range(0x20, 0x7F))
_VERBS: Final = rb"(?:add|set|remove|unset|enable|disable|move|reset)"
# See lexer.py for how a group is repeated.
_WORDS: Final = rb"/[A-Za-z0-9_-]++(?:[ /]++[A-Za-z0-9_-]++){0,30}"  # real paths have up to four
_PATH: Final = re.compile(_WORDS)
_TERSE: Final = re.compile(rb"(" + _WORDS + rb"?)[ \t]++(" + _VERBS + rb"(?:[ \t].*+)?+)", re.DOTALL)
_ITEM: Final = re.compile(_VERBS + rb"(?:[ \t].*+)?+", re.DOTALL)
_STRINGS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)  # the last may be open

# Blanks before line ends; the look-behind keeps a million blanks from being tried a million times.
_TRAILING: Final = re.compile(rb"[ \t](?<![ \t][ \t])[ \t]*+\n")
_LEADING: Final = re.compile(rb"\n[ \t\n]++")
_COMMENTS_WITH_TAILS: Final = re.compile(rb"\n#(?<!\\\n#)[^\n]*\\\n(?:(?=((?:#[^\n]*\\\n){1,1000}))\1)*")

_COMMENT: Final = rb"#[^\n]*+(?<!\\)\n"  # a joined line may begin with "#" and break off
_COMMENTS: Final = re.compile(rb"(?:" + _COMMENT + rb"){1,%d}" % _RUN_LINES)
_CANONICAL_PATH: Final = rb"/[A-Za-z0-9_-]++(?:(?! " + _VERBS + rb"[ \n]) [A-Za-z0-9_-]++){0,8}"
_ITEM_LINE: Final = _VERBS + ITEM_REST
_RUN: Final = re.compile(
    rb"(?:(?=(" + _ITEM_LINE + rb"|" + _CANONICAL_PATH + rb"\n|" + _COMMENT + rb"))\1){1,%d}" % _RUN_LINES
)
_TERSE_RUN: Final = re.compile(
    rb"(" + _CANONICAL_PATH + rb") " + _ITEM_LINE + rb"(?:(?=(\1 " + _ITEM_LINE + rb"))\2){0,%d}" % _RUN_LINES
)


class Kind(Enum):
    """What a piece of a text is, by its shape alone."""

    COMMENTS = auto()  # lines that begin with "#" before the first section
    SECTION = auto()
    ITEM = auto()
    RUN = auto()  # items that need no look at single tokens, the lines of their sections, device comments and markers
    DANGLING = auto()  # the text ends inside a wrapped line
    UNKNOWN = auto()  # nothing that an export holds
    EXCESS = auto()  # there is more than any configuration has: nothing from here on was looked at


# To look a member up in its class takes longer than all else that is done with a short line.
COMMENTS, SECTION, ITEM, RUN, DANGLING, UNKNOWN, EXCESS = Kind

Piece = tuple[Kind, int, bytes, bytes, int]
"""What it is; where it begins in the joined text; the canonical path of the section in which it ends, empty before the
first; its text: of comments and runs whole lines, of an item what begins with its verb. Runs have `PAIR` for a pair of
backslashes; how much work it was so far. A plain tuple: a hostile text has many.
"""


def joined(text: bytes, allowance: float = 1) -> bytes | None:
    r"""Write one logical line a line: wraps joined, blanks around lines and empty lines gone, `\\` as `PAIR`.

    The text's lines end in a plain newline. None if it has more lines than any export, or holds the two control
    characters that have a meaning here: it is kept as it is written. The limits are multiplied by `allowance`.
    """
    if PAIR in text or _TAIL in text or text.startswith(AS_WRITTEN):
        return None
    if text.count(b"\n") > _MOST_LINES * allowance or text.count(b'"') > _MOST_QUOTES * allowance:
        return None
    text = text.replace(rb"\\", PAIR).replace(b"\\\n    ", b"\\\n").replace(b" \n", b"\n")
    if _escaped(text, allowance) or _ragged(text, allowance):
        return None
    text = b"\n" + text.strip(b" \t\n") + b"\n"
    if b" \n" in text or b"\t\n" in text:
        text = _TRAILING.sub(b"\n", text)
    if b"\n " in text or b"\n\t" in text or b"\n\n" in text:
        text = _LEADING.sub(b"\n", text)
    if b"\\\n" in text:
        text, times = _COMMENTS_WITH_TAILS.subn(_with_tails, text, int(_MOST_TAILS * allowance) + 1)
        if times > _MOST_TAILS * allowance:
            return None
        text = text[:-1].replace(b"\\\n", b"") + b"\n"  # the text may end inside a line: that shows
    return None if text.count(b" ") > _MOST_BLANKS * allowance else text.lstrip(b"\n")


def _with_tails(found: re.Match[bytes]) -> bytes:
    return found[0].replace(b"\\\n", _TAIL + b"\n")


def may_be_too_much(text: bytes, allowance: float) -> bool:
    """Tell at a glance whether `joined` might find too much in a text that has no wraps."""
    counted = ((b"\n", _MOST_LINES), (b'"', _MOST_QUOTES), (b" ", _MOST_BLANKS))
    return _escaped(text, allowance) or any(text.count(each) > most * allowance for each, most in counted)


def _escaped(text: bytes, allowance: float) -> bool:
    most = _MOST_ESCAPES if allowance == 1 else max(_MOST_ESCAPES * allowance, len(text) * _DENSEST_ESCAPES)
    return text.count(b"\\") > most


def _ragged(text: bytes, allowance: float) -> bool:
    before, after = text.count(b"\n ") + text.count(b"\n\t"), text.count(b" \n") + text.count(b"\t\n")
    return max(before, after) > _MOST_RAGGED * allowance


def apart(line: bytes) -> bytes:
    """Give what stands in a joined text as it was written."""
    return line.replace(PAIR, rb"\\").replace(_TAIL, b"\\")


def scan(text: bytes, allowance: float = 1) -> Iterator[Piece]:
    """Classify what stands in a joined text; ends early, with `EXCESS`, where going on would take too long."""
    at, path, steps = 0, b"", 0
    most = max(_MOST_STEPS - len(text) // _BYTES_A_STEP, _MOST_STEPS // 3) * allowance
    while at < len(text):
        kind, end, path, piece, steps_of_it = _next(text, at, path)
        steps += steps_of_it
        if steps > most:
            yield EXCESS, at, path, b"", steps
            return
        yield kind, at, path, piece, steps
        at = end


def _next(text: bytes, at: int, path: bytes) -> tuple[Kind, int, bytes, bytes, int]:
    """Give the next piece: its kind, end, section and text, and how many steps it takes."""
    first = text[at]
    if (path or first == _SLASH) and (found := _RUN.match(text, at)):
        run = found[0]
        return RUN, found.end(), last_path(run) or path, run, _STEPS_OF_A_PIECE + _STEPS_OF_A_PREFIX * run.count(b" .")
    if first == _HASH and (found := _COMMENTS.match(text, at)):  # of a header, which is read line by line
        return COMMENTS, found.end(), path, found[0], _STEPS_OF_A_PIECE * found[0].count(b"\n")
    if first == _SLASH and (found := _TERSE_RUN.match(text, at)):
        path = found[1]
        run = path + b"\n" + found[0].replace(b"\n" + path + b" ", b"\n")[len(path) + 1 :]
        return RUN, found.end(), path, run, _STEPS_OF_A_PIECE + _STEPS_OF_A_PREFIX * run.count(b" .")
    end = text.index(b"\n", at) + 1
    kind, path, line = _classified(text[at : end - 1], path)
    return kind, end, path, line, _STEPS_OF_A_PIECE + (_steps_of(line) if kind is ITEM else 0)


def line_number(text: bytes, index: int) -> int:
    """Say in which line of a text, counted from 1, the logical line of this index (from 0) ends."""
    begun = wrapped = False
    number = 0
    for number, physical in enumerate(BytesIO(text), start=1):
        line = physical.strip(b" \t\n")
        if not line:
            continue  # captures double newlines, also inside wrapped lines
        wrapped = (begun or line[0] != _HASH) and (len(line) - len(line.rstrip(b"\\"))) % 2 == 1
        begun = wrapped
        if not wrapped:
            if index == 0:
                return number
            index -= 1
    return number


def _classified(line: bytes, path: bytes) -> tuple[Kind, bytes, bytes]:
    """Tell what a line is that is no comment, in which section it stands, and how it was written."""
    dangling = line[-1] == _BACKSLASH
    line = apart(line)
    if dangling:
        return DANGLING, path, line
    if line[0] == _SLASH:
        terse = _TERSE.fullmatch(line)
        if not terse and not _PATH.fullmatch(line):
            return UNKNOWN, path, line
        named = _canonical_path(terse[1] if terse else line)
        if _TERSE.fullmatch(named):
            return UNKNOWN, path, line  # no menu is called `/ip/add`: its section line would be an item
        return (ITEM, named, terse[2]) if terse else (SECTION, named, b"")
    return ITEM if path and _ITEM.fullmatch(line) else UNKNOWN, path, line


def _canonical_path(path: bytes) -> bytes:
    return b"/" + b" ".join(path.replace(b"/", b" ").split())


def last_path(run: bytes) -> bytes:
    """Give the last section line of a run, empty if there is none; none of its items begins with a slash."""
    begin = run.rfind(b"\n/") + 1
    return run[begin : run.index(b"\n", begin)] if run.startswith(b"/", begin) else b""


def _steps_of(item: bytes) -> int:
    """Say how many steps an item takes at most, one for each escape.

    Its canonical form takes no more, to speak of: what makes it longer counts already.
    """
    outside = _STRINGS.sub(b"", item)
    brackets, blanks = outside.count(b"[") + outside.count(b"]"), outside.count(b" ") + outside.count(b"\t")
    escapes = item.count(b"\\") + len(item.translate(None, _PRINTABLE))
    return _STEPS_OF_A_TOKEN * (2 * brackets + blanks + item.count(b" .")) + escapes
