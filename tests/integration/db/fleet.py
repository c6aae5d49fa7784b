"""A fleet in a real database: devices, logins and workers are set up as the superuser; every act goes as its role."""
# ruff: noqa: ANN401, S608 - rows hold values of any type; the statements are put together of our own constants

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql
from sqlalchemy import Engine, Row, create_engine, make_url, text

from backupflow.adapters.db.claims import Claims
from backupflow.adapters.db.collections import Collections
from backupflow.adapters.db.devices import Devices
from backupflow.adapters.db.engine import Postgres, open_engine
from backupflow.adapters.db.house import House
from backupflow.adapters.db.migrate import upgrade
from backupflow.adapters.db.observations import Observations
from backupflow.adapters.db.quarantine import Quarantine
from backupflow.adapters.db.roles import ROLES, make_roles
from backupflow.adapters.db.snapshots import Snapshots
from backupflow.adapters.db.tables import metadata
from backupflow.core.driver import Facts
from backupflow.core.ledger import Assignment, Ending, KeptAside, Limits, Published
from backupflow.core.message import SnapshotMessage
from backupflow.core.model import (
    CollectionId,
    ContentHash,
    DeviceId,
    HostKey,
    JumpHostId,
    SealedConfig,
    Secrets,
    Seq,
    State,
    TenantId,
)
from backupflow.core.scope import Policy
from backupflow.core.suspicion import Observed
from backupflow.wiring import shipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from backupflow.core.inventory import DeviceRecord, Update
    from backupflow.embedded import Servers

LIMITS = Limits()
SECRET = "vault:v1:bG9naW4="
POOL = 12
KEY = HostKey("ssh-ed25519", b"first")
HOP_KEY = HostKey("ssh-ed25519", b"jump host")


def sealed(content: str) -> SealedConfig:
    """A sealed text of its own for each word."""
    return SealedConfig("vault:v1:" + hashlib.sha256(content.encode()).hexdigest())


def hashed(content: str) -> ContentHash:
    """The keyed hash that a text of this word would have."""
    return ContentHash(hashlib.sha256(b"pepper" + content.encode()).digest())


def facts(**other: Any) -> Facts:
    """What an export says of its router."""
    return replace(Facts("routeros", version="7.14", model="CCR", serial="S1", identity="core"), **other)


def seen(content: str, **other: Any) -> Observed:
    """What a row keeps of an observation, for a content that is one word; all its figures differ."""
    shape, masked = (hashlib.sha256(f"{kind} {content}".encode()).digest() for kind in ("shape", "masked"))
    return replace(Observed(hashed(content), 1, shape, masked, 20, 1000, 2, Secrets.SHOWN, facts(), "S1"), **other)


def published(content: str, *, observed: Observed | None = None, **other: Any) -> Published:
    """What a collector knows at the fence, for a content that is one word."""
    made = Published(observed or seen(content), sealed(content).digest, "/export", 0, 100, KEY, modern_ssh=True)
    return replace(made, **other)


def kept(content: str, **other: Any) -> KeptAside:
    """What a collector keeps aside, for a content that is one word."""
    return KeptAside(published(content, **other), sealed(content))


def doubted(content: str, **other: Any) -> Ending:
    """How a collection ends whose export is in doubt."""
    aside = kept(content, **other)
    return Ending(State.SUSPECT, "export_suspect", "too small", True, again_in=timedelta(minutes=5), aside=aside)


