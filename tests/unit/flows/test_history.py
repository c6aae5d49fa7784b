"""What is read back is checked in every respect, each by itself: a second check must not be what notices (I2)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import pytest

from backupflow.core.envelope import pack
from backupflow.core.history import SealedSnapshot
from backupflow.core.model import (
    ContentHash,
    DeviceId,
    NormalConfig,
    Pepper,
    RawConfig,
    SealedConfig,
    SealedSecret,
    Seq,
    TenantId,
    content_hash,
)
from backupflow.errors import MessageMalformed
from backupflow.flows.history import Damaged, Exported, GivenUp, HistoryPorts, export

if TYPE_CHECKING:
    from backupflow.core.driver import Driver

TENANT, DEVICE, FIRST = TenantId(UUID(int=1)), DeviceId(UUID(int=2)), Seq(3)
OTHER = UUID(int=9)
PEPPER = Pepper(b"p" * 32)
RAW = RawConfig(b"/ip address\r\nadd address=192.0.2.1\r\n")
AT = datetime(2026, 1, 1, tzinfo=UTC)
STORED = SealedSnapshot(
    TENANT, DEVICE, "core-1", "toy", Seq(7), AT, FIRST, AT, 1, content_hash(PEPPER, NormalConfig(RAW.lower())),
    "vault:v1:QUJD", SealedSecret("vault:v1:UEVQUEVS"),
)  # fmt: skip


class World:
    """Store, vault, driver and bell in one: gives one snapshot, and what its sealed text opens to."""

    def __init__(self, snapshot: SealedSnapshot, envelope: bytes | None) -> None:
        self.snapshot = snapshot
        self.envelope = envelope
        self.alarms: list[tuple[str, str]] = []

    def read(self, tenant_id: TenantId, name: str, at: object, actor: str) -> SealedSnapshot:
        """Store."""
        return self.snapshot

    def open_config(self, tenant_id: TenantId, device_id: DeviceId, sealed: SealedConfig) -> bytes:
        """Vault."""
        if self.envelope is None:
            raise MessageMalformed
        return self.envelope

    def open_pepper(self, tenant_id: TenantId, sealed: SealedSecret) -> Pepper:
        """Vault."""
        return PEPPER

    def normalize(self, raw: RawConfig) -> NormalConfig:
        """Driver."""
        return NormalConfig(raw.lower())

    def alarm(self, code: str, scope: str, detail: str) -> bool:
        """Bell."""
        self.alarms.append((code, scope))
        return True

    def export(self) -> Exported | Damaged | GivenUp:
        """What reading the snapshot gives."""
        driver = cast("Driver", self)
        it = cast("Any", self)
        return export(HistoryPorts(it, it, it, lambda _: driver, it, "test", 10_000), TENANT, "core-1", None)


def sealed(tenant: UUID = TENANT, device: UUID = DEVICE, seq: int = FIRST, *, version: int = 1) -> bytes:
    """What was sealed, for that place."""
    return pack((TenantId(tenant), DeviceId(device), Seq(seq)), RAW, NormalConfig(RAW.lower()), version)


def test_what_was_collected_is_given_byte_for_byte() -> None:
    """The export of the first observation with that text, and no alarm (I16)."""
    world = World(STORED, sealed())
    found = world.export()
    assert isinstance(found, Exported)
    assert (found.raw, found.header.seq, world.alarms) == (RAW, FIRST, [])


@pytest.mark.parametrize(
    "envelope",
    [sealed(tenant=OTHER), sealed(device=OTHER), sealed(seq=7), sealed(version=2), b"noise", None],
    ids=["another tenant", "another device", "another collection", "another normalization", "noise", "does not open"],
)
def test_what_was_sealed_for_another_place_is_not_given(envelope: bytes | None) -> None:
    """The very same text: only the header says that it is another's."""
    world = World(STORED, envelope)
    assert isinstance(world.export(), Damaged)
    assert world.alarms == [("snapshot_damaged", f"device {DEVICE} seq {FIRST}")]


def test_what_does_not_have_the_hash_of_its_row_is_not_given() -> None:
    """Header and digest are right: only the keyed hash of the text is another."""
    world = World(replace(STORED, content_hash=ContentHash(bytes(32))), sealed())
    assert isinstance(world.export(), Damaged)
    assert len(world.alarms) == 1
