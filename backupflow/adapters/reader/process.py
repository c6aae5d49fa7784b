"""Reads answers through their driver: small ones here and now, large ones in a process of their own.

A regular expression over 16 MiB holds the interpreter until it is done, and with it every session of the worker; a
process of its own holds nobody. One process a text, not a pool: its 0.1 s are little beside the text's, what it held
goes with it, and no text can spoil what reads the next one.

The text is judged by processor time and memory, this machine by the clock: where it is too busy, no router is to blame.
At worst a large text waits `wait` for one of the `at_once` turns, and then takes `time`. Both lie within the
collection's lease if together they are less than its grace (60 s as shipped); of what is read beyond the lease nothing
passes the fence.
"""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from backupflow import drivers
from backupflow.adapters.reader import frame, wire
from backupflow.adapters.reader.child import OUT_OF_MEMORY
from backupflow.adapters.reader.exchange import Overdue, TooMuch, exchange
from backupflow.core.driver import Incomplete, Reading
from backupflow.errors import CollectorBusy, NotAConfiguration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backupflow.core.driver import Asking, Reply

T = TypeVar("T")

ENTRY: Final = Path(__file__).resolve().with_name("entry.py")
ROOT: Final = Path(drivers.__file__).resolve().parents[2]  # where the package lies that runs here
_MIB: Final = 1024 * 1024
_GROWTH: Final = 5  # raw text and normal form against what was sent: `\1B` for each byte, and some paths
_NO_ROOM: Final = frozenset({errno.EAGAIN, errno.ENOMEM})  # what fork(2) says of a machine that has no more


class TooHard(Exception):
    """The text takes more than any real one does; says what."""


class ReadingDefect(RuntimeError):
    """A defect of the driver, or of the reader; says nothing of what was read."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What reading one session's answers may cost."""

    in_thread: int = 1_000_000  # bytes of all answers together that are read in the calling thread
    processor_time: timedelta = timedelta(seconds=15)  # of a process, in whole seconds; 16 MiB take a tenth of it
    time: timedelta = timedelta(seconds=20)  # of a process, by the clock
    memory: int = 2048 * _MIB  # bytes of a process's address space
    at_once: int = 2  # processes of one worker
    wait: timedelta = timedelta(seconds=20)  # for one's turn


AS_SHIPPED: Final = Bounds()


class Confined(Generic[T]):
    """Starts processes that work on texts, a bounded number at once, each within `bounds`; shared by threads."""

    def __init__(self, bounds: Bounds, entry: Path, answer_of: Callable[[memoryview], T | frame.Defect]) -> None:
        self._bounds = bounds
        self._answer_of = answer_of
        self._entry = entry
        self._turns = threading.BoundedSemaphore(bounds.at_once)

    def ask(self, request: list[bytes], most: int) -> T:
        """What a process of its own answers, of at most so many bytes.

        Raises TooHard if the text takes more processor time or memory than it may, CollectorBusy if this machine is too
        busy, and ReadingDefect for what was raised there.
        """
        if not self._turns.acquire(timeout=self._bounds.wait.total_seconds()):
            raise CollectorBusy("too many large exports at once, and no turn to read this one")
        try:
            return self._in_process(request, most)
        finally:
            self._turns.release()

    def _in_process(self, request: list[bytes], most: int) -> T:
        said, status = self._said(request, most)
        if not said.startswith(frame.READY):
            raise ReadingDefect("the process that reads did not start")
        try:
            answer = self._answer_of(memoryview(said)[len(frame.READY) :])
        except frame.Unreadable:
            if status == -signal.SIGKILL:  # of the kernel, where memory is short, or a person's: no text's own doing
                raise CollectorBusy("the process that read it was killed") from None
            if status:
                raise TooHard(self._why(status)) from None
            raise ReadingDefect("the process that reads said something else than it should") from None
        if isinstance(answer, frame.Defect):
            raise _named(answer.name)
        return answer

    def _said(self, request: list[bytes], most: int) -> tuple[bytearray, int]:
        """Start the process, let it read, and bury it: what it said, and how it ended."""
        with self._start() as process:
            try:
                return exchange(process, request, most, self._bounds.time), process.returncode
            except Overdue:
                raise CollectorBusy("this machine was too busy to read it in time") from None
            except TooMuch:
                raise TooHard(f"what was read of it has more than {most} bytes") from None
            finally:
                process.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        bounds = (self._processor_seconds, math.ceil(self._bounds.time.total_seconds()), self._bounds.memory)
        try:
            return subprocess.Popen(  # noqa: S603 - a fixed program, no shell
                [sys.executable, "-I", "-S", "-B", str(self._entry), str(ROOT), str(os.getpid()), *map(str, bounds)],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # a traceback quotes
                cwd="/",
                env={name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
            )
        except OSError as exc:
            if exc.errno in _NO_ROOM:
                raise CollectorBusy("this machine has no room for a process to read it") from exc
            raise

    @property
    def _processor_seconds(self) -> int:
        return math.ceil(self._bounds.processor_time.total_seconds())

    def _why(self, status: int) -> str:
        if status == OUT_OF_MEMORY:
            return f"it took more than {self._bounds.memory // _MIB} MiB of memory to read"
        if status == -signal.SIGXCPU:
            return f"it took more than {self._processor_seconds} s of processor time to read"
        ended = f"with status {status}" if status > 0 else f"by signal {-status}"
        return f"the process that read it ended {ended}"


class ProcessReader:
    """core.ports.Reader; made once a process, used by its threads."""

    def __init__(self, bounds: Bounds = AS_SHIPPED, *, entry: Path = ENTRY) -> None:
        self._in_thread = bounds.in_thread
        self._confined = Confined[Reading | Incomplete](bounds, entry, wire.answer_of)

    def read(self, driver: str, asking: Asking, replies: Sequence[Reply]) -> Reading | Incomplete:
        """What `Driver.read` gives.

        Raises NotAConfiguration if a large text takes more processor time or memory than any real export,
        CollectorBusy if this machine is too busy, InputInvalid for an unknown driver, and ReadingDefect for what the
        driver raised.
        """
        reads = drivers.driver(driver)
        size = sum(len(reply.stdout) + len(reply.stderr) for reply in replies)
        if size <= self._in_thread:
            return reads.read(asking, replies)
        most = _GROWTH * size + 2 * frame.LARGEST_HEADER
        try:
            return self._confined.ask(wire.request(driver, asking, replies), most)
        except TooHard as exc:
            raise NotAConfiguration(str(exc)) from None


def _named(name: str) -> ReadingDefect:
    """An exception of the name that the driver's had: the name of its class is all that is recorded of a defect."""
    kind: type[ReadingDefect] = type(name, (ReadingDefect,), {})
    return kind(name)
