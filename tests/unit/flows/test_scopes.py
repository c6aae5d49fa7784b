"""Acts on scopes over ports alone: what is sealed for whom, and in which order things happen."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from backupflow.core.model import ExpectedKey, Login, SealedSecret, TenantId, TrustedHow
from backupflow.core.scopes import Acted, Changes, NewScope, ProfileRecord, ScopeKind
from backupflow.errors import InputInvalid, VaultUnavailable
from backupflow.flows import scopes
from backupflow.flows.admitting import login_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backupflow.core.scopes import Record, ScopeUpdate

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
TENANT, PROFILE = TenantId(UUID(int=1)), UUID(int=2)
NEW = NewScope(ScopeKind.PROFILE, TENANT, PROFILE, "routers", {"trust": "manual"})
HOP = NewScope(ScopeKind.JUMP_HOST, TENANT, UUID(int=3), "hop-1", {}, "routers", host="203.0.113.7")
LOGIN = Login("backup", private_key="key", passphrase="phrase")
RECORD = ProfileRecord(PROFILE, TENANT, "routers", "backup", "key", {}, None, None, NOW, {}, (), 0)


class World:
    """A store and a sealer that write down what was asked of them."""

    def __init__(self, *, vault_is_away: bool = False) -> None:
        self.sealed: list[tuple[UUID, UUID, bytes]] = []
        self.acts: list[Any] = []
        self._away = vault_is_away

    def seal_login(self, tenant_id: TenantId, context: UUID, secret: bytes) -> SealedSecret:
        """Seal, or be away."""
        if self._away:
            raise VaultUnavailable
        self.sealed.append((tenant_id, context, secret))
        return SealedSecret("vault:v1:YQ==")

    def seal_logins(self, tenant_id: TenantId, logins: Sequence[tuple[UUID, bytes]]) -> Sequence[SealedSecret]:
        """One after another."""
        return [self.seal_login(tenant_id, context, secret) for context, secret in logins]

    def find(self, kind: ScopeKind, tenant_id: TenantId, name: str) -> Record:
        """The one profile."""
        return RECORD

    def every(self, kind: ScopeKind, tenant_id: TenantId | None) -> Sequence[Record]:
        """The same."""
        return [RECORD]

    def add(self, new: NewScope, actor: str) -> Record:
        """Take it in."""
        self.acts.append(new)
        return RECORD

    def change(
        self,
        kind: ScopeKind,
        tenant_id: TenantId,
        name: str,
        decide: Callable[[Record], ScopeUpdate | None],
        actor: str,
    ) -> Acted:
        """Let it be decided."""
        self.acts.append(decide(RECORD))
        return Acted(RECORD, changed=True)

    @property
    def ports(self) -> scopes.ScopePorts:
        """All of it."""
        return scopes.ScopePorts(self, self, "cli:me")


def test_a_shared_login_is_sealed_for_its_profile() -> None:
    """The context is the profile, also when it is exchanged: the ciphertext is worth nothing in another's row."""
    world = World()
    scopes.add(world.ports, NEW, LOGIN)
    scopes.edit_profile(world.ports, TENANT, "routers", Changes(), Login("other", password="x"))
    assert [(tenant, context) for tenant, context, _ in world.sealed] == [(TENANT, PROFILE)] * 2
    assert login_of("backup", world.sealed[0][2]) == LOGIN
    new, update = world.acts
    assert (new.login.username, new.login.method) == ("backup", "key")
    assert (update.login.username, update.login.method, update.ends_refusals) == ("other", "password", True)


@pytest.mark.parametrize(
    ("wrong", "login"),
    [
        (NewScope(ScopeKind.PROFILE, TENANT, PROFILE, "a\n", {}), LOGIN),
        (NewScope(ScopeKind.PROFILE, TENANT, PROFILE, "a", {"interval_seconds": 60}), LOGIN),
        (NewScope(ScopeKind.PROFILE, TENANT, PROFILE, "a", {}), Login("", password="x")),
        (NewScope(ScopeKind.PROFILE, TENANT, PROFILE, "a", {}), None),
        (NewScope(ScopeKind.SITE, TENANT, PROFILE, "a", {}), LOGIN),
        (NewScope(ScopeKind.SITE, TENANT, PROFILE, "a", {}, jump="direct"), None),
        (NewScope(ScopeKind.JUMP_HOST, TENANT, PROFILE, "a", {}, host="203.0.113.7"), None),
        (NewScope(ScopeKind.JUMP_HOST, TENANT, PROFILE, "direct", {}, "routers", host="203.0.113.7"), None),
        (NewScope(ScopeKind.JUMP_HOST, TENANT, PROFILE, "a", {}, "routers", host="a b"), None),
        (NewScope(ScopeKind.JUMP_HOST, TENANT, PROFILE, "a", {}, "routers", host="a", port=0), None),
    ],
)
def test_what_cannot_be_made_is_never_sealed(wrong: NewScope, login: Login | None) -> None:
    """Everything is checked before the vault is asked and before anything is written."""
    world = World()
    with pytest.raises(InputInvalid):
        scopes.add(world.ports, wrong, login)
    assert (world.sealed, world.acts) == ([], [])


def test_nothing_is_written_while_the_vault_is_away() -> None:
    """No profile without its secret (I15); what brings none needs no vault."""
    world = World(vault_is_away=True)
    with pytest.raises(VaultUnavailable):
        scopes.add(world.ports, NEW, LOGIN)
    with pytest.raises(VaultUnavailable):
        scopes.edit_profile(world.ports, TENANT, "routers", Changes(), LOGIN)
    assert world.acts == []
    scopes.add(world.ports, HOP)
    scopes.edit_profile(world.ports, TENANT, "routers", Changes(), "other")
    scopes.suspend_profile(world.ports, TENANT, "routers", "why")
    assert [type(act).__name__ for act in world.acts] == ["NewScope", "ScopeUpdate", "ScopeUpdate"]


def test_an_expected_key_of_a_jump_host_is_checked() -> None:
    """One that can never match would block for ever."""
    key = ExpectedKey("SHA256:short", TrustedHow.IMPORT)
    with pytest.raises(InputInvalid):
        scopes.add(
            World().ports, NewScope(HOP.kind, TENANT, HOP.scope_id, "hop-1", {}, "routers", host="a", expected=(key,))
        )
