"""Runs programs: starts them in order, each when the one before is ready, revives the dead, stops all in reverse order.

One thread starts every program and lives as long as the supervisor, because the death signal of a child fires when the
*thread* that forked it ends (prctl(2)): so a child lives until it is stopped or this process is gone, however it went.
"""

from __future__ import annotations

import queue
import threading
import time
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from backupflow.embedded.child import Child
from backupflow.embedded.logs import BoundedLog
from backupflow.embedded.program import Program, Restart, State, Status
from backupflow.errors import ServerUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from types import TracebackType

_TICK = 0.2
_LONGEST_WAIT = 30.0
_SOUND_AFTER = 60.0  # a program that ran this long starts again with the shortest wait
_UPKEEP_EVERY = 30.0


class Supervisor:
    """Starts, watches and stops programs; safe to call from several threads."""

    def __init__(
        self, *, on_restart: Callable[[Restart], None] | None = None, keep_open: Sequence[int] = (), hide: str = ""
    ) -> None:
        """Pass `keep_open` descriptors to every child; keep the text `hide` out of the logs."""
        self._on_restart = on_restart
        self._keep_open = tuple(keep_open)
        self._hide = hide
        self._children: dict[str, Child] = {}
        self._orders: queue.Queue[tuple[Child, Future[None]]] = queue.Queue()
        self._ending = threading.Event()
        self._lock = threading.RLock()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        """Use as a context: what was started is stopped at its end."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop everything."""
        self.stop()

    def start(self, program: Program) -> None:
        """Start a program and wait until it is ready; ServerUnusable, with its last words, if it dies or is late."""
        with self._lock:
            if program.name in self._children or self._ending.is_set():
                raise ValueError(program.name)
            child = Child(program, BoundedLog(program.log, hide=self._hide, on_line=program.on_line))
            self._children[program.name] = child
        self._launch(child)

    def restart(self, name: str) -> None:
        """Stop a program and start it again, now; as `start`. If that fails it is tried again, like a dead one."""
        child = self._children[name]
        self._end(child)
        try:
            self._launch(child)
        except ServerUnusable:
            with self._lock:
                self._bury(child, time.monotonic())
            raise

    def status(self) -> list[Status]:
        """Each program in the order of starting."""
        with self._lock:
            return [
                Status(child.program.name, child.state, child.pid, child.restarts) for child in self._children.values()
            ]

    def stop_together(self, names: Collection[str]) -> None:
        """Stop these programs, all at once: none of them waits for another. They are not started again."""
        with self._lock:
            children = [child for name, child in self._children.items() if name in names]
        if children:
            with ThreadPoolExecutor(len(children)) as at_once:
                list(at_once.map(self._end, children))

    def stop(self) -> None:
        """Stop all programs, the last started first; the supervisor is of no use afterwards."""
        with self._lock:
            children = list(self._children.values())
        for child in reversed(children):
            self._end(child)
        self._ending.set()
        self._thread.join()

    def _launch(self, child: Child) -> None:
        child.state = State.STARTING
        done: Future[None] = Future()
        self._orders.put((child, done))
        done.result()
        program = child.program
        until = time.monotonic() + program.ready_timeout.total_seconds()
        while program.ready and not program.ready():
            if child.has_ended() or time.monotonic() > until:
                why = "ended" if child.has_ended() else "not ready in time"
                self._end(child)
                raise ServerUnusable(f"{program.name}: {why}: {child.log.tail()}")
            time.sleep(0.02)
        with self._lock:
            child.state = State.RUNNING

    def _watch(self) -> None:
        while not self._ending.is_set():
            try:
                with suppress(queue.Empty):
                    child, done = self._orders.get(timeout=_TICK)
                    self._obey(child, done)
                for child in list(self._children.values()):
                    self._look_after(child)
            except Exception:  # noqa: BLE001 -- if this thread ended, every program would be killed
                traceback.print_exc()

    def _obey(self, child: Child, done: Future[None]) -> None:
        try:
            child.spawn(self._keep_open)
            done.set_result(None)
        except OSError as exc:
            done.set_exception(ServerUnusable(f"{child.program.name}: {exc}"))

    def _look_after(self, child: Child) -> None:
        died: Restart | None = None
        with self._lock:
            now = time.monotonic()
            if child.state is State.RUNNING and child.has_ended():
                died = self._bury(child, now)
            elif child.state is State.WAITING and now >= child.due:
                child.restarts += 1
                child.state = State.RUNNING
                child.spawn(self._keep_open)
            elif child.state is State.RUNNING and (pid := child.pid) and now - child.kept_up > _UPKEEP_EVERY:
                child.kept_up = now
                if child.program.upkeep:
                    child.program.upkeep(pid)
        if died and self._on_restart:
            self._on_restart(died)

    def _bury(self, child: Child, now: float) -> Restart:
        code = child.reap()
        child.deaths = child.deaths + 1 if now - child.started < _SOUND_AFTER else 1
        wait = min(2.0 ** (child.deaths - 1), _LONGEST_WAIT)
        child.due = now + wait
        child.state = State.WAITING
        return Restart(child.program.name, code, child.deaths, timedelta(seconds=wait))

    def _end(self, child: Child) -> None:
        with self._lock:
            child.state = State.STOPPED
        child.ask_to_stop()
        until = time.monotonic() + child.program.stop_timeout.total_seconds()
        while not child.has_ended() and time.monotonic() < until:
            time.sleep(0.02)
        child.reap()
