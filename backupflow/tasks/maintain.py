"""maintain.run: a due job."""

from __future__ import annotations

from datetime import timedelta

from backupflow import telemetry
from backupflow.flows import maintain
from backupflow.tasks.app import app
from backupflow.wiring import wiring


@app.task(name="maintain.run", longest=timedelta(hours=1))
def run(job: str) -> None:
    """Run a job by its name."""
    telemetry.logger().info(telemetry.JOB_FINISHED, job=job, **maintain.run(job, wiring().house))
