"""`backupflow process NAME`: waits for its logins, says so, and becomes the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from backupflow.cli import process as door
from backupflow.errors import InputInvalid
from backupflow.wiring.rooms import logins

if TYPE_CHECKING:
    from pathlib import Path


def test_it_becomes_the_process_with_the_role_in_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command line as under `up`, in the same process, so that signals reach it."""
    became: list[tuple[str, tuple[str, ...], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda *given: became.append(given))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv("CONFIG_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("CONFIG_BACKUP_MAX_CONCURRENT", "7")
    for name in logins("collector"):
        (tmp_path / name).write_text("a", "utf-8")
    door.process("collect")
    ((program, argv, environment),) = became
    assert program == sys.executable
    assert argv[argv.index("-Q") + 1] == "collect.now,collect"
    assert argv[argv.index("-c") + 1] == "7"
    assert environment["CONFIG_ROLE"] == "collector"


def test_a_name_that_there_is_not_is_answered_with_those_that_there_are() -> None:
    """One line, before anything is waited for."""
    with pytest.raises(InputInvalid, match="no process 'colect'; there are beat, collect, collect-slow"):
        door.process("colect")


def test_it_says_what_it_waits_for_and_ends_at_sigterm(tmp_path: Path) -> None:
    """The first process of a container ignores SIGTERM unless it says otherwise: it would be killed a minute later."""
    environment = {**os.environ, "CONFIG_SECRETS_DIR": str(tmp_path)}
    waiting = subprocess.Popen(
        [sys.executable, "-m", "backupflow", "process", "flower"], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert waiting.stderr
        assert waiting.stderr.readline() == f"waiting for flower.redis, flower.web in CONFIG_SECRETS_DIR={tmp_path}\n"
        waiting.send_signal(signal.SIGTERM)
        assert waiting.wait(60) == 128 + signal.SIGTERM
    finally:
        waiting.kill()
        waiting.communicate()
