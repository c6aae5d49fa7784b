"""Interpretations that are made anew because somebody asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Engine, text

from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.snapshots import device_named
from backupflow.core.model import DeviceId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.model import TenantId

ACTION = "history_reinterpreted"
_DEVICES = text("SELECT id FROM device WHERE tenant_id = :tenant AND status <> 'removed' ORDER BY id")
_LOCK = text("""
    SELECT id FROM device WHERE id = ANY(:devices) AND tenant_id = :tenant ORDER BY id FOR NO KEY UPDATE""")
# What it was compared with must be there still: what is known of a change whose predecessor retention has taken away
# cannot be found out again.
_VOID = text("""
    UPDATE collection c SET interpreted_after_seq = NULL, interpret_tries = 0, interpret_until = NULL
    FROM collection p
    WHERE c.device_id = ANY(:devices) AND c.state = 'stored' AND c.is_change
      AND p.device_id = c.device_id AND p.state = 'stored' AND p.seq = c.interpreted_after_seq
    RETURNING c.id""")


class Reinterpreting:
    """core.ports.ReinterpretStore."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def devices(self, tenant_id: TenantId, name: str | None) -> Sequence[DeviceId]:
        """That device, or all that were not removed; NotFound if there is no such device."""
        with transaction(self._engine) as tx:
            if name is not None:
                return [device_named(tx, tenant_id, name)]
            return [DeviceId(row) for row in tx.scalars(_DEVICES, {"tenant": tenant_id})]

    def void(self, tenant_id: TenantId, devices: Sequence[DeviceId], actor: str) -> int:
        """Have the changes of these interpreted anew; how many, written down in the audit in the same transaction."""
        with transaction(self._engine) as tx:
            locked = list(tx.scalars(_LOCK, {"devices": sorted(devices), "tenant": tenant_id}))
            changes = len(tx.execute(_VOID, {"devices": locked}).all())
            only = locked[0] if len(locked) == 1 else None
            detail = {"devices": len(locked), "changes": changes}
            record_act(tx, actor, ACTION, tenant_id=tenant_id, device_id=only, detail=detail)
        return changes
