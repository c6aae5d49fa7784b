"""Devices that somebody's poller says are away: they wait, but are tried once in each of their intervals anyway."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db.effective import policy_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    from backupflow.core.scope import Policy

AGAIN = timedelta(seconds=60)  # its word is asked for again
_AWAY = text("""
    UPDATE device d SET offline_since = away.since, next_due_at = away.again
    FROM unnest(CAST(:devices AS uuid[]), CAST(:since AS timestamptz[]), CAST(:again AS timestamptz[]))
        AS away (id, since, again) WHERE d.id = away.id""")


def postpone(tx: Connection, rows: Sequence[Row[Any]], away: Collection[UUID], defaults: Policy) -> list[Row[Any]]:
    """Let those wait that are away; those of these due rows, which are locked, that are to be claimed all the same."""
    now: datetime = tx.scalar(text("SELECT now()"))
    there, waiting = [], []
    for row in rows:
        since = min(row.offline_since or now, now)
        until = since + policy_of(defaults, row).interval
        if row.id not in away or until <= now:
            there.append(row)
        else:
            waiting.append((row.id, since, min(now + AGAIN, until)))
    if waiting:
        devices, since_, again = (list(column) for column in zip(*waiting, strict=True))
        tx.execute(_AWAY, {"devices": devices, "since": since_, "again": again})
    return there
