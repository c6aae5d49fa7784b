"""Messages are not trusted: everything that can be wrong with one, on real servers, among honest ones in one batch."""

from __future__ import annotations

import asyncio
import json
import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import nats
import pytest

from backupflow.adapters.bus import Bus, BusLogin
from backupflow.adapters.bus.stream import STREAM, consumer_config, stream_config
from backupflow.adapters.bus_roles import ROLES, users_config
from backupflow.adapters.db.observations import Observations
from backupflow.core.envelope import pack, unpack
from backupflow.core.message import SUBJECT_PREFIX, SnapshotMessage, encode
from backupflow.core.model import (
    CollectionId,
    ContentHash,
    DeviceId,
    NormalConfig,
    RawConfig,
    SealedConfig,
    Seq,
    TenantId,
)
from backupflow.core.quarantine import Fate
from backupflow.embedded import Server, ServerOptions, open_folder, start_servers
from backupflow.errors import StoreUnavailable
from backupflow.flows import ingest
from tests.integration.db.fleet import Fleet, hashed, published
from tests.integration.db.invariants import check, histories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from nats.aio.client import Client

    from backupflow.adapters.db.quarantine import Quarantine
    from backupflow.core.ledger import Assignment
    from backupflow.embedded import Servers
    from tests.conftest import Install

NEVER = CollectionId(10**12)
NOISE = "message_malformed: not a snapshot message"
FORM = "message_malformed: not in the form that a collector writes"
SCHEMA = "message_malformed: unknown schema version"
UNSEALED = "message_malformed: not a sealed text"
RANGE = "message_malformed: a number out of range"


@dataclass(frozen=True)
class Sent:
    """What somebody publishes."""

    payload: bytes
    subject: str
    headers: dict[str, str] = field(default_factory=dict)


def as_sent(message: SnapshotMessage, **headers: str) -> Sent:
    """A message as its collector would publish it, but for these headers."""
    return Sent(encode(message), message.subject, {name.replace("_", "-"): value for name, value in headers.items()})


def altered(message: SnapshotMessage, **fields: object) -> Sent:
    """A message with fields of any type, under its own subject."""
    return Sent(json.dumps(json.loads(encode(message)) | fields).encode(), message.subject)


class World:
    """An install with a stream, and a hand on both sides of it."""

    def __init__(self, install: Install, servers: Servers, url: str, passwords: dict[str, str]) -> None:
        self.wiring = install.wiring
        self.url = url
        self.passwords = passwords
        password = servers.secret_path("admin.postgres").read_text(encoding="utf-8").strip()
        self.fleet = Fleet(install.database.url, install.database.secrets_dir, password)
        self.fleet.tenant = TenantId(self.fleet.value("SELECT id FROM tenant"))
        self.unexpected: list[Exception] = []
        self.collector, self.inbox = self.bus("collector"), self.bus("ingester")

    def bus(self, role: str) -> Bus:
        """The bus under a role's login."""
        return Bus(self.url, BusLogin(role, self.passwords[role]), wait=timedelta(milliseconds=100))

    def close(self) -> None:
        """Close what was opened."""
        self.collector.close()
        self.inbox.close()
        self.fleet.close()

    def ports(self, quarantine: Quarantine | None = None) -> ingest.IngestPorts:
        """What ingesting needs; nothing is too young to be lost."""
        store = Observations(self.fleet.engine("ingester"), lambda: 0.0)
        vault, none = self.wiring.vault("ingester"), timedelta(0)
        kept = quarantine or self.fleet.quarantine
        return ingest.IngestPorts(self.inbox, store, kept, vault, self.unexpected.append, none)

    def observed(self, word: str, device_id: DeviceId | None = None) -> SnapshotMessage:
        """An observation that has passed the fence, sealed by the vault; `word` is all of its text."""
        assignment = self.fleet.running(device_id)
        message = self.message(assignment, word)
        assert self.fleet.collections.publish(assignment, replace(published(word), digest=message.sealed.digest))
        return message

    def message(self, assignment: Assignment, word: str) -> SnapshotMessage:
        """What a collector makes of this text."""
        owner = (assignment.tenant_id, assignment.device_id, assignment.seq)
        envelope = pack(owner, RawConfig(word.encode()), NormalConfig(word.encode()), 1)
        sealed = self.wiring.vault("collector").seal_config(*owner[:2], envelope)
        return SnapshotMessage(*owner[:2], assignment.collection_id, assignment.seq, 1, hashed(word), sealed)

    def stored(self, word: str, device_id: DeviceId | None = None) -> SnapshotMessage:
        """An observation that is history."""
        message = self.observed(word, device_id)
        self.publish([as_sent(message)])
        assert ingest.drain(self.ports(), 2).outcomes == {"stored": 1}
        return message

    def publish(self, everything: Sequence[Sent]) -> None:
        """Publish with a collector's login, by another hand than a collector's."""

        async def publish(client: Client) -> None:
            for one in everything:
                await client.jetstream().publish(one.subject, one.payload, headers=one.headers or None)

        self.act("collector", publish)

    def act(self, role: str, act: Callable[[Client], object]) -> None:
        """Do something on a connection of a role's own."""

        async def connected() -> None:
            login = {"user": role, "password": self.passwords[role], "inbox_prefix": f"_INBOX_{role}"}
            client = await nats.connect(self.url, **login)
            try:
                await act(client)  # type: ignore[misc]
            finally:
                await client.close()

        asyncio.run(connected())

    def history(self) -> dict[DeviceId, list[tuple[int, bytes, bool]]]:
        """What is stored of each device: seq, hash, and whether it is a change."""
        found = histories(self.fleet)
        return {one: [(row.seq, bytes(row.content_hash), row.is_change) for row in rows] for one, rows in found.items()}

    def check(self) -> None:
        """I1, I3, and I2: every content opens, is its device's, and was sealed for the seq that brought it."""
        check(self.fleet)
        vault = self.wiring.vault("reader")
        for row in self.fleet.sql("SELECT * FROM content"):
            opened = vault.open_config(row.tenant_id, row.device_id, SealedConfig(row.sealed))
            header, raw = unpack(opened, 1000)
            assert (header.device_id, header.seq) == (row.device_id, row.first_seq)
            assert hashed(raw.decode()) == bytes(row.content_hash)


