"""What was claimed and did not come to an end: emitted again, lost with its lease, or withdrawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db import login_trials
from backupflow.adapters.db.claim_rows import FITS
from backupflow.adapters.db.effective import LOGIN, hindrance
from backupflow.core import backoff
from backupflow.core.claiming import shared
from backupflow.core.model import Claim, CollectionId, Lane, Trigger
from backupflow.core.scope import LONGEST_SESSION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from backupflow.core.claiming import Room

# A row that a collector is starting at this moment is left to it, who may have been stopped over it (SIGSTOP).
_AGAIN = text("""
    UPDATE collection SET emitted_at = now(), emits = emits + 1 WHERE id IN (
        SELECT id FROM collection WHERE state = 'claimed'
          AND (emitted_at <= now() - :after OR emitted_at > now() + :after)
        FOR NO KEY UPDATE SKIP LOCKED) RETURNING id, lane""")
_OVER = "c.state = 'running' AND (c.lease_until < now() OR c.lease_until > now() + :longest)"
_LAPSED = text(f"""
    SELECT d.id FROM device d WHERE EXISTS (SELECT 1 FROM collection c WHERE c.device_id = d.id AND {_OVER})
    ORDER BY d.id FOR NO KEY UPDATE OF d SKIP LOCKED""")
_LOSE = text(f"""
    UPDATE collection c SET state = 'lost', code = 'lease_over', ended_at = now()
    FROM device d WHERE d.id = c.device_id AND c.device_id = ANY(:devices) AND {_OVER}
    RETURNING d.id, d.losses, c.trigger, c.login_id, c.login_sent_at""")
_LOST_DUE = text("""
    UPDATE device SET losses = losses + 1,
        next_due_at = CASE WHEN status <> 'active' THEN next_due_at
                           WHEN :spread THEN greatest(now(), least(next_due_at, now() + :wait)) ELSE now() + :wait END
    WHERE id = :device""")
_OF_ROW = hindrance("c.trigger")
_WAITING_ROWS = text("SELECT device_id FROM collection WHERE state = 'claimed'")
_HINDERED = text(f"""
    SELECT d.id, c.trigger, {_OF_ROW} AS hindrance
    FROM device d {LOGIN} JOIN collection c ON c.device_id = d.id AND c.state = 'claimed'
    WHERE d.id = ANY(:devices) AND {_OF_ROW} IS NOT NULL ORDER BY d.id FOR NO KEY UPDATE OF d SKIP LOCKED""")
# What a lane that nobody works on has claimed would keep its place in a limit from the other lane for ever.
_FORSAKEN = text(f"""
    SELECT d.id, c.trigger, 'nobody works on its lane: ' || c.lane AS hindrance
    FROM device d JOIN collection c ON c.device_id = d.id AND c.state = 'claimed' AND c.lane = ANY(:lanes)
    WHERE NOT {FITS.format(full=":limited")} ORDER BY d.id FOR NO KEY UPDATE OF d SKIP LOCKED""")
_WITHDRAW = text("""
    UPDATE collection SET state = 'withdrawn', code = 'withdrawn', detail = :reason, ended_at = now()
    WHERE device_id = :device AND state = 'claimed'""")
# The run that was withdrawn is still owed: it is due as soon as nothing is in the way any more.
OWED = text("UPDATE device SET next_due_at = now() WHERE id = :device AND status = 'active'")


def emit_again(tx: Connection, after: timedelta) -> tuple[Claim, ...]:
    """What nobody has started for so long."""
    return tuple(Claim(CollectionId(row.id), Lane(row.lane)) for row in tx.execute(_AGAIN, {"after": after}))


def lose_lapsed(tx: Connection, dice: Callable[[], float]) -> int:
    """End what outlived its lease; how many."""
    longest = {"longest": 2 * LONGEST_SESSION}
    devices = list(tx.scalars(_LAPSED, longest))
    if not devices:
        return 0
    rows = tx.execute(_LOSE, {"devices": devices} | longest).all()
    login_trials.lost(tx, {row.login_id for row in rows if row.trigger == Trigger.TRIAL and row.login_sent_at})
    for row in rows:
        if not Trigger(row.trigger).observes:
            continue
        after = backoff.after_loss(row.losses, dice())
        spread = backoff.no_later_than_its_turn(after.again_in)
        tx.execute(_LOST_DUE, {"device": row.id, "wait": after.again_in, "spread": spread})
    return len(rows)


def withdraw_hindered(tx: Connection) -> int:
    """End the claims in whose way something came meanwhile; how many."""
    claimed = list(tx.scalars(_WAITING_ROWS))  # asked first: of how few they are the planner has no idea
    return _withdraw(tx, tx.execute(_HINDERED, {"devices": claimed}).all() if claimed else [])


def withdraw_forsaken(tx: Connection, slots: dict[Lane, int], room: Room) -> int:
    """End the claims of lanes that nobody works on, as far as they hold what the other lane could use; how many."""
    lanes = [lane for lane in Lane if not slots[shared(lane)]]
    values = {"lanes": lanes, "limited": room.shared_by_lanes}
    return _withdraw(tx, tx.execute(_FORSAKEN, values).all() if all(values.values()) else [])


def _withdraw(tx: Connection, rows: Sequence[Row[Any]]) -> int:
    """End these claims; what they were for is still owed."""
    for row in rows:
        tx.execute(_WITHDRAW, {"device": row.id, "reason": row.hindrance})
        if Trigger(row.trigger).observes:
            tx.execute(OWED, {"device": row.id})
    return len(rows)
