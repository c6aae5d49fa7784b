"""When the turn of a device comes, by its settings and its phase; and what is due later than they say."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db.alarms import raise_alarm
from backupflow.adapters.db.effective import LOGIN, SETTINGS, usable_policy
from backupflow.core import backoff, cadence
from backupflow.core.flapping import reckoned_from
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from backupflow.core.scope import Policy
    from backupflow.core.timetable import Timetable

_BATCH = (
    2000  # devices that are reckoned with between two questions: a beat that asks nothing for 5 s is taken for dead
)
_LONGEST_START = timedelta(hours=2)  # many new devices are spread over as long as their number asks for
# When each is due that waits for its turn, to be measured against its interval.
_WAITING = text(f"""
    SELECT d.id, d.anchor_at, {SETTINGS}, d.next_due_at, d.created_at, d.flapping_since, now() AS now,
        d.failures + d.losses > 0 OR d.refused_on IS NOT NULL AS failing
    FROM device d {LOGIN} WHERE d.status = 'active' AND d.next_due_at > now() AND d.id > :after
    ORDER BY d.id LIMIT :batch""")
_SOONER = text("""
    UPDATE device d SET next_due_at = late.at FROM (
        SELECT x.id, l.at
        FROM unnest(CAST(:devices AS uuid[]), CAST(:was AS timestamptz[]), CAST(:due AS timestamptz[]))
            AS l (id, was, at)
        JOIN device x ON x.id = l.id AND x.next_due_at = l.was
        ORDER BY x.id FOR NO KEY UPDATE OF x SKIP LOCKED) late
    WHERE d.id = late.id""")


def next_turn(tx: Connection, defaults: Policy, row: Row[Any], now: datetime) -> datetime:
    """The first after this one, with which its phase begins if it lies before that.

    One device whose settings make no sense must not stop the fleet: its collector refuses it, in each period.
    """
    try:
        timetable = usable_policy(defaults, row).timetable
    except InputInvalid as exc:
        timetable = defaults.timetable
        raise_alarm(tx, "settings_unusable", f"device {row.id}", exc.detail, row.tenant_id)
    return timetable.next_run(row.id, min(row.anchor_at, now), reckoned_from(now, row.flapping_since))


def draw_nearer(tx: Connection, defaults: Policy) -> None:
    """What is due later than its settings say: the global ones were changed, or a clock stood ahead for a while."""
    late = []
    for row in _waiting(tx):
        try:
            timetable = usable_policy(defaults, row).timetable
        except InputInvalid:
            continue
        latest = _latest_due(row, timetable)
        if row.next_due_at > latest:
            late.append((row.id, row.next_due_at, latest))
    if late:
        devices, was, due = (list(column) for column in zip(*late, strict=True))
        tx.execute(_SOONER, {"devices": devices, "was": was, "due": due})


def _waiting(tx: Connection) -> Iterator[Row[Any]]:
    after = UUID(int=0)
    while rows := tx.execute(_WAITING, {"after": after, "batch": _BATCH}).all():
        yield from rows
        after = rows[-1].id


def _latest_due(row: Row[Any], timetable: Timetable) -> datetime:
    """No turn comes later than this, but for what waits after a failure."""
    now = reckoned_from(row.now, row.flapping_since)
    if timetable.cron is None and _ahead(row, timetable.interval):
        due = cadence.next_in_phase(row.anchor_at, timetable.interval, now)
    else:
        due = timetable.next_run(row.id, row.anchor_at, now)
    return max(due, row.now + backoff.LONGEST_WAIT) if row.failing else due


def _ahead(row: Row[Any], interval: timedelta) -> bool:
    """Whether a clock stood ahead when the phase was set: when the device was added, or its timetable changed."""
    return bool(row.created_at > row.now or row.anchor_at > row.now + max(interval, _LONGEST_START))
