"""What the timetables of all devices ask of the workers that live: three questions, however many devices there are."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, text

from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.room import slots_of
from backupflow.core.capacity import Load, rate
from backupflow.core.ledger import Limits
from backupflow.core.model import Lane
from backupflow.core.scope import Policy, resolve
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from datetime import datetime

_WHEN = "ARRAY['cron', 'interval_seconds']"
# The nearest scope that says when; devices that are alike are counted together.
_TIMETABLES = text(f"""
    SELECT jsonb_strip_nulls(jsonb_build_object('cron', said -> 'cron', 'interval_seconds', said -> 'interval_seconds'))
        AS said, count(*) AS devices, now() AS now
    FROM (SELECT CASE WHEN d.settings ?| {_WHEN} THEN d.settings WHEN g.settings ?| {_WHEN} THEN g.settings
                      WHEN s.settings ?| {_WHEN} THEN s.settings ELSE t.settings END AS said
          FROM device d LEFT JOIN device_group g ON g.id = d.device_group_id LEFT JOIN site s ON s.id = d.site_id
          JOIN tenant t ON t.id = d.tenant_id
          WHERE d.status = 'active' AND d.blocked_code IS NULL AND d.lane = :lane) one GROUP BY 1""")
# Of the newest rows: how long it took a month ago is of no interest, and an index has them in this order.
_SESSION = text("""
    SELECT avg(collected_at - started_at) FROM (
        SELECT state, started_at, collected_at FROM collection ORDER BY id DESC LIMIT 5000) newest
    WHERE state = 'stored' AND collected_at >= started_at""")


class Capacity:
    """Whether the workers can keep up. `defaults` are the global settings."""

    def __init__(self, engine: Engine, defaults: Policy) -> None:
        self._engine = engine
        self._defaults = defaults

    def load(self) -> Load:
        """At this moment."""
        with transaction(self._engine) as tx:
            return load(tx, self._defaults)


def load(tx: Connection, defaults: Policy) -> Load:
    """What all active devices ask of the workers that live."""
    slots, _ = slots_of(tx, Limits())
    rows = tx.execute(_TIMETABLES, {"lane": Lane.NORMAL}).all()
    periods = [(period_of(defaults, row.said, row.now), row.devices) for row in rows]
    return Load(rate(periods), mean_session(tx), slots[Lane.NORMAL])


def mean_session(tx: Connection) -> timedelta | None:
    """How long the newest sessions took on average; None: there was none yet."""
    found: timedelta | None = tx.scalar(_SESSION)
    return found


def period_of(defaults: Policy, said: dict[str, object], now: datetime) -> timedelta:
    """Settings that make no sense are the default ones, as for whoever claims."""
    try:
        found = resolve(defaults, said).timetable.period(now)
    except (InputInvalid, ValueError, OverflowError):
        found = defaults.timetable.period(now)
    return max(found, timedelta(seconds=1))
