"""`backupflow up` as a whole: what it keeps over kills and moves, and who may run it beside itself."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from backupflow.core.model import Login
from backupflow.simulator import Fleet, RouterSpec
from tests.acceptance.install import Install, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 60.0


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """One router."""
    with Fleet([RouterSpec("core-1", seed=1)]) as routers:
        yield routers


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Install]:
    """An install that is up; each test leaves it up."""
    settings = {"CONFIG_BACKUP_INTERVAL": 3600, "CONFIG_BACKUP_SPREAD_FROM": 0, "CONFIG_BACKUP_SPREAD_TO": 0}
    it = Install(tmp_path_factory.mktemp("up"), **settings)
    it.start()
    try:
        yield it
    finally:
        assert it.stop() == 0


def test_data_and_keys_are_found_again_after_kill_9_and_a_move(install: Install, fleet: Fleet) -> None:
    """Kill everything with -9, move the folder: the next `up` opens what the one before had sealed, and goes on."""
    install.add("core-1", fleet["core-1"].port, Login("backup", "backup"))
    wait_for(lambda: bool(install.rows("SELECT 1 FROM content")), "a first snapshot", SECONDS)
    before = install.command("export", "core-1", "-o", "-").stdout
    install.wiring.close()
    install.kill_all()
    wait_for(lambda: not install.is_running(), "the folder to be free", SECONDS)

    moved = install.root / "moved"
    shutil.move(install.data, moved)
    install.data = moved
    install.start()
    assert install.command("export", "core-1", "-o", "-").stdout == before
    fleet["core-1"].edit()
    install.command("backup", "core-1", "--wait")
    wait_for(lambda: len(install.rows("SELECT 1 FROM content")) == 2, "a second snapshot", SECONDS)
    assert install.command("export", "core-1", "-o", "-").stdout != before


def test_a_second_up_on_the_folder_is_refused_in_one_line(install: Install) -> None:
    """Two on one folder: the second says so and what to do, and the first is not disturbed."""
    refused = install.command("up", "--seal-key", str(install.root / "seal.key"), check=False)
    assert refused.returncode == 77
    assert len(refused.stderr.decode().strip().splitlines()) == 1
    assert b"Another backupflow already runs on this data folder" in refused.stderr
    assert install.is_running()
    assert install.command("doctor", check=False).returncode == 0


def test_without_an_install_a_command_says_what_to_do(tmp_path: Path) -> None:
    """No `up` and nothing configured: one line, not a traceback."""
    done = Install(tmp_path).command("status", check=False)
    assert done.returncode != 0
    assert len(done.stderr.decode().strip().splitlines()) == 1
    assert b"backupflow up" in done.stderr
