"""One process of a stack, to be killed, stopped and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

from backupflow.embedded import launch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

RESTART_SECONDS = 1.0
STOP_SECONDS = 60.0


@dataclass(eq=False)
class Worker:
    """A Celery process; `kind` is what it does, `name` is its own. `restart`: what ends by itself is started again."""

    kind: str
    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    cwd: Path
    log: Path
    restart: bool = False
    restarts: int = 0
    due: float = 0.0  # when it is started again, monotonic seconds
    _popen: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def spawn(self, forker: Executor) -> None:
        """Start it from that executor's thread: a child dies with the thread that forked it (prctl(2))."""
        self._popen = forker.submit(self._spawn).result()

    def _spawn(self) -> subprocess.Popen[bytes]:
        unchanged = str(launch.UNCHANGED)
        argv = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), unchanged, unchanged, *self.argv]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                argv,
                cwd=self.cwd,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def popen(self) -> subprocess.Popen[bytes]:
        """Its present process, dead or alive."""
        assert self._popen is not None, f"{self.name} was not started"
        return self._popen

    @property
    def pid(self) -> int:
        """Of its present process."""
        return self.popen.pid

    @property
    def process(self) -> psutil.Process:
        """Its present process; psutil.NoSuchProcess if it is gone."""
        return psutil.Process(self.pid)

    @property
    def is_alive(self) -> bool:
        """Whether its present process has not ended."""
        return self.popen.poll() is None

    @property
    def exit_status(self) -> int | None:
        """Of its present process: None while it lives, minus the signal that killed it."""
        return self.popen.poll()

    def kill(self) -> None:
        """kill -9, and wait for its end."""
        self.signal(signal.SIGKILL)
        self.popen.wait(STOP_SECONDS)

    def stop(self) -> int:
        """SIGTERM, and wait; it is not started again. Gives the exit status."""
        self.restart = False
        self.signal(signal.SIGTERM)
        return self.popen.wait(STOP_SECONDS)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait until it ends by itself; gives the exit status."""
        return self.popen.wait(seconds)

    def pause(self) -> None:
        """SIGSTOP, to it and what it started: a machine that stands still."""
        for process in self._family():
            process.suspend()

    def resume(self) -> None:
        """SIGCONT."""
        for process in self._family():
            process.resume()

    def signal(self, number: signal.Signals) -> None:
        """Any other; not felt by one that has ended."""
        with suppress(ProcessLookupError):
            self.popen.send_signal(number)

    def output(self) -> str:
        """What it said so far, in all its lives."""
        return self.log.read_text("utf-8", "replace")

    def bury(self) -> None:
        """End it and all that it started, whatever state they are in."""
        self.restart = False
        if self._popen is not None:
            for process in self._family():
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            with suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait(STOP_SECONDS)

    def revive(self, forker: Executor) -> None:
        """Start it again if it ended, and shall live, and its wait is over."""
        if not self.restart or self.is_alive:
            self.due = 0.0
        elif not self.due:
            self.due = time.monotonic() + RESTART_SECONDS
        elif time.monotonic() >= self.due:
            self.due = 0.0
            self.restarts += 1
            self.spawn(forker)

    def _family(self) -> list[psutil.Process]:
        try:
            return [self.process, *self.process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
