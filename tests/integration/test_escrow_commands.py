"""The commands of the escrow at night: they say why, and where the files must not go."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyrage

from backupflow.cli.escrow_folder import is_within
from backupflow.cli.exits import Exit

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.integration.scene import Scene

PUBLIC = str(pyrage.x25519.Identity.generate().to_public())


def test_what_keeps_a_file_from_being_written_is_told_by_its_status(scene: Scene, tmp_path: Path) -> None:
    """The rule of Prometheus sends people there; the exit code says it too."""
    folder = tmp_path / "escrow"
    folder.mkdir(0o700)
    assert scene.run("escrow", "enable", "-r", PUBLIC, "--to", str(folder)).code == Exit.OK
    assert scene.run("escrow", "status").code == Exit.OK
    folder.rmdir()
    assert scene.run("escrow", "run").code == Exit.WRONG
    shown = scene.run("escrow", "status")
    assert (shown.code, b"is its disk mounted" in shown.out) == (Exit.WRONG, True)
    (told,) = json.loads(scene.run("escrow", "status", "--json").out)
    assert ["is its disk mounted" in alarm for alarm in told["alarms"]] == [True]


def test_what_is_not_enabled_says_so_and_why(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file, nothing, or a folder that would be gone together with the install: no row, and nothing is made in it."""
    data, file = tmp_path / "data", tmp_path / "file"
    (data / "in").mkdir(parents=True)
    (tmp_path / "link").symlink_to(data)
    file.touch()
    (tmp_path / "beside").mkdir()
    monkeypatch.setattr("backupflow.cli.escrow_folder.data_folder", lambda: data)
    for to, says in (
        (file, "is no folder: name one"),
        (tmp_path / "none", "is its disk mounted"),
        (data, "in the data folder"),
        (tmp_path / "link" / "in", "in the data folder"),
    ):
        refused = scene.run("escrow", "enable", "-r", PUBLIC, "--to", str(to))
        assert (refused.code != Exit.OK, refused.err.startswith("backupflow: not enabled: ")) == (True, True)
        assert says in refused.err
    assert not scene.rows("SELECT 1 FROM escrow")
    enabled = scene.run("escrow", "enable", "-r", PUBLIC, "--to", str(tmp_path / "beside"))
    assert (enabled.code, "on the disk of the data folder" in enabled.err) == (Exit.OK, True)
    assert is_within(data, data)
    assert not is_within(tmp_path / "database", data)
