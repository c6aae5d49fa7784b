"""The scheduler's view of the jobs: which are due, and which are not done in their time.

A claim puts a job off for a while only: what is not finished by then is handed out once more from its row, since its
task may not have been sent, or been lost. The whole period begins when it is finished (adapters.db.house).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from backupflow.adapters.db.alarms import raise_alarm
from backupflow.core.overview import JOB_LATE

if TYPE_CHECKING:
    from collections.abc import Sequence

AGAIN_AFTER = timedelta(minutes=10)
_CLAIM = text("""
    UPDATE job SET claimed_at = now(), due_at = now() + least(every, :again) WHERE name IN (
        SELECT name FROM job WHERE due_at <= now() OR due_at > now() + every
        FOR NO KEY UPDATE SKIP LOCKED) RETURNING name""")
# Not judged before a beat has handed jobs out for as long as takes to hand one out twice.
_LATE = text("""
    SELECT name, outcome, coalesce(completed_at, created_at) AS since FROM job
    WHERE coalesce(completed_at, created_at) < now() - greatest(2 * every, CAST(:again AS interval)) AND EXISTS (
        SELECT 1 FROM process WHERE role = 'scheduler' AND started_at < now() - CAST(:again AS interval)
          AND heartbeat_at BETWEEN now() - CAST(:alive AS interval) AND now() + CAST(:alive AS interval))""")
_NOT_LATE = text("""
    UPDATE alarm SET cleared_at = now() WHERE code = :code AND cleared_at IS NULL AND scope <> ALL(:late)""")


def claim_jobs(tx: Connection) -> tuple[str, ...]:
    """The names of those that are due; they are due again soon, until they are finished."""
    return tuple(sorted(tx.scalars(_CLAIM, {"again": AGAIN_AFTER})))


def tell_of_jobs(tx: Connection, alive: timedelta) -> None:
    """Let an alarm stand for each that was not done completely for two of its periods, and for no other."""
    late: Sequence[str] = [_tell(tx, *row) for row in tx.execute(_LATE, {"again": AGAIN_AFTER, "alive": alive})]
    tx.execute(_NOT_LATE, {"code": JOB_LATE, "late": late})


def _tell(tx: Connection, name: str, outcome: str | None, since: object) -> str:
    scope = f"job {name}"
    raise_alarm(tx, JOB_LATE, scope, f"{name} was not done completely since {since:%Y-%m-%d %H:%M} UTC: "
                f"{outcome or 'it never ended'}")  # fmt: skip
    return scope
