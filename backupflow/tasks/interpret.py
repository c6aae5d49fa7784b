"""interpret.run: what was stored becomes changes that a person can read."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from backupflow import telemetry
from backupflow.core.verification import DAMAGED
from backupflow.errors import BackupflowError, StoreUnavailable, TransitKeyMissing
from backupflow.flows.interpret import interpret
from backupflow.tasks import life  # noqa: F401 - its signals belong to every worker
from backupflow.tasks.app import app
from backupflow.wiring import wiring

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backupflow.core.model import TenantId

SECONDS = 20.0  # of one round, but for what it is at; beat asks for the next one
SCOPE = "interpret"
_said = ""  # by the log
_keys: dict[TenantId, str] = {}  # why a tenant has not its keys, as an alarm; "": it has
_standing: str | None = None  # as an alarm; None: not known, an earlier process may have left one


@app.task(name="interpret.run", longest=timedelta(minutes=5))
def run() -> None:
    """Interpret; what is in the way is an alarm while it lasts, and nothing is lost meanwhile."""
    until = time.monotonic() + SECONDS
    try:
        done = interpret(wiring().interpret_ports(_unexpected), lambda: time.monotonic() > until)
        for scope, why in done.alarms:
            telemetry.logger().error(telemetry.ALARM_RAISED, code=DAMAGED, detail=why, scope=scope)
        _settle_keys(dict.fromkeys(_keys, "") if done.idle else done.keys)
        if done.outcomes or done.idle:  # what another one has taken says nothing yet of the vault
            _settle()
    except BackupflowError as exc:
        with suppress(StoreUnavailable):  # an alarm is a row: while there is no database the log has it
            _settle(exc.code, exc.detail)
        return
    if done.outcomes:
        telemetry.logger().info(telemetry.CHANGES_INTERPRETED, **done.outcomes)


def _unexpected(exc: Exception) -> None:
    telemetry.logger().error(telemetry.TASK_FAILED, exc_info=exc)


def _settle(code: str = "", detail: str = "") -> None:
    global _said, _standing  # noqa: PLW0603 - of the process
    if code and code != _said:
        telemetry.logger().error(telemetry.ALARM_RAISED, code=code, detail=detail, scope=SCOPE)
    _said = code
    if code != _standing:
        wiring().alarms("interpreter").settle(SCOPE, code, detail)
        _standing = code


def _settle_keys(keys: Mapping[TenantId, str]) -> None:
    """Each tenant that has not its keys is an alarm of its own: what is of it waits, the others' is interpreted."""
    for tenant_id, why in keys.items():
        if _keys.get(tenant_id) == why:
            continue
        scope, code = f"tenant {tenant_id} {SCOPE}", TransitKeyMissing.code if why else ""
        if why:
            telemetry.logger().error(telemetry.ALARM_RAISED, code=code, detail=why, scope=scope)
        detail = f"nothing of the tenant {tenant_id} is interpreted: {why}" if why else ""
        wiring().alarms("interpreter").settle(scope, code, detail)
        _keys[tenant_id] = why
