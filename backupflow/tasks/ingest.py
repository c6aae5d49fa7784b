"""ingest.drain: what the stream holds becomes history."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from backupflow import telemetry
from backupflow.errors import BackupflowError, StoreUnavailable, TransitKeyMissing
from backupflow.flows import ingest
from backupflow.tasks.app import app
from backupflow.wiring import wiring

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backupflow.core.model import TenantId

BATCHES = 20  # then the next task goes on, so that no single one runs for ever
_said = ""  # by the log
_keys: dict[TenantId, str] = {}  # why a tenant has not its keys, as an alarm; "": it has
_standing: str | None = None  # as an alarm; None: not known, an earlier process may have left one


def _unexpected(exc: Exception) -> None:
    telemetry.logger().error(telemetry.TASK_FAILED, exc_info=exc)


def _settle(code: str = "", detail: str = "") -> None:
    global _said, _standing  # noqa: PLW0603 - of the process
    if code and code != _said:
        telemetry.logger().error(telemetry.ALARM_RAISED, code=code, detail=detail, scope="ingest")
    _said = code
    if code != _standing:
        wiring().alarms("ingester").settle("ingest", code, detail)
        _standing = code


def _settle_keys(keys: Mapping[TenantId, str]) -> None:
    """Each tenant that has not its keys is an alarm of its own: what is of it waits, the others' is stored."""
    for tenant_id, why in keys.items():
        if _keys.get(tenant_id) == why:
            continue
        scope, code = f"tenant {tenant_id} ingest", TransitKeyMissing.code if why else ""
        if why:
            telemetry.logger().error(telemetry.ALARM_RAISED, code=code, detail=why, scope=scope)
        detail = f"nothing of the tenant {tenant_id} is stored: {why}" if why else ""
        wiring().alarms("ingester").settle(scope, code, detail)
        _keys[tenant_id] = why


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
        _settle_keys(done.keys)
        _settle()
    except BackupflowError as exc:
        with suppress(StoreUnavailable):  # an alarm is a row: while there is no database the log has it
            _settle(exc.code, exc.detail)
        return
    if done.outcomes or done.lost:
        telemetry.logger().info(telemetry.MESSAGES_DRAINED, **done.outcomes, lost=done.lost)
