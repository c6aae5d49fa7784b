"""What `up` says to a person, without what it starts."""

from __future__ import annotations

import io
import json
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from backupflow.cli import up as door
from backupflow.cli.log_lines import calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INFO = json.dumps({"event": "claims_emitted", "level": "info"})
ERROR = json.dumps({"event": "emit_failed", "level": "error"})


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (INFO, False),
        (json.dumps({"event": "x", "level": "debug"}), False),
        (json.dumps({"event": "x", "level": "warning"}), True),
        (ERROR, True),
        (json.dumps({"event": "x", "level": "critical"}), True),
        (INFO[:-3], True),
        ("Traceback (most recent call last):", True),
        ("", False),
        ("2026-11-22T17:00:00.000000Z [info     ] claims_emitted", False),
        ("\x1b[2m2026-11-22T17:00:00.000000Z\x1b[0m [\x1b[32m\x1b[1minfo     \x1b[0m] \x1b[1mclaims\x1b[0m", False),
        ("2026-11-22T17:00:00.000000Z [error    ] emit_failed", True),
    ],
)
def test_of_the_logs_what_is_a_warning_or_no_log_line_calls_for_a_person(line: str, shown: bool) -> None:
    """In either form of the logs; a line that was cut is rather shown once too often."""
    assert calls(line) is shown


@pytest.mark.parametrize("terminal", [False, True])
def test_what_up_says_stands_last_on_a_terminal_and_is_whole_in_a_file(
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
) -> None:
    """Where the page and the secrets are must not scroll away; journals get every line; the last says how it ended."""
    told = _Told(terminal)
    monkeypatch.setattr(sys, "stderr", told)
    monkeypatch.setattr(door, "installed", _installed)
    monkeypatch.setattr(door, "start_processes", _log)
    monkeypatch.setattr(door, "Reviver", lambda *_: SimpleNamespace(run=lambda _stop: None))
    monkeypatch.setattr(door, "stop_signals", threading.Event)
    monkeypatch.setattr(door, "_about_flower", lambda _install: ["Watch the workers at http://127.0.0.1:1/."])
    door.up()
    logged = [line for line in told.getvalue().splitlines() if " | " in line]
    assert logged == (
        [f"        beat | {ERROR}"] if terminal else [f"        beat | {INFO}", f"        beat | {ERROR}"]
    )
    first, *said = [line for line in told.getvalue().splitlines() if " | " not in line]
    assert first.startswith("backupflow is up on data; Ctrl-C stops it. ")
    assert [line.split()[0] for line in said[:3]] == ["That", "Watch", "Add"]
    assert said[3:] == ["stopping", "backupflow is stopped; nothing is lost"]


class _Told(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.isatty = lambda: terminal  # type: ignore[method-assign]


@contextmanager
def _installed(*_: object) -> Iterator[Any]:
    servers = SimpleNamespace(folder=SimpleNamespace(path=Path("data")), supervisor=None)
    yield SimpleNamespace(servers=servers, wiring=None, seal_key=Path("key"))


def _log(_install: object, on_line: Callable[[str, str], None]) -> None:
    on_line("beat", INFO)
    on_line("beat", ERROR)
