"""What a scrape of beat gets: the figures that were gathered last, how old they are, and none that are too old."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from backupflow.core.capacity import Load
from backupflow.core.figures import (
    DeviceFigures,
    Figures,
    Heartbeat,
    JobFigures,
    LaneFigures,
    StandingAlarms,
    Waiting,
)
from backupflow.core.model import Lane
from backupflow.core.verdict import Count
from backupflow.errors import StoreUnavailable
from backupflow.tasks import gauges
from backupflow.tasks.gauges import OLD_SECONDS, FleetGauges, as_text, families, of_devices, of_figures, of_stream
from backupflow.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
Told = dict[str, dict[tuple[tuple[str, str], ...], float]]


def figures(**other: object) -> Figures:
    """An install with something of everything; each number is another one."""
    values = {
        "now": NOW,
        "counted": {Count.FRESH: 90, Count.BLOCKED: 7, Count.PAUSED: 4, Count.HELD: 1},
        "blocked": {"host_key_mismatch": 6, "authentication_failed": 1},
        "alarms": (
            StandingAlarms("device_down", "device ", 30),
            StandingAlarms("device_down", "", 2),
            StandingAlarms("vault_unavailable", "", 1),
            StandingAlarms("snapshot_damaged", "device ", 3),
        ),
        "processes": (
            Heartbeat("scheduler", "here", 11, timedelta(seconds=3), alive=True),
            Heartbeat("status", "here", 12, timedelta(seconds=4), alive=True),
            Heartbeat("collector", "there", 13, timedelta(hours=2), alive=False),
        ),
        "lanes": {Lane.NORMAL: LaneFigures(10, 30, 21, 8), Lane.SLOW: LaneFigures(3, 9, 0, 2)},
        "load": Load(2.0, timedelta(seconds=2.2), 10),
        "logins_refused": 14,
        "logins_suspended": 15,
        "sites_down": 16,
        "jump_hosts_in_trouble": 17,
        "published": Waiting(18, timedelta(seconds=19)),
        "uninterpreted": Waiting(20, timedelta(seconds=22)),
        "untold": Waiting(23, timedelta(seconds=24)),
        "unsent": 25,
        "jobs": {"verify": JobFigures(26 * MINUTE, 27 * MINUTE), "escrow": JobFigures(None, 28 * MINUTE)},
        "backup_ago": 29 * MINUTE,
        "installed_ago": 31 * MINUTE,
        "escrow_ago": 32 * MINUTE,
        "escrow_tenants": 33,
        "devices": (DeviceFigures('r-"1"\\', "north", "default", Count.FRESH, NOW, 34),),
    }
    return Figures(**{**values, **other})  # type: ignore[arg-type]


def told(collector: FleetGauges) -> Told:
    """What a scrape gets, read back as Prometheus reads it."""
    registry = CollectorRegistry()
    registry.register(collector)
    return parsed(generate_latest(registry) + collector.devices())


def parsed(answer: bytes) -> Told:
    """By name and labels."""
    found: Told = {}
    for family in text_string_to_metric_families(answer.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


class Asked:
    """Plays the wiring: gives figures, or fails as it is told to; counts how often it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails: Exception | None = None
        self.times = 0
        self.now = 1000.0
        monkeypatch.setattr(gauges, "wiring", lambda: self)
        self.settings = self.process = self.gauges = self
        self.metrics_devices = True
        self.metrics_listen = "off"

    def clock(self) -> float:
        """Goes when it is told to."""
        return self.now

    def look(self, *, devices: bool) -> Figures:
        """core.ports.GaugeStore."""
        assert devices
        self.times += 1
        if self.fails is not None:
            raise self.fails
        return figures()

    def bus(self, _role: str) -> object:
        """No bus is there."""
        raise StoreUnavailable("nobody")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What the gauges ask."""
    return Asked(monkeypatch)


def one(found: Told, name: str, /, **labels: str) -> float:
    """A value."""
    return found[name][tuple(sorted(labels.items()))]


def test_a_scrape_asks_nobody(asked: Asked) -> None:
    """However often it is scraped, figures are gathered once; they say how old they are."""
    collector = FleetGauges(clock=asked.clock)
    collector.gather()
    for seconds in (0.0, 7.0, OLD_SECONDS):
        asked.now = 1000.0 + seconds
        assert one(told(collector), metrics.FIGURES_AGE.name) == seconds
        assert one(told(collector), metrics.DEVICES.name, state="fresh") == 90
    assert asked.times == 1


def test_beat_may_end_them_twice(asked: Asked) -> None:
    """Celery closes its scheduler at the signal, and once more at the end of its loop: no traceback comes of it."""
    asked.metrics_listen = "127.0.0.1:0"
    collector = FleetGauges()
    collector.start()
    collector.stop()
    collector.stop()
    assert collector.devices not in metrics.READY_MADE


def test_figures_that_grow_old_are_told_no_more(asked: Asked) -> None:
    """A number of which nobody knows whether it is still true is worse than none: only their age is left, and why."""
    collector = FleetGauges(clock=asked.clock)
    collector.gather()
    asked.fails, asked.now = StoreUnavailable("gone"), 1000.0 + OLD_SECONDS + 1
    collector.gather_or_say()
    found = told(collector)
    assert found.keys() == {metrics.FIGURES_AGE.name, metrics.FIGURES_FAILED.name}
    assert one(found, metrics.FIGURES_AGE.name) == OLD_SECONDS + 1
    assert one(found, metrics.FIGURES_FAILED.name, code="store_unavailable") == 1
    asked.fails = None
    collector.gather_or_say()
    found = told(collector)
    assert one(found, metrics.FIGURES_AGE.name) == 0
    assert metrics.FIGURES_FAILED.name not in found
    assert metrics.DEVICES.name in found


def test_what_was_never_gathered_is_as_old_as_the_process(asked: Asked) -> None:
    """And a defect has a code too."""
    collector = FleetGauges(clock=asked.clock)
    asked.fails, asked.now = RuntimeError(), 1090.0
    collector.gather_or_say()
    assert told(collector) == {
        metrics.FIGURES_AGE.name: {(): 90.0},
        metrics.FIGURES_FAILED.name: {(("code", "unexpected"),): 1.0},
    }


def test_every_figure_is_told_with_the_labels_of_its_metric() -> None:
    """All that telemetry.metrics names is there, and nothing else, each number where it belongs."""
    found = {family.name: family for family in families([*of_figures(figures()), *of_devices(figures().devices)])}
    here = {metrics.FIGURES_AGE, metrics.FIGURES_FAILED, metrics.FIGURES_SECONDS}
    stream = {metrics.STREAM_BYTES, metrics.STREAM_MESSAGES, metrics.STREAM_ROOM}
    assert found.keys() == {named.name for named in {*metrics.FLEET} - here - stream}
    labels = {named.name: named.labels for named in metrics.FLEET}
    wrong = [s for family in found.values() for s in family.samples if tuple(s.labels) != labels[family.name]]
    assert wrong == []


EXPECTED: Mapping[metrics.Told, float] = {
    metrics.DEVICES_EXPECTED: 97,
    metrics.SITES_DOWN: 16,
    metrics.HOPS_DOWN: 17,
    metrics.SLOTS_NEEDED: 5,
    metrics.UNSTORED: 18,
    metrics.UNSTORED_AGE: 19,
    metrics.UNINTERPRETED: 20,
    metrics.UNINTERPRETED_AGE: 22,
    metrics.UNTOLD: 23,
    metrics.UNTOLD_AGE: 24,
    metrics.UNSENT: 25,
    metrics.SYSTEM_BACKUP_AGE: 29 * 60,
    metrics.INSTALL_AGE: 31 * 60,
    metrics.ESCROW_AGE: 32 * 60,
    metrics.ESCROW_TENANTS: 33,
}


def test_each_number_stands_where_it_belongs(asked: Asked) -> None:
    """Every figure of the scene is another one, so that none can take another's place."""
    collector = FleetGauges(clock=asked.clock)
    collector.gather()
    found = told(collector)
    assert {named: one(found, named.name) for named in EXPECTED} == EXPECTED
    assert one(found, metrics.BLOCKED.name, code="host_key_mismatch") == 6
    assert found[metrics.LOGINS.name] == {(("state", "refused"),): 14, (("state", "suspended"),): 15}
    assert [one(found, named.name, lane="collect") for named in LANES] == [10, 30, 21, 8]
    assert [one(found, named.name, lane="collect.slow") for named in LANES] == [3, 9, 0, 2]
    assert one(found, metrics.JOB_AGE.name, name="verify") == 26 * 60
    assert found[metrics.JOB_EVERY.name].keys() == {(("name", "verify"),), (("name", "escrow"),)}
    assert one(found, metrics.HEARTBEAT_AGE.name, kind="collector", host="there", pid="13") == 7200
    who = {"device": 'r-"1"\\', "site": "north", "tenant": "default"}
    assert one(found, metrics.DEVICE_STATE.name, **who, state="fresh") == 1
    assert one(found, metrics.DEVICE_FAILURES.name, **who) == 34
    assert one(found, metrics.DEVICE_SEEN_AT.name, **who) == NOW.timestamp()
    assert asked.times == 1


