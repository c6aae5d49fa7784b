"""The whole install in figures, from beat: gathered every few seconds in a thread of its own, told to whoever asks.

A scrape reads what was gathered last. Where that fails the figures grow old, which one of them says; then they are not
told any more: a number of which nobody knows whether it is still true is worse than none.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from backupflow import telemetry
from backupflow.core.verdict import NEEDED, Count
from backupflow.errors import BackupflowError, HostKeyMismatch
from backupflow.telemetry import metrics
from backupflow.wiring import wiring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.metrics_core import Metric

    from backupflow.core.figures import DeviceFigures, Figures, Waiting
    from backupflow.telemetry.metrics import Told

EVERY_SECONDS = 15.0
OLD_SECONDS = 60.0  # four rounds: figures of then are not told any more
END_SECONDS = 5.0

Sample = tuple["Told", tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was gathered, as metrics, and when by a clock that only goes forward."""

    families: tuple[Metric, ...]
    devices: bytes  # as text: to make it of 20,000 devices takes longer than a scrape may
    at: float


class FleetGauges(Collector):
    """Gathers in its thread and answers scrapes, which cost no question to anybody."""

    def __init__(self, every: float = EVERY_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = every
        self._clock = clock
        self._began = clock()
        self._gathered: Gathered | None = None
        self._failed = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gauges", daemon=True)

    def start(self) -> None:
        """Gather from now on, if this process is asked for metrics at all."""
        if wiring().settings.process.metrics_listen not in {"", "off"}:
            metrics.REGISTRY.register(self)
            metrics.READY_MADE.append(self.devices)
            self._thread.start()

    def stop(self) -> None:
        """Gather no more. Celery beat closes its scheduler twice: at the signal, and at the end of its loop."""
        again = self._ended.is_set()
        self._ended.set()
        if self._thread.ident is not None and not again:
            metrics.REGISTRY.unregister(self)
            metrics.READY_MADE.remove(self.devices)
            self._thread.join(END_SECONDS)

    def describe(self) -> Iterable[Metric]:
        """Nothing before it is asked for: the names are those of telemetry.metrics."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """What was gathered last, how old that is, and why there is nothing newer."""
        gathered, failed = self._gathered, self._failed
        age = self._clock() - (gathered.at if gathered else self._began)
        said: list[Sample] = [(metrics.FIGURES_AGE, (), age)]
        if failed:
            said.append((metrics.FIGURES_FAILED, (failed,), 1.0))
        yield from families(said)
        if gathered and age <= OLD_SECONDS:
            yield from gathered.families

    def devices(self) -> bytes:
        """Those of single devices, as they were gathered last."""
        gathered = self._gathered
        return gathered.devices if gathered and self._clock() - gathered.at <= OLD_SECONDS else b""

    def gather(self) -> None:
        """Once."""
        began = self._clock()
        figures = wiring().gauges.look(devices=wiring().settings.process.metrics_devices)
        took = self._clock() - began
        samples = [(metrics.FIGURES_SECONDS, (), took), *of_figures(figures), *of_stream(_stream())]
        self._gathered = Gathered(tuple(families(samples)), as_text(of_devices(figures.devices)), began)

    def gather_or_say(self) -> None:
        """Once; what comes of it if it cannot is told with the age of the figures."""
        failed = ""
        try:
            self.gather()
        except BackupflowError as exc:
            failed = exc.code
        except Exception as exc:  # the loop of this thread: if it ended, nobody would be told of anything any more
            failed = "unexpected"
            if self._failed != failed:
                telemetry.logger().exception(telemetry.GAUGES_FAILED, error=type(exc).__name__)
        self._failed = failed

    def _run(self) -> None:
        while not self._ended.is_set():
            self.gather_or_say()
            self._ended.wait(self._every)


def families(samples: Iterable[Sample]) -> Iterator[Metric]:
    """As prometheus_client tells them: those of one name together, in the order of their first."""
    made: dict[Told, GaugeMetricFamily] = {}
    for told, labels, value in samples:
        if told not in made:
            made[told] = GaugeMetricFamily(told.name, told.says, labels=told.labels)
        made[told].add_metric(labels, value)
    yield from made.values()


class StreamStatus(Protocol):
    """What the bus says of its stream; bytes but for `messages`."""

    @property
    def messages(self) -> int:
        """That nobody has acknowledged."""

    @property
    def used(self) -> int:
        """By them."""

    @property
    def room(self) -> int:
        """That is left."""


def _stream() -> StreamStatus | None:
    """None while the bus is away: an alarm says so."""
    try:
        return wiring().bus("scheduler").status()
    except BackupflowError:
        return None


def of_stream(status: StreamStatus | None) -> Iterator[Sample]:
    """How full the stream is."""
    if status is not None:
        yield metrics.STREAM_MESSAGES, (), status.messages
        yield metrics.STREAM_BYTES, (), status.used
        yield metrics.STREAM_ROOM, (), status.room


def of_figures(figures: Figures) -> Iterator[Sample]:
    """Those of the whole install as samples; what is unknown is left out."""
    yield from _of_devices(figures)
    yield from _of_house(figures)
    yield from _of_stages(figures)
    yield from _of_maintenance(figures)


def _of_devices(figures: Figures) -> Iterator[Sample]:
    for what in Count:
        yield metrics.DEVICES, (what.name.lower(),), figures.counted.get(what, 0)
    yield metrics.DEVICES_EXPECTED, (), figures.wanted
    # The alarm of many changed keys compares with an hour ago: 0 is not to look like a beat that was not scraped.
    for code, count in ({HostKeyMismatch.code: 0} | dict(figures.blocked)).items():
        yield metrics.BLOCKED, (code,), count
    yield metrics.LOGINS, ("refused",), figures.logins_refused
    yield metrics.LOGINS, ("suspended",), figures.logins_suspended
    yield metrics.SITES_DOWN, (), figures.sites_down
    yield metrics.HOPS_DOWN, (), figures.jump_hosts_in_trouble


def _of_house(figures: Figures) -> Iterator[Sample]:
    alarms: dict[tuple[str, str], int] = {}
    for one in figures.alarms:
        key = (one.code, one.level(figures.now).name.lower())
        alarms[key] = alarms.get(key, 0) + one.count
    for key, count in alarms.items():
        yield metrics.ALARMS, key, count
    for server, well in figures.servers.items():
        yield metrics.SERVERS, (server,), well
    living = dict.fromkeys(NEEDED, 0)  # those that must be there are told when none of them is
    for process in figures.processes:
        living[process.kind] = living.get(process.kind, 0) + process.alive
        who = (process.kind, process.host, str(process.pid))
        yield metrics.HEARTBEAT_AGE, who, process.age.total_seconds()
    for kind, count in living.items():
        yield metrics.PROCESSES, (kind,), count


def _of_stages(figures: Figures) -> Iterator[Sample]:
    for lane, found in figures.lanes.items():
        yield metrics.SLOTS, (lane,), found.slots
        yield metrics.WINDOW, (lane,), found.window
        yield metrics.CLAIMED, (lane,), found.claimed
        yield metrics.SESSIONS, (lane,), found.running
    if figures.load.needed is not None:
        yield metrics.SLOTS_NEEDED, (), figures.load.needed
    yield from _of_waiting(metrics.UNSTORED, metrics.UNSTORED_AGE, figures.published)
    yield from _of_waiting(metrics.UNINTERPRETED, metrics.UNINTERPRETED_AGE, figures.uninterpreted)
    yield from _of_waiting(metrics.UNTOLD, metrics.UNTOLD_AGE, figures.untold)
    yield metrics.UNSENT, (), figures.unsent


def _of_waiting(count: Told, age: Told, waiting: Waiting) -> Iterator[Sample]:
    yield count, (), waiting.count
    yield age, (), 0.0 if waiting.oldest is None else max(waiting.oldest.total_seconds(), 0.0)


def _of_maintenance(figures: Figures) -> Iterator[Sample]:
    for name, job in figures.jobs.items():
        yield metrics.JOB_EVERY, (name,), job.every.total_seconds()
        if job.done_ago is not None:
            yield metrics.JOB_AGE, (name,), job.done_ago.total_seconds()
    yield metrics.INSTALL_AGE, (), figures.installed_ago.total_seconds()
    if figures.backup_ago is not None:
        yield metrics.SYSTEM_BACKUP_AGE, (), figures.backup_ago.total_seconds()
    if figures.escrow_ago is not None:
        yield metrics.ESCROW_AGE, (), figures.escrow_ago.total_seconds()
    yield metrics.ESCROW_TENANTS, (), figures.escrow_tenants


def of_devices(devices: Iterable[DeviceFigures]) -> Iterator[Sample]:
    """Those of single devices."""
    for one in devices:
        who = (one.device, one.site, one.tenant)
        yield metrics.DEVICE_STATE, (*who, one.counted.name.lower()), 1
        yield metrics.DEVICE_FAILURES, who, one.failures
        if one.current_at is not None:
            yield metrics.DEVICE_SEEN_AT, who, one.current_at.timestamp()


def as_text(samples: Iterable[Sample]) -> bytes:
    """As a scrape gets them."""
    registry = CollectorRegistry()
    registry.register(_Ready(tuple(families(samples))))
    return generate_latest(registry)


class _Ready(Collector):
    def __init__(self, made: tuple[Metric, ...]) -> None:
        self._made = made

    def collect(self) -> Iterable[Metric]:
        """What it was given."""
        return self._made
