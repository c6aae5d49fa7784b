"""Runs programs: starts them in order, each when the one before is ready, revives the dead, stops all in reverse order.

One thread starts every program and lives as long as the supervisor, because the death signal of a child fires when the
*thread* that forked it ends (prctl(2)): so a child lives until it is stopped or this process is gone, however it went.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from backupflow.embedded import launch
from backupflow.embedded.logs import BoundedLog
from backupflow.embedded.program import Program, Restart, State, Status
from backupflow.errors import ServerUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

_TICK = 0.2
_LONGEST_WAIT = 30.0
_SOUND_AFTER = 60.0  # a program that ran this long starts again with the shortest wait
_UPKEEP_EVERY = 30.0


@dataclass
class _Child:
    program: Program
    log: BoundedLog
    state: State = State.STOPPED
    process: subprocess.Popen[bytes] | None = None
    reader: threading.Thread | None = None
    restarts: int = 0
    deaths: int = 0
    due: float = 0.0
    started: float = 0.0
    kept_up: float = field(default_factory=time.monotonic)


class Supervisor:
    """Starts, watches and stops programs; safe to call from several threads."""

    def __init__(
        self, *, on_restart: Callable[[Restart], None] | None = None, keep_open: Sequence[int] = (), hide: str = ""
    ) -> None:
        """Pass `keep_open` descriptors to every child; keep the text `hide` out of the logs."""
        self._on_restart = on_restart
        self._keep_open = tuple(keep_open)
        self._hide = hide
        self._children: dict[str, _Child] = {}
        self._orders: queue.Queue[tuple[_Child, Future[None]]] = queue.Queue()
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
            child = _Child(program, BoundedLog(program.log, hide=self._hide, on_line=program.on_line))
            self._children[program.name] = child
        self._launch(child)

    def restart(self, name: str) -> None:
        """Stop a program and start it again, now; as `start`."""
        child = self._children[name]
        self._end(child)
        self._launch(child)

    def status(self) -> list[Status]:
        """Each program in the order of starting."""
        with self._lock:
            return [
                Status(child.program.name, child.state, _pid(child), child.restarts)
                for child in self._children.values()
            ]

    def stop(self) -> None:
        """Stop all programs, the last started first; the supervisor is of no use afterwards."""
        with self._lock:
            children = list(self._children.values())
        for child in reversed(children):
            self._end(child)
        self._ending.set()
        self._thread.join()

    def _launch(self, child: _Child) -> None:
        child.state = State.STARTING
        done: Future[None] = Future()
        self._orders.put((child, done))
        done.result()
        program = child.program
        until = time.monotonic() + program.ready_timeout.total_seconds()
        while program.ready and not program.ready():
            if _has_ended(child) or time.monotonic() > until:
                why = "ended" if _has_ended(child) else "not ready in time"
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

    def _obey(self, child: _Child, done: Future[None]) -> None:
        try:
            self._spawn(child)
            done.set_result(None)
        except OSError as exc:
            done.set_exception(ServerUnusable(f"{child.program.name}: {exc}"))

    def _spawn(self, child: _Child) -> None:
        program = child.program
        uid, gid = program.user or (launch.UNCHANGED, launch.UNCHANGED)
        child.started = time.monotonic()
        child.process = subprocess.Popen(
            [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), str(uid), str(gid), *program.argv],
            cwd=program.cwd,
            env=dict(program.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the terminal's Ctrl-C is for the supervisor alone
            pass_fds=self._keep_open,
        )
        if child.process.stdout:
            child.reader = child.log.follow(child.process.stdout)

    def _look_after(self, child: _Child) -> None:
        died: Restart | None = None
        with self._lock:
            now = time.monotonic()
            if child.state is State.RUNNING and _has_ended(child):
                died = self._bury(child, now)
            elif child.state is State.WAITING and now >= child.due:
                child.restarts += 1
                child.state = State.RUNNING
                self._spawn(child)
            elif child.state is State.RUNNING and (pid := _pid(child)) and now - child.kept_up > _UPKEEP_EVERY:
                child.kept_up = now
                if child.program.upkeep:
                    child.program.upkeep(pid)
        if died and self._on_restart:
            self._on_restart(died)

    def _bury(self, child: _Child, now: float) -> Restart:
        code = _reap(child)
        child.deaths = child.deaths + 1 if now - child.started < _SOUND_AFTER else 1
        wait = min(2.0 ** (child.deaths - 1), _LONGEST_WAIT)
        child.due = now + wait
        child.state = State.WAITING
        return Restart(child.program.name, code, child.deaths, timedelta(seconds=wait))

    def _end(self, child: _Child) -> None:
        with self._lock:
            child.state = State.STOPPED
            if child.process is None:
                return
        with suppress(ProcessLookupError):
            child.process.send_signal(child.program.stop_signal)
        until = time.monotonic() + child.program.stop_timeout.total_seconds()
        while not _has_ended(child) and time.monotonic() < until:
            time.sleep(0.02)
        _reap(child)


def _pid(child: _Child) -> int | None:
    process = child.process  # once: another thread may set it to None
    return process.pid if process else None


def _has_ended(child: _Child) -> bool:
    """Whether the process is dead; it stays a zombie, so that its number and group cannot become another's."""
    pid = _pid(child)
    if pid is None:
        return True
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # another thread has just taken its exit code
        return True


def _reap(child: _Child) -> int:
    """Kill what is left of the process group, and take the exit code."""
    process, child.process = child.process, None
    if process is None:
        return 0
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    if child.reader:
        child.reader.join(1.0)
    return code
