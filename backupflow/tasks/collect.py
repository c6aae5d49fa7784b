"""collect.device: one claimed collection."""

from __future__ import annotations

from uuid import uuid4

from backupflow import telemetry
from backupflow.core.model import CollectionId
from backupflow.flows.collect import collect
from backupflow.tasks import life  # noqa: F401 - its signals belong to every worker
from backupflow.tasks.app import app
from backupflow.wiring import wiring


def _unexpected(exc: Exception) -> None:
    telemetry.logger().error(telemetry.TASK_FAILED, exc_info=exc)


@app.task(name="collect.device")
def device(collection_id: int) -> None:
    """Collect; the argument is an id, and the row that it names is looked up here."""
    outcome = collect(wiring().collect_ports, CollectionId(collection_id), str(uuid4()), _unexpected)
    log = telemetry.logger().bind(collection_id=collection_id, device=outcome.device, seq=outcome.seq)
    say = log.warning if outcome.code else log.info
    say(telemetry.COLLECTION_ENDED, outcome=outcome.what, code=outcome.code, detail=outcome.detail)
