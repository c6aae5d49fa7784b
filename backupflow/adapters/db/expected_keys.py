"""Host keys that are expected before the first contact: known by fingerprint, the only ones that may be pinned then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from backupflow.core.model import ExpectedKey, TrustedHow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy import TextClause

_OF_DEVICE = text("SELECT fingerprint, key_type, how FROM expected_key WHERE device_id = :owner ORDER BY id")
_OF_JUMP_HOST = text("SELECT fingerprint, key_type, how FROM expected_key WHERE jump_host_id = :owner ORDER BY id")
# One that is expected already stays as it is: who said so first is on record.
_EXPECT = text("""
    INSERT INTO expected_key (tenant_id, device_id, jump_host_id, fingerprint, key_type, how, added_by)
    SELECT :tenant, CAST(:device AS uuid), CAST(:jump_host AS uuid), k.fingerprint, k.key_type, k.how, :actor
    FROM unnest(CAST(:fingerprints AS text[]), CAST(:key_types AS text[]), CAST(:hows AS text[]))
        AS k (fingerprint, key_type, how)
    ON CONFLICT DO NOTHING""")
_FORGET = text("DELETE FROM expected_key WHERE device_id = :owner")
_FORGET_OF_JUMP_HOST = text("DELETE FROM expected_key WHERE jump_host_id = :owner")


def expected_of(tx: Connection, device_id: UUID) -> tuple[ExpectedKey, ...]:
    """The keys that this device may be pinned with at first sight; none: whichever comes, as its trust says."""
    return _keys(tx, _OF_DEVICE, device_id)


def expected_of_jump_host(tx: Connection, jump_host_id: UUID) -> tuple[ExpectedKey, ...]:
    """The same of a jump host."""
    return _keys(tx, _OF_JUMP_HOST, jump_host_id)


def expect(tx: Connection, tenant_id: UUID, device_id: UUID, keys: Sequence[ExpectedKey], actor: str) -> None:
    """Let these be expected of a device beside those that are already."""
    _expect(tx, tenant_id, {"device": device_id, "jump_host": None, "actor": actor}, keys)


def expect_of_jump_host(
    tx: Connection, tenant_id: UUID, jump_host_id: UUID, keys: Sequence[ExpectedKey], actor: str
) -> None:
    """The same of a jump host."""
    _expect(tx, tenant_id, {"device": None, "jump_host": jump_host_id, "actor": actor}, keys)


def forget(tx: Connection, device_id: UUID) -> None:
    """Nothing is expected of this device any more."""
    tx.execute(_FORGET, {"owner": device_id})


def forget_of_jump_host(tx: Connection, jump_host_id: UUID) -> None:
    """The same of a jump host."""
    tx.execute(_FORGET_OF_JUMP_HOST, {"owner": jump_host_id})


def _keys(tx: Connection, statement: TextClause, owner: UUID) -> tuple[ExpectedKey, ...]:
    found = tx.execute(statement, {"owner": owner})
    return tuple(ExpectedKey(row.fingerprint, TrustedHow(row.how), row.key_type) for row in found)


def _expect(tx: Connection, tenant_id: UUID, owner: dict[str, object], keys: Sequence[ExpectedKey]) -> None:
    if keys:
        columns = {
            "fingerprints": [key.fingerprint for key in keys],
            "key_types": [key.key_type for key in keys],
            "hows": [key.how.value for key in keys],
        }
        tx.execute(_EXPECT, {"tenant": tenant_id, **owner, **columns})
