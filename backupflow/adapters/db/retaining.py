"""What is old enough is taken away: whole prefixes of histories, under the lock of their device.

What was read of the rows before is decided again under the lock, so that nothing goes that came back meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, text

from backupflow.adapters.db.alarms import clear_alarm, raise_alarm
from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.engine import transaction
from backupflow.core.model import DeviceId, Seq, TenantId
from backupflow.core.retaining import BRAKED, Age, Aged, Cut, Holding, Kept, Taken, cut
from backupflow.core.verification import DAMAGED, alarm_scope

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

_BEFORE = text("SELECT now() - CAST(:days AS interval)")
_HOLDINGS = text("""
    SELECT t.id, t.name, (SELECT count(*) FROM collection c WHERE c.tenant_id = t.id AND c.state = 'stored'
        AND c.is_change) AS configurations
    FROM tenant t WHERE CAST(:tenant AS uuid) IS NULL OR t.id = :tenant ORDER BY t.name""")
# By the index: the oldest that is stored of each device.
_AGING = text("""
    SELECT d.id FROM device d CROSS JOIN LATERAL (
        SELECT c.collected_at FROM collection c WHERE c.device_id = d.id AND c.state = 'stored'
        ORDER BY c.seq LIMIT 1) oldest
    WHERE d.tenant_id = :tenant AND (CAST(:after AS uuid) IS NULL OR d.id > :after)
      AND (oldest.collected_at < :before OR d.status = 'removed' AND d.removed_at < :before)
    ORDER BY d.id LIMIT :limit""")
_LOCK = text("""
    SELECT id FROM device WHERE id = ANY(:devices) AND tenant_id = :tenant
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED""")
_DEVICE = text("SELECT id, name, status, removed_at FROM device WHERE id = :device")
# A run begins with a change; what is undecided belongs to the run before it, which lives the longer for it.
_RUNS = text("""
    SELECT min(seq) AS first, max(collected_at) AS last_at, max(seq) AS last FROM (
        SELECT seq, collected_at, count(*) FILTER (WHERE is_change) OVER (ORDER BY seq) AS run
        FROM collection WHERE device_id = :device AND state = 'stored') numbered
    GROUP BY run ORDER BY min(seq)""")
# An observation on its way, or one whose difference from what would go was not read yet.
_WAITS = text("""
    SELECT EXISTS (SELECT 1 FROM collection c WHERE c.device_id = :device
            AND c.state IN ('claimed', 'running', 'published')
            AND (CAST(:below AS bigint) IS NULL OR c.seq < :below)) AS under_way,
        EXISTS (SELECT 1 FROM collection c WHERE c.device_id = :device AND c.seq = :below
            AND c.interpreted_after_seq IS NULL) AS unread""")
# What is under way goes as well: it may be older than what is there, and come late.
_NOT_CURRENT = text("""
    UPDATE device SET current_collection_id = NULL, current_seq = 0, kept_from_seq = last_seq + 1
    WHERE id = :device RETURNING kept_from_seq""")
_KEPT_FROM = text("""
    UPDATE device SET kept_from_seq = greatest(kept_from_seq, :below) WHERE id = :device
      AND (SELECT seq FROM collection WHERE id = device.current_collection_id) >= :below RETURNING kept_from_seq""")
_COLLECTIONS = text("DELETE FROM collection WHERE device_id = :device AND seq < :below RETURNING id")
_OLDEST_IS_A_CHANGE = text("""
    UPDATE collection SET is_change = true
    WHERE device_id = :device AND seq = :below AND state = 'stored' AND is_change IS DISTINCT FROM true""")
_CONTENTS = text("""
    DELETE FROM content o WHERE o.device_id = :device
      AND NOT EXISTS (SELECT 1 FROM collection c WHERE c.device_id = :device AND c.content_id = o.id)
    RETURNING o.first_seq""")
_CLEAR = text("""
    UPDATE alarm SET cleared_at = now() WHERE code = :code AND scope = ANY(:scopes) AND cleared_at IS NULL""")
UNDER_WAY = "one of them is on its way"
UNREAD = "what changed after it is not interpreted yet"


class Retaining:
    """core.ports.RetentionStore, as a role that may delete."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def before(self, days: timedelta) -> datetime:
        """So long ago, by the clock that counts."""
        with transaction(self._engine) as tx:
            found: datetime = tx.execute(_BEFORE, {"days": days}).scalar_one()
        return found

    def holdings(self, tenant_id: TenantId | None) -> Sequence[Holding]:
        """What each tenant has, or that one."""
        with transaction(self._engine) as tx:
            rows = tx.execute(_HOLDINGS, {"tenant": tenant_id}).all()
        return [Holding(TenantId(row.id), row.name, row.configurations) for row in rows]

    def aging(
        self, tenant_id: TenantId, age: Age, after: DeviceId | None, limit: int
    ) -> Sequence[tuple[DeviceId, Aged | None]]:
        """The next devices by id with something old, and what of it is to go, if anything."""
        values = {"tenant": tenant_id, "before": age.before, "after": after, "limit": limit}
        with transaction(self._engine) as tx:
            return [(DeviceId(row), _aged(tx, DeviceId(row), age)) for row in tx.scalars(_AGING, values).all()]

    def take(self, tenant_id: TenantId, devices: Sequence[DeviceId], age: Age, actor: str) -> Taken:
        """Take away what is old of these, in one transaction with its row in the audit.

        A device that somebody works on is left to the next round.
        """
        taken = Taken()
        with transaction(self._engine) as tx:
            for device_id in tx.scalars(_LOCK, {"devices": sorted(devices), "tenant": tenant_id}).all():
                aged = _aged(tx, device_id, age)
                if aged is not None and not aged.waits:
                    taken += take_away(tx, aged)
            if taken.devices:
                detail = {
                    "devices": taken.devices, "configurations": taken.configurations,
                    "collections": taken.collections, "before": age.before.isoformat(), "kept": age.keep,
                }  # fmt: skip
                record_act(tx, actor, "history_retained", tenant_id=tenant_id, detail=detail)
        return taken

    def brake(self, tenant_id: TenantId, detail: str) -> bool:
        """Let the alarm of a round stand that would take too much, or clear it (no detail); True if it is new."""
        scope = f"tenant {tenant_id} retention"
        with transaction(self._engine) as tx:
            if detail:
                return raise_alarm(tx, BRAKED, scope, detail, tenant_id)
            clear_alarm(tx, BRAKED, scope)
            return False


