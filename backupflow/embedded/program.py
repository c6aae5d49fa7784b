"""What a supervisor is told about a program, and what it tells."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


class State(StrEnum):
    """What a program is doing."""

    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"  # died; is started again when its wait is over
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run, and how to tell that it is ready. `ready` is asked again and again, and must not block for long."""

    name: str
    argv: Sequence[str]
    cwd: Path
    log: Path
    env: Mapping[str, str]
    user: tuple[int, int] | None = None  # uid and gid
    ready: Callable[[], bool] | None = None
    ready_timeout: timedelta = timedelta(seconds=60)
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout: timedelta = timedelta(seconds=15)
    on_line: Callable[[str], None] | None = None  # told each line that goes to the log
    upkeep: Callable[[int], None] | None = None  # every half minute, with the process id


@dataclass(frozen=True)
class Restart:
    """A program died and is started again after `wait`; `deaths` in a row so far."""

    name: str
    exit_code: int
    deaths: int
    wait: timedelta


@dataclass(frozen=True)
class Status:
    """What a program is doing now."""

    name: str
    state: State
    pid: int | None
    restarts: int
