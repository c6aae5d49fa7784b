"""The escrow in the database: for whom it is written, what goes into a file, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Engine, Row, text

from backupflow.adapters.db.alarms import clear_alarm, raise_alarm
from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.effective import LOGIN
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.snapshots import GIVEN_UP, snapshot_of
from backupflow.adapters.db.stretches import number_of
from backupflow.core.escrow import ESCROW, Escrow
from backupflow.core.escrow_files import Held
from backupflow.core.model import DeviceId, TenantId
from backupflow.errors import EscrowFailed, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from sqlalchemy import Connection

    from backupflow.core.escrow_files import Written

_OF = """FROM escrow e JOIN tenant t ON t.id = e.tenant_id WHERE t.removed_at IS NULL"""
_SELECT = f"SELECT e.*, t.name AS tenant, now() AS now {_OF}"
_EVERY = text(f"{_SELECT} AND (CAST(:tenant AS uuid) IS NULL OR t.id = :tenant) ORDER BY t.name, t.id")
_ONE = text(f"{_SELECT} AND t.id = :tenant")
# What was written is not for the new ones.
_ENABLE = text("""
    INSERT INTO escrow (tenant_id, recipients, folder, enabled_by) VALUES (:tenant, :recipients, :folder, :actor)
    ON CONFLICT (tenant_id) DO UPDATE SET recipients = excluded.recipients, folder = excluded.folder,
        enabled_by = excluded.enabled_by, enabled_at = now(), written_at = NULL, filed_at = NULL, asked_at = NULL,
        devices = NULL, bytes = NULL""")
_DISABLE = text("DELETE FROM escrow WHERE tenant_id = :tenant RETURNING tenant_id")
_AT_ONCE = text("UPDATE job SET due_at = now() WHERE name = :job")
_COUNT = text("SELECT count(*) FROM device WHERE tenant_id = :tenant AND status <> 'removed'")
# `begun` is when it was looked up: who asked since then has another one written.
_FILED = """
    UPDATE escrow SET filed_at = now(), asked_at = CASE WHEN asked_at > :begun THEN asked_at END{more}
    WHERE tenant_id = :tenant AND recipients = :recipients"""
_WRITTEN = text(_FILED.format(more=", written_at = now(), devices = :devices, bytes = :bytes"))
_LACKING = text(_FILED.format(more=""))
_ASK = text("UPDATE escrow SET asked_at = now() WHERE tenant_id = :tenant")
_WHERE = {
    "address": "d.host", "port": "d.port::text", "driver": "d.driver", "status": "coalesce(d.blocked_code, d.status)",
    "site": "s.name", "group": "g.name", "jump_host": "h.name || ' (' || h.host || ':' || h.port || ')'",
    "login": "coalesce(l.name, CASE WHEN own.id IS NOT NULL THEN 'of its own' END)", "username": "l.username",
    "login_by": "l.method",
    "host_keys": """(SELECT string_agg(k.key_type || ' ' || k.fingerprint, ', ' ORDER BY k.key_type)
        FROM host_key k WHERE k.tenant_id = d.tenant_id AND k.device_id = d.id AND k.status = 'pinned')""",
}  # fmt: skip
_FACTS = ("vendor", "version", "model", "serial", "identity", "secrets")
_NEXT = text(f"""
    SELECT d.tenant_id, d.id, d.name, d.driver, t.pepper, d.current_collection_id, c.seq, c.collected_at, c.facts,
        o.first_seq, coalesce(f.collected_at, o.created_at) AS first_collected_at, o.normalization_version,
        o.content_hash, o.sealed, {GIVEN_UP.format(seq="o.first_seq")}, o.first_seq <= d.unhashed_to_seq AS unhashed,
        {number_of("c.seq")} AS stretch,
        {", ".join(f'{what} AS "{name}"' for name, what in _WHERE.items())}
    FROM (SELECT * FROM device WHERE tenant_id = :tenant AND status <> 'removed'
          AND (CAST(:after AS uuid) IS NULL OR id > :after) ORDER BY id LIMIT 1) d {LOGIN}
    LEFT JOIN collection c ON c.device_id = d.id AND c.seq = d.current_seq AND c.state = 'stored'
    LEFT JOIN content o ON o.id = c.content_id
    LEFT JOIN collection f ON f.device_id = d.id AND f.seq = o.first_seq""")


class Escrows:
    """core.ports.EscrowStore."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def every(self) -> Sequence[Escrow]:
        """All that are enabled, of tenants that are there."""
        with transaction(self._engine) as tx:
            return escrows(tx, None)

    def enable(self, tenant_id: TenantId, recipients: Sequence[str], folder: str | None, actor: str) -> Escrow:
        """Let it be written for these from now on, instead of whoever was named before; it is due at once."""
        said = {"recipients": list(recipients), "folder": folder}
        with transaction(self._engine) as tx:
            tx.execute(_ENABLE, {"tenant": tenant_id, "actor": actor, **said})
            tx.execute(_AT_ONCE, {"job": ESCROW})
            escrow = _one(tx, tenant_id)
            _clear(tx, escrow)
            record_act(tx, actor, "escrow_enabled", tenant_id=tenant_id, detail=said)
        return escrow

    def ask(self, escrow: Escrow, actor: str) -> None:
        """Let the job write it at once, though it is not due. NotFound if it is enabled no more."""
        with transaction(self._engine) as tx:
            _one(tx, escrow.tenant_id)
            tx.execute(_ASK, {"tenant": escrow.tenant_id})
            tx.execute(_AT_ONCE, {"job": ESCROW})
            record_act(tx, actor, "escrow_asked", tenant_id=escrow.tenant_id)

    def disable(self, tenant_id: TenantId, actor: str) -> bool:
        """Let none be written any more; False if none was. Its alarms are over."""
        with transaction(self._engine) as tx:
            escrow = _found(tx, tenant_id)
            if escrow is None or tx.execute(_DISABLE, {"tenant": tenant_id}).one_or_none() is None:
                return False
            _clear(tx, escrow)
            detail = {"recipients": list(escrow.recipients), "folder": escrow.folder}
            record_act(tx, actor, "escrow_disabled", tenant_id=tenant_id, detail=detail)
        return True

    def begin(self, escrow: Escrow, actor: str) -> int:
        """Who writes for whom, in the audit; how many devices there are. NotFound if it is enabled no more."""
        with transaction(self._engine) as tx:
            if _one(tx, escrow.tenant_id).recipients != escrow.recipients:
                raise EscrowFailed("its recipients were changed meanwhile")
            count = int(tx.scalar(_COUNT, {"tenant": escrow.tenant_id}) or 0)
            detail = {"recipients": list(escrow.recipients), "folder": escrow.folder, "devices": count}
            record_act(tx, actor, "escrow_begun", tenant_id=escrow.tenant_id, detail=detail)
        return count

    def next(self, escrow: Escrow, after: DeviceId | None) -> Held | None:
        """The next device and its current configuration, sealed; TransitKeyMissing if the tenant has no pepper."""
        with transaction(self._engine) as tx:
            row = tx.execute(_NEXT, {"tenant": escrow.tenant_id, "after": after}).one_or_none()
        return None if row is None else _held(row)

    def written(self, escrow: Escrow, written: Written, actor: str) -> bool:
        """A file is there: it is in the audit, and its alarms are over or, if it lacks devices, stand; True if new."""
        said = {"devices": written.devices, "bytes": written.bytes}
        with transaction(self._engine) as tx:
            _clear(tx, escrow, lacking=not written.lacking)
            new = False
            if written.lacking and _found(tx, escrow.tenant_id):
                scope = escrow.scope_of_devices
                new = raise_alarm(tx, EscrowFailed.code, scope, f"{escrow.tenant}: {written.lacks}", escrow.tenant_id)
            values = {"tenant": escrow.tenant_id, "recipients": list(escrow.recipients), "begun": escrow.now}
            if written.lacking:
                tx.execute(_LACKING, values)
            else:
                tx.execute(_WRITTEN, {**values, **said})
            detail = {"file": written.file, **said, "lacking": len(written.lacking)}
            record_act(tx, actor, "escrow_written", tenant_id=escrow.tenant_id, detail=detail)
        return new

    def failed(self, escrow: Escrow, why: str) -> bool:
        """None was written: let an alarm stand; True if it is new. None of what is enabled no more."""
        with transaction(self._engine) as tx:
            return _found(tx, escrow.tenant_id) is not None and raise_alarm(
                tx, EscrowFailed.code, escrow.scope, why, escrow.tenant_id
            )


