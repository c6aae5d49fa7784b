"""The ingester's view: observations into history, in any order of delivery, each exactly once.

The transaction of a batch, in numbered steps:
 1. lock the batch's devices, in order of id (unsorted: deadlocks); every move of a row holds its device's lock, and a
    row that is only named by a forged message is read but never locked
 2. check the message against the row that its collector wrote at the fence; nothing in it is believed otherwise
 3. insert the content, if this text is new for the device
 4. the row becomes stored, from published or from lost
 5. `is_change` of the row and of its successor, whose interpretation is cleared
 6. the device's current observation is the one with the greatest seq
What is decided in 2, 5 and 6 is core.storing and core.sequence; here it is only loaded and written.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, text

from backupflow.adapters.db.alarms import Alarms
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.keys import oldest_version
from backupflow.core.backoff import after_pause
from backupflow.core.ledger import COLLECTING, Stored
from backupflow.core.model import ContentHash, DeviceId, Purpose, Seq, State, TenantId
from backupflow.core.sequence import Observation, place
from backupflow.core.storing import Fenced, Holder, Standing, content_key, judge, observation_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from backupflow.core.message import SnapshotMessage

_LOCK = text("""
    SELECT d.id, d.tenant_id, d.kept_from_seq, d.current_seq, d.compacted_to_seq, t.removed_at AS tenant_removed_at
    FROM device d JOIN tenant t ON t.id = d.tenant_id WHERE d.id = ANY(:devices)
    ORDER BY d.id FOR NO KEY UPDATE OF d""")
_ROW = text("""
    SELECT id, tenant_id, device_id, seq, state, content_hash, digest, normalization_version, raw_bytes
    FROM collection WHERE id = :collection""")
_CONTENT = text("""
    INSERT INTO content (tenant_id, device_id, normalization_version, content_hash, sealed, raw_bytes, first_seq)
    VALUES (:tenant_id, :device_id, :normalization_version, :content_hash, :sealed, :raw_bytes, :seq)
    ON CONFLICT (tenant_id, device_id, normalization_version, content_hash) DO NOTHING RETURNING id""")
_KNOWN = text("""
    SELECT id FROM content WHERE tenant_id = :tenant_id AND device_id = :device_id
      AND normalization_version = :normalization_version AND content_hash = :content_hash""")
_OBSERVED = "SELECT seq, content_hash, normalization_version FROM collection WHERE device_id = :device"
_AROUND = text(f"""
    ({_OBSERVED} AND state = 'stored' AND seq < :seq ORDER BY seq DESC LIMIT 1) UNION ALL
    ({_OBSERVED} AND state = 'stored' AND seq > :seq ORDER BY seq LIMIT 1)""")
# What was made of it was against another predecessor: whoever works on that finds that it counts no more.
_ANEW = "interpreted_after_seq = NULL, interpret_tries = 0, interpret_until = NULL"
_STORE = text(f"""
    UPDATE collection SET state = 'stored', code = NULL, stored_at = now(), ended_at = now(), content_id = :content,
        is_change = :change, {_ANEW}
    WHERE id = :collection AND state IN ('published', 'lost') RETURNING id""")
_RECONSIDER = text(f"""
    UPDATE collection SET is_change = :change, {_ANEW}
    WHERE device_id = :device AND seq = :seq AND state = 'stored'""")
_CURRENT = text("""
    UPDATE device SET current_seq = :seq, current_collection_id = :collection, losses = 0 WHERE id = :device""")
# What was read after the alarm was raised has come through the bus: it takes messages again.
_BUS_BACK = text("""
    UPDATE alarm SET cleared_at = now() WHERE scope = :scope AND code = 'bus_unavailable' AND cleared_at IS NULL
      AND since < (SELECT max(collected_at) FROM collection WHERE id = ANY(:collections) AND state = 'stored')""")
_OLD = "c.collected_at NOT BETWEEN now() - :age AND now() + :age"  # a clock may have stood ahead, and been set right
_VANISHED = text(f"""
    SELECT d.id FROM device d WHERE EXISTS (
        SELECT 1 FROM collection c WHERE c.device_id = d.id AND c.state = 'published' AND {_OLD})
    ORDER BY d.id FOR NO KEY UPDATE OF d""")
_LOSE = text(f"""
    UPDATE collection c SET state = 'lost', code = 'message_gone', ended_at = now()
    FROM device d WHERE d.id = c.device_id AND c.device_id = ANY(:devices)
      AND c.state = 'published' AND {_OLD}
    RETURNING c.device_id, c.seq, d.losses""")
# Only if nothing newer is stored: then nothing is missing that another collection could bring.
_LOST_DUE = text("""
    UPDATE device SET losses = losses + 1, next_due_at = now() + :wait
    WHERE id = :device AND status = 'active' AND current_seq < :seq""")
# Whose keys count is what the rows say, not the messages: one that names a tenant whose keys are gone for good must not
# hold up its batch.
_MARKS = text("""
    SELECT k.tenant_id, k.purpose, k.mark FROM transit_key k JOIN tenant t ON t.id = k.tenant_id
    WHERE t.removed_at IS NULL AND k.tenant_id IN (SELECT tenant_id FROM collection WHERE id = ANY(:collections))""")


class Observations(Alarms):
    """core.ports.ObservationStore. `dice` gives numbers in [0, 1)."""

    def __init__(self, engine: Engine, dice: Callable[[], float]) -> None:
        super().__init__(engine)
        self._dice = dice

    def store(self, batch: Sequence[SnapshotMessage]) -> list[Stored]:
        """One transaction: all of the batch or nothing of it; an outcome for each message, in order."""
        with transaction(self._engine) as tx:
            ids = sorted({message.device_id for message in batch})
            devices = {DeviceId(row.id): _holder(row) for row in tx.execute(_LOCK, {"devices": ids})}  # 1
            _add_oldest_versions(tx, devices)
            outcomes = [_store(tx, message, devices) for message in batch]
            tx.execute(_BUS_BACK, {"scope": COLLECTING, "collections": [message.collection_id for message in batch]})
            return outcomes

    def lose_published(self, older_than: timedelta) -> int:
        """published -> lost; only to be called when the consumer has just said that it holds nothing."""
        with transaction(self._engine) as tx:
            devices = list(tx.scalars(_VANISHED, {"age": older_than}))
            if not devices:
                return 0
            lost = tx.execute(_LOSE, {"devices": devices, "age": older_than}).all()
            for row in lost:
                wait = after_pause(row.losses, self._dice()).again_in  # the bus lost it, no device is to blame
                tx.execute(_LOST_DUE, {"device": row.device_id, "seq": row.seq, "wait": wait})
            return len(lost)

    def expected_marks(self, batch: Sequence[SnapshotMessage]) -> dict[tuple[TenantId, Purpose], str]:
        """The canaries of the tenants whose rows these messages name, as they were when the keys were made."""
        with transaction(self._engine) as tx:
            rows = tx.execute(_MARKS, {"collections": [message.collection_id for message in batch]}).all()
        return {(TenantId(row.tenant_id), Purpose(row.purpose)): row.mark for row in rows}


def _add_oldest_versions(tx: Connection, devices: dict[DeviceId, Holder]) -> None:
    """After their locks, and in one order: nobody retires a version from here to the end of the transaction."""
    oldest = {
        tenant_id: oldest_version(tx, tenant_id, Purpose.DATA)
        for tenant_id in sorted({device.tenant_id for device in devices.values()})
    }
    for device_id, device in devices.items():
        devices[device_id] = replace(device, oldest_version=oldest[device.tenant_id])


def _store(tx: Connection, message: SnapshotMessage, devices: dict[DeviceId, Holder]) -> Stored:
    row = tx.execute(_ROW, {"collection": message.collection_id}).one_or_none()
    device = devices.get(message.device_id)
    outcome = judge(message, _standing(row), device)  # 2
    if outcome is not Stored.STORED or row is None or device is None:
        return outcome
    content = _content(tx, message, row.raw_bytes)  # 3
    place_of = {"device": message.device_id, "seq": message.seq}
    around = [_observation(one) for one in tx.execute(_AROUND, place_of)]
    placed = place(observation_of(message), around, device.current_seq)
    collection = {"collection": message.collection_id}
    moved = tx.execute(_STORE, collection | {"content": content, "change": placed.is_change})  # 4, 5
    moved.scalar_one()  # under the device's lock nobody else can have moved it
    if (after := placed.successor) is not None:
        tx.execute(_RECONSIDER, place_of | {"seq": after.seq, "change": after.is_change})  # 5
    if placed.is_current:
        tx.execute(_CURRENT, place_of | collection)  # 6
        devices[message.device_id] = replace(device, current_seq=message.seq)
    return Stored.STORED


def _content(tx: Connection, message: SnapshotMessage, raw_bytes: int) -> int:
    key = content_key(message)._asdict()
    values = {"sealed": message.sealed.text, "raw_bytes": raw_bytes, "seq": message.seq}
    new = tx.execute(_CONTENT, key | values).scalar()
    return int(new if new is not None else tx.execute(_KNOWN, key).scalar_one())


def _holder(row: Row[Any]) -> Holder:
    removed = row.tenant_removed_at is not None
    seqs = Seq(row.kept_from_seq), Seq(row.current_seq)
    return Holder(TenantId(row.tenant_id), removed, *seqs, row.compacted_to_seq)


def _standing(row: Row[Any] | None) -> Standing | None:
    if row is None:
        return None
    fenced = None
    if row.digest is not None:
        fenced = Fenced(bytes(row.digest), ContentHash(bytes(row.content_hash)), row.normalization_version)
    return Standing(TenantId(row.tenant_id), DeviceId(row.device_id), Seq(row.seq), State(row.state), fenced)


def _observation(row: Row[Any]) -> Observation:
    return Observation(Seq(row.seq), ContentHash(bytes(row.content_hash)), row.normalization_version)
