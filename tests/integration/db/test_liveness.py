"""Canaries and heartbeats in a real database, each act as the role that does it."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.exc import ProgrammingError

from backupflow.adapters.db.canaries import Canaries
from backupflow.adapters.db.processes import Processes
from backupflow.core.ledger import Assignment
from backupflow.core.liveness import Deaf, deaf
from backupflow.core.model import CollectionId

if TYPE_CHECKING:
    from tests.integration.db.fleet import Fleet

AFTER = timedelta(seconds=120)  # so a queue is asked every 30 s
LISTENING = {"collector": ["collect", "collect.now"], "ingester": ["ingest"], "operator": ["maintain"]}


@dataclass
class Process:
    """One whose heartbeats a test gives."""

    fleet: Fleet
    role: str
    process_id: UUID = field(default_factory=uuid4)

    @property
    def heart(self) -> Processes:
        """Its own row."""
        return Processes(self.fleet.engine(self.role), self.process_id, self.role)

    def beat(self, slots: int = 0, *, worked: bool = False) -> None:
        """One heartbeat."""
        self.heart.beat({"collect": slots} if slots else {}, LISTENING.get(self.role, []), worked=worked)

    @property
    def row(self) -> Any:  # noqa: ANN401 - a row
        """As it stands."""
        return self.fleet.row("process", self.process_id)


def canaries(fleet: Fleet, role: str = "scheduler") -> Canaries:
    """The canaries as a role sees them."""
    return Canaries(fleet.engine(role), AFTER)


def canary(fleet: Fleet, queue: str = "ingest") -> Any:  # noqa: ANN401 - a row
    """Its row, with how long ago it was asked and sent, in seconds."""
    return fleet.sql(
        "SELECT extract(epoch FROM now() - asked_at)::int AS asked, "
        "extract(epoch FROM now() - emitted_at)::int AS sent FROM queue_canary WHERE queue = :queue",
        queue=queue,
    )[0]


def pass_time(fleet: Fleet, seconds: float) -> None:
    """Let all that was written be so much older, but for heartbeats."""
    span = timedelta(seconds=seconds)
    moved = "asked_at = asked_at - :t, emitted_at = emitted_at - :t, answered_at = answered_at - :t"
    fleet.sql(f"UPDATE queue_canary SET {moved}", t=span)  # noqa: S608 - our own words
    fleet.sql("UPDATE process SET started_at = started_at - :t, worked_at = worked_at - :t", t=span)


def judged(fleet: Fleet) -> tuple[Deaf, ...]:
    """Who is deaf, as beat sees it."""
    return deaf(canaries(fleet).hearing(), AFTER)


def test_every_queue_that_somebody_listens_to_is_asked_and_each_answers_for_its_own(fleet: Fleet) -> None:
    """At once, then not before a quarter of the time after which nobody may be silent; each worker's role answers."""
    for role in LISTENING:
        Process(fleet, role).beat()
    Process(fleet, "scheduler").beat()
    silent = Process(fleet, "ingester")
    silent.heart.beat({}, ["nobody.here"])
    fleet.sql("UPDATE process SET heartbeat_at = now() - interval '1 minute' WHERE id = :id", id=silent.process_id)
    assert canaries(fleet).ask() == ("collect", "collect.now", "ingest", "maintain")
    assert canaries(fleet).ask() == ()
    for role, queues in LISTENING.items():
        canaries(fleet, role).answer(queues[0])
    assert {row.queue for row in fleet.sql("SELECT queue FROM queue_canary WHERE answered_at IS NULL")} == {
        "collect.now"
    }
    pass_time(fleet, 31)
    assert canaries(fleet).ask() == ("collect", "collect.now", "ingest", "maintain")
    assert canary(fleet, "ingest").asked == 0


def test_an_open_question_is_sent_again_and_keeps_its_time(fleet: Fleet) -> None:
    """The broker may have been emptied; who is deaf for longer is not excused by another message."""
    worker = Process(fleet, "ingester")
    worker.beat()
    for _ in range(4):
        assert canaries(fleet).ask() == ("ingest",)
        pass_time(fleet, 31)
    assert (canary(fleet).asked, canary(fleet).sent) == (124, 31)
    assert [one.listener.process_id for one in judged(fleet)] == [worker.process_id]


@pytest.mark.parametrize("why", ["nobody asked", "asked in the future", "sent in the future"])
def test_a_question_that_was_not_kept_up_is_a_new_one(fleet: Fleet, why: str) -> None:
    """While no beat ran, what was lost was not sent again; and the times of a clock that stood ahead say nothing."""
    Process(fleet, "ingester").beat()
    canaries(fleet).ask()
    pass_time(fleet, 31)
    wrong = {
        "nobody asked": "emitted_at = now() - interval '61 s', asked_at = now() - interval '1 hour'",
        "asked in the future": "asked_at = now() + interval '1 hour'",
        "sent in the future": "emitted_at = now() + interval '1 hour', asked_at = now() - interval '1 hour'",
    }[why]
    fleet.sql(f"UPDATE queue_canary SET {wrong}")  # noqa: S608 - our own words
    assert judged(fleet) == ()
    assert canaries(fleet).ask() == ("ingest",)
    assert (canary(fleet).asked, canary(fleet).sent) == (0, 0)


