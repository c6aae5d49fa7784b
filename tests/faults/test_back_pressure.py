"""Whatever of ours is full, shut or without its keys: claiming stops, one alarm, nothing counts, and all resumes.

A disk that is full for PostgreSQL is its SQLSTATE here, raised by triggers: a file system of a bounded size cannot
be made everywhere; what each act of ours does then, by itself, is tested in tests/integration/db/test_disk_full.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import nats
import pytest
import redis

from backupflow.adapters.bus.stream import ACK_WAIT, STREAM
from backupflow.adapters.vault import AppRoleLogin, Vault
from backupflow.cli import up
from backupflow.cli.processes import processes
from backupflow.cli.revive import Reviver
from backupflow.core.model import Login, Purpose
from backupflow.embedded import Server, ServerOptions, open_folder, start_servers
from backupflow.simulator import Behaviour, Fleet, RouterSpec
from tests.acceptance.install import wait_for
from tests.acceptance.search import Markers
from tests.conftest import SIZE
from tests.faults.aftermath import await_current, broken
from tests.faults.rounds import now_there
from tests.faults.stack import NO_SYNC, Stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from backupflow.embedded.addresses import Address
    from tests.faults.worker import Worker


LOGIN = Login("backup", "backup")
SECONDS = 60.0
ROUTERS = {"small": 3, "soak": 30}
SLOW = Behaviour(answer_delay=timedelta(seconds=0.7))
CLAIMING = "claiming"
MOST_ERRORS = 12  # lines of one process about one trouble: each kind of work tells once
REDELIVERED = ACK_WAIT + timedelta(seconds=15)  # what could not be stored comes again
DEAF_AFTER = 12  # seconds; a queue is asked in each quarter of it
STANDS_STILL = Path(__file__).parent / "stuck"
QUIET_SECONDS = 2.5  # two ticks and a look
# A device that is due and is not taken up, for longer than two ticks: as it is while nothing is claimed.
UNCLAIMED = """
    SELECT 1 FROM device d WHERE d.next_due_at < clock_timestamp() - interval '2.5 seconds' AND NOT EXISTS (
        SELECT 1 FROM collection c WHERE c.device_id = d.id AND c.state IN ('claimed', 'running'))"""
# What ended since then as it may: an outage costs a session, and counts against nobody.
OUTAGES = {
    "vault_unavailable",
    "transit_key_missing",
    "bus_unavailable",
    "store_unavailable",
    "lease_over",
    "message_gone",
}

ENDED = """SELECT DISTINCT code FROM collection
    WHERE ended_at > :t AND state NOT IN ('claimed', 'running', 'published', 'stored')"""


@dataclass(frozen=True)
class Place:
    """A whole pipeline that works, and its routers."""

    stack: Stack
    fleet: Fleet

    def now(self) -> datetime:
        """PostgreSQL's time."""
        return now_there(self.stack, SECONDS)

    def standing(self, scope: str) -> list[str]:
        """The codes of the alarms of a scope."""
        rows = self.stack.rows("SELECT code FROM alarm WHERE scope = :s AND cleared_at IS NULL", s=scope)
        return [row.code for row in rows]

    def await_alarm(self, scope: str, code: str) -> None:
        """Wait until this alarm of a scope stands and no other."""
        wait_for(lambda: self.standing(scope) == [code], f"{scope}: {code}", SECONDS)

    def await_claiming(self, code: str) -> None:
        """Wait until claiming is stopped for this reason and no other."""
        self.await_alarm(CLAIMING, code)

    def waiting(self) -> int:
        """How many devices are claimed and not begun."""
        return len(self.stack.rows("SELECT 1 FROM collection WHERE state = 'claimed'"))

    def quiet(self) -> None:
        """Let some ticks and looks pass."""
        until = time.monotonic() + QUIET_SECONDS
        wait_for(lambda: time.monotonic() > until, "some ticks", SECONDS)

    def await_unclaimed(self) -> None:
        """Wait until every device is due and none is taken up; what ended meanwhile counts against none."""
        wait_for(lambda: len(self.stack.rows(UNCLAIMED)) == len(self.fleet), "devices to wait in vain", SECONDS)
        assert self.counted() == []

    def counted(self) -> list[str]:
        """The devices that something counts against."""
        return [
            row.name for row in self.stack.rows("SELECT name FROM device WHERE failures > 0 OR blocked_at IS NOT NULL")
        ]

    def await_sessions(self) -> None:
        """Wait until every router is just asked: what it says meets the trouble that comes now."""
        wait_for(lambda: self.fleet.stats()["open"] == len(self.fleet), "a session with each router", SECONDS)

    def stored(self) -> int:
        """How many observations are stored."""
        return int(self.stack.rows("SELECT count(*) AS n FROM collection WHERE state = 'stored'")[0].n)

    def edit(self) -> None:
        """Give every router something new to say."""
        for name in self.fleet:
            self.fleet[name].edit()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, size: str) -> Iterator[Place]:
    """Start it once; every test leaves it as it was."""
    markers = Markers()
    specs = [
        RouterSpec(f"r{number:02}", seed=number, marker=markers.make(f"r{number:02}"), behaviour=SLOW)
        for number in range(ROUTERS["soak" if size == "soak" else "small"])
    ]
    options = replace(NO_SYNC, stream_store=256 * 1024**2)
    settings = {"CONFIG_STREAM_MAX_BYTES": 64 * 1024**2, "CONFIG_DEAF_AFTER": DEAF_AFTER}
    with Fleet(specs) as fleet, Stack(tmp_path_factory.mktemp("stack"), options=options, **settings) as stack:
        for name in fleet:
            stack.add(name, fleet[name].port, LOGIN)
        stack.start_all()
        stack.await_rounds(fleet, 1, SECONDS)
        yield Place(stack, fleet)
        stack.admin("CHECKPOINT")
        assert markers.finder().in_tree(stack.data) == set()


