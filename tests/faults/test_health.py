"""A real worker says whether it lives and is ready: without its broker, and with a main thread that stands still."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backupflow.cli.probing import ask
from backupflow.tasks.life import LOOP_SECONDS
from tests.acceptance.install import wait_for
from tests.conftest import SIZE
from tests.faults.stack import Stack
from tests.integration.tasks.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
SECONDS = 90.0
STANDS_STILL = Path(__file__).parent / "stuck"
ALIVE = (True, "alive")
READY = (True, "ready")
AWAY = (False, "not ready: it has no connection to the broker")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Servers."""
    with Stack(tmp_path) as made:
        yield made


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


def test_a_worker_without_its_broker_is_alive_and_says_what_it_lacks(stack: Stack) -> None:
    """From before its database is there to its end: each state by its reason, and dead at no time."""
    redis, postgres, port = stack.servers.addresses.redis, stack.servers.addresses.postgres, free_port()
    assert redis
    assert postgres
    with Gate(redis.host, redis.port) as broker, Gate(postgres.host, postgres.port) as database:
        database.shut()
        worker = stack.start(
            "interpret",
            REDIS_URL=f"redis://{HOST}:{broker.port}/0",
            DATABASE_URL=f"postgresql://{HOST}:{database.port}/backupflow",
            CONFIG_METRICS_LISTEN=f"{HOST}:{port}",
        )
        waits = (False, "not ready: it waits for its database: store_unavailable")
        wait_for(lambda: ask(HOST, port, "ready") == waits, "it to wait for its database", SECONDS)
        assert ask(HOST, port, "live") == ALIVE
        database.open()
        wait_for(lambda: ask(HOST, port, "ready") == READY, "it to be ready", SECONDS)
        broker.shut()
        wait_for(lambda: ask(HOST, port, "ready") == AWAY, "it to miss its broker", SECONDS)
        assert ask(HOST, port, "live") == ALIVE
        broker.open()
        wait_for(lambda: ask(HOST, port, "ready") == READY, "it to be ready again", SECONDS)
        assert worker.stop() == 0


if SIZE == "soak":

    def test_the_loop_that_stands_still_is_seen_though_the_heart_beats(stack: Stack) -> None:
        """As long as it takes until that counts as dead nobody waits here: its age grows, and that of no other."""
        port = free_port()
        path = os.pathsep.join((str(STANDS_STILL), stack.environment["PYTHONPATH"]))
        worker = stack.start("interpret", CONFIG_METRICS_LISTEN=f"{HOST}:{port}", PYTHONPATH=path)
        wait_for(lambda: ask(HOST, port, "ready") == READY, "it to be ready", SECONDS)
        worker.signal(signal.SIGUSR2)
        wait_for(lambda: ages(port)["consumer"] > 4 * LOOP_SECONDS, "its main loop to be missed", SECONDS)
        assert ages(port)["heart"] < 2 * LOOP_SECONDS
        assert ask(HOST, port, "live") == ALIVE


def ages(port: int) -> dict[str, float]:
    """Seconds since each loop went round."""
    with socket.create_connection((HOST, port), SECONDS) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        said = connection.makefile("rb").read().partition(b"\r\n\r\n")[2].decode()
    samples = [one for family in text_string_to_metric_families(said) for one in family.samples]
    return {one.labels["loop"]: one.value for one in samples if one.name == "backupflow_process_loop_age_seconds"}
