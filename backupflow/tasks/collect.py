"""collect.device: one claimed collection."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

from backupflow import telemetry
from backupflow.core.model import CollectionId, State
from backupflow.flows.collect import collect
from backupflow.tasks import life  # noqa: F401 - its signals belong to every worker
from backupflow.tasks.app import app, defect
from backupflow.telemetry import metrics
from backupflow.wiring import wiring

if TYPE_CHECKING:
    from backupflow.flows.outcome import Outcome

TASK = "collect.device"
_NO_BACKUPS = {"not_claimed", "not_started", "withdrawn", State.TESTED.value}
_SUCCESS = {"published": "success"}  # of a status; the other outcomes are called as they are


@app.task(name=TASK, longest=timedelta(0))  # its lease says how long it may take
def device(collection_id: int) -> None:
    """Collect; the argument is an id, and the row that it names is looked up here."""
    telemetry.about(collection_id)
    holder = wiring().processes("collector").holder(str(uuid4()))  # so that its heartbeat finds what it holds
    began = time.monotonic()
    with metrics.BACKUPS_ACTIVE.track_inprogress():
        outcome = collect(wiring().collect_ports, CollectionId(collection_id), holder, partial(defect, TASK))
    _count(outcome, time.monotonic() - began)
    log = telemetry.logger().bind(device=outcome.device, seq=outcome.seq)
    say = log.warning if outcome.code else log.info
    say(telemetry.COLLECTION_ENDED, outcome=outcome.what, code=outcome.code, detail=outcome.detail)


def _count(outcome: Outcome, seconds: float) -> None:
    metrics.COLLECTED.labels(outcome.what, outcome.code).inc()
    if outcome.what not in _NO_BACKUPS:
        metrics.BACKUPS.labels(_SUCCESS.get(outcome.what, outcome.what)).inc()
        metrics.BACKUP_SECONDS.observe(seconds)
