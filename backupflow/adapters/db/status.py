"""The install at one look: devices, alarms, processes, all of one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, text

from backupflow.adapters.db.capacity import load
from backupflow.adapters.db.effective import (
    HINDRANCE,
    HOP_IN_TROUBLE,
    HOP_LOGIN_HINDRANCE,
    LOGIN,
    MAINTENANCE_UNTIL,
    SETTINGS,
    due_behind,
    observes,
    own_hindrance,
    policy_of,
)
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.escrow import escrows
from backupflow.adapters.db.room import MOST
from backupflow.adapters.db.rotating import HAS_TURN
from backupflow.adapters.db.taken import TAKEN
from backupflow.adapters.db.unreadable import UNREADABLE
from backupflow.core.keys import KEYS_LOST
from backupflow.core.model import DeviceId, LoginOn, State, TenantId, Trigger
from backupflow.core.overview import (
    LATE,
    Alarm,
    Backlog,
    Concurrency,
    Copies,
    DeviceState,
    GivenUp,
    Job,
    JumpHostState,
    LastCollection,
    LivingProcess,
    LoginState,
    Overview,
    SiteState,
)

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from backupflow.core.scope import Policy

_OWN = own_hindrance(f"'{Trigger.SCHEDULE}'")
_STATES = f"""
    SELECT d.id, d.tenant_id, d.name, d.host, d.port, d.status, {HINDRANCE} AS hindrance,
        CASE WHEN {_OWN} IS NULL AND {HOP_IN_TROUBLE} THEN h.id END AS waits_for, d.blocked_code, d.failures,
        d.paused_reason,
        d.next_due_at, {SETTINGS}, last.seq, last.state, last.code, last.detail,
        coalesce(last.ended_at, last.collected_at, last.started_at, last.claimed_at) AS last_at,
        CASE WHEN last.state = 'claimed' THEN last.claimed_at END AS claimed_at, current.collected_at AS current_at,
        current.facts, d.driver, d.source, g.name AS group_name, s.name AS site, l.name AS profile,
        l.method = 'key' AS by_key, h.name AS jump, d.site_id, s.down_since AS site_down_since,
        {MAINTENANCE_UNTIL} AS maintenance_until, d.answered_at, d.unreachable_since, d.offline_since, d.hold_until,
        d.flapping_since,
        {HAS_TURN} AS other_login_next,
        d.login_on, {{changes}} AS snapshots, {UNREADABLE} AS unreadable,
        extract(epoch FROM coalesce(last.collected_at, last.ended_at) - last.started_at) AS seconds
    FROM device d {LOGIN}
    LEFT JOIN LATERAL (
        SELECT * FROM collection c WHERE c.device_id = d.id AND {observes("c.trigger")}
        ORDER BY c.seq DESC LIMIT 1) last ON true
    LEFT JOIN collection current ON current.id = d.current_collection_id"""
_COUNTED = """
    LEFT JOIN (
        SELECT device_id, count(*) FROM collection WHERE state = 'stored' AND is_change GROUP BY device_id
        ) changes ON changes.device_id = d.id"""
_DEVICES = text(
    _STATES.format(changes="coalesce(changes.count, 0)")
    + f"""{_COUNTED}
    WHERE (CAST(:tenant AS uuid) IS NULL OR d.tenant_id = :tenant) AND (d.status <> 'removed' OR :removed)
      AND (CAST(:only AS uuid[]) IS NULL OR d.id = ANY(CAST(:only AS uuid[])))
    ORDER BY d.name, d.removed_at"""
)
# Few as a rule, by two indexes; which of them are late is core.overview's to say.
LATE_ONES = text(
    _STATES.format(changes="0")
    + """
    WHERE d.status = 'active' AND d.blocked_code IS NULL AND (d.next_due_at < now() - :late OR d.id IN (
        SELECT device_id FROM collection WHERE state = 'claimed' AND claimed_at < now() - :late))"""
)
_JUMP_HOSTS = text(f"""
    SELECT h.id, h.name, {HOP_LOGIN_HINDRANCE} AS hindrance, h.down_since, h.retry_at, h.blocked_code,
        h.blocked_detail, h.reached_at, {due_behind("x.id")} AS waiting
    FROM jump_host x JOIN jump_host h ON h.id = x.id LEFT JOIN credential_profile hl ON hl.id = h.credential_profile_id
    WHERE CAST(:tenant AS uuid) IS NULL OR h.tenant_id = :tenant ORDER BY h.name""")
# The newest first; where there are too many, those of single devices are left out before the others.
_ALARMS = text("""
    SELECT * FROM (
        SELECT id, code, scope, detail, since, cleared_at FROM alarm WHERE cleared_at IS NULL OR :cleared
        ORDER BY cleared_at IS NULL DESC, starts_with(scope, 'device '), since DESC LIMIT :limit) found
    ORDER BY since DESC""")
_PROCESSES = text("""
    SELECT id, role, host, pid, slots, started_at, heartbeat_at, queues, worked_at FROM process
    ORDER BY role, started_at""")
_GIVEN_UP = text("""
    SELECT * FROM (
        SELECT greatest(data.created_at, login.created_at) AS at,
            (SELECT count(*) FROM device d WHERE d.tenant_id = t.id AND d.status <> 'removed'
                AND d.unreadable_to_seq >= d.kept_from_seq AND d.unreadable_to_seq > 0) AS devices,
            (SELECT count(*) FROM credential_profile p
             WHERE p.tenant_id = t.id AND p.suspended_at IS NOT NULL AND p.suspended_reason = :lost) AS logins
        FROM tenant t JOIN transit_key data ON data.tenant_id = t.id AND data.purpose = 'data'
        JOIN transit_key login ON login.tenant_id = t.id AND login.purpose = 'credentials'
        WHERE t.removed_at IS NULL AND (CAST(:tenant AS uuid) IS NULL OR t.id = :tenant)) counted
    WHERE devices > 0 OR logins > 0 ORDER BY at""")
_JOBS = text("SELECT name, due_at, completed_at, finished_at, outcome FROM job ORDER BY name")
_NOW = text("SELECT now()")
_CLOCK = text("SELECT clock_timestamp()")
_SITES = text("""
    SELECT s.id, s.name, s.down_since, s.probe_at, greatest(s.maintenance_until, t.maintenance_until)
    FROM site s JOIN tenant t ON t.id = s.tenant_id
    WHERE CAST(:tenant AS uuid) IS NULL OR s.tenant_id = :tenant ORDER BY s.name""")
_LOGINS = text(f"""
    SELECT id, name, suspended_at, suspended_reason, trial_at, trials, next_changed_at, id IN ({TAKEN}),
        method = 'key'
    FROM credential_profile
    WHERE name IS NOT NULL AND (CAST(:tenant AS uuid) IS NULL OR tenant_id = :tenant) ORDER BY name""")
_CONCURRENCY = text(
    " UNION ALL ".join(
        f"SELECT '{kind}', {tenant}, name, CAST(least(CAST(settings -> 'concurrency' AS numeric), {MOST}) AS int) "
        f"FROM {table} WHERE jsonb_typeof(settings -> 'concurrency') = 'number' "
        f"AND (CAST(:tenant AS uuid) IS NULL OR {tenant} = :tenant)"
        for kind, table, tenant in (
            ("group", "device_group", "tenant_id"), ("site", "site", "tenant_id"), ("tenant", "tenant", "id"),
        )
    )
)  # fmt: skip
_BACKLOG = text("""
    SELECT count(*) AS changes, min(c.stored_at) AS oldest_at FROM collection c JOIN tenant t ON t.id = c.tenant_id
    WHERE c.state = 'stored' AND c.is_change IS NOT FALSE AND c.interpreted_after_seq IS NULL
      AND c.stored_at < now() - CAST(:late AS interval) AND t.removed_at IS NULL
      AND (CAST(:tenant AS uuid) IS NULL OR c.tenant_id = :tenant)""")
_COPIES = text("""
    SELECT (SELECT min(created_at) FROM tenant) AS installed_at, (
        SELECT max(made_at) FROM system_backup WHERE made_at <= now()) AS backup_at
    """)
_RUNNING = text("SELECT count(*) FROM collection WHERE state = 'running'")
_AS_THEY_ARE = (
    "paused_reason", "site_id", "site_down_since", "maintenance_until", "answered_at", "unreachable_since",
    "offline_since", "hold_until", "flapping_since",
)  # fmt: skip
_MANY = 1000


class Statuses:
    """core.ports.OverviewStore. `defaults` are the global settings."""

    def __init__(self, engine: Engine, defaults: Policy) -> None:
        self._engine = engine
        self._defaults = defaults

    def overview(
        self, tenant_id: TenantId | None = None, *, removed: bool = False, only: Collection[DeviceId] | None = None
    ) -> Overview:
        """All of it in one transaction; `removed` shows removed devices too, `only` names those that are wanted."""
        with transaction(self._engine) as tx:
            chosen = None if only is None else list(only)
            rows = tx.execute(_DEVICES, {"tenant": tenant_id, "removed": removed, "only": chosen}).all()
            now: datetime = tx.execute(_NOW).scalar_one()
            devices = tuple(device_of(row, self._defaults, now) for row in rows)
            jobs = tuple(Job(*row) for row in tx.execute(_JOBS))
            within = {"tenant": tenant_id}
            return Overview(
                now,
                devices,
                _alarms(tx),
                _processes(tx),
                _given_up(tx, tenant_id),
                jobs,
                tuple(JumpHostState(*row) for row in tx.execute(_JUMP_HOSTS, within)),
                tuple(SiteState(*row) for row in tx.execute(_SITES, within)),
                tuple(LoginState(*row) for row in tx.execute(_LOGINS, within)),
                int(tx.scalar(_RUNNING) or 0),
                load(tx, self._defaults),
                tuple(Concurrency(*row) for row in tx.execute(_CONCURRENCY, within)),
                _backlog(tx, tenant_id),
                _copies(tx, tenant_id, now),
            )

    def alarms(self, *, cleared: bool = False) -> tuple[Alarm, ...]:
        """The standing alarms, and the cleared ones too if asked for; the newest first."""
        with transaction(self._engine) as tx:
            return _alarms(tx, cleared=cleared)

    def clock(self) -> datetime:
        """PostgreSQL's time of day."""
        with transaction(self._engine) as tx:
            return tx.execute(_CLOCK).scalar_one()  # type: ignore[no-any-return]


