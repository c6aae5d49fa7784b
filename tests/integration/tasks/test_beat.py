"""FleetScheduler with a real PostgreSQL and a real Valkey, each of them away, mute or back; and three of it at once."""

from __future__ import annotations

import base64
import json
import logging
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import redis
import structlog
from celery import Celery
from sqlalchemy import make_url

import celeryconfig
from backupflow import telemetry
from backupflow import wiring as wiring_module
from backupflow.adapters import presence as redis_presence
from backupflow.adapters.broker import acl_text
from backupflow.adapters.db.alarms import Alarms
from backupflow.adapters.db.processes import Processes
from backupflow.core import health
from backupflow.core.model import Purpose
from backupflow.core.presence import key
from backupflow.flows import schedule
from backupflow.settings import Settings
from backupflow.tasks import beat, clock, life, liveness, presence
from backupflow.tasks.beat import FleetScheduler
from backupflow.tasks.work import Work
from backupflow.telemetry import metrics
from backupflow.wiring import Wiring
from tests.integration.db.fleet import Fleet, migrated
from tests.integration.tasks.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.embedded import Servers

DB = 7
# A tick promises to return within a second; a shared machine may need longer, but never as long as retries would take.
PATIENCE = 5.0
READY = schedule.Readiness()


@dataclass
class House:
    """A ledger and a broker behind gates, and a beat that believes vault and bus to be well unless it looks itself."""

    fleet: Fleet
    postgres: Gate
    valkey: Gate
    admin: redis.Redis
    settings: dict[str, str]
    scheduler: FleetScheduler

    def tick(self) -> float:
        """One tick, as beat's loop does it; how long it took."""
        began = time.monotonic()
        wait = self.scheduler.tick()
        took = time.monotonic() - began
        assert 0 < wait <= 1
        assert took < PATIENCE
        return took

    def queue(self, name: str) -> list[Any]:
        """The first argument of each message that waits, and its headers."""
        found = []
        for raw in self.admin.lrange(name, 0, -1):
            one = json.loads(raw)
            arguments = json.loads(base64.b64decode(one["body"]))[0]
            found.append(arguments[0] if arguments else None)
        return found

    def claimed(self) -> list[int]:
        """The rows that were claimed."""
        return [row.id for row in self.fleet.sql("SELECT id FROM collection ORDER BY id")]


@pytest.fixture(scope="module")
def ledger(servers: Servers, postgres_roles: Path) -> Iterator[Fleet]:
    """Migrate a database."""
    with migrated(servers, postgres_roles) as made:
        yield made


@pytest.fixture(scope="module")
def password(servers: Servers, postgres_roles: Path) -> Iterator[str]:
    """Give the scheduler its rights on the broker, as any install does."""
    made = secrets.token_urlsafe(16)
    file = postgres_roles / "scheduler.redis"
    file.touch(0o600)  # other tests look at this folder, and at who may read it
    file.write_text(made, encoding="utf-8")
    (postgres_roles / "scheduler.nats").touch(0o600)  # no test here needs the bus to let it in
    with _admin(servers) as admin:
        _, name, *rules = acl_text({"scheduler": made}, db=DB).split()
        admin.execute_command("ACL", "SETUSER", name, "reset", *rules)
        yield made
        admin.flushdb()


def _admin(servers: Servers) -> redis.Redis:
    address = servers.addresses.redis
    assert address
    secret = servers.secret_path("admin.redis").read_text(encoding="utf-8").strip()
    return redis.Redis(address.host, address.port, DB, username="admin", password=secret)


