"""Redis emptied while all threads and windows are full: every row is run, the same row, once (house.md, I4, I9).

In full size only; the small one empties the broker of tests/faults/test_back_pressure.py, before a few devices.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import redis

from backupflow.core.model import Login
from backupflow.simulator import Behaviour, Fleet, RouterSpec
from backupflow.wiring import provision
from tests.acceptance.install import wait_for
from tests.conftest import SIZE
from tests.faults.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOGIN = Login("backup", "backup")
EMPTIER = "emptier"


@dataclass(frozen=True)
class Shape:
    """How many routers and threads, how long a session is, when a row is sent again; all in seconds."""

    routers: int
    threads: int
    answer: float
    again: int
    patience: float


# Claimed are three times as many as there are threads; a worker has taken as many of them as it has threads.
SHAPE = Shape(100, 20, 4.0, 60, 300.0)


@pytest.fixture
def shape() -> Shape:
    """Minutes of work."""
    return SHAPE


@pytest.fixture
def fleet(shape: Shape) -> Iterator[Fleet]:
    """Routers that take their time."""
    behaviour = Behaviour(answer_delay=timedelta(seconds=shape.answer))
    specs = [RouterSpec(f"r{number:03}", seed=number, behaviour=behaviour) for number in range(shape.routers)]
    with Fleet(specs) as routers:
        yield routers


@pytest.fixture
def stack(tmp_path: Path, fleet: Fleet, shape: Shape, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """Beat and one worker of the main lane; each router is collected once."""
    monkeypatch.setattr(provision, "server_users", _and_who_empties)
    with Stack(
        tmp_path,
        CONFIG_BACKUP_MAX_CONCURRENT=shape.threads,
        CONFIG_EMIT_AGAIN_AFTER=shape.again,
        CONFIG_BACKUP_INTERVAL=3600,
        CONFIG_BACKUP_LOGIN_TIMEOUT=20,
        CONFIG_BACKUP_COMMAND_TIMEOUT=20,
        CONFIG_DEAF_AFTER=16,
    ) as made:
        made.start("collect")
        made.start("beat")
        made.await_alive()
        for name in fleet:
            made.add(name, fleet[name].port, LOGIN)
        yield made


_users = provision.server_users


def _and_who_empties(secret: Callable[[str], str]) -> provision.ServerUsers:
    """None of an install's own users may empty its broker."""
    digest = hashlib.sha256(secret(f"{EMPTIER}.redis").encode()).hexdigest()
    found = _users(secret)
    return replace(found, redis=f"{found.redis}user {EMPTIER} on #{digest} -@all +hello +client|setinfo +flushall\n")


def empty(stack: Stack) -> None:
    """FLUSHALL."""
    address = stack.servers.addresses.redis
    assert address
    secret = stack.servers.secret_path(f"{EMPTIER}.redis").read_text(encoding="utf-8").strip()
    with redis.Redis(address.host, address.port, username=EMPTIER, password=secret) as emptier:
        emptier.flushall()


if SIZE == "soak":

    @pytest.mark.timeout(900)
    def test_all_claimed_work_is_run_after_redis_was_emptied(
        stack: Stack, fleet: Fleet, shape: Shape, record_property: Callable[[str, object], None]
    ) -> None:
        """Rows whose messages are gone are sent again: same row, same seq, one session each; the canaries too."""
        claimed = "SELECT id, device_id, seq FROM collection WHERE state = 'claimed' ORDER BY id"
        running = "SELECT id FROM collection WHERE state = 'running'"
        full = (shape.threads, 3 * shape.threads)
        wait_for(
            lambda: (len(stack.rows(running)), len(stack.rows(claimed))) == full,
            "threads and window full",
            shape.patience,
        )
        waiting = stack.rows(claimed)
        empty(stack)
        at = stack.rows("SELECT clock_timestamp() AS it")[0].it
        begun = (
            "SELECT id, device_id, seq, emits, started_at - :at AS after FROM collection WHERE started_at IS NOT NULL"
        )
        begun += " AND id = ANY(:ids) ORDER BY id"
        ids = [row.id for row in waiting]
        wait_for(lambda: len(stack.rows(begun, ids=ids, at=at)) == len(ids), "all that was claimed", shape.patience)
        rows = stack.rows(begun, ids=ids, at=at)
        assert [row[:3] for row in rows] == [tuple(row) for row in waiting]
        again = [row for row in rows if row.emits > 1]
        assert len(again) >= shape.threads, "so few were lost that this shows nothing"
        record_property(
            "claimed, sent again, last begun after", (len(rows), len(again), max(row.after for row in rows))
        )
        wait_for(lambda: not stack.rows(claimed), "the rest", shape.patience)
        wait_for(lambda: fleet.wait_idle(1.0), "all sessions to end", shape.patience)
        sessions = Counter(event.router for event in fleet.history if event.kind == "session_opened")
        assert sessions == dict.fromkeys(fleet, 1)
        answered = "SELECT queue FROM queue_canary WHERE answered_at > :at"
        wait_for(lambda: len(stack.rows(answered, at=at)) == 2, "the canaries of both queues", shape.patience)
        assert stack.rows("SELECT detail FROM alarm WHERE code = 'process_deaf' AND cleared_at IS NULL") == []
