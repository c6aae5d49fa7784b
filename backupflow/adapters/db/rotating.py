"""Which of two logins a device is sent while its profile's login is rotated, and what its answer says of it.

A device takes one of the two, and only its answers tell which; see core.rotation. All of it happens in the caller's
transaction, under the device's lock: whoever begins or ends a rotation locks all devices of the profile first, so that
the two logins are the same ones until the caller is done. Both are sealed for the profile, so that one can take the
place of the other without being opened; which is which is told by their columns, and by `changed_at` for a session.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from backupflow.adapters.db.effective import LOGIN
from backupflow.adapters.db.meanwhile import as_sealed, same
from backupflow.core import rotation
from backupflow.core.model import LoginOn, State
from backupflow.core.rotation import RefusedBoth, Standing, TryOther
from backupflow.errors import AuthenticationFailed

if TYPE_CHECKING:
    from backupflow.core.ledger import Assignment, Ending

_ON_NEXT = "(l.next_sealed IS NOT NULL AND d.login_on = 'next')"
# SQL: the login that a device is sent, whatever it was on where there is no other one.
SENT = f"""
    CASE WHEN {_ON_NEXT} THEN l.next_username ELSE l.username END AS username,
    CASE WHEN {_ON_NEXT} THEN l.next_sealed ELSE l.sealed END AS sealed,
    CASE WHEN {_ON_NEXT} THEN l.next_changed_at ELSE l.changed_at END AS changed_at,
    CASE WHEN {_ON_NEXT} THEN 'next' ELSE 'current' END AS login_on,
    l.next_sealed IS NOT NULL AS login_rotates, l.name IS NOT NULL AS login_shared"""
# SQL: whether it refused one of two, and the other one is sent next; for readers, who see nothing that is sealed.
HAS_TURN = "(l.next_changed_at IS NOT NULL AND d.refused_on IS NOT NULL AND d.refused_on <> d.login_on)"
# What is known of a device that is sent both once more, what worked last first: after an act of a person, or when so
# many had refused both that it says nothing of any of them.
ANEW = "login_on = coalesce(refused_on, login_on), refused_on = NULL, login_since = NULL"
# Of one that was never asked, or whose login is another one: nothing.
UNKNOWN = "login_on = 'current', refused_on = NULL, login_since = NULL"
_NOW_ON = f"""
    SELECT d.id, d.login_on, d.refused_on, l.next_sealed IS NOT NULL AS rotates, random() AS dice,
        CASE WHEN {same("l")} THEN 'current' WHEN {same("l", "next_")} THEN 'next' END AS sent_on
    FROM device d {LOGIN} WHERE d.id = :device"""
# Of a session whose lease is gone nothing is learnt: another one may have taken over.
_STANDING = text(f"""{_NOW_ON} AND EXISTS (
        SELECT 1 FROM collection c WHERE c.id = :collection AND c.holder = :holder AND c.state = 'running')""")
_ACCEPTED = text(f"""
    WITH sent AS ({_NOW_ON})
    UPDATE device d SET login_on = sent.sent_on, refused_on = NULL,
        login_since = CASE WHEN coalesce(d.refused_on, d.login_on) = sent.sent_on THEN coalesce(d.login_since, now())
                           ELSE now() END
    FROM sent WHERE d.id = sent.id AND d.router_since_seq < :seq AND sent.rotates AND sent.sent_on IS NOT NULL""")
_REFUSED = text("""
    UPDATE device SET login_on = :login_on, refused_on = :refused_on,
        next_due_at = CASE WHEN status = 'active' THEN greatest(next_due_at, now() + CAST(:wait AS interval)) END
    WHERE id = :device""")


def accepted(tx: Connection, assignment: Assignment) -> None:
    """It has taken the login that was sent: that one is sent from now on. Nothing, unless a rotation is on.

    Nor of a router that was replaced meanwhile: the one in its place may know only the other of the two.
    """
    if assignment.login_rotates:
        tx.execute(_ACCEPTED, as_sealed(assignment) | {"device": assignment.device_id, "seq": assignment.seq})


def other_has_its_turn(tx: Connection, assignment: Assignment, ending: Ending) -> Ending | None:
    """How a session ends whose login was refused, if the other one has its turn: it blocks nobody, and counts nothing.

    None: there is no other, or both were refused by now; what follows is what follows a refused login.
    """
    if ending.code != AuthenticationFailed.code or not ending.blocks:
        return None
    values = {name: getattr(assignment, f"{name}_id") for name in ("device", "collection")}
    values |= {"holder": assignment.holder}
    row = tx.execute(_STANDING, as_sealed(assignment) | values).one_or_none()
    if row is None or not row.rotates or row.sent_on is None:
        return None
    known = Standing(LoginOn(row.login_on), LoginOn(row.refused_on) if row.refused_on else None)
    match rotation.after_refusal(LoginOn(row.sent_on), known, has_next=True, dice=row.dice):
        case TryOther(standing, again_in):
            _write(tx, assignment, standing, again_in.total_seconds())
            state = State.FAILED if ending.state is State.BLOCKED else ending.state
            says = rotation.told_turn(standing, ending.detail)
            return replace(
                ending, state=state, detail=says, counts=False, blocks=False, again_in=again_in, alarm="",
                report=tuple(replace(s, says=says) if s.code == ending.code else s for s in ending.report),
            )  # fmt: skip
        case RefusedBoth(standing):
            _write(tx, assignment, standing, None)
            return None


def _write(tx: Connection, assignment: Assignment, standing: Standing, wait: float | None) -> None:
    values = {"device": assignment.device_id, "login_on": standing.login_on, "refused_on": standing.refused_on}
    tx.execute(_REFUSED, values | {"wait": None if wait is None else f"{wait} seconds"})
