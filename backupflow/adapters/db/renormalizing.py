"""Histories in the terms of a newer normalizer: its hashes are gathered beside the old, then a device is rewritten.

All of a device is rewritten in one transaction under its lock, so that at any moment its rows are of one kind or of
the other, and whoever is killed before has only hashes to gather again. What could not be opened keeps its old hash:
what is known of it and of its neighbours stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, Engine, text

from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.snapshots import snapshot_of
from backupflow.core.model import DeviceId, Seq, TenantId
from backupflow.core.renormalizing import Old, Rehashed, Rewritten
from backupflow.core.verification import DAMAGED, alarm_scope

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH: Final = 100
BATCH_BYTES: Final = 16 * 1024 * 1024  # of sealed texts that are read at once, or one
ACTION: Final = "history_renormalized"
# Of an older normalization, and not given up with its keys.
_OLD = """o.tenant_id = d.tenant_id AND o.device_id = d.id AND o.normalization_version < :version
    AND o.first_seq > d.unreadable_to_seq"""
_DEVICES = text(f"""
    SELECT d.id FROM device d JOIN tenant t ON t.id = d.tenant_id
    WHERE t.removed_at IS NULL AND t.shredded_at IS NULL AND (CAST(:after AS uuid) IS NULL OR d.id > :after)
      AND EXISTS (SELECT 1 FROM content o WHERE {_OLD})
    ORDER BY d.id LIMIT :limit""")
_TEXTS = text(f"""
    SELECT * FROM (
        SELECT o.id AS number, d.tenant_id, d.id, d.name, d.driver, t.pepper, o.first_seq AS seq, o.first_seq,
            coalesce(f.collected_at, o.created_at) AS collected_at,
            coalesce(f.collected_at, o.created_at) AS first_collected_at, o.normalization_version, o.content_hash,
            o.sealed, CAST(NULL AS timestamptz) AS given_up_at, o.first_seq <= d.unhashed_to_seq AS unhashed,
            row_number() OVER (ORDER BY o.id) AS nth, sum(octet_length(o.sealed)) OVER (ORDER BY o.id) AS bytes
        FROM device d JOIN tenant t ON t.id = d.tenant_id JOIN content o ON {_OLD}
        LEFT JOIN collection f ON f.device_id = d.id AND f.seq = o.first_seq
        WHERE d.id = :device AND o.next_version IS DISTINCT FROM :version AND o.id > :after
        ORDER BY o.id LIMIT {BATCH}) few
    WHERE nth = 1 OR bytes <= {BATCH_BYTES} ORDER BY number""")
_KEEP = text("""
    UPDATE content SET next_version = :version, next_hash = :hash, next_shape_hash = :shape, next_masked_hash = :masked
    WHERE id = :number AND device_id = :device AND normalization_version < :version""")
_LOCK = text("SELECT tenant_id FROM device WHERE id = :device FOR NO KEY UPDATE SKIP LOCKED")
_UNREADY = text(f"""
    SELECT EXISTS (
        SELECT 1 FROM device d JOIN content o ON {_OLD}
        WHERE d.id = :device AND o.next_version IS DISTINCT FROM :version
          AND o.id <> ALL(CAST(:without AS bigint[])))""")
# A row is compared with the one before it if both are of this normalization; else what is known of it stays. What was
# interpreted stays where neither text is another now, and where what it was compared with is gone.
_REWRITE = text("""
    WITH texts AS (
        SELECT o.id, coalesce(o.next_version = :version, false) AS is_new, coalesce(
                o.next_version = :version AND o.next_hash <> o.content_hash, false) AS differs,
            CASE WHEN o.next_version = :version THEN o.next_hash ELSE o.content_hash END AS hash,
            CASE WHEN o.next_version = :version THEN :version ELSE o.normalization_version END AS version,
            o.next_shape_hash AS shape, o.next_masked_hash AS masked, o.first_seq
        FROM content o WHERE o.device_id = :device),
    kept AS (SELECT *, first_value(id) OVER (PARTITION BY version, hash ORDER BY first_seq) AS keeper FROM texts),
    compared AS (
        SELECT c.id AS collection, k.*, c.is_change AS was, CASE
                WHEN lag(k.id) OVER w IS NULL THEN true
                WHEN k.version = lag(k.version) OVER w THEN k.hash <> lag(k.hash) OVER w
                ELSE c.is_change END AS is_change,
            coalesce((k.differs OR lag(k.differs) OVER w)
                AND k.version = :version AND lag(k.version) OVER w = :version, false) AS anew
        FROM collection c JOIN kept k ON k.id = c.content_id
        WHERE c.device_id = :device AND c.state = 'stored' WINDOW w AS (ORDER BY c.seq)),
    written AS (
        UPDATE collection c SET content_id = n.keeper, content_hash = n.hash, normalization_version = n.version,
            shape_hash = CASE WHEN n.is_new THEN n.shape ELSE c.shape_hash END,
            masked_hash = CASE WHEN n.is_new THEN n.masked ELSE c.masked_hash END, is_change = n.is_change,
            interpreted_after_seq = CASE WHEN n.is_change AND NOT n.anew THEN c.interpreted_after_seq END,
            interpret_tries = CASE WHEN n.is_change AND n.anew THEN 0 ELSE c.interpret_tries END,
            interpret_until = CASE WHEN n.is_change AND n.anew THEN NULL ELSE c.interpret_until END
        FROM compared n WHERE c.id = n.collection
          AND (n.is_new OR n.anew OR n.keeper <> n.id OR n.is_change IS DISTINCT FROM n.was)
        RETURNING n.was, n.is_change, n.anew)
    SELECT count(*) FILTER (WHERE was IS NOT FALSE AND NOT is_change) AS unchanged,
        count(*) FILTER (WHERE is_change AND anew) AS anew FROM written""")
_NO_CHANGES = text("""
    DELETE FROM interpretation i USING collection c
    WHERE i.device_id = :device AND c.id = i.collection_id AND c.is_change IS FALSE""")
_MERGED = text("""
    DELETE FROM content o WHERE o.device_id = :device
      AND (o.next_version = :version OR o.normalization_version = :version)
      AND NOT EXISTS (SELECT 1 FROM collection c WHERE c.content_id = o.id)
    RETURNING o.first_seq""")
_RENAMED = text("""
    UPDATE content SET normalization_version = next_version, content_hash = next_hash, next_version = NULL,
        next_hash = NULL, next_shape_hash = NULL, next_masked_hash = NULL
    WHERE device_id = :device AND next_version = :version RETURNING id""")
_CLEAR = text("""
    UPDATE alarm SET cleared_at = now() WHERE code = :code AND scope = ANY(:scopes) AND cleared_at IS NULL""")


class Renormalizing:
    """core.ports.RenormalizeStore, as a role that may delete. `version`: of the normalizer, everywhere."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def waiting(self, version: int, after: DeviceId | None, limit: int) -> Sequence[DeviceId]:
        """The next devices by id that have contents of an older normalization."""
        with transaction(self._engine) as tx:
            rows = tx.scalars(_DEVICES, {"version": version, "after": after, "limit": limit})
            return [DeviceId(row) for row in rows]

    def texts(self, device_id: DeviceId, version: int, after: int) -> Sequence[Old]:
        """The next contents of a device by number that have no newer hashes yet; of bounded number and bytes."""
        with transaction(self._engine) as tx:
            rows = tx.execute(_TEXTS, {"device": device_id, "version": version, "after": after}).all()
        return [Old(row.number, snapshot_of(row)) for row in rows]

    def keep(self, device_id: DeviceId, version: int, found: Sequence[Rehashed]) -> None:
        """Gather hashes, beside the old ones."""
        owner = {"device": device_id, "version": version}
        values = [
            {"number": one.number, "hash": one.content_hash, "shape": one.shape_hash, "masked": one.masked_hash} | owner
            for one in sorted(found, key=lambda one: one.number)
        ]
        if values:
            with transaction(self._engine) as tx:
                tx.execute(_KEEP, values)

    def rewrite(self, device_id: DeviceId, version: int, without: Sequence[int], actor: str) -> Rewritten | None:
        """Rewrite all of a device but for the contents `without`; None, and nothing is done, if it cannot be now.

        It cannot be while somebody works on the device, or if another content has no newer hashes yet.
        """
        values = {"device": device_id, "version": version}
        with transaction(self._engine) as tx:
            tenant_id = tx.scalar(_LOCK, values)
            if tenant_id is None or tx.scalar(_UNREADY, values | {"without": list(without)}):
                return None
            return _rewritten(tx, TenantId(tenant_id), values, actor)


def _rewritten(tx: Connection, tenant_id: TenantId, values: dict[str, object], actor: str) -> Rewritten:
    row = tx.execute(_REWRITE, values).one()
    tx.execute(_NO_CHANGES, values)
    merged = [Seq(seq) for seq in tx.scalars(_MERGED, values)]
    texts = len(tx.execute(_RENAMED, values).all())
    done = Rewritten(texts, len(merged), row.unchanged, row.anew)
    device_id = DeviceId(values["device"])  # type: ignore[arg-type]
    tx.execute(_CLEAR, {"code": DAMAGED, "scopes": [alarm_scope(device_id, seq) for seq in merged]})
    if texts or merged:
        detail = {"version": values["version"], "texts": texts, "merged": done.merged, "unchanged": done.unchanged}
        record_act(tx, actor, ACTION, tenant_id=tenant_id, device_id=device_id, detail=detail)
    return done
