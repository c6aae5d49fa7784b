"""Long results on a real terminal: colour and pager there, plain text elsewhere, and never a file."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SHOW = """
from backupflow.cli import paging
from backupflow.cli.paging import Piece
lines = [(Piece("red ", "red"), Piece("\\x1b[2Jplain")), *[paging.line(f"line {number}") for number in range(LINES)]]
paging.show(iter(lines))
"""
KEEPS = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_bytes(sys.stdin.buffer.read())"
RED = b"\x1b[31mred \x1b[0m"


def script(lines: int = 3) -> list[str]:
    """A program that shows so many lines, and one before them."""
    return [sys.executable, "-c", SHOW.replace("LINES", str(lines))]


def on_terminal(environment: Mapping[str, str], lines: int = 3) -> tuple[int, bytes]:
    """Run it on a terminal; its exit code and what the terminal was sent."""
    master, slave = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "PAGER", "COLUMNS"}}
    process = subprocess.Popen(
        script(lines), stdout=slave, stderr=slave, stdin=slave, env={**kept, "TERM": "xterm-256color", **environment}
    )
    os.close(slave)
    seen = b""
    with suppress(OSError):
        while more := os.read(master, 65536):
            seen += more
    os.close(master)
    return process.wait(60), seen


def test_what_is_piped_is_plain_and_meets_no_pager(tmp_path: Path) -> None:
    """Whatever PAGER says; what a router sends as control characters is harmless."""
    kept = tmp_path / "kept"
    pager = {"PAGER": f"{sys.executable} -c '{KEEPS}' {kept}"}
    done = subprocess.run(script(), capture_output=True, check=True, env={**os.environ, **pager})
    assert done.stdout == b"red \\x1b[2Jplain\nline 0\nline 1\nline 2\n"
    assert not kept.exists()


def test_a_terminals_pager_is_fed_by_a_pipe(tmp_path: Path) -> None:
    """All of it, in colour, and nothing beside it reaches the terminal."""
    kept = tmp_path / "kept"
    code, seen = on_terminal({"PAGER": f"{sys.executable} -c '{KEEPS}' {kept}"})
    assert (code, seen) == (0, b"")
    assert kept.read_bytes() == RED + b"\\x1b[2Jplain\nline 0\nline 1\nline 2\n"


@pytest.mark.parametrize("pager", ["cat", "", "nobody-has-a-pager-of-this-name"])
def test_without_a_pager_it_is_written_at_once(pager: str) -> None:
    """None is wanted, or it is not there."""
    code, seen = on_terminal({"PAGER": pager})
    assert code == 0
    assert seen == RED + b"\\x1b[2Jplain\r\nline 0\r\nline 1\r\nline 2\r\n"


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_it_is_not_wanted(environment: dict[str, str]) -> None:
    """As no-color.org has it; nor on a terminal that knows none."""
    _, seen = on_terminal({"PAGER": "cat", **environment})
    assert b"\x1b" not in seen
    assert seen.startswith(b"red \\x1b[2Jplain\r\n")


def test_who_leaves_the_pager_early_has_seen_enough() -> None:
    """No error, however much is left."""
    assert on_terminal({"PAGER": "true"}, lines=100_000) == (0, b"")


def test_the_pager_writes_no_file_and_runs_nothing(tmp_path: Path) -> None:
    """What is searched for may be a secret, and nobody's preprocessor is to see one."""
    kept = tmp_path / "kept"
    tells = "import sys, os, pathlib; sys.stdin.read(); pathlib.Path(sys.argv[1]).write_text(repr(dict(os.environ)))"
    hostile = {"LESSOPEN": "|cat %s", "LESSHISTFILE": str(tmp_path / "history")}
    on_terminal({"PAGER": f'{sys.executable} -c "{tells}" {kept}', **hostile})
    told = kept.read_text()
    assert "'LESSSECURE': '1'" in told
    assert "'LESSHISTFILE': '-'" in told
    assert "'LESSOPEN': ''" in told
