"""The whole install in figures, for monitoring: asked by each beat every few seconds, so it counts in PostgreSQL."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, text

from backupflow.adapters.db.capacity import mean_session, period_of
from backupflow.adapters.db.counting import CRON, DEVICES, EVERY
from backupflow.adapters.db.effective import HOP_IN_TROUBLE
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.room import slots_of
from backupflow.core.capacity import Load, rate
from backupflow.core.claiming import LANES, shared
from backupflow.core.figures import (
    DeviceFigures,
    Figures,
    Heartbeat,
    JobFigures,
    LaneFigures,
    StandingAlarms,
    Waiting,
)
from backupflow.core.model import Lane, State
from backupflow.core.overview import LATE, LivingProcess
from backupflow.core.verdict import OWN_SCOPES, Count

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from backupflow.core.ledger import Limits
    from backupflow.core.scope import Policy

# All of one moment; and nobody waits for it, however slow it is.
_ONE_MOMENT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
_AT_MOST = text("SELECT set_config('statement_timeout', :most, true)")
_TIMETABLES = text(f"""
    SELECT {CRON} AS cron, {EVERY} AS every,
        count(*) FILTER (WHERE d.status = 'active' AND d.blocked_code IS NULL AND d.lane = '{Lane.NORMAL}') AS devices
    FROM device d LEFT JOIN device_group g ON g.id = d.device_group_id LEFT JOIN site s ON s.id = d.site_id
    JOIN tenant t ON t.id = d.tenant_id WHERE d.status <> 'removed' GROUP BY 1, 2""")
_COUNTED = text(f"""
    SELECT counted, CASE WHEN counted = '{Count.BLOCKED.name}' THEN blocked_code END AS code, count(*) AS n
    FROM ({DEVICES}) counted GROUP BY 1, 2""")
_EACH = text(f"""
    SELECT c.name, coalesce(s.name, '') AS site, t.name AS tenant, c.counted, c.current_at, c.failures,
        CASE WHEN counted = '{Count.BLOCKED.name}' THEN blocked_code END AS code, 1 AS n
    FROM ({DEVICES}) c LEFT JOIN site s ON s.id = c.site_id JOIN tenant t ON t.id = c.tenant_id
    ORDER BY t.name, c.name""")
_KIND = " ".join(f"WHEN starts_with(scope, '{kind}') THEN '{kind}'" for kind in OWN_SCOPES)
_ALARMS = text(f"""
    SELECT code, CASE {_KIND} ELSE '' END AS kind, count(*) FROM alarm WHERE cleared_at IS NULL
    GROUP BY 1, 2 ORDER BY 1, 2""")
_PROCESSES = text("""
    SELECT id, role, host, pid, slots, started_at, heartbeat_at, queues, worked_at FROM process
    WHERE heartbeat_at > now() - interval '1 day' ORDER BY role, host, pid""")
_OPEN = text("""
    SELECT lane, state, count(*) AS n FROM collection WHERE state IN ('claimed', 'running') GROUP BY lane, state""")
# One row of what a single number says.
_NUMBERS = text(f"""
    SELECT
    (SELECT count(*) FROM credential_profile WHERE suspended_at IS NOT NULL AND trial_at IS NOT NULL) AS refused,
    (SELECT count(*) FROM credential_profile WHERE suspended_at IS NOT NULL AND trial_at IS NULL) AS suspended,
    (SELECT count(*) FROM site WHERE down_since IS NOT NULL) AS sites_down,
    (SELECT count(*) FROM jump_host h LEFT JOIN credential_profile hl ON hl.id = h.credential_profile_id
     WHERE {HOP_IN_TROUBLE}) AS hops_in_trouble,
    (SELECT count(*) FROM event WHERE sent_at IS NULL AND given_up_at IS NULL) AS unsent,
    (SELECT now() - max(made_at) FROM system_backup WHERE made_at <= now()) AS backup_ago,
    (SELECT now() - min(created_at) FROM tenant) AS installed_ago,
    (SELECT now() - min(coalesce(e.filed_at, e.enabled_at)) FROM escrow e JOIN tenant t ON t.id = e.tenant_id
     WHERE t.removed_at IS NULL) AS escrow_ago,
    (SELECT count(*) FROM escrow e JOIN tenant t ON t.id = e.tenant_id WHERE t.removed_at IS NULL) AS escrow_tenants,
    now() AS now""")
_PUBLISHED = text("SELECT count(*), now() - min(collected_at) FROM collection WHERE state = 'published'")
_UNINTERPRETED = text("""
    SELECT count(*), now() - min(c.stored_at) FROM collection c JOIN tenant t ON t.id = c.tenant_id
    WHERE c.state = 'stored' AND c.is_change IS NOT FALSE AND c.interpreted_after_seq IS NULL
      AND t.removed_at IS NULL""")
_UNTOLD = text("SELECT count(*), now() - min(created_at) FROM outbox WHERE event_id IS NULL")
_JOBS = text("SELECT name, now() - completed_at AS done_ago, every FROM job ORDER BY name")


class Gauges:
    """core.ports.GaugeStore. `defaults` are the global settings, `limits` what one claim may take.

    A single question takes `at_most` so long: StoreUnavailable, and nobody waits any longer.
    """

    def __init__(
        self, engine: Engine, defaults: Policy, limits: Limits, at_most: timedelta = timedelta(seconds=10)
    ) -> None:
        self._engine = engine
        self._defaults = defaults
        self._limits = limits
        self._at_most = at_most

    def look(self, *, devices: bool = False) -> Figures:
        """All figures of one moment; `devices`: those of each device too."""
        with transaction(self._engine) as tx:
            tx.execute(_ONE_MOMENT)
            tx.execute(_AT_MOST, {"most": f"{self._at_most // timedelta(milliseconds=1)}ms"})
            return self._look(tx, devices=devices)

    def _look(self, tx: Connection, *, devices: bool) -> Figures:
        numbers = tx.execute(_NUMBERS).one()
        now: datetime = numbers.now
        values, load = self._timetables(tx, now)
        rows = tx.execute(_EACH if devices else _COUNTED, values).all()
        counted, blocked = _counted(rows)
        lanes = self._lanes(tx)
        return Figures(
            now,
            counted,
            blocked,
            tuple(StandingAlarms(*row) for row in tx.execute(_ALARMS)),
            tuple(_heartbeat(LivingProcess(*row), now) for row in tx.execute(_PROCESSES)),
            lanes,
            Load(load, mean_session(tx), lanes[Lane.NORMAL].slots),
            numbers.refused,
            numbers.suspended,
            numbers.sites_down,
            numbers.hops_in_trouble,
            Waiting(*tx.execute(_PUBLISHED).one()),
            Waiting(*tx.execute(_UNINTERPRETED).one()),
            Waiting(*tx.execute(_UNTOLD).one()),
            numbers.unsent,
            {row.name: JobFigures(row.done_ago, row.every) for row in tx.execute(_JOBS)},
            numbers.backup_ago,
            numbers.installed_ago or timedelta(0),
            numbers.escrow_ago,
            numbers.escrow_tenants,
            _each(rows) if devices else (),
        )

    def _timetables(self, tx: Connection, now: datetime) -> tuple[dict[str, Any], float]:
        """Period and tolerance of each timetable that there is, and how many sessions a second all of them make."""
        rows = tx.execute(_TIMETABLES).all()
        periods = [period_of(self._defaults, _said(row), now) for row in rows]
        values = {
            "crons": [row.cron for row in rows],
            "everys": [row.every for row in rows],
            "periods": periods,
            "tolerances": [max(LATE, period / 10) for period in periods],
        }
        return values, rate((period, row.devices) for period, row in zip(periods, rows, strict=True))

    def _lanes(self, tx: Connection) -> dict[Lane, LaneFigures]:
        slots, _ = slots_of(tx, self._limits)
        taken = {state: dict.fromkeys(LANES, 0) for state in (State.CLAIMED, State.RUNNING)}
        for row in tx.execute(_OPEN):
            taken[State(row.state)][shared(Lane(row.lane))] += row.n
        factor, claimed, running = self._limits.window_factor, taken[State.CLAIMED], taken[State.RUNNING]
        return {lane: LaneFigures(slots[lane], factor * slots[lane], claimed[lane], running[lane]) for lane in LANES}


def _said(row: Row[Any]) -> dict[str, object]:
    return {name: value for name, value in (("cron", row.cron), ("interval_seconds", row.every)) if value}


def _counted(rows: Iterable[Row[Any]]) -> tuple[dict[Count, int], dict[str, int]]:
    counted: dict[Count, int] = dict.fromkeys(Count, 0)
    blocked: dict[str, int] = {}
    for row in rows:
        counted[Count[row.counted]] += row.n
        if row.code is not None:
            blocked[row.code] = blocked.get(row.code, 0) + row.n
    return counted, blocked


def _heartbeat(process: LivingProcess, now: datetime) -> Heartbeat:
    age = max(now - process.heartbeat_at, timedelta(0))
    return Heartbeat(process.kind, process.host, process.pid, age, process.alive(now))


def _each(rows: Iterable[Row[Any]]) -> tuple[DeviceFigures, ...]:
    return tuple(
        DeviceFigures(row.name, row.site, row.tenant, Count[row.counted], row.current_at, row.failures) for row in rows
    )
