"""What is effective for a device, resolved through its scopes: login, jump host, settings, and what is in its way.

The names in the SQL: d device, g its group, s its site, t its tenant, own its own login, l the login that is used,
h the jump host that it is reached through, hl the login of that.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from backupflow.core.keys import KEYS_LOST, LOGIN_LOST
from backupflow.core.model import Trigger
from backupflow.core.scope import LONGEST_INTERVAL, LONGEST_SESSION, SHORTEST_INTERVAL, Policy, resolve
from backupflow.errors import AlgorithmsIncompatible, AuthenticationFailed, InputInvalid

if TYPE_CHECKING:
    from sqlalchemy import Row

# A device's own login before the profile of the nearest scope that names one.
LOGIN = """
    LEFT JOIN device_group g ON g.id = d.device_group_id
    LEFT JOIN site s ON s.id = d.site_id
    JOIN tenant t ON t.id = d.tenant_id
    LEFT JOIN credential_profile own ON own.device_id = d.id
    LEFT JOIN credential_profile l ON l.id = coalesce(
        own.id, d.credential_profile_id, g.credential_profile_id, s.credential_profile_id, t.credential_profile_id)
    LEFT JOIN jump_host h ON h.id = d.via_id
    LEFT JOIN credential_profile hl ON hl.id = h.credential_profile_id"""
SETTINGS = """d.settings AS device_settings, l.settings AS profile_settings, g.settings AS group_settings,
    s.settings AS site_settings, t.settings AS tenant_settings"""
_OBSERVES = ", ".join(f"'{trigger}'" for trigger in Trigger if trigger.observes)
# A clock that stood ahead and was set right leaves times that lie too far in the future: they mean nothing.
LONGEST_RETRY = "interval '2 hours'"
HOP_DOWN = f"h.retry_at > now() AND h.retry_at <= now() + {LONGEST_RETRY}"
HOP_LOGIN_HINDRANCE = """
    CASE WHEN h.id IS NULL THEN NULL WHEN hl.id IS NULL THEN 'jump host without login'
         WHEN hl.suspended_at IS NOT NULL AND hl.trial_at IS NULL THEN 'jump host login suspended' END"""
# Whether its devices wait for it; one whose time has come is tried by one of them.
HOP_IN_TROUBLE = f"""
    (h.failures > 0 OR h.down_since IS NOT NULL OR h.blocked_code IS NOT NULL OR {HOP_LOGIN_HINDRANCE} IS NOT NULL)"""
# What keeps a jump host from being tried, the first that applies.
HOP_HINDRANCE = f"""
    CASE WHEN h.id IS NULL THEN NULL
         WHEN {HOP_LOGIN_HINDRANCE} IS NOT NULL THEN {HOP_LOGIN_HINDRANCE} || ': ' || h.name
         WHEN h.blocked_code IS NOT NULL THEN 'jump host blocked: ' || h.name
         WHEN {HOP_DOWN} THEN 'jump host down: ' || h.name
    END"""


# Till when nothing of a device is collected by itself, of whichever scope says so for longest.
MAINTENANCE_UNTIL = "greatest(d.maintenance_until, g.maintenance_until, s.maintenance_until, t.maintenance_until)"
# What a person may try in spite of it; past another host key, or another router behind a known one, nobody gets.
_FORCED_PAST = ", ".join(f"'{error.code}'" for error in (AuthenticationFailed, AlgorithmsIncompatible))


def observes(trigger: str) -> str:
    """SQL: whether a row of this trigger (an expression) adds to the history."""
    return f"{trigger} IN ({_OBSERVES})"


def own_hindrance(trigger: str) -> str:
    """SQL: what keeps a device itself from being collected, tested or scanned, the first that applies.

    A test and a scan are an operator's, who may try what is paused; a scan sends no login, and thus nothing to be
    blocked for.
    """
    scans = f"{trigger} = '{Trigger.SCAN}'"
    forced = f"{trigger} = '{Trigger.FORCED}'"
    return f"""
    CASE WHEN d.status = 'removed' OR d.status <> 'active' AND {observes(trigger)} THEN d.status
         WHEN d.blocked_code IS NOT NULL AND NOT {scans} AND NOT ({forced} AND d.blocked_code IN ({_FORCED_PAST}))
         THEN 'blocked: ' || d.blocked_code
         WHEN t.removed_at IS NOT NULL THEN 'tenant removed'
         WHEN t.pepper IS NULL THEN 'no keys'
         WHEN {scans} THEN NULL
         WHEN l.id IS NULL THEN 'no login'
         WHEN l.suspended_at IS NOT NULL AND l.suspended_reason = '{KEYS_LOST}' THEN '{LOGIN_LOST}'
         WHEN l.suspended_at IS NOT NULL AND l.trial_at IS NULL THEN 'login suspended'
         WHEN l.suspended_at IS NOT NULL AND {trigger} NOT IN ('{Trigger.TRIAL}', '{Trigger.FORCED}')
         THEN 'login refused: ' || coalesce(l.name, d.name)
    END"""


def around(trigger: str) -> str:
    """SQL: what around a device keeps it from being collected by itself; whoever asks for it gets it.

    Not looked at again once a session runs: that is nearly done. A trial of a login may be what finds out that a site
    is up again: while all of its devices wait for that login nobody else is let through.
    """
    by_itself = f"{trigger} IN ('{Trigger.SCHEDULE}', '{Trigger.PROBE}', '{Trigger.TRIAL}')"
    return f"""
    CASE WHEN {by_itself} AND {MAINTENANCE_UNTIL} > now() THEN 'maintenance'
         WHEN {trigger} = '{Trigger.SCHEDULE}' AND s.down_since IS NOT NULL THEN 'site down: ' || s.name
    END"""


def hindrance(trigger: str) -> str:
    """SQL: what keeps a device from being claimed and started, its jump host and its site included."""
    return f"coalesce({own_hindrance(trigger)}, {HOP_HINDRANCE}, {around(trigger)})"


# Of what comes by itself.
HINDRANCE = hindrance(f"'{Trigger.SCHEDULE}'")


def due_behind(jump_host: str) -> str:
    """SQL: how many devices behind a jump host (an expression of its id) are due, with nothing of their own in the way.

    As core.overview.DeviceState.waits reckons it. What failed at the jump host is due again within a minute.
    """
    own = own_hindrance(f"'{Trigger.SCHEDULE}'")
    return f"""(SELECT count(*) FROM device d {LOGIN}
        WHERE d.via_id = {jump_host} AND d.next_due_at <= now() + interval '1 minute' AND {own} IS NULL)"""


def usable_policy(defaults: Policy, row: Row[Any]) -> Policy:
    """The effective settings of a device whose scopes were read with it (SETTINGS); InputInvalid if they make no sense.

    A credential profile speaks of trust only.
    """
    wide, near = (row.tenant_settings, row.site_settings, row.group_settings), row.device_settings
    profile = row.profile_settings
    try:
        trust = {name: value for name, value in (profile or {}).items() if name == "trust"}
        policy = resolve(defaults, *wide, trust, near)
    except (ValueError, TypeError, AttributeError, OverflowError) as exc:
        raise InputInvalid("a setting of the device or of its scopes cannot be understood") from exc
    if not SHORTEST_INTERVAL <= policy.interval <= LONGEST_INTERVAL:
        raise InputInvalid(f"an interval of {policy.interval}: it is {SHORTEST_INTERVAL} to {LONGEST_INTERVAL}")
    if not timedelta(0) < policy.timeouts.deadline <= LONGEST_SESSION:
        raise InputInvalid(f"a session of {policy.timeouts.deadline}: it is at most {LONGEST_SESSION}")
    return policy


def policy_of(defaults: Policy, row: Row[Any]) -> Policy:
    """The same, to be shown only: where they make no sense it is the defaults, so that they can be seen and mended."""
    try:
        return usable_policy(defaults, row)
    except InputInvalid:
        return defaults
