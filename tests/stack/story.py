"""What is done to the composed stack, step by step; each step is a function that waits until it has happened."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from tests.stack.composed import ONE_SHOTS
from tests.stack.health import OK, Health
from tests.stack.judging import StoryError, judged
from tests.stack.routers import COUNT, USER
from tests.stack.waiting import NotInTimeError, wait_for

if TYPE_CHECKING:
    from concurrent.futures import Future
    from datetime import datetime

    from tests.stack.composed import Composed
    from tests.stack.routers import Routers

COLLECTORS = 3
MANY, SLOW_SECONDS = 3, 4.0  # sessions of one worker, and how long each answer takes: a middle to kill in
_STORED = "SELECT count(DISTINCT device_id) FROM collection WHERE state = 'stored' AND started_at > :since"
_NOW = "SELECT clock_timestamp()"
_BUSIEST = """
    SELECT p.host, p.id::text AS id, count(*) AS running FROM process p
    JOIN collection c ON starts_with(c.holder, p.id::text || '/') AND c.state = 'running'
    GROUP BY p.host, p.id ORDER BY running DESC LIMIT 1"""
_LOST = "SELECT count(*) FROM collection WHERE starts_with(holder, :holder) AND state = 'lost'"
_HELD = "SELECT count(*) FROM collection WHERE starts_with(holder, :holder) AND state = 'running'"
_BY_WHOM = """
    SELECT count(DISTINCT p.host) FROM collection c JOIN process p ON starts_with(c.holder, p.id::text || '/')
    WHERE c.state = 'stored'"""


@dataclass
class Story:
    """The stack and its routers, and what was found out on the way."""

    stack: Composed
    routers: Routers
    made: Future[None]  # when the routers are there: nobody needs them before the install stands
    facts: list[str] = field(default_factory=list)

    @cached_property
    def health(self) -> Health:
        """How its containers are."""
        return Health(self.stack)

    def start(self) -> None:
        """From images to processes that are ready."""
        self.stack.up("secrets")
        self.stack.await_one_shot("secrets", 180)
        self.stack.up(*self.stack.services)
        for name in ONE_SHOTS:
            self.stack.await_one_shot(name, 360)
        ready = self.health.await_ready(360)
        self.made.result()
        self.routers.await_ready()
        self.facts.append(f"{len(ready)} processes are ready, {COLLECTORS} of them collect")

    def enrol(self) -> None:
        """A login and a table of all routers, by the commands of an operator.

        They answer so slowly that two workers have not enough slots for all that are due at once.
        """
        self.routers.behave(answer_delay=SLOW_SECONDS / 2)
        password = self.routers.password.encode()
        self.stack.command("credential", "add", "fleet", "--username", USER, "--password-stdin", stdin=password)
        self.stack.command("device", "import", "-", stdin=self.routers.table())

    def collect(self) -> None:
        """Every router's configuration is stored once, and each of the workers has a part in it, if not at once."""
        self._await_all(self._long_ago(), 300)
        try:
            wait_for(lambda: self._number(_BY_WHOM) == COLLECTORS, f"{COLLECTORS} workers to collect", 120)
        except NotInTimeError as exc:
            raise StoryError(f"{exc}: {self._number(_BY_WHOM)} did") from exc
        self.facts.append(f"{COUNT} routers collected by {COLLECTORS} workers")

    def disturb(self) -> None:
        """While routers are changed and collected one worker is killed in mid-run, broker and bus are restarted."""
        self.routers.behave(answer_delay=SLOW_SECONDS)
        self.routers.edit(*self.routers.names)
        workers = {self.stack.hostname(name): (name, self.stack.pid(name)) for name in self._collectors()}
        busiest = self._await_busy()
        victim, was = workers[busiest.host]
        os.kill(was, signal.SIGKILL)  # from outside: for podman it crashed
        for server in ("redis", "nats"):
            self.stack.restart(server)
        self.routers.edit(*self.routers.names[::2])
        self.routers.behave(answer_delay=0)
        wait_for(lambda: self.stack.is_back(victim, was), f"{victim} to be started again", 180)
        wait_for(lambda: not self._number(_HELD, holder=busiest.id), "its sessions to be ended by others", 240)
        lost = self._number(_LOST, holder=busiest.id)
        if not lost:
            raise StoryError(f"{victim} was killed with {busiest.running} sessions, and none of them was lost")
        self.facts.append(f"{victim} was killed with {busiest.running} sessions, {lost} of them are lost; it is back")

    def settle(self) -> None:
        """After the last change everything is collected once more, and every process is ready again."""
        self._await_all(self._now(), 300)
        self.health.await_ready(300)

    def check(self) -> None:
        """Every promise holds, and the newest configuration of each router is its true one."""
        self.facts += judged(self.stack, lambda: self.routers.history, self.routers.names)

    def examine(self) -> None:
        """The health checks of the file pass, servers' and processes'; what servers keep is in their volumes.

        Without what redis and nats keep all would be collected again: nobody else would see that it is gone.
        """
        lost = [server for server, size in self.stack.stored().items() if not size]
        if lost:
            raise StoryError(f"nothing is in the volumes of {', '.join(lost)}: what they hold goes with the container")
        self.facts.append(f"{len(self.health.await_healthy(300))} health checks pass")

    def scrape(self) -> None:
        """Each process says that it is ready, and tells figures of its own."""
        for name in self.stack.containers(hearts=True):
            status, reason = self.health.ask(name, "/ready")
            metrics = self.health.ask(name, "/metrics")[1]
            samples = len(re.findall(r"^(?:config|backupflow)_\w+(?:\{[^}]*\})? ", metrics, flags=re.MULTILINE))
            self.facts.append(f"{name}: /ready {status} {reason.strip()}; {samples} samples of its own in /metrics")
            if status != OK or not samples:
                raise StoryError(self.facts[-1])

    def _collectors(self) -> list[str]:
        return [self.stack.name("worker-collect", number) for number in range(1, COLLECTORS + 1)]

    def _await_busy(self) -> _Busy:
        found: list[_Busy] = []

        def busy() -> bool:
            found[:] = [
                _Busy(row.host, row.id, row.running) for row in self.stack.rows(_BUSIEST) if row.running >= MANY
            ]
            return bool(found)

        wait_for(busy, "a worker in the middle of its sessions", 180)
        return found[0]

    def _await_all(self, since: datetime, seconds: float) -> None:
        def stored() -> bool:
            return self._number(_STORED, since=since) == COUNT

        try:
            wait_for(stored, f"{COUNT} devices to be stored", seconds)
        except NotInTimeError as exc:
            there = self._number(_STORED, since=since)
            raise StoryError(f"{exc}: {there} are; {self._standing()}") from exc

    def _standing(self) -> str:
        rows = self.stack.rows(
            "SELECT state, reason, count(*) AS n FROM collection GROUP BY state, reason ORDER BY n DESC"
        )
        return ", ".join(f"{row.n} {row.state} {row.reason or ''}".strip() for row in rows)

    def _now(self) -> datetime:
        moment: datetime = self.stack.rows(_NOW)[0][0]
        return moment

    def _long_ago(self) -> datetime:
        return self._now() - timedelta(days=1)

    def _number(self, statement: str, **values: object) -> int:
        return int(self.stack.rows(statement, **values)[0][0])


@dataclass(frozen=True)
class _Busy:
    host: str
    id: str
    running: int
