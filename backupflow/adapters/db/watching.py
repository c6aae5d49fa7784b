"""What the job `watch` sees and settles: two questions that an index answers, and its alarms."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, text

from backupflow.adapters.db.alarms import clear_alarm, raise_alarm
from backupflow.adapters.db.capacity import load
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.status import LATE_ONES, device_of
from backupflow.core.overview import LATE, Standing
from backupflow.core.verdict import HOUSE_DOWN
from backupflow.core.watching import CAPACITY, OVERDUE, SLOTS, Late, Watched

if TYPE_CHECKING:
    from backupflow.core.overview import DeviceState
    from backupflow.core.scope import Policy
    from backupflow.core.watching import Shortage, Tellings

JOB = "watch"
_NOW = text("SELECT now()")
_NOTED = text("SELECT noted ->> 'short_since' FROM job WHERE name = :job")
_NOTE = text("UPDATE job SET noted = jsonb_build_object('short_since', CAST(:since AS text)) WHERE name = :job")
_STANDS = text("SELECT EXISTS (SELECT 1 FROM alarm WHERE code = :code AND scope = :scope AND cleared_at IS NULL)")
# While nothing is claimed everything falls due, and is made up for when that is over: neither is the devices' delay.
_EXCUSED = text("""
    SELECT EXISTS (SELECT 1 FROM alarm WHERE code = ANY(:codes) AND scope NOT LIKE 'device %'
        AND (cleared_at IS NULL OR cleared_at > now() - :while))""")
_OVER = text("UPDATE alarm SET cleared_at = now() WHERE code = :code AND cleared_at IS NULL AND scope <> ALL(:late)")
_COUNT = text("SELECT count(*) FROM alarm WHERE code = :code AND cleared_at IS NULL")


class Watches:
    """core.ports.WatchStore. `defaults` are the global settings."""

    def __init__(self, engine: Engine, defaults: Policy) -> None:
        self._engine = engine
        self._defaults = defaults

    def look(self) -> Watched:
        """Which devices are late, and whether the slots suffice."""
        with transaction(self._engine) as tx:
            now: datetime = tx.execute(_NOW).scalar_one()
            rows = tx.execute(LATE_ONES, {"late": LATE}).all()
            found = [device_of(row, self._defaults, now) for row in rows]
            late = tuple(_late(one) for one in found if one.standing(now) is Standing.OVERDUE)
            stands = bool(tx.scalar(_STANDS, {"code": CAPACITY, "scope": SLOTS}))
            excused = bool(tx.scalar(_EXCUSED, {"codes": sorted(HOUSE_DOWN), "while": LATE}))
            return Watched(now, late, load(tx, self._defaults), _short_since(tx), stands, excused)

    def settle(self, told: Tellings) -> int:
        """Let these alarms stand and no others of their codes; how many of devices and sites do."""
        with transaction(self._engine) as tx:
            tx.execute(_OVER, {"code": OVERDUE, "late": [one.scope for one in told.late]})
            for one in told.late if told.raises else ():
                raise_alarm(tx, OVERDUE, one.scope, one.detail, one.tenant_id)
            _settle_shortage(tx, told.shortage, told.says)
            return int(tx.scalar(_COUNT, {"code": OVERDUE}) or 0)


def _settle_shortage(tx: Connection, shortage: Shortage, says: str) -> None:
    tx.execute(_NOTE, {"job": JOB, "since": shortage.since.isoformat() if shortage.since else None})
    if shortage.stands:
        raise_alarm(tx, CAPACITY, SLOTS, says)
    else:
        clear_alarm(tx, CAPACITY, SLOTS)


def _short_since(tx: Connection) -> datetime | None:
    noted: Any = tx.scalar(_NOTED, {"job": JOB})
    try:
        return datetime.fromisoformat(noted) if noted else None
    except ValueError:  # of another version: it begins anew
        return None


def _late(device: DeviceState) -> Late:
    due = device.claimed_at or device.next_due_at
    if due is None:
        raise AssertionError(device)  # pragma: no cover - it was found by it
    return Late(device.tenant_id, device.device_id, device.name, device.site_id, device.site, due)
