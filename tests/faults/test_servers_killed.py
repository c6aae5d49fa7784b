"""Each server killed with -9 while sessions are open: nothing is lost, nothing is doubled, nothing stays stuck."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import psutil
import pytest

from backupflow.core.model import ContentHash, Login, Pepper, RawConfig, SealedSecret, content_hash
from backupflow.drivers import driver
from backupflow.simulator import Behaviour, Fleet, RouterSpec, SimulatedRouter
from tests.acceptance.install import Install, wait_for
from tests.faults.rounds import await_rounds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOGIN = Login("backup", "backup")
ANSWER = timedelta(seconds=2)  # slow enough that sessions are open when a server dies
OPEN_SESSIONS = 20
SLACK = timedelta(milliseconds=700)  # between the end of an export and the row that says so


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
        await_rounds(install, fleet, 2, 2 * shape.patience)
    await_rounds(install, fleet, 1, shape.patience)  # a quiet one
    for name in fleet:
        check_history(install, fleet, name, edited[name])
    check_nothing_stuck(install)
    everything = install.processes()
    assert install.stop() == 0
    assert [process for process in everything if is_alive(process)] == []


def check_history(install: Install, fleet: Fleet, name: str, edited: list[int]) -> None:
    """The stored history is the run-length of what the router sent in the sessions whose rows became stored."""
    router = fleet[name]
    hashes = {hash_of(install, router.text(revision)): revision for revision in range(router.revision + 1)}
    rows = install.rows(
        "SELECT c.seq, c.started_at, c.collected_at, c.content_hash, c.is_change FROM collection c "
        "JOIN device d ON d.id = c.device_id WHERE d.name = :name AND c.state = 'stored' ORDER BY c.seq",
        name=name,
    )
    stored = [hashes[ContentHash(bytes(row.content_hash))] for row in rows]
    sent = [event for event in router.history if event.kind == "export_served" and not event.facts["menu"]]
    for row, revision in zip(rows, stored, strict=True):
        within = [event for event in sent if row.started_at <= event.at <= row.collected_at + SLACK]
        assert [event.facts["revision"] for event in within] == [revision], (name, row.seq)
    changes = [revision for row, revision in zip(rows, stored, strict=True) if row.is_change]
    assert changes == [revision for revision, _ in groupby(stored)]
    assert set(edited) <= set(stored)
    assert stored[-1] == router.revision
    current = install.rows("SELECT current_seq FROM device WHERE name = :name", name=name)[0].current_seq
    assert current == rows[-1].seq
    check_one_at_a_time(router)


def check_one_at_a_time(router: SimulatedRouter) -> None:
    """No session began before the one before it had ended; the simulator hears of an end a moment late (I4)."""
    opened = {event.session: event.at for event in router.history if event.kind == "session_opened"}
    closed = {event.session: event.at for event in router.history if event.kind == "session_closed"}
    for before, after in pairwise(opened):
        assert before in closed, f"session {before} of {router.name} never ended"
        assert opened[after] >= closed[before] - SLACK, f"{router.name} had two sessions at once"


def hash_of(install: Install, text: bytes) -> ContentHash:
    """The keyed hash under which a text is stored."""
    return content_hash(pepper_of(install), driver("routeros").normalize(RawConfig(text)))


def pepper_of(install: Install) -> Pepper:
    """The tenant's pepper, opened by the reader, once."""
    kept: dict[str, Pepper] = install.__dict__.setdefault("peppers", {})
    if "it" not in kept:
        sealed = SealedSecret(install.rows("SELECT pepper FROM tenant")[0].pepper)
        kept["it"] = install.wiring.vault("reader").open_pepper(install.tenant_id, sealed)
    return kept["it"]


def check_nothing_stuck(install: Install) -> None:
    """Every process still beats, and no row is open beyond its time."""
    late = install.rows("SELECT role FROM process WHERE heartbeat_at < now() - interval '15 seconds'")
    assert late == []
    assert (
        install.rows("SELECT id FROM collection WHERE state = 'running' AND lease_until < now() - interval '5 s'") == []
    )
    assert (
        install.rows("SELECT id FROM collection WHERE state = 'claimed' AND claimed_at < now() - interval '30 s'") == []
    )


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs and is no zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