@dataclass
class Fleet:
    """Everything a test of the ledger needs; close it at the end."""

    url: str
    secrets_dir: Path
    admin_password: str = field(repr=False)
    policy: Policy = field(default_factory=Policy)
    _engines: dict[str, Engine] = field(default_factory=dict)
    _opening: threading.Lock = field(default_factory=threading.Lock)

    # --- who acts ------------------------------------------------------------------------------------------------

    def engine(self, role: str) -> Engine:
        """PostgreSQL as a role."""
        with self._opening:  # tests have threads: an engine made twice would be closed once
            if role not in self._engines:
                password = (self.secrets_dir / f"{role}.postgres").read_text(encoding="utf-8")
                self._engines[role] = open_engine(Postgres(self.url, role, password), POOL)
            return self._engines[role]

    @cached_property
    def admin(self) -> Engine:
        """The superuser: sets the scene and looks at it, never acts in it."""
        url = make_url(self.url).set(drivername="postgresql+psycopg", username="admin", password=self.admin_password)
        return create_engine(url, pool_size=4, max_overflow=0)

    def sql(self, statement: str, **values: Any) -> list[Row[Any]]:
        """Run a statement as the superuser, in a transaction of its own."""
        with self.admin.begin() as tx:
            result = tx.execute(text(statement), values)
            return list(result.all()) if result.returns_rows else []

    def value(self, statement: str, **values: Any) -> Any:
        """The one value that a statement gives."""
        return self.sql(statement, **values)[0][0]

    def empty(self) -> None:
        """Take every row away, whatever guards it, and make the jobs anew."""
        self.__dict__.pop("tenant", None)
        self.policy = Policy()
        with self.admin.begin() as tx:
            tx.execute(text("SET LOCAL session_replication_role = replica"))
            for table in metadata.tables:
                tx.execute(text(f"DELETE FROM {table}"))
            tx.execute(text("INSERT INTO job (name, every) VALUES ('reconcile', interval '5 minutes')"))

    def close(self) -> None:
        """Close what was opened."""
        for engine in (*self._engines.values(), self.admin):
            engine.dispose()

    @property
    def claims(self) -> Claims:
        """The scheduler, whose dice always show 0: what is due again `at once` is due now."""
        return Claims(self.engine("scheduler"), self.policy, lambda: 0.0)

    @property
    def collections(self) -> Collections:
        """The collector."""
        return Collections(self.engine("collector"), self.policy)

    @property
    def observations(self) -> Observations:
        """The ingester."""
        return Observations(self.engine("ingester"), lambda: 0.0)

    @property
    def quarantine(self) -> Quarantine:
        """The ingester's quarantine."""
        return Quarantine(self.engine("ingester"))

    @property
    def devices(self) -> Devices:
        """The enroller."""
        return Devices(self.engine("enroller"), self.policy)

    @property
    def snapshots(self) -> Snapshots:
        """The reader."""
        return Snapshots(self.engine("reader"))

    def act(self, device_id: DeviceId, decide: Callable[[DeviceRecord], Update | None]) -> bool:
        """What an operator does to a device; whether that changed anything."""
        return self.devices.change(self.tenant, self.row("device", device_id).name, decide, "me")[1]

    @property
    def house(self) -> House:
        """The jobs."""
        return House(self.engine("operator"))

    # --- the scene -----------------------------------------------------------------------------------------------

    @cached_property
    def tenant(self) -> TenantId:
        """A tenant that has its keys."""
        return TenantId(self.value("INSERT INTO tenant (name, pepper) VALUES ('main', :p) RETURNING id", p=SECRET))

    def device(self, *, login: bool = True, due: timedelta | None = timedelta(minutes=-1), **columns: Any) -> DeviceId:
        """A device with a login of its own, due a minute ago; `due=None`: never."""
        device_id = DeviceId(uuid4())
        values = {"id": device_id, "tenant_id": self.tenant, "name": f"r-{device_id}", "host": f"h-{device_id}"}
        values |= columns
        values = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in values.items()}
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        self.sql(
            f"INSERT INTO device ({names}, next_due_at, anchor_at) "
            f"VALUES ({marks}, now() + :due, now() + coalesce(:due, interval '0'))",
            **values,
            due=due,
        )
        if login:
            self.login(device_id, tenant=columns.get("tenant_id"))
        return device_id

    def login(self, device_id: UUID | None = None, *, name: str | None = None, tenant: UUID | None = None) -> UUID:
        """A device's own login, or a profile with a name."""
        made: UUID = self.value(
            "INSERT INTO credential_profile (tenant_id, name, device_id, username, method, sealed) "
            "VALUES (:tenant, :name, :device, 'backup', 'password', :sealed) RETURNING id",
            tenant=tenant or self.tenant,
            name=name,
            device=device_id,
            sealed=SECRET,
        )
        return made

    def fleet(self, count: int, **columns: Any) -> None:
        """Many due devices on one profile, in one statement."""
        profile = self.login(name=f"p-{uuid4()}")
        self.sql(
            "INSERT INTO device (tenant_id, name, host, credential_profile_id, next_due_at, lane) "
            "SELECT :tenant, 'm-' || :tag || n, 'm-' || :tag || n, :profile, "
            "now() - interval '1 minute' + n * interval '1 microsecond', :lane FROM generate_series(1, :count) n",
            tenant=self.tenant,
            tag=str(profile),
            profile=profile,
            count=count,
            lane=columns.get("lane", "collect"),
        )

    def workers(self, *, age: timedelta = timedelta(0), **slots: int) -> UUID:
        """A worker process with a heartbeat of that age; `collect_slow` names the slow lane."""
        lanes = {name.replace("_", "."): count for name, count in slots.items()}
        process_id = uuid4()
        self.sql(
            "INSERT INTO process (id, role, host, pid, slots, heartbeat_at) "
            "VALUES (:id, 'collector', 'test', 1, CAST(:slots AS jsonb), now() - :age)",
            id=process_id,
            slots=json.dumps(lanes),
            age=age,
        )
        return process_id

    def jump_host(self, *, login: bool = True, **columns: Any) -> JumpHostId:
        """A jump host with a login of its own kind that was passed just now, and a pinned key unless `key=None`."""
        name = columns.get("name", f"hop-{uuid4()}")
        profile = self.login(name=f"login of {name}") if login else None
        key = columns.pop("key", HOP_KEY)
        values = {
            "tenant_id": self.tenant,
            "name": name,
            "host": name,
            "credential_profile_id": profile,
            "reached_at": "now",
        }
        values = {
            name: json.dumps(value) if isinstance(value, dict) else value for name, value in (values | columns).items()
        }
        marks = ", ".join(f":{name}" for name in values)
        insert = f"INSERT INTO jump_host ({', '.join(values)}) VALUES ({marks}) RETURNING id"
        made: UUID = self.value(insert, **values)
        if key is not None:
            self.sql(
                "INSERT INTO host_key (tenant_id, jump_host_id, status, key_type, blob, fingerprint) "
                "VALUES (:t, :h, 'pinned', :key_type, :blob, :f)",
                t=self.tenant,
                h=made,
                key_type=key.key_type,
                blob=key.blob,
                f=key.fingerprint,
            )
        return JumpHostId(made)

    def expect(self, device_id: UUID, fingerprint: str) -> None:
        """A first key of a device is foretold."""
        self.sql(
            "INSERT INTO expected_key (tenant_id, device_id, fingerprint, how, added_by) "
            "VALUES (:t, :d, :f, 'import', 'me')",
            t=self.tenant,
            d=device_id,
            f=fingerprint,
        )

    def request(self, device_id: UUID, kind: str = "backup") -> int:
        """Somebody asks for a collection, a test or a scan."""
        tenant = self.row("device", device_id).tenant_id
        insert = "INSERT INTO request (tenant_id, device_id, kind, requested_by) VALUES (:t, :d, :k, 'me') RETURNING id"
        return int(self.value(insert, t=tenant, d=device_id, k=kind))

    def running(self, content_of: DeviceId | None = None, *, trigger: str = "schedule", **columns: Any) -> Assignment:
        """A collection that a collector has just started, on a new device."""
        device_id = content_of or self.device(**columns)
        seq = self.value("UPDATE device SET last_seq = last_seq + 1 WHERE id = :d RETURNING last_seq", d=device_id)
        collection = self.value(
            "INSERT INTO collection (tenant_id, device_id, seq, trigger, lane) "
            "SELECT tenant_id, id, :seq, :trigger, 'collect' FROM device WHERE id = :d RETURNING id",
            d=device_id,
            trigger=trigger,
            seq=seq,
        )
        started = self.collections.start(CollectionId(collection), f"holder-{uuid4()}")
        assert isinstance(started, Assignment)
        return started

    def passed(self, content: str, device_id: DeviceId | None = None) -> SnapshotMessage:
        """An observation that has passed the fence, as the message that its collector sends."""
        assignment = self.running(device_id)
        assert self.collections.publish(assignment, published(content))
        return message(assignment, content)

    def doubted(self, content: str, device_id: DeviceId | None = None, **other: Any) -> Assignment:
        """An observation that was kept aside."""
        assignment = self.running(device_id)
        assert self.collections.end(assignment, doubted(content, **other))
        return assignment

    def observed(self, histories: Sequence[str]) -> list[list[SnapshotMessage]]:
        """A device a history, each letter of it a content that was published; the messages, each sealed anew."""
        made = []
        for history in histories:
            device_id = DeviceId(uuid4())
            made.append([_observation(self.tenant, device_id, Seq(n + 1), letter) for n, letter in enumerate(history)])
        devices = [{"id": one[0].device_id, "t": self.tenant, "n": len(one)} for one in made]
        rows = [
            {
                "t": self.tenant,
                "d": m.device_id,
                "s": m.seq,
                "hash": m.content_hash,
                "digest": m.sealed.digest,
                "version": m.normalization_version,
            }
            for one in made
            for m in one
        ]
        with self.admin.begin() as tx:
            insert = "INSERT INTO device (id, tenant_id, name, host, last_seq) VALUES (:id, :t, :id, :id, :n)"
            tx.execute(text(insert), devices)
            insert = (
                "INSERT INTO collection (tenant_id, device_id, seq, trigger, lane, state, collected_at, content_hash, "
                "digest, normalization_version, raw_bytes) VALUES (:t, :d, :s, 'schedule', 'collect', 'published', "
                "now(), :hash, :digest, :version, 100)"
            )
            tx.execute(text(insert), rows)
            found = tx.execute(text("SELECT device_id, seq, id FROM collection"))
            numbers = {(row.device_id, row.seq): CollectionId(row.id) for row in found}
        return [[replace(m, collection_id=numbers[m.device_id, m.seq]) for m in one] for one in made]

    # --- what became of it ---------------------------------------------------------------------------------------

    def row(self, table: str, key: object) -> Row[Any]:
        """A row by its id."""
        return self.sql(f"SELECT * FROM {table} WHERE id = :key", key=key)[0]

    def alarms(self) -> list[tuple[str, str]]:
        """The alarms that stand: code and scope."""
        return [(a.code, a.scope) for a in self.sql("SELECT * FROM alarm WHERE cleared_at IS NULL ORDER BY id")]

    def expire(self, collection: CollectionId) -> None:
        """Let the lease of a running collection be over."""
        self.sql("UPDATE collection SET lease_until = now() - interval '1 second' WHERE id = :c", c=collection)


