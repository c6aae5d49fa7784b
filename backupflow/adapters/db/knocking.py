"""Whom the status task knocks at: taken in one transaction, so that nobody else knocks there too.

A knock is written down before it is made: it counts as a connection, whatever comes of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, text

from backupflow.adapters.db.claim_rows import OPEN
from backupflow.adapters.db.contacts import HELD, MET, meet
from backupflow.adapters.db.effective import HINDRANCE, LOGIN, SETTINGS, usable_policy
from backupflow.adapters.db.engine import transaction
from backupflow.core.knocking import APART, EACH, MOST, SOONEST_WORTH, Knock, wait_for
from backupflow.core.model import DeviceId
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from backupflow.core.scope import Policy

# Times that lie in the future are of a clock that stood ahead: they say nothing. Who is said to be offline by a poller
# is left to that.
_TAKE = text(f"""
    SELECT d.id, d.host, d.port, {SETTINGS}, {MET} FROM device d {LOGIN}
    WHERE d.status = 'active' AND d.via_id IS NULL AND d.unreachable_since IS NOT NULL AND d.offline_since IS NULL
      AND (d.probed_at IS NULL OR d.probed_at NOT BETWEEN now() - :each AND now())
      AND (d.met_at IS NULL OR d.met_at NOT BETWEEN now() - :apart AND now())
      AND d.next_due_at > now() + :worth AND NOT {HELD} AND {HINDRANCE} IS NULL AND NOT {OPEN}
    ORDER BY d.probed_at NULLS FIRST, d.id LIMIT :most FOR NO KEY UPDATE OF d SKIP LOCKED""")
_PROBED = text("UPDATE device SET probed_at = clock_timestamp() WHERE id = ANY(:devices)")
# Unless it was collected meanwhile.
_SOONER = text("""
    UPDATE device d SET next_due_at = sooner.at FROM (
        SELECT x.id, now() + l.wait AS at
        FROM unnest(CAST(:devices AS uuid[]), CAST(:waits AS interval[])) AS l (id, wait)
        JOIN device x ON x.id = l.id AND x.status = 'active' AND x.unreachable_since IS NOT NULL
            AND x.next_due_at > now() + l.wait
        ORDER BY x.id FOR NO KEY UPDATE OF x) sooner
    WHERE d.id = sooner.id RETURNING d.id""")


class Knocking:
    """core.ports.KnockStore. `defaults` are the global settings."""

    def __init__(self, engine: Engine, defaults: Policy) -> None:
        self._engine = engine
        self._defaults = defaults

    def take(self) -> Sequence[Knock]:
        """Those to be knocked at now, who waited for longest first; of bounded number."""
        values = {"each": EACH, "apart": APART, "worth": SOONEST_WORTH, "most": MOST}
        with transaction(self._engine) as tx:
            rows = tx.execute(_TAKE, values).all()
            tx.execute(_PROBED, {"devices": [row.id for row in rows]})
            return [knock for row in rows if (knock := self._knock(tx, row)) is not None]

    def answered(self, devices: Mapping[DeviceId, timedelta]) -> int:
        """Let these be due after so long, if that is sooner; how many are."""
        values = {"devices": list(devices), "waits": list(devices.values())}
        with transaction(self._engine) as tx:
            return len(tx.execute(_SOONER, values).all())

    def _knock(self, tx: Connection, row: Row[Any]) -> Knock | None:
        """None if its settings cannot be understood: its collector says so in its turn."""
        try:
            policy = usable_policy(self._defaults, row)
        except InputInvalid:
            return None
        meet(tx, row.id, row, policy.timetable.period(row.clock))
        return Knock(DeviceId(row.id), row.host, row.port, wait_for(policy.timeouts.connect))
