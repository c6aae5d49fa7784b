"""What stands on a terminal beside a bar."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress

from backupflow.cli import output
from backupflow.cli.progress import Bar

if TYPE_CHECKING:
    import pytest


def test_a_line_beside_a_bar_has_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar is wiped away before it, and drawn again below."""
    terminal = io.StringIO()
    monkeypatch.setattr(output, "note", lambda line: terminal.write(f"{line}\n"))
    with Progress(
        "restoring",
        BarColumn(),
        console=Console(file=terminal, force_terminal=True),
        transient=True,
        auto_refresh=False,
    ) as shown:
        bar = Bar(shown)
        bar.note("PostgreSQL: loading the dump")
    before, _, after = terminal.getvalue().partition("PostgreSQL: loading the dump\n")
    assert "restoring" in before
    assert before.endswith("\x1b[2K")  # what stood on the line is erased
    assert "restoring" in after
