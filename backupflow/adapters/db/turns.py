"""When the turn of a device comes, by its settings and its phase; and what is due later than they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db.alarms import raise_alarm
from backupflow.adapters.db.effective import LOGIN, SETTINGS, usable_policy
from backupflow.core import backoff, cadence
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from backupflow.core.scope import Policy

# When each is due that waits for its turn, to be measured against its interval.
_WAITING = text(f"""
    SELECT d.id, d.anchor_at, {SETTINGS}, d.next_due_at, d.created_at, d.failures + d.losses AS failing, now() AS now
    FROM device d {LOGIN} WHERE d.status = 'active' AND d.next_due_at > now()""")
_SOONER = text("""
    UPDATE device d SET next_due_at = late.at FROM (
        SELECT x.id, l.at
        FROM unnest(CAST(:devices AS uuid[]), CAST(:was AS timestamptz[]), CAST(:due AS timestamptz[]))
            AS l (id, was, at)
        JOIN device x ON x.id = l.id AND x.next_due_at = l.was
        ORDER BY x.id FOR NO KEY UPDATE OF x SKIP LOCKED) late
    WHERE d.id = late.id""")


def next_turn(tx: Connection, defaults: Policy, row: Row[Any], now: datetime) -> datetime:
    """One device whose settings make no sense must not stop the fleet: its collector refuses it, in each period."""
    try:
        interval = usable_policy(defaults, row).interval
    except InputInvalid as exc:
        interval = defaults.interval
        raise_alarm(tx, "settings_unusable", f"device {row.id}", exc.detail, row.tenant_id)
    return cadence.next_due(row.anchor_at, interval, now)


def draw_nearer(tx: Connection, defaults: Policy) -> None:
    """What is due later than its interval says: that was made shorter, or a clock stood ahead for a while."""
    late = []
    for row in tx.execute(_WAITING):
        try:
            interval = usable_policy(defaults, row).interval
        except InputInvalid:
            continue
        latest = _latest_due(row, interval)
        if row.next_due_at > latest:
            late.append((row.id, row.next_due_at, latest))
    if late:
        devices, was, due = (list(column) for column in zip(*late, strict=True))
        tx.execute(_SOONER, {"devices": devices, "was": was, "due": due})


def _latest_due(row: Row[Any], interval: timedelta) -> datetime:
    """No turn comes later than this, but for what waits after a failure."""
    began = row.created_at <= row.now  # else a clock stood ahead when the device was added, and its anchor is as wrong
    due = (cadence.next_due if began else cadence.next_in_phase)(row.anchor_at, interval, row.now)
    return max(due, row.now + backoff.LONGEST_WAIT) if row.failing else due
