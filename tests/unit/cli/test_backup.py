"""How a backup that is waited for is shown on a terminal."""

from __future__ import annotations

import os
import pty
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from backupflow.cli import asking, backup
from backupflow.core.model import State
from backupflow.core.overview import Asked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest

STORED = Asked(1, "core-1", "claimed", State.STORED, None, None, is_change=True, seq=2)
CURSOR, ERASED = b"\x1b[?25h", "\x1b[2K"  # shown again, at the end; a line is taken away
STEPS = [replace(STORED, state=state) for state in (None, State.CLAIMED, State.RUNNING, State.PUBLISHED)]


def shown(monkeypatch: pytest.MonkeyPatch, steps: Sequence[Asked]) -> str:
    """All that a terminal gets of these looks, one after the other."""

    def wait(_numbers: Sequence[int], _patience: float | None, show: Callable[[Sequence[Asked]], None]) -> list[Asked]:
        for step in steps:
            show([step])
        return [steps[-1]]

    monkeypatch.setattr(asking, "wait", wait)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        backup._watch([1], None, quiet=False)
        terminal.flush()
        told = b""
        while CURSOR not in told:
            told += os.read(ours, 65536)
    os.close(ours)
    return told.decode()


def test_a_terminal_is_told_each_step_once_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """No header is repeated, no inner state is named, and what came of it stands there once, at the end."""
    told = shown(monkeypatch, [*STEPS, STORED])
    *under_way, ended, stays = told.split(ERASED)
    words = ("waiting for beat", "waiting for a worker", "running", "collected, being stored")
    assert [word in line for word, line in zip(words, under_way, strict=True)] == [True] * len(words)
    assert "changed, snapshot 2" in ended
    assert stays.count("changed, snapshot 2") == 1
    assert "device" not in told
    assert "published" not in told
