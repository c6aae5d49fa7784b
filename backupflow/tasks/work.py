"""What this process is doing, in memory: its heartbeat tells from it whether it still takes work."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

LONGEST_LEASE = timedelta(hours=1)  # of a task whose row says how long it may take: no session lasts so long


class Work:
    """Tasks that began and ended; for a pool of threads, whose tasks run in this process."""

    def __init__(self) -> None:
        self.threads = 0  # how many tasks run at a time
        self._lawful_until: dict[str, float] = {}  # of the tasks that run, monotonic seconds
        self._stuck_at: dict[str, float] = {}  # the same, whatever a lease says of it
        self._began = False
        self._heard: set[str] = set()
        self._lock = threading.Lock()

    def began(self, task_id: str, longest: timedelta) -> None:
        """A task began that may take so long without being taken for stuck."""
        with self._lock:
            self._began = True
            self._lawful_until[task_id] = time.monotonic() + longest.total_seconds()
            self._stuck_at[task_id] = time.monotonic() + (longest or LONGEST_LEASE).total_seconds()

    def ended(self, task_id: str) -> None:
        """It ended, however."""
        with self._lock:
            self._lawful_until.pop(task_id, None)
            self._stuck_at.pop(task_id, None)

    def ticked(self) -> None:
        """Beat's work is its ticks."""
        self._began = True

    def heard(self, queue: str) -> None:
        """A canary of this queue came. With no thread free it would wait here, and others would seem to let it wait."""
        with self._lock:
            if self._is_full:
                self._heard.add(queue)

    def heard_since(self) -> set[str]:
        """The queues whose canaries cannot be answered by a task of their own, since this was last asked."""
        with self._lock:
            heard, self._heard = self._heard, set()
            return heard

    def stuck(self) -> int:
        """How many threads there are, if each is at a task that takes longer than it may; else 0."""
        with self._lock:
            last = max(self._stuck_at.values(), default=0.0)
            return self.threads if self._is_full and last <= time.monotonic() else 0

    @property
    def _is_full(self) -> bool:
        return 0 < self.threads <= len(self._lawful_until)

    def taken_since(self) -> bool:
        """Whether any began since this was last asked; or none could, for want of a thread, which is no fault."""
        with self._lock:
            began, self._began = self._began, False
            return began or (self._is_full and max(self._lawful_until.values()) > time.monotonic())
