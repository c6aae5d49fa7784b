"""Enrolling over ports alone: what is sealed for whom, and in which order things happen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from backupflow.core.enrolment import Edit
from backupflow.core.inventory import DeviceLogin, DeviceRecord, NewDevice
from backupflow.core.model import DeviceId, Login, SealedSecret, TenantId
from backupflow.drivers import driver
from backupflow.errors import InputInvalid, VaultUnavailable
from backupflow.flows import enroll
from backupflow.flows.admitting import login_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backupflow.core.inventory import Placement, Update

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
TENANT, DEVICE = TenantId(UUID(int=1)), DeviceId(UUID(int=2))
NEW = NewDevice(TENANT, DEVICE, "core-1", "192.0.2.1", 22, "routeros", {})
RECORD = DeviceRecord(
    TENANT, DEVICE, "core-1", "192.0.2.1", 22, "routeros", "active", {}, "backup", "password", True, None, None, None,
    0, NOW, NOW, timedelta(hours=6), None, NOW,
)  # fmt: skip


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

    def seal_logins(self, tenant_id: TenantId, secrets: Sequence[tuple[UUID, bytes]]) -> list[SealedSecret]:
        """The same of many."""
        return [self.seal_login(tenant_id, context, secret) for context, secret in secrets]

    def profile_for(self, tenant_id: TenantId, placement: Placement) -> str | None:
        """There is none."""
        return None

    def find(self, tenant_id: TenantId, name: str) -> DeviceRecord:
        """The one device."""
        return RECORD

    def look(self, device: NewDevice) -> None:
        """Nobody is in its way."""
        self.acts.append(device)

    def add(
        self, device: NewDevice, login: DeviceLogin | None, due: Callable[[datetime], datetime], actor: str
    ) -> DeviceRecord:
        """Take it in."""
        self.acts.append((device, login, due(NOW), actor))
        return RECORD

    def change(
        self, tenant_id: TenantId, name: str, decide: Callable[[DeviceRecord], Update | None], actor: str
    ) -> tuple[DeviceRecord, bool]:
        """Let it be decided."""
        self.acts.append(decide(RECORD))
        return RECORD, True

    def find_removed(self, tenant_id: TenantId, name: str) -> DeviceRecord:
        """The one device."""
        return RECORD

    def restore(self, removed: DeviceRecord, decide: Callable[[DeviceRecord], Update], actor: str) -> DeviceRecord:
        """Take it back."""
        self.acts.append(decide(removed))
        return RECORD

    @property
    def ports(self) -> enroll.EnrollPorts:
        """All of it."""
        spread = (timedelta(seconds=30), timedelta(seconds=300))
        return enroll.EnrollPorts(self, self, driver, spread, lambda: 0.5, "cli:me")


def test_a_login_is_sealed_for_its_device() -> None:
    """The context is the device: the ciphertext is worth nothing in another's row."""
    world = World()
    login = Login("backup", private_key="key", passphrase="phrase")
    enroll.add(world.ports, NEW, login)
    ((tenant_id, context, secret),) = world.sealed
    assert (tenant_id, context) == (TENANT, DEVICE)
    assert login_of("backup", secret) == login
    ((_, stored, due, actor),) = world.acts
    assert (stored.username, stored.method, actor) == ("backup", "key", "cli:me")
    assert due == NOW + timedelta(seconds=165)


@pytest.mark.parametrize(
    "wrong",
    [
        NewDevice(TENANT, DEVICE, "a/b", "192.0.2.1", 22, "routeros", {}),
        NewDevice(TENANT, DEVICE, "core-1", "a b", 22, "routeros", {}),
        NewDevice(TENANT, DEVICE, "core-1", "192.0.2.1", 0, "routeros", {}),
        NewDevice(TENANT, DEVICE, "core-1", "192.0.2.1", 22, "toaster", {}),
        NewDevice(TENANT, DEVICE, "core-1", "192.0.2.1", 22, "routeros", {"interval_seconds": 0}),
        NewDevice(TENANT, DEVICE, "core-1", "192.0.2.1", 22, "routeros", {"colour": "red"}),
    ],
)
def test_what_cannot_be_enrolled_is_never_sealed(wrong: NewDevice) -> None:
    """Everything is checked before the vault is asked and before anything is written."""
    world = World()
    with pytest.raises(InputInvalid):
        enroll.add(world.ports, wrong, Login("backup", password="x"))
    assert (world.sealed, world.acts) == ([], [])


def test_nothing_is_written_while_the_vault_is_away() -> None:
    """No device without its login, and no login that is not sealed (I15)."""
    world = World(vault_is_away=True)
    with pytest.raises(VaultUnavailable):
        enroll.add(world.ports, NEW, Login("backup", password="x"))
    with pytest.raises(VaultUnavailable):
        enroll.edit(world.ports, TENANT, "core-1", Edit(login=Login("backup", password="x")))
    assert world.acts == []


def test_an_act_without_credentials_needs_no_vault() -> None:
    """A device can be paused or moved while the vault is away."""
    world = World(vault_is_away=True)
    enroll.pause(world.ports, TENANT, "core-1")
    enroll.edit(world.ports, TENANT, "core-1", Edit(host="192.0.2.9"))
    assert [act.action for act in world.acts] == ["device_paused", "device_edited"]
