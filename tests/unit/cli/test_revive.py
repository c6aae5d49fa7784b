"""Which program `up` restarts for being deaf, and how often."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from backupflow.cli import revive
from backupflow.cli.revive import Reviver
from backupflow.core.liveness import RESTART_AGAIN_AFTER, Canary, Hearing, Listener
from backupflow.errors import ServerUnusable, StoreUnavailable

if TYPE_CHECKING:
    import pytest

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(minutes=3)
HERE = socket.gethostname()


def listener(pid: int) -> Listener:
    """A deaf worker."""
    return Listener(UUID(int=pid), "collector", HERE, pid, ("collect",), LONG_AGO, NOW, None)


@dataclass
class World:
    """A supervisor with three programs, and a database that knows of two deaf ones."""

    restarted: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    fails: list[Exception] = field(default_factory=list)
    away: bool = False
    deaf: tuple[int, ...] = (12, 99)
    mute: tuple[int, ...] = ()
    pids: dict[str, int | None] = field(default_factory=lambda: {"maintain": 11, "collect": 12, "beat": None})

    def status(self) -> list[Any]:
        """Of the supervisor."""
        return [SimpleNamespace(name=name, pid=pid) for name, pid in self.pids.items()]

    def restart(self, name: str) -> None:
        """Of the supervisor."""
        self.restarted.append(name)
        if self.fails:
            raise self.fails.pop()

    def hearing(self) -> Hearing:
        """Of the canaries."""
        if self.away:
            raise StoreUnavailable
        deaf = [listener(pid) for pid in self.deaf]
        mute = [replace(listener(pid), heartbeat_at=LONG_AGO) for pid in self.mute]
        return Hearing(NOW, (*deaf, *mute), (Canary("collect", LONG_AGO, NOW, None),))

    def reviver(self) -> Reviver:
        """Who looks at it."""
        settings = SimpleNamespace(collecting=SimpleNamespace(deaf_after=timedelta(minutes=2)))
        wiring: Any = SimpleNamespace(settings=settings, canaries=lambda _: self)
        supervisor: Any = self
        return Reviver(supervisor, wiring, self.said.append)


def test_only_its_own_deaf_program_is_restarted_and_said() -> None:
    """By process id: another machine's, or one that nobody here runs, is left alone."""
    world = World()
    assert world.reviver().look() == ["collect"]
    assert world.restarted == ["collect"]
    assert len(world.said) == 1
    assert "collect is restarted: the worker of collect (pid 12" in world.said[0]


def test_it_is_restarted_once_in_a_while_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a restart does not help another one would not either; after ten minutes it is tried again."""
    world = World()
    reviver = world.reviver()
    reviver.look()
    assert reviver.look() == []
    later = time.monotonic() + RESTART_AGAIN_AFTER.total_seconds() + 1
    monkeypatch.setattr(revive, "time", SimpleNamespace(monotonic=lambda: later))
    assert reviver.look() == ["collect"]
    assert world.restarted == ["collect"] * 2


def test_without_a_database_nothing_is_judged() -> None:
    """The next look is soon."""
    world = World(away=True)
    reviver = world.reviver()
    assert reviver.look() == []
    world.away = False
    assert reviver.look() == ["collect"]


def test_a_program_without_heartbeat_is_restarted_once_the_database_answers_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It runs, as its supervisor knows, and hangs; but hearts need a database, and time after it was away."""
    world = World(deaf=(), mute=(12, 99))
    reviver, clock = world.reviver(), [1000.0]
    monkeypatch.setattr(revive, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    for away in (False, True, False):
        clock[0] += 100
        world.away = away
        assert reviver.look() == []
    clock[0] += 119
    assert reviver.look() == []
    clock[0] += 2
    assert reviver.look() == ["collect"]
    assert "its heartbeat is missing" in world.said[0]


def test_a_program_that_does_not_start_is_said_and_ends_nothing() -> None:
    """`up` goes on, and its supervisor tries again."""
    world = World(fails=[ServerUnusable("gone")])
    assert world.reviver().look() == ["collect"]
    assert "collect did not start again" in world.said[-1]
