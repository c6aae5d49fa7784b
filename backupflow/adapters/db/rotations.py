"""The rotation of a shared login in the database: begun, finished, cancelled, and how far its devices are.

The caller holds the locks of the profile's devices and of the profile. What was refused is not sent once more only
because a rotation has begun: who refuses the current login by then begins with the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from backupflow.adapters.db.alarms import clear_alarm
from backupflow.adapters.db.effective import LOGIN
from backupflow.adapters.db.rotating import UNKNOWN
from backupflow.core.rotation import Act, Tally
from backupflow.errors import AuthenticationFailed, Conflict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from backupflow.core.inventory import DeviceLogin

Far = tuple[Tally, tuple[str, ...], tuple[str, ...]]
_BEGIN = text("""
    UPDATE credential_profile SET next_username = :username, next_method = :method, next_sealed = :sealed,
        next_changed_at = now() WHERE id = :profile""")
_DROPPED = "next_username = NULL, next_method = NULL, next_sealed = NULL, next_changed_at = NULL"
_END = {
    # It stays the login that sessions have in hand: `changed_at` goes with it.
    Act.FINISH: text(f"""
        UPDATE credential_profile SET username = next_username, method = next_method, sealed = next_sealed,
            changed_at = next_changed_at, {_DROPPED} WHERE id = :profile"""),
    Act.CANCEL: text(f"UPDATE credential_profile SET {_DROPPED} WHERE id = :profile"),
}
_UNKNOWN = text(f"UPDATE device SET {UNKNOWN} WHERE id = ANY(:devices)")
# A login that many had refused is tried again with the next one; what a person suspended stays so.
_RESUME = text("""
    UPDATE credential_profile SET suspended_at = NULL, suspended_reason = NULL, trial_at = NULL, trials = 0
    WHERE id = :profile AND trial_at IS NOT NULL RETURNING id""")
_BEGIN_WITH_NEXT = text("""
    UPDATE device SET login_on = 'next', refused_on = 'current', login_since = NULL, refused_at = NULL, failures = 0,
        blocked_code = NULL, blocked_detail = NULL, blocked_at = NULL,
        next_due_at = CASE WHEN status = 'active' THEN now() + random() * least(
            interval '10 minutes', cardinality(CAST(:devices AS uuid[])) * interval '3 seconds') END
    WHERE id = ANY(:devices) AND (blocked_code = :refused OR blocked_code IS NULL AND refused_at IS NOT NULL)
    RETURNING id""")
_LOGIN_REFUSED = "login_refused"  # code of the alarm of a login that many refuse
_CLEAR = text("""
    UPDATE alarm SET cleared_at = now() WHERE code = :code AND scope = ANY(:scopes) AND cleared_at IS NULL""")
_WORKS = "d.refused_on IS NULL AND d.login_since IS NOT NULL AND d.login_on"
_TALLY = text(f"""
    SELECT l.id, count(*) FILTER (WHERE {_WORKS} = 'next') AS new, count(*) FILTER (WHERE {_WORKS} = 'current') AS old,
        count(*) FILTER (WHERE d.refused_on IS NULL AND d.login_since IS NULL) AS unseen,
        count(*) FILTER (WHERE d.refused_on <> d.login_on) AS waiting,
        count(*) FILTER (WHERE d.refused_on = d.login_on) AS neither,
        array_agg(d.name ORDER BY d.name) FILTER (WHERE ({_WORKS} = 'next') IS NOT TRUE) AS others,
        array_agg(d.name ORDER BY d.name)
            FILTER (WHERE {_WORKS} = 'next' OR d.refused_on IS NOT NULL) AS ahead
    FROM device d {LOGIN} WHERE l.id = ANY(:profiles) AND d.status <> 'removed' GROUP BY l.id""")
_ROTATES = text("""
    SELECT name, next_sealed IS NOT NULL AS rotates FROM credential_profile WHERE id = :profile
    FOR SHARE SKIP LOCKED""")


def begin(tx: Connection, profile_id: UUID, devices: Sequence[UUID], login: DeviceLogin) -> None:
    """Take the next login in; nothing that was learnt of its devices in an earlier rotation is true of this one."""
    if login.sealed is None:
        raise ValueError(profile_id)
    values = {"username": login.username, "method": login.method, "sealed": login.sealed.text}
    tx.execute(_BEGIN, values | {"profile": profile_id})
    concerned = {"devices": list(devices)}
    tx.execute(_UNKNOWN, concerned)
    if tx.scalar(_RESUME, {"profile": profile_id}) is not None:
        clear_alarm(tx, _LOGIN_REFUSED, f"login {profile_id}")
    freed = tx.scalars(_BEGIN_WITH_NEXT, concerned | {"refused": AuthenticationFailed.code})
    scopes = [f"device {device}" for device in freed]
    tx.execute(_CLEAR, {"code": AuthenticationFailed.code, "scopes": scopes})


def end(tx: Connection, profile_id: UUID, devices: Sequence[UUID], act: Act) -> None:
    """One login is left, the other one's ciphertext is gone from its row. Who is blocked stays so."""
    tx.execute(_END[act], {"profile": profile_id})
    tx.execute(_UNKNOWN, {"devices": list(devices)})


def tallies(tx: Connection, profiles: Sequence[UUID]) -> dict[UUID, Far]:
    """How far each of these is, and who is not known to take the new one, and the old one, by name.

    Nothing of one that is not being rotated.
    """
    rows = tx.execute(_TALLY, {"profiles": list(profiles)}) if profiles else ()
    there = {
        row.id: (
            Tally(row.new, row.old, row.unseen, row.waiting, row.neither),
            tuple(row.others or ()),
            tuple(row.ahead or ()),
        )
        for row in rows
    }
    return {profile: there.get(profile, (Tally(), (), ())) for profile in profiles}


def refuse_for_jump_host(tx: Connection, profile_id: UUID) -> None:
    """Conflict if its login is being rotated, and nobody begins to until the caller is done.

    A jump host has one login: the way through it is shared by many, and two tries would be held against all of them.
    It is locked without waiting, since who edits a profile locks it before its jump hosts.
    """
    row = tx.execute(_ROTATES, {"profile": profile_id}).one_or_none()
    if row is None:
        raise Conflict("its credential profile is being changed at this moment; nothing was changed: do it once more")
    if row.rotates:
        raise Conflict(
            f"the login of {row.name} is being rotated, and a jump host has one login: take another profile, or end "
            "the rotation first, `credential rotate`"
        )
