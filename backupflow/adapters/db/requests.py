"""The operator's view: collections asked for, which beat takes up, and alarms cleared. Each act is audited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Engine, text

from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.engine import transaction
from backupflow.core.model import State
from backupflow.core.overview import Asked
from backupflow.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from backupflow.core.model import TenantId

_NAMED = text("""
    SELECT id, name FROM device WHERE tenant_id = :tenant AND status <> 'removed' AND name = ANY(:names)
    ORDER BY name""")
_ACTIVE = text("""
    SELECT id, name FROM device WHERE tenant_id = :tenant AND status = 'active' AND blocked_code IS NULL
    ORDER BY name""")
_ASK = text("""
    INSERT INTO request (tenant_id, device_id, requested_by) VALUES (:tenant, :device, :actor) RETURNING id""")
_ASKED = text("""
    SELECT r.id, d.name, r.answer, c.state, c.code, c.detail, c.is_change, c.seq
    FROM request r JOIN device d ON d.id = r.device_id LEFT JOIN collection c ON c.id = r.collection_id
    WHERE r.id = ANY(:numbers) ORDER BY r.id""")
_BEAT = text("SELECT now() - max(heartbeat_at) FROM process WHERE role = 'scheduler'")
_CLEAR = text("""
    UPDATE alarm SET cleared_at = now() WHERE id = :number AND cleared_at IS NULL
    RETURNING tenant_id, code, scope""")


class Requests:
    """core.ports.RequestStore."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def ask(self, tenant_id: TenantId, names: Sequence[str] | None, actor: str) -> list[int]:
        """A request a device, all or none; None: all that are active and not blocked. NotFound names who is missing."""
        with transaction(self._engine) as tx:
            if names is None:
                devices = tx.execute(_ACTIVE, {"tenant": tenant_id}).all()
            else:
                devices = tx.execute(_NAMED, {"tenant": tenant_id, "names": list(names)}).all()
                if missing := set(names) - {row.name for row in devices}:
                    raise NotFound(f"device {min(missing)!r}; see `device list`")
            numbers = []
            for row in devices:
                values = {"tenant": tenant_id, "device": row.id, "actor": actor}
                numbers.append(tx.execute(_ASK, values).scalar_one())
                owner = {"tenant_id": tenant_id, "device_id": row.id}
                record_act(tx, actor, "config_backup_manual_trigger", **owner, detail={"request": numbers[-1]})
            return numbers

    def asked(self, numbers: Sequence[int]) -> list[Asked]:
        """What became of these requests."""
        with transaction(self._engine) as tx:
            rows = tx.execute(_ASKED, {"numbers": list(numbers)}).all()
        return [
            Asked(
                row.id,
                row.name,
                row.answer,
                State(row.state) if row.state else None,
                row.code,
                row.detail,
                row.is_change,
                row.seq,
            )
            for row in rows
        ]

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
