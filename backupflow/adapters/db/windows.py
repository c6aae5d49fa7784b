"""Windows of maintenance become times in rows, which is what everybody asks who wants to know whether one is open.

Only rows that have windows or such a time are looked at, of devices through an index of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db.alarms import raise_alarm
from backupflow.core.windows import read_windows, standing
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

EVERY = 10  # ticks: a window opens and closes to the minute, and a row that is claimed meanwhile is withdrawn
_TABLES = {"tenant": "id", "site": "tenant_id", "device_group": "tenant_id", "device": "tenant_id"}
_SAID = text(
    " UNION ALL ".join(
        f"SELECT '{table}' AS of, id, {tenant} AS tenant_id, settings -> 'maintenance' AS windows, "
        f"maintenance_until AS said, now() AS now FROM {table} "
        "WHERE settings ? 'maintenance' OR maintenance_until IS NOT NULL"
        for table, tenant in _TABLES.items()
    )
)
# Whoever changes it at this moment is asked again later; nobody is waited for.
_WRITE = """
    UPDATE {table} x SET maintenance_until = found.until FROM (
        SELECT l.id, said.until FROM {table} l
        JOIN unnest(CAST(:ids AS uuid[]), CAST(:was AS timestamptz[]), CAST(:untils AS timestamptz[]))
            AS said (id, was, until) ON said.id = l.id AND l.maintenance_until IS NOT DISTINCT FROM said.was
        ORDER BY l.id FOR NO KEY UPDATE OF l SKIP LOCKED) found
    WHERE x.id = found.id"""
_WRITES = {table: text(_WRITE.format(table=table)) for table in _TABLES}


def open_and_close(tx: Connection) -> int:
    """Write till when each scope is in maintenance; how many changed."""
    changed: dict[str, list[tuple[Any, datetime | None, datetime | None]]] = {}
    for row in tx.execute(_SAID):
        until = _until(tx, row)
        if until != row.said:
            changed.setdefault(row.of, []).append((row.id, row.said, until))
    for table, rows in changed.items():
        ids, was, untils = (list(column) for column in zip(*rows, strict=True))
        tx.execute(_WRITES[table], {"ids": ids, "was": was, "untils": untils})
    return sum(map(len, changed.values()))


def _until(tx: Connection, row: Row[Any]) -> datetime | None:
    """Windows that make no sense are none: what is not collected without anybody's word is worse than a call."""
    windows: Sequence[str] = row.windows or ()
    try:
        return standing(read_windows(tuple(windows)), row.said, row.now)
    except (InputInvalid, TypeError, AttributeError) as exc:
        detail = exc.detail if isinstance(exc, InputInvalid) else "its windows of maintenance cannot be understood"
        scope = f"{row.of.removeprefix('device_')} {row.id}"
        raise_alarm(tx, "settings_unusable", scope, detail, row.tenant_id)
        return standing((), row.said, row.now)