def test_while_the_broker_takes_nothing_nobody_is_deaf(fleet: Fleet) -> None:
    """What is asked counts from when it takes again; an answered question stays as it is."""
    for role in ("ingester", "operator"):
        Process(fleet, role).beat()
    canaries(fleet).ask()
    canaries(fleet, "operator").answer("maintain")
    for _ in range(5):
        pass_time(fleet, 31)
        canaries(fleet).not_sent()
        assert judged(fleet) == ()
        fleet.sql("UPDATE queue_canary SET emitted_at = now()")
    assert canary(fleet).asked == 0
    assert canary(fleet, "maintain").asked == 5 * 31


def test_a_heartbeat_tells_of_work_only_if_there_was_some(fleet: Fleet) -> None:
    """`worked_at` moves with the heartbeats that say so."""
    worker = Process(fleet, "ingester")
    worker.beat()
    assert (worker.row.queues, worker.row.worked_at, worker.row.host) == (["ingest"], None, socket.gethostname())
    worked = []
    for did in (False, True, False):
        worker.beat(worked=did)
        worked.append(worker.row.worked_at)
    assert worked[0] is None
    assert worked[1] == worked[2] < worker.row.heartbeat_at
    other = Process(fleet, "scheduler")
    other.beat(worked=True)
    assert other.row.worked_at == other.row.heartbeat_at


def test_rows_of_the_dead_say_of_nobody_that_it_lives(fleet: Fleet) -> None:
    """After a power cut in a container the same numbers come again, long before the rows grow stale."""
    reader, here = Processes(fleet.engine("reader"), uuid4(), "reader"), [os.getpid()]
    Process(fleet, "ingester").beat()
    dead = reader.ids()
    assert (len(dead), reader.said_alive(here), reader.said_alive(here, dead)) == (1, 1, 0)
    Process(fleet, "ingester").beat()
    assert reader.said_alive(here, dead) == 1
    fleet.sql("UPDATE process SET host = 'elsewhere'")
    assert reader.said_alive(here, dead) == 0


def held(fleet: Fleet, worker: Process) -> Assignment:
    """A session that this worker holds."""
    device = fleet.device(due=timedelta(hours=1))
    row = "INSERT INTO collection (tenant_id, device_id, seq, trigger, lane) VALUES (:t, :d, 1, 'schedule', 'collect')"
    number = fleet.value(f"{row} RETURNING id", t=fleet.tenant, d=device)
    started = fleet.collections.start(CollectionId(number), worker.heart.holder(str(uuid4())))
    assert isinstance(started, Assignment)
    return started


def test_a_worker_full_of_sessions_within_their_leases_is_not_deaf(fleet: Fleet) -> None:
    """Slow routers may take all its threads for long; with one thread free, or a lease over, nothing excuses it."""
    worker, other = Process(fleet, "collector"), Process(fleet, "collector")
    held(fleet, worker)
    second = held(fleet, worker)
    held(fleet, other)

    def tries(slots: int) -> bool:
        fleet.sql("DELETE FROM process")
        fleet.sql("DELETE FROM queue_canary")
        worker.beat(slots)
        for _ in range(4):
            canaries(fleet).ask()
            pass_time(fleet, 31)
        worker.beat(slots)
        return judged(fleet) == ()

    assert tries(2)
    assert not tries(3)
    fleet.expire(second.collection_id)
    assert not tries(2)


def test_the_alarm_of_a_deaf_process_stands_until_it_works_again(fleet: Fleet) -> None:
    """Raised once, with its name, process id and host; cleared by whichever beat looks next; others stay."""
    worker = Process(fleet, "ingester")
    worker.beat()
    fleet.sql("INSERT INTO alarm (code, scope) VALUES ('wrong_current', 'device x')")
    for _ in range(4):
        canaries(fleet).ask()
        pass_time(fleet, 31)
    found = judged(fleet)
    assert canaries(fleet).tell(found) == found
    assert canaries(fleet).tell(judged(fleet)) == ()
    detail = fleet.value("SELECT detail FROM alarm WHERE code = 'process_deaf' AND cleared_at IS NULL")
    assert f"the worker of ingest (pid {worker.row.pid} on {socket.gethostname()})" in detail
    worker.beat(worked=True)
    assert canaries(fleet).tell(judged(fleet)) == ()
    assert fleet.alarms() == [("wrong_current", "device x")]


def test_the_reader_sees_and_changes_nothing(fleet: Fleet) -> None:
    """`up` judges by the reader's login: it cannot ask, nor answer."""
    Process(fleet, "ingester").beat()
    canaries(fleet).ask()
    assert canaries(fleet, "reader").hearing().canaries[0].queue == "ingest"
    with pytest.raises(ProgrammingError):
        canaries(fleet, "reader").answer("ingest")
    with pytest.raises(ProgrammingError):
        canaries(fleet, "collector").ask()
