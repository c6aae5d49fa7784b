"""ingest.drain: what the stream holds becomes history."""

from __future__ import annotations

from contextlib import suppress

from backupflow import telemetry
from backupflow.errors import BackupflowError, StoreUnavailable
from backupflow.flows import ingest
from backupflow.tasks.app import app
from backupflow.tasks.obstacles import Obstacles
from backupflow.wiring import wiring

BATCHES = 20  # then the next task goes on, so that no single one runs for ever
_obstacles = Obstacles("ingester", "ingest", "stored")


def _unexpected(exc: Exception) -> None:
    telemetry.logger().error(telemetry.TASK_FAILED, exc_info=exc)


@app.task(name="ingest.drain")
def drain() -> None:
    """Drain; what is in the way is an alarm while it lasts, and nothing is acknowledged meanwhile."""
    ports = wiring().ingest_ports(_unexpected)
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
    if done.outcomes or done.lost:
        telemetry.logger().info(telemetry.MESSAGES_DRAINED, **done.outcomes, lost=done.lost)
