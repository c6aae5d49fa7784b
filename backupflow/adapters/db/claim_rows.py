"""What every claim is made of: the columns that are read of a device, whether it fits, and the row that is inserted.

Devices are locked with SKIP LOCKED (lock order: device, then collection), so a claim waits for nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db.effective import SETTINGS
from backupflow.adapters.db.turns import next_turn
from backupflow.core.model import Claim, CollectionId, Lane, Trigger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from backupflow.core.claiming import Room
    from backupflow.core.scope import Policy

OPEN = "EXISTS (SELECT 1 FROM collection c WHERE c.device_id = d.id AND c.state IN ('claimed', 'running'))"
FIELDS = f"""d.id, d.tenant_id, d.lane, d.last_seq, d.anchor_at, d.via_id, d.device_group_id, d.site_id,
    d.offline_since, d.flapping_since, {SETTINGS}"""
# Of a jump host or a scope that is full nothing more is looked at: it must not hide what else is due.
FITS = "NOT ARRAY[d.via_id, d.device_group_id, d.site_id, d.tenant_id] && CAST({full} AS uuid[])"
# The same where devices of both lanes are asked for; its values are `full_by_lane`.
FITS_ITS_LANE = FITS.format(
    full=f"CASE WHEN d.lane = '{Lane.SLOW}' THEN CAST(:slow AS uuid[]) ELSE CAST(:normal AS uuid[]) END"
)
_CLAIM = text("""
    INSERT INTO collection (tenant_id, device_id, seq, trigger, lane)
    SELECT tenant_id, id, last_seq + 1, :trigger, :lane FROM device WHERE id = ANY(:devices)
    RETURNING id, device_id""")
# A test or a scan is no run: what is due stays due.
_CLAIMED = text("UPDATE device SET last_seq = last_seq + 1 WHERE id = ANY(:devices)")
# Whoever asked for a new device's first run: its phase begins with it. Else its first turn would follow in a minute.
_CLAIMED_DUE = text("""
    UPDATE device d SET last_seq = last_seq + 1, next_due_at = due.at, anchor_at = least(d.anchor_at, now()),
        offline_since = NULL
    FROM unnest(CAST(:devices AS uuid[]), CAST(:due AS timestamptz[])) AS due (id, at) WHERE d.id = due.id""")


def _nothing(_tx: Connection, _rows: Sequence[Row[Any]]) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Attempts:
    """Single devices that are claimed for something else than their turn.

    `due` finds them: rows with FIELDS of devices that fit (FITS_ITS_LANE), whose hindrance (effective.hindrance) for
    this trigger is NULL and of which no row is open, locked FOR NO KEY UPDATE OF d SKIP LOCKED. `claimed` is told of
    those of these rows that found room, in the same transaction.
    """

    trigger: Trigger
    due: Callable[[Connection, dict[str, list[UUID]]], Sequence[Row[Any]]]
    claimed: Callable[[Connection, Sequence[Row[Any]]], None] = _nothing


def full_by_lane(room: Room) -> dict[str, list[UUID]]:
    """The values of FITS_ITS_LANE."""
    return {"slow": room.full(Lane.SLOW), "normal": room.full(Lane.NORMAL)}


def places(device: Row[Any]) -> tuple[UUID | None, ...]:
    """What may be full of it."""
    return device.via_id, device.device_group_id, device.site_id, device.tenant_id


def insert(tx: Connection, devices: Sequence[Row[Any]], trigger: Trigger, lane: Lane, defaults: Policy) -> list[Claim]:
    """Claim these devices, which are locked and have FIELDS."""
    if not devices:
        return []
    now: datetime = tx.scalar(text("SELECT now()"))
    keys = [row.id for row in devices]
    made = tx.execute(_CLAIM, {"trigger": trigger, "lane": lane, "devices": keys})
    claimed = {row.device_id: Claim(CollectionId(row.id), lane) for row in made}
    if trigger.observes:
        tx.execute(_CLAIMED_DUE, {"devices": keys, "due": [next_turn(tx, defaults, row, now) for row in devices]})
    else:
        tx.execute(_CLAIMED, {"devices": keys})
    return [claimed[key] for key in keys]