def device_of(row: Row[Any], defaults: Policy, now: datetime) -> DeviceState:
    """A device as one of these rows has it."""
    last = LastCollection(row.seq, State(row.state), row.code, row.detail, row.last_at) if row.seq else None
    return DeviceState(
        TenantId(row.tenant_id),
        DeviceId(row.id),
        row.name,
        row.host,
        row.port,
        row.status,
        row.hindrance,
        row.blocked_code,
        row.failures,
        policy_of(defaults, row).timetable.period(now),
        row.next_due_at,
        row.claimed_at,
        last,
        row.current_at,
        row.snapshots,
        row.facts or {},
        row.waits_for,
        row.driver,
        row.source,
        row.group_name,
        row.site,
        row.profile,
        row.jump,
        bool(row.by_key),
        **{name: getattr(row, name) for name in _AS_THEY_ARE},
        other_login_next=bool(row.other_login_next),
        login_on=LoginOn(row.login_on),
        unreadable=bool(row.unreadable),
        seconds=None if row.seconds is None else max(float(row.seconds), 0.0),
    )


def _alarms(tx: Connection, *, cleared: bool = False) -> tuple[Alarm, ...]:
    rows = tx.execute(_ALARMS, {"cleared": cleared, "limit": _MANY})
    return tuple(Alarm(row.id, row.code, row.scope, row.detail, row.since, row.cleared_at) for row in rows)


def _processes(tx: Connection) -> tuple[LivingProcess, ...]:
    return tuple(LivingProcess(*row) for row in tx.execute(_PROCESSES))


def _backlog(tx: Connection, tenant_id: TenantId | None) -> Backlog | None:
    row = tx.execute(_BACKLOG, {"tenant": tenant_id, "late": LATE}).one()
    return Backlog(row.changes, row.oldest_at) if row.changes else None


def _copies(tx: Connection, tenant_id: TenantId | None, now: datetime) -> Copies | None:
    row = tx.execute(_COPIES).one()
    found = tuple(escrows(tx, tenant_id))
    return None if row.installed_at is None else Copies(now, row.installed_at, row.backup_at, found)


def _given_up(tx: Connection, tenant_id: TenantId | None) -> tuple[GivenUp, ...]:
    rows = tx.execute(_GIVEN_UP, {"tenant": tenant_id, "lost": KEYS_LOST})
    return tuple(GivenUp(row.at, row.devices, row.logins) for row in rows)