LANES = (metrics.SLOTS, metrics.WINDOW, metrics.CLAIMED, metrics.SESSIONS)


def test_alarms_of_single_devices_call_nobody(asked: Asked) -> None:
    """The level is what the verdict makes of them; those of one device are told apart from those of all."""
    collector = FleetGauges(clock=asked.clock)
    collector.gather()
    found = told(collector)
    assert found[metrics.ALARMS.name] == {
        (("code", "device_down"), ("level", "ok")): 30,
        (("code", "device_down"), ("level", "warning")): 2,
        (("code", "vault_unavailable"), ("level", "critical")): 1,
        (("code", "snapshot_damaged"), ("level", "critical")): 3,
    }
    assert found[metrics.SERVERS.name] == {(("server", name),): well for name, well in SERVERS.items()}
    assert asked.times == 1


SERVERS = {"vault": 0.0, "bus": 1.0, "broker": 1.0, "db": 1.0}


def test_whom_an_install_needs_is_told_when_there_is_none() -> None:
    """A series that is missing fires no rule; and a dead one does not count."""
    found = {family.name: family for family in families(of_figures(figures()))}
    living = {sample.labels["kind"]: sample.value for sample in found[metrics.PROCESSES.name].samples}
    assert living == {"scheduler": 1, "collector": 0, "ingester": 0, "operator": 0, "status": 1}


