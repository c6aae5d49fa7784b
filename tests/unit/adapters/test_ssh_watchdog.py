"""The watchdog: overdue sessions end, others do not, and nothing is kept of those that are over."""

from __future__ import annotations

import gc
import os
import socket
import time
import weakref
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backupflow.adapters.ssh import watchdog as module
from backupflow.adapters.ssh.watchdog import Watchdog, watchdog_of_process
from backupflow.adapters.ssh.wire import Wire
from backupflow.errors import DeviceTimeout

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

LONG = timedelta(seconds=60)
SHORT = timedelta(seconds=0.05)


@pytest.fixture
def watchdog() -> Watchdog:
    """One of its own; its thread ends with the last watch."""
    return Watchdog()


@pytest.fixture
def pair() -> Iterator[tuple[Wire, socket.socket]]:
    """Two ends of a connection."""
    left, right = socket.socketpair()
    with Wire(fileno=left.detach()) as wire, right:
        right.settimeout(30)
        yield wire, right


def test_an_overdue_step_ends_the_connection_and_says_which(
    watchdog: Watchdog, pair: tuple[Wire, socket.socket]
) -> None:
    """Whoever reads wakes up; the watch is expired before that, so that they know why."""
    wire, _ = pair
    with watchdog.watch(wire, LONG, time.monotonic()) as watch:
        watch.step("banner", SHORT)
        assert wire.recv(1) == b""
        assert watch.expired
        with pytest.raises(DeviceTimeout, match=r"banner: more than 0\.05 s"):
            watch.check()
        with pytest.raises(DeviceTimeout, match="banner"):
            watch.step("login", LONG)


def test_the_deadline_of_the_whole_ends_a_step_that_is_in_time(
    watchdog: Watchdog, pair: tuple[Wire, socket.socket]
) -> None:
    """Steps may not add up to more than the session."""
    wire, _ = pair
    with watchdog.watch(wire, SHORT, time.monotonic()) as watch:
        watch.step("command", LONG)
        assert wire.recv(1) == b""
        with pytest.raises(DeviceTimeout, match=r"the whole session took more than 0\.05 s"):
            watch.check()


def test_a_session_that_began_long_ago_is_over_at_once(watchdog: Watchdog, pair: tuple[Wire, socket.socket]) -> None:
    """The time that the connect took counts."""
    wire, _ = pair
    with watchdog.watch(wire, LONG, time.monotonic() - 61) as watch:
        assert wire.recv(1) == b""
        assert watch.expired


def test_a_step_in_time_and_an_ended_watch_leave_the_connection_alone(
    watchdog: Watchdog, pair: tuple[Wire, socket.socket]
) -> None:
    """A later step moves the time-out; after the end there is none, whatever others are overdue meanwhile."""
    wire, other = pair
    with watchdog.watch(wire, LONG, time.monotonic()) as watch:
        watch.step("banner", SHORT)
        watch.step("login", LONG)
    with watchdog.watch(wire, LONG, time.monotonic()) as over:
        over.step("banner", SHORT)
    witness, far = socket.socketpair()
    with Wire(fileno=witness.detach()) as second, far, watchdog.watch(second, LONG, time.monotonic()) as late:
        late.step("witness", SHORT * 2)
        assert second.recv(1) == b""
    assert not watch.expired
    assert not over.expired
    wire.sendall(b"x")
    assert other.recv(1) == b"x"


def test_there_is_one_thread_for_many_and_none_for_nothing(
    watchdog: Watchdog, pair: tuple[Wire, socket.socket]
) -> None:
    """It starts with the first session and ends with the last one, again and again."""

    def running() -> threading.Thread | None:
        return watchdog._thread

    assert running() is None
    for _ in range(20):
        with watchdog.watch(pair[0], LONG, time.monotonic()):
            thread = running()
            assert thread is not None
            with watchdog.watch(pair[0], LONG, time.monotonic()):
                assert running() is thread
            assert thread.is_alive()
        thread.join(30)
        assert not thread.is_alive()
        assert running() is None


def test_nothing_is_kept_of_a_session_that_is_over(watchdog: Watchdog, pair: tuple[Wire, socket.socket]) -> None:
    """Not until its deadline either: a session holds a password and an export."""
    with watchdog.watch(pair[0], LONG, time.monotonic()) as watch:
        watch.step("command", LONG)
    trace = weakref.ref(watch)
    del watch
    gc.collect()
    assert trace() is None


def test_a_process_has_one_and_another_process_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its number, so that a forked child does not lean on a thread that did not come along."""
    mine = watchdog_of_process()
    assert watchdog_of_process() is mine
    monkeypatch.setattr(module, "_watchdogs", dict(module._watchdogs))
    number = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: number)
    assert watchdog_of_process() is not mine
