"""The life of what stands above devices: shared logins, groups, sites, tenants, jump hosts; one audited act at a time.

A shared login is sealed for its own profile, whose id is made first: its ciphertext is worth nothing in another row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from backupflow.core import scope_acts
from backupflow.core.inventory import DeviceLogin, checked_fingerprint, checked_host, checked_port, checked_username
from backupflow.core.maintenance import Wish, scope_maintained
from backupflow.core.scope import checked_for
from backupflow.core.scopes import (
    Changes,
    HopRecord,
    NewScope,
    ProfileRecord,
    Record,
    ScopeKind,
    ScopeRecord,
    ScopeUpdate,
    checked_scope_name,
    name_taken,
)
from backupflow.errors import InputInvalid, NotFound
from backupflow.flows.admitting import login_secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from backupflow.core.model import Login, TenantId
    from backupflow.core.ports import ScopeStore, SecretSealer
    from backupflow.core.rescheduling import Rescheduled
    from backupflow.core.scopes import Expected

R = TypeVar("R", ScopeRecord, ProfileRecord, HopRecord)


@dataclass(frozen=True, slots=True)
class ScopePorts:
    """What acts on scopes need of the world; `actor` is who does it."""

    store: ScopeStore
    sealer: SecretSealer
    actor: str


@dataclass(frozen=True, slots=True)
class Done:
    """What an act did; `changed` is False if all was so already. Of what was removed: as it was before.

    `rescheduled`: devices that run at other times now. `expected`: those that are collected soon by another login.
    """

    record: Record
    changed: bool
    rescheduled: Rescheduled | None = None
    expected: Expected | None = None


def add(ports: ScopePorts, new: NewScope, login: Login | None = None) -> Done:
    """Make it; Conflict if there is one of its name, NotFound if it names what is missing. A profile has a login."""
    checked_scope_name(new.kind, new.name)
    scope_acts.checked_jump(new.kind, new.jump)
    if (login is not None) is not (new.kind is ScopeKind.PROFILE):
        raise InputInvalid("a credential profile has a login, and nothing else has one here")
    if new.kind is ScopeKind.JUMP_HOST:
        if not new.profile:
            raise InputInvalid("a jump host needs a credential profile: nobody is let through without a login")
        new = replace(new, host=checked_host(new.host), port=checked_port(new.port))
    new = replace(
        new,
        settings=checked_for(new.kind.setting_place, new.settings),
        expected=tuple(replace(key, fingerprint=checked_fingerprint(key.fingerprint)) for key in new.expected),
    )
    if login is not None:
        new = replace(new, login=sealed_profile(ports, new.tenant_id, new.scope_id, login))
    return Done(ports.store.add(new, ports.actor), changed=True)


def look_before_adding(ports: ScopePorts, new: NewScope) -> None:
    """Raise what `add` would of its name and its settings now, before anybody is asked for a login."""
    checked_scope_name(new.kind, new.name)
    checked_for(new.kind.setting_place, new.settings)
    try:
        ports.store.find(new.kind, new.tenant_id, new.name)
    except NotFound:
        return
    raise name_taken(new.kind.word, new.name)


def edit(ports: ScopePorts, kind: ScopeKind, tenant_id: TenantId, name: str, wanted: Changes) -> Done:
    """Change a group, a site or a tenant for all that belongs to it."""
    return _act(ports, kind, tenant_id, name, lambda record: scope_acts.scope_edited(_scope(record), wanted))


def maintain(ports: ScopePorts, kind: ScopeKind, tenant_id: TenantId, name: str, wish: Wish) -> Done:
    """Nobody comes to its devices by himself for a while, or somebody does again."""
    return _act(ports, kind, tenant_id, name, lambda record: scope_maintained(_scope(record), wish))


def remove(ports: ScopePorts, kind: ScopeKind, tenant_id: TenantId, name: str) -> Done:
    """A group or a site goes; Conflict while any device belongs to it."""
    return _act(ports, kind, tenant_id, name, lambda record: scope_acts.scope_removed(_scope(record)))


def look_before_removal(ports: ScopePorts, kind: ScopeKind, tenant_id: TenantId, name: str) -> None:
    """Raise what a removal would now (NotFound, Conflict), before anybody is asked whether it shall be."""
    match ports.store.find(kind, tenant_id, name):
        case ScopeRecord() as record:
            scope_acts.scope_removed(record)
        case ProfileRecord() as record:
            scope_acts.profile_removed(record)
        case HopRecord() as record:
            scope_acts.hop_removed(record)


def edit_profile(
    ports: ScopePorts,
    tenant_id: TenantId,
    name: str,
    wanted: Changes,
    login: Login | str | None = None,
    *,
    tried: bool = True,
) -> Done:
    """Change a shared login, `login` as a whole or its user's name alone.

    Another one ends what was blocked since the old one was refused, if it is to be `tried` at once.
    """
    stored = None
    if isinstance(login, str):
        stored = DeviceLogin(username=checked_username(login))
    elif login is not None:
        there = ports.store.find(ScopeKind.PROFILE, tenant_id, name)
        stored = sealed_profile(ports, tenant_id, _profile(there).profile_id, login)

    def decide(record: ProfileRecord) -> ScopeUpdate | None:
        return scope_acts.profile_edited(record, wanted, stored, tried=tried)

    return profile_act(ports, tenant_id, name, decide)


def suspend_profile(ports: ScopePorts, tenant_id: TenantId, name: str, reason: str) -> Done:
    """Send it nowhere until it is resumed."""
    return profile_act(ports, tenant_id, name, lambda record: scope_acts.profile_suspended(record, reason))


def resume_profile(ports: ScopePorts, tenant_id: TenantId, name: str) -> Done:
    """Use it again."""
    return profile_act(ports, tenant_id, name, scope_acts.profile_resumed)


def remove_profile(ports: ScopePorts, tenant_id: TenantId, name: str) -> Done:
    """It goes; Conflict while anything names it."""
    return profile_act(ports, tenant_id, name, scope_acts.profile_removed)


def edit_hop(ports: ScopePorts, tenant_id: TenantId, name: str, wanted: Changes) -> Done:
    """Change a jump host; another address or login is tried anew."""
    return _hop_act(ports, tenant_id, name, lambda record: scope_acts.hop_edited(record, wanted))


def unblock_hop(ports: ScopePorts, tenant_id: TenantId, name: str) -> Done:
    """Try it at once, whatever was met there."""
    return _hop_act(ports, tenant_id, name, scope_acts.hop_unblocked)


def accept_hop_key(ports: ScopePorts, tenant_id: TenantId, name: str, fingerprint: str) -> Done:
    """Pin the offered key of that fingerprint in place of the pinned one."""
    return _hop_act(ports, tenant_id, name, lambda record: scope_acts.hop_key_accepted(record, fingerprint))


def reset_hop_key(ports: ScopePorts, tenant_id: TenantId, name: str) -> Done:
    """Forget the pinned key: the next one is a first sight again."""
    return _hop_act(ports, tenant_id, name, scope_acts.hop_key_reset)


def remove_hop(ports: ScopePorts, tenant_id: TenantId, name: str) -> Done:
    """It goes; Conflict while anything names it."""
    return _hop_act(ports, tenant_id, name, scope_acts.hop_removed)


def sealed_profile(ports: ScopePorts, tenant_id: TenantId, profile_id: UUID, login: Login) -> DeviceLogin:
    """A shared login as it is stored, sealed for its profile."""
    username = checked_username(login.username)
    method = "key" if login.private_key is not None else "password"
    return DeviceLogin(username, method, ports.sealer.seal_login(tenant_id, profile_id, login_secret(login)))


def profile_act(
    ports: ScopePorts, tenant_id: TenantId, name: str, decide: Callable[[ProfileRecord], ScopeUpdate | None]
) -> Done:
    """One act on a shared login, decided over it while it is locked."""
    return _act(ports, ScopeKind.PROFILE, tenant_id, name, lambda record: decide(_profile(record)))


def _hop_act(
    ports: ScopePorts, tenant_id: TenantId, name: str, decide: Callable[[HopRecord], ScopeUpdate | None]
) -> Done:
    return _act(ports, ScopeKind.JUMP_HOST, tenant_id, name, lambda record: decide(_hop(record)))


def _act(
    ports: ScopePorts, kind: ScopeKind, tenant_id: TenantId, name: str, decide: Callable[[Record], ScopeUpdate | None]
) -> Done:
    return Done(*ports.store.change(kind, tenant_id, name, decide, ports.actor))


def _scope(record: Record) -> ScopeRecord:
    return _as(ScopeRecord, record)


def _profile(record: Record) -> ProfileRecord:
    return _as(ProfileRecord, record)


def _hop(record: Record) -> HopRecord:
    return _as(HopRecord, record)


def _as(kind: type[R], record: Record) -> R:
    if not isinstance(record, kind):
        raise TypeError(record)
    return record
