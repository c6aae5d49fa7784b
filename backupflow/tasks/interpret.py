"""interpret.run: what was stored becomes changes that a person can read."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial

from backupflow import telemetry
from backupflow.core.verification import DAMAGED
from backupflow.errors import BackupflowError, StoreUnavailable
from backupflow.flows.interpret import interpret
from backupflow.tasks import life  # noqa: F401 - its signals belong to every worker
from backupflow.tasks.app import app, defect
from backupflow.tasks.obstacles import Obstacles
from backupflow.telemetry import metrics
from backupflow.wiring import wiring

TASK = "interpret.run"
SECONDS = 20.0  # of one round, but for what it is at; beat asks for the next one
_obstacles = Obstacles("interpreter", "interpret", "interpreted")


@app.task(name=TASK, longest=timedelta(minutes=5))
@metrics.INTERPRET_SECONDS.time()
def run() -> None:
    """Interpret; what is in the way is an alarm while it lasts, and nothing is lost meanwhile."""
    until = time.monotonic() + SECONDS
    try:
        ports = replace(wiring().interpret_ports(partial(defect, TASK)), about=telemetry.about, settled=_settled)
        done = interpret(ports, lambda: time.monotonic() > until)
        for scope, why in done.alarms:
            telemetry.logger().error(telemetry.ALARM_RAISED, code=DAMAGED, detail=why, scope=scope)
        _obstacles.settle_keys(dict.fromkeys(_obstacles.keys, "") if done.idle else done.keys)
        if done.outcomes or done.idle:  # what another one has taken says nothing yet of the vault
            _obstacles.settle()
    except BackupflowError as exc:
        with suppress(StoreUnavailable):  # an alarm is a row: while there is no database the log has it
            _obstacles.settle(exc.code, exc.detail)
        return
    if done.outcomes:
        telemetry.logger().info(telemetry.CHANGES_INTERPRETED, **done.outcomes)


def _settled(outcome: str) -> None:
    """One line a change; which collection showed it is bound to all of them."""
    metrics.INTERPRETED.labels(outcome).inc()
    telemetry.logger().info(telemetry.CHANGE_INTERPRETED, outcome=outcome)
