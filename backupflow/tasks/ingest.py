"""ingest.drain: what the stream holds becomes history."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from celery.worker import state

from backupflow import telemetry
from backupflow.errors import BackupflowError, StoreUnavailable
from backupflow.flows import ingest
from backupflow.tasks.app import app, defect
from backupflow.tasks.obstacles import Obstacles
from backupflow.telemetry import metrics
from backupflow.wiring import wiring

if TYPE_CHECKING:
    from backupflow.core.model import CollectionId

TASK = "ingest.drain"
BATCHES = 20  # then the next task goes on, so that no single one runs for ever
_obstacles = Obstacles("ingester", "ingest", "stored")


@app.task(name=TASK)
@metrics.INGEST_SECONDS.time()
def drain() -> None:
    """Drain; what is in the way is an alarm while it lasts, and nothing is acknowledged meanwhile."""
    ports = replace(wiring().ingest_ports(partial(defect, TASK)), settled=_settled, ends=_ends)
    try:
        if ports.inbox.make_sure():
            telemetry.logger().error(telemetry.STREAM_REMADE)
            wiring().alarms("ingester").alarm("stream_remade", "bus", "stream or consumer was missing and made anew")
        done = ingest.drain(ports, BATCHES)
        for reason in done.alarms:
            telemetry.logger().error(telemetry.ALARM_RAISED, code="quarantine", detail=reason, scope="ingest")
        _obstacles.settle_keys(done.keys)
        _obstacles.settle()
    except BackupflowError as exc:
        with suppress(StoreUnavailable):  # an alarm is a row: while there is no database the log has it
            _obstacles.settle(exc.code, exc.detail)
        return
    metrics.INGEST_LOST.inc(done.lost)
    if done.outcomes or done.lost:
        telemetry.logger().info(telemetry.MESSAGES_DRAINED, **done.outcomes, lost=done.lost)


def _ends() -> bool:
    """Whether this worker was told to end: then it holds an exit code, which may be 0."""
    return state.should_stop is not None and state.should_stop is not False


def _settled(collection_id: CollectionId | None, outcome: str, reason: str) -> None:
    """One line a message, by which its collection is followed."""
    metrics.INGESTED.labels(outcome).inc()
    log = telemetry.logger().bind(collection_id=collection_id, outcome=outcome)
    if reason:
        log.warning(telemetry.MESSAGE_REFUSED, reason=reason)
    else:
        log.info(telemetry.MESSAGE_STORED)
