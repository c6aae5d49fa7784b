"""A device as it stands, with all that its scopes say for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db.effective import LOGIN, SETTINGS, policy_of
from backupflow.adapters.db.host_keys import seen
from backupflow.adapters.db.taken import TAKEN
from backupflow.core.firewall import Met
from backupflow.core.inventory import DIRECT, OWN_LOGIN, DeviceRecord, SeenKey
from backupflow.core.keys import KEYS_LOST
from backupflow.core.model import DeviceId, ExpectedKey, LoginOn, TenantId, TrustedHow
from backupflow.core.rotation import Standing
from backupflow.core.scope import GLOBAL, Policy, effective
from backupflow.errors import AuthenticationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

# Also told to who may not see that there is a sealed text.
_ON_NEXT = "(l.next_changed_at IS NOT NULL AND d.login_on = 'next')"
_LOAD = text(f"""
    SELECT d.*, {SETTINGS}, l.next_changed_at IS NOT NULL AS login_rotates,
        CASE WHEN {_ON_NEXT} THEN l.next_username ELSE l.username END AS username,
        CASE WHEN {_ON_NEXT} THEN l.next_method ELSE l.method END AS method,
        own.id IS NOT NULL AS has_own_login, now() AS now, t.name AS tenant_name,
        g.name AS group_name, s.name AS site_name, dp.name AS own_profile, dj.name AS own_jump, h.name AS via,
        l.name AS used_profile, g.credential_profile_id AS group_profile_id, g.jump_direct AS group_direct,
        s.credential_profile_id AS site_profile_id, g.jump_host_id AS group_jump_id, s.jump_host_id AS site_jump_id,
        CASE WHEN l.suspended_at IS NOT NULL THEN coalesce(l.suspended_reason, 'suspended') END AS login_suspended,
        coalesce(l.suspended_at IS NOT NULL AND l.suspended_reason = :lost, false) AS login_lost,
        coalesce(d.blocked_code = '{AuthenticationFailed.code}' AND EXISTS ({TAKEN} AND t.login_id = l.id), false)
            AS login_taken,
        ARRAY[d.maintenance_until, g.maintenance_until, s.maintenance_until, t.maintenance_until] AS maintenance,
        CASE WHEN d.unreadable_to_seq > 0 THEN (SELECT k.created_at FROM transit_key k
            WHERE k.tenant_id = d.tenant_id AND k.purpose = 'data') END AS keys_given_up_at,
        (SELECT max(c.collected_at) FROM collection c WHERE c.device_id = d.id AND c.state = 'stored')
            AS last_collected_at,
        current.facts, d.believe_seq > accepted.seq AS believes,
        EXISTS (SELECT 1 FROM collection s WHERE s.device_id = d.id AND s.state = 'suspect' AND s.seq > accepted.seq)
            AS in_doubt
    FROM device d {LOGIN} LEFT JOIN collection current ON current.id = d.current_collection_id
    LEFT JOIN credential_profile dp ON dp.id = d.credential_profile_id
    LEFT JOIN jump_host dj ON dj.id = d.jump_host_id
    CROSS JOIN LATERAL (
        SELECT greatest(d.router_since_seq, max(a.seq)) AS seq FROM collection a
        WHERE a.device_id = d.id AND a.state IN ('published', 'stored')) accepted
    WHERE d.id = ANY(:devices)""")
_KEYS = text("""
    SELECT device_id, id, status, key_type, blob, first_seen_at, last_seen_at, last_verified_at, trusted_how,
        trusted_by, trusted_at FROM host_key WHERE device_id = ANY(:devices) ORDER BY last_seen_at DESC, id DESC""")
_EXPECTED = text("""
    SELECT device_id, fingerprint, how, key_type FROM expected_key WHERE device_id = ANY(:devices) ORDER BY id""")


def record(tx: Connection, device_id: DeviceId, defaults: Policy) -> DeviceRecord:
    """The device of this id; `defaults` are the global settings."""
    return records(tx, [device_id], defaults)[device_id]


def records(tx: Connection, devices: Sequence[DeviceId], defaults: Policy) -> dict[DeviceId, DeviceRecord]:
    """All of these ids, in three statements."""
    ids = {"devices": list(devices)}
    keys: dict[UUID, list[SeenKey]] = {}
    for row in tx.execute(_KEYS, ids):
        keys.setdefault(row.device_id, []).append(seen(row))
    expected: dict[UUID, list[ExpectedKey]] = {}
    for row in tx.execute(_EXPECTED, ids):
        said = ExpectedKey(row.fingerprint, TrustedHow(row.how), row.key_type)
        expected.setdefault(row.device_id, []).append(said)
    rows = tx.execute(_LOAD, ids | {"lost": KEYS_LOST}).all()
    return {
        DeviceId(row.id): _record(row, tuple(keys.get(row.id, ())), tuple(expected.get(row.id, ())), defaults)
        for row in rows
    }


def _record(
    row: Row[Any], keys: tuple[SeenKey, ...], expected: tuple[ExpectedKey, ...], defaults: Policy
) -> DeviceRecord:
    timetable = policy_of(defaults, row).timetable
    return DeviceRecord(
        tenant_id=TenantId(row.tenant_id),
        device_id=DeviceId(row.id),
        name=row.name,
        host=row.host,
        port=row.port,
        driver=row.driver,
        status=row.status,
        settings=row.device_settings,
        username=row.username,
        method=row.method,
        has_own_login=row.has_own_login,
        blocked_code=row.blocked_code,
        blocked_detail=row.blocked_detail,
        blocked_at=row.blocked_at,
        failures=row.failures,
        anchor_at=row.anchor_at,
        next_due_at=row.next_due_at,
        interval=timetable.period(row.now),
        cron=timetable.cron,
        own_maintenance_until=row.maintenance_until,
        maintenance_until=max(
            (until for until in row.maintenance if until is not None and until > row.now), default=None
        ),
        last_collected_at=row.last_collected_at,
        now=row.now,
        keys=keys,
        last_seq=row.last_seq,
        modern_ssh_at=row.modern_ssh_at,
        in_doubt=row.in_doubt,
        believes=row.believes,
        facts=row.facts or {},
        login_lost=row.login_lost,
        unreadable_to_seq=row.unreadable_to_seq,
        keys_given_up_at=row.keys_given_up_at,
        removed_at=row.removed_at,
        offline_since=row.offline_since,
        flapping_since=row.flapping_since,
        met=Met(row.met_at, row.hold_until, row.wary_until),
        group=row.group_name,
        site=row.site_name,
        profile=row.own_profile,
        jump=row.own_jump,
        direct=row.jump_direct,
        via=row.via,
        source=row.source,
        paused_reason=row.paused_reason,
        login_suspended=row.login_suspended,
        login_taken=row.login_taken,
        login_rotates=row.login_rotates,
        standing=Standing(LoginOn(row.login_on), LoginOn(row.refused_on) if row.refused_on else None),
        login_since=row.login_since,
        expected=expected,
        effective=_effective(defaults, row),
    )


def _effective(defaults: Policy, row: Row[Any]) -> Mapping[str, tuple[Any, str]]:
    """Each setting, the profile and the jump host, with where they come from."""
    scopes = (
        (_tenant(row), row.tenant_settings),
        (f"site {row.site_name}", row.site_settings),
        (f"group {row.group_name}", row.group_settings),
        (f"profile {row.used_profile}", row.profile_settings if row.used_profile else None),
        ("device", row.device_settings),
    )
    found = effective(defaults, scopes)
    profile, jump = next(_profiles(row), None), next(_ways(row))
    return found | ({"profile": profile} if profile else {}) | {"jump_host": jump}


def _profiles(row: Row[Any]) -> Iterator[tuple[str, str]]:
    """The logins that could be used, the nearest first."""
    if row.has_own_login:
        yield OWN_LOGIN, "device"
    if row.credential_profile_id:
        yield row.used_profile, "device"
    if row.group_profile_id:
        yield row.used_profile, f"group {row.group_name}"
    if row.site_profile_id:
        yield row.used_profile, f"site {row.site_name}"
    if row.used_profile:
        yield row.used_profile, _tenant(row)


def _ways(row: Row[Any]) -> Iterator[tuple[str, str]]:
    """The ways that it could be reached by, the nearest first."""
    if row.jump_direct or row.jump_host_id:
        yield row.via or DIRECT, "device"
    if row.group_direct or row.group_jump_id:
        yield row.via or DIRECT, f"group {row.group_name}"
    if row.site_jump_id:
        yield row.via, f"site {row.site_name}"
    yield (row.via, _tenant(row)) if row.via else (DIRECT, GLOBAL)


def _tenant(row: Row[Any]) -> str:
    return f"tenant {row.tenant_name}"
