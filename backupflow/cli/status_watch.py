"""`backupflow status --watch`: the same look again and again, on one screen of a terminal."""

from __future__ import annotations

import os
import select
import shutil
import sys
import termios
import time
import tty
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

from backupflow.cli import output
from backupflow.errors import BackupflowError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

EVERY_SECONDS = 2.0
SHARE = 5.0  # of the time at least four fifths are rest, however large the fleet is
OLD = timedelta(seconds=10)
UNKNOWN = 3  # the exit code where there is no verdict
_END = b"q"


def keep_watching(look: Callable[[], tuple[Sequence[str], int]]) -> int:
    """Until q or Ctrl-C; gives the code of the last verdict. A database that goes away is told, and asked again.

    `look` gives the lines and the code of the verdict.
    """
    seen = Seen(look)
    with (
        suppress(KeyboardInterrupt),
        _keys() as typed,
        Live(console=output.console(), screen=True, auto_refresh=False) as live,
    ):
        while True:
            began = time.monotonic()
            live.update(_screen(seen.now()), refresh=True)
            took = time.monotonic() - began
            if typed(max(EVERY_SECONDS, SHARE * took)):
                break
    return seen.code


class Seen:
    """What was seen last, and when: it stays where nothing newer can be had, and says how old it is."""

    def __init__(
        self,
        look: Callable[[], tuple[Sequence[str], int]],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._look = look
        self._clock = clock
        self._lines: Sequence[str] = ()
        self._at: datetime | None = None
        self.code = UNKNOWN

    def now(self) -> list[str]:
        """The verdict first, then of when it is; where nobody answers, that, and what was seen before."""
        wrong: list[str] = []
        try:
            self._lines, self.code = self._look()
            self._at = self._clock()
        except BackupflowError as exc:
            wrong, self.code = [f"UNKNOWN: {exc}"], UNKNOWN
        return [*wrong, *self._lines[:1], self._as_of(), *self._lines[1:]]

    def _as_of(self) -> str:
        if self._at is None:
            return "q ends"
        age = self._clock() - self._at
        old = f" · OLD, {output.span(age)} ago" if age > OLD else ""
        return f"as of {self._at:%H:%M:%SZ}{old} · q ends"


def _screen(lines: Sequence[str]) -> Text:
    """As much of it as the screen holds; cut at its end, since the largest comes first."""
    room = shutil.get_terminal_size().lines - 1
    rows = [row for line in lines for row in output.wrapped(line).split("\n")]
    if len(rows) > room:
        rows = [*rows[: room - 1], f"… and {len(rows) - room + 1:,} more rows: `status`"]
    page = Text("\n".join(rows), no_wrap=True, overflow="crop")
    page.stylize("bold", 0, len(rows[0].split()[0]) if rows and rows[0] else 0)
    return page


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Whether q is typed within so many seconds; without a keyboard it is only waited."""
    if not sys.stdin.isatty():
        yield _only_waits
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)  # Ctrl-C stays what it is
    try:
        yield _typed
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _typed(seconds: float) -> bool:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        ready, _, _ = select.select([sys.stdin], [], [], left)
        if ready and os.read(sys.stdin.fileno(), 1).lower() in {_END, b""}:  # nothing: its terminal is gone
            return True
    return False


def _only_waits(seconds: float) -> bool:
    time.sleep(seconds)
    return False
