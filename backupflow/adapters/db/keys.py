"""The canaries of the Transit keys and the sealed peppers, as they were when the keys were made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Engine, text

from backupflow.adapters.db.engine import transaction
from backupflow.core.model import Purpose, SealedSecret, TenantId

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALL = text(
    "SELECT k.tenant_id, k.purpose, k.mark FROM transit_key k "
    "JOIN tenant t ON t.id = k.tenant_id WHERE t.removed_at IS NULL"
)
_TENANT = text("""
    INSERT INTO tenant (name) VALUES (:name) ON CONFLICT (name) DO UPDATE SET name = excluded.name
    RETURNING id, pepper""")
_MARK = text("INSERT INTO transit_key (tenant_id, purpose, mark) VALUES (:tenant, :purpose, :mark)")
_SEALED = text("""
    SELECT 1 FROM tenant t WHERE t.id = :tenant AND (t.pepper IS NOT NULL
        OR EXISTS (SELECT 1 FROM credential_profile WHERE tenant_id = t.id)
        OR EXISTS (SELECT 1 FROM content WHERE tenant_id = t.id))""")
_PEPPER = text("UPDATE tenant SET pepper = :pepper WHERE id = :tenant AND pepper IS NULL")


class Keys:
    """core.ports.KeyLedger, and the record of newly made keys."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all_marks(self) -> dict[tuple[TenantId, Purpose], str]:
        """The canary of each key of each tenant."""
        with transaction(self._engine) as tx:
            return {(TenantId(row.tenant_id), Purpose(row.purpose)): row.mark for row in tx.execute(_ALL)}

    def tenant(self, name: str) -> tuple[TenantId, bool]:
        """The tenant of that name, made if it is missing, and whether it has its keys."""
        with transaction(self._engine) as tx:
            row = tx.execute(_TENANT, {"name": name}).one()
            return TenantId(row.id), row.pepper is not None

    def nothing_sealed(self, tenant_id: TenantId) -> bool:
        """Whether no row holds anything that was sealed with this tenant's keys."""
        with transaction(self._engine) as tx:
            return tx.scalar(_SEALED, {"tenant": tenant_id}) is None

    def keep(self, tenant_id: TenantId, pepper: SealedSecret, marks: Mapping[Purpose, str]) -> None:
        """Record a new tenant's sealed pepper and canaries, together."""
        with transaction(self._engine) as tx:
            tx.execute(_PEPPER, {"tenant": tenant_id, "pepper": pepper.text})
            for purpose, mark in marks.items():
                tx.execute(_MARK, {"tenant": tenant_id, "purpose": purpose, "mark": mark})
