"""The one thread a process that ends sessions which are overdue, since paramiko's own time-outs do not.

A router that drips a byte every half second never trips a read time-out, and paramiko waits in places that have no
time-out at all (measured with 4.0: `Channel.exec_command`, `recv_exit_status`, a key exchange that goes silent). So
each session is watched from outside. Ending one means shutting its socket down, in both directions: all who wait on it
wake up, nothing blocks, and no descriptor is freed under a thread that still uses it.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Self

from backupflow.errors import DeviceTimeout

if TYPE_CHECKING:
    from datetime import timedelta

    from backupflow.adapters.ssh.wire import Line


class Watch:
    """One session under watch: its present step has a time-out, and the whole has an absolute deadline."""

    def __init__(self, watchdog: Watchdog, wire: Line, deadline: timedelta, started: float) -> None:
        self._watchdog = watchdog
        self._deadline = deadline
        self._ends = started + deadline.total_seconds()
        self._reason = ""
        self.wire = wire
        self.due = self._ends  # in seconds of the monotonic clock
        self.expired = False

    def step(self, name: str, timeout: timedelta) -> None:
        """Begin a step; DeviceTimeout if the session was already over."""
        self.check()
        due = time.monotonic() + timeout.total_seconds()
        if due < self._ends:
            self._reason = f"{name}: more than {timeout.total_seconds():g} s"
        else:
            self._reason = f"{name}: the whole session took more than {self._deadline.total_seconds():g} s"
        self._watchdog.move(self, min(due, self._ends))

    def check(self) -> None:
        """Raise DeviceTimeout if this session was ended because it was overdue."""
        if self.expired:
            raise self.failure()

    def failure(self) -> DeviceTimeout:
        """What ended an expired session."""
        return DeviceTimeout(self._reason)

    def __enter__(self) -> Self:
        """Watch from the making on."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the watch; from now on the socket is left alone, and may be closed."""
        self._watchdog.drop(self)


class Watchdog:
    """Waits for the earliest deadline, in one thread that lives while there is a session to watch."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        # A set, not a heap: there are as many watches as sessions (tens), and a heap would hold on to the watches of
        # ended sessions until their time has come.
        self._watches: set[Watch] = set()
        self._thread: threading.Thread | None = None

    def watch(self, wire: Line, deadline: timedelta, started: float) -> Watch:
        """Watch a session that began at `started` (monotonic clock, seconds)."""
        watch = Watch(self, wire, deadline, started)
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="ssh-watchdog", daemon=True)
                thread.start()  # it waits for the lock that is held here
                self._thread = thread
            self._watches.add(watch)
            self._changed.notify()
        return watch

    def move(self, watch: Watch, due: float) -> None:
        """Set when a session is overdue; the thread is woken only if that is sooner than it was."""
        with self._changed:
            sooner = due < watch.due
            watch.due = due
            if sooner:
                self._changed.notify()

    def drop(self, watch: Watch) -> None:
        """Watch this session no longer."""
        with self._changed:
            self._watches.discard(watch)
            if not self._watches:
                self._changed.notify()

    def _run(self) -> None:
        with self._changed:
            while self._watches:
                earliest = min(watch.due for watch in self._watches)
                self._changed.wait(max(0.0, earliest - time.monotonic()))
                self._end_overdue(time.monotonic())
            self._thread = None  # under the lock: the next session starts another

    def _end_overdue(self, now: float) -> None:
        for watch in [watch for watch in self._watches if watch.due <= now]:
            self._watches.discard(watch)
            watch.expired = True  # before the socket: whoever wakes must know why
            watch.wire.shut()


_watchdogs: dict[int, Watchdog] = {}


def watchdog_of_process() -> Watchdog:
    """The watchdog of this process; a forked child has another number, so it makes its own."""
    return _watchdogs.setdefault(os.getpid(), Watchdog())
