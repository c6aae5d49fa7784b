"""The view of the quarantine for people: what is in it, and giving it back or dropping it, each act audited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, text

from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.quarantine import Room, lock, settle
from backupflow.core.quarantine import Fate, Judged, Looked, Named, Quarantined, Trace, claims, compare
from backupflow.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

_LISTED = """
    SELECT q.id, q.received_at, q.reason, q.subject, q.digest, octet_length(q.payload) AS size, q.released_at,
        q.released_by, t.name AS tenant, d.name AS device {payload}
    FROM quarantine q LEFT JOIN tenant t ON t.id = q.tenant_id LEFT JOIN device d ON d.id = q.device_id"""
_LIST = text(
    _LISTED.format(payload="")
    + """
    WHERE CAST(:reason AS text) IS NULL OR q.reason = :reason ORDER BY q.id DESC LIMIT :limit"""
)
_ONE = text(_LISTED.format(payload=", q.payload") + " WHERE q.id = :number")
_COUNT = text("SELECT count(*) FROM quarantine WHERE CAST(:reason AS text) IS NULL OR reason = :reason")
_NAMED = text("""
    SELECT c.tenant_id, t.name AS tenant, c.device_id, d.name AS device, c.seq, c.state, c.normalization_version,
        c.content_hash, c.digest
    FROM collection c JOIN tenant t ON t.id = c.tenant_id JOIN device d ON d.id = c.device_id WHERE c.id = :number""")
_CHOSEN = text("""
    SELECT id, reason, subject, digest, octet_length(payload) AS size, released_at FROM quarantine
    WHERE id = ANY(:numbers) ORDER BY id""")
_OF_REASON = text("""
    SELECT id FROM quarantine WHERE reason = :reason AND (payload IS NOT NULL OR :any) ORDER BY id""")
_RELEASE = text("""
    UPDATE quarantine SET released_at = now(), released_by = :actor WHERE id = :number AND released_at IS NULL""")
_DROP = text("DELETE FROM quarantine WHERE id = :number")
_TRACE = text("SELECT id, digest, payload FROM quarantine WHERE id = :number")
# By its bytes: where the same were put aside twice only one of them stays.
_STAND = text("""
    SELECT id, digest, reason, released_at IS NOT NULL AS released FROM quarantine
    WHERE id = ANY(:numbers) OR digest = ANY(:digests) ORDER BY id""")
_STORED = text("SELECT id FROM collection WHERE id = ANY(:collections) AND state = 'stored'")


class QuarantineDesk:
    """What operators see and do; an engine of a reader suffices to look."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def count(self, reason: str | None = None) -> int:
        """How many messages are in quarantine."""
        with transaction(self._engine) as tx:
            return int(tx.execute(_COUNT, {"reason": reason}).scalar_one())

    def listed(self, limit: int, reason: str | None = None) -> list[Quarantined]:
        """The newest, or the newest of a reason."""
        with transaction(self._engine) as tx:
            return [_quarantined(row) for row in tx.execute(_LIST, {"limit": limit, "reason": reason})]

    def look(self, number: int) -> Looked:
        """One message against the row that it names; NotFound if it is not there."""
        with transaction(self._engine) as tx:
            row = tx.execute(_ONE, {"number": number}).one_or_none()
            if row is None:
                raise _missing(number)
            said = claims(bytes(row.payload or b""))
            named = tx.execute(_NAMED, {"number": said.collection_id}).one_or_none() if said.collection_id else None
        known = _named(named) if named is not None else None
        compared = compare(said, row.subject, known) if row.payload is not None else ()
        return Looked(_quarantined(row), said, compared, known)

    def numbers(self, reason: str, *, with_bytes: bool = False) -> list[int]:
        """Those of a reason; only those that can be given back, if asked for."""
        with transaction(self._engine) as tx:
            return list(tx.scalars(_OF_REASON, {"reason": reason, "any": not with_bytes}))

    def release(self, numbers: Sequence[int], actor: str) -> None:
        """Give messages back to the ingester.

        NotFound if one is not there, Conflict if of one only the digest was kept; then none is given back.
        """
        with transaction(self._engine) as tx:
            for row in _chosen(tx, numbers):
                if row.size is None:
                    raise Conflict(f"of message {row.id} only the digest was kept: there is nothing to give back")
                if row.released_at is None:
                    tx.execute(_RELEASE, {"number": row.id, "actor": actor})
                    record_act(tx, actor, "quarantine_released", detail=_detail(row))

    def drop(self, numbers: Sequence[int], actor: str) -> None:
        """Delete messages with their bytes, for good; NotFound if one is not there, and then none is deleted."""
        with transaction(self._engine) as tx:
            for row in _chosen(tx, numbers):
                tx.execute(_DROP, {"number": row.id})
                record_act(tx, actor, "quarantine_dropped", detail=_detail(row))
            settle(tx, Room())

    def traced(self, numbers: Sequence[int]) -> list[Trace]:
        """What they are known by later; NotFound if one is not there. One at a time: each may have 8 MiB."""
        traces = []
        for number in numbers:
            with transaction(self._engine) as tx:
                row = tx.execute(_TRACE, {"number": number}).one_or_none()
            if row is None:
                raise _missing(number)
            traces.append(Trace(number, bytes(row.digest), claims(bytes(row.payload or b"")).collection_id))
        return traces

    def judged(self, traces: Sequence[Trace]) -> list[Judged]:
        """What became of each, by what the database has now and not by what is missing."""
        numbers, digests = [one.number for one in traces], [one.digest for one in traces]
        collections = [one.collection_id for one in traces if one.collection_id is not None]
        with transaction(self._engine) as tx:
            rows = tx.execute(_STAND, {"numbers": numbers, "digests": digests}).all()
            stored = set(tx.scalars(_STORED, {"collections": collections}))
        there = {row.id: row for row in rows}
        same = {bytes(row.digest): row for row in rows}
        return [_judged(one, there.get(one.number) or same.get(one.digest), stored) for one in traces]


def _judged(trace: Trace, row: Row[Any] | None, stored: set[int]) -> Judged:
    if row is not None:
        return Judged(trace.number, Fate.WAITING if row.released else Fate.HERE, row.reason, row.id)
    return Judged(trace.number, Fate.STORED if trace.collection_id in stored else Fate.GONE)


def _chosen(tx: Connection, numbers: Sequence[int]) -> Sequence[Row[Any]]:
    lock(tx)
    rows = tx.execute(_CHOSEN, {"numbers": list(numbers)}).all()
    if missing := set(numbers) - {row.id for row in rows}:
        raise _missing(min(missing))
    return rows


def _missing(number: int) -> NotFound:
    return NotFound(f"message {number}; see `quarantine list`")


def _detail(row: Row[Any]) -> dict[str, Any]:
    return {
        "message": row.id,
        "reason": row.reason,
        "subject": row.subject,
        "digest": bytes(row.digest).hex(),
        "size": row.size,
    }


def _quarantined(row: Row[Any]) -> Quarantined:
    return Quarantined(
        row.id,
        row.received_at,
        row.reason,
        row.subject,
        bytes(row.digest),
        row.size,
        row.tenant,
        row.device,
        row.released_at,
        row.released_by,
    )


def _named(row: Row[Any]) -> Named:
    return Named(
        row.tenant_id,
        row.tenant,
        row.device_id,
        row.device,
        row.seq,
        row.state,
        row.normalization_version,
        None if row.content_hash is None else bytes(row.content_hash),
        None if row.digest is None else bytes(row.digest),
    )
