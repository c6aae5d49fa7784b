"""All that a collection meets but the router: fakes in memory, so that SSH, driver and flow are the real ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from backupflow.adapters.ssh import SshCollector
from backupflow.core.ledger import Assignment
from backupflow.core.model import (
    CollectionId,
    DeviceId,
    HostKey,
    Login,
    Pepper,
    SealedConfig,
    SealedSecret,
    Seq,
    Target,
    TenantId,
    Timeouts,
    Trust,
    TrustedHow,
)
from backupflow.drivers.routeros.driver import RouterOS
from backupflow.flows.admitting import login_secret
from backupflow.flows.collect import collect
from backupflow.flows.outcome import CollectPorts, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.driver import Asking, Incomplete, Reading, Reply
    from backupflow.core.ledger import Ending, Published, Withdrawn
    from backupflow.core.message import SnapshotMessage
    from backupflow.core.ports import Collector
    from backupflow.simulator import SimulatedRouter

NUMBER = CollectionId(7)
NONCE = "n0nce"
PEPPER = Pepper(b"p" * 32)
NO_TEXT = SealedSecret("vault:v1:U0VDUkVU")


def work(router: SimulatedRouter, timeouts: Timeouts | None = None) -> Assignment:
    """The assignment of a router whose present key is pinned, and which nobody has collected yet."""
    pinned = HostKey(router.host_key_type, router.host_key_blob)
    target = Target(router.host, router.port, pinned, legacy_ssh=False, timeouts=timeouts or Timeouts())
    return Assignment(
        NUMBER, "me", TenantId(UUID(int=1)), DeviceId(UUID(int=2)), router.name, Seq(3), "routeros", target,
        Trust.TOFU, "backup", UUID(int=4), NO_TEXT, UUID(int=2), NO_TEXT, None, 0, 0,
    )  # fmt: skip


@dataclass
class Surroundings:
    """Store, vault, bus and reader; they remember what they were told."""

    assignment: Assignment
    collector: Collector = field(default_factory=SshCollector)
    pinned: list[HostKey] = field(default_factory=list)
    passed: list[Published] = field(default_factory=list)
    sent: list[SnapshotMessage] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    envelopes: list[bytes] = field(default_factory=list)
    unexpected: list[Exception] = field(default_factory=list)

    def collect(self) -> Outcome:
        """Run the collection: over a real session, if the collector was not given."""
        driver = RouterOS()
        publisher = Bus(self.sent)
        ports = CollectPorts(
            self, self.collector, self, self, publisher, self, lambda _: driver, lambda: 0.0, lambda: NONCE
        )
        return collect(ports, NUMBER, "me", self.unexpected.append)

    def start(self, collection_id: CollectionId, holder: str) -> Assignment | Withdrawn | None:
        """CollectionStore."""
        return self.assignment

    def pin(self, assignment: Assignment, key: HostKey, how: TrustedHow = TrustedHow.FIRST_USE) -> None:
        """CollectionStore."""
        self.pinned.append(key)

    def pin_jump_host(self, assignment: Assignment, key: HostKey, how: TrustedHow) -> None:
        """CollectionStore."""
        self.pinned.append(key)

    def jump_login_allowed(self, assignment: Assignment, key: HostKey) -> bool:
        """CollectionStore."""
        return True

    def jump_host_reached(self, assignment: Assignment) -> None:
        """CollectionStore."""

    def login_allowed(self, assignment: Assignment, key: HostKey) -> bool:
        """CollectionStore."""
        return True

    def publish(self, assignment: Assignment, published: Published) -> bool:
        """CollectionStore: the fence."""
        self.passed.append(published)
        return True

    def end(self, assignment: Assignment, ending: Ending) -> Ending:
        """CollectionStore."""
        self.endings.append(ending)
        return ending

    def open_pepper(self, tenant_id: TenantId, sealed: SealedSecret) -> Pepper:
        """SecretOpener."""
        return PEPPER

    def open_login(self, tenant_id: TenantId, context: UUID, sealed: SealedSecret) -> bytes:
        """SecretOpener."""
        return login_secret(Login("backup", "backup"))

    def seal_config(self, tenant_id: TenantId, device_id: DeviceId, envelope: bytes) -> SealedConfig:
        """Sealer."""
        self.envelopes.append(envelope)
        return SealedConfig("vault:v1:U0VBTEVE")

    def read(self, driver: str, asking: Asking, replies: Sequence[Reply]) -> Reading | Incomplete:
        """Reader: here and now."""
        return RouterOS().read(asking, replies)


@dataclass(frozen=True)
class Bus:
    """The stream, which takes everything."""

    sent: list[SnapshotMessage]

    def publish(self, message: SnapshotMessage) -> bool:
        """Publisher."""
        self.sent.append(message)
        return True
