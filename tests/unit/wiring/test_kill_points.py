"""Kill points: a process dies where it is asked to and as often, and where nobody asks nothing is wrapped."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from functools import cached_property
from inspect import isfunction, signature
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from backupflow.cli import up
from backupflow.core import ports
from backupflow.errors import BackupflowError, SettingsInvalid
from backupflow.flows import schedule
from backupflow.settings import Settings
from backupflow.tasks import beat
from backupflow.wiring import Wiring, kill_points
from backupflow.wiring.kill_points import VARIABLE, KillPoint, asked_for, methods

if TYPE_CHECKING:
    from collections.abc import Iterator

# What wiring does not hand out: beat is its own broker, and a collector opens the sessions.
HANDED_OUT_BY_OTHERS = {"Broker.emit", "Session.run"}
# A port is asked for under these; what stands beside them talks to a server at once.
ASKED_WITH = {"role": "operator", "actor": "test", "unexpected": lambda _: None}


class Died(BaseException):
    """Stands for the end of the process."""


class Gauge:
    """Plays BusGauge, with a state and a failure."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails = False

    def room(self) -> int:
        """Count the call."""
        if self.fails:
            raise BackupflowError("no room")
        self.asked += 1
        return 7

    def __len__(self) -> int:
        return 3


class Line:
    """Plays Session."""

    modern = True

    def run(self, command: str, within: object = None) -> str:
        """Say it back."""
        del within
        return command


class Opener:
    """Plays Collector, and notes what happens."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @contextmanager
    def session(self, *_: object) -> Iterator[Line]:
        """A context as the real one is."""
        self.seen.append("opened")
        try:
            yield Line()
        finally:
            self.seen.append("closed")


class Alone:
    """Plays the part of KeyStore that is a context."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Note its end."""
        yield
        self.seen.append("left")


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the end of the process be seen by a test."""

    def die(status: int) -> None:
        assert status == 137
        raise Died

    monkeypatch.setattr(os, "_exit", die)


@pytest.fixture
def secrets_dir(tmp_path: Path) -> Path:
    """Logins that open nothing: no server is there."""
    roles = ("scheduler", "collector", "ingester", "interpreter", "operator", "enroller", "reader", "provisioner")
    for role in roles:
        for server in ("postgres", "nats", "redis"):
            (tmp_path / f"{role}.{server}").write_text("a password", "utf-8")
        (tmp_path / f"{role}.openbao").write_text('{"role_id": "a", "secret_id": "b"}', "utf-8")
    return tmp_path


def wired(secrets_dir: Path) -> Wiring:
    """A wiring to servers that are not there."""
    environment = {
        "DATABASE_URL": "postgresql://127.0.0.1:1/x",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "NATS_URL": "nats://127.0.0.1:1",
        "OPENBAO_ADDR": "http://127.0.0.1:1",
        "CONFIG_SECRETS_DIR": str(secrets_dir),
        "CONFIG_ON_EVENT": "true",
    }
    return Wiring(Settings(environment))


def handed_out(wiring: Wiring) -> Iterator[object]:
    """All that a wiring gives out, and what lies in the bundles of ports that it makes."""
    for name, built_by in vars(Wiring).items():
        if name.startswith("_") or name in {"port", "close", "migrate"}:
            continue
        given: object = None
        with suppress(BackupflowError):  # of what asks a server at once: it hands out no port
            if isinstance(built_by, cached_property | property):
                given = getattr(wiring, name)
            elif isfunction(built_by) and set(signature(built_by).parameters) - {"self"} <= set(ASKED_WITH):
                asked = {key: ASKED_WITH[key] for key in signature(built_by).parameters if key != "self"}
                given = getattr(wiring, name)(**asked)
        yield given
        if is_dataclass(given):
            yield from (getattr(given, field.name) for field in fields(given))


def is_wrapped(thing: object, method: str) -> bool:
    """Whether a call of it passes a kill point."""
    found = getattr(type(thing), method, None)
    return isfunction(found) and found.__code__.co_filename == kill_points.__file__


def test_all_methods_are_read_from_the_protocols() -> None:
    """A method that is added to a port has its kill points without a further word."""
    found = methods()
    assert len(found) == len(set(found)) >= 41
    assert {"Collector.session", "Session.run", "CollectionStore.publish", "Inbox.later", "Broker.emit"} <= set(found)
    assert not [name for name in found if name.startswith("Delivery.")]  # it has properties only
    assert "Session.modern" not in found


@pytest.mark.parametrize("method", sorted(set(methods()) - HANDED_OUT_BY_OTHERS))
def test_every_port_that_is_handed_out_passes_its_kill_point(
    method: str, secrets_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each builder of the wiring says which ports its adapter plays: what it forgets could not be killed.

    And what a flow calls a port is wrapped as that one: CollectPorts.publisher as the Publisher.
    """
    monkeypatch.setenv(VARIABLE, f"{method}:before:1")
    wiring = wired(secrets_dir)
    port, _, name = method.partition(".")
    given = list(handed_out(wiring))
    assert any(is_wrapped(thing, name) for thing in given), (
        f"{method}: the builder in wiring must hand its adapter out through self.port(…, ports.{port})"
    )
    bundles = [thing for thing in given if is_dataclass(thing)]
    assert len(bundles) >= len(("collect", "ingest", "enroll", "history"))
    played = [(field.name, getattr(it, field.name)) for it in bundles for field in fields(it) if field.type == port]
    late = "_LateSealer"  # it opens the vault, which is wrapped, when it is called
    assert [field for field, it in played if type(it).__name__ != late and not is_wrapped(it, name)] == []
    wiring.close()


