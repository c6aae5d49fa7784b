"""What this process knows of itself, for /live and /ready, for its metrics and for systemd."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from backupflow.core import health
from backupflow.telemetry import metrics, systemd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from backupflow.core.health import Answer
    from backupflow.tasks.work import Work

HEART, CONSUMER, TICK = "heart", "consumer", "tick"  # the loops
TELL_EVERY = timedelta(seconds=5)
START_WITHIN = timedelta(seconds=60)  # from each word on; while it waits for its database it says so again


class Health:
    """Of one process. Its loops say that they went round; whoever asks gets decisions of core.health."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._went: dict[str, float] = {}  # monotonic seconds, as all below
        self._heartbeat: float | None = None
        self._ticked: float | None = None
        self._waits_for = "its start"
        self._ended = threading.Event()
        self.has_broker: Callable[[], bool] = lambda: True
        self.ticks = False  # whether its work is ticks
        self.failing: Callable[[], Mapping[str, timedelta]] = dict
        self.note: Callable[[], str] = str

    def went_round(self, loop: str) -> None:
        """A loop of this process is where it was before."""
        if loop not in self._went:
            self._went[loop] = time.monotonic()
            metrics.LOOP_AGE.labels(loop).set_function(lambda: time.monotonic() - self._went[loop])
        self._went[loop] = time.monotonic()

    def waits_for(self, what: str) -> None:
        """It has not begun, since it waits for this; empty: it has begun."""
        self._waits_for = what

    def heart_beat(self) -> None:
        """The database took a heartbeat."""
        self._heartbeat = time.monotonic()
        metrics.HEARTBEAT_AT.set_to_current_time()

    def ticked(self) -> None:
        """A tick of beat did what it is for."""
        self._ticked = time.monotonic()

    def ends(self) -> None:
        """From now on it takes no more work."""
        self._ended.set()
        systemd.notify("STOPPING=1")

    def live(self) -> Answer:
        """Whether it is alive."""
        return health.alive(self._vitals())

    def ready(self) -> Answer:
        """Whether it can do its work."""
        return health.ready(self._vitals())

    def count(self) -> None:
        """Have the metrics ask this one."""
        metrics.ALIVE.set_function(lambda: self.live().well)
        metrics.READY.set_function(lambda: self.ready().well)
        metrics.TASK_SLOTS.set_function(lambda: self._work.threads)

    def tell_systemd(self) -> None:
        """In a thread of its own, from now until it ends; without systemd nothing."""
        if systemd.is_wanted():
            threading.Thread(target=self._tell, name="systemd", daemon=True).start()

    def _tell(self) -> None:
        every = systemd.watchdog_every(TELL_EVERY).total_seconds()
        began = False
        while not self._ended.is_set():
            ready = self.ready()
            words = [f"STATUS={ready.says}"]
            if self.live().well:
                words.append("WATCHDOG=1")
            if ready.well and not began:
                began = True
                words.append("READY=1")
            elif not began and self.live().well:
                words.append(f"EXTEND_TIMEOUT_USEC={START_WITHIN // timedelta(microseconds=1)}")
            systemd.notify(*words)
            self._ended.wait(every if began else min(every, 1.0))

    def _vitals(self) -> health.Vitals:
        now, connected = time.monotonic(), self.has_broker()
        judged = {loop: at for loop, at in self._went.items() if connected or loop != CONSUMER}  # it connects again
        return health.Vitals(
            silent={loop: timedelta(seconds=now - at) for loop, at in judged.items()},
            waits_for=self._waits_for,
            heartbeat=_since(self._heartbeat, now),
            ticks=self.ticks,
            ticked=_since(self._ticked, now),
            failing=self.failing(),
            has_broker=connected,
            stuck=self._work.stuck(),
            ends=self._ended.is_set(),
            note=self.note(),
        )


def _since(at: float | None, now: float) -> timedelta | None:
    return None if at is None else timedelta(seconds=now - at)
