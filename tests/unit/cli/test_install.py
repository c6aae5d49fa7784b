"""How a command is said to somebody who sits at another terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from backupflow.cli.install import said_elsewhere

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A virtual environment in which this program lies, with a default data folder beside it."""
    program = tmp_path / "a venv" / "bin" / "backupflow"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    monkeypatch.setattr(sys, "prefix", str(program.parents[1]))
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    return program


def test_the_program_of_a_virtual_environment_is_named_with_its_path(
    venv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Activated here or not: it is not elsewhere."""
    default = tmp_path.resolve() / "share" / "backupflow"
    assert said_elsewhere(default) == f"'{venv}'"
    monkeypatch.setenv("PATH", str(venv.parent))
    assert said_elsewhere(default) == f"'{venv}'"


def test_what_every_terminal_finds_is_named_alone(venv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link on PATH, or no virtual environment; a folder that is not the default one is named."""
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "backupflow").symlink_to(venv)
    monkeypatch.setenv("PATH", str(tmp_path / "local"))
    assert said_elsewhere(tmp_path / "data") == f"backupflow --data-dir {tmp_path / 'data'}"
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert said_elsewhere(tmp_path.resolve() / "share" / "backupflow") == "backupflow"