def test_changed_host_keys_are_told_when_there_are_none() -> None:
    """Their rule compares with an hour ago, when there may have been none: that is to be 0, not unknown."""
    for blocked, count in (({}, 0), ({"host_key_mismatch": 6, "identity_changed": 1}, 6)):
        found = {family.name: family for family in families(of_figures(figures(blocked=blocked)))}
        told_of = {sample.labels["code"]: sample.value for sample in found[metrics.BLOCKED.name].samples}
        assert told_of == {"host_key_mismatch": 0, **blocked}
        assert told_of["host_key_mismatch"] == count


def test_what_is_unknown_has_no_series() -> None:
    """No backup is not a young one."""
    nothing = figures(backup_ago=None, escrow_ago=None, load=Load(0.0, None, 0), uninterpreted=Waiting())
    found = {family.name: family for family in families(of_figures(nothing))}
    unknown = {metrics.SYSTEM_BACKUP_AGE.name, metrics.ESCROW_AGE.name, metrics.SLOTS_NEEDED.name}
    assert not found.keys() & unknown
    assert list(of_stream(None)) == []
    assert as_text(of_devices(())) == b""
    assert [sample.value for sample in found[metrics.UNINTERPRETED_AGE.name].samples] == [0]


@pytest.mark.parametrize("accepts", ["text/plain", "application/openmetrics-text; version=1.0.0"])
def test_single_devices_stand_in_both_formats(asked: Asked, monkeypatch: pytest.MonkeyPatch, accepts: str) -> None:
    """Their text is made once, and stands before the end that OpenMetrics wants; the older one has none."""
    collector = FleetGauges(clock=asked.clock)
    collector.gather()
    monkeypatch.setattr(metrics, "READY_MADE", [collector.devices])
    encode, kind = choose_encoder(accepts)
    answer = metrics.exposition(encode)
    assert answer.endswith(b"# EOF\n") == ("openmetrics" in kind)
    assert answer.count(b"# EOF") == ("openmetrics" in kind)
    parse = parse_openmetrics if "openmetrics" in kind else text_string_to_metric_families
    found = {family.name: family for family in parse(answer.decode())}
    assert found[metrics.DEVICE_FAILURES.name].samples[0].labels["device"] == 'r-"1"\\'
    assert found[metrics.DEVICE_FAILURES.name].documentation == metrics.DEVICE_FAILURES.says
