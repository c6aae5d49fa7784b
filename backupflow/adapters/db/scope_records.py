"""What stands above devices, as it stands: by kind, one or all of them, with how many devices it concerns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db import host_keys, rotations
from backupflow.adapters.db.effective import LOGIN, due_behind
from backupflow.adapters.db.expected_keys import expected_of_jump_host
from backupflow.adapters.db.taken import TAKEN
from backupflow.core.model import JumpHostId, TenantId
from backupflow.core.rotation import Rotation
from backupflow.core.scopes import HopRecord, ProfileRecord, Record, ScopeKind, ScopeRecord
from backupflow.errors import AuthenticationFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from backupflow.adapters.db.rotations import Far

TABLES = {
    ScopeKind.PROFILE: "credential_profile",
    ScopeKind.GROUP: "device_group",
    ScopeKind.SITE: "site",
    ScopeKind.TENANT: "tenant",
    ScopeKind.JUMP_HOST: "jump_host",
}
LISTED = {  # the command that lists them
    ScopeKind.PROFILE: "credential list",
    ScopeKind.GROUP: "group list",
    ScopeKind.SITE: "site list",
    ScopeKind.TENANT: "tenant list",
    ScopeKind.JUMP_HOST: "jump list",
}
MEMBERS = {  # of the table `device`, as d
    ScopeKind.GROUP: "d.device_group_id = x.id",
    ScopeKind.SITE: "d.site_id = x.id",
    ScopeKind.TENANT: "d.tenant_id = x.id",
}
_ONE = "x.id = :scope"
_ALL = dict.fromkeys(ScopeKind, "x.tenant_id = :tenant") | {
    ScopeKind.TENANT: "(x.id = :tenant OR CAST(:tenant AS uuid) IS NULL) AND x.removed_at IS NULL",
    ScopeKind.PROFILE: "x.tenant_id = :tenant AND x.name IS NOT NULL",
}
_SCOPE = """
    SELECT x.id, {tenant} AS tenant_id, x.name, x.settings, x.maintenance_until, now() AS now, p.name AS profile,
        h.name AS jump, {direct} AS direct,
        (SELECT count(*) FROM device d WHERE {members} AND d.status <> 'removed') AS devices
    FROM {table} x LEFT JOIN credential_profile p ON p.id = x.credential_profile_id
    LEFT JOIN jump_host h ON h.id = x.jump_host_id WHERE {{which}} ORDER BY x.name"""
_NAMED_BY = """
    ARRAY(SELECT 'group ' || name FROM device_group WHERE {column} = x.id ORDER BY name)
    || ARRAY(SELECT 'site ' || name FROM site WHERE {column} = x.id ORDER BY name)
    || ARRAY(SELECT 'tenant ' || name FROM tenant WHERE {column} = x.id)
    || ARRAY(SELECT count(*) || ' device' || CASE WHEN count(*) = 1 THEN '' ELSE 's' END
             FROM device WHERE {column} = x.id AND status <> 'removed' HAVING count(*) > 0)"""
_PROFILE = f"""
    SELECT x.id, x.tenant_id, x.name, x.username, x.method, x.settings, x.suspended_at, x.suspended_reason,
        x.trial_at, x.trials, x.changed_at, x.next_username, x.next_method, x.next_changed_at,
        x.id IN ({TAKEN}) AS taken,
        {_NAMED_BY.format(column="credential_profile_id")}
        || ARRAY(SELECT 'jump host ' || name FROM jump_host WHERE credential_profile_id = x.id ORDER BY name)
            AS named_by
    FROM credential_profile x WHERE {{which}} ORDER BY x.name"""
_USES = text(f"""
    SELECT l.id, count(*) AS n, count(*) FILTER (WHERE d.blocked_code = :refused) AS refused,
        count(*) FILTER (WHERE d.status = 'active' AND d.blocked_code IS NULL AND d.next_due_at <= now()
            AND l.suspended_at IS NOT NULL) AS waiting,
        CASE WHEN d.credential_profile_id IS NOT NULL THEN 'device'
             WHEN g.credential_profile_id IS NOT NULL THEN 'group'
             WHEN s.credential_profile_id IS NOT NULL THEN 'site' ELSE 'tenant' END AS through
    FROM device d {LOGIN} WHERE l.id = ANY(:profiles) AND d.status <> 'removed' GROUP BY l.id, through""")
_HOP = f"""
    SELECT x.*, p.name AS profile, now() AS now, {_NAMED_BY.format(column="jump_host_id")} AS named_by,
        CASE WHEN p.trial_at IS NULL THEN p.suspended_at END AS login_suspended_at,
        CASE WHEN p.trial_at IS NULL THEN p.suspended_reason END AS login_suspended_reason,
        coalesce(p.method = 'key', false) AS by_key,
        (SELECT count(*) FROM device d WHERE d.via_id = x.id AND d.status <> 'removed') AS behind,
        {due_behind("x.id")} AS waiting,
        (SELECT a.detail FROM alarm a WHERE a.scope = 'jump host ' || x.id AND a.cleared_at IS NULL
         ORDER BY a.since DESC LIMIT 1) AS alarm
    FROM jump_host x LEFT JOIN credential_profile p ON p.id = x.credential_profile_id WHERE {{which}} ORDER BY x.name"""


def record(tx: Connection, kind: ScopeKind, scope_id: UUID) -> Record:
    """The one of this id."""
    return _records(tx, kind, _ONE, {"scope": scope_id})[0]


def records(tx: Connection, kind: ScopeKind, tenant_id: UUID | None) -> list[Record]:
    """All of a tenant, by name; of tenants all, if None."""
    return _records(tx, kind, _ALL[kind], {"tenant": tenant_id})


def _records(tx: Connection, kind: ScopeKind, which: str, values: dict[str, Any]) -> list[Record]:
    rows = tx.execute(text(_statement(kind).format(which=which)), values).all()
    match kind:
        case ScopeKind.PROFILE:
            return _profiles(tx, rows)
        case ScopeKind.JUMP_HOST:
            return [_hop(tx, row) for row in rows]
        case _:
            return [_scope(kind, row) for row in rows]


def _statement(kind: ScopeKind) -> str:
    match kind:
        case ScopeKind.PROFILE:
            return _PROFILE
        case ScopeKind.JUMP_HOST:
            return _HOP
        case _:
            tenant = "x.id" if kind is ScopeKind.TENANT else "x.tenant_id"
            direct = "x.jump_direct" if kind is ScopeKind.GROUP else "false"
            return _SCOPE.format(tenant=tenant, direct=direct, members=MEMBERS[kind], table=TABLES[kind])


def _scope(kind: ScopeKind, row: Row[Any]) -> ScopeRecord:
    return ScopeRecord(
        kind, row.id, TenantId(row.tenant_id), row.name, row.settings, row.profile, row.jump, row.direct, row.devices,
        row.maintenance_until, row.now,
    )  # fmt: skip


def _profiles(tx: Connection, rows: Sequence[Row[Any]]) -> list[Record]:
    uses: dict[UUID, dict[str, int]] = {row.id: {} for row in rows}
    refused, waiting = dict.fromkeys(uses, 0), dict.fromkeys(uses, 0)
    for row in tx.execute(_USES, {"profiles": list(uses), "refused": AuthenticationFailed.code}):
        uses[row.id][row.through] = row.n
        refused[row.id] += row.refused
        waiting[row.id] += row.waiting
    tallies = rotations.tallies(tx, [row.id for row in rows if row.next_changed_at])
    return [
        ProfileRecord(
            row.id, TenantId(row.tenant_id), row.name, row.username, row.method, row.settings, row.suspended_at,
            row.suspended_reason, row.changed_at, uses[row.id], tuple(row.named_by), refused[row.id],
            row.trial_at, row.trials, waiting[row.id], _rotation(row, tallies), row.taken,
        )
        for row in rows
    ]  # fmt: skip


def _rotation(row: Row[Any], tallies: Mapping[UUID, Far]) -> Rotation | None:
    far = tallies.get(row.id)
    return None if far is None else Rotation(row.next_username, row.next_method, row.next_changed_at, *far)


def _hop(tx: Connection, row: Row[Any]) -> HopRecord:
    return HopRecord(
        JumpHostId(row.id), TenantId(row.tenant_id), row.name, row.host, row.port, row.profile, row.settings,
        row.failures, row.down_since, row.retry_at, row.blocked_code, row.blocked_detail, row.blocked_at,
        row.reached_at, host_keys.keys_of(tx, row.id), expected_of_jump_host(tx, row.id), row.behind, row.waiting,
        tuple(row.named_by), row.now, row.alarm, row.login_suspended_at, row.login_suspended_reason, row.by_key,
    )  # fmt: skip
