"""The audit: one row an act, in the transaction of the act (I12). The chain and the refusals are the database's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

_RECORD = text("""
    INSERT INTO audit (tenant_id, actor, action, device_id, detail)
    VALUES (:tenant, :actor, :action, :device, CAST(:detail AS jsonb))""")


def record_act(
    tx: Connection,
    actor: str,
    action: str,
    *,
    tenant_id: UUID | None = None,
    device_id: UUID | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write down who did what; `detail` never holds a secret."""
    values = {"tenant": tenant_id, "actor": actor, "action": action, "device": device_id}
    tx.execute(_RECORD, values | {"detail": json.dumps(dict(detail or {}), default=str)})
