"""A collection from its claim to its end as beat and a worker make it, in this process: real SSH, vault and database.

Only the bus is a list, unless a test gives another publisher: what passes the fence is stored at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from sqlalchemy import Row, text

from backupflow.adapters.db.collections import Collections
from backupflow.adapters.db.observations import Observations
from backupflow.adapters.reader import ProcessReader
from backupflow.adapters.ssh import SshCollector
from backupflow.core.inventory import NOWHERE, NewDevice, Placement
from backupflow.core.ledger import Claimed, Kind, Limits
from backupflow.core.model import DeviceId, HostKey, Login, TenantId, Trigger
from backupflow.core.scopes import NewScope, ScopeKind
from backupflow.drivers import driver
from backupflow.flows import scopes
from backupflow.flows.collect import collect
from backupflow.flows.outcome import CollectPorts
from tests.acceptance.install import enrol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backupflow.core.message import SnapshotMessage
    from backupflow.core.model import CollectionId
    from backupflow.core.ports import CollectionStore, Collector, Publisher
    from backupflow.flows.outcome import Outcome
    from tests.conftest import Install

# Shorter than any router's rules for address lists count over: each test comes several times.
OFTEN = {"interval_seconds": 60}
LIMITS = Limits()
_PIN = """
    INSERT INTO host_key (tenant_id, device_id, jump_host_id, status, key_type, blob, fingerprint)
    VALUES (:tenant, :device, :hop, 'pinned', :type, :blob, :fingerprint)"""
_END_ALL = (
    "UPDATE device SET status = 'removed', next_due_at = NULL, removed_at = now() WHERE status <> 'removed'",
    "UPDATE collection SET state = 'withdrawn', code = 'withdrawn', ended_at = now() WHERE state = 'claimed'",
    "UPDATE collection SET state = 'lost', code = 'lease_over', ended_at = now() WHERE state = 'running'",
    "UPDATE request SET answered_at = now(), answer = 'refused: removed' WHERE answered_at IS NULL",
)


class Unforeseen(Exception):
    """A defect."""


def fail(exc: Exception) -> None:
    """What nobody foresaw fails the test."""
    raise Unforeseen from exc


@dataclass
class WorkerPath:
    """An install without its processes: this is all of them."""

    install: Install
    sent: list[SnapshotMessage] = field(default_factory=list)
    collector: Collector = field(default_factory=SshCollector)
    publisher: Publisher | None = None
    reader: ProcessReader = field(default_factory=ProcessReader)

    def __post_init__(self) -> None:
        """Say that workers live."""
        self.alive()

    def alive(self) -> None:
        """A heartbeat of workers with room in each lane."""
        self.install.wiring.processes("collector").beat({"collect": 9, "collect.slow": 9})

    @property
    def tenant_id(self) -> TenantId:
        """The tenant that every install has."""
        return TenantId(self.rows("SELECT id FROM tenant")[0].id)

    # --- the database ------------------------------------------------------------------------------------------------

    def rows(self, statement: str, **values: object) -> list[Row[Any]]:
        """What the reader sees."""
        with self.install.wiring.engine("reader").begin() as tx:
            return list(tx.execute(text(statement), values))

    def write(self, statement: str, role: str = "operator", **values: object) -> None:
        """What another process does."""
        with self.install.wiring.engine(role).begin() as tx:
            tx.execute(text(statement), values)

    def device(self, device_id: DeviceId) -> Row[Any]:
        """Its row."""
        return self.rows("SELECT * FROM device WHERE id = :d", d=device_id)[0]

    def last(self, device_id: DeviceId) -> Row[Any]:
        """Its newest collection."""
        return self.rows("SELECT * FROM collection WHERE device_id = :d ORDER BY seq DESC LIMIT 1", d=device_id)[0]

    def pinned(self, device_id: DeviceId) -> list[bytes]:
        """The key that it is known by."""
        found = "SELECT blob FROM host_key WHERE device_id = :d AND status = 'pinned'"
        return [bytes(row.blob) for row in self.rows(found, d=device_id)]

    def end_all(self) -> None:
        """Nothing of what there was is claimed any more."""
        for statement in _END_ALL:
            self.write(statement)

    # --- what is enrolled --------------------------------------------------------------------------------------------

    def add(
        self, port: int, login: Login | None, settings: Mapping[str, Any] | None = None, placement: Placement = NOWHERE
    ) -> DeviceId:
        """A device on loopback, by the code of `device add`; due now."""
        device_id = DeviceId(uuid4())
        named = OFTEN | dict(settings or {})
        new = NewDevice(
            self.tenant_id, device_id, f"r-{device_id.hex[:8]}", "127.0.0.1", port, "routeros", named, placement
        )
        enrol(self.install.wiring, new, login)
        self.write("UPDATE device SET anchor_at = now() WHERE id = :d", d=device_id)  # it has had its first turn
        self.due(device_id)
        return device_id

    def due(self, device_id: DeviceId) -> None:
        """It is its turn."""
        self.write("UPDATE device SET next_due_at = now() WHERE id = :d", d=device_id)

    def scope(self, kind: ScopeKind, **fields: Any) -> NewScope:  # noqa: ANN401 - as the dataclass takes them
        """A profile (`login`: its own), a site or a jump host."""
        login = fields.pop("login", None)
        new = NewScope(kind, self.tenant_id, uuid4(), f"{kind.value}-{uuid4().hex[:8]}", {}, **fields)
        scopes.add(self.install.wiring.scope_ports("test"), new, login)
        return new

    def pin(self, key: HostKey, *, device: DeviceId | None = None, hop: UUID | None = None) -> None:
        """A key that it was known by before."""
        values = {"type": key.key_type, "blob": key.blob, "fingerprint": key.fingerprint}
        self.write(_PIN, "collector", tenant=self.tenant_id, device=device, hop=hop, **values)

    # --- beat and worker ---------------------------------------------------------------------------------------------

    def ask(self, device_id: DeviceId, trigger: Trigger) -> int:
        """Somebody asks for it."""
        name, requests = self.device(device_id).name, self.install.wiring.requests
        if trigger is Trigger.FORCED:
            return requests.force(self.tenant_id, [name], "test")[0]
        kind = Kind.BACKUP if trigger is Trigger.MANUAL else Kind(trigger)
        return requests.ask(self.tenant_id, [name], "test", kind)[0]

    def claim(self, device_id: DeviceId) -> CollectionId:
        """The collection that one tick claims for it."""
        self.alive()
        claimed = self.install.wiring.claims.claim(LIMITS)
        assert isinstance(claimed, Claimed)
        mine = [row.id for row in self.rows("SELECT id FROM collection WHERE device_id = :d", d=device_id)]
        (found,) = [claim.collection_id for claim in claimed.new if claim.collection_id in mine]
        return found

    def collect(self, collection_id: CollectionId, store: CollectionStore | None = None) -> Outcome:
        """What a worker makes of a claim; what it publishes is stored."""
        outcome = collect(self.ports(store), collection_id, f"holder-{uuid4()}", fail)
        if self.sent:
            stored = Observations(self.install.wiring.engine("ingester"), lambda: 0.0).store(self.sent)
            assert all(one.acceptable for one in stored)
            self.sent.clear()
        return outcome

    def run(self, device_id: DeviceId) -> Outcome:
        """A tick and its worker."""
        return self.collect(self.claim(device_id))

    def ports(self, store: CollectionStore | None = None) -> CollectPorts:
        """As wiring makes them, but for the bus."""
        wiring, nonce = self.install.wiring, lambda: uuid4().hex
        vault = wiring.vault("collector")
        publisher = self.publisher or _Shelf(self.sent)
        rows = store or self.store
        return CollectPorts(rows, self.collector, vault, vault, publisher, self.reader, driver, wiring.dice, nonce)

    @property
    def store(self) -> Collections:
        """The collector's view."""
        return Collections(self.install.wiring.engine("collector"), self.install.wiring.policy)


@dataclass(frozen=True)
class _Shelf:
    """Takes everything."""

    sent: list[SnapshotMessage]

    def publish(self, message: SnapshotMessage) -> bool:
        """Take it."""
        self.sent.append(message)
        return True


def own(password: str) -> Login:
    """The login of the tests, as every simulated router knows it if its password is `backup`."""
    return replace(Login("backup"), password=password)
