"""The escrow in the database: for whom it is written, what goes into a file, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Engine, Row, text

from backupflow.adapters.db.engine import transaction
from backupflow.core.escrow import Escrow
from backupflow.core.model import TenantId

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_ALL = text("""
    SELECT e.*, t.name AS tenant, now() AS now FROM escrow e JOIN tenant t ON t.id = e.tenant_id
    WHERE t.removed_at IS NULL ORDER BY t.name""")


class Escrows:
    """core.ports.EscrowStore."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def every(self) -> Sequence[Escrow]:
        """All that are enabled, of tenants that are there."""
        with transaction(self._engine) as tx:
            return [escrow_of(row) for row in tx.execute(_ALL)]


def escrow_of(row: Row[Any]) -> Escrow:
    """One row."""
    return Escrow(
        TenantId(row.tenant_id), row.tenant, tuple(row.recipients), row.folder, row.enabled_by, row.enabled_at,
        row.now, row.written_at, row.devices, row.bytes,
    )  # fmt: skip
