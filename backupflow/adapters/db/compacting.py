"""Old attempts that say nothing more are taken away: of a stretch with one outcome its first and its last stay.

A row goes if both its neighbours by seq ended as it did. Thus whatever stands next to something else stays: each
change, the row before it, and both sides of one whose message may still come. The row after what went has the count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Engine, text

from backupflow.adapters.db.engine import transaction
from backupflow.core.model import DeviceId

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

# How a row ended, as far as a stretch is made of it; NULL belongs to none. An observation goes with those of the same
# content, unless it is a change, or nobody knows; a lost one only if it never passed the fence: the message of another
# may still come.
OUTCOME = """
    CASE WHEN c.state = 'stored' AND NOT c.is_change THEN 'stored ' || c.content_id
         WHEN c.state IN ('failed', 'blocked', 'suspect') OR c.state = 'lost' AND c.digest IS NULL
         THEN c.state || ' ' || coalesce(c.code, '')
         WHEN c.state = 'withdrawn' THEN c.state || ' ' || coalesce(c.detail, '')
         WHEN c.state = 'tested' THEN c.trigger || ' ' || coalesce(c.code, '') END"""
_DEVICES = text("""
    SELECT id FROM device WHERE (compacted_at BETWEEN now() - CAST(:window AS interval) AND now()) IS NOT TRUE
      AND (CAST(:after AS uuid) IS NULL OR id > :after)
    ORDER BY id LIMIT :limit""")
_LOCK = text("SELECT 1 FROM device WHERE id = :device FOR NO KEY UPDATE SKIP LOCKED")
# What a request still shows, what was kept aside, and what a sealed export names as its first, stays as well.
_COMPACT = text(f"""
    WITH placed AS (
        SELECT c.id, c.seq, c.compacted, c.ended_at < now() - CAST(:keep AS interval) AS old, {OUTCOME} AS outcome,
            lag({OUTCOME}) OVER w AS before, lead({OUTCOME}) OVER w AS after
        FROM collection c WHERE c.device_id = :device WINDOW w AS (ORDER BY c.seq)),
    doomed AS (
        SELECT p.id FROM placed p WHERE p.old AND p.outcome = p.before AND p.outcome = p.after
          AND NOT EXISTS (SELECT 1 FROM request r WHERE r.collection_id = p.id)
          AND NOT EXISTS (SELECT 1 FROM aside a WHERE a.collection_id = p.id)
          AND NOT EXISTS (SELECT 1 FROM content o WHERE o.device_id = :device AND o.first_seq = p.seq)
          AND NOT EXISTS (SELECT 1 FROM device d WHERE d.id = :device AND d.current_collection_id = p.id)
        ORDER BY p.seq LIMIT :most),
    numbered AS (
        SELECT p.id, p.compacted, x.id IS NOT NULL AS goes,
            count(*) FILTER (WHERE x.id IS NULL) OVER (ORDER BY p.seq DESC) AS heir
        FROM placed p LEFT JOIN doomed x ON x.id = p.id),
    heirs AS (
        SELECT max(id) FILTER (WHERE NOT goes) AS id, sum(1 + compacted) FILTER (WHERE goes) AS more
        FROM numbered GROUP BY heir HAVING bool_or(goes)),
    counted AS (UPDATE collection c SET compacted = c.compacted + h.more FROM heirs h WHERE c.id = h.id),
    gone AS (DELETE FROM collection c USING doomed x WHERE c.id = x.id RETURNING c.seq),
    so_far AS (SELECT count(*) AS rows, coalesce(max(seq), 0) AS seq FROM gone)
    UPDATE device d SET compacted_to_seq = greatest(d.compacted_to_seq, so_far.seq),
        compacted_at = CASE WHEN so_far.rows < :most THEN now() ELSE d.compacted_at END
    FROM so_far WHERE d.id = :device RETURNING so_far.rows""")


class Compacting:
    """core.ports.CompactingStore, as a role that may delete."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def waiting(self, window: timedelta, after: DeviceId | None, limit: int) -> Sequence[DeviceId]:
        """The next devices by id that were not looked at within `window`."""
        with transaction(self._engine) as tx:
            rows = tx.scalars(_DEVICES, {"window": window, "after": after, "limit": limit})
            return [DeviceId(row) for row in rows]

    def compact(self, device_id: DeviceId, keep: timedelta, most: int) -> int:
        """Take away at most so many of a device that ended longer ago than `keep`; how many.

        Fewer than `most`: nothing is left to do. None of a device that somebody works on: it comes at the next turn.
        """
        with transaction(self._engine) as tx:
            if tx.scalar(_LOCK, {"device": device_id}) is None:
                return 0
            values = {"device": device_id, "keep": keep, "most": most}
            return int(tx.execute(_COMPACT, values).scalar_one())
