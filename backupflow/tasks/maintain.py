"""maintain.run: a due job."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from backupflow import telemetry
from backupflow.core.escrow import ESCROW
from backupflow.core.retaining import BRAKED, Age
from backupflow.core.verification import DAMAGED
from backupflow.errors import EscrowFailed
from backupflow.flows import escrow, maintain, retaining
from backupflow.flows.renormalize import RENORMALIZE, renormalize_part
from backupflow.flows.verify import Watching
from backupflow.flows.watching import WATCH, watch
from backupflow.tasks.app import app, defect
from backupflow.telemetry import metrics
from backupflow.wiring import wiring

if TYPE_CHECKING:
    from backupflow.core.verification import Finding, Rest

TASK = "maintain.run"
RECONCILE = "reconcile"  # the one job that flows.maintain knows by itself
VERIFY_SECONDS = 60.0  # of one part of a day's share
COMPACT_SECONDS = 60.0  # of one part
RENORMALIZE_SECONDS = 60.0  # of one part
RETAIN_SECONDS = 60.0  # of one part
REST_SECONDS = 600.0  # what an earlier part left counts for no longer: another process may have gone on meanwhile
_RESULTS: Final = {maintain.ELSEWHERE.note: "elsewhere", maintain.UNKNOWN.note: "unknown"}
_rest: tuple[float, Rest] | None = None  # one part at a time: only one holds the turn


@app.task(name=TASK, longest=timedelta(hours=1))
def run(job: str) -> None:
    """Run a job by its name."""
    name, result = job if job in {RECONCILE, *_JOBS} else "unknown", "failed"  # a label takes few values
    try:
        with metrics.JOB_SECONDS.labels(name).time():
            ran = maintain.run(job, wiring().house, _JOBS)
        result = _RESULTS.get(ran.note, "done")
    finally:
        metrics.JOBS.labels(name, result).inc()
    for kind, count in ran.counts.items():
        metrics.JOB_DID.labels(name, kind).inc(count)
    if job != WATCH or any(ran.counts.values()):  # each minute: that all is well is no news
        telemetry.logger().info(telemetry.JOB_FINISHED, job=job, outcome=ran.outcome, **ran.counts)


def _verify() -> maintain.Ran:
    global _rest  # noqa: PLW0603 - of the process
    house, until = wiring(), time.monotonic() + VERIFY_SECONDS
    kept, _rest = _rest, None
    rest = kept[1] if kept and time.monotonic() - kept[0] < REST_SECONDS else None
    watching = Watching(_found, enough=lambda: time.monotonic() > until, unexpected=_unexpected)
    ran = maintain.verify_part(house.verify_ports("job"), house.settings.keeping.verify_sample / 100, watching, rest)
    _rest = (time.monotonic(), ran.rest) if ran.rest else None
    return ran


def _compact() -> maintain.Ran:
    house, until = wiring(), time.monotonic() + COMPACT_SECONDS
    keep = timedelta(days=house.settings.keeping.runs_days)
    return maintain.compact_part(house.compacting, keep, lambda: time.monotonic() > until)


def _retain() -> maintain.Ran:
    house, until = wiring(), time.monotonic() + RETAIN_SECONDS
    keeping = house.settings.keeping
    age = Age(house.retaining.before(timedelta(days=keeping.retention_days)), keeping.retention_keep)
    ran, braked = retaining.retain_part(house.retaining, age, lambda: time.monotonic() > until)
    for detail in braked:
        telemetry.logger().error(telemetry.ALARM_RAISED, code=BRAKED, detail=detail)
    return ran


def _renormalize() -> maintain.Ran:
    house, until = wiring(), time.monotonic() + RENORMALIZE_SECONDS
    return renormalize_part(house.renormalize_ports("job"), lambda: time.monotonic() > until)


def _watch() -> maintain.Ran:
    return watch(wiring().watches)


def _escrow() -> maintain.Ran:
    watching = escrow.Watching(alarmed=_escrow_failed, unexpected=_unexpected)
    return escrow.write_due(wiring().escrow_ports("job"), watching)


def _escrow_failed(detail: str) -> None:
    telemetry.logger().error(telemetry.ALARM_RAISED, code=EscrowFailed.code, detail=detail)


def _found(finding: Finding) -> None:
    if finding.new:
        telemetry.logger().error(telemetry.ALARM_RAISED, code=DAMAGED, scope=finding.scope, detail=finding.why)


def _unexpected(exc: Exception) -> None:
    defect(TASK, exc)


_JOBS: Final = {
    "verify": _verify, "compact": _compact, "retain": _retain, RENORMALIZE: _renormalize, WATCH: _watch,
    ESCROW: _escrow,
}  # fmt: skip