@contextmanager
def episode(place: Place, **alarms: int) -> Iterator[None]:
    """Between trouble and its end: what was raised, by code; it all ends, counts against nobody, and loses nothing."""
    since = place.now()
    place.edit()
    yield
    await_current(place.stack, place.fleet, SECONDS)
    wait_for(lambda: place.stack.rows("SELECT code FROM alarm WHERE cleared_at IS NULL") == [], "no alarm", SECONDS)
    raised = place.stack.rows("SELECT code, scope FROM alarm WHERE since > :t ORDER BY code", t=since)
    of_beat = [row.code for row in raised if row.scope in {CLAIMING, "emitting"}]
    assert of_beat == sorted(code for code, count in alarms.items() for _ in range(count)), raised
    assert place.counted() == []
    ended = place.stack.rows(ENDED, t=since)
    assert [row for row in ended if row.code not in OUTAGES] == []
    assert broken(place.stack, place.fleet, grace=REDELIVERED) == []


def test_a_full_stream_stops_the_claiming(place: Place) -> None:
    """What the stream has no room for is not even collected; what was in the midst of it ends without counting."""
    since = place.now()
    with episode(place, bus_unavailable=1), resized(place, 1024):
        place.await_claiming("bus_unavailable")
        place.await_unclaimed()
    assert [row.code for row in place.stack.rows(ENDED, t=since)] == ["bus_unavailable"]


if SIZE == "soak":  # an emptied one, below, has it all but the refusal

    def test_with_a_full_broker_nothing_is_begun_and_nothing_is_lost(place: Place) -> None:
        """What was claimed waits in its row, once a device, and is handed out from there."""
        address = place.stack.servers.addresses.redis
        assert address
        password = place.stack.servers.secret_path("admin.redis").read_text().strip()
        with redis.Redis(address.host, address.port, username="admin", password=password) as broker:
            usual = broker.config_get("maxmemory")["maxmemory"]
            with episode(place, broker_unavailable=1):
                broker.config_set("maxmemory", 1)
                try:
                    place.await_alarm("emitting", "broker_unavailable")
                    wait_for(
                        lambda: place.waiting() == len(place.fleet), "every device to be claimed and wait", SECONDS
                    )
                    begun = place.fleet.stats()["sessions"]
                    place.quiet()
                    assert (place.waiting(), place.fleet.stats()["sessions"]) == (len(place.fleet), begun)
                finally:
                    broker.config_set("maxmemory", usual)


