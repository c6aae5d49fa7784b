"""What a fuzz target is, and the watch over one execution of it: what it raised, and how long it took."""

from __future__ import annotations

import signal
import threading
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HANG: Final = "hang"
HANG_SECONDS: Final = 10.0  # of CPU; a target that computes longer is stopped
_TRIES: Final = 3  # before an input is called slow: a first run fills caches, and garbage is collected now and then
_OURS: Final = ("/backupflow/", "/tools/", "/tests/")


class LawBrokenError(AssertionError):
    """A parser broke one of its promises."""


class OverdueError(BaseException):
    """The time is up: no `except Exception` on the way may take it."""


def law(holds: bool, name: str) -> None:  # noqa: FBT001 - reads as an assertion
    """Raise LawBrokenError, with a name that never holds any of the input."""
    if not holds:
        raise LawBrokenError(name)


@dataclass(frozen=True, slots=True)
class Target:
    """One parser of hostile input. `check` returns, whatever the bytes, or raises what is a finding."""

    name: str
    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    tokens: tuple[bytes, ...] = ()
    longest: int = 2048  # bytes of an input
    seconds: float = 0.05  # of CPU that any input may take …
    seconds_per_byte: float = 5e-6  # … and what is added for each byte of it
    traced: bool = True  # guided by coverage, which makes it some times slower
    wrap: Callable[[bytes], bytes] = bytes
    """Makes an input of a file that was given as a seed."""

    def bound(self, size: int) -> float:
        """Give the seconds of CPU that an input of `size` bytes may take."""
        return self.seconds + size * self.seconds_per_byte


@dataclass(slots=True)
class Findings:
    """What was seen of one target; of inputs that fail in one way the shortest is kept."""

    executions: int = 0
    failures: dict[str, bytes] = field(default_factory=dict)
    traces: dict[str, str] = field(default_factory=dict)
    slowest: bytes = b""
    slowest_seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Plain values; inputs in hexadecimal."""
        return {
            "executions": self.executions,
            "failures": {name: data.hex() for name, data in self.failures.items()},
            "traces": self.traces,
            "slowest": self.slowest.hex(),
            "slowest_seconds": self.slowest_seconds,
        }


class Watch:
    """Runs a target and notes what it does; `slowdown` is by how much tracing makes it slower."""

    def __init__(self, target: Target, slowdown: float = 1.0, hang: float = HANG_SECONDS) -> None:
        self.target = target
        self.findings = Findings()
        self._slowdown = slowdown
        self._hang = hang

    def __call__(self, data: bytes) -> str | None:
        """Run one input; the name of its failure, None if there is none."""
        self.findings.executions += 1
        name, seconds = self._once(data)
        bound = self.target.bound(len(data)) * self._slowdown
        if name is None and seconds > bound:
            seconds = min(seconds, *(self._once(data)[1] for _ in range(_TRIES - 1)))
            name = "slow" if seconds > bound else None
        if name != HANG and seconds > self.findings.slowest_seconds:
            self.findings.slowest, self.findings.slowest_seconds = data, seconds
        if name is not None and len(data) < len(self.findings.failures.get(name, bytes(len(data) + 1))):
            self.findings.failures[name] = data
        return name

    def _once(self, data: bytes) -> tuple[str | None, float]:
        began = time.thread_time()
        try:
            with _alarm(self._hang):
                self.target.check(data)
        except OverdueError as exc:
            return self._named(exc, HANG), self._hang
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is what was looked for
            return self._named(exc, name_of(exc)), time.thread_time() - began
        return None, time.thread_time() - began

    def _named(self, exc: BaseException, name: str) -> str:
        self.findings.traces[name] = "".join(traceback.format_exception(exc, limit=-4))[-4000:]
        return name


def name_of(exc: Exception) -> str:
    """Name a failure so that two inputs that meet the same fault meet the same name."""
    if isinstance(exc, LawBrokenError):
        return f"law broken: {exc}"
    frames = traceback.extract_tb(exc.__traceback__)
    ours = [frame for frame in frames if frame.filename != __file__ and any(part in frame.filename for part in _OURS)]
    place = (ours or frames)[-1]
    return f"{type(exc).__name__} in {place.name} ({'/'.join(place.filename.split('/')[-2:])})"


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise OverdueError after `seconds` of this process's CPU; only the main thread can be stopped so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _overdue)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _overdue(*_: object) -> NoReturn:
    raise OverdueError


def shrink(watch: Watch, data: bytes, failure: str, seconds: float = 20.0) -> bytes:
    """Cut pieces out of an input as long as it fails in the same way, and for no longer than `seconds`."""
    ends = time.monotonic() + seconds
    size = max(len(data) // 2, 1)
    while size and time.monotonic() < ends:
        at = 0
        while at < len(data) and time.monotonic() < ends:
            shorter = data[:at] + data[at + size :]
            if watch(shorter) == failure:
                data = shorter
            else:
                at += size
        size //= 2
    return data
