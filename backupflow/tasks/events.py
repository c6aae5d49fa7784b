"""events.send: what is to be told."""

from __future__ import annotations

import time
from datetime import timedelta

from backupflow import telemetry
from backupflow.core.events import UNDELIVERED
from backupflow.flows.telling import Told, tell
from backupflow.tasks.app import app
from backupflow.wiring import wiring

SECONDS = 60.0  # of one round; beat asks for the next one


@app.task(name="events.send", longest=timedelta(minutes=3))
def send() -> None:
    """Gather and send; a hook that does not work is the hook's failure, and touches nothing else."""
    until = time.monotonic() + SECONDS
    told = tell(wiring().tell_ports, lambda: time.monotonic() > until)
    log = telemetry.logger()
    if told.alarm:
        log.error(telemetry.ALARM_RAISED, code=UNDELIVERED, scope="hook", detail=told.failed)
    if told != Told():
        log.info(
            telemetry.EVENTS_TOLD,
            made=told.made,
            delivered=told.delivered,
            dropped=told.dropped,
            failed=told.failed,
            closed=told.closed,
        )