@contextmanager
def paused(place: Place, collector: Worker) -> Iterator[None]:
    """While this lasts a collector that had nothing to do stands still, and all that falls due waits for it."""
    place.stack.admin("UPDATE device SET next_due_at = now() + interval '1 hour'")
    taken = "SELECT 1 FROM collection WHERE state IN ('claimed', 'running')"
    wait_for(lambda: not place.stack.rows(taken), "an idle collector", SECONDS)
    collector.pause()
    try:
        place.stack.admin("UPDATE device SET next_due_at = now()")
        wait_for(lambda: place.waiting() == len(place.fleet), "every device to be claimed and wait", SECONDS)
        yield
    finally:
        collector.resume()


def test_all_that_waited_in_a_broker_that_was_emptied_is_run(place: Place) -> None:
    """Rows whose messages are gone are sent again: same row, same seq, one session each; the canaries too (I4, I9)."""
    stack, collector = place.stack, next(worker for worker in place.stack.workers if worker.kind == "collect")
    named = "SELECT id, device_id, seq, emits, started_at FROM collection WHERE id = ANY(:ids) ORDER BY id"
    with paused(place, collector):
        ids = [row.id for row in stack.rows("SELECT id FROM collection WHERE state = 'claimed'")]
        waiting = stack.rows(named, ids=ids)
        empty_broker(stack)
        at = place.now()
    stored = "SELECT 1 FROM collection WHERE state = 'stored' AND id = ANY(:ids)"
    wait_for(lambda: len(stack.rows(stored, ids=ids)) == len(place.fleet), "all that was claimed", SECONDS)
    begun = stack.rows(named, ids=ids)
    assert [row[:3] for row in begun] == [row[:3] for row in waiting]
    assert max(row.emits for row in begun) > 1, "nothing was lost, so this shows nothing"
    answered = "SELECT queue FROM queue_canary WHERE answered_at > :t AND queue IN ('collect', 'ingest')"
    wait_for(lambda: len(stack.rows(answered, t=at)) == 2, "the canaries of both queues", SECONDS)
    assert place.counted() == []
    sessions = sum(event.kind == "session_opened" for event in place.fleet.history)
    assert sessions <= stack.rows("SELECT count(*) AS n FROM collection WHERE started_at IS NOT NULL")[0].n


def empty_broker(stack: Stack) -> None:
    """FLUSHALL."""
    address = stack.servers.addresses.redis
    assert address
    password = stack.servers.secret_path("admin.redis").read_text().strip()
    with redis.Redis(address.host, address.port, username="admin", password=password) as broker:
        broker.flushall()