@pytest.fixture(scope="module", autouse=True)
def logs() -> Iterator[None]:
    """Log as a process does: what structlog does by itself, with all locals of a traceback, takes seconds."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    telemetry.set_up_logs()
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def house(
    ledger: Fleet, servers: Servers, vault_roles: Path, password: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[House]:
    """Put gates before the servers, wire a beat to them, and end it."""
    ledger.empty()
    at, url = servers.addresses, make_url(ledger.url)
    assert at.redis
    assert at.postgres
    with (
        Gate(at.postgres.host, at.postgres.port) as postgres,
        Gate(at.redis.host, at.redis.port) as valkey,
        _admin(servers) as admin,
    ):
        admin.flushdb()
        settings = {
            "DATABASE_URL": f"postgresql://127.0.0.1:{postgres.port}/{url.database}",
            "REDIS_URL": f"redis://127.0.0.1:{valkey.port}/{DB}",
            "OPENBAO_ADDR": at.openbao_url,
            "NATS_URL": f"nats://{at.nats}",
            "CONFIG_SECRETS_DIR": str(vault_roles),
            "CONFIG_ROLE": "scheduler",
        }
        monkeypatch.setattr(schedule, "look", lambda *_: READY)
        wired = Wiring(Settings(settings))
        wiring_module.use(wired)
        app = Celery("test", set_as_current=False)
        app.config_from_object(celeryconfig)
        app.conf.broker_url = wired.broker_url("scheduler")
        scheduler = FleetScheduler(app)
        scheduler._readiness = READY
        yield House(ledger, postgres, valkey, admin, settings, scheduler)
        postgres.open()
        scheduler.close()
        app.close()
        wiring_module._of_process.clear()


def test_a_tick_sends_what_it_claimed(house: House) -> None:
    """A message a claim, with its id only, to the queue of its lane; drains and due jobs beside it.

    None expires: that would be judged by the clock of the worker's host.
    """
    house.fleet.workers(collect=2, collect_slow=1)
    house.fleet.fleet(3)
    house.fleet.fleet(1, lane="collect.slow")
    request = house.fleet.request(house.fleet.device(due=timedelta(hours=1)))
    house.tick()
    now = house.fleet.row("request", request).collection_id
    assert house.queue("collect.now") == [now]
    assert set(house.queue("collect")) | set(house.queue("collect.slow")) | {now} == set(house.claimed())
    assert (len(house.queue("collect")), len(house.queue("collect.slow"))) == (3, 1)
    assert (house.queue("ingest"), house.queue("maintain")) == ([None], ["reconcile"])
    assert house.queue("interpret") == [None]
    for queue in ("collect.now", "collect", "collect.slow", "ingest", "interpret", "maintain"):
        for raw in house.admin.lrange(queue, 0, -1):
            headers = json.loads(raw)["headers"]
            assert headers["expires"] is None
            assert headers["task"] in {"collect.device", "ingest.drain", "interpret.run", "maintain.run"}
    house.tick()
    assert len(house.queue("collect")) == 3
    assert house.queue("ingest") == [None] * 2
    assert house.queue("interpret") == [None]  # not so often
    house.scheduler._interpreted_at = time.monotonic() - beat.INTERPRET_SECONDS
    house.tick()
    assert house.queue("interpret") == [None] * 2


def test_queues_that_nobody_empties_stay_short(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """With workers away the broker does not fill up; what is taken makes room again."""
    monkeypatch.setattr(beat, "LONGEST_LANE", 4)
    house.fleet.workers(collect=2)
    house.fleet.fleet(6)
    for _ in range(beat.LONGEST["ingest"] + 3):
        house.tick()
        house.fleet.sql("UPDATE collection SET emitted_at = emitted_at - interval '61 seconds'")
    assert len(house.queue("ingest")) == beat.LONGEST["ingest"]
    assert len(house.queue("collect")) == 4
    house.admin.ltrim("collect", 0, 1)
    house.admin.ltrim("ingest", 0, 0)
    house.tick()
    assert (len(house.queue("collect")), len(house.queue("ingest"))) == (4, 2)


def test_who_a_poller_says_is_away_is_not_claimed(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """By the rights and the wiring of an install: one is said to be away, one to be there, of one nothing is said."""
    caplog.set_level(logging.INFO)
    house.fleet.workers(collect=5)
    away, there, _ = (house.fleet.device() for _ in range(3))
    house.admin.set(key(away), "offline", px=600_000)
    house.admin.set(key(there), "online", px=600_000)
    house.tick()
    assert len(house.claimed()) == 2
    assert house.fleet.row("device", away).offline_since is not None
    (told,) = [one.message for one in caplog.records if telemetry.CLAIMS_EMITTED in one.message]
    assert "'claimed': 2" in told
    assert "'skipped_offline': 1" in told


def test_a_key_without_a_ttl_is_an_alarm_until_none_is_left(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device is collected, the alarm names the key, and ends by itself; as does one that an earlier beat left."""
    monkeypatch.setattr(presence, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(redis_presence, "LOOK_AGAIN", 0.0)
    house.fleet.sql("INSERT INTO alarm (code, scope) VALUES ('presence_without_ttl', 'presence')")
    house.fleet.workers(collect=5)
    house.tick()
    assert house.fleet.alarms() == []
    device = house.fleet.device()
    house.admin.set(key(device), "offline")
    house.tick()
    house.tick()
    assert len(house.claimed()) == 1
    assert house.fleet.alarms() == [("presence_without_ttl", "presence")]
    assert key(device) in house.fleet.value("SELECT detail FROM alarm WHERE cleared_at IS NULL")
    house.admin.expire(key(device), 600)
    house.tick()
    assert house.fleet.alarms() == []


def test_the_status_task_is_asked_for_at_its_interval_and_only_if_it_is_wanted(house: House) -> None:
    """None by default; at most two wait where nobody takes them, and none while ours is down."""
    house.tick()
    assert house.queue("status") == []
    settings = wiring_module.wiring().settings
    settings.collecting = settings.collecting.model_copy(update={"status_interval": timedelta(milliseconds=1)})
    house.scheduler._readiness = schedule.Readiness("vault_unavailable")
    house.tick()
    assert house.queue("status") == []
    house.scheduler._readiness = READY
    for _ in range(4):
        house.tick()
    assert house.queue("status") == [None] * 2
    assert json.loads(house.admin.lrange("status", 0, 0)[0])["headers"]["task"] == "status.look"
    house.admin.delete("status")
    settings.collecting = settings.collecting.model_copy(update={"status_interval": timedelta(hours=1)})
    house.tick()
    assert house.queue("status") == []


@pytest.mark.parametrize("mute", [False, True], ids=["refused", "mute"])
@pytest.mark.parametrize("connected", [False, True], ids=["from-the-start", "in-the-middle"])
def test_without_a_broker_nothing_is_lost(house: House, *, mute: bool, connected: bool) -> None:
    """Ticks return and claim within the window; when it is back the same rows are emitted again, each once."""
    house.fleet.workers(collect=2)
    if connected:
        house.tick()
    if mute:
        house.valkey.open(mute=True)
    else:
        house.valkey.shut()
    house.fleet.fleet(10)
    for _ in range(3):
        house.tick()
    rows = house.claimed()
    assert len(rows) == 6
    assert house.scheduler._failing == ""  # it is no failure of the tick: what follows the sending was done
    house.valkey.open()
    house.admin.flushdb()  # what it had is gone too
    house.tick()
    assert house.queue("collect") == []
    house.fleet.sql("UPDATE collection SET emitted_at = emitted_at - interval '61 seconds'")
    house.tick()
    assert sorted(house.queue("collect")) == rows
    assert house.claimed() == rows


@pytest.mark.parametrize("connected", [False, True], ids=["from-the-start", "in-the-middle"])
def test_without_a_database_ticks_go_on(house: House, *, connected: bool) -> None:
    """No tick raises or hangs; when it is back the next one claims."""
    if connected:
        house.tick()
    house.postgres.shut()
    for _ in range(3):
        house.tick()
    house.fleet.workers(collect=2)
    house.fleet.fleet(1)
    house.postgres.open()
    house.tick()
    assert len(house.queue("collect")) == 1


def test_a_schema_of_another_version_is_waited_for(house: House) -> None:
    """Beat does nothing to a database that is not for it, and goes on once it was migrated."""
    house.fleet.workers(collect=2)
    house.fleet.fleet(1)
    there = house.fleet.sql("SELECT version_num FROM alembic_version")[0].version_num
    house.fleet.sql("UPDATE alembic_version SET version_num = 'other'")
    house.tick()
    assert house.claimed() == []
    house.fleet.sql("UPDATE alembic_version SET version_num = :there", there=there)
    house.tick()
    assert len(house.claimed()) == 1


def test_a_vault_that_never_answers_delays_no_tick(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look goes on in its own thread; until it has seen all well nothing is claimed, but all else is done."""
    monkeypatch.undo()
    with Gate("127.0.0.1", 9) as vault:
        vault.open(mute=True)
        wired = Wiring(Settings(house.settings | {"OPENBAO_ADDR": f"http://127.0.0.1:{vault.port}"}))
        wiring_module.use(wired)
        insert = "INSERT INTO transit_key (tenant_id, purpose, mark) VALUES (:t, :p, 'm')"
        house.fleet.sql(insert, t=house.fleet.tenant, p=Purpose.DATA)
        house.scheduler._readiness = schedule.NOT_LOOKED
        house.fleet.workers(collect=2)
        house.fleet.fleet(1)
        running = house.fleet.running(due=timedelta(hours=1))
        house.fleet.expire(running.collection_id)
        for _ in range(5):
            house.tick()
        assert house.scheduler._looking is not None
        assert house.scheduler._looking.is_alive()
        assert house.fleet.row("collection", running.collection_id).state == "lost"
        assert house.claimed() == [running.collection_id]
        vault.shut()


def test_what_was_seen_long_ago_counts_no_more(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that hangs after it had seen all well stops the claiming, with an alarm that its end clears."""
    gone, back = threading.Event(), threading.Event()

    def hang(*_: object) -> schedule.Readiness:
        gone.set()
        back.wait(30)
        return READY

    house.tick()
    monkeypatch.setattr(beat, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(schedule, "look", hang)
    assert gone.wait(10)
    house.fleet.workers(collect=2)
    house.fleet.fleet(1)
    monkeypatch.setattr(beat, "LOOK_STALE_SECONDS", 0.0)
    house.tick()
    assert house.claimed() == []
    assert house.fleet.alarms() == [("look_hangs", "claiming")]
    monkeypatch.setattr(beat, "LOOK_STALE_SECONDS", 30.0)
    back.set()
    _until(lambda: house.fleet.alarms() == [])
    house.tick()
    assert len(house.claimed()) == 1


def test_an_alarm_of_an_earlier_beat_is_cleared(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stood when that beat was killed; what this one sees stands instead, and nothing once all is well."""
    insert = "INSERT INTO alarm (code, scope) VALUES ('vault_unavailable', 'claiming'), ('wrong_current', 'device x')"
    house.fleet.sql(insert)
    monkeypatch.setattr(beat, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(schedule, "look", lambda *_: schedule.Readiness("bus_unavailable", "full"))
    house.tick()
    _until(lambda: set(house.fleet.alarms()) == {("wrong_current", "device x"), ("bus_unavailable", "claiming")})
    monkeypatch.setattr(schedule, "look", lambda *_: READY)
    _until(lambda: house.fleet.alarms() == [("wrong_current", "device x")])


def test_an_alarm_waits_for_its_database(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vault and database away together, then the database back, then the vault: the alarm is raised, and cleared."""
    house.tick()
    house.postgres.shut()
    monkeypatch.setattr(beat, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(schedule, "look", lambda *_: schedule.Readiness("vault_unavailable"))
    _until(lambda: house.scheduler._said == "vault_unavailable")
    house.tick()
    house.postgres.open()
    _until(lambda: house.fleet.alarms() == [("vault_unavailable", "claiming")])
    monkeypatch.setattr(schedule, "look", lambda *_: READY)
    _until(lambda: house.fleet.alarms() == [])


class Defect(Exception):
    """Nobody foresaw it."""


def _defect(*_: object) -> schedule.Readiness:
    raise Defect


def test_a_defect_in_the_look_stops_the_claiming_until_it_is_over(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread lives on, so that claiming goes on with the first look that works; meanwhile there is an alarm."""
    monkeypatch.setattr(beat, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(schedule, "look", _defect)
    house.tick()
    _until(lambda: house.scheduler._readiness.code == "unexpected")
    house.fleet.workers(collect=2)
    house.fleet.fleet(1)
    house.tick()
    assert house.claimed() == []
    assert house.fleet.alarms() == [("unexpected", "claiming")]
    monkeypatch.setattr(schedule, "look", lambda *_: READY)
    _until(lambda: house.fleet.alarms() == [])
    house.tick()
    assert len(house.claimed()) == 1


def test_a_defect_in_saying_what_was_seen_ends_no_look(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was seen counts all the same, and the next look is made."""
    monkeypatch.setattr(beat, "LOOK_SECONDS", 0.05)
    house.tick()
    with monkeypatch.context() as broken:
        broken.setattr(Alarms, "settle", _defect)
        broken.setattr(schedule, "look", lambda *_: schedule.Readiness("bus_unavailable"))
        _until(lambda: house.scheduler._readiness.code == "bus_unavailable")
        _until(lambda: house.scheduler._said == "bus_unavailable")
    _until(lambda: house.scheduler._readiness == READY)
    assert house.scheduler._looking is not None
    assert house.scheduler._looking.is_alive()


def test_a_defect_in_a_heartbeat_does_not_end_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that no longer says that it lives would have no slots, and nothing would be claimed for it."""
    monkeypatch.setattr(life, "HEARTBEAT_SECONDS", 0.05)
    house.tick()
    _until(lambda: house.fleet.value("SELECT count(*) FROM process") == 1)
    with monkeypatch.context() as broken:
        met = threading.Event()

        def meet(*_: object, **__: object) -> None:
            met.set()
            raise Defect

        broken.setattr(Processes, "beat", meet)
        assert met.wait(10)
    _beats(house, 1)


def test_beat_says_that_it_lives(house: House) -> None:
    """Its heartbeat is there after the first tick and gone after its end; it has no slots."""
    house.tick()
    _until(lambda: [(row.role, row.slots) for row in house.fleet.sql("SELECT * FROM process")] == [("scheduler", {})])
    house.scheduler.close()
    assert house.fleet.sql("SELECT * FROM process") == []


@pytest.mark.parametrize("off", [-3.0, 3.0, 86400.0])
def test_a_clock_that_is_wrong_is_an_alarm_while_it_is(
    house: House, monkeypatch: pytest.MonkeyPatch, off: float
) -> None:
    """Each heartbeat compares it with PostgreSQL's; the alarm ends when the clock is right, not when it is nearly."""
    monkeypatch.setattr(life, "HEARTBEAT_SECONDS", 0.05)
    house.tick()
    _until(lambda: house.fleet.value("SELECT count(*) FROM process") == 1)
    monkeypatch.setattr(clock, "wall_clock", lambda: time.time() + off)
    _until(lambda: [code for code, _ in house.fleet.alarms()] == ["clock_skew"])
    monkeypatch.setattr(clock, "wall_clock", lambda: time.time() + 1.5)
    _beats(house, 2)
    assert [code for code, _ in house.fleet.alarms()] == ["clock_skew"]
    monkeypatch.setattr(clock, "wall_clock", time.time)
    _until(lambda: house.fleet.alarms() == [])


def test_a_slow_answer_makes_no_clock_wrong(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that took ten seconds says little about the time, and a clock within two is no alarm."""
    monkeypatch.setattr(life, "HEARTBEAT_SECONDS", 0.05)
    times = iter(range(1000))
    monkeypatch.setattr(clock, "wall_clock", lambda: time.time() - 10 * (next(times) % 2 == 0))
    house.tick()
    _beats(house, 2)
    assert house.fleet.alarms() == []
    monkeypatch.setattr(clock, "wall_clock", lambda: time.time() + 1.5)
    _beats(house, 2)
    assert house.fleet.alarms() == []


def test_a_heart_that_takes_no_more_has_no_slots(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that hangs in its end must keep no window of its lane, nor the alarm of a lane without workers away."""
    monkeypatch.setattr(life, "HEARTBEAT_SECONDS", 0.05)
    heart = life.Heart("collector", Work(), {"collect": 2}, ("collect",))
    says = "SELECT slots, queues, worked_at IS NOT NULL AS held_to FROM process"
    try:
        heart.start()
        _until(lambda: house.fleet.sql(says) == [({"collect": 2}, ["collect"], True)])
        heart.take_no_more()
        _until(lambda: house.fleet.sql(says) == [({}, [], True)])
    finally:
        heart.stop()


def test_a_broker_that_comes_and_goes_is_one_alarm(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands until messages went out for a while, whatever the broker does in between."""
    rows = "SELECT code, cleared_at IS NULL AS stands FROM alarm"
    for _ in range(2):
        house.valkey.shut()
        house.tick()
        house.valkey.open()
        house.tick()
        house.tick()
        assert house.queue("ingest")[-1:] == [None]
        assert house.fleet.sql(rows) == [("broker_unavailable", True)]
    monkeypatch.setattr(beat, "BROKER_SOUND_SECONDS", 0.01)
    _until(lambda: house.tick() and house.fleet.sql(rows) == [("broker_unavailable", False)])


def test_a_beat_that_never_began_can_end(house: House) -> None:
    """Stopped while it waits for its database: no error."""
    house.postgres.shut()
    house.tick()
    house.scheduler.close()


def test_an_end_waits_for_the_heartbeat_under_way(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """However short its turns are: a connection that is still out is not closed with the rest."""
    monkeypatch.setattr(life, "HEARTBEAT_SECONDS", 0.01)
    began, ended = threading.Event(), threading.Event()

    def beat_long(*_: object, **__: object) -> None:
        began.set()
        time.sleep(0.3)
        ended.set()

    monkeypatch.setattr(Processes, "beat", beat_long)
    house.tick()
    assert began.wait(10)
    house.scheduler.close()
    assert ended.is_set()
    assert "heart" not in {thread.name for thread in threading.enumerate()}


def test_two_hundred_ticks_leave_nothing_behind(house: House) -> None:
    """Threads, connections and memory are as before, with the broker away in the middle (I14)."""
    house.fleet.workers(collect=10)
    house.fleet.fleet(50)
    for _ in range(20):
        house.tick()
    process = psutil.Process()
    before = (threading.active_count(), process.num_fds(), process.memory_info().rss)
    for _ in range(80):
        house.tick()
    house.valkey.shut()
    for _ in range(5):
        house.tick()
    house.valkey.open()
    for _ in range(115):
        house.tick()
    assert threading.active_count() <= before[0] + 2  # the gate's own two for a connection
    assert process.num_fds() <= before[1] + 4
    assert process.memory_info().rss - before[2] < 16 * 1024**2


STEP = timedelta(seconds=16)  # more than half of the time after which a queue is asked again
DEAF_AFTER = timedelta(seconds=120)


@pytest.fixture
def listening(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """A worker of the ingest queue, of which nothing but its row is there; a beat that looks at all times."""
    monkeypatch.setattr(life, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(liveness, "_LOOKS", 1000)
    worker = "INSERT INTO process (id, role, host, pid, queues) VALUES (gen_random_uuid(), 'ingester', 'h', 9, :queues)"
    house.fleet.sql(worker, queues=json.dumps(["ingest"]))
    return house


def _canaries(house: House) -> int:
    """How many of them wait for the ingester, between its drains."""
    return house.queue("ingest").count("ingest")


def _tick_until(house: House, true: Any) -> timedelta:  # noqa: ANN401 - anything that can be asked
    """Tick, with the worker's heart beating on, until it is so; all that was written grows older. How much older."""
    for steps in range(1, 100):
        house.fleet.sql("UPDATE process SET heartbeat_at = now(), started_at = started_at - :t WHERE pid = 9", t=STEP)
        house.fleet.sql("UPDATE queue_canary SET asked_at = asked_at - :t, emitted_at = emitted_at - :t", t=STEP)
        house.tick()
        if true():
            return steps * STEP
        house.admin.ltrim("ingest", 0, 4)  # the newest: drains must not fill it
        _beats(house, 1)
    pytest.fail("it never was so")


def test_a_queue_is_asked_again_while_nobody_answers(listening: House) -> None:
    """Redis may have been emptied; nobody is deaf for that, but who does not take the next ones is, since the first."""
    house = listening
    house.tick()
    assert _canaries(house) == 1
    asked = house.fleet.value("SELECT asked_at FROM queue_canary")
    house.admin.flushdb()
    older = _tick_until(house, lambda: _canaries(house) == 1)
    assert house.fleet.alarms() == []
    older += _tick_until(house, lambda: house.fleet.alarms() != [])
    assert [code for code, _ in house.fleet.alarms()] == ["process_deaf"]
    assert house.fleet.value("SELECT asked_at FROM queue_canary") == asked - older
    house.fleet.sql("UPDATE queue_canary SET answered_at = now()")
    _until(lambda: house.fleet.alarms() == [])


def test_while_the_broker_is_away_nobody_is_deaf(listening: House) -> None:
    """Nothing reaches anybody then: that is the broker's alarm, and the time counts from when it is back."""
    house = listening
    house.tick()
    asked = house.fleet.value("SELECT asked_at FROM queue_canary")
    house.valkey.shut()
    older = _tick_until(house, lambda: house.fleet.value("SELECT asked_at FROM queue_canary") > asked)
    while older < 1.5 * DEAF_AFTER:
        older += _tick_until(house, lambda: True)
    house.valkey.open()
    house.admin.flushdb()
    _tick_until(house, lambda: _canaries(house) == 1)
    assert house.fleet.value("SELECT count(*) FROM alarm WHERE code = 'process_deaf'") == 0


def test_a_beat_whose_tick_hangs_says_so_itself(listening: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its heart beats in another thread, and judges it like any process; the next tick that ends clears it."""
    house = listening
    house.tick()
    gone, back = threading.Event(), threading.Event()

    def hang(*_: object) -> schedule.Ticked:
        gone.set()
        back.wait(60)
        return schedule.Ticked(None, 0)

    def is_told() -> bool:
        older = "UPDATE process SET started_at = started_at - :t, worked_at = worked_at - :t WHERE role = 'scheduler'"
        house.fleet.sql(older, t=STEP)
        return [code for code, _ in house.fleet.alarms()] == ["process_deaf"]

    with monkeypatch.context() as hanging:
        hanging.setattr(schedule, "tick", hang)
        ticking = threading.Thread(target=house.scheduler.tick)
        ticking.start()
        assert gone.wait(10)
        _until(is_told)
        assert "beat (pid" in house.fleet.value("SELECT detail FROM alarm")
        back.set()
        ticking.join(10)
    _until(lambda: house.fleet.alarms() == [])


_BEAT = """
import pathlib, sys
from celery import Celery
import celeryconfig
from backupflow.flows import schedule
schedule.look = lambda *_: schedule.Readiness()
from backupflow.tasks.beat import FleetScheduler
from backupflow.wiring import wiring
app = Celery("test")
app.config_from_object(celeryconfig)
app.conf.broker_url = wiring().broker_url("scheduler")
scheduler = FleetScheduler(app)
scheduler._readiness = schedule.Readiness()
print("ready", flush=True)
sys.stdin.readline()
while not pathlib.Path(sys.argv[1]).exists():
    scheduler.tick()
scheduler.close()
"""


def test_three_beats_emit_nothing_twice(house: House, tmp_path: Path) -> None:
    """Processes of their own, ticking as fast as they can: every row once, never more than the window allows."""
    house.fleet.workers(collect=7)
    house.fleet.fleet(90)
    env = house.settings | {"PYTHONPATH": str(Path(__file__).parents[3]), "CONFIG_LOG_LEVEL": "ERROR"}
    argv = [sys.executable, "-c", _BEAT, str(tmp_path / "enough")]
    beats = [
        subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    most = 0
    try:
        for one in beats:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        for one in beats:
            assert one.stdin is not None
            one.stdin.write("go\n")
            one.stdin.flush()
        while house.fleet.value("SELECT count(*) FROM collection WHERE state = 'failed'") < 90:
            most = max(most, house.fleet.value("SELECT count(*) FROM collection WHERE state = 'claimed'"))
            taken = "UPDATE collection SET state = 'failed' WHERE id IN (SELECT id FROM collection LIMIT 500)"
            house.fleet.sql(taken)
            time.sleep(0.02)
        (tmp_path / "enough").touch()
        assert [one.wait(30) for one in beats] == [0, 0, 0]
    finally:
        for one in beats:
            one.kill()
            one.communicate()
    emitted = Counter(house.queue("collect"))
    assert sorted(emitted) == house.claimed()
    assert set(emitted.values()) == {1}
    assert len(emitted) == 90
    assert most <= 21


def _beats(house: House, count: int) -> None:
    """Wait for so many more whole heartbeats."""
    for _ in range(count + 1):
        last = house.fleet.sql("SELECT heartbeat_at FROM process")
        _until(lambda last=last: house.fleet.sql("SELECT heartbeat_at FROM process") != last)


def _until(true: Any) -> None:  # noqa: ANN401 - anything that can be asked
    for _ in range(300):
        if true():
            return
        time.sleep(0.05)
    assert true()


def test_beat_is_ready_while_it_does_what_it_can(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before its first heartbeat, nor while its database or broker is away; a vault that is away is only said."""
    monkeypatch.setattr(life, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(health, "HEARTBEAT_LATE", timedelta(seconds=0.5))
    monkeypatch.setattr(beat, "BROKER_SOUND_SECONDS", 0.01)
    knows = house.scheduler._health
    assert knows.ready().says == "not ready: it waits for its database"
    house.tick()
    _until(lambda: knows.ready().says == "ready")
    house.scheduler._said = "vault_unavailable"
    assert (knows.ready().well, knows.ready().says) == (True, "ready; claiming paused: vault_unavailable")
    house.scheduler._said = ""
    house.valkey.shut()
    house.tick()
    assert knows.ready().says == "not ready: it has no connection to the broker"
    house.valkey.open()
    _until(lambda: house.tick() and knows.ready().well)
    house.postgres.shut()
    house.tick()
    _until(lambda: knows.ready().says.startswith("not ready: its database took no heartbeat for"))
    assert knows.live().well  # to start it again would bring no database back
    house.postgres.open()
    _until(lambda: house.tick() and knows.ready().well)
    house.scheduler.close()
    assert knows.ready().says == "not ready: it is ending"


def test_beat_is_not_ready_while_no_tick_has_succeeded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its heart beats and its loop goes round from the start on; what fails each second is its work."""

    def fail() -> str:
        raise RuntimeError

    knows = house.scheduler._health
    with monkeypatch.context() as broken:
        broken.setattr(house.scheduler, "_tick", fail)
        house.tick()
        _until(lambda: knows.ready().says == "not ready: no tick has succeeded yet")
        assert knows.live().well
    house.tick()
    _until(lambda: knows.ready().says == "ready")


def test_each_claim_is_a_line_with_its_id(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """By which it is followed through all other logs; one that is sent once more says so."""
    caplog.set_level(logging.INFO)
    house.fleet.workers(collect=5)
    house.fleet.fleet(2)
    before = metrics.CLAIMS.labels("claimed")._value.get()
    house.tick()
    assert _ids(caplog, telemetry.COLLECTION_CLAIMED) == house.claimed()
    house.fleet.sql("UPDATE collection SET emitted_at = emitted_at - interval '61 seconds'")
    house.tick()
    assert _ids(caplog, telemetry.COLLECTION_CLAIMED) == house.claimed()
    assert _ids(caplog, telemetry.COLLECTION_EMITTED_AGAIN) == house.claimed()
    assert metrics.CLAIMS.labels("claimed")._value.get() == before + 2


def _ids(caplog: pytest.LogCaptureFixture, event: str) -> list[int]:
    """The collections of which this was said."""
    said = [one.msg for one in caplog.records if isinstance(one.msg, dict)]
    return sorted(one["collection_id"] for one in said if one["event"] == event)
