"""The operator's view: collections asked for, which beat takes up, and alarms cleared. Each act is audited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, TextClause, text

from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.contacts import HELD
from backupflow.adapters.db.effective import LOGIN, MAINTENANCE_UNTIL
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.rotating import HAS_TURN
from backupflow.adapters.db.stretches import number_of
from backupflow.adapters.db.taken import TAKEN
from backupflow.core import report
from backupflow.core.ledger import Kind
from backupflow.core.model import ContentHash, LoginOn, State, Trigger
from backupflow.core.next_step import Turn
from backupflow.core.overview import EVERYWHERE, Asked, Within
from backupflow.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from uuid import UUID

    from backupflow.core.model import TenantId

_NAMED = text("""
    SELECT id, name, blocked_code FROM device
    WHERE tenant_id = :tenant AND status <> 'removed' AND name = ANY(:names)
    ORDER BY name""")
_WITHIN = text("""
    SELECT id, name, blocked_code FROM device
    WHERE tenant_id = :tenant AND status = 'active' AND (blocked_code IS NULL OR :blocked)
      AND (CAST(:group AS uuid) IS NULL OR device_group_id = :group)
      AND (CAST(:site AS uuid) IS NULL OR site_id = :site)
    ORDER BY name""")
_GROUP = text("SELECT id FROM device_group WHERE tenant_id = :tenant AND name = :name")
_SITE = text("SELECT id FROM site WHERE tenant_id = :tenant AND name = :name")
_ASK = text("""
    INSERT INTO request (tenant_id, device_id, kind, forced, requested_by)
    VALUES (:tenant, :device, :kind, :forced, :actor) RETURNING id""")
_ACTIONS = {
    Trigger.MANUAL: "config_backup_manual_trigger",
    Trigger.FORCED: "config_backup_forced",
    Trigger.TEST: "device_test_requested",
    Trigger.SCAN: "host_key_scan_requested",
}
_ASKED = text(f"""
    SELECT r.id, d.name, r.answer, c.id AS run, c.state, c.code, c.detail, c.is_change, c.seq, c.content_hash,
        d.blocked_code, r.forced, CASE WHEN d.status = 'paused' THEN d.paused_reason END AS paused_reason,
        CAST(extract(epoch FROM c.ended_at - c.started_at) AS float) AS seconds,
        CASE WHEN :reports THEN c.report END AS report, l.name AS profile, l.method = 'key' AS by_key, h.name AS jump,
        l.id IN ({TAKEN}) AS taken, l.suspended_at IS NOT NULL AS suspended, l.trial_at IS NOT NULL AS tried,
        c.state = 'stored' AND c.is_change IS NOT FALSE AND c.interpreted_after_seq IS NULL AND EXISTS (
            SELECT FROM process WHERE role = 'interpreter' AND heartbeat_at > now() - interval '30 s') AS untold,
        CASE WHEN c.state = 'stored' THEN {number_of("c.seq")} END AS snapshot, {HAS_TURN} AS has_turn, d.login_on,
        CASE WHEN d.status = 'active' THEN
            greatest(d.next_due_at, {MAINTENANCE_UNTIL}, CASE WHEN {HELD} THEN d.hold_until END) END AS due_at
    FROM request r JOIN device d ON d.id = r.device_id {LOGIN} LEFT JOIN collection c ON c.id = r.collection_id
    WHERE r.id = ANY(:numbers) ORDER BY r.id""")
# How the key that was seen is trusted by now, and who else has it: one of them by name, and how many there are. Who has
# a key is found out once for each key: a whole fleet may share one.
_KEYS = text("""
    WITH seen AS MATERIALIZED (
        SELECT r.id, r.tenant_id, r.device_id,
            jsonb_path_query_first(c.report, '$[*] ? (@.name == "key").facts.fingerprint') #>> '{}' AS fingerprint
        FROM request r JOIN collection c ON c.id = r.collection_id WHERE r.id = ANY(:numbers)),
    owned AS MATERIALIZED (
        SELECT k.tenant_id, k.fingerprint, array_agg(DISTINCT o.id) AS owners, min(o.name) AS first, max(o.name) AS last
        FROM host_key k JOIN device o ON o.id = k.device_id AND o.status <> 'removed'
        WHERE k.status <> 'retired' AND k.fingerprint IN (SELECT fingerprint FROM seen) GROUP BY 1, 2)
    SELECT s.id, own.trusted_how AS how, CASE WHEN owned.first <> d.name THEN owned.first ELSE owned.last END AS other,
        coalesce(cardinality(array_remove(owned.owners, s.device_id)), 0) AS others
    FROM seen s JOIN device d ON d.id = s.device_id
    LEFT JOIN owned ON owned.tenant_id = s.tenant_id AND owned.fingerprint = s.fingerprint
    LEFT JOIN host_key own
        ON own.device_id = s.device_id AND own.status = 'pinned' AND own.fingerprint = s.fingerprint
    WHERE s.fingerprint IS NOT NULL""")
_BEAT = text("SELECT now() - max(heartbeat_at) FROM process WHERE role = 'scheduler'")
_CLEAR = text("""
    UPDATE alarm SET cleared_at = now() WHERE id = :number AND cleared_at IS NULL
    RETURNING tenant_id, code, scope""")


class Requests:
    """core.ports.RequestStore."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def ask(
        self,
        tenant_id: TenantId,
        names: Sequence[str] | None,
        actor: str,
        kind: Kind = Kind.BACKUP,
        within: Within = EVERYWHERE,
    ) -> list[int]:
        """A request a device, all or none; None: all `within` that are active and, but for a scan, not blocked.

        NotFound names who is missing.
        """
        with transaction(self._engine) as tx:
            devices = _within(tx, tenant_id, within, kind) if names is None else _named(tx, tenant_id, names)
            return [_ask(tx, tenant_id, row, actor, kind.trigger) for row in devices]

    def force(self, tenant_id: TenantId, names: Sequence[str], actor: str) -> list[int]:
        """Backups of these devices, though they may be blocked or their login waits; else as `ask`."""
        with transaction(self._engine) as tx:
            devices = _named(tx, tenant_id, names)
            return [_ask(tx, tenant_id, row, actor, Trigger.FORCED) for row in devices]

    def asked(self, numbers: Sequence[int], *, reports: bool = False) -> list[Asked]:
        """What became of these requests, with what a test or a scan found if `reports`."""
        with transaction(self._engine) as tx:
            rows = tx.execute(_ASKED, {"numbers": list(numbers), "reports": reports}).all()
            keys = {row.id: row for row in tx.execute(_KEYS, {"numbers": list(numbers)})} if reports else {}
        return [_asked(row, keys.get(row.id)) for row in rows]

    def blocked(self, tenant_id: TenantId, within: Within = EVERYWHERE) -> int:
        """How many devices `within` are active and blocked."""
        with transaction(self._engine) as tx:
            return sum(row.blocked_code is not None for row in _within(tx, tenant_id, within, Kind.SCAN))

    def beat_silent_for(self) -> timedelta | None:
        """How long no scheduler was heard; None if there never was one."""
        with transaction(self._engine) as tx:
            return tx.execute(_BEAT).scalar_one()  # type: ignore[no-any-return]

    def clear_alarm(self, number: int, actor: str) -> str:
        """Clear a standing alarm by its number; its code and scope. NotFound if it does not stand."""
        with transaction(self._engine) as tx:
            row = tx.execute(_CLEAR, {"number": number}).one_or_none()
            if row is None:
                raise NotFound(f"alarm {number}; see `alarm list`")
            detail = {"code": row.code, "scope": row.scope}
            record_act(tx, actor, "alarm_cleared", tenant_id=row.tenant_id, detail=detail)
            return f"{row.code} of {row.scope}"


