"""collect.device: one claimed collection."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from backupflow import telemetry
from backupflow.core.model import CollectionId
from backupflow.flows.collect import collect
from backupflow.tasks import life  # noqa: F401 - its signals belong to every worker
from backupflow.tasks.app import app
from backupflow.wiring import wiring


def _unexpected(exc: Exception) -> None:
    telemetry.logger().error(telemetry.TASK_FAILED, exc_info=exc)


@app.task(name="collect.device", longest=timedelta(0))  # its lease says how long it may take
def device(collection_id: int) -> None:
    """Collect; the argument is an id, and the row that it names is looked up here."""
    holder = wiring().processes("collector").holder(str(uuid4()))  # so that its heartbeat finds what it holds
    outcome = collect(wiring().collect_ports, CollectionId(collection_id), holder, _unexpected)
    log = telemetry.logger().bind(collection_id=collection_id, device=outcome.device, seq=outcome.seq)
    say = log.warning if outcome.code else log.info
    say(telemetry.COLLECTION_ENDED, outcome=outcome.what, code=outcome.code, detail=outcome.detail)
