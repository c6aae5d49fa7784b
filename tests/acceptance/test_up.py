"""`backupflow up` as a whole: what it keeps over kills and moves, who may run it beside itself, and who says when."""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import redis
from sqlalchemy import make_url

from backupflow.core.model import Login
from backupflow.simulator import Fleet, RouterSpec
from tests.acceptance.install import Install, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Row

    from backupflow.core.model import DeviceId

SECONDS = 60.0
OF_CORE = "SELECT 1 FROM content c JOIN device d ON d.id = c.device_id WHERE d.name = 'core-1'"
INTERPRETED = (
    "SELECT i.* FROM interpretation i JOIN device d ON d.id = i.device_id WHERE d.name = 'core-1' ORDER BY i.seq"
)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """A router for each test that needs one."""
    with Fleet([RouterSpec("core-1", seed=1), RouterSpec("edge-1", seed=2)]) as routers:
        yield routers


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Install]:
    """An install that is up; each test leaves it up."""
    settings = {"CONFIG_BACKUP_INTERVAL": 3600, "CONFIG_BACKUP_SPREAD_FROM": 0, "CONFIG_BACKUP_SPREAD_TO": 0}
    settings["CONFIG_STATUS_INTERVAL"] = 1
    it = Install(tmp_path_factory.mktemp("up"), **settings)
    it.start()
    try:
        yield it
    finally:
        assert it.stop() == 0


def test_data_and_keys_are_found_again_after_kill_9_and_a_move(install: Install, fleet: Fleet) -> None:
    """Kill everything with -9, move the folder: the next `up` opens what the one before had sealed, and goes on."""
    install.add("core-1", fleet["core-1"].port, Login("backup", "backup"))
    wait_for(lambda: len(install.rows(OF_CORE)) == 1, "a first snapshot", SECONDS)
    before = install.exported("core-1")
    install.wiring.close()
    install.kill_all()
    wait_for(lambda: not install.is_running(), "the folder to be free", SECONDS)

    moved = install.root / "moved"
    shutil.move(install.data, moved)
    install.data = moved
    install.start()
    assert install.command("export", "core-1", "-o", "-").stdout == before
    fleet["core-1"].edit()
    assert install.collected("core-1") == "stored"
    wait_for(lambda: len(install.rows(OF_CORE)) == 2, "a second snapshot", SECONDS)
    assert install.exported("core-1") != before
    wait_for(lambda: len(install.rows(INTERPRETED)) == 2, "both to be interpreted", SECONDS)
    kinds = [(row.kind, row.seq > row.after_seq, row.diff_sealed is not None) for row in install.rows(INTERPRETED)]
    assert kinds == [("first", True, False), ("change", True, True)]


def test_a_poller_and_the_status_task_decide_when_a_router_is_due(install: Install, fleet: Fleet) -> None:
    """A poller with the login that it was given says that a router is away, and is back; it is not tried meanwhile.

    And one that did not answer is found to do so by the process that looks for that, and due some minutes later.
    """
    device = install.add("edge-1", fleet["edge-1"].port, Login("backup", "backup"))

    def state() -> Row[Any]:
        return install.rows(
            "SELECT last_seq, offline_since, next_due_at - now() AS due, current_seq, probed_at, met_at FROM device "
            "WHERE id = :id",
            id=device,
        )[0]

    wait_for(lambda: state().current_seq == 1, "a first snapshot", SECONDS)
    address = install.wiring.settings.servers.redis_url
    password = (install.data / "secrets" / "poller.redis").read_text("utf-8").strip()
    with redis.Redis.from_url(address, username="poller", password=password) as poller:
        poller.set(f"device:{device}:status", "offline", ex=600)
        set_device(install, device, "next_due_at = now()")
        wait_for(lambda: state().offline_since is not None, "it to be passed over", SECONDS)
        assert timedelta(0) < state().due <= timedelta(seconds=60)
        poller.set(f"device:{device}:status", "online", ex=600)
        set_device(install, device, "next_due_at = now()")
        wait_for(lambda: state().last_seq == 2 and state().current_seq == 2, "it to be collected again", SECONDS)
        assert state().offline_since is None
        poller.delete(f"device:{device}:status")
    # What a session leaves that found nobody, some minutes ago.
    silent = "unreachable_since = now(), met_at = NULL, hold_until = NULL, next_due_at = now() + interval '1 hour'"
    set_device(install, device, silent)
    wait_for(lambda: state().probed_at is not None and state().due < timedelta(minutes=8), "a knock", SECONDS)
    assert timedelta(minutes=5) < state().due
    assert abs(state().met_at - state().probed_at) < timedelta(seconds=30)
    set_device(install, device, "unreachable_since = NULL")


def set_device(install: Install, device: DeviceId, what: str) -> None:
    """As the superuser of the database."""
    url = make_url(install.wiring.settings.servers.database_url)
    where = psycopg.conninfo.make_conninfo(host=url.host, port=url.port, dbname=url.database, user="admin")
    password = (install.data / "secrets" / "admin.postgres").read_text("utf-8").strip()
    with psycopg.connect(where, password=password) as connection:
        connection.execute(f"UPDATE device SET {what} WHERE id = %s", [device])  # noqa: S608


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