def escrows(tx: Connection, tenant_id: TenantId | None) -> list[Escrow]:
    """Of one tenant, None: all."""
    return [_escrow(row) for row in tx.execute(_EVERY, {"tenant": tenant_id})]


def _escrow(row: Row[Any]) -> Escrow:
    return Escrow(
        TenantId(row.tenant_id), row.tenant, tuple(row.recipients), row.folder, row.enabled_by, row.enabled_at,
        row.now, row.written_at, row.devices, row.bytes, row.filed_at, row.asked_at,
    )  # fmt: skip


def _found(tx: Connection, tenant_id: TenantId) -> Escrow | None:
    row = tx.execute(_ONE, {"tenant": tenant_id}).one_or_none()
    return None if row is None else _escrow(row)


def _one(tx: Connection, tenant_id: TenantId) -> Escrow:
    found = _found(tx, tenant_id)
    if found is None:
        raise NotFound("no escrow is written for this tenant; see `escrow enable`")
    return found


def _clear(tx: Connection, escrow: Escrow, *, lacking: bool = True) -> None:
    for scope in (escrow.scope, *([escrow.scope_of_devices] if lacking else [])):
        clear_alarm(tx, EscrowFailed.code, scope)


def _held(row: Row[Any]) -> Held:
    fields = row._mapping  # noqa: SLF001 - names of columns that are no attributes
    where = {name: str(fields[name]) for name in _WHERE if fields[name] is not None}
    facts: Mapping[str, Any] = row.facts or {}
    snapshot = None if row.sealed is None else snapshot_of(row)
    why = "its row is not in the database" if row.current_collection_id is not None and snapshot is None else ""
    return Held(DeviceId(row.id), row.name, where, {name: facts.get(name) for name in _FACTS}, snapshot, why)
