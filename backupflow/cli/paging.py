"""Long results: coloured on a terminal, and through a pager there, which is fed by a pipe and writes no file.

What is piped elsewhere is plain text. NO_COLOR is heeded, as is a terminal that knows no colour.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from backupflow.cli import output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_LESS = ("less", "-R")  # of all that a text holds it lets colours through alone
# A short text needs no pager (F), and stays to be read (X); it writes neither what was searched for nor any log.
_ENVIRONMENT = {"LESS": "FRX"}
_FORCED = {"LESSHISTFILE": "-", "LESSSECURE": "1", "LESSOPEN": "", "LESSCLOSE": ""}


class Piece(NamedTuple):
    """A part of a line, in a style (rich's words for one)."""

    text: str
    style: str = ""


Line = tuple[Piece, ...]


def line(text: str, style: str = "") -> Line:
    """A line of one style."""
    return (Piece(text, style),)


def show(lines: Iterable[Line]) -> None:
    """Write lines to stdout, one after the other; on a terminal in colour and through the pager."""
    if not sys.stdout.isatty():
        _write(_plain(one) for one in lines)
        return
    paint = _painter()
    with _pager() as feed:
        if feed is None:
            _write(paint(one) for one in lines)
        else:
            feed(paint(one) for one in lines)


def width() -> int:
    """Columns of the terminal; what is piped elsewhere has as many as COLUMNS says, else 160."""
    return shutil.get_terminal_size((160, 24)).columns


def _plain(pieces: Line) -> str:
    return output.visible("".join(piece.text for piece in pieces))


def _painter() -> Callable[[Line], str]:
    """Colours cost little each, since there may be very many lines."""
    from rich.style import Style

    console = output.console()
    system = None if console.no_color else console._color_system  # noqa: SLF001 - as a name it cannot be given back

    @cache
    def styled(style: str) -> Style:
        return Style.parse(style)

    def paint(pieces: Line) -> str:
        if system is None:
            return _plain(pieces)
        shown = ((output.visible(piece.text), piece.style) for piece in pieces)
        return "".join(styled(style).render(text, color_system=system) if style else text for text, style in shown)

    return paint


@contextmanager
def _pager() -> Iterator[Callable[[Iterable[str]], None] | None]:
    """Feed the pager; None if there is none. Whoever leaves it early has seen enough."""
    argv = _wanted()
    if not argv:
        yield None
        return
    try:
        environment = _ENVIRONMENT | dict(os.environ) | _FORCED
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, env=environment)  # noqa: S603 - what PAGER says
    except OSError:
        yield None
        return
    ours = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the pager's

    def feed(lines: Iterable[str]) -> None:
        with suppress(BrokenPipeError):
            for text in lines:
                _into(process, text)

    try:
        yield feed
    finally:
        with suppress(BrokenPipeError):
            if process.stdin:
                process.stdin.close()
        process.wait()
        signal.signal(signal.SIGINT, ours)


def _wanted() -> Sequence[str]:
    """PAGER as words, never through a shell; none if it is empty or `cat`."""
    asked = os.environ.get("PAGER")
    if asked is None:
        return _LESS
    try:
        words = shlex.split(asked)
    except ValueError:
        return _LESS
    return () if words in ([], ["cat"]) else words


def _into(process: subprocess.Popen[bytes], text: str) -> None:
    if process.stdin:
        process.stdin.write((text + "\n").encode(sys.stdout.encoding or "ascii", "backslashreplace"))


def _write(lines: Iterable[str]) -> None:
    encoding = sys.stdout.encoding or "ascii"
    for text in lines:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()
