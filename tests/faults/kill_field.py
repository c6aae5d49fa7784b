"""The field of the kill points: a few routers, an install whose processes die one by one, and what is asked of both."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from backupflow.core.ledger import Kind
from backupflow.core.message import SUBJECT_PREFIX
from backupflow.core.model import Login, Pepper, SealedSecret
from backupflow.flows import enroll
from backupflow.simulator import Fleet, JumpSpec, RouterSpec
from backupflow.simulator import Login as SimulatedLogin
from backupflow.wiring import kill_points
from tests.acceptance.install import wait_for
from tests.checker.case import Terms
from tests.checker.check import Subject, check
from tests.faults.aftermath import OWED, hash_of
from tests.faults.disasters import on_bus, redeliver_after
from tests.faults.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from nats.js.client import JetStreamContext
    from sqlalchemy import Row

    from backupflow.adapters.vault import Vault
    from backupflow.core.model import DeviceId, SealedConfig, TenantId
    from tests.faults.worker import Worker

Ended = subprocess.CompletedProcess[bytes]
LOGIN = Login("backup", "backup")
STEADY = ("r0", "r1", "r2", "r3", "r4", "r5")  # asked again and again, half of them in each life
HOP, HOP_LOGIN = "hop", Login("jump", LOGIN.password)  # commands are given one password
DESK = "desk"  # what commands are about
DOUBTED = "doubted"  # its second export is kept aside, and stays so
PROCESSES = ("maintain", "ingest", "interpret", "collect-slow", "collect", "beat")
REDELIVERY = 4.0  # seconds after which what a dead ingester had fetched comes again
PATIENCE = 90.0
SETTINGS: dict[str, Any] = {
    "CONFIG_BACKUP_INTERVAL": 3600,  # all is asked for, nothing is due by itself but what was lost
    "CONFIG_CHANGES_A_DAY": 100_000,  # each case edits its routers: none of them changes without end
    "CONFIG_BACKUP_MAX_CONCURRENT": 6,
    "CONFIG_BACKUP_CONNECT_TIMEOUT": 1,
    "CONFIG_BACKUP_BANNER_TIMEOUT": 1,
    "CONFIG_BACKUP_LOGIN_TIMEOUT": 1,
    "CONFIG_BACKUP_COMMAND_TIMEOUT": 2,
    "CONFIG_LEASE_GRACE": 1,
    "CONFIG_EMIT_AGAIN_AFTER": 2,  # less than a worker takes to start: what waited for it was sent twice
    "CONFIG_LOST_AFTER": 20,
    "CONFIG_STATUS_INTERVAL": 1,
}


class Field:
    """Routers, servers and processes of one module's tests."""

    def __init__(self, root: Path, stack: Stack, fleet: Fleet) -> None:
        self.root = root
        self.stack = stack
        self.fleet = fleet
        self.workers: dict[str, Worker] = {}
        self.case = 0  # number
        self.life = 0  # of the process that dies, from 1
        self.case_began_at = self.life_began_at = self.now()
        self.file = root / "export.rsc"
        self.noted = ""  # by a situation, for its end
        self.forged = 0  # messages
        self._spans: list[tuple[datetime, bool]] = []
        self._told: set[str] = set()
        self._opener = _Remembering(stack.wiring.vault("reader"))

    # --- cases -------------------------------------------------------------------------------------------------------

    def begin_case(self, *, collects: bool) -> None:
        """Edit all; `collects`: a process will die that may be between the fence and the bus, so begin at rest."""
        if collects:
            self.await_none("claimed", "running")
        for process in PROCESSES:
            if process not in self.workers or not self.workers[process].is_alive:  # of a case that failed
                self.start(process)
        self.case += 1
        self.case_began_at = self.now()
        self._spans.append((self.case_began_at, collects))
        self.edit()

    def begin_life(self, number: int) -> None:
        """Of the process that dies."""
        self.life, self.life_began_at = number, self.now()

    def wrong(self) -> list[str]:
        """The promises that are broken, and the messages lost on the bus by nobody's death; each is told once."""
        # As after two minutes: whoever died has left its lease.
        self.stack.admin("UPDATE collection SET interpret_until = NULL WHERE interpret_until IS NOT NULL")
        wait_for(lambda: not self.stack.rows(OWED), "every change to be interpreted", PATIENCE)
        gone = self.stack.rows("SELECT claimed_at, id FROM collection WHERE code = 'message_gone'")
        found = self._in_quarantine()
        lost = [row.id for row in gone if row.id not in found and not self._collects(row)]
        findings = [f"collection {number} had a message, and it is gone" for number in lost]
        routers = self.fleet.stats()["routers"].items()
        findings += [f"{name} had two sessions at once" for name, counts in routers if counts["most_at_once"] > 1]
        terms = Terms(
            policy=self.stack.wiring.policy,
            emit_again_after=timedelta(seconds=SETTINGS["CONFIG_EMIT_AGAIN_AFTER"]),
            lost_after=timedelta(seconds=SETTINGS["CONFIG_LOST_AFTER"]),
            grace=timedelta(seconds=3 * PATIENCE),
            interpreted=True,
        )
        engine = self.stack.wiring.engine("reader")
        findings += check(Subject(engine, self._opener, self.fleet.history, terms))
        new = [finding for finding in findings if finding not in self._told]
        self._told.update(new)
        return new

    def _in_quarantine(self) -> set[int]:
        """The collections whose message was put aside: it is not lost."""
        kept = self.stack.admin("SELECT payload FROM quarantine WHERE payload IS NOT NULL")
        return {json.loads(row.payload)["collection_id"] for row in kept}

    def _collects(self, row: Row[Any]) -> bool:
        """Whether a collection belongs to a case in which a collector died."""
        return [collects for began_at, collects in self._spans if began_at <= row.claimed_at][-1:] == [True]

    # --- processes ---------------------------------------------------------------------------------------------------

    def start(self, name: str, kill_point: str = "", **environment: str) -> Worker:
        """Start a process of a kind, in place of the one that ran."""
        self.end(name)
        told = {kill_points.VARIABLE: kill_point} if kill_point else {}
        self.workers[name] = self.stack.start(name, **told, **environment)
        return self.workers[name]

    def end(self, name: str) -> None:
        """kill -9, as if it had been killed anywhere."""
        worker = self.workers.pop(name, None)
        if worker is not None and worker.is_alive:
            worker.kill()

    def command(self, *argv: str, kill_point: str = "", program: tuple[str, ...] = ("-m", "backupflow")) -> Ended:
        """Run a command to its end, with a password at its stdin."""
        environment = {**self.stack.environment, **({kill_points.VARIABLE: kill_point} if kill_point else {})}
        return subprocess.run(
            [sys.executable, *program, *argv],
            input=str(LOGIN.password).encode(),
            capture_output=True,
            check=False,
            cwd=self.root,
            env=environment,
            timeout=2 * PATIENCE,
        )

    # --- routers -----------------------------------------------------------------------------------------------------

    def edit(self) -> None:
        """A change at each of the steady ones."""
        for name in STEADY:
            self.fleet[name].edit()

    @property
    def of_this_life(self) -> tuple[str, ...]:
        """Half of the steady ones: what died with the other half waits for its lease to end."""
        return STEADY[self.life % 2 :: 2]

    def ask(self, *names: str, kind: Kind = Kind.BACKUP) -> None:
        """Ask for collections of those that are not under way: a dead worker's row would take the request with it."""
        idle = self.stack.rows(
            "SELECT name FROM device d WHERE name = ANY(:names) AND status = 'active' AND NOT EXISTS "
            "(SELECT 1 FROM collection c WHERE c.device_id = d.id AND c.state IN ('claimed', 'running')) AND NOT EXISTS"
            " (SELECT 1 FROM request r WHERE r.device_id = d.id AND r.answered_at IS NULL)",
            names=list(names),
        )
        if idle:
            self.forget_meetings()
            self.stack.wiring.requests.ask(self.stack.tenant_id, [row.name for row in idle], "test", kind)

    def forget_meetings(self) -> None:
        """No router here has a firewall that bans who comes often: it is another test that keeps away from one."""
        self.stack.admin(  # locked in the order that everybody locks them in
            "UPDATE device d SET met_at = NULL, hold_until = NULL, wary_until = NULL FROM ("
            "SELECT id FROM device WHERE met_at IS NOT NULL ORDER BY id FOR NO KEY UPDATE) met WHERE d.id = met.id"
        )

    def ask_some(self) -> None:
        """Ask for those of this life."""
        self.ask(*self.of_this_life)

    def scan_some(self) -> None:
        """Ask for a look at their keys."""
        self.ask(*self.of_this_life, kind=Kind.SCAN)

    def forget_key(self) -> None:
        """What `hostkey reset` does: the next contact is a first sight, and due at once."""
        enroll.reset_key(self.stack.wiring.enroll_ports("test"), self.stack.tenant_id, self.of_this_life[0])

    def await_newest(self, *names: str) -> None:
        """Ask until each router's newest revision is its current configuration."""
        until = time.monotonic() + PATIENCE
        while late := self._late(names or STEADY):
            assert time.monotonic() < until, f"not stored within {PATIENCE:.0f} s: {late}\n{self.story()}"
            self.ask(*late)
            time.sleep(0.3)

    def _late(self, names: tuple[str, ...]) -> list[str]:
        rows = self.stack.rows(
            "SELECT d.name, c.content_hash FROM device d JOIN collection c ON c.id = d.current_collection_id "
            "WHERE d.status <> 'removed'"
        )
        stored = {row.name: bytes(row.content_hash) for row in rows}
        return [name for name in names if stored.get(name) != hash_of(self._pepper, self.fleet[name].text())]

    @cached_property
    def _pepper(self) -> Pepper:
        sealed = SealedSecret(self.stack.rows("SELECT pepper FROM tenant WHERE name = 'default'")[0].pepper)
        return self._opener.open_pepper(self.stack.tenant_id, sealed)

    # --- what is under way -------------------------------------------------------------------------------------------

    def states(self) -> Counter[str]:
        """How many collections are in each state."""
        rows = self.stack.rows("SELECT state, count(*) AS n FROM collection GROUP BY 1")
        return Counter({row.state: row.n for row in rows})

    def await_none(self, *states: str) -> None:
        """Wait until no collection is in any of these states."""
        wait_for(lambda: not any(self.states()[state] for state in states), f"none of {states}", 2 * PATIENCE)

    def await_published(self) -> None:
        """Have one message of each router of this life on its way, while nobody ingests."""
        before = self._last_published()

        def all_published() -> bool:
            self.ask_some()
            after = self._last_published()
            return all(after.get(name, 0) > before.get(name, 0) for name in self.of_this_life)

        wait_for(all_published, "messages on their way", PATIENCE)

    def _last_published(self) -> dict[str, int]:
        rows = self.stack.rows(
            "SELECT d.name, max(c.seq) AS last FROM collection c JOIN device d ON d.id = c.device_id "
            "WHERE c.state IN ('published', 'stored') GROUP BY 1"
        )
        return {row.name: row.last for row in rows}

    def await_rest(self) -> None:
        """Wait until no collection is under way any more, and the stream is empty."""
        self.await_none("claimed", "running", "published")
        wait_for(lambda: not self.stack.wiring.bus("operator").status().messages, "an empty stream", PATIENCE)

    def story(self) -> str:
        """What became of the newest collections, for whoever reads a failure."""
        rows = self.stack.rows(
            "SELECT d.name, c.seq, c.state, c.code, c.detail, c.emits, clock_timestamp() - c.claimed_at AS ago, "
            "d.blocked_code, d.losses FROM collection c JOIN device d ON d.id = c.device_id "
            "ORDER BY c.claimed_at DESC LIMIT 24"
        )
        alarms = self.stack.rows("SELECT code, scope, detail FROM alarm WHERE cleared_at IS NULL")
        return "\n".join(str(row) for row in [*rows, *alarms])

    def send(self, payload: bytes, device_id: object) -> None:
        """Publish any bytes."""

        async def publish(jetstream: JetStreamContext) -> None:
            await jetstream.publish(f"{SUBJECT_PREFIX}.{device_id}", payload)

        on_bus(self.stack, publish)

    def now(self) -> datetime:
        """PostgreSQL's time."""
        return self.stack.wiring.clock("reader")


