"""Which device tries a suspended login again, when its time has come: one a login, each time another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db import outages
from backupflow.adapters.db.claim_rows import FIELDS, FITS_ITS_LANE, OPEN
from backupflow.adapters.db.contacts import HELD
from backupflow.adapters.db.effective import LOGIN, LONGEST_RETRY, hindrance
from backupflow.core.model import Trigger
from backupflow.core.refusals import next_trial

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

_TRIAL = f"'{Trigger.TRIAL}'"
# A time too far ahead is of a clock that was set right. Of a login whose trial is under way nobody else tries it.
_DUE = text(f"""
    SELECT x.id FROM credential_profile x
    WHERE (x.trial_at <= now() OR x.trial_at > now() + {LONGEST_RETRY}) AND NOT EXISTS (
        SELECT 1 FROM collection c JOIN device d ON d.id = c.device_id {LOGIN}
        WHERE c.trigger = {_TRIAL} AND c.state IN ('claimed', 'running') AND l.id = x.id)
    ORDER BY x.trial_at""")
# Of two logins it has refused one, and now the other has its turn: that may be the one that is taken by now.
_OTHERS_TURN = "coalesce(d.refused_on <> d.login_on AND d.next_due_at <= now(), false)"
# First one that has not refused it and answers, and of those the one that has waited longest; one whose turn is yet to
# come only if nothing counts against it. One that has never worked may have another password, as all that came with it.
# Whoever has tried in vain to try it lets the others have their turn.
_DEVICE = text(f"""
    SELECT {FIELDS} FROM device d {LOGIN}
    WHERE l.id = :login AND d.status = 'active' AND s.down_since IS NULL
      AND (d.next_due_at <= now() OR d.failures + d.losses = 0 AND d.refused_on IS NULL)
      AND {FITS_ITS_LANE} AND NOT {HELD} AND {hindrance(_TRIAL)} IS NULL AND NOT {OPEN}
      AND NOT EXISTS (
        SELECT 1 FROM collection c WHERE c.device_id = d.id AND c.seq = d.last_seq AND c.trigger = {_TRIAL}
          AND c.claimed_at >= l.trial_at AND c.claimed_at > now() - interval '1 hour')
    ORDER BY {_OTHERS_TURN} DESC, d.current_collection_id IS NULL, d.refused_at NULLS FIRST,
        d.unreachable_since IS NOT NULL OR d.offline_since IS NOT NULL, d.next_due_at > now(), d.next_due_at, d.id
    LIMIT 1 FOR NO KEY UPDATE OF d SKIP LOCKED""")

_LOST = text("""
    SELECT id, suspended_at, clock_timestamp() AS clock FROM credential_profile
    WHERE id = ANY(:logins) AND trial_at IS NOT NULL ORDER BY id FOR NO KEY UPDATE SKIP LOCKED""")
_NEXT = text("UPDATE credential_profile SET trial_at = :trial, trials = trials + 1 WHERE id = :login")


def due(tx: Connection, full: dict[str, list[UUID]]) -> Sequence[Row[Any]]:
    """The one device for each login whose trial is due, locked; it moves on when a trial ends, see `refusals`.

    At a site that is down one is tried only if nobody else is there, and as seldom as such a site is: its devices and
    the login would else wait for each other for ever.
    """
    found: list[Row[Any]] = []
    for login in tx.scalars(_DUE).all():
        row = tx.execute(_DEVICE, full | {"login": login}).one_or_none()
        row = row or outages.trial(tx, full, login, {one.site_id for one in found})
        found += [row] if row is not None else []
    return found


def lost(tx: Connection, logins: Collection[UUID]) -> None:
    """Trials of these were sent, and nobody knows how they ended: their next one has its time, as after any in vain."""
    if logins:
        for row in tx.execute(_LOST, {"logins": list(logins)}).all():
            tx.execute(_NEXT, {"login": row.id, "trial": next_trial(row.suspended_at, row.clock)})
