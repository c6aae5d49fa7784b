"""Stored observations, to be shown: as runs of equal ones, and one of them sealed, audited in the same transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, text

from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.replacements import ROUTER, replacements_of, routers
from backupflow.adapters.db.stretches import number_of
from backupflow.core.history import Aside, Run, SealedSnapshot
from backupflow.core.model import ContentHash, DeviceId, SealedSecret, Seq, TenantId
from backupflow.errors import MessageMalformed, NotFound, TransitKeyMissing

if TYPE_CHECKING:
    from collections.abc import Sequence

# A name may have been given again: the device that has it now, else the one that had it last.
_DEVICE = text("""
    SELECT id FROM device WHERE tenant_id = :tenant AND name = :name
    ORDER BY (status = 'removed'), removed_at DESC NULLS FIRST LIMIT 1""")
# A run begins where an observation differs from the one before it; what is undecided across a change of the
# normalization is not shown as a change.
_RUNS = text(f"""
    WITH numbered AS (
        SELECT c.seq, c.collected_at, c.raw_bytes, c.content_hash, c.facts, c.compacted,
            count(*) FILTER (WHERE c.is_change) OVER before AS run, {ROUTER} AS router,
            coalesce(c.is_change AND c.masked_hash = lag(c.masked_hash) OVER before
                AND c.normalization_version = lag(c.normalization_version) OVER before
                AND c.facts ->> 'secrets' <> lag(c.facts ->> 'secrets') OVER before, false) AS only_secrets
        FROM collection c WHERE c.device_id = :device AND c.state = 'stored'
        WINDOW before AS (ORDER BY c.seq))
    SELECT run, CASE WHEN max(seq) <= (SELECT unreadable_to_seq FROM device WHERE id = :device) THEN (
            SELECT k.created_at FROM transit_key k JOIN device d ON d.tenant_id = k.tenant_id
            WHERE d.id = :device AND k.purpose = 'data') END AS given_up_at,
        min(seq) AS seq, min(collected_at) AS collected_at, max(seq) AS last_seq,
        max(collected_at) AS last_collected_at, count(*) + sum(compacted) AS observations,
        (array_agg(raw_bytes ORDER BY seq))[1] AS raw_bytes,
        (array_agg(content_hash ORDER BY seq))[1] AS content_hash,
        (array_agg(facts ORDER BY seq DESC))[1] AS facts, bool_or(only_secrets) AS only_secrets,
        bool_or(seq = (SELECT current_seq FROM device WHERE id = :device)) AS is_current
    FROM numbered GROUP BY router, run ORDER BY router DESC, run DESC LIMIT :limit""")
# Sealed with keys that were given up; when, if so.
GIVEN_UP = """CASE WHEN {seq} <= d.unreadable_to_seq
    THEN (SELECT created_at FROM transit_key WHERE tenant_id = d.tenant_id AND purpose = 'data') END AS given_up_at"""
_SNAPSHOT = f"""
    SELECT d.tenant_id, d.id, d.name, d.driver, t.pepper, c.seq, c.collected_at, o.first_seq,
        coalesce(f.collected_at, o.created_at) AS first_collected_at, o.normalization_version, o.content_hash, o.sealed,
        {GIVEN_UP.format(seq="o.first_seq")}, o.first_seq <= d.unhashed_to_seq AS unhashed,
        {number_of("c.seq")} AS stretch
    FROM device d JOIN tenant t ON t.id = d.tenant_id
    JOIN collection c ON c.device_id = d.id AND c.state = 'stored'
    JOIN content o ON o.id = c.content_id
    LEFT JOIN collection f ON f.device_id = d.id AND f.seq = o.first_seq
    WHERE d.id = :device AND {{which}} ORDER BY c.seq DESC LIMIT 1"""
_CURRENT = text(_SNAPSHOT.format(which="c.seq = d.current_seq"))
# One that was taken away since it said nothing more (adapters.db.compacting) had the content of the next that is left.
_BY_SEQ = text(
    _SNAPSHOT.format(
        which="""c.seq = (SELECT min(x.seq) FROM collection x WHERE x.device_id = d.id AND x.seq >= :at)
            AND (c.seq = :at OR c.compacted > 0)"""
    )
)
_NEWEST = text("SELECT max(seq) FROM collection WHERE device_id = :device AND state = 'stored'")
_BY_TIME = text(_SNAPSHOT.format(which="c.collected_at <= :at"))
_ASIDES = text(f"""
    SELECT c.seq, c.collected_at, c.state, c.code, c.detail, c.raw_bytes, c.facts, {GIVEN_UP.format(seq="c.seq")}
    FROM aside a JOIN collection c ON c.id = a.collection_id JOIN device d ON d.id = a.device_id
    WHERE a.device_id = :device ORDER BY c.seq DESC""")
_ASIDE = text(f"""
    SELECT d.tenant_id, d.id, d.name, d.driver, t.pepper, c.seq, c.collected_at, c.seq AS first_seq,
        c.collected_at AS first_collected_at, c.normalization_version, c.content_hash, a.sealed,
        {GIVEN_UP.format(seq="c.seq")}, c.seq <= d.unhashed_to_seq AS unhashed
    FROM aside a JOIN collection c ON c.id = a.collection_id
    JOIN device d ON d.id = a.device_id JOIN tenant t ON t.id = d.tenant_id
    WHERE a.device_id = :device AND (CAST(:seq AS bigint) IS NULL OR c.seq = :seq) ORDER BY c.seq DESC LIMIT 1""")
# What was kept aside is no content, and its seq was never stored.
_AGAIN = text("""
    SELECT t.pepper, coalesce(
        (SELECT a.sealed FROM aside a JOIN collection c ON c.id = a.collection_id
         WHERE a.device_id = :device AND c.seq = :seq),
        (SELECT o.sealed FROM content o WHERE o.tenant_id = t.id AND o.device_id = :device
           AND o.normalization_version = :version AND o.content_hash = :hash)) AS sealed
    FROM tenant t WHERE t.id = :tenant""")


class Snapshots:
    """core.ports.SnapshotStore."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def runs(self, tenant_id: TenantId, name: str, limit: int) -> Sequence[Run]:
        """The newest runs of equal observations, the newest first; NotFound if there is no such device."""
        with transaction(self._engine) as tx:
            device_id = device_named(tx, tenant_id, name)
            values = {"device": device_id, "limit": limit, "routers": routers(replacements_of(tx, device_id))}
            rows = tx.execute(_RUNS, values).all()
        return [_run(row) for row in rows]

    def read(self, tenant_id: TenantId, name: str, at: Seq | datetime | None, actor: str) -> SealedSnapshot:
        """One observation with its sealed export, and who reads it written down in the same transaction."""
        with transaction(self._engine) as tx:
            snapshot = sealed_snapshot(tx, tenant_id, name, at)
            owner = {"tenant_id": snapshot.tenant_id, "device_id": snapshot.device_id}
            record_act(
                tx, actor, "config_exported", **owner, detail={"seq": snapshot.seq, "first_seq": snapshot.first_seq}
            )
        return snapshot

    def again(self, snapshot: SealedSnapshot) -> SealedSnapshot:
        """The same as it is sealed now; as it was if it is gone."""
        values = {
            "tenant": snapshot.tenant_id,
            "device": snapshot.device_id,
            "seq": snapshot.seq,
            "version": snapshot.normalization_version,
            "hash": snapshot.content_hash,
        }
        with transaction(self._engine) as tx:
            row = tx.execute(_AGAIN, values).one()
        if row.sealed is None or row.pepper is None:
            return snapshot
        return replace(snapshot, sealed=row.sealed, sealed_pepper=SealedSecret(row.pepper))

    def asides(self, tenant_id: TenantId, name: str) -> Sequence[Aside]:
        """What was kept aside of a device, the newest first; NotFound if there is no such device."""
        with transaction(self._engine) as tx:
            rows = tx.execute(_ASIDES, {"device": device_named(tx, tenant_id, name)}).all()
        return [_aside(row) for row in rows]

    def read_aside(self, tenant_id: TenantId, name: str, seq: Seq | None, actor: str) -> SealedSnapshot:
        """One export that was kept aside, None: the newest; who reads it is written down in the same transaction."""
        with transaction(self._engine) as tx:
            row = tx.execute(_ASIDE, {"device": device_named(tx, tenant_id, name), "seq": seq}).one_or_none()
            if row is None:
                raise NotFound(f"device {name!r} has nothing kept aside{'' if seq is None else f' of {seq}'}")
            owner = {"tenant_id": row.tenant_id, "device_id": row.id}
            record_act(tx, actor, "aside_exported", **owner, detail={"seq": row.seq})
        return snapshot_of(row)