def _ask(tx: Connection, tenant_id: TenantId, device: Row[Any], actor: str, trigger: Trigger) -> int:
    forced = trigger is Trigger.FORCED
    kind = Kind.BACKUP if trigger.observes else Kind(trigger)
    values = {"tenant": tenant_id, "device": device.id, "kind": kind, "forced": forced, "actor": actor}
    number: int = tx.execute(_ASK, values).scalar_one()
    detail = {"request": number} | ({"blocked": device.blocked_code} if forced else {})
    record_act(tx, actor, _ACTIONS[trigger], tenant_id=tenant_id, device_id=device.id, detail=detail)
    return number


def _named(tx: Connection, tenant_id: TenantId, names: Sequence[str]) -> Sequence[Row[Any]]:
    devices = tx.execute(_NAMED, {"tenant": tenant_id, "names": list(names)}).all()
    if missing := set(names) - {row.name for row in devices}:
        raise NotFound(f"device {min(missing)!r}; see `device list`")
    return devices


def _within(tx: Connection, tenant_id: TenantId, within: Within, kind: Kind) -> Sequence[Row[Any]]:
    group = _scope(tx, _GROUP, tenant_id, "group", within.group)
    site = _scope(tx, _SITE, tenant_id, "site", within.site)
    values = {"tenant": tenant_id, "blocked": kind is Kind.SCAN, "group": group, "site": site}
    return tx.execute(_WITHIN, values).all()


def _scope(tx: Connection, statement: TextClause, tenant_id: TenantId, what: str, name: str | None) -> UUID | None:
    if name is None:
        return None
    found: UUID | None = tx.scalar(statement, {"tenant": tenant_id, "name": name})
    if found is None:
        raise NotFound(f"{what} {name!r}; see `{what} list`")
    return found


def _asked(row: Row[Any], key: Row[Any] | None) -> Asked:
    found = report.from_rows(row.report)
    return Asked(
        row.id,
        row.name,
        row.answer,
        State(row.state) if row.state else None,
        row.code,
        row.detail,
        row.is_change,
        row.seq,
        row.seconds,
        report.with_key(found, key.how, key.other if key.others else None, key.others) if key else found,
        row.profile,
        bool(row.by_key),
        row.jump,
        row.run,
        ContentHash(bytes(row.content_hash)) if row.state == State.STORED else None,
        row.blocked_code,
        row.forced,
        row.paused_reason,
        bool(row.taken),
        bool(row.suspended),
        bool(row.tried),
        bool(row.untold),
        Turn(LoginOn(row.login_on), row.due_at) if row.has_turn else None,
        row.snapshot,
    )
