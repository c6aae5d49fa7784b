"""Host keys on record: read with a device, retired and pinned by an act. A key itself never changes (a trigger)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from backupflow.core.inventory import SeenKey
from backupflow.core.model import HostKey
from backupflow.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

_KEYS = text("""
    SELECT id, status, key_type, blob, first_seen_at, last_seen_at, last_verified_at FROM host_key
    WHERE device_id = :device ORDER BY last_seen_at DESC, id DESC""")
_RETIRE = text("UPDATE host_key SET status = 'retired' WHERE device_id = :device AND id = ANY(:numbers)")
_PIN = text("""
    UPDATE host_key SET status = 'pinned' WHERE device_id = :device AND id = :number AND status = 'offered'
    RETURNING id""")


def keys_of(tx: Connection, device_id: UUID) -> tuple[SeenKey, ...]:
    """All keys that this device ever had or offered, the newest first."""
    return tuple(
        SeenKey(
            row.id,
            row.status,
            HostKey(row.key_type, bytes(row.blob)),
            row.first_seen_at,
            row.last_seen_at,
            row.last_verified_at,
        )
        for row in tx.execute(_KEYS, {"device": device_id})
    )


def retire(tx: Connection, device_id: UUID, numbers: Sequence[int]) -> None:
    """Trust these keys no more."""
    tx.execute(_RETIRE, {"device": device_id, "numbers": list(numbers)})


def pin(tx: Connection, device_id: UUID, number: int) -> None:
    """Trust an offered key; what was pinned has to be retired before. Conflict if it is not on offer."""
    if tx.execute(_PIN, {"device": device_id, "number": number}).scalar() is None:
        raise Conflict("this key is not on offer any more")