def _observation(tenant: TenantId, device_id: DeviceId, seq: Seq, letter: str) -> SnapshotMessage:
    """Two sealings of one text differ: the nonce is another."""
    nothing = CollectionId(0)
    return SnapshotMessage(tenant, device_id, nothing, seq, 1, hashed(letter), sealed(f"{device_id}{seq}{letter}"))


def message(assignment: Assignment, content: str) -> SnapshotMessage:
    """The message of an assignment that read this content."""
    return SnapshotMessage(
        assignment.tenant_id,
        assignment.device_id,
        assignment.collection_id,
        Seq(assignment.seq),
        1,
        hashed(content),
        sealed(content),
    )


@contextmanager
def migrated(servers: Servers, secrets_dir: Path) -> Iterator[Fleet]:
    """A migrated database for many tests, with the roles that are there already."""
    name, address = f"fleet_{secrets.token_hex(4)}", servers.addresses.postgres
    assert address
    admin_password = servers.secret_path("admin.postgres").read_text(encoding="utf-8").strip()
    login = psycopg.conninfo.make_conninfo(host=address.host, port=address.port, dbname="postgres", user="admin")
    passwords = {role: (secrets_dir / f"{role}.postgres").read_text(encoding="utf-8") for role in ROLES}
    with psycopg.connect(login, password=admin_password, autocommit=True) as admin:
        make_roles(admin, name, passwords)
        made = Fleet(f"postgresql://{address}/{name}", secrets_dir, admin_password)
        upgrade(made.engine("migrator"), shipped("alembic"))
        yield made
        made.close()
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