def test_beat_is_a_broker_that_can_be_killed(secrets_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hands itself to the flow, so it asks the wiring for its own kill point."""
    seen: list[Any] = []
    monkeypatch.setenv(VARIABLE, "Broker.emit:before:1")
    wiring = wired(secrets_dir)
    scheduler = object.__new__(beat.FleetScheduler)
    monkeypatch.setattr(beat, "wiring", lambda: wiring)
    monkeypatch.setattr(scheduler, "_fresh", lambda: None, raising=False)

    def tick(_store: object, broker: object, *_: object) -> SimpleNamespace:
        seen.append(broker)
        return SimpleNamespace(claimed=None)

    monkeypatch.setattr(schedule, "tick", tick)
    scheduler._tick()
    assert is_wrapped(seen[0], "emit")
    assert isinstance(seen[0], beat.FleetScheduler)
    wiring.close()


def test_nothing_is_wrapped_where_nobody_asks(secrets_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In production the ports are the adapters themselves."""
    monkeypatch.delenv(VARIABLE, raising=False)
    wiring = wired(secrets_dir)
    gauge = Gauge()
    assert wiring.port(gauge, ports.BusGauge) is gauge
    assert type(wiring.bus("collector")).__name__ == "Bus"
    names = [method.partition(".")[2] for method in methods()]
    assert [thing for thing in handed_out(wiring) for name in names if is_wrapped(thing, name)] == []
    wiring.close()


def test_an_object_that_plays_another_port_is_handed_out_itself() -> None:
    """One variable is one method: all others are as in production."""
    gauge = Gauge()
    assert KillPoint("Publisher.publish", "before", 1).wrap(gauge, ports.BusGauge) is gauge


@pytest.mark.usefixtures("mortal")
def test_it_dies_before_the_call_does_anything() -> None:
    """The second call: the first one passes, and the second has no effect."""
    gauge = Gauge()
    wrapped = KillPoint("BusGauge.room", "before", 2).wrap(gauge, ports.BusGauge)
    assert wrapped.room() == 7
    with pytest.raises(Died):
        wrapped.room()
    assert gauge.asked == 1


@pytest.mark.usefixtures("mortal")
def test_it_dies_after_the_call_has_returned() -> None:
    """Its effect stands, and nobody learns of it; a call that failed is none that returned."""
    gauge = Gauge()
    wrapped = KillPoint("BusGauge.room", "after", 1).wrap(gauge, ports.BusGauge)
    gauge.fails = True
    with pytest.raises(BackupflowError, match="no room"):
        wrapped.room()
    gauge.fails = False
    with pytest.raises(Died):
        wrapped.room()
    assert gauge.asked == 1


@pytest.mark.usefixtures("mortal")
def test_a_wrapped_port_is_as_the_object_itself() -> None:
    """Its kind, its state both ways, its other methods."""
    gauge = Gauge()
    wrapped = KillPoint("BusGauge.room", "before", 9).wrap(gauge, ports.BusGauge)
    assert isinstance(wrapped, Gauge)
    assert type(wrapped).__name__ == "Gauge"
    assert (wrapped.room(), len(wrapped), wrapped.room.__name__) == (7, 3, "room")
    gauge.fails = True
    assert wrapped.fails
    wrapped.fails = False
    assert not gauge.fails


@pytest.mark.usefixtures("mortal")
@pytest.mark.parametrize(("when", "seen"), [("before", []), ("after", ["opened", "inside", "closed"])])
def test_a_context_is_one_call_from_its_begin_to_its_end(when: str, seen: list[str]) -> None:
    """Collector.session: before it is entered nothing is opened, after it was left all is closed."""
    opener = Opener()
    wrapped = KillPoint("Collector.session", when, 1).wrap(opener, ports.Collector)

    def use() -> None:
        with wrapped.session() as line:
            opener.seen.append("inside")
            assert line.run("/export") == "/export"

    with pytest.raises(Died):
        use()
    assert opener.seen == seen


@pytest.mark.usefixtures("mortal")
def test_a_context_need_not_give_a_port() -> None:
    """KeyStore.alone gives nothing: it too dies after it was left, not when it is made."""
    store = Alone()
    wrapped = KillPoint("KeyStore.alone", "after", 1).wrap(store, ports.KeyStore)

    def use() -> None:
        with wrapped.alone():
            store.seen.append("inside")

    with pytest.raises(Died):
        use()
    assert store.seen == ["inside", "left"]


@pytest.mark.usefixtures("mortal")
def test_a_context_that_failed_did_not_return() -> None:
    """What is raised within passes unchanged, and is no end to die after."""
    opener = Opener()
    wrapped = KillPoint("Collector.session", "after", 1).wrap(opener, ports.Collector)
    with pytest.raises(BackupflowError, match="refused"), wrapped.session():
        raise BackupflowError("refused")
    assert opener.seen == ["opened", "closed"]


@pytest.mark.usefixtures("mortal")
def test_what_a_context_gives_is_a_port_too() -> None:
    """Session.run is killed in the session that the collector opened."""
    wrapped = KillPoint("Session.run", "after", 2).wrap(Opener(), ports.Collector)
    with wrapped.session() as line:
        assert isinstance(line, Line)
        assert line.modern
        assert line.run("/export") == "/export"
        with pytest.raises(Died):
            line.run("/export")


@pytest.mark.usefixtures("mortal")
def test_so_many_processes_die_and_the_next_one_lives(tmp_path: Path) -> None:
    """Each life is one of a process that was started anew; a file is left by each death."""

    def life() -> int:
        point = asked_for({VARIABLE: f"BusGauge.room:before:1:2:{tmp_path}"})
        assert point is not None
        return point.wrap(Gauge(), ports.BusGauge).room()

    for _ in range(2):
        with pytest.raises(Died):
            life()
    assert life() == 7
    assert sorted(file.name for file in tmp_path.iterdir()) == ["BusGauge.room:before:1.1", "BusGauge.room:before:1.2"]
    assert {file.read_text() for file in tmp_path.iterdir()} == {f"{os.getpid()}\n"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Publisher.publish", "PORT.METHOD:before|after:NTH"),
        ("Publisher.publish:during:1", "PORT.METHOD:before|after:NTH"),
        ("Publisher.publish:before:0", "PORT.METHOD:before|after:NTH"),
        ("Publisher.publish:before:1:1", "PORT.METHOD:before|after:NTH"),
        ("Publisher.publish:before:1:1:relative", "PORT.METHOD:before|after:NTH"),
        ("Publisher.print:before:1", "no port has a method Publisher.print"),
        ("Publisher.publish:before:1:1:/not/there", "/not/there is not a folder"),
    ],
)
def test_what_cannot_be_understood_stops_the_process(text: str, why: str) -> None:
    """A test whose kill point is misspelt would run unharmed, and prove nothing."""
    with pytest.raises(SettingsInvalid, match=VARIABLE) as refused:
        asked_for({VARIABLE: text})
    assert why in str(refused.value)


