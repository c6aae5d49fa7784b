"""Host keys on record: read with a device, retired and pinned by an act. A key itself never changes (a trigger).

Those of jump hosts lie beside them, and nothing is different about them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db.expected_keys import expected_of, expected_of_jump_host
from backupflow.core.inventory import SeenKey
from backupflow.core.model import HostKey, Trust, TrustedHow
from backupflow.core.trust import FirstSeen, Foretold, Mismatch, Trusted, Unexpected, judge
from backupflow.errors import Conflict, HostKeyMismatch, HostKeyUnapproved

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from backupflow.core.ledger import Assignment
    from backupflow.core.model import ExpectedKey, Target

_OWNED = "(device_id = :owner OR jump_host_id = :owner)"  # ids of both kinds are random
_KEYS = text(f"""
    SELECT id, status, key_type, blob, first_seen_at, last_seen_at, last_verified_at, trusted_how, trusted_by,
        trusted_at
    FROM host_key WHERE {_OWNED} ORDER BY last_seen_at DESC, id DESC""")
_RETIRE = text(f"UPDATE host_key SET status = 'retired' WHERE {_OWNED} AND id = ANY(:numbers)")
_PIN = text(f"""
    UPDATE host_key SET status = 'pinned', trusted_how = :how, trusted_by = :actor, trusted_at = now()
    WHERE {_OWNED} AND id = :number AND status = 'offered' RETURNING id""")
_VOUCH = text(f"""
    UPDATE host_key SET trusted_how = :how, trusted_by = :actor, trusted_at = now()
    WHERE {_OWNED} AND status = 'pinned'""")
_PINNED = text(f"SELECT key_type, blob FROM host_key WHERE {_OWNED} AND status = 'pinned'")
# Whoever foretold it is who trusts it. A scan may have left it on offer: it is not any more.
_FIRST = text("""
    INSERT INTO host_key (tenant_id, device_id, jump_host_id, status, key_type, blob, fingerprint, trusted_how,
        trusted_at, trusted_by)
    VALUES (:tenant, :device, :jump_host, 'pinned', :key_type, :blob, :fingerprint, :how, now(),
        (SELECT e.added_by FROM expected_key e WHERE e.fingerprint = :fingerprint
            AND (e.device_id = :device OR e.jump_host_id = :jump_host) AND :how <> 'first_use'))""")
_TAKEN = text(f"""
    UPDATE host_key SET status = 'retired'
    WHERE {_OWNED} AND status = 'offered' AND key_type = :key_type AND blob = :blob""")
_OFFERED = """
    INSERT INTO host_key (tenant_id, device_id, jump_host_id, status, key_type, blob, fingerprint)
    VALUES (:tenant, :device, :jump_host, 'offered', :key_type, :blob, :fingerprint)
    ON CONFLICT ({owner}, key_type, blob) WHERE status = 'offered' DO UPDATE SET last_seen_at = now()"""
_OFFERED_BY = {owner: text(_OFFERED.format(owner=owner)) for owner in ("device_id", "jump_host_id")}
_SEEN = text(f"UPDATE host_key SET last_seen_at = now() WHERE {_OWNED} AND status = 'pinned'")
_VERIFIED = text(f"""
    UPDATE host_key SET last_seen_at = now(), last_verified_at = now()
    WHERE {_OWNED} AND status = 'pinned' AND key_type = :key_type AND blob = :blob""")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose key it is: a device's, or a jump host's."""

    tenant_id: UUID
    device_id: UUID | None = None
    jump_host_id: UUID | None = None

    @classmethod
    def device(cls, assignment: Assignment) -> Owner:
        """The device."""
        return cls(assignment.tenant_id, device_id=assignment.device_id)

    @classmethod
    def hop(cls, assignment: Assignment) -> Owner:
        """The jump host on the way."""
        return cls(assignment.tenant_id, jump_host_id=assignment.via_id)

    @property
    def id(self) -> UUID:
        """Of whichever it is."""
        owner = self.device_id or self.jump_host_id
        if owner is None:
            raise ValueError("a host key of nobody")
        return owner

    def values(self, key: HostKey) -> dict[str, object]:
        """The columns of a key of this owner."""
        owner = {"tenant": self.tenant_id, "device": self.device_id, "jump_host": self.jump_host_id, "owner": self.id}
        return {**owner, "key_type": key.key_type, "blob": key.blob, "fingerprint": key.fingerprint}


