"""events.send: what is to be told."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from backupflow import telemetry
from backupflow.core.events import UNDELIVERED
from backupflow.flows.telling import Told, tell
from backupflow.tasks.app import app
from backupflow.telemetry import metrics
from backupflow.wiring import wiring

if TYPE_CHECKING:
    from backupflow.core.delivery import Event

SECONDS = 60.0  # of one round; beat asks for the next one


@app.task(name="events.send", longest=timedelta(minutes=3))
def send() -> None:
    """Gather and send; a hook that does not work is the hook's failure, and touches nothing else."""
    until = time.monotonic() + SECONDS
    told = tell(replace(wiring().tell_ports, told=_told), lambda: time.monotonic() > until)
    log = telemetry.logger()
    if told.alarm:
        log.error(telemetry.ALARM_RAISED, code=UNDELIVERED, scope="hook", detail=told.failed)
    for result in ("made", "delivered", "dropped"):
        metrics.TOLD.labels(result).inc(getattr(told, result))
    metrics.TOLD.labels("failed").inc(bool(told.failed))
    if told != Told():
        log.info(
            telemetry.EVENTS_TOLD,
            made=told.made,
            delivered=told.delivered,
            dropped=told.dropped,
            failed=told.failed,
            closed=told.closed,
        )


def _told(event: Event, delivered: bool, says: str) -> None:  # noqa: FBT001 - as the port has it
    """One line an attempt; of a change with the collection that showed it."""
    log = telemetry.logger().bind(event_id=str(event.event_id), code=event.code, delivered=delivered, says=says)
    if event.collection_id is None:
        log.info(telemetry.EVENT_TOLD)
    else:
        log.info(telemetry.EVENT_TOLD, collection_id=event.collection_id)
