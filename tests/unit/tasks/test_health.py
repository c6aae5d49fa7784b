"""What a process knows of itself, and tells systemd over a real socket."""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backupflow.settings import Settings
from backupflow.tasks import life
from backupflow.tasks.health import CONSUMER, HEART, Health
from backupflow.tasks.work import LONGEST_LEASE, Work
from backupflow.telemetry import systemd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 20.0


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What systemd listens on, for this process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listens:
        listens.bind(str(tmp_path / "notify"))
        listens.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listens


def begun(work: Work | None = None) -> Health:
    """A worker that is at its work."""
    health = Health(work or Work())
    health.waits_for("")
    health.went_round(HEART)
    health.went_round(CONSUMER)
    health.heart_beat()
    return health


def heard(manager: socket.socket, wanted: str) -> list[str]:
    """The words of the first message that has this one."""
    while wanted not in (words := manager.recv(4096).decode().split("\n")):
        pass
    return words


def test_one_that_was_never_begun_is_alive_and_not_ready() -> None:
    """It may wait for its database for hours."""
    assert Health(Work()).live().well
    assert Health(Work()).ready().says == "not ready: it waits for its start"


def test_a_broker_that_is_away_is_no_fault_of_the_loop_that_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery connects again in the very thread whose loop then stands still."""
    health = begun()
    health._went[CONSUMER] -= 1000
    assert not health.live().well
    health.has_broker = lambda: False
    assert health.live().well
    assert health.ready().says == "not ready: it has no connection to the broker"


def test_threads_that_are_all_at_lawful_work_take_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collection has a lease: a pool that is full of slow routers is no pool that is stuck."""
    work = Work()
    work.threads = 1
    work.began("a", longest=LONGEST_LEASE * 0)
    assert begun(work).ready().well
    work._stuck_at["a"] -= LONGEST_LEASE.total_seconds()
    assert begun(work).ready().says == "not ready: all of its 1 threads are at tasks that take longer than they may"
    work.ended("a")
    assert begun(work).ready().well


def test_beat_is_not_ready_before_a_tick_succeeded() -> None:
    """Its heart and its loop may be well while each tick fails from the first on: its work is ticks."""
    beat = begun()
    beat.ticks = True
    assert beat.ready().says == "not ready: no tick has succeeded yet"
    assert beat.live().well
    beat.ticked()
    assert beat.ready().well


def test_a_call_that_failed_makes_it_unready_and_kills_nobody() -> None:
    """Its own login may be refused, its own network cut: nobody else sees that."""
    health = begun()
    health.failing = lambda: {"bus_unavailable": timedelta(seconds=5)}
    assert health.ready().says == "not ready: its last call failed: bus_unavailable"
    assert health.live().well


def test_a_worker_is_judged_by_the_calls_of_its_own_logins(monkeypatch: pytest.MonkeyPatch) -> None:
    """From its start on."""

    class Wired:
        """Plays the wiring of a process."""

        settings = Settings({"CONFIG_ROLE": "collector"})

        def failing(self) -> dict[str, timedelta]:
            return {"vault_unavailable": timedelta(0)}

    monkeypatch.setattr(life, "_health", health := begun())
    monkeypatch.setattr(life, "wiring", Wired)
    monkeypatch.setattr(life, "await_database", lambda *_: None)
    life._wait()
    health.waits_for("")
    health.heart_beat()
    assert health.ready().says == "not ready: its last call failed: vault_unavailable"


def test_systemd_is_told_ready_once_and_alive_again_and_again(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """READY=1 when it is, a longer start before, WATCHDOG=1 thereafter, and STOPPING=1 at the end."""
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    health = Health(Work())
    health.waits_for("its database")
    health.tell_systemd()
    words = manager.recv(4096).decode().split("\n")
    assert "STATUS=not ready: it waits for its database" in words
    assert "EXTEND_TIMEOUT_USEC=60000000" in words
    assert "READY=1" not in words
    health.waits_for("")
    health.heart_beat()
    assert "STATUS=ready" in heard(manager, "READY=1")
    assert [word for word in heard(manager, "WATCHDOG=1") if word.startswith(("READY", "EXTEND"))] == []
    health.ends()
    assert heard(manager, "STOPPING=1") == ["STOPPING=1"]


def test_the_watchdog_is_not_fed_by_a_process_that_hangs(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then systemd starts it again; that its thread for this goes on proves nothing of the others."""
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    health = begun()
    health._went[HEART] -= 1000
    health.tell_systemd()
    for _ in range(3):
        assert "WATCHDOG=1" not in manager.recv(4096).decode().split("\n")
    health.ends()


def test_without_systemd_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal or a container wants none of it; nor does an address that is none."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.is_wanted()
    assert not systemd.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "vsock:2:1234")
    assert not systemd.notify("READY=1")


def test_the_abstract_namespace_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """As systemd gives it to some services: `@` stands for the byte 0 (unix(7))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listens:
        listens.bind("")  # a name that the kernel chooses, autobind
        name = listens.getsockname()
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name[1:].decode())
        assert systemd.notify("READY=1", "STATUS=up")
        assert listens.recv(100) == b"READY=1\nSTATUS=up"