def keys_of(tx: Connection, owner_id: UUID) -> tuple[SeenKey, ...]:
    """All keys that this device or jump host ever had or offered, the newest first."""
    return tuple(seen(row) for row in tx.execute(_KEYS, {"owner": owner_id}))


def seen(row: Row[Any]) -> SeenKey:
    """A key on record as it is shown."""
    return SeenKey(
        row.id,
        row.status,
        HostKey(row.key_type, bytes(row.blob)),
        row.first_seen_at,
        row.last_seen_at,
        row.last_verified_at,
        TrustedHow(row.trusted_how) if row.trusted_how else None,
        row.trusted_by,
        row.trusted_at,
    )


def retire(tx: Connection, owner_id: UUID, numbers: Sequence[int]) -> None:
    """Trust these keys no more."""
    tx.execute(_RETIRE, {"owner": owner_id, "numbers": list(numbers)})


def pin(tx: Connection, owner_id: UUID, number: int, how: TrustedHow, actor: str) -> None:
    """Trust an offered key; what was pinned has to be retired before. Conflict if it is not on offer."""
    values = {"owner": owner_id, "number": number, "how": how, "actor": actor}
    if tx.execute(_PIN, values).scalar() is None:
        raise Conflict("this key is not on offer any more")


def vouch(tx: Connection, owner_id: UUID, how: TrustedHow, actor: str) -> None:
    """The pinned key is known better than it was."""
    tx.execute(_VOUCH, {"owner": owner_id, "how": how, "actor": actor})


def pinned_of(tx: Connection, assignment: Assignment) -> HostKey | None:
    """The key of its device that is trusted at this moment."""
    return pinned_by(tx, assignment.device_id)


def pinned_by(tx: Connection, owner_id: UUID) -> HostKey | None:
    """The key of this device or jump host that is trusted at this moment."""
    row = tx.execute(_PINNED, {"owner": owner_id}).one_or_none()
    return HostKey(row.key_type, bytes(row.blob)) if row else None


def same_as(tx: Connection, owner_id: UUID, target: Target) -> bool:
    """Whether what an offered key is compared with is still what it was when the session began."""
    pinned = pinned_by(tx, owner_id)
    return pinned == target.pinned and (pinned is not None or _expected(tx, owner_id) == target.expected)


def pin_first(tx: Connection, owner: Owner, key: HostKey, how: TrustedHow, trusts: Trust) -> None:
    """Trust a key of an owner, whose row is locked, on first sight, if it `trusts` one so by now.

    HostKeyMismatch if another one was pinned meanwhile, or is expected by now; HostKeyUnapproved if a person has to
    compare it by now. Nothing happens if it is pinned already.
    """
    pinned = pinned_by(tx, owner.id)
    match judge(pinned, key, () if pinned else _expected(tx, owner.id)):
        case Trusted():
            return
        case Mismatch() | Unexpected():
            raise HostKeyMismatch("another key was pinned or is expected since the session began")
        case FirstSeen() if trusts is Trust.MANUAL:
            raise HostKeyUnapproved(f"offered {key.key_type} {key.fingerprint}")
        case Foretold(_, foretold):
            how = foretold
    values = owner.values(key)
    tx.execute(_FIRST, values | {"how": how})
    tx.execute(_TAKEN, values)


def offer(tx: Connection, assignment: Assignment, key: HostKey, owner: Owner | None = None) -> None:
    """Write down a key that was refused, to be shown and perhaps accepted."""
    owner = owner or Owner.device(assignment)
    tx.execute(_OFFERED_BY["device_id" if owner.device_id else "jump_host_id"], owner.values(key))


def shown(tx: Connection, assignment: Assignment, key: HostKey) -> None:
    """A key that was looked at without a login: the pinned one is seen again, another one is on offer."""
    if pinned_of(tx, assignment) != key:
        offer(tx, assignment, key)
    else:
        tx.execute(_SEEN, {"owner": assignment.device_id})


def verified(tx: Connection, assignment: Assignment, key: HostKey, owner: Owner | None = None) -> None:
    """It was proved once more that the pinned key is there; nothing happens if another one is pinned by now."""
    tx.execute(_VERIFIED, (owner or Owner.device(assignment)).values(key))


def _expected(tx: Connection, owner_id: UUID) -> tuple[ExpectedKey, ...]:
    return (*expected_of(tx, owner_id), *expected_of_jump_host(tx, owner_id))
