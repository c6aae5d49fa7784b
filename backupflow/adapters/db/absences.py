"""Devices that somebody's poller says are away: they wait, but are tried once in each of their intervals anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db.effective import policy_of
from backupflow.core.presence import may_ask, skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    from backupflow.core.model import DeviceId
    from backupflow.core.presence import Skipped
    from backupflow.core.scope import Policy

    Absent = Callable[[Sequence[DeviceId]], Collection[DeviceId]]

_AWAY = text("""
    UPDATE device d SET offline_since = away.since, next_due_at = away.again
    FROM unnest(CAST(:devices AS uuid[]), CAST(:since AS timestamptz[]), CAST(:again AS timestamptz[]))
        AS away (id, since, again) WHERE d.id = away.id""")


def there(tx: Connection, rows: Sequence[Row[Any]], absent: Absent, defaults: Policy) -> Sequence[Row[Any]]:
    """Of these due rows, which are locked, those to be claimed; the others wait, and leave no other trace."""
    if not rows:
        return rows
    now: datetime = tx.scalar(text("SELECT now()"))
    periods = {row.id: policy_of(defaults, row).timetable.period(row.offline_since or now) for row in rows}
    away = absent([row.id for row in rows if may_ask(row.offline_since, periods[row.id], now)])
    if away:
        _postpone(tx, {row.id: skipped(row.offline_since, periods[row.id], now) for row in rows if row.id in away})
    return [row for row in rows if row.id not in away]


def _postpone(tx: Connection, waiting: dict[UUID, Skipped]) -> None:
    since, again = [one.since for one in waiting.values()], [one.due_at for one in waiting.values()]
    tx.execute(_AWAY, {"devices": list(waiting), "since": since, "again": again})
