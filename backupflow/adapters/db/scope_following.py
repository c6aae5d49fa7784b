"""What follows for devices and jump hosts when something above them changes: another way, another login.

As core.enrolment decides for one device, written for all of them at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db.contacts import HELD
from backupflow.adapters.db.effective import LOGIN
from backupflow.adapters.db.rotating import UNKNOWN
from backupflow.adapters.db.scope_records import MEMBERS, TABLES
from backupflow.core.jump import JUMP_HOST_BLOCKED, JUMP_HOST_DOWN, scope_of
from backupflow.core.model import JumpHostId
from backupflow.core.scopes import Expected, ScopeKind, ScopeUpdate
from backupflow.errors import AuthenticationFailed, Conflict, LoginUnusable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

_CONCERNED = {
    ScopeKind.PROFILE: f"SELECT d.id FROM device d {LOGIN} WHERE l.id = :scope AND d.status <> 'removed'",
    ScopeKind.JUMP_HOST: "SELECT d.id FROM device d WHERE d.jump_host_id = :scope AND d.status = 'removed'",
} | {
    kind: f"SELECT d.id FROM device d JOIN {TABLES[kind]} x ON {members} WHERE x.id = :scope"
    for kind, members in MEMBERS.items()
}
_TRIES = 10
_LOCK_DEVICES = text("SELECT 1 FROM device WHERE id = ANY(:devices) ORDER BY id FOR NO KEY UPDATE")
_STANDING = text(f"""
    SELECT d.id, d.name, d.status, d.blocked_code, d.via_id, l.id AS login_id FROM device d {LOGIN}
    WHERE d.id = ANY(:devices)""")
_MOVED = text("""
    UPDATE device SET failures = 0, believe_seq = 0, next_due_at = CASE WHEN status = 'active' THEN now() END,
        met_at = NULL, hold_until = NULL, wary_until = NULL
    WHERE id = ANY(:devices)""")
_NOT_REFUSED = text("""
    UPDATE device SET blocked_code = NULL, blocked_detail = NULL, blocked_at = NULL, failures = 0,
        next_due_at = CASE WHEN status = 'active' THEN now() END
    WHERE id = ANY(:devices) AND blocked_code = :refused RETURNING id""")
# By another login; spread, since a whole fleet may have it.
_DUE_ANEW = text(f"""
    UPDATE device d SET next_due_at = least(d.next_due_at, now() + random() * least(
        interval '10 minutes', cardinality(CAST(:devices AS uuid[])) * interval '3 seconds'))
    FROM (SELECT d.id FROM device d {LOGIN} WHERE d.id = ANY(:devices) AND l.id = :login) x
    WHERE d.id = x.id AND d.status = 'active' AND d.blocked_code IS NULL
    RETURNING d.next_due_at, CASE WHEN {HELD} THEN d.hold_until END AS held_until, now() AS now""")
# What was refused of another login, or before a person said that this one may be tried again.
_FORGET_REFUSALS = text("UPDATE device SET refused_at = NULL WHERE id = ANY(:devices) AND refused_at IS NOT NULL")
_UNKNOWN = text(f"UPDATE device SET {UNKNOWN} WHERE id = ANY(:devices)")
_CLEAR = text("""
    UPDATE alarm SET cleared_at = now() WHERE code = ANY(:codes) AND scope = ANY(:scopes) AND cleared_at IS NULL""")
# Since when it is down stays until it is passed: an attempt that fails again is the same trouble.
_AGAIN = text("""
    UPDATE jump_host SET down_since = CASE WHEN blocked_code IS NULL THEN down_since END,
        failures = 0, retry_at = NULL, blocked_code = NULL, blocked_detail = NULL,
        blocked_at = NULL, reached_at = NULL WHERE id = ANY(:hops)""")
_REFUSED_HOPS = text("""
    SELECT id FROM jump_host WHERE credential_profile_id = :profile AND blocked_code = ANY(:refused)
    ORDER BY id FOR NO KEY UPDATE""")
# Each device of the tenant with the way that it would be reached by: as the trigger of the table reckons it.
_WOULD_BE = """
    SELECT d.id, d.name, d.host, d.port, CASE WHEN d.jump_direct THEN NULL
        WHEN d.jump_host_id IS NOT NULL THEN d.jump_host_id WHEN {group_direct} THEN NULL
        ELSE coalesce({group}, {site}, {tenant}) END AS via
    FROM device d JOIN tenant t ON t.id = d.tenant_id LEFT JOIN device_group g ON g.id = d.device_group_id
    LEFT JOIN site s ON s.id = d.site_id
    WHERE d.status <> 'removed' AND d.tenant_id = (SELECT {of} FROM {table} WHERE id = :scope)"""
_CLASH = """
    WITH placed AS ({would_be})
    SELECT a.name AS one, b.name AS other, a.host, a.port, h.name AS via
    FROM placed a JOIN placed b ON b.host = a.host AND b.port = a.port AND b.via IS NOT DISTINCT FROM a.via
        AND b.name > a.name LEFT JOIN jump_host h ON h.id = a.via
    ORDER BY a.name LIMIT 1"""


def lock_all(tx: Connection, kind: ScopeKind, scope_id: UUID) -> list[UUID] | None:
    """Lock the devices that an act on it concerns, by id, then it; the devices, or None if it is not there any more.

    A device that came to it in between is locked by nobody: its next act would wait for the scope, and the trigger for
    that device. So all is let go and locked once more with it, until nobody came. Some may have left meanwhile.
    """
    scope = {"scope": scope_id}
    devices = set(tx.scalars(text(_CONCERNED[kind]), scope))
    for _ in range(_TRIES):
        tries = tx.begin_nested()
        tx.execute(_LOCK_DEVICES, {"devices": list(devices)})
        there = tx.scalar(text(f"SELECT id FROM {TABLES[kind]} WHERE id = :scope FOR NO KEY UPDATE"), scope)
        came = set(tx.scalars(text(_CONCERNED[kind]), scope)) - devices
        if not came:
            tries.commit()
            return list(devices) if there else None
        tries.rollback()  # with its locks
        devices |= came
    raise Conflict("devices come and go there at this moment; nothing was changed: do it once more")


def standing(tx: Connection, devices: Sequence[UUID]) -> dict[UUID, Row[Any]]:
    """The way and the login of each that are used now."""
    return {row.id: row for row in tx.execute(_STANDING, {"devices": list(devices)})} if devices else {}


def follow(tx: Connection, before: Mapping[UUID, Row[Any]], update: ScopeUpdate, scope_id: UUID) -> None:
    """Let what is reached another way be as if it were moved, and let nobody stay blocked for a login of before."""
    after = standing(tx, list(before))
    without = [row for key, row in after.items() if row.login_id is None and before[key].login_id is not None]
    if left := [row for row in without if row.status != "removed"]:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise Conflict(f"{left[0].name}{more} would have no login: give what uses this one a profile first")
    moved = [key for key, row in after.items() if row.via_id != before[key].via_id]
    if moved:
        tx.execute(_MOVED, {"devices": moved})
    login = scope_id if update.ends_refusals else None  # that became another one
    others = [
        key
        for key, row in after.items()
        if row.login_id is not None and (row.login_id == login or row.login_id != before[key].login_id)
    ]
    refused = {"refused": AuthenticationFailed.code}
    resumed = (
        [k for k, row in after.items() if row.login_id == scope_id] if "suspended_reason" in update.columns else []
    )
    if others or resumed:
        tx.execute(_FORGET_REFUSALS, {"devices": others + resumed})
    elsewhere = [key for key, row in after.items() if row.login_id != before[key].login_id]
    if elsewhere:  # which of two logins a device was on says nothing of another profile's
        tx.execute(_UNKNOWN, {"devices": elsewhere})
    if others:
        freed = list(tx.scalars(_NOT_REFUSED, {"devices": others} | refused))
        scopes = [f"device {device}" for device in freed]
        tx.execute(_CLEAR, {"codes": [AuthenticationFailed.code], "scopes": scopes})


def due_anew(tx: Connection, devices: Sequence[UUID], login_id: UUID) -> Expected | None:
    """Let those that use this login, which became another one, be collected soon; None if there are none.

    Whom their firewalls might ban us from are not asked before that is over.
    """
    rows = tx.execute(_DUE_ANEW, {"devices": list(devices), "login": login_id}).all()
    if not rows:
        return None
    held = [row.held_until for row in rows if row.held_until and row.held_until > row.next_due_at]
    by = max((row.next_due_at for row in rows if row.held_until not in held), default=rows[0].now)
    return Expected(rows[0].now, len(rows), by, len(held), max(held, default=None))


def refused_hops(tx: Connection, profile_id: UUID) -> list[UUID]:
    """The jump hosts that refused this login, locked."""
    refused = [AuthenticationFailed.code, LoginUnusable.code]
    return list(tx.scalars(_REFUSED_HOPS, {"profile": profile_id, "refused": refused}))


def try_hops_again(tx: Connection, hops: Sequence[UUID]) -> None:
    """Whatever was met there: the next device that is due behind one tries it, and nobody else until it is reached."""
    if hops:
        scopes = [scope_of(JumpHostId(hop)) for hop in hops]
        tx.execute(_AGAIN, {"hops": list(hops)})
        tx.execute(_CLEAR, {"codes": [JUMP_HOST_BLOCKED, JUMP_HOST_DOWN], "scopes": scopes})


def clash(tx: Connection, kind: ScopeKind, scope_id: UUID, columns: Mapping[str, Any]) -> str:
    """Which two devices would have one address, if this scope had these columns."""
    says = {"group": "g.jump_host_id", "group_direct": "g.jump_direct", "site": "s.jump_host_id"}
    says["tenant"] = "t.jump_host_id"
    level = {ScopeKind.GROUP: "group", ScopeKind.SITE: "site"}.get(kind, "tenant")
    row = f"{level[0]}.id = :scope"
    says[level] = f"CASE WHEN {row} THEN CAST(:jump AS uuid) ELSE {says[level]} END"
    if kind is ScopeKind.GROUP:
        says["group_direct"] = f"CASE WHEN {row} THEN :direct ELSE g.jump_direct END"
    of = "id" if kind is ScopeKind.TENANT else "tenant_id"
    statement = _CLASH.format(would_be=_WOULD_BE.format(**says, of=of, table=TABLES[kind]))
    values = {"scope": scope_id, "jump": columns.get("jump_host_id"), "direct": columns.get("jump_direct", False)}
    found = tx.execute(text(statement), values).first()
    if found is None:  # moved or removed at this moment
        return "two devices would have one address"
    where = f"{found.host} port {found.port}{f' behind {found.via}' if found.via else ', reached directly'}"
    return f"devices {found.one} and {found.other} would both have {where}: move one of them first"
