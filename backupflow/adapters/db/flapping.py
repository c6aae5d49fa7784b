"""Devices that change without end: marked when a change is interpreted, under their lock, and let go after a day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db.alarms import clear_alarm, raise_alarm
from backupflow.core.flapping import DAY, FLAPPING, LastDay, Quota, Turn, told, turn

if TYPE_CHECKING:
    from typing import Any

    from backupflow.core.model import DeviceId

_DEVICE = text("SELECT id, tenant_id, name, flapping_since, now() AS now FROM device WHERE id = :device")
# No more of them than say that there are too many; that a device is new is no change of it. By when they were
# collected: what is interpreted anew counts no second time.
_DAY = text("""
    SELECT count(*) AS changes, coalesce(sum(raw_bytes), 0) AS bytes FROM (
        SELECT raw_bytes, collected_at FROM collection
        WHERE device_id = :device AND state = 'stored' AND is_change AND seq > (
            SELECT min(f.seq) FROM collection f WHERE f.device_id = :device AND f.state = 'stored')
        ORDER BY seq DESC LIMIT :most) newest
    WHERE collected_at > now() - CAST(:day AS interval)""")
_SET = text("UPDATE device SET flapping_since = now() WHERE id = :device")
_UNSET = text("UPDATE device SET flapping_since = NULL WHERE id = :device")
_LONG_ENOUGH = text("""
    SELECT id, tenant_id, name, flapping_since, now() AS now FROM device
    WHERE flapping_since <= now() - CAST(:day AS interval) ORDER BY id LIMIT 100 FOR NO KEY UPDATE SKIP LOCKED""")


def mind(tx: Connection, device_id: DeviceId, quota: Quota) -> None:
    """Look at one device, whose lock is held, after a change of it was written."""
    _settle(tx, tx.execute(_DEVICE, {"device": device_id}).one(), quota)


def let_go(tx: Connection, quota: Quota) -> int:
    """Look at those that have been marked for a day; how many no longer are."""
    return sum(_settle(tx, row, quota) is Turn.ENDS for row in tx.execute(_LONG_ENOUGH, {"day": DAY}).all())


def _settle(tx: Connection, device: Row[Any], quota: Quota) -> Turn:
    values = {"device": device.id, "most": quota.changes + 1, "day": DAY}
    day = LastDay(*tx.execute(_DAY, values).one())
    found, scope = turn(day, quota, device.flapping_since, device.now), f"device {device.id}"
    if found is Turn.BEGINS:
        tx.execute(_SET, {"device": device.id})
        raise_alarm(tx, FLAPPING, scope, told(device.name, day, quota), device.tenant_id)
    elif found is Turn.ENDS:
        tx.execute(_UNSET, {"device": device.id})
        clear_alarm(tx, FLAPPING, scope)
    return found
