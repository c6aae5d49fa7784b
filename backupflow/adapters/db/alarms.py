"""Alarms: a row while something is wrong, shown until it is cleared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, text

from backupflow.adapters.db.engine import transaction

if TYPE_CHECKING:
    from uuid import UUID

_RAISE = text("""
    INSERT INTO alarm (tenant_id, code, scope, detail) VALUES (:tenant, :code, :scope, :detail)
    ON CONFLICT (code, scope) WHERE cleared_at IS NULL DO NOTHING RETURNING id""")
_CLEAR_OTHERS = text("""
    UPDATE alarm SET cleared_at = now() WHERE scope = :scope AND code <> :code AND cleared_at IS NULL RETURNING code""")
_CLEAR = text("""
    UPDATE alarm SET cleared_at = now() WHERE code = :code AND scope = :scope AND cleared_at IS NULL RETURNING id""")


def raise_alarm(tx: Connection, code: str, scope: str, detail: str, tenant_id: UUID | None = None) -> bool:
    """Raise an alarm within a transaction; True if it did not stand yet."""
    values = {"tenant": tenant_id, "code": code, "scope": scope, "detail": detail}
    return tx.execute(_RAISE, values).scalar() is not None


def clear_alarm(tx: Connection, code: str, scope: str) -> bool:
    """Clear an alarm within a transaction; True if it stood."""
    return tx.execute(_CLEAR, {"code": code, "scope": scope}).scalar() is not None


class Alarms:
    """Alarms of their own, outside of another transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def alarm(self, code: str, scope: str, detail: str) -> bool:
        """True if it is new: say it once in the log."""
        with transaction(self._engine) as tx:
            return raise_alarm(tx, code, scope, detail)

    def clear_alarm(self, code: str, scope: str) -> bool:
        """True if it stood."""
        with transaction(self._engine) as tx:
            return clear_alarm(tx, code, scope)

    def settle(self, scope: str, code: str = "", detail: str = "") -> None:
        """Let this stand within a scope and nothing else, or nothing at all; also what a process left that is gone."""
        with transaction(self._engine) as tx:
            tx.execute(_CLEAR_OTHERS, {"scope": scope, "code": code})
            if code:
                raise_alarm(tx, code, scope, detail)
