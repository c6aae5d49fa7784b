"""What the jobs do to the database: each mend is one statement that says what it mends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Engine, text

from backupflow.adapters.db.alarms import raise_alarm
from backupflow.adapters.db.engine import transaction

if TYPE_CHECKING:
    from collections.abc import Mapping

# Devices first and in order of id, as everywhere.
_LOCK = "SELECT id FROM device ORDER BY id FOR NO KEY UPDATE"

_MENDS = {
    # An active device that is never due would never be collected, in silence (I9).
    "no_due_time": "UPDATE device SET next_due_at = now() WHERE status = 'active' AND next_due_at IS NULL RETURNING id",
    # A removed or paused device is not due.
    "due_though_inactive": """
        UPDATE device SET next_due_at = NULL WHERE status <> 'active' AND next_due_at IS NOT NULL RETURNING id""",
    "claim_of_removed": """
        UPDATE collection c SET state = 'withdrawn', code = 'withdrawn', detail = 'removed', ended_at = now()
        FROM device d WHERE d.id = c.device_id AND d.status = 'removed' AND c.state = 'claimed' RETURNING c.id""",
    # The login of a device that is gone is a secret that nobody needs any more.
    "login_without_owner": """
        DELETE FROM credential_profile p USING device d
        WHERE d.id = p.device_id AND d.status = 'removed' RETURNING p.id""",
    "request_of_removed": """
        UPDATE request r SET answered_at = now(), answer = 'refused: removed'
        FROM device d WHERE d.id = r.device_id AND d.status = 'removed' AND r.answered_at IS NULL RETURNING r.id""",
    "process_long_gone": "DELETE FROM process WHERE heartbeat_at < now() - interval '1 day' RETURNING id",
}
# The current observation is the one with the greatest stored seq (I3): where it is not, something of ours is wrong.
_WRONG_CURRENT = text("""
    WITH greatest_stored AS (
        SELECT DISTINCT ON (device_id) device_id, seq, id FROM collection
        WHERE state = 'stored' ORDER BY device_id, seq DESC)
    UPDATE device d SET current_seq = g.seq, current_collection_id = g.id FROM greatest_stored g
    WHERE g.device_id = d.id AND (d.current_collection_id, d.current_seq) IS DISTINCT FROM (g.id, g.seq)
    RETURNING d.id""")


class House:
    """core.ports.HouseStore."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def mend(self) -> Mapping[str, int]:
        """Mend what disagrees, in one transaction; how many of each kind."""
        with transaction(self._engine) as tx:
            tx.execute(text(_LOCK))
            mended = {kind: len(tx.execute(text(statement)).all()) for kind, statement in _MENDS.items()}
            wrong = tx.execute(_WRONG_CURRENT).all()
            for row in wrong:
                raise_alarm(tx, "wrong_current", f"device {row.id}", "the current observation was not the newest one")
            return mended | {"wrong_current": len(wrong)}

    def finished(self, job: str, outcome: str) -> None:
        """Record that a job ran."""
        with transaction(self._engine) as tx:
            statement = text("UPDATE job SET finished_at = now(), outcome = :outcome WHERE name = :job")
            tx.execute(statement, {"job": job, "outcome": outcome})
