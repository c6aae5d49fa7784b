"""maintain.run: a due job."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from backupflow import telemetry
from backupflow.core.verification import DAMAGED
from backupflow.flows import maintain
from backupflow.tasks.app import app
from backupflow.wiring import wiring

if TYPE_CHECKING:
    from backupflow.core.verification import Finding

VERIFY_SECONDS = 60.0  # of one part of a day's share


@app.task(name="maintain.run", longest=timedelta(hours=1))
def run(job: str) -> None:
    """Run a job by its name."""
    ran = maintain.run(job, wiring().house, {"verify": _verify})
    telemetry.logger().info(telemetry.JOB_FINISHED, job=job, outcome=ran.outcome, **ran.counts)


def _verify() -> maintain.Ran:
    house, until = wiring(), time.monotonic() + VERIFY_SECONDS
    share = house.settings.keeping.verify_sample / 100
    return maintain.verify_part(house.verify_ports("job"), share, _found, lambda: time.monotonic() > until)


def _found(finding: Finding) -> None:
    if finding.new:
        telemetry.logger().error(telemetry.ALARM_RAISED, code=DAMAGED, scope=finding.scope, detail=finding.why)
