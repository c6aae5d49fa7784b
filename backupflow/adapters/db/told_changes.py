"""What is to be told of a change: written in the transaction that interprets it, and dropped when it opens no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql import bindparam

from backupflow.core.events import Kind
from backupflow.core.told_change import TOLD_WITHIN, ToldChange, is_told

if TYPE_CHECKING:
    from backupflow.core.model import DeviceId, SealedConfig, TenantId

# Due at once: what it tells of is no alarm, which might be over soon. It is told once, however often it is interpreted.
_TELL = text("""
    INSERT INTO outbox (tenant_id, kind, key, payload, device_id, sealed, due_at)
    SELECT :tenant, :kind, :key, :payload, c.device_id, :sealed, now() FROM collection c
    WHERE c.tenant_id = :tenant AND c.device_id = :device AND c.seq = :seq
      AND c.stored_at > now() - CAST(:within AS interval)
    ON CONFLICT (key) DO NOTHING RETURNING id""").bindparams(bindparam("payload", type_=JSONB))
_CLOSED = (
    text("UPDATE outbox SET sealed = NULL WHERE tenant_id = :tenant AND sealed IS NOT NULL"),
    text("UPDATE event SET sealed = NULL WHERE tenant_id = :tenant AND sealed IS NOT NULL"),
)


def tell_change(
    tx: Connection, owner: tuple[TenantId, DeviceId], told: ToldChange, sealed: SealedConfig | None
) -> bool:
    """Let a change be told, within the transaction that writes its interpretation; whether it will be.

    `sealed`: core.told_change.pack_lines, sealed for the device. Nothing is told of what is of no interest, of what was
    stored longer ago than a day, or twice.
    """
    if not is_told(told.kind, told.changes):
        return False
    tenant_id, device_id = owner
    payload = {
        "scope": f"device {device_id}",
        "kind": told.kind,
        "seq": told.seq,
        "after_seq": told.after_seq,
        "changes": told.changes,
        "ignored": told.ignored,
        "lines_added": told.lines_added,
        "lines_removed": told.lines_removed,
        "components": list(told.components),
    }
    values = {
        "tenant": tenant_id,
        "device": device_id,
        "seq": told.seq,
        "kind": Kind.CHANGED,
        "key": f"changed {device_id}:{told.seq}",
        "payload": payload,
        "sealed": sealed.text if sealed else None,
        "within": TOLD_WITHIN,
    }
    return tx.scalar(_TELL, values) is not None


def tell_without_lines(tx: Connection, tenant_id: TenantId) -> None:
    """Of a tenant whose keys are gone for good: its changes are told without what was sealed."""
    for statement in _CLOSED:
        tx.execute(statement, {"tenant": tenant_id})