@contextmanager
def running(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A NATS server with the users of an install."""
    passwords = {role: secrets.token_urlsafe(24) for role in ROLES}
    only = frozenset(Server) - {Server.NATS}
    options = ServerOptions(leave_out=only, nats_users=users_config(passwords), fsync=False)
    with open_folder(folder) as place, start_servers(place, options) as servers:
        yield f"nats://{servers.addresses.nats}", passwords


@pytest.fixture
def world(install: Install, servers: Servers, tmp_path: Path) -> Iterator[World]:
    """Set everything up; what is not acknowledged comes again after a second."""
    with running(tmp_path / "bus") as (url, passwords):
        made = World(install, servers, url, passwords)

        async def set_up(client: Client) -> None:
            await client.jetstream().add_stream(stream_config(512 * 2**20))
            await client.jetstream().add_consumer(STREAM, replace(consumer_config(), ack_wait=1))

        made.act("ingester", set_up)
        yield made
        made.close()


@dataclass(frozen=True)
class Scene:
    """Observations that somebody who writes to the bus may know all about."""

    old: SnapshotMessage  # stored, of the same device as
    target: SnapshotMessage  # published: its honest message comes last
    other: SnapshotMessage  # published, of another device
    failed: SnapshotMessage  # passed the fence, and ended without it
    unfenced: SnapshotMessage  # its collection is still running
    expired: SnapshotMessage  # below what its device keeps
    vanished: SnapshotMessage  # so is this, and its row is gone
    removed_tenant: SnapshotMessage
    removed_device: SnapshotMessage


def scene_in(world: World) -> Scene:
    """Set it."""
    fleet = world.fleet
    old = world.stored("A")
    failed = world.observed("failed")
    fleet.sql("UPDATE collection SET state = 'failed', ended_at = now() WHERE id = :c", c=failed.collection_id)
    vanished, expired = (world.observed("late", device) for device in [fleet.device()] * 2)
    fleet.sql("UPDATE device SET kept_from_seq = 3 WHERE id = :d", d=expired.device_id)
    fleet.sql("DELETE FROM collection WHERE id = :c", c=vanished.collection_id)
    gone = TenantId(world.wiring.make_tenant("gone"))
    removed_tenant = world.observed("gone", fleet.device(tenant_id=gone))
    fleet.sql("UPDATE tenant SET removed_at = now() WHERE id = :t", t=gone)
    removed_device = world.observed("removed")
    remove = "UPDATE device SET status = 'removed', removed_at = now(), next_due_at = NULL WHERE id = :d"
    fleet.sql(remove, d=removed_device.device_id)
    return Scene(
        old=old,
        target=world.observed("B", old.device_id),
        other=world.observed("other"),
        failed=failed,
        unfenced=world.message(fleet.running(), "unfenced"),
        expired=expired,
        vanished=vanished,
        removed_tenant=removed_tenant,
        removed_device=removed_device,
    )


Forgery = tuple["Callable[[Scene], Sent]", str]

# What somebody may publish who knows everything of the rows, and what becomes of it.
FORGERIES: dict[str, Forgery] = {
    # another tenant, device, seq, collection
    "another tenant": (lambda s: as_sent(replace(s.target, tenant_id=s.removed_tenant.tenant_id)), "other_owner"),
    "no tenant of ours": (lambda s: as_sent(replace(s.target, tenant_id=TenantId(uuid4()))), "other_owner"),
    "another device": (lambda s: as_sent(replace(s.target, device_id=s.other.device_id)), "other_owner"),
    "no device of ours": (lambda s: as_sent(replace(s.target, device_id=DeviceId(uuid4()))), "unknown_collection"),
    "an older seq": (lambda s: as_sent(replace(s.target, seq=s.old.seq)), "other_owner"),
    "a newer seq": (lambda s: as_sent(replace(s.target, seq=Seq(2**63 - 1))), "other_owner"),
    "another collection": (lambda s: as_sent(replace(s.target, collection_id=s.other.collection_id)), "other_owner"),
    "no collection of ours": (lambda s: as_sent(replace(s.target, collection_id=NEVER)), "unknown_collection"),
    "the collection of a message of old": (
        lambda s: as_sent(replace(s.target, collection_id=s.old.collection_id, seq=s.old.seq)),
        "other_digest",
    ),
    # another content
    "another hash": (lambda s: as_sent(replace(s.target, content_hash=ContentHash(bytes(32)))), "other_digest"),
    "the hash of old": (lambda s: as_sent(replace(s.target, content_hash=s.old.content_hash)), "other_digest"),
    "another normalization": (lambda s: as_sent(replace(s.target, normalization_version=2)), "other_digest"),
    "a normalization that no column holds": (
        lambda s: as_sent(replace(s.target, normalization_version=2**40)),
        "other_digest",
    ),
    "an invented ciphertext": (
        lambda s: as_sent(replace(s.target, sealed=SealedConfig("vault:v1:QUJD"))),
        "other_digest",
    ),
    "another device's ciphertext": (lambda s: as_sent(replace(s.target, sealed=s.other.sealed)), "other_digest"),
    "another device's content": (
        lambda s: as_sent(replace(s.target, sealed=s.other.sealed, content_hash=s.other.content_hash)),
        "other_digest",
    ),
    "the ciphertext of an older seq": (
        lambda s: as_sent(replace(s.target, sealed=s.old.sealed, content_hash=s.old.content_hash)),
        "other_digest",
    ),
    "another text for what is stored": (lambda s: as_sent(replace(s.old, sealed=s.target.sealed)), "other_digest"),
    # replayed
    "what is stored": (lambda s: as_sent(s.old), "already_stored"),
    "what is stored, under another id": (lambda s: as_sent(s.old, Nats_Msg_Id="again"), "already_stored"),
    "what failed": (lambda s: as_sent(s.failed), "wrong_state"),
    "what never passed the fence": (lambda s: as_sent(s.unfenced), "wrong_state"),
    "what is not kept any more": (lambda s: as_sent(s.expired), "expired"),
    "what was deleted": (lambda s: as_sent(s.vanished), "expired"),
    "of a removed tenant": (lambda s: as_sent(s.removed_tenant), "expired"),
    # under another subject
    "another device's subject": (lambda s: replace(as_sent(s.target), subject=s.other.subject), "wrong_subject"),
    "no device's subject": (lambda s: replace(as_sent(s.other), subject=f"{SUBJECT_PREFIX}.x"), "wrong_subject"),
    "its subject in capitals": (lambda s: replace(as_sent(s.removed_device), subject=_loud(s)), "wrong_subject"),
    # of another version
    "an older schema": (lambda s: altered(s.target, schema_version=0), SCHEMA),
    "a newer schema": (lambda s: altered(s.target, schema_version=2, more={"parts": [1, 2]}), SCHEMA),
    "a schema of words": (lambda s: altered(s.target, schema_version="1"), FORM),
    "a true schema": (lambda s: altered(s.target, schema_version=True), FORM),
    # malformed
    "nothing": (lambda s: Sent(b"", s.target.subject), NOISE),
    "not JSON": (lambda s: Sent(b"\x00\xff\x1b[2J{", s.target.subject), NOISE),
    "not an object": (lambda s: Sent(b"[" + encode(s.target) + b"]", s.target.subject), NOISE),
    "deep nesting": (lambda s: Sent(b"[" * 200_000, s.target.subject), NOISE),
    "8 MiB of lists": (lambda s: Sent(b"[" + b"[]," * (8 * 2**20 // 3 - 400), s.target.subject), NOISE),
    "a huge number": (lambda s: altered(s.target, seq=10**4000), RANGE),
    "a seq too large by one": (lambda s: altered(s.target, seq=2**63), RANGE),
    "a float": (lambda s: altered(s.target, seq=float(s.target.seq)), RANGE),
    "not a number": (lambda s: altered(s.target, seq=float("nan")), RANGE),
    "a number in words": (lambda s: altered(s.target, collection_id=str(s.target.collection_id)), RANGE),
    "a field too many": (lambda s: altered(s.target, also="this"), FORM),
    "a field twice": (lambda s: _edited(s.target, b'"seq": ', b'"seq": 1, "seq": '), FORM),
    "a tenant twice": (lambda s: _edited(s.target, b'"device_id"', b'"tenant_id": "x", "device_id"'), NOISE),
    "NUL": (lambda s: altered(s.target, sealed=s.target.sealed.text + "\0"), UNSEALED),
    "bidi": (
        lambda s: altered(s.target, sealed="\u202e" + s.target.sealed.text),
        UNSEALED,
    ),
    "a surrogate": (lambda s: altered(s.target, tenant_id="\ud800"), NOISE),
    "an export in clear": (lambda s: altered(s.target, sealed="/user add"), UNSEALED),
    "a short hash": (lambda s: altered(s.target, content_hash="00"), "message_malformed: a hash of a wrong length"),
    "a device in capitals": (lambda s: altered(s.target, device_id=str(s.target.device_id).upper() + " "), NOISE),
    "cut": (lambda s: Sent(encode(s.target)[:-1], s.target.subject), NOISE),
}
DONE_WITH = {"already_stored", "expired"}


def _loud(scene: Scene) -> str:
    return f"{SUBJECT_PREFIX}.{str(scene.removed_device.device_id).upper()}"


def _edited(message: SnapshotMessage, old: bytes, new: bytes) -> Sent:
    return Sent(encode(message).replace(old, new, 1), message.subject)


def test_no_message_is_believed(world: World) -> None:
    """Each bad one is kept once, byte for byte, with its reason, and acknowledged; the honest ones are all stored."""
    scene = scene_in(world)
    before = world.history()
    honest = [world.observed(f"honest {n}") for n in range(3)]
    forged = {name: make(scene) for name, (make, _) in FORGERIES.items()}
    halves = list(forged.values())[: len(forged) // 2], list(forged.values())[len(forged) // 2 :]
    world.publish([as_sent(honest[0]), *halves[0], as_sent(honest[1], Nats_Msg_Id="another"), *halves[1]])
    for one in (scene.other, scene.target, scene.removed_device, honest[2]):  # what was forged above comes as it is
        assert world.collector.publish(one)

    outcomes = ingest.drain(world.ports(), 10).outcomes
    quarantined = {name: reason for name, (_, reason) in FORGERIES.items() if reason not in DONE_WITH}
    wanted = {"stored": 6, "already_stored": 2, "expired": 3, "quarantined": len(quarantined)}
    assert (dict(outcomes), world.unexpected) == (wanted, [])
    rows = {(bytes(row.digest), row.reason): row for row in world.fleet.sql("SELECT * FROM quarantine")}
    found = {}
    for name in quarantined:
        same = [row for row in rows.values() if bytes(row.payload) == forged[name].payload]
        found[name] = " and ".join(row.reason for row in same)
        assert [row.subject for row in same] == [forged[name].subject]
    assert found == quarantined
    assert len(rows) == len(quarantined)
    assert world.inbox.drained()
    assert sorted(world.fleet.alarms()) == sorted({("quarantine", reason) for reason in quarantined.values()})

    new = [*honest, scene.target, scene.other, scene.removed_device]
    after = {one.device_id: [*before.get(one.device_id, []), (one.seq, one.content_hash, True)] for one in new}
    assert world.history() == before | after
    world.check()


def test_what_is_published_again_changes_nothing(world: World) -> None:
    """Replayed as a whole, honest and forged alike: no row is written, nothing is kept twice."""
    scene = scene_in(world)
    everything = [make(scene) for make, _ in FORGERIES.values()] + [as_sent(scene.target), as_sent(scene.other)]
    world.publish(everything)
    ingest.drain(world.ports(), 10)
    history, kept = world.history(), world.fleet.sql("SELECT * FROM quarantine ORDER BY id")
    world.publish(list(reversed(everything)))
    outcomes = ingest.drain(world.ports(), 10).outcomes
    assert "stored" not in outcomes
    assert (world.history(), world.fleet.sql("SELECT * FROM quarantine ORDER BY id")) == (history, kept)
    world.check()


def test_a_stolen_message_id_costs_a_collection_and_no_history(world: World) -> None:
    """The stream drops the honest message as a duplicate of the forged one: the row is lost, and the device due."""
    honest = world.observed("A")
    forged = replace(honest, sealed=SealedConfig("vault:v1:QUJD"))
    world.publish([as_sent(forged, Nats_Msg_Id=honest.message_id)])
    world.collector.publish(honest)
    assert ingest.drain(world.ports(), 3).outcomes == {"quarantined": 1}
    row = world.fleet.row("collection", honest.collection_id)
    assert (row.state, row.code) == ("lost", "message_gone")
    assert world.fleet.value("SELECT next_due_at <= now() FROM device") is True
    world.stored("A", honest.device_id)
    assert len(world.history()[honest.device_id]) == 1
    world.check()


def test_while_the_quarantine_is_away_nothing_is_acknowledged(world: World) -> None:
    """Neither the bad one nor the honest ones around it; all of them come again, and end as they should."""
    honest = [world.observed("A"), world.observed("B")]
    world.publish([as_sent(honest[0]), Sent(b"noise", "config.snapshot.create.x"), as_sent(honest[1])])
    nowhere = Fleet("postgresql://127.0.0.1:9/nothing", world.fleet.secrets_dir, "")
    with pytest.raises(StoreUnavailable):
        ingest.drain(world.ports(nowhere.quarantine), 3)
    assert not world.inbox.drained()
    assert world.fleet.value("SELECT count(*) FROM quarantine") == 0
    outcomes: dict[str, int] = {}
    while not world.inbox.drained():
        for name, count in ingest.drain(world.ports(), 3).outcomes.items():
            outcomes[name] = outcomes.get(name, 0) + count
    assert outcomes == {"quarantined": 1, "stored": 2}
    world.check()


def test_a_newer_schema_is_stored_after_the_upgrade(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ingester that is behind keeps it; released before the upgrade it comes back, and after it it is stored."""
    honest = world.observed("A")
    with monkeypatch.context() as newer:
        newer.setattr("backupflow.core.message.SCHEMA_VERSION", 2)
        world.publish([as_sent(honest)])
    assert ingest.drain(world.ports(), 3).outcomes == {"quarantined": 1}
    desk = world.wiring.quarantine_desk("operator")
    numbers = desk.numbers(SCHEMA, with_bytes=True)
    traces = desk.traced(numbers)
    desk.release(numbers, "me")
    assert ingest.drain(world.ports(), 3).outcomes == {"quarantined": 1}
    assert [(one.fate, one.reason) for one in desk.judged(traces)] == [(Fate.HERE, SCHEMA)]
    desk.release(numbers, "me")
    with monkeypatch.context() as newer:
        newer.setattr("backupflow.core.message.SCHEMA_VERSION", 2)
        assert ingest.drain(world.ports(), 3).outcomes == {"stored": 1}
    assert (desk.count(), world.fleet.alarms()) == (0, [])
    assert world.fleet.row("collection", honest.collection_id).state == "stored"
    world.check()
