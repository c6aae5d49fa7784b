"""A storm over a stack: what happens when is a pure function of a seed, what it does to real processes is here too."""

from __future__ import annotations

import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import nats.errors
import psutil
import redis

from tests.faults import disasters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backupflow.simulator import Fleet
    from tests.faults.stack import Stack, Worker

SERVERS = ("postgres", "redis", "nats", "openbao")
WORKERS = ("beat", "beat-2", "beat-3", "collect", "collect-2", "collect-3", "collect-slow", "ingest", "maintain")
LATENCY = 0.04  # seconds each way
THIN = 60_000  # bytes a second
TERM_SECONDS = 20.0  # as a supervisor does: what did not end by then is killed
# Each is dealt once before any comes again, to a victim drawn from its list; the number is how many cards there are.
DECK: tuple[tuple[int, str, Sequence[str]], ...] = (
    (3, "kill", WORKERS),
    (1, "terminate", WORKERS),
    (2, "stop", WORKERS),
    (3, "kill", SERVERS),
    (2, "stop", SERVERS),
    (1, "flush", ("redis",)),
    (1, "delete", ("nats",)),
    (1, "wipe", ("nats",)),
    (1, "seal", ("openbao",)),
    (2, "cut", SERVERS),
    (1, "refuse", SERVERS),
    (2, "half_open", SERVERS),
    (1, "latency", SERVERS),
    (1, "thin_line", SERVERS),
)


@dataclass(frozen=True, order=True)
class Act:
    """At so many seconds something happens to somebody; it lasts so many seconds, if it is of the kind that lasts."""

    at: float
    what: str
    whom: str
    seconds: float = 0.0

    def __str__(self) -> str:
        """As a line of the script."""
        return f"{self.at:7.1f} s: {self.what} {self.whom}" + (f" for {self.seconds:.1f} s" if self.seconds else "")


@dataclass(frozen=True)
class Weather:
    """How long it blows, how often, and how long each gust is; all in seconds. `beyond` is more than a lease."""

    seconds: float
    gap: float  # from one act to the next, on average
    longest: float
    edit_gap: float
    beyond: float


def script(seed: int, weather: Weather, routers: Sequence[str]) -> list[Act]:
    """What happens, in order: always a collector that stands still beyond its leases, then what the seed says."""
    dice = random.Random(seed)
    acts = [Act(0.5, "stop", "collect-2", weather.beyond)]
    deck: list[tuple[str, Sequence[str]]] = []
    at = 0.0
    while (at := at + dice.uniform(0.2, 2 * weather.gap)) < weather.seconds:
        if not deck:
            deck = [(what, whom) for count, what, whom in DECK for _ in range(count)]
            dice.shuffle(deck)
        what, whom = deck.pop()
        victim, seconds = dice.choice(whom), dice.uniform(0.5, weather.longest)
        acts.append(Act(at, what, victim, 0.0 if what in _AT_ONCE else seconds))
    at = 0.0
    while (at := at + dice.uniform(0.0, 2 * weather.edit_gap)) < weather.seconds:
        acts.append(Act(at, "edit", dice.choice(routers)))
    return sorted(acts)


_AT_ONCE = {"kill", "terminate", "flush", "delete", "wipe", "cut"}


@dataclass
class Storm:
    """Does what a script says, and keeps what came of it. `still` tells when collectors stood still."""

    stack: Stack
    fleet: Fleet
    told: list[str] = field(default_factory=list)
    still: list[tuple[datetime, datetime]] = field(default_factory=list)
    edited: dict[str, list[int]] = field(default_factory=dict)
    _due: list[tuple[float, str, Callable[[], None]]] = field(default_factory=list)

    def blow(self, acts: Sequence[Act]) -> None:
        """All of it, up to the end of the last."""
        began = time.monotonic()
        for act in acts:
            self._later(began + act.at, str(act), lambda act=act: self._begin(act))  # type: ignore[misc]
        while self._due:
            self._due.sort(key=lambda entry: entry[0])
            at, words, do = self._due.pop(0)
            time.sleep(max(at - time.monotonic(), 0))
            outcome = "done"
            try:
                do()
            except (psutil.NoSuchProcess, redis.RedisError, nats.errors.Error, OSError) as exc:
                outcome = f"in vain: {type(exc).__name__}"  # what it was meant for is down at this moment
            self.told.append(f"{words} (at {time.monotonic() - began:.1f} s: {outcome})")

    def _later(self, at: float, words: str, do: Callable[[], None]) -> None:
        self._due.append((at, words, do))

    def _begin(self, act: Act) -> None:
        end = time.monotonic() + act.seconds
        match act.what:
            case "edit":
                self.fleet[act.whom].edit()
                self.edited.setdefault(act.whom, []).append(self.fleet[act.whom].revision)
            case "flush":
                disasters.flush_redis(self.stack)
            case "delete":
                disasters.delete_stream(self.stack)
            case "wipe":
                self._server(act.whom)
                disasters.wipe_bus(self.stack)
            case "seal":
                self._server(act.whom)
                disasters.seal(self.stack)
                self._later(end, "unseal", lambda: disasters.unseal(self.stack))
            case "kill" | "terminate" | "stop":
                self._strike(act, end)
            case _:
                self._spoil(act, end)

    def _strike(self, act: Act, end: float) -> None:
        worker = self._worker(act.whom)
        if act.what == "stop":
            family = _family(psutil.Process(worker.pid) if worker else self._server(act.whom))
            began = datetime.now(UTC)
            for process in family:
                process.suspend()
            collects = worker is not None and worker.kind.startswith("collect")
            self._later(end, f"go on, {act.whom}", lambda: self._resume(family, began if collects else None))
        elif worker is None:
            self._server(act.whom).kill()
        elif act.what == "kill":
            worker.signal(signal.SIGKILL)
        else:
            worker.signal(signal.SIGTERM)
            pid = worker.pid
            self._later(time.monotonic() + TERM_SECONDS, f"end of patience with {act.whom}", lambda: _end(worker, pid))

    def _resume(self, family: Sequence[psutil.Process], began: datetime | None) -> None:
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        if began is not None:
            self.still.append((began, datetime.now(UTC)))

    def _spoil(self, act: Act, end: float) -> None:
        line = self.stack.proxies[act.whom]
        match act.what:
            case "cut":
                line.cut()
                return
            case "refuse":
                line.refuse()
            case "half_open":
                line.black_hole()
            case "latency":
                line.latency(LATENCY)
            case "thin_line":
                line.limit(THIN)
            case _:
                raise ValueError(act.what)
        self._later(end, f"heal the line to {act.whom}", line.pass_through)

    def _worker(self, name: str) -> Worker | None:
        return next((worker for worker in self.stack.workers if worker.name == name), None)

    def _server(self, name: str) -> psutil.Process:
        for status in self.stack.servers.supervisor.status():
            if status.name == name and status.pid is not None:
                process = psutil.Process(status.pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    return process
        raise psutil.NoSuchProcess(0, name)


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def _end(worker: Worker, pid: int) -> None:
    if worker.pid == pid:
        worker.signal(signal.SIGKILL)