class _Remembering:
    """The vault, asked once for each text: every case looks at all that there is."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._opened: dict[tuple[object, str], bytes] = {}

    def open_config(self, tenant_id: TenantId, device_id: DeviceId, sealed: SealedConfig) -> bytes:
        """The envelope."""
        key = (device_id, sealed.text)
        if key not in self._opened:
            self._opened[key] = self._vault.open_config(tenant_id, device_id, sealed)
        return self._opened[key]

    def open_pepper(self, tenant_id: TenantId, sealed: SealedSecret) -> Pepper:
        """The tenant's pepper."""
        return self._vault.open_pepper(tenant_id, sealed)


@contextmanager
def opened_field(root: Path) -> Iterator[Field]:
    """A field in which every router was stored once, one twice, and of one an export was kept aside."""
    specs = [RouterSpec(name, seed=number) for number, name in enumerate((*STEADY, DESK, DOUBTED))]
    hops = [JumpSpec(HOP, logins=(SimulatedLogin(HOP_LOGIN.username, str(HOP_LOGIN.password)),))]
    with Fleet(specs, jump_hosts=hops) as fleet, Stack(root, **SETTINGS) as stack:
        field = Field(root, stack, fleet)
        redeliver_after(stack, REDELIVERY)
        for name in fleet:
            stack.add(name, fleet[name].port, LOGIN)
        for process in PROCESSES:
            field.start(process)
        field.await_newest(*fleet)
        fleet[DESK].edit()
        field.await_newest(DESK)
        keep_aside(field)
        yield field


def keep_aside(field: Field) -> None:
    """Half of one router's menus are missing from an export, which is therefore not believed."""
    field.fleet[DOUBTED].behave(shrunk=True)

    def kept() -> bool:
        if field.states()["suspect"]:
            return True
        field.ask(DOUBTED)
        return False

    wait_for(kept, "an export that is kept aside", PATIENCE)
