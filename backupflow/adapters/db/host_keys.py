"""Host keys on record: read with a device, retired and pinned by an act. A key itself never changes (a trigger)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

from backupflow.core.inventory import SeenKey
from backupflow.core.model import HostKey
from backupflow.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from backupflow.core.ledger import Assignment
    from backupflow.core.model import TrustedHow

_KEYS = text("""
    SELECT id, status, key_type, blob, first_seen_at, last_seen_at, last_verified_at FROM host_key
    WHERE device_id = :device ORDER BY last_seen_at DESC, id DESC""")
_RETIRE = text("UPDATE host_key SET status = 'retired' WHERE device_id = :device AND id = ANY(:numbers)")
_PIN = text("""
    UPDATE host_key SET status = 'pinned' WHERE device_id = :device AND id = :number AND status = 'offered'
    RETURNING id""")
_PINNED = text("SELECT key_type, blob FROM host_key WHERE device_id = :device AND status = 'pinned'")
_FIRST = text("""
    INSERT INTO host_key (tenant_id, device_id, status, key_type, blob, fingerprint, trusted_how, trusted_at)
    VALUES (:tenant, :device, 'pinned', :key_type, :blob, :fingerprint, :how, now())""")
_OFFERED = text("""
    INSERT INTO host_key (tenant_id, device_id, status, key_type, blob, fingerprint)
    VALUES (:tenant, :device, 'offered', :key_type, :blob, :fingerprint)
    ON CONFLICT (device_id, key_type, blob) WHERE status = 'offered' DO UPDATE SET last_seen_at = now()""")
_SEEN = text("UPDATE host_key SET last_seen_at = now() WHERE device_id = :device AND status = 'pinned'")
_VERIFIED = text("""
    UPDATE host_key SET last_seen_at = now(), last_verified_at = now()
    WHERE device_id = :device AND status = 'pinned' AND key_type = :key_type AND blob = :blob""")


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


def pinned_of(tx: Connection, assignment: Assignment) -> HostKey | None:
    """The key that is trusted at this moment."""
    row = tx.execute(_PINNED, {"device": assignment.device_id}).one_or_none()
    return HostKey(row.key_type, bytes(row.blob)) if row else None


def pin_first(tx: Connection, assignment: Assignment, key: HostKey, how: TrustedHow) -> None:
    """Trust a key on first sight, where none is trusted."""
    tx.execute(_FIRST, _values(assignment, key) | {"how": how})


def offer(tx: Connection, assignment: Assignment, key: HostKey) -> None:
    """Write down a key that was refused, to be shown and perhaps accepted."""
    tx.execute(_OFFERED, _values(assignment, key))


def shown(tx: Connection, assignment: Assignment, key: HostKey) -> None:
    """A key that was looked at without a login: the pinned one is seen again, another one is on offer."""
    if pinned_of(tx, assignment) != key:
        offer(tx, assignment, key)
    else:
        tx.execute(_SEEN, {"device": assignment.device_id})


def verified(tx: Connection, assignment: Assignment, key: HostKey) -> None:
    """The router proved once more that it has the pinned key; nothing happens if another one is pinned by now."""
    tx.execute(_VERIFIED, {"device": assignment.device_id, "key_type": key.key_type, "blob": key.blob})


def _values(assignment: Assignment, key: HostKey) -> dict[str, Any]:
    return {
        "tenant": assignment.tenant_id,
        "device": assignment.device_id,
        "key_type": key.key_type,
        "blob": key.blob,
        "fingerprint": key.fingerprint,
    }
