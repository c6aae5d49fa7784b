"""Devices whose timetable an act has made another run by it from then on, in the transaction of that act.

Whatever it was: a setting of theirs or of a scope, another group, another site. The caller holds the devices' locks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db.contacts import forget_where_often
from backupflow.adapters.db.effective import LOGIN, SETTINGS, observes, policy_of
from backupflow.core.rescheduling import Rescheduled, Waiting, rescheduled

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from uuid import UUID

    from backupflow.core.scope import Policy
    from backupflow.core.timetable import Timetable

_TIMETABLES = text(
    f"SELECT d.id, {SETTINGS} FROM device d {LOGIN} WHERE d.id = ANY(:devices) AND d.status <> 'removed'"
)
# The newest collection that was more than a claim; those are few, and what is asked is the first of an index.
_WAITING = text(f"""
    SELECT d.id, d.next_due_at, d.anchor_at, last.attempted_at, now() AS now,
        d.failures + d.losses > 0 OR d.refused_on IS NOT NULL AS failing
    FROM device d LEFT JOIN LATERAL (
        SELECT coalesce(c.started_at, c.claimed_at) AS attempted_at FROM collection c
        WHERE c.device_id = d.id AND {observes("c.trigger")} AND c.state <> 'withdrawn'
        ORDER BY c.seq DESC LIMIT 1) last ON true
    WHERE d.id = ANY(:devices) AND d.status = 'active' AND d.blocked_code IS NULL AND d.next_due_at IS NOT NULL""")
_NOW = text("SELECT now()")
_WRITE = text("""
    UPDATE device d SET next_due_at = turn.due, anchor_at = turn.anchor
    FROM unnest(CAST(:devices AS uuid[]), CAST(:dues AS timestamptz[]), CAST(:anchors AS timestamptz[]))
        AS turn (id, due, anchor)
    WHERE d.id = turn.id AND (d.next_due_at, d.anchor_at) IS DISTINCT FROM (turn.due, turn.anchor)""")


def timetables(tx: Connection, devices: Collection[UUID], defaults: Policy) -> dict[UUID, Timetable]:
    """When each of them runs, as its settings say at this moment; removed ones are left out."""
    if not devices:
        return {}
    rows = tx.execute(_TIMETABLES, {"devices": list(devices)})
    return {row.id: policy_of(defaults, row).timetable for row in rows}


def reschedule(tx: Connection, before: Mapping[UUID, Timetable], defaults: Policy) -> Rescheduled | None:
    """Let those run by their new timetable that have another one than `before`; None if none has."""
    after = timetables(tx, before, defaults)
    changed = {device: timetable for device, timetable in after.items() if timetable != before[device]}
    if not changed:
        return None
    now = tx.execute(_NOW).scalar_one()
    forget_where_often(tx, {device: timetable.period(now) for device, timetable in changed.items()})
    rows = tx.execute(_WAITING, {"devices": list(changed)}).all()
    if not rows:
        return Rescheduled(len(changed), 0)
    turns, done = rescheduled([_waiting(row, changed[row.id]) for row in rows], rows[0].now)
    devices, dues, anchors = (list(column) for column in zip(*turns, strict=True))
    tx.execute(_WRITE, {"devices": devices, "dues": dues, "anchors": anchors})
    return Rescheduled(len(changed), done.now, done.spread)


def _waiting(row: Row[Any], timetable: Timetable) -> Waiting:
    return Waiting(row.id, row.next_due_at, row.anchor_at, row.attempted_at, row.failing, timetable)
