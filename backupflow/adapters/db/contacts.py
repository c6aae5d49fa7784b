"""How a device is met: how often lately, as its own firewall counts it (core.firewall), and whether it answers.

All of it is written in the device's own row, under its lock.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db.alarms import clear_alarm, raise_alarm
from backupflow.adapters.db.effective import MAINTENANCE_UNTIL
from backupflow.core.firewall import LONGEST, SHORTEST_INTERVAL, Met, met
from backupflow.core.outages import DEVICE_DOWN, answered, device_is_down, device_scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backupflow.core.ledger import Assignment, Ending

_LONGEST = f"interval '{LONGEST // timedelta(minutes=1)} minutes'"
# SQL: whether nothing that comes by itself may connect to it now.
HELD = f"(d.hold_until IS NOT NULL AND d.hold_until > now() AND d.hold_until <= now() + {_LONGEST})"
# SQL: why nobody may but by force, or NULL.
WARY = f"""
    CASE WHEN d.wary_until > now() AND d.wary_until <= now() + {_LONGEST}
         THEN 'too many connections lately: a fourth one could get our address banned; again at '
             || to_char(d.wary_until AT TIME ZONE 'UTC' + interval '1 minute', 'HH24:MI')
             || ' UTC; `backup --force` does not wait' END"""
# What `meet` has to be given of a device; its time is that of the clock: the transaction may have waited for a lock.
MET = "d.met_at, d.hold_until, d.wary_until, clock_timestamp() AS clock"
_MEET = text("""
    UPDATE device SET met_at = :met_at, hold_until = :hold_until, wary_until = :wary_until WHERE id = :device""")
_FORGET = text("""
    UPDATE device SET met_at = NULL, hold_until = NULL, wary_until = NULL
    WHERE id = ANY(:devices) AND met_at IS NOT NULL""")
_ANSWERED = text("""
    UPDATE device SET answered_at = clock_timestamp(), unreachable_since = NULL WHERE id = :device""")
_SILENT = text("""
    UPDATE device SET unreachable_since = clock_timestamp() WHERE id = :device
      AND (unreachable_since IS NULL OR unreachable_since > clock_timestamp())""")
# Neither while its site is down nor in maintenance, when somebody works on it.
_ALONE = text(f"""
    SELECT d.failures FROM device d LEFT JOIN site s ON s.id = d.site_id
    LEFT JOIN device_group g ON g.id = d.device_group_id JOIN tenant t ON t.id = d.tenant_id
    WHERE d.id = :device AND s.down_since IS NULL AND ({MAINTENANCE_UNTIL} > now()) IS NOT TRUE""")


def meet(tx: Connection, device_id: object, row: Row[Any], interval: timedelta) -> None:
    """A connection to a locked device is about to be made; `row` has MET, `interval` is the device's."""
    if forget_where_often(tx, {device_id: interval}):
        return
    now = met(Met(row.met_at, row.hold_until, row.wary_until), row.clock)
    values = {"met_at": now.met_at, "hold_until": now.hold_until, "wary_until": now.wary_until}
    tx.execute(_MEET, values | {"device": device_id})


def forget_where_often(tx: Connection, intervals: Mapping[Any, timedelta]) -> bool:
    """Nobody is kept away from routers that are met so often that they cannot have such rules; whether there are any.

    Those of these that are locked devices, with their intervals.
    """
    often = [device for device, interval in intervals.items() if interval < SHORTEST_INTERVAL]
    if often:
        tx.execute(_FORGET, {"devices": often})
    return bool(often)


def succeeded(tx: Connection, assignment: Assignment) -> None:
    """Its export was read."""
    tx.execute(_ANSWERED, {"device": assignment.device_id})


def heard(tx: Connection, assignment: Assignment, ending: Ending) -> None:
    """What a session that ended so says of it; what follows from its failures was written before."""
    device = {"device": assignment.device_id}
    match answered(ending):
        case True:
            tx.execute(_ANSWERED, device)
        case False:
            tx.execute(_SILENT, device)
    if not assignment.trigger.observes:
        return
    scope = device_scope(assignment.device_id)
    if ending.blocks:  # a person has to act: that is another alarm
        clear_alarm(tx, DEVICE_DOWN, scope)
        return
    failures = tx.scalar(_ALONE, device) if ending.counts else None
    if failures is not None and device_is_down(ending, failures):
        says = f"{assignment.device_name}: {ending.code}, {failures} times in a row"
        raise_alarm(tx, DEVICE_DOWN, scope, says, assignment.tenant_id)