def test_a_worker_that_stands_still_is_told_and_restarted(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its heart beats and it takes nothing: only that one is restarted, with one line, and the next one hears (I9)."""
    stack, said = place.stack, list[str]()
    name = run_supervised(place, monkeypatch)
    answered = "SELECT 1 FROM queue_canary WHERE queue = 'collect.slow' AND answered_at > :t"
    living = stack.wiring.processes("reader")
    wait_for(lambda: living.said_alive([supervised(place)[name]]) == 1, "it to be alive", SECONDS)
    reviver = Reviver(stack.servers.supervisor, stack.wiring, said.append)
    assert reviver.look() == []
    before = supervised(place)
    os.kill(before[name], signal.SIGUSR2)
    told = "SELECT detail FROM alarm WHERE code = 'process_deaf' AND detail LIKE :who AND cleared_at IS NULL"
    stuck = f"% (pid {before[name]} on %"

    def is_told() -> bool:
        moved = "UPDATE process SET started_at = started_at - :t, worked_at = worked_at - :t WHERE pid = :pid"
        stack.admin(moved, t=timedelta(seconds=4), pid=before[name])
        stack.admin("UPDATE queue_canary SET asked_at = asked_at - interval '4 s' WHERE queue = 'collect.slow'")
        return bool(stack.rows(told, who=stuck))

    wait_for(is_told, "the alarm", SECONDS)
    wait_for(lambda: reviver.look() == [name], "its restart", SECONDS)
    assert [line.startswith(f"{name} is restarted: ") for line in said] == [True]
    after, at = supervised(place), place.now()
    assert {one for one in after if after[one] != before[one]} == {name}
    assert reviver.look() == []  # its row still looks alive
    wait_for(lambda: bool(stack.rows(answered, t=at)), "the next one to hear", SECONDS)
    stack.admin("UPDATE process SET heartbeat_at = now() - interval '31 s' WHERE pid = :pid", pid=before[name])
    wait_for(lambda: not stack.rows(told, who=stuck), "the alarm to end", SECONDS)


def run_supervised(place: Place, monkeypatch: pytest.MonkeyPatch) -> str:
    """From now on the worker of the slow lane, which has nothing to do here, is a program of the supervisor."""
    stack = place.stack
    monkeypatch.setattr(up, "STOP_WITHIN", timedelta(seconds=1))  # no wait makes a thread that stands still go on
    path = os.pathsep.join((str(STANDS_STILL), stack.environment["PYTHONPATH"]))
    install = up.Install(stack.servers, stack.wiring, {**stack.environment, "PYTHONPATH": path}, stack.seal_key)
    process = next(process for process in processes(1, status=False) if process.name == "collect-slow")
    next(worker for worker in stack.workers if worker.kind == process.name).stop()
    stack.servers.supervisor.start(up._program(install, process, None))
    return process.name


def supervised(place: Place) -> dict[str, int]:
    """The programs that the supervisor runs, by name."""
    return {status.name: status.pid or 0 for status in place.stack.servers.supervisor.status()}


def test_a_full_database_stops_everything_and_loses_nothing(place: Place) -> None:
    """Whatever writes is refused as on a full disk (SQLSTATE 53100): nothing is acknowledged, and all goes on after."""
    beat = next(worker for worker in place.stack.workers if worker.kind == "beat")
    before = {worker.name: len(worker.output()) for worker in place.stack.workers}
    with episode(place):
        stored = place.stored()
        with no_room(place):
            wait_for(lambda: "tick_failed" in beat.output()[before["beat"] :], "beat to notice", SECONDS)
            place.quiet()
            assert place.stored() == stored
    for worker in place.stack.workers:
        said = worker.output()[before[worker.name] :]
        assert said.count('"level": "error"') <= MOST_ERRORS, said
        assert "Traceback" not in said, said


TABLES = (
    "collection",
    "device",
    "content",
    "aside",
    "alarm",
    "process",
    "host_key",
    "quarantine",
    "job",
    "queue_canary",
)


@contextmanager
def no_room(place: Place) -> Iterator[None]:
    """Each statement that writes fails as one does that needs another page on a full disk."""
    place.stack.admin(
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$"
    )
    for table in TABLES:
        place.stack.admin(
            f"CREATE TRIGGER no_room BEFORE INSERT OR UPDATE OR DELETE ON {table} EXECUTE FUNCTION no_room()"
        )
    try:
        yield
    finally:
        place.stack.admin("DROP FUNCTION no_room() CASCADE")


def test_a_vault_that_is_shut_or_has_not_its_keys_stops_the_claiming(place: Place) -> None:
    """Sealed, or with other keys, in a soak without keys or another one altogether: until the old keys are back."""
    stack, vault = place.stack, place.stack.proxies["openbao"]
    soak = SIZE == "soak"
    own, kept = vault.target, stack.root / "kept"
    since = place.now()
    with episode(place, vault_unavailable=2 + soak, transit_key_missing=1 + soak):
        place.await_sessions()
        vault.refuse()
        place.await_claiming("vault_unavailable")
        with served_anew(place):
            shutil.copytree(stack.data / "openbao", kept)
        seal(place)
        vault.pass_through()
        place.quiet()
        assert place.standing(CLAIMING) == ["vault_unavailable"]
        place.await_unclaimed()
        vault.refuse()
        with served_anew(place):
            pass
        stack.wiring.vault("provisioner").delete_keys(stack.tenant_id)
        if soak:
            await_missing_keys(place)
        stack.wiring.vault("provisioner").make_keys(stack.tenant_id)
        await_missing_keys(place)
        if soak:
            with another_vault(place) as address:
                vault.target = (address.host, address.port)
                vault.pass_through()
                place.quiet()
                assert place.standing(CLAIMING) == ["vault_unavailable"]
                vault.refuse()
            vault.target = own
        with served_anew(place):
            shutil.rmtree(stack.data / "openbao")
            shutil.copytree(kept, stack.data / "openbao")
        vault.pass_through()
    assert "vault_unavailable" in [row.code for row in stack.rows(ENDED, t=since)]


def await_missing_keys(place: Place) -> None:
    """The vault answers, and has not the keys that it had; then it is away once more."""
    vault = place.stack.proxies["openbao"]
    vault.pass_through()
    place.await_claiming("transit_key_missing")
    vault.refuse()
    place.await_claiming("vault_unavailable")


@contextmanager
def served_anew(place: Place) -> Iterator[None]:
    """While this lasts the vault does not run; after a start it opens itself."""
    place.stack.servers.supervisor.stop_together([Server.OPENBAO])
    yield
    place.stack.servers.supervisor.restart(Server.OPENBAO)


@contextmanager
def another_vault(place: Place) -> Iterator[Address]:
    """Where the vault of another install answers."""
    left_out = frozenset(set(Server) - {Server.OPENBAO})
    options = ServerOptions(leave_out=left_out, seal_key=place.stack.root / "other.key")
    with open_folder(place.stack.root / "other") as folder, start_servers(folder, options) as servers:
        assert servers.addresses.openbao
        yield servers.addresses.openbao


def installer(place: Place) -> Vault:
    """The login that can give itself any right."""
    login = json.loads(place.stack.servers.secret_path("installer.openbao").read_text())
    return Vault(place.stack.servers.addresses.openbao_url, AppRoleLogin(login["role_id"], login["secret_id"]))


RIGHTS = """
path "sys/seal" { capabilities = ["update", "sudo"] }
path "sys/leases/revoke-prefix/auth/approle/*" { capabilities = ["update", "sudo"] }
"""


@contextmanager
def almighty(place: Place) -> Iterator[Vault]:
    """Who may shut the vault, and end everybody's tokens."""
    admin, name = installer(place), "backupflow-almighty"
    admin.call("PUT", f"sys/policies/acl/{name}", {"policy": RIGHTS})
    admin.call("POST", f"auth/approle/role/{name}", {"token_policies": [name]})
    role_id = admin.call("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"]
    secret_id = admin.call("POST", f"auth/approle/role/{name}/secret-id", {})["data"]["secret_id"]
    made = Vault(place.stack.servers.addresses.openbao_url, AppRoleLogin(role_id, secret_id))
    yield made
    made.close()
    admin.close()


def seal(place: Place) -> None:
    """Shut the vault."""
    with almighty(place) as vault:
        vault.call("POST", "sys/seal", {})


def test_revoked_tokens_and_rotated_keys_stop_nothing(place: Place) -> None:
    """Everybody logs in once more, and seals under the newest version: no alarm, and no session is lost."""
    with episode(place):
        since = place.now()
        with almighty(place) as vault:
            vault.call("POST", "sys/leases/revoke-prefix/auth/approle/login", {})
        operator = place.stack.wiring.vault("operator")
        versions = {purpose: operator.rotate(place.stack.tenant_id, purpose) for purpose in Purpose}
        place.edit()
        await_current(place.stack, place.fleet, SECONDS)
        newest = place.stack.rows("SELECT sealed FROM content WHERE created_at > :t ORDER BY id DESC LIMIT 1", t=since)
        assert newest[0].sealed.startswith(f"vault:v{versions[Purpose.DATA]}:")
    ended = place.stack.rows("SELECT code FROM collection WHERE claimed_at > :t AND state = 'failed'", t=since)
    assert ended == []


@contextmanager
def resized(place: Place, max_bytes: int) -> Iterator[None]:
    """The stream takes no more than that, from the midst of a session with each router on."""
    address = place.stack.servers.addresses.nats
    password = place.stack.servers.secret_path("admin.nats").read_text().strip()
    with asyncio.Runner() as runner:
        client = runner.run(nats.connect(f"nats://{address}", user="admin", password=password))
        stream = client.jetstream()
        usual = runner.run(stream.stream_info(STREAM)).config
        place.await_sessions()
        runner.run(stream.update_stream(replace(usual, max_bytes=max_bytes)))
        try:
            yield
        finally:
            runner.run(stream.update_stream(usual))
            runner.run(client.close())
