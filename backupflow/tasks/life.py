"""A process's life: it waits for its database, says that it lives, and says when it goes."""

from __future__ import annotations

import threading
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from celery.signals import (
    celeryd_after_setup,
    task_postrun,
    task_prerun,
    task_received,
    worker_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from backupflow import telemetry
from backupflow.core.listen import listen_address
from backupflow.core.liveness import ask_every
from backupflow.core.model import Lane
from backupflow.errors import BackupflowError, StoreUnavailable
from backupflow.tasks import liveness
from backupflow.tasks.clock import ClockWatch
from backupflow.tasks.endpoint import Endpoint
from backupflow.tasks.health import CONSUMER, HEART, Health
from backupflow.tasks.work import Work
from backupflow.telemetry import metrics
from backupflow.wiring import wiring

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

HEARTBEAT_SECONDS = 5.0
WAIT_SECONDS = 1.0
LOOP_SECONDS = 5.0  # between two words of Celery's loop that it goes round
END_SECONDS = 5.0  # for a thread of ours: what it holds of the database at the end is not closed with the rest


class Heart:
    """A daemon thread that says every few seconds that this process lives, whether it works, and looks at the clock."""

    def __init__(
        self,
        role: str,
        work: Work,
        slots: Mapping[str, int] | None = None,
        queues: Collection[str] = (),
        then: Callable[[], None] | None = None,
        *,
        health: Health | None = None,
    ) -> None:
        self._role = role
        self._work = work
        self._health = health or Health(work)
        self._slots = slots or {}
        self._queues = queues
        self._then = then
        self._missed = True  # what it is held to counts from its first heartbeat
        self._clock = ClockWatch(role)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def start(self) -> None:
        """Beat from now on."""
        self._thread.start()

    def take_no_more(self) -> None:
        """What waits is the business of others from now on: no slots of its own are to be filled."""
        self._queues = ()
        self._slots = {}

    def stop(self) -> None:
        """Beat no more; the slots are free at once."""
        self._ended.set()
        if self._thread.ident is None:  # it never began to beat
            return
        self._thread.join(END_SECONDS)
        try:
            wiring().processes(self._role).gone()
        except BackupflowError:
            return  # the row grows stale by itself

    def _run(self) -> None:
        failing = ""
        while not self._ended.is_set():
            try:
                self._beat()
                failing = ""
            except Exception as exc:  # the loop of this thread: if it ended, this process would count as dead
                if type(exc).__name__ != failing:
                    telemetry.logger().exception(telemetry.HEARTBEAT_FAILED)
                failing = type(exc).__name__
            self._health.went_round(HEART)
            asks = ask_every(wiring().settings.collecting.deaf_after).total_seconds()
            self._ended.wait(min(HEARTBEAT_SECONDS, asks))

    def _beat(self) -> None:
        # While its database was away nobody could work: what a process is held to counts from when it is back.
        worked = self._work.taken_since() or self._missed
        self._missed = True
        wiring().processes(self._role).beat(self._slots, self._queues, worked=worked)
        self._missed = False
        self._health.heart_beat()
        for queue in self._work.heard_since():
            wiring().canaries(self._role).answer(queue)
        self._clock.look()
        if self._then:
            self._then()


def begin(health: Health) -> Endpoint | None:
    """Answer for this process from now on, also while it waits; where no address is set, to systemd only."""
    process = wiring().settings.process
    metrics.BUILD.labels(_version(), process.role).set(1)
    health.count()
    health.tell_systemd()
    if process.metrics_listen in {"", "off"}:
        return None
    endpoint = Endpoint(*listen_address(process.metrics_listen), health)
    endpoint.start()
    return endpoint


def _version() -> str:
    try:
        return version("backupflow")
    except PackageNotFoundError:  # run from a tree that is not installed
        return ""


def await_database(role: str, health: Health | None = None) -> None:
    """Wait until the database answers; SchemaOutdated if it is not for this version."""
    said = False
    while True:
        try:
            wiring().require_schema(role)
        except StoreUnavailable as exc:
            if health:
                health.waits_for(f"its database: {exc.code}")
            if not said:
                telemetry.logger().warning(telemetry.BACKEND_AWAITED, code=exc.code, detail=exc.detail)
            said = True
            threading.Event().wait(WAIT_SECONDS)
        else:
            return


_slots: dict[str, int] = {}
_queues: list[str] = []
_work = Work()
_health = Health(_work)
_hearts: list[Heart] = []


@worker_init.connect
def _wait(**_: Any) -> None:
    try:
        # Not so beat: while they are away it claims nothing, says so, and does the rest of its work.
        _health.failing = wiring().failing
        begin(_health)
        await_database(wiring().settings.process.role, _health)
    except BackupflowError as exc:  # HALT: in one line, without a traceback
        raise SystemExit(str(exc)) from None
    _health.waits_for("the broker")


@celeryd_after_setup.connect
def _count_slots(instance: Any, **_: Any) -> None:
    queues = instance.app.amqp.queues.consume_from
    _slots.update({lane.value: int(instance.concurrency) for lane in (Lane.NORMAL, Lane.SLOW) if lane.value in queues})
    for status in metrics.BACKUP_STATUSES if _slots else ():
        metrics.BACKUPS.labels(status)  # from 0: an increase from nothing is none to Prometheus
    _queues.extend(queues)
    _work.threads = int(instance.concurrency)


@worker_ready.connect
def _begin(sender: Any, **_: Any) -> None:
    heart = Heart(wiring().settings.process.role, _work, dict(_slots), tuple(_queues), health=_health)
    _hearts.append(heart)
    heart.start()
    # Celery keeps this over a new connection to the broker, and drops what was there before it was ready.
    sender.timer.call_repeatedly(LOOP_SECONDS, _health.went_round, (CONSUMER,))
    _health.has_broker = lambda: sender.connection is not None
    _health.went_round(CONSUMER)
    _health.waits_for("")


@worker_shutting_down.connect
def _take_no_more(**_: Any) -> None:
    _health.ends()
    for heart in _hearts:
        heart.take_no_more()


@task_received.connect
def _heard(request: Any, **_: Any) -> None:
    if request.name == liveness.TASK:
        _work.heard(request.delivery_info["routing_key"])


@task_prerun.connect
def _took(task_id: str, task: Any, **_: Any) -> None:
    _work.began(task_id, task.longest)


@task_postrun.connect
def _ended_task(task_id: str, **_: Any) -> None:
    _work.ended(task_id)


@worker_shutdown.connect
def _end(**_: Any) -> None:
    for heart in _hearts:
        heart.stop()
    wiring().close()