def device_named(tx: Connection, tenant_id: TenantId, name: str) -> DeviceId:
    """The device that has this name now, else the one that had it last; NotFound if there is none."""
    found = tx.scalar(_DEVICE, {"tenant": tenant_id, "name": name})
    if found is None:
        raise NotFound(f"device {name!r}; see `device list`")
    return DeviceId(found)


def sealed_snapshot(tx: Connection, tenant_id: TenantId, name: str, at: Seq | datetime | None) -> SealedSnapshot:
    """One observation with its sealed export, None: the current one; NotFound if there is none of then."""
    statement = _CURRENT if at is None else _BY_TIME if isinstance(at, datetime) else _BY_SEQ
    row = tx.execute(statement, {"device": device_named(tx, tenant_id, name), "at": at}).one_or_none()
    if row is None:
        raise no_snapshot(tx, tenant_id, name, at)
    return snapshot_of(row)


def no_snapshot(tx: Connection, tenant_id: TenantId, name: str, at: Seq | datetime | None) -> NotFound:
    """What is said of a snapshot that there is not: by its number, its time, or none at all."""
    newest = tx.scalar(_NEWEST, {"device": device_named(tx, tenant_id, name)})
    if newest is None:
        return NotFound(f"device {name!r} has no snapshot; see `status`")
    if isinstance(at, datetime):
        when = at.astimezone(UTC)
        return NotFound(f"device {name!r} has no snapshot of {when:%Y-%m-%d %H:%M:%SZ} or before; see `snapshots`")
    return NotFound(f"device {name!r} has no snapshot{'' if at is None else f' {at}'}; its newest is {newest}")


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
        (row.facts or {}).get("secrets", ""),
        row.only_secrets,
        row.given_up_at,
    )


def _aside(row: Row[Any]) -> Aside:
    return Aside(
        Seq(row.seq),
        row.collected_at,
        row.state,
        row.code or "",
        row.detail or "",
        row.raw_bytes,
        row.facts or {},
        row.given_up_at,
    )


def snapshot_of(row: Row[Any]) -> SealedSnapshot:
    """A row of a device, its tenant's pepper and one of its sealed exports; TransitKeyMissing without a pepper."""
    if row.pepper is None:
        raise TransitKeyMissing("the tenant has no pepper")
    try:
        pepper = SealedSecret(row.pepper)
    except MessageMalformed as exc:
        raise TransitKeyMissing("the tenant's pepper is not a sealed text") from exc
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
        row.sealed,
        pepper,
        row.given_up_at,
        row.unhashed,
        getattr(row, "stretch", None),
    )