def runs_of(tx: Connection, device_id: DeviceId) -> list[Kept]:
    """The configurations of a device, the oldest first."""
    return [Kept(Seq(row.first), Seq(row.last), row.last_at) for row in tx.execute(_RUNS, {"device": device_id})]


def _aged(tx: Connection, device_id: DeviceId, age: Age) -> Aged | None:
    device = tx.execute(_DEVICE, {"device": device_id}).one()
    found = cut(runs_of(tx, device_id), age, device.removed_at if device.status == "removed" else None)
    return None if found is None else Aged(device_id, device.name, found, _waits(tx, device_id, found))


def _waits(tx: Connection, device_id: DeviceId, found: Cut) -> str:
    row: Row[Any] = tx.execute(_WAITS, {"device": device_id, "below": found.below}).one()
    return UNDER_WAY if row.under_way else UNREAD if row.unread else ""


def take_away(tx: Connection, aged: Aged) -> Taken:
    """Take away what a cut of a locked device says."""
    device, below = {"device": aged.device_id}, aged.cut.below
    if below is None:
        below = Seq(tx.execute(_NOT_CURRENT, device).scalar_one())
    elif tx.execute(_KEPT_FROM, device | {"below": below}).scalar() is None:
        return Taken()  # the current one is older than what a run says: `verify` tells of it, nothing is taken
    values = device | {"below": below}
    collections = len(tx.execute(_COLLECTIONS, values).all())
    tx.execute(_OLDEST_IS_A_CHANGE, values)
    gone = [Seq(seq) for seq in tx.scalars(_CONTENTS, device)]
    scopes = [alarm_scope(aged.device_id, seq) for seq in gone]
    tx.execute(_CLEAR, {"code": DAMAGED, "scopes": scopes})  # of what is gone
    return Taken(1, aged.cut.configurations, collections, len(gone))
