"""Stored observations, to be shown: as runs of equal ones, and one of them sealed, audited in the same transaction."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, text

from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.engine import transaction
from backupflow.core.history import Run, SealedSnapshot
from backupflow.core.model import ContentHash, DeviceId, SealedConfig, SealedSecret, Seq, TenantId
from backupflow.errors import NotFound, TransitKeyMissing

if TYPE_CHECKING:
    from collections.abc import Sequence

# A name may have been given again: the device that has it now, else the one that had it last.
_DEVICE = text("""
    SELECT id FROM device WHERE tenant_id = :tenant AND name = :name
    ORDER BY (status = 'removed'), removed_at DESC NULLS FIRST LIMIT 1""")
# A run begins where an observation differs from the one before it; what is undecided across a change of the
# normalization is not shown as a change.
_RUNS = text("""
    WITH numbered AS (
        SELECT c.seq, c.collected_at, c.raw_bytes, c.content_hash, c.facts,
            count(*) FILTER (WHERE c.is_change) OVER (ORDER BY c.seq) AS run
        FROM collection c WHERE c.device_id = :device AND c.state = 'stored')
    SELECT run, min(seq) AS seq, min(collected_at) AS collected_at, max(seq) AS last_seq,
        max(collected_at) AS last_collected_at, count(*) AS observations,
        (array_agg(raw_bytes ORDER BY seq))[1] AS raw_bytes,
        (array_agg(content_hash ORDER BY seq))[1] AS content_hash,
        (array_agg(facts ORDER BY seq DESC))[1] AS facts,
        bool_or(seq = (SELECT current_seq FROM device WHERE id = :device)) AS is_current
    FROM numbered GROUP BY run ORDER BY run DESC LIMIT :limit""")
_SNAPSHOT = """
    SELECT d.tenant_id, d.id, d.name, d.driver, t.pepper, c.seq, c.collected_at, o.first_seq,
        coalesce(f.collected_at, o.created_at) AS first_collected_at, o.normalization_version, o.content_hash, o.sealed
    FROM device d JOIN tenant t ON t.id = d.tenant_id
    JOIN collection c ON c.device_id = d.id AND c.state = 'stored'
    JOIN content o ON o.id = c.content_id
    LEFT JOIN collection f ON f.device_id = d.id AND f.seq = o.first_seq
    WHERE d.id = :device AND {which} ORDER BY c.seq DESC LIMIT 1"""
_CURRENT = text(_SNAPSHOT.format(which="c.seq = d.current_seq"))
_BY_SEQ = text(_SNAPSHOT.format(which="c.seq = :at"))
_BY_TIME = text(_SNAPSHOT.format(which="c.collected_at <= :at"))


class Snapshots:
    """core.ports.SnapshotStore."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def runs(self, tenant_id: TenantId, name: str, limit: int) -> Sequence[Run]:
        """The newest runs of equal observations, the newest first; NotFound if there is no such device."""
        with transaction(self._engine) as tx:
            rows = tx.execute(_RUNS, {"device": _device(tx, tenant_id, name), "limit": limit}).all()
        return [_run(row) for row in rows]

    def read(self, tenant_id: TenantId, name: str, at: Seq | datetime | None, actor: str) -> SealedSnapshot:
        """One observation with its sealed export, and who reads it written down in the same transaction."""
        statement = _CURRENT if at is None else _BY_TIME if isinstance(at, datetime) else _BY_SEQ
        with transaction(self._engine) as tx:
            row = tx.execute(statement, {"device": _device(tx, tenant_id, name), "at": at}).one_or_none()
            if row is None:
                raise NotFound(f"device {name!r} has no snapshot{'' if at is None else f' at {at}'}; see `snapshots`")
            owner = {"tenant_id": row.tenant_id, "device_id": row.id}
            record_act(tx, actor, "config_exported", **owner, detail={"seq": row.seq, "first_seq": row.first_seq})
        return _snapshot(row)


def _device(tx: Connection, tenant_id: TenantId, name: str) -> DeviceId:
    found = tx.scalar(_DEVICE, {"tenant": tenant_id, "name": name})
    if found is None:
        raise NotFound(f"device {name!r}; see `device list`")
    return DeviceId(found)


def _run(row: Row[Any]) -> Run:
    return Run(
        Seq(row.seq),
        row.collected_at,
        Seq(row.last_seq),
        row.last_collected_at,
        row.observations,
        row.raw_bytes,
        ContentHash(bytes(row.content_hash)),
        row.facts or {},
        row.is_current,
    )


def _snapshot(row: Row[Any]) -> SealedSnapshot:
    if row.pepper is None:
        raise TransitKeyMissing("the tenant has no pepper")
    return SealedSnapshot(
        TenantId(row.tenant_id),
        DeviceId(row.id),
        row.name,
        row.driver,
        Seq(row.seq),
        row.collected_at,
        Seq(row.first_seq),
        row.first_collected_at,
        row.normalization_version,
        ContentHash(bytes(row.content_hash)),
        SealedConfig(row.sealed),
        SealedSecret(row.pepper),
    )
