"""Shared logins that devices refuse, as core.refusals decides: sent, taken, refused, suspended, proved again.

Lock order: device, collection, profile, site. Whoever counts refusals holds the profile, so that of two devices that
refuse it at the same moment the second one knows of the first. Other devices are written only with SKIP LOCKED: who
holds one of them may be waiting for this one's lock, or for the profile. What was left out is written by the next who
comes by: a trial that ends, or a login that is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db.alarms import clear_alarm, raise_alarm
from backupflow.adapters.db.effective import LOGIN, own_hindrance
from backupflow.adapters.db.meanwhile import THERE, as_assigned, same_login
from backupflow.adapters.db.rotating import ANEW, accepted
from backupflow.core import refusals
from backupflow.core.model import State, Trigger
from backupflow.core.refusals import LOGIN_REFUSED, Meaning, Refused
from backupflow.errors import AuthenticationFailed

if TYPE_CHECKING:
    from uuid import UUID

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
_OF_DEVICE = text("""
    SELECT d.refused_at, c.login_sent_at FROM device d JOIN collection c ON c.id = :collection WHERE d.id = :device""")
_LOCK = text("""
    SELECT id, tenant_id, name, suspended_at, suspended_reason, trial_at, proved_at, changed_at FROM credential_profile
    WHERE id = :login FOR NO KEY UPDATE""")
_CLOCK = text("SELECT clock_timestamp()")
# Blocked by a session in which this login was sent, and not by itself: that it refused it before it was proved says so.
_BLOCKED = """(d.blocked_code = :refused AND d.blocked_at >= c.login_sent_at
    AND (d.refused_at < CAST(:proved AS timestamptz)) IS NOT TRUE)"""
_SENT_SINCE = "c.login_id = :login AND c.login_sent_at > :since AND c.login_sent_at <= clock_timestamp()"
# Of what still runs nobody knows yet. This device is not written as blocked yet: it is counted by who asks.
_COUNT = text(f"""
    SELECT count(DISTINCT d.id) AS tried, count(DISTINCT d.id) FILTER (WHERE d.id <> :device AND {_BLOCKED}) AS refused
    FROM collection c JOIN device d ON d.id = c.device_id WHERE {_SENT_SINCE} AND c.state <> 'running'""")
_SUSPEND = text("""
    UPDATE credential_profile SET suspended_at = :now, suspended_reason = :reason, trial_at = :trial, trials = 0
    WHERE id = :login""")
_NEXT_TRIAL = text("UPDATE credential_profile SET trial_at = :trial, trials = trials + 1 WHERE id = :login")
_LIFT = text(f"""
    UPDATE device x SET blocked_code = NULL, blocked_detail = NULL, blocked_at = NULL, failures = 0,
        refused_at = x.blocked_at, {ANEW}, next_due_at = CASE WHEN x.status = 'active' THEN now() ELSE x.next_due_at END
    FROM (SELECT d.id FROM device d WHERE EXISTS (
              SELECT 1 FROM collection c WHERE c.device_id = d.id AND {_SENT_SINCE} AND {_BLOCKED})
          ORDER BY d.id FOR NO KEY UPDATE OF d SKIP LOCKED) lifted
    WHERE x.id = lifted.id RETURNING x.id""")
_CLEAR = text("""
    UPDATE alarm SET cleared_at = now() WHERE code = :code AND scope = ANY(:scopes) AND cleared_at IS NULL""")
_FORGIVE = text(f"UPDATE device SET refused_at = :at, {ANEW} WHERE id = :device")
_AS_FAILED = text(f"UPDATE collection SET state = '{State.FAILED}' WHERE id = :collection")
# Nearly every session finds nothing to write: looked at without a lock.
_WORKS = text("""
    UPDATE device SET refused_at = NULL WHERE id = :device AND refused_at IS NOT NULL""")
_PROVES = text(f"""
    SELECT 1 FROM credential_profile p JOIN collection c ON c.id = :collection
    WHERE p.id = :login AND c.login_id = p.id AND p.trial_at IS NOT NULL
      AND (c.trigger = '{Trigger.TRIAL}' OR c.login_sent_at >= p.suspended_at)""")
_RESUME = text("""
    UPDATE credential_profile SET suspended_at = NULL, suspended_reason = NULL, trial_at = NULL, trials = 0,
        proved_at = clock_timestamp()
    WHERE id = :login""")
# Who has waited longest comes first; what is not due yet has a turn of its own.
_SPREAD = text(f"""
    UPDATE device x SET next_due_at = now() + spread.after FROM (
        SELECT w.id, least(:within, count(*) OVER () * :each) * (row_number() OVER (ORDER BY w.next_due_at, w.id) - 1)
            / count(*) OVER () AS after
        FROM (SELECT d.id, d.next_due_at FROM device d {LOGIN}
              WHERE l.id = :login AND d.status = 'active' AND d.blocked_code IS NULL AND d.next_due_at <= now()
              ORDER BY d.id FOR NO KEY UPDATE OF d SKIP LOCKED) w) spread
    WHERE x.id = spread.id""")


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


def ended(tx: Connection, assignment: Assignment, ending: Ending, *, other_login: bool) -> Ending:
    """What its ending means for the login, and what is left of it for the device. The collection has ended by now.

    `other_login`: the device is given another one since, of which this says nothing.
    """
    if refused_by(assignment, ending):
        return refused(tx, assignment, ending)
    if refusals.proves_login(ending):
        if not other_login:
            taken(tx, assignment)
    elif assignment.trigger is Trigger.TRIAL:
        _tried(tx, assignment)
    return ending


def refused_by(assignment: Assignment, ending: Ending) -> bool:
    """Whether the device would be blocked since it has refused a login that others use too."""
    return ending.blocks and ending.code == AuthenticationFailed.code and assignment.login_shared


def refused(tx: Connection, assignment: Assignment, ending: Ending) -> Ending:
    """The device has refused a shared login: is it the device, or the login?"""
    device = tx.execute(_OF_DEVICE, {"device": assignment.device_id, "collection": assignment.collection_id}).one()
    profile = _locked(tx, assignment)
    if profile is None or device.login_sent_at is None:
        return ending
    found = Refused(device.login_sent_at, device.refused_at, profile.proved_at, profile.suspended_at is not None)
    meaning = found.meaning or _counted(tx, assignment, profile)
    if assignment.trigger is Trigger.TRIAL:
        _tried(tx, assignment)
    elif profile.trial_at is not None:
        _lift(tx, profile)
    if meaning is Meaning.BLOCKS:
        return ending
    tx.execute(_FORGIVE, {"device": assignment.device_id, "at": device.login_sent_at})
    left = refusals.forgiven(ending)
    if left.state is not ending.state:
        tx.execute(_AS_FAILED, {"collection": assignment.collection_id})
    return left


def taken(tx: Connection, assignment: Assignment) -> None:
    """The device has taken its login: nothing is held against it, and a suspended one that is tried again is proved."""
    tx.execute(_WORKS, {"device": assignment.device_id})
    accepted(tx, assignment)
    known = {"collection": assignment.collection_id, "login": assignment.login_id}
    if not assignment.login_shared or tx.scalar(_PROVES, known) is None:
        return
    profile = _locked(tx, assignment)
    if profile is None or tx.scalar(_PROVES, known) is None:
        return
    _lift(tx, profile)
    tx.execute(_RESUME, known)
    tx.execute(_SPREAD, known | {"within": refusals.SPREAD, "each": refusals.SPREAD_EACH})
    clear_alarm(tx, LOGIN_REFUSED, scope_of(profile.id))


def scope_of(profile_id: UUID) -> str:
    """Of the alarms of a login."""
    return f"login {profile_id}"


def _locked(tx: Connection, assignment: Assignment) -> Row[Any] | None:
    return tx.execute(_LOCK, {"login": assignment.login_id}).one_or_none()


def _since(tx: Connection, profile: Row[Any]) -> dict[str, Any]:
    """The values of _SENT_SINCE and _BLOCKED: in the window that ends now, or ended with its suspension."""
    until = profile.suspended_at or tx.scalar(_CLOCK)
    return {
        "login": profile.id,
        "since": refusals.counted_since(until, profile.changed_at, profile.proved_at),
        "proved": profile.proved_at,
        "refused": AuthenticationFailed.code,
    }


def _counted(tx: Connection, assignment: Assignment, profile: Row[Any]) -> Meaning:
    others = tx.execute(_COUNT, _since(tx, profile) | {"device": assignment.device_id}).one()
    count, tried = others.refused + 1, max(others.tried, others.refused + 1)
    meaning = refusals.judge(count, tried)
    if meaning is Meaning.SUSPENDS:
        _suspend(tx, profile, *refusals.in_words(profile.name, count, tried))
    return meaning


def _suspend(tx: Connection, profile: Row[Any], reason: str, says: str) -> None:
    now = tx.scalar(_CLOCK)
    values = {"now": now, "reason": reason, "trial": refusals.next_trial(now, now)}
    _lift(tx, profile)
    tx.execute(_SUSPEND, values | {"login": profile.id})
    raise_alarm(tx, LOGIN_REFUSED, scope_of(profile.id), says, profile.tenant_id)


def _tried(tx: Connection, assignment: Assignment) -> None:
    """A trial was no success: the next one has its time, and what could not be lifted at first is lifted now."""
    sent_at = (
        tx.execute(_OF_DEVICE, {"device": assignment.device_id, "collection": assignment.collection_id})
        .one()
        .login_sent_at
    )
    profile = _locked(tx, assignment)
    if sent_at is None or profile is None or profile.trial_at is None:
        return
    trial = refusals.next_trial(profile.suspended_at, tx.execute(_CLOCK).scalar_one())
    tx.execute(_NEXT_TRIAL, {"login": profile.id, "trial": trial})
    _lift(tx, profile)


def _lift(tx: Connection, profile: Row[Any]) -> None:
    """Nobody is blocked for what so many refuse: they wait."""
    lifted = [f"device {device}" for device in tx.scalars(_LIFT, _since(tx, profile))]
    if lifted:
        tx.execute(_CLEAR, {"code": AuthenticationFailed.code, "scopes": lifted})
