"""The ingester's view of the quarantine: what could not be stored, byte for byte, and what an operator gave back.

Whoever can write to the bus must not fill the database: bytes, and rows too, since a row costs more than a few bytes.
Each act holds one lock, so that no alarm is cleared over a message that is just being put aside.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, text

from backupflow.adapters.db.alarms import clear_alarm, raise_alarm
from backupflow.adapters.db.engine import transaction
from backupflow.core.quarantine import Kept, Released, SetAside, claims

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.ports import Delivery

ALARM = "quarantine"
FULL = "full"  # its scope when there is no room; any other scope is a reason
_LOCKED = 0x62667175
_LONGEST_SUBJECT = 500  # characters
_LOCK = text("SELECT pg_advisory_xact_lock(:key)")
_KNOWN = text("SELECT payload IS NOT NULL FROM quarantine WHERE digest = :digest AND reason = :reason")
_USED = text("SELECT count(*), coalesce(sum(octet_length(payload)), 0) FROM quarantine")
_INSERT = text("""
    INSERT INTO quarantine (tenant_id, device_id, reason, subject, payload, digest)
    VALUES (:tenant, :device, :reason, :subject, :payload, :digest)""")
_RELEASED = text("""
    SELECT id, payload, subject FROM quarantine
    WHERE released_at IS NOT NULL AND payload IS NOT NULL AND id > :after ORDER BY id LIMIT :limit""")
_TAKEN = text("DELETE FROM quarantine WHERE id = :number AND released_at IS NOT NULL")
# The same bytes, put aside for this reason too: one of them is enough, and it is the one that somebody gave back.
_DELETE_SAME = text("""
    DELETE FROM quarantine other USING quarantine this
    WHERE this.id = :number AND other.digest = this.digest AND other.reason = :reason AND other.id <> this.id""")
_BACK = text("UPDATE quarantine SET reason = :reason, released_at = NULL WHERE id = :number RETURNING id")
_OVER = text("""
    UPDATE alarm SET cleared_at = now() WHERE code = :code AND scope <> :full AND cleared_at IS NULL
      AND NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.reason = alarm.scope)""")


@dataclass(frozen=True, slots=True)
class Room:
    """The most that is kept: this many messages with so many bytes in all, and twice as many rows."""

    size: int = 256 * 1024 * 1024
    messages: int = 5_000

    def left(self, rows: int, size: int, more: int) -> Kept:
        """What can be kept of one more."""
        if rows < self.messages and size + more <= self.size:
            return Kept.BYTES
        return Kept.DIGEST if rows < 2 * self.messages else Kept.NOTHING


class Quarantine:
    """core.ports.QuarantineStore."""

    def __init__(self, engine: Engine, room: Room | None = None) -> None:
        self._engine = engine
        self._room = room or Room()

    def set_aside(self, delivery: Delivery, reason: str) -> SetAside:
        """Keep the bytes as they came and raise an alarm; what comes again is kept once.

        When there is no room for its bytes only its digest is kept, and when there are too many of those, nothing: the
        stream must go on, and the alarm says so.
        """
        digest = hashlib.sha256(delivery.payload).digest()
        said = claims(delivery.payload)
        values = {
            "tenant": said.tenant_id,
            "device": said.device_id,
            "reason": reason,
            "subject": ascii(delivery.subject)[1:-1][:_LONGEST_SUBJECT],  # hostile: NUL would not fit a row
            "digest": digest,
        }
        with transaction(self._engine) as tx:
            lock(tx)
            known = tx.execute(_KNOWN, {"digest": digest, "reason": reason}).scalar()
            if known is None:
                rows, size = tx.execute(_USED).one()
                kept = self._room.left(rows, size, len(delivery.payload))
            else:
                kept = Kept.BYTES if known else Kept.DIGEST
            if known is None and kept is not Kept.NOTHING:
                tx.execute(_INSERT, values | {"payload": delivery.payload if kept is Kept.BYTES else None})
            return SetAside(kept, _raise(tx, reason, kept))

    def released(self, after: int, limit: int) -> Sequence[Released]:
        """What operators gave back, by number, those above `after`."""
        with transaction(self._engine) as tx:
            rows = tx.execute(_RELEASED, {"after": after, "limit": limit}).all()
        return [Released(row.id, bytes(row.payload), row.subject) for row in rows]

    def taken(self, released: Released) -> None:
        """It is stored, or done with: it goes, and so does the alarm if it was the last of its reason."""
        with transaction(self._engine) as tx:
            lock(tx)
            tx.execute(_TAKEN, {"number": released.number})
            settle(tx, self._room)

    def put_back(self, released: Released, reason: str) -> SetAside:
        """It is no better than before: it stays, with the reason that it is refused for now."""
        with transaction(self._engine) as tx:
            lock(tx)
            tx.execute(_DELETE_SAME, {"number": released.number, "reason": reason})
            back = tx.execute(_BACK, {"number": released.number, "reason": reason}).scalar()
            new = back is not None and _raise(tx, reason, Kept.BYTES)
            settle(tx, self._room)
        return SetAside(Kept.BYTES, new)


def lock(tx: Connection) -> None:
    """One act on the quarantine at a time, until the transaction ends."""
    tx.execute(_LOCK, {"key": _LOCKED})


def settle(tx: Connection, room: Room) -> None:
    """Clear the alarms of the reasons that nothing is left of, and the one of no room if there is some again."""
    tx.execute(_OVER, {"code": ALARM, "full": FULL})
    rows, size = tx.execute(_USED).one()
    if room.left(rows, size, 0) is Kept.BYTES:
        clear_alarm(tx, ALARM, FULL)


def _raise(tx: Connection, reason: str, kept: Kept) -> bool:
    if kept is Kept.NOTHING:
        return raise_alarm(
            tx, ALARM, FULL, "more messages could not be stored than are put on record; see `quarantine list`"
        )
    says = "its bytes are kept" if kept is Kept.BYTES else "only its digest is kept, the quarantine is full"
    return raise_alarm(tx, ALARM, reason, f"a message could not be stored ({reason}); {says}: see `quarantine list`")
