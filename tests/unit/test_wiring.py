"""The wiring opens each part once a process, whoever asks first and however many ask at once."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import QueuePool

from backupflow import wiring as module
from backupflow.settings import Settings
from backupflow.wiring import Wiring, wiring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

THREADS = 5


class Slow(Wiring):
    """Takes its time over a login, so that all threads are in the midst of opening before one is done."""

    def secret(self, role: str, server: str) -> str:
        """As it is, later."""
        time.sleep(0.05)
        return super().secret(role, server)


@pytest.fixture
def secrets_dir(tmp_path: Path) -> Path:
    """Logins that open nothing: no server is there, and none is needed before the first question."""
    for role in ("collector", "ingester"):
        for server in ("postgres", "nats"):
            (tmp_path / f"{role}.{server}").write_text("a password", encoding="utf-8")
        (tmp_path / f"{role}.openbao").write_text(json.dumps({"role_id": "a", "secret_id": "b"}), encoding="utf-8")
    return tmp_path


@pytest.fixture
def slow(secrets_dir: Path) -> Iterator[Slow]:
    """Wire it to servers that are not there."""
    made = Slow(Settings(_environment(secrets_dir)))
    yield made
    made.close()


def _environment(secrets_dir: Path, **more: str) -> dict[str, str]:
    return {
        "DATABASE_URL": "postgresql://127.0.0.1:1/x",
        "NATS_URL": "nats://127.0.0.1:1",
        "OPENBAO_ADDR": "http://127.0.0.1:1",
        "CONFIG_SECRETS_DIR": str(secrets_dir),
        **more,
    }


def _at_once(ask: Callable[[], object]) -> list[object]:
    """What each of some threads gets that ask at the same moment."""
    start, got = threading.Barrier(THREADS), []

    def run() -> None:
        start.wait()
        got.append(ask())

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


@pytest.mark.parametrize("part", ["engine", "vault", "bus"])
def test_threads_that_begin_at_once_share_what_is_opened(slow: Slow, part: str) -> None:
    """A second one would be lost: nobody would close its connections and its thread."""
    got = _at_once(lambda: getattr(slow, part)("ingester"))
    assert len(got) == THREADS
    assert len({id(one) for one in got}) == 1


def test_threads_that_begin_at_once_collect_through_the_same_ports(slow: Slow) -> None:
    """As a worker's first tasks do."""
    got = _at_once(lambda: slow.collect_ports.publisher)
    assert got == [slow.bus("collector")] * THREADS


@pytest.mark.parametrize(("threads", "connections"), [(5, 8), (20, 23), (400, 23)])
def test_a_large_worker_does_not_take_all_connections(secrets_dir: Path, threads: int, connections: int) -> None:
    """PostgreSQL has 100 by default, for all processes: one of 100 threads would have left none for beat."""
    made = Wiring(Settings(_environment(secrets_dir, CONFIG_BACKUP_MAX_CONCURRENT=str(threads))))
    pool = made.engine("collector").pool
    assert isinstance(pool, QueuePool)
    assert pool.size() == connections
    assert pool._max_overflow == 0
    made.close()


def test_a_process_has_one_wiring(secrets_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them would say that two processes live."""

    def settings() -> Settings:
        time.sleep(0.05)
        return Settings(_environment(secrets_dir))

    monkeypatch.setattr(module, "_of_process", {1: object()})  # over a fork
    monkeypatch.setattr(module, "Settings", settings)
    got = _at_once(wiring)
    assert len({id(one) for one in got}) == 1
    assert len(module._of_process) == 1
