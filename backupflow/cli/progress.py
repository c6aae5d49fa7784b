"""How far long work is, on a terminal; elsewhere nothing is shown."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from backupflow.cli import output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress


@contextmanager
def progress(what: str, total: int | None, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar of so many, None: nobody knows yet; what is given is called with how many more are done."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(
        what, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True),
        transient=True, redirect_stdout=False, redirect_stderr=False,
    ) as bar:  # fmt: skip
        task = bar.add_task("", total=total)
        yield lambda more: bar.advance(task, more)


class Bar:
    """A bar whose length is told later, and that makes room for what is written to the same terminal meanwhile."""

    def __init__(self, shown: Progress | None = None) -> None:
        self._shown = shown
        self._task = shown.add_task("", total=None) if shown else None

    def began(self, total: int) -> None:
        """So many there are."""
        if self._shown is not None and self._task is not None:
            self._shown.update(self._task, total=total)

    def moved(self, more: int) -> None:
        """So many more are done."""
        if self._shown is not None and self._task is not None:
            self._shown.advance(self._task, more)

    def note(self, line: str) -> None:
        """A line to stderr, where the bar is: above it."""
        if self._shown is not None:
            self._shown.stop()
        output.note(line)
        if self._shown is not None:
            self._shown.start()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """While this lasts no bar is there."""
        if self._shown is None or not sys.stdout.isatty():
            yield
            return
        self._shown.stop()
        try:
            yield
        finally:
            self._shown.start()


@contextmanager
def bar(what: str, *, quiet: bool) -> Iterator[Bar]:
    """A bar on a terminal; elsewhere one that shows nothing."""
    if quiet or not sys.stderr.isatty():
        yield Bar()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(
        what, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True),
        transient=True, redirect_stdout=False, redirect_stderr=False,
    ) as shown:  # fmt: skip
        yield Bar(shown)
