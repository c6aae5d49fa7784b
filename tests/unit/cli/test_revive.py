"""Which program `up` restarts for being deaf or mute, how often, and that nothing ends its looking."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from backupflow.cli import revive
from backupflow.cli.revive import Reviver
from backupflow.core.liveness import RESTART_AGAIN_AFTER, Canary, Hearing, Listener
from backupflow.errors import SchemaOutdated, ServerUnusable, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Collection

HERE = socket.gethostname()
AFTER = timedelta(minutes=2)
STOPPING = timedelta(seconds=20)
PIDS = {"maintain": 11, "collect": 12, "ingest": 13}
HOUR = timedelta(hours=1)


@dataclass
class World:
    """A supervisor with three programs, what a database knows of them and of one elsewhere, and the time."""

    deaf: set[int] = field(default_factory=set)
    mute: set[int] = field(default_factory=set)
    fails: Exception | None = None  # each look at the database
    unusable: bool = False  # what is restarted
    restarted: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    now: datetime = datetime(2026, 1, 2, 12, tzinfo=UTC)
    monotonic: float = 1000.0
    beats: dict[int, datetime] = field(default_factory=dict)

    def pass_time(self, seconds: float) -> None:
        """Whose heart beats has beaten at the end of it."""
        self.now += timedelta(seconds=seconds)
        self.monotonic += seconds
        self.beats |= {pid: self.now for pid in (*PIDS.values(), 99) if pid not in self.mute}

    def status(self) -> list[Any]:
        """Of the supervisor."""
        return [SimpleNamespace(name=name, pid=pid) for name, pid in [*PIDS.items(), ("beat", None)]]

    def restart(self, name: str) -> None:
        """Of the supervisor."""
        self.restarted.append(name)
        self.pass_time(STOPPING.total_seconds())
        if self.unusable:
            raise ServerUnusable("gone")

    def hearing(self) -> Hearing:
        """Of the canaries."""
        if self.fails:
            raise self.fails
        old = self.now - HOUR
        rows = [
            Listener(UUID(int=pid), "ingester", HERE, pid, ("deaf" if pid in self.deaf else "well",), old, at, None)
            for pid, at in self.beats.items()
        ]
        return Hearing(self.now, tuple(rows), (Canary("deaf", old, self.now, None),))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """All is well."""
    made = World()
    monkeypatch.setattr(revive, "time", SimpleNamespace(monotonic=lambda: made.monotonic))
    made.pass_time(0)
    return made


@pytest.fixture
def reviver(world: World) -> Reviver:
    """Who looks at it."""
    settings = SimpleNamespace(collecting=SimpleNamespace(deaf_after=AFTER))
    wiring: Any = SimpleNamespace(settings=settings, canaries=lambda _: world)
    supervisor: Any = world
    return Reviver(supervisor, wiring, world.said.append)


def looks(world: World, reviver: Reviver, count: int) -> list[str]:
    """Whom so many looks restart, five seconds between any two."""
    done = []
    for _ in range(count):
        world.pass_time(5)
        done += reviver.look()
    return done


def test_only_its_own_deaf_program_is_restarted_and_said(world: World, reviver: Reviver) -> None:
    """By process id: another machine's, or one that nobody here runs, is left alone."""
    world.deaf = {12, 99}
    assert reviver.look() == ["collect"]
    assert world.restarted == ["collect"]
    assert len(world.said) == 1
    assert "collect is restarted: the worker of deaf (pid 12" in world.said[0]


def test_it_is_restarted_once_in_a_while_at_most(world: World, reviver: Reviver) -> None:
    """Where a restart does not help another one would not either; after ten minutes it is tried again."""
    world.deaf = {12}
    assert looks(world, reviver, 2) == ["collect"]
    world.pass_time((RESTART_AGAIN_AFTER - STOPPING).total_seconds() - 6)
    assert reviver.look() == []
    assert looks(world, reviver, 2) == ["collect"]


