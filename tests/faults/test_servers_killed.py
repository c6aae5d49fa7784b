"""Each server killed with -9 while sessions are open: nothing is lost, nothing is doubled, nothing stays stuck."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import psutil
import pytest

from backupflow.core.model import Login
from backupflow.simulator import Behaviour, Fleet, RouterSpec
from tests.acceptance.install import Install, wait_for
from tests.faults.aftermath import broken
from tests.faults.rounds import await_rounds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOGIN = Login("backup", "backup")
ANSWER = timedelta(seconds=2)  # slow enough that sessions are open when a server dies
OPEN_SESSIONS = 20


@dataclass(frozen=True)
class Shape:
    """How much of it, and for how many seconds a server stays down."""

    routers: int
    concurrency: int
    interval: int
    down: float
    patience: float


SHAPES = {"small": Shape(24, 24, 3, 3.0, 60.0), "soak": Shape(200, 40, 20, 10.0, 240.0)}


@pytest.fixture
def shape(size: str) -> Shape:
    """The wanted size."""
    return SHAPES[size]


@pytest.fixture
def fleet(shape: Shape) -> Iterator[Fleet]:
    """Routers that take their time."""
    behaviour = Behaviour(answer_delay=ANSWER)
    with Fleet(
        [RouterSpec(f"r{number:03}", seed=number, behaviour=behaviour) for number in range(shape.routers)]
    ) as all_:
        yield all_


@pytest.fixture
def install(tmp_path: Path, shape: Shape, fleet: Fleet) -> Iterator[Install]:
    """An install that collects them all.

    Its time-outs are roomy: all sessions begin at once on few cores, and a healthy router that is timed out there waits
    for minutes. Their sum is what a row waits that could not be ended while PostgreSQL was down.
    """
    it = Install(
        tmp_path,
        CONFIG_BACKUP_INTERVAL=shape.interval,
        CONFIG_BACKUP_MAX_CONCURRENT=shape.concurrency,
        CONFIG_BACKUP_SPREAD_FROM=0,
        CONFIG_BACKUP_SPREAD_TO=0,
        CONFIG_BACKUP_CONNECT_TIMEOUT=2,
        CONFIG_BACKUP_BANNER_TIMEOUT=5,
        CONFIG_BACKUP_LOGIN_TIMEOUT=10,
        CONFIG_BACKUP_COMMAND_TIMEOUT=10,
        CONFIG_LEASE_GRACE=3,
        CONFIG_EMIT_AGAIN_AFTER=8,
        CONFIG_LOST_AFTER=20,
    )
    it.start()
    try:
        for name in fleet:
            it.add(name, fleet[name].port, LOGIN)
        yield it
    finally:
        it.stop()


@pytest.mark.timeout(1800)
def test_what_was_collected_while_servers_died_is_what_the_routers_sent(
    install: Install, fleet: Fleet, shape: Shape
) -> None:
    """Each server dies in turn under open sessions, and every history stays true (I1, I3, I10)."""
    await_rounds(install, fleet, 1, shape.patience)
    edited: dict[str, list[int]] = {name: [] for name in fleet}
    for server in ("openbao", "nats", "postgres", "redis"):
        for number, name in enumerate(fleet):
            if number % 2:
                fleet[name].edit()
                edited[name].append(fleet[name].revision)
        wait_for(lambda: fleet.stats()["open"] >= OPEN_SESSIONS, f"{OPEN_SESSIONS} open sessions", shape.patience)
        assert install.keep_down(server, shape.down) >= 1
        await_rounds(install, fleet, 1, shape.patience)
    await_rounds(install, fleet, 1, shape.patience)  # a quiet one
    assert broken(install, fleet, revisions=edited) == []
    check_heartbeats(install)
    everything = install.processes()
    assert install.stop() == 0
    assert [process for process in everything if is_alive(process)] == []


def check_heartbeats(install: Install) -> None:
    """Every process still beats."""
    late = install.rows("SELECT role FROM process WHERE heartbeat_at < now() - interval '15 seconds'")
    assert late == []


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs and is no zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
