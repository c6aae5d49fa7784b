"""status.look: whether devices that did not answer do again."""

from __future__ import annotations

from datetime import timedelta

from backupflow import telemetry
from backupflow.errors import StoreUnavailable
from backupflow.flows import status
from backupflow.tasks import life  # noqa: F401 - its signals belong to every worker
from backupflow.tasks.app import app
from backupflow.telemetry import metrics
from backupflow.wiring import wiring

TASK = "status.look"


@app.task(name=TASK, longest=timedelta(minutes=2))
def look() -> None:
    """One round; without its database it is left to the next."""
    try:
        looked = status.look(wiring().status_ports)
    except StoreUnavailable:
        return
    metrics.KNOCKS.labels("yes").inc(looked.answered)
    metrics.KNOCKS.labels("no").inc(looked.knocked - looked.answered)
    if looked.knocked:
        telemetry.logger().info(
            telemetry.DEVICES_KNOCKED_AT, knocked=looked.knocked, answered=looked.answered, sooner=looked.sooner
        )