def test_without_a_database_nothing_is_judged(world: World, reviver: Reviver) -> None:
    """The next look is soon."""
    world.deaf, world.fails = {12}, StoreUnavailable()
    assert reviver.look() == []
    world.fails = None
    assert reviver.look() == ["collect"]


def test_a_program_without_heartbeat_is_restarted_once_the_database_answers_for_long(
    world: World, reviver: Reviver
) -> None:
    """It runs, as its supervisor knows, and hangs; but hearts need a database, and time after it was away."""
    assert looks(world, reviver, 1) == []
    world.mute = {12, 99}
    assert looks(world, reviver, 24) == []
    world.fails = StoreUnavailable()
    assert looks(world, reviver, 30) == []
    world.fails = None
    assert looks(world, reviver, 25) == []
    assert looks(world, reviver, 1) == ["collect"]
    assert "its heartbeat is missing" in world.said[0]


@pytest.mark.parametrize("step", [8 * HOUR, timedelta(days=400), -8 * HOUR])
def test_a_machine_that_slept_restarts_nobody(world: World, reviver: Reviver, step: timedelta) -> None:
    """PostgreSQL's clock goes on, or is set; this one stands still, and the hearts have not beaten yet."""
    assert looks(world, reviver, 40) == []
    world.now += step
    assert reviver.look() == []
    assert looks(world, reviver, 40) == []


def test_one_that_was_stopped_with_all_others_restarts_nobody(world: World, reviver: Reviver) -> None:
    """Ctrl-Z in its terminal: its clock goes on, and no heart has beaten yet when it looks again."""
    assert looks(world, reviver, 4) == []
    world.monotonic += 3600
    world.now += HOUR
    assert reviver.look() == []
    assert looks(world, reviver, 40) == []


def test_who_is_heard_while_another_is_restarted_is_left_alone(world: World, reviver: Reviver) -> None:
    """A restart takes long, and the look before it tells nothing of who began to beat or to work meanwhile."""
    looks(world, reviver, 1)
    world.mute = {11, 12}
    looks(world, reviver, 24)
    world.pass_time(5)
    world.deaf = {13}
    heal(world, {11: "mute", 12: "mute"})
    assert reviver.look() == ["ingest"]


def heal(world: World, ills: dict[int, str]) -> None:
    """From the next restart on these are well."""
    restart = world.restart

    def healing(name: str) -> None:
        for pid, ill in ills.items():
            getattr(world, ill).discard(pid)
        restart(name)

    world.restart = healing  # type: ignore[method-assign]


def test_a_program_that_does_not_start_is_said_and_ends_nothing(world: World, reviver: Reviver) -> None:
    """`up` goes on, and its supervisor tries again."""
    world.deaf, world.unusable = {12}, True
    assert reviver.look() == ["collect"]
    assert "collect did not start again" in world.said[-1]


class Stop(threading.Event):
    """Set after so many looks, before each of which the database fails as told."""

    def __init__(self, world: World, fails: Collection[Exception | None]) -> None:
        super().__init__()
        self._world = world
        self._fails = iter(fails)

    def wait(self, timeout: float | None = None) -> bool:
        """Without waiting."""
        assert timeout == revive.LOOK_SECONDS
        try:
            self._world.fails = next(self._fails)
        except StopIteration:
            return True
        return False


def test_no_failure_of_a_look_ends_the_looking(world: World, reviver: Reviver) -> None:
    """All servers and workers would end with it: said once, the words of foreign errors left out, until it is over."""
    world.deaf = {12}
    odd = ValueError("quotes a secret")
    reviver.run(Stop(world, [odd, odd, None, odd, SchemaOutdated("at 0001"), StoreUnavailable()]))
    assert world.restarted == ["collect"]
    assert len(world.said) == 4
    assert "ValueError" in world.said[0]
    assert "collect is restarted" in world.said[1]
    assert "ValueError" in world.said[2]
    assert "at 0001" in world.said[3]
    assert "quotes" not in "".join(world.said)
