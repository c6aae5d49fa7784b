"""The audit: one row an act, in the transaction of the act (I12). The chain and the refusals are the database's own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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
    tx.execute(_RECORD, _values(actor, Done(action, tenant_id, device_id, detail or {})))


@dataclass(frozen=True, slots=True)
class Done:
    """One of many acts."""

    action: str
    tenant_id: UUID | None
    device_id: UUID | None
    detail: Mapping[str, Any]


def record_acts(tx: Connection, actor: str, acts: Sequence[Done]) -> None:
    """The same of many, as the last thing of their transaction: until its end nobody else can write to the audit."""
    if acts:
        tx.execute(_RECORD, [_values(actor, act) for act in acts])


def _values(actor: str, act: Done) -> dict[str, Any]:
    detail = json.dumps(dict(act.detail), default=str)
    return {"tenant": act.tenant_id, "actor": actor, "action": act.action, "device": act.device_id, "detail": detail}
