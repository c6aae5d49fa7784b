"""One process of a program: how it is started, asked to stop, and buried."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backupflow.embedded import launch
from backupflow.embedded.program import Program, State

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from backupflow.embedded.logs import BoundedLog


@dataclass
class Child:
    """A program's present process, and what became of the ones before."""

    program: Program
    log: BoundedLog
    state: State = State.STOPPED
    restarts: int = 0
    deaths: int = 0  # in a row
    due: float = 0.0  # when it is started again, monotonic seconds
    started: float = 0.0
    kept_up: float = field(default_factory=time.monotonic)
    _process: subprocess.Popen[bytes] | None = None
    _reader: threading.Thread | None = None

    def spawn(self, keep_open: Sequence[int]) -> None:
        """Start the process; it lives no longer than the thread that calls this. Raises OSError."""
        program = self.program
        uid, gid = program.user or (launch.UNCHANGED, launch.UNCHANGED)
        self.started = time.monotonic()
        self._process = process = subprocess.Popen(
            [sys.executable, "-I", "-S", launch.__file__, str(os.getpid()), str(uid), str(gid), *program.argv],
            cwd=program.cwd,
            env=dict(program.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the terminal's Ctrl-C is for the supervisor alone
            pass_fds=keep_open,
        )
        if process.stdout:
            self._reader = self.log.follow(process.stdout)

    @property
    def pid(self) -> int | None:
        """Its number, while it is not buried."""
        process = self._process  # once: another thread may set it to None
        return process.pid if process else None

    def has_ended(self) -> bool:
        """Whether the process is dead; it stays a zombie, so that its number and group cannot become another's."""
        pid = self.pid
        if pid is None:
            return True
        try:
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # another thread has just taken its exit code
            return True

    def ask_to_stop(self) -> None:
        """Send the stop signal to the process itself: it knows best how to stop what it started."""
        pid = self.pid
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(
                    pid, self.program.stop_signal
                )  # not Popen's: that would take the exit code, and free the number

    def reap(self) -> int:
        """Kill what is left of the process group, and take the exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        if self._reader:
            self._reader.join(1.0)
        return code
