"""Shared logins that are suspended since many devices refused them, as core.refusals decides.

The caller holds the profile, and the device that speaks of it: of two devices that refuse a login at the same moment
the second one thus knows of the first. Other devices are written only with SKIP LOCKED: who holds one of them may be
waiting for the caller's, or for the profile. Whom that leaves blocked is freed by `free_the_rest`, which holds nothing
before, or, if its process is gone by then, when the next trial ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db.alarms import clear_alarm, raise_alarm
from backupflow.adapters.db.effective import LOGIN, observes
from backupflow.adapters.db.rotating import ANEW
from backupflow.core import refusals
from backupflow.core.model import Trigger
from backupflow.core.refusals import LOGIN_REFUSED, Meaning
from backupflow.core.report import Stage
from backupflow.errors import AuthenticationFailed

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import TextClause

    from backupflow.core.model import CollectionId

# A time that lies ahead is of a clock that was set right, and means nothing.
_PROFILE = """id, tenant_id, name, suspended_at, trial_at, changed_at,
        CASE WHEN proved_at <= clock_timestamp() THEN proved_at END AS proved_at"""
_LOCK = text(f"SELECT {_PROFILE} FROM credential_profile WHERE id = :login FOR NO KEY UPDATE")
_CLOCK = text("SELECT clock_timestamp()")
_LET_IN = f"'$[*] ? (@.name == \"{Stage.LOGIN}\" && @.well == true)'"


def _took(session: str) -> str:
    """SQL: whether a session (an alias of its row) was let in."""
    return (
        f"({session}.collected_at IS NOT NULL OR {session}.code = ANY(:after_login) OR {session}.report @? {_LET_IN})"
    )


# Who proved it last proves nothing anew. Of healthy devices that have not refused it and are about to be asked nobody
# knows yet; should they refuse it too, that frees whom their silence left blocked.
_OTHERS_TOOK = f"""(EXISTS (
    SELECT 1 FROM collection o WHERE o.login_id = :login AND o.login_sent_at > :proved AND o.login_sent_at <= :until
      AND {_took("o")} AND o.device_id IS DISTINCT FROM (
        SELECT p.device_id FROM collection p
        WHERE p.login_id = :login AND p.login_sent_at <= :proved AND {_took("p")}
          AND p.trigger IN ('{Trigger.TRIAL}', '{Trigger.FORCED}') ORDER BY p.login_sent_at DESC LIMIT 1))
    OR EXISTS (
    SELECT 1 FROM collection o JOIN device d ON d.id = o.device_id {LOGIN}
    WHERE o.state IN ('claimed', 'running') AND {observes("o.trigger")} AND l.id = :login AND d.refused_at IS NULL
      AND d.failures = 0 AND d.unreachable_since IS NULL
      AND (o.login_sent_at <= :until OR o.login_sent_at IS NULL AND l.suspended_at IS NULL)))"""
# How often the device of a session has refused what was sent there, since it took it last; a trial is our own wish.
_TIMES = f"""(
    SELECT count(*) FROM collection r
    WHERE r.device_id = c.device_id AND r.login_id = c.login_id AND r.login_on IS NOT DISTINCT FROM c.login_on
      AND r.code = :refused AND r.trigger <> '{Trigger.TRIAL}' AND r.login_sent_at > :changed AND NOT EXISTS (
        SELECT 1 FROM collection t WHERE t.device_id = r.device_id AND t.login_id = r.login_id AND t.seq > r.seq
          AND {_took("t")}))"""
_SINCE_PROVED = text(f"""
    SELECT {_OTHERS_TOOK} AS others_took, {_TIMES} AS times FROM collection c WHERE c.id = :collection""")
_TOOK_SINCE = text(f"SELECT {_OTHERS_TOOK}")
# Blocked by this session, in which this login was sent, and not by itself: that it refused it before it was proved says
# so, unless nobody else has taken it since. What blocks was written in one transaction with the end of its session.
_BLOCKED = f"""(d.blocked_code = :refused AND c.code = :refused AND d.blocked_at = c.ended_at
    AND ((d.refused_at < CAST(:proved AS timestamptz)) IS NOT TRUE OR :again AND {_TIMES} < {refusals.MOST_TIMES}))"""
_SENT_SINCE = "c.login_id = :login AND c.login_sent_at > :since AND c.login_sent_at <= clock_timestamp()"
# Of what still runs nobody knows yet. The device that asks is not written as blocked yet: it counts itself.
_COUNT = text(f"""
    SELECT count(DISTINCT d.id) AS tried, count(DISTINCT d.id) FILTER (WHERE d.id <> :device AND {_BLOCKED}) AS refused
    FROM collection c JOIN device d ON d.id = c.device_id WHERE {_SENT_SINCE} AND c.state <> 'running'""")
_SUSPEND = text("""
    UPDATE credential_profile SET suspended_at = :now, suspended_reason = :reason, trial_at = :trial, trials = 0
    WHERE id = :login""")
_NEXT_TRIAL = text("""
    UPDATE credential_profile SET trial_at = :trial, trials = trials + 1, suspended_at = least(suspended_at, :now)
    WHERE id = :login""")
_LIFT = f"""
    UPDATE device x SET blocked_code = NULL, blocked_detail = NULL, blocked_at = NULL, failures = 0,
        refused_at = x.blocked_at, {ANEW}, next_due_at = CASE WHEN x.status = 'active' THEN now() ELSE x.next_due_at END
    FROM (SELECT d.id FROM device d WHERE EXISTS (
              SELECT 1 FROM collection c WHERE c.device_id = d.id AND {_SENT_SINCE} AND {_BLOCKED})
          ORDER BY d.id FOR NO KEY UPDATE OF d {{skip}}) lifted
    WHERE x.id = lifted.id RETURNING x.id"""
_LIFT_AT_ONCE, _LIFT_WAITING = text(_LIFT.format(skip="SKIP LOCKED")), text(_LIFT.format(skip=""))
_LOOK = text(f"""
    SELECT {_PROFILE} FROM credential_profile WHERE id = :login AND trial_at IS NOT NULL""")
_CLEAR = text("""
    UPDATE alarm SET cleared_at = now() WHERE code = :code AND scope = ANY(:scopes) AND cleared_at IS NULL""")
_RESUME = text("""
    UPDATE credential_profile SET suspended_at = NULL, suspended_reason = NULL, trial_at = NULL, trials = 0,
        proved_at = clock_timestamp()
    WHERE id = :login""")
# Who has worked and not refused it comes first: what they say tells of the others. Of each kind who has waited longest;
# what is not due yet has a turn of its own.
_SPREAD = text(f"""
    UPDATE device x SET next_due_at = now() + spread.after FROM (
        SELECT w.id, least(:within, count(*) OVER () * :each) * (row_number() OVER (
            ORDER BY w.refused_at IS NOT NULL, w.current_collection_id IS NULL, w.next_due_at, w.id) - 1)
            / count(*) OVER () AS after
        FROM (SELECT d.id, d.next_due_at, d.refused_at, d.current_collection_id FROM device d {LOGIN}
              WHERE l.id = :login AND d.status = 'active' AND d.blocked_code IS NULL AND d.next_due_at <= now()
              ORDER BY d.id FOR NO KEY UPDATE OF d SKIP LOCKED) w) spread
    WHERE x.id = spread.id""")


def locked(tx: Connection, profile_id: UUID | None) -> Row[Any] | None:
    """The profile, locked; None if it is not there any more."""
    return tx.execute(_LOCK, {"login": profile_id}).one_or_none()


def judged(tx: Connection, profile: Row[Any], device_id: UUID) -> Meaning:
    """What it means that this device refuses the login too, beside the others of late; it may be suspended for it."""
    others = tx.execute(_COUNT, _window(tx, profile) | {"device": device_id}).one()
    count, tried = others.refused + 1, max(others.tried, others.refused + 1)
    meaning = refusals.judge(count, tried)
    if meaning is Meaning.SUSPENDS:
        reason, says = refusals.in_words(profile.name, count, tried)
        lift(tx, profile)
        now = tx.scalar(_CLOCK)
        values = {"now": now, "reason": reason, "trial": refusals.next_trial(now, now)}
        tx.execute(_SUSPEND, values | {"login": profile.id})
        raise_alarm(tx, LOGIN_REFUSED, _scope(profile), says, profile.tenant_id)
    return meaning


def since_proved(tx: Connection, profile: Row[Any], collection_id: CollectionId) -> dict[str, Any]:
    """Of a device that refuses it again: `others_took` and `times`, see core.refusals.Refused."""
    values = _values(tx, profile) | {"collection": collection_id}
    return tx.execute(_SINCE_PROVED, values).one()._asdict()


def lift(tx: Connection, profile: Row[Any], statement: TextClause = _LIFT_AT_ONCE) -> None:
    """Nobody is blocked for what so many refuse: they wait."""
    lifted = [f"device {device}" for device in tx.scalars(statement, _window(tx, profile))]
    if lifted:
        tx.execute(_CLEAR, {"code": AuthenticationFailed.code, "scopes": lifted})


def free_the_rest(tx: Connection, profile_id: UUID | None) -> None:
    """Lift who is blocked still, since somebody held it; the caller holds no lock at all."""
    profile = tx.execute(_LOOK, {"login": profile_id}).one_or_none()
    if profile is not None:
        lift(tx, profile, _LIFT_WAITING)


def tried_in_vain(tx: Connection, profile: Row[Any]) -> None:
    """A trial was no success: the next one has its time, and whom nobody could lift at first is lifted now."""
    now = tx.execute(_CLOCK).scalar_one()
    trial = refusals.next_trial(profile.suspended_at, now)
    tx.execute(_NEXT_TRIAL, {"login": profile.id, "trial": trial, "now": now})
    lift(tx, profile)


def resume(tx: Connection, profile: Row[Any]) -> None:
    """A device has taken it: all are sent it again, one after another."""
    lift(tx, profile)
    login = {"login": profile.id}
    tx.execute(_RESUME, login)
    tx.execute(_SPREAD, login | {"within": refusals.SPREAD, "each": refusals.SPREAD_EACH})
    clear_alarm(tx, LOGIN_REFUSED, _scope(profile))


def _window(tx: Connection, profile: Row[Any]) -> dict[str, Any]:
    """The values of _SENT_SINCE and _BLOCKED: of the time that is looked at now, or was when it was suspended."""
    values = _values(tx, profile)
    since = refusals.counted_since(values["until"], profile.changed_at, profile.proved_at)
    again = profile.proved_at is not None and not tx.scalar(_TOOK_SINCE, values)
    return values | {"since": since, "again": again}


def _values(tx: Connection, profile: Row[Any]) -> dict[str, Any]:
    return {
        "login": profile.id,
        "until": profile.suspended_at or tx.scalar(_CLOCK),
        "changed": profile.changed_at,
        "proved": profile.proved_at,
        "refused": AuthenticationFailed.code,
        "after_login": sorted(refusals.AFTER_LOGIN),
    }


def _scope(profile: Row[Any]) -> str:
    """Of its alarms."""
    return f"login {profile.id}"