def test_up_does_not_hand_it_on(tmp_path: Path) -> None:
    """Its processes are told settings, and a few names beside: this is none of them."""
    nowhere = SimpleNamespace(postgres=None, redis=None, nats=None, openbao=None)
    outside = {VARIABLE: "Publisher.publish:before:1", "CONFIG_LOG_LEVEL": "INFO"}
    servers, folder = SimpleNamespace(addresses=nowhere), SimpleNamespace(path=tmp_path)
    told = up._environment(servers, folder, outside)  # type: ignore[arg-type]
    assert told.keys() == {"CONFIG_LOG_LEVEL", "CONFIG_SECRETS_DIR", "FLOWER_LISTEN"}


def test_it_is_a_sudden_end_of_the_whole_process(tmp_path: Path) -> None:
    """Status 137, as of SIGKILL: nothing is flushed, no `finally` and no exit handler runs."""
    program = (
        "import atexit, os, sys\n"
        "from backupflow.core import ports\n"
        "from backupflow.wiring import kill_points\n"
        "class Gauge:\n"
        "    def room(self): return 7\n"
        "atexit.register(lambda: os.write(1, b'exit handler'))\n"
        "try:\n"
        "    kill_points.asked_for(os.environ).wrap(Gauge(), ports.BusGauge).room()\n"
        "finally:\n"
        "    os.write(1, b'finally')\n"
    )
    point = f"BusGauge.room:after:1:1:{tmp_path}"
    root = Path(kill_points.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=False, cwd=root, env={**os.environ, VARIABLE: point}
    )
    assert (done.returncode, done.stdout) == (137, b"")
    assert b"BusGauge.room:after:1 is reached" in done.stderr
