"""The rotation of a shared login: the next one is sealed for the same profile, beside the current one.

Both have the same context, and neither is ever opened to take the other's place: what tells them apart is the column
that they lie in, and what a session sent is known by its `changed_at`. The ciphertext of one profile is worth nothing
in another's row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupflow.core import rotation_acts
from backupflow.core.scopes import ProfileRecord, ScopeKind
from backupflow.flows.scopes import Done, profile_act, sealed_profile

if TYPE_CHECKING:
    from backupflow.core.model import Login, TenantId
    from backupflow.core.rotation import Act
    from backupflow.flows.scopes import ScopePorts


def profile(ports: ScopePorts, tenant_id: TenantId, name: str) -> ProfileRecord:
    """It as it stands; NotFound if there is none."""
    found = ports.store.find(ScopeKind.PROFILE, tenant_id, name)
    if not isinstance(found, ProfileRecord):
        raise TypeError(found)
    return found


def begin(ports: ScopePorts, tenant_id: TenantId, name: str, login: Login) -> Done:
    """Keep it beside the current one; Conflict if that cannot be."""
    there = profile(ports, tenant_id, name)
    stored = sealed_profile(ports, tenant_id, there.profile_id, login)
    return profile_act(ports, tenant_id, name, lambda record: rotation_acts.rotation_begun(record, stored))


def end(ports: ScopePorts, tenant_id: TenantId, name: str, act: Act, typed: int | None = None) -> Done:
    """Destroy the current login, or give the next one up; `typed`: how many devices that may leave behind."""
    return profile_act(ports, tenant_id, name, lambda record: rotation_acts.rotation_ended(record, act, typed))
