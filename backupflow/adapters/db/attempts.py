"""What was tried of a device, compactly: each stretch of collections that ended alike is one row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, Row, text

from backupflow.adapters.db.compacting import OUTCOME
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.replacements import ROUTER, replacements_of, routers
from backupflow.adapters.db.snapshots import device_named
from backupflow.core.attempts import Attempt, Stretch, Wish
from backupflow.core.model import ContentHash, State
from backupflow.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from backupflow.core.history import Replacement
    from backupflow.core.model import TenantId

# The first one of a stretch counts itself alone: what was taken away stood between it and a later one.
STRETCHES = text(f"""
    WITH placed AS (
        SELECT c.id, c.seq, c.compacted, c.trigger, coalesce(c.started_at, c.claimed_at) AS at,
            coalesce({OUTCOME} <> lag({OUTCOME}) OVER (ORDER BY c.seq)
                OR {ROUTER} <> lag({ROUTER}) OVER (ORDER BY c.seq), true) AS begins
        FROM collection c
        WHERE c.device_id = :device AND (CAST(:since AS timestamptz) IS NULL OR c.claimed_at >= :since)),
    numbered AS (SELECT *, count(*) FILTER (WHERE begins) OVER (ORDER BY seq) AS stretch FROM placed),
    stretches AS (
        SELECT min(seq) AS first, max(seq) AS last, array_agg(DISTINCT trigger) AS triggers,
            count(*) + coalesce(sum(compacted) FILTER (WHERE NOT begins), 0) AS rows
        FROM numbered GROUP BY stretch ORDER BY stretch DESC LIMIT :limit)
    SELECT f.id AS first_number, coalesce(f.started_at, f.claimed_at) AS first_at, c.id AS number,
        coalesce(c.started_at, c.claimed_at) AS at, s.rows AS "count", c.state, c.is_change, c.code, c.detail,
        s.triggers, c.seq, coalesce(c.collected_at, c.ended_at) - c.started_at AS session, c.raw_bytes, c.content_hash
    FROM stretches s JOIN collection f ON f.device_id = :device AND f.seq = s.first
    JOIN collection c ON c.device_id = :device AND c.seq = s.last ORDER BY c.seq DESC""")
_ATTEMPT = text("""
    SELECT c.id AS number, d.name AS device, c.seq, c.trigger, c.lane, c.state, c.is_change, c.code, c.detail,
        c.claimed_at, c.started_at, c.collected_at, c.stored_at, c.ended_at, c.emits, c.raw_bytes, c.content_hash,
        c.command, c.exit_status, CASE WHEN c.login_id IS NULL THEN NULL WHEN l.id IS NULL THEN 'one that is gone'
            ELSE coalesce(l.name, 'its own') END AS login, c.login_on, c.login_sent_at,
        CASE WHEN c.via_id IS NOT NULL THEN coalesce(h.name, 'one that is gone') END AS jump_host, c.compacted,
        EXISTS (SELECT 1 FROM aside a WHERE a.collection_id = c.id) AS kept_aside, c.facts
    FROM collection c JOIN device d ON d.id = c.device_id
    LEFT JOIN credential_profile l ON l.id = c.login_id LEFT JOIN jump_host h ON h.id = c.via_id
    WHERE c.tenant_id = :tenant AND c.id = :number""")
_WISHES = text("""
    SELECT id, requested_by, requested_at, kind, forced, answer FROM request WHERE collection_id = :number
    ORDER BY id""")


class Attempts:
    """For who may read."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def stretches(self, tenant_id: TenantId, name: str, since: datetime | None, limit: int) -> Sequence[Stretch]:
        """The newest stretches of a device, the newest first; NotFound if there is no such device."""
        with transaction(self._engine) as tx:
            device_id = device_named(tx, tenant_id, name)
            values: dict[str, Any] = {"device": device_id, "since": since, "limit": limit}
            values["routers"] = routers(replacements_of(tx, device_id))
            return [_stretch(row) for row in tx.execute(STRETCHES, values)]

    def replacements(self, tenant_id: TenantId, name: str) -> Sequence[Replacement]:
        """When it became another router, the oldest first; NotFound if there is no such device."""
        with transaction(self._engine) as tx:
            return replacements_of(tx, device_named(tx, tenant_id, name))

    def attempt(self, tenant_id: TenantId, number: int) -> Attempt:
        """One of them, and who had asked for it; NotFound if it is not there, or was taken away."""
        with transaction(self._engine) as tx:
            row = tx.execute(_ATTEMPT, {"tenant": tenant_id, "number": number}).one_or_none()
            if row is None:
                raise NotFound(f"run {number}; see `runs DEVICE`. Of old ones only the first and last alike are kept")
            wishes = tx.execute(_WISHES, {"number": number}).all()
        values: dict[str, Any] = row._asdict() | {"state": State(row.state), "facts": row.facts or {}}
        values["content_hash"] = _hash(row)
        return Attempt(**values, wishes=tuple(Wish(*wish) for wish in wishes))


def _stretch(row: Row[Any]) -> Stretch:
    values: dict[str, Any] = row._asdict()
    values |= {"state": State(row.state), "triggers": tuple(row.triggers), "count": int(values["count"])}
    return Stretch(**values | {"content_hash": _hash(row)})


def _hash(row: Row[Any]) -> ContentHash | None:
    return ContentHash(bytes(row.content_hash)) if row.content_hash is not None else None
