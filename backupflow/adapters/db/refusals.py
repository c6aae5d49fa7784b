"""What a session says of a login: it is sent, taken or refused; and what that means for its device, see core.refusals.

Lock order: device, collection, profile, site. The caller holds the device.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db import suspensions
from backupflow.adapters.db.effective import LOGIN, own_hindrance
from backupflow.adapters.db.meanwhile import THERE, as_assigned, same_login
from backupflow.adapters.db.rotating import ANEW, accepted
from backupflow.core import refusals
from backupflow.core.model import State, Trigger
from backupflow.core.refusals import Meaning, Refused
from backupflow.errors import AuthenticationFailed

if TYPE_CHECKING:
    from backupflow.core.ledger import Assignment, Ending
    from backupflow.core.model import HostKey

# Where it connected to must still be where the device is, and the key that was admitted still its pinned one: an
# operator may have moved the device, replaced the router, or withdrawn the key while the handshake ran (I6).
# A jump host that others find down is no matter here: this session has passed it.
_SENT = text(f"""
    UPDATE collection c SET login_id = l.id, login_on = :login_on, login_sent_at = clock_timestamp()
    FROM device d {LOGIN}
    JOIN host_key k ON k.device_id = d.id AND k.status = 'pinned' AND k.key_type = :key_type AND k.blob = :blob
    WHERE {THERE} AND d.id = c.device_id
      AND c.id = :collection AND c.state = 'running' AND c.holder = :holder AND {same_login("l")}
      AND {own_hindrance("c.trigger")} IS NULL AND c.trigger <> '{Trigger.SCAN}'
    RETURNING c.id""")
_MET = text("""
    SELECT d.refused_at, c.login_sent_at FROM collection c JOIN device d ON d.id = c.device_id
    WHERE c.id = :collection""")
_FORGIVE = text(f"UPDATE device SET refused_at = :at, {ANEW} WHERE id = :device")
_AS_FAILED = text(f"UPDATE collection SET state = '{State.FAILED}' WHERE id = :collection")
# Looked at without the profile's lock first: nearly every session finds nothing to write. A session that was allowed
# its login before the suspension, and sent it after, proves nothing: its device may never have refused it.
_WORKS = text("UPDATE device SET refused_at = NULL WHERE id = :device AND refused_at IS NOT NULL")
_PROVES = text(f"""
    SELECT 1 FROM credential_profile p JOIN collection c ON c.id = :collection
    WHERE p.id = :login AND c.login_id = p.id AND p.trial_at IS NOT NULL AND (c.trigger = '{Trigger.TRIAL}'
        OR c.trigger = '{Trigger.FORCED}' AND c.login_sent_at >= p.suspended_at)""")


def sent(tx: Connection, assignment: Assignment, key: HostKey) -> bool:
    """Whether the login may be sent now; if so it is on record as sent. One look, right before it is sent."""
    if assignment.sealed_login is None:
        return False
    values = {
        "collection": assignment.collection_id,
        "holder": assignment.holder,
        "login_on": assignment.login_on,
        "key_type": key.key_type,
        "blob": key.blob,
    }
    return tx.scalar(_SENT, values | as_assigned(assignment)) is not None


def ended(tx: Connection, assignment: Assignment, ending: Ending, *, another: bool) -> Ending:
    """What its ending means for the login, and what is left of it for the device. The collection has ended by now.

    `another`: the device was given another login since, or is another router, of which this says nothing.
    """
    if ending.blocks and of_shared(assignment, ending):
        return _refused(tx, assignment, ending)
    if refusals.proves_login(ending) and not another:
        taken(tx, assignment)
    elif assignment.trigger is Trigger.TRIAL and refusals.was_sent(ending) and _met(tx, assignment).login_sent_at:
        _tried_in_vain(tx, assignment)
    return ending


def of_shared(assignment: Assignment, ending: Ending) -> bool:
    """Whether a login was refused that others use too."""
    return ending.code == AuthenticationFailed.code and assignment.login_shared


def taken(tx: Connection, assignment: Assignment) -> None:
    """The device has taken its login: nothing is held against it, and a suspended one that is tried again is proved."""
    tx.execute(_WORKS, {"device": assignment.device_id})
    accepted(tx, assignment)
    known = {"collection": assignment.collection_id, "login": assignment.login_id}
    if not assignment.login_shared or tx.scalar(_PROVES, known) is None:
        return
    profile = suspensions.locked(tx, assignment.login_id)
    if profile is not None and tx.scalar(_PROVES, known) is not None:
        suspensions.resume(tx, profile)


def _refused(tx: Connection, assignment: Assignment, ending: Ending) -> Ending:
    """The device has refused a shared login: is it the device, or the login?"""
    profile = suspensions.locked(tx, assignment.login_id)
    met = _met(tx, assignment)
    if profile is None or met.login_sent_at is None:
        return ending
    refused = Refused(met.login_sent_at, met.refused_at, profile.proved_at, profile.suspended_at is not None)
    if refused.again:
        refused = replace(refused, **suspensions.since_proved(tx, profile, assignment.collection_id))
    meaning = refused.meaning or suspensions.judged(tx, profile, assignment.device_id)
    if assignment.trigger is Trigger.TRIAL:
        _tried_in_vain(tx, assignment)
    if meaning is Meaning.BLOCKS:
        return ending
    tx.execute(_FORGIVE, {"device": assignment.device_id, "at": met.login_sent_at})
    if ending.state is State.BLOCKED:
        tx.execute(_AS_FAILED, {"collection": assignment.collection_id})
    return refusals.forgiven(ending)


def _tried_in_vain(tx: Connection, assignment: Assignment) -> None:
    profile = suspensions.locked(tx, assignment.login_id)
    if profile is not None and profile.trial_at is not None:
        suspensions.tried_in_vain(tx, profile)


def _met(tx: Connection, assignment: Assignment) -> Row[Any]:
    return tx.execute(_MET, {"collection": assignment.collection_id}).one()
