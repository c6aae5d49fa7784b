"""History that is taken away because somebody says so: of a device, or all that a tenant has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, text

from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.retaining import runs_of, take_away
from backupflow.adapters.db.snapshots import device_named
from backupflow.core.model import DeviceId, TenantId
from backupflow.core.retaining import Aged, Cut, Doomed, Taken
from backupflow.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from backupflow.core.retaining import Kept

_LOCK = text("SELECT name FROM device WHERE id = :device AND tenant_id = :tenant FOR NO KEY UPDATE")
# What is left of its differences from what goes quotes that: the first one that stays is interpreted as a first.
_FORGET = text("""
    DELETE FROM interpretation WHERE device_id = :device
      AND (CAST(:below AS bigint) IS NULL OR seq < :below OR after_seq < :below)""")
_AS_FIRST = text("""
    UPDATE collection SET interpreted_after_seq = NULL, interpret_tries = 0, interpret_until = NULL
    WHERE device_id = :device AND seq = :below""")
# A router's log tells of its last hundred edits, and quotes what was before them.
_LOGS = text("UPDATE collection SET log_sealed = NULL WHERE device_id = :device AND log_sealed IS NOT NULL")
# What was to be told of it is told without; so is what was told already, as long as that is kept.
_UNTOLD = tuple(
    text(f"UPDATE {table} SET sealed = NULL{more} WHERE device_id = :device")
    for table, more in (("outbox", ""), ("event", ", answer = NULL"))
)
_QUARANTINED = text("DELETE FROM quarantine WHERE device_id = :device AND tenant_id = :tenant")
_TENANT = text("""
    SELECT t.id, t.name, t.removed_at, t.shredded_at,
        (SELECT count(*) FROM device d WHERE d.tenant_id = t.id AND d.status <> 'removed') AS devices,
        (SELECT count(*) FROM collection c WHERE c.tenant_id = t.id AND c.state = 'stored' AND c.is_change)
            AS configurations
    FROM tenant t WHERE t.name = :name""")
_DEVICES = text("SELECT id FROM device WHERE tenant_id = :tenant ORDER BY id FOR NO KEY UPDATE")
_NO_DEVICES = """
    UPDATE device SET status = 'removed', removed_at = coalesce(removed_at, now()), next_due_at = NULL
    WHERE tenant_id = :tenant AND status <> 'removed'"""
_REMOVE = f"""{_NO_DEVICES};
    UPDATE collection SET state = 'withdrawn', code = 'withdrawn', detail = 'tenant removed', ended_at = now()
    WHERE tenant_id = :tenant AND state = 'claimed';
    UPDATE request SET answered_at = now(), answer = 'refused: removed'
    WHERE tenant_id = :tenant AND answered_at IS NULL;
    UPDATE tenant SET removed_at = now() WHERE id = :tenant"""
_NO_PROFILE = ("device", "device_group", "site", "jump_host")
# Once more: a device may have been added since.
_EMPTY_TENANT = f"""{_NO_DEVICES};
    {"".join(f"UPDATE {table} SET credential_profile_id = NULL WHERE tenant_id = :tenant;" for table in _NO_PROFILE)}
    UPDATE tenant SET credential_profile_id = NULL WHERE id = :tenant;
    DELETE FROM credential_profile WHERE tenant_id = :tenant;
    DELETE FROM ignore_rule WHERE tenant_id = :tenant;
    DELETE FROM escrow WHERE tenant_id = :tenant;
    DELETE FROM event WHERE tenant_id = :tenant;
    DELETE FROM outbox WHERE tenant_id = :tenant;
    DELETE FROM quarantine WHERE tenant_id = :tenant;
    UPDATE alarm SET cleared_at = now() WHERE tenant_id = :tenant AND cleared_at IS NULL"""
_FULL = text("""
    SELECT d.id FROM device d WHERE d.tenant_id = :tenant AND EXISTS (
        SELECT 1 FROM collection c WHERE c.device_id = d.id) ORDER BY d.id""")
# Its name is free again.
_SHREDDED = text("""
    UPDATE tenant SET shredded_at = now(), pepper = NULL, name = name || ' (removed ' || left(id::text, 8) || ')'
    WHERE id = :tenant AND shredded_at IS NULL RETURNING name""")


class Purging:
    """core.ports.PurgeStore, as a role that may delete."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def kept(self, tenant_id: TenantId, name: str) -> tuple[DeviceId, Sequence[Kept]]:
        """The configurations of a device, also of one that was removed, the oldest first; NotFound if there is none."""
        with transaction(self._engine) as tx:
            device_id = device_named(tx, tenant_id, name)
            return device_id, runs_of(tx, device_id)

    def purge(
        self, tenant_id: TenantId, device_id: DeviceId, decide: Callable[[Sequence[Kept]], Cut | None], actor: str
    ) -> Taken:
        """Take away what `decide` says over the locked device, with its row in the audit."""
        with transaction(self._engine) as tx:
            name = tx.scalar(_LOCK, {"device": device_id, "tenant": tenant_id})
            cut = decide(runs_of(tx, device_id))
            if cut is None:
                return Taken()
            taken = take_away(tx, Aged(device_id, name, cut))
            if not taken.devices:
                raise Conflict(f"the history of {name} contradicts itself: `verify` says where; nothing was taken")
            _forget(tx, device_id, cut)
            tx.execute(_QUARANTINED, {"device": device_id, "tenant": tenant_id})
            detail = {"configurations": taken.configurations, "collections": taken.collections, "below": cut.below}
            owner = {"tenant_id": tenant_id, "device_id": device_id}
            record_act(tx, actor, "history_purged", **owner, detail=detail)
            return taken

    def doomed(self, name: str) -> Doomed:
        """What a tenant has, also one whose removal was cut off; NotFound if there is none of that name."""
        with transaction(self._engine) as tx:
            row = tx.execute(_TENANT, {"name": name}).one_or_none()
        if row is None or row.shredded_at is not None:
            raise NotFound(f"tenant {name!r}; see `tenant list`")
        removed = row.removed_at is not None
        return Doomed(TenantId(row.id), row.name, row.devices, row.configurations, removed=removed)

    def remove_tenant(self, tenant_id: TenantId, actor: str) -> None:
        """Nothing of it is collected, or stored, from now on; its devices' logins go. Conflict if it is removed."""
        values = {"tenant": tenant_id}
        with transaction(self._engine) as tx:
            tx.execute(_DEVICES, values)
            if (
                tx.scalar(text("SELECT removed_at FROM tenant WHERE id = :tenant FOR NO KEY UPDATE"), values)
                is not None
            ):
                raise Conflict("it was removed at this moment: say it once more")
            _all_of(tx, _REMOVE, values)
            record_act(tx, actor, "tenant_removed", tenant_id=tenant_id)

    def empty_tenant(self, tenant_id: TenantId, actor: str) -> bool:
        """Take its rows away, whose keys are gone, and free its name; False if that was done already.

        A device at a time: nobody waits for long, and who is cut off goes on.
        """
        values = {"tenant": tenant_id}
        with transaction(self._engine) as tx:
            full = list(tx.scalars(_FULL, values))
        for device_id in full:
            with transaction(self._engine) as tx:
                name = tx.scalar(_LOCK, {"device": device_id} | values)
                take_away(tx, Aged(DeviceId(device_id), name, Cut(None, 0)))
        with transaction(self._engine) as tx:
            tx.execute(_DEVICES, values)
            _all_of(tx, _EMPTY_TENANT, values)
            if tx.execute(_SHREDDED, values).scalar() is None:
                return False
            record_act(tx, actor, "tenant_shredded", tenant_id=tenant_id)
            return True


def _all_of(tx: Connection, statements: str, values: Mapping[str, Any]) -> None:
    for statement in statements.split(";"):
        tx.execute(text(statement), values)


def _forget(tx: Connection, device_id: DeviceId, cut: Cut) -> None:
    values = {"device": device_id, "below": cut.below}
    tx.execute(_FORGET, values)
    tx.execute(_AS_FIRST, values)
    for statement in (_LOGS, *_UNTOLD):
        tx.execute(statement, values)
