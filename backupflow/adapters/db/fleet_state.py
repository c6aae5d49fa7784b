"""The fleet as it stands: all of a tenant's devices with their scopes by name, in a few statements."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db.effective import LOGIN
from backupflow.core.fleet import Candidate
from backupflow.core.importing import Fleet, Known, ScopeSays, TenantScopes
from backupflow.core.inventory import composed
from backupflow.core.keys import KEYS_LOST
from backupflow.core.model import DeviceId, TenantId

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

_TENANTS = text("""
    SELECT t.id, t.name, p.name AS profile, j.name AS jump
    FROM tenant t LEFT JOIN credential_profile p ON p.id = t.credential_profile_id
    LEFT JOIN jump_host j ON j.id = t.jump_host_id
    WHERE t.name = ANY(:names) AND t.removed_at IS NULL ORDER BY t.name""")
_SCOPES = {
    "groups": text("""
        SELECT x.id, x.name, p.name AS profile, j.name AS jump, x.jump_direct AS direct
        FROM device_group x LEFT JOIN credential_profile p ON p.id = x.credential_profile_id
        LEFT JOIN jump_host j ON j.id = x.jump_host_id WHERE x.tenant_id = :tenant"""),
    "sites": text("""
        SELECT x.id, x.name, p.name AS profile, j.name AS jump, false AS direct
        FROM site x LEFT JOIN credential_profile p ON p.id = x.credential_profile_id
        LEFT JOIN jump_host j ON j.id = x.jump_host_id WHERE x.tenant_id = :tenant"""),
    "profiles": text("SELECT id, name FROM credential_profile WHERE tenant_id = :tenant AND name IS NOT NULL"),
    "jump_hosts": text("SELECT id, name FROM jump_host WHERE tenant_id = :tenant"),
}
_SUSPENDED = text("""
    SELECT name FROM credential_profile
    WHERE tenant_id = :tenant AND name IS NOT NULL AND suspended_at IS NOT NULL
        AND trial_at IS NULL AND suspended_reason IS DISTINCT FROM :lost""")
_DEVICES = text("""
    SELECT d.id, d.name, d.host, d.port, d.settings, d.source, d.paused_reason, d.status, d.blocked_code, d.jump_direct,
        p.name AS profile, g.name AS group_name, s.name AS site, j.name AS jump, own.username,
        (SELECT k.fingerprint FROM host_key k WHERE k.device_id = d.id AND k.status = 'pinned') AS pinned,
        ARRAY(SELECT e.fingerprint FROM expected_key e WHERE e.device_id = d.id) AS expected
    FROM device d LEFT JOIN credential_profile p ON p.id = d.credential_profile_id
    LEFT JOIN credential_profile own ON own.device_id = d.id
    LEFT JOIN device_group g ON g.id = d.device_group_id LEFT JOIN site s ON s.id = d.site_id
    LEFT JOIN jump_host j ON j.id = d.jump_host_id
    WHERE d.tenant_id = :tenant AND d.status <> 'removed' ORDER BY d.name""")
_CANDIDATES = text(f"""
    SELECT d.id, d.name, d.host, d.port, d.status, d.blocked_code, g.name AS group_name, s.name AS site,
        l.name AS profile, h.name AS jump, d.source, d.driver, current.facts
    FROM device d {LOGIN} LEFT JOIN collection current ON current.id = d.current_collection_id
    WHERE d.tenant_id = :tenant AND d.status <> 'removed' ORDER BY d.name""")


@dataclass(frozen=True, slots=True)
class Names:
    """The ids of a tenant's scopes, by name."""

    groups: Mapping[str, UUID] = field(default_factory=dict)
    sites: Mapping[str, UUID] = field(default_factory=dict)
    profiles: Mapping[str, UUID] = field(default_factory=dict)
    jump_hosts: Mapping[str, UUID] = field(default_factory=dict)


def names_of(tx: Connection, tenant_id: TenantId) -> Names:
    """The scopes that a device of this tenant may name."""
    return Names(**{what: {row.name: row.id for row in _rows(tx, what, tenant_id)} for what in _SCOPES})


def standing(tx: Connection, tenants: Collection[str]) -> Fleet:
    """All that is here of these tenants, as far as there are any of these names."""
    rows = tx.execute(_TENANTS, {"names": list(tenants)}).all()
    devices: list[Known] = []
    for tenant in rows:
        devices += [_known(row, tenant.name) for row in tx.execute(_DEVICES, {"tenant": tenant.id})]
    return Fleet({row.name: _scopes(tx, row) for row in rows}, tuple(devices))


def candidates(tx: Connection, tenant_id: TenantId) -> list[Candidate]:
    """All devices of a tenant, by what they may be chosen by."""
    return [
        Candidate(
            DeviceId(row.id),
            row.name,
            row.host,
            row.port,
            row.status,
            row.blocked_code,
            row.group_name,
            row.site,
            row.profile,
            row.jump,
            row.source,
            row.driver,
            row.facts or {},
        )
        for row in tx.execute(_CANDIDATES, {"tenant": tenant_id})
    ]


def _rows(tx: Connection, what: str, tenant_id: TenantId) -> Sequence[Row[Any]]:
    return tx.execute(_SCOPES[what], {"tenant": tenant_id}).all()


def _scopes(tx: Connection, tenant: Row[Any]) -> TenantScopes:
    says = {
        what: {
            row.name: ScopeSays(row.jump, direct=row.direct, profile=row.profile) for row in _rows(tx, what, tenant.id)
        }
        for what in ("groups", "sites")
    }
    named = {what: frozenset(row.name for row in _rows(tx, what, tenant.id)) for what in ("profiles", "jump_hosts")}
    suspended = frozenset(tx.scalars(_SUSPENDED, {"tenant": tenant.id, "lost": KEYS_LOST}))
    own = ScopeSays(tenant.jump, profile=tenant.profile)
    return TenantScopes(TenantId(tenant.id), own, says["groups"], says["sites"], suspended=suspended, **named)


def _known(row: Row[Any], tenant: str) -> Known:
    return Known(
        tenant,
        DeviceId(row.id),
        composed(row.name),  # as it is compared, also where it was written before names were
        row.host,
        row.port,
        profile=row.profile,
        group=row.group_name,
        site=row.site,
        says=ScopeSays(row.jump, direct=row.jump_direct),
        settings=row.settings,
        username=row.username,
        pinned=row.pinned,
        expected=frozenset(row.expected),
        source=row.source,
        paused_reason=row.paused_reason,
        status=row.status,
        blocked=row.blocked_code,
    )
