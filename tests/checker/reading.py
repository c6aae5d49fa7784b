"""Loads what is judged: the tables in one snapshot, what the vault opens of them, and the routers' events."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, text

from backupflow.core.envelope import unpack
from backupflow.core.export import NORMALIZATION_VERSION
from backupflow.core.model import DeviceId, Pepper, SealedConfig, SealedSecret, TenantId, content_hash
from backupflow.drivers import driver
from backupflow.errors import BackupflowError
from backupflow.simulator.history import Event
from tests.checker.case import Evidence
from tests.checker.routers import routers_of
from tests.checker.values import Act, Alarm, Aside, Content, Device, HostKey, Opened, Owned, Row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

Value = TypeVar("Value", Row, Content, Aside, HostKey, Alarm)
LARGEST = 64 * 1024 * 1024  # bytes of an export that any setting may have let in
OPENED_AT_ONCE = 4
_DEVICES = text("""
    SELECT d.id, d.tenant_id, d.name, d.driver, d.status, d.settings, d.next_due_at, d.blocked_code, d.failures,
        d.losses, d.last_seq, d.kept_from_seq, d.current_seq, d.unreadable_to_seq, d.unhashed_to_seq,
        d.current_collection_id, CASE WHEN l.next_changed_at IS NOT NULL THEN d.login_on END AS login_on,
        d.created_at, d.removed_at, t.settings AS of_tenant, s.settings AS of_site, g.settings AS of_group,
        l.id IS NOT NULL AND t.pepper IS NOT NULL AND t.removed_at IS NULL AS has_login, l.suspended_at,
        h.id IS NULL OR (h.blocked_code IS NULL AND h.down_since IS NULL AND hl.id IS NOT NULL
            AND hl.suspended_at IS NULL) AS has_way
    FROM device d JOIN tenant t ON t.id = d.tenant_id
    LEFT JOIN device_group g ON g.id = d.device_group_id LEFT JOIN site s ON s.id = d.site_id
    LEFT JOIN credential_profile own ON own.device_id = d.id
    LEFT JOIN credential_profile l ON l.id = coalesce(
        own.id, d.credential_profile_id, g.credential_profile_id, s.credential_profile_id, t.credential_profile_id)
    LEFT JOIN jump_host h ON h.id = d.via_id LEFT JOIN credential_profile hl ON hl.id = h.credential_profile_id""")
# What the digest of a row was made of, put together as the trigger did.
_ACTS = text("""
    SELECT id, at, tenant_id, action, device_id, detail, previous, digest, jsonb_build_array(
        id, extract(epoch FROM at), tenant_id, actor, action, device_id, detail)::text AS text
    FROM audit ORDER BY id""")
_OWNED = text("""
    SELECT 'host_key' AS table, id::text, tenant_id, device_id FROM host_key WHERE device_id IS NOT NULL
    UNION ALL SELECT 'credential_profile', id::text, tenant_id, device_id FROM credential_profile
        WHERE device_id IS NOT NULL
    UNION ALL SELECT 'request', id::text, tenant_id, device_id FROM request""")


class Opener(Protocol):
    """What opens exports and peppers: the vault, as the reader."""

    def open_config(self, tenant_id: TenantId, device_id: DeviceId, sealed: SealedConfig) -> bytes:
        """Give back the envelope."""
        ...

    def open_pepper(self, tenant_id: TenantId, sealed: SealedSecret) -> Pepper:
        """Give back the tenant's pepper."""
        ...


def read_events(source: Path | Sequence[Event]) -> Sequence[Event]:
    """The events of a simulator's JSON-lines file, or those given."""
    if not hasattr(source, "read_text"):
        return source
    found = []
    for line in source.read_text(encoding="utf-8").splitlines():
        said = json.loads(line)
        at = datetime.fromisoformat(said.pop("at"))
        head = (said.pop("number"), said.pop("router"), said.pop("event"), said.pop("session"))
        found.append(Event(at, *head, said))
    return found


def gather(engine: Engine, vault: Opener, events: Path | Sequence[Event]) -> Evidence:
    """Everything of one moment; what the routers wrote down after it is left out."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as tx, tx.begin():
        tables, peppers = _tables(tx)
    told = [event for event in read_events(events) if event.at <= tables.now]
    unreadable = {device.id: device.unreadable_to_seq for device in tables.devices}
    drivers = {device.id: device.driver for device in tables.devices}
    seqs = {row.id: row.seq for row in tables.rows}
    seals = _Seals(vault, {tenant: vault.open_pepper(TenantId(tenant), sealed) for tenant, sealed in peppers.items()})
    contents = [one for one in tables.contents if one.first_seq > unreadable.get(one.device_id, 0)]
    asides = [one for one in tables.asides if seqs.get(one.collection_id, 1) > unreadable.get(one.device_id, 0)]
    with ThreadPoolExecutor(OPENED_AT_ONCE) as pool:
        opened = list(pool.map(lambda one: seals.opened(one, drivers[one.device_id]), [*contents, *asides]))
    return Evidence(
        **{field.name: getattr(tables, field.name) for field in fields(tables)},
        opened=dict(zip([one.id for one in contents], opened, strict=False)),
        opened_asides=dict(zip([one.collection_id for one in asides], opened[len(contents) :], strict=True)),
        routers=routers_of(told),
    )


@dataclass(frozen=True)
class _Tables:
    now: datetime
    devices: tuple[Device, ...]
    rows: tuple[Row, ...]
    contents: tuple[Content, ...]
    asides: tuple[Aside, ...]
    host_keys: tuple[HostKey, ...]
    acts: tuple[Act, ...]
    owned: tuple[Owned, ...]
    alarms: tuple[Alarm, ...]
    requests: tuple[int, ...]


def _tables(tx: Connection) -> tuple[_Tables, Mapping[UUID, SealedSecret]]:
    now = tx.execute(text("SELECT clock_timestamp()")).scalar_one()
    peppers = tx.execute(text("SELECT id, pepper FROM tenant WHERE pepper IS NOT NULL AND removed_at IS NULL"))
    sealed = {row.id: SealedSecret(row.pepper) for row in peppers}
    tables = _Tables(
        now,
        _devices(tx),
        _all(tx, Row, "collection"),
        _all(tx, Content, "content"),
        _all(tx, Aside, "aside"),
        _all(tx, HostKey, "host_key WHERE device_id IS NOT NULL"),
        tuple(Act(**_plain(row._mapping)) for row in tx.execute(_ACTS)),
        tuple(Owned(**row._mapping) for row in tx.execute(_OWNED)),
        _all(tx, Alarm, "alarm WHERE cleared_at IS NULL"),
        tuple(tx.scalars(text("SELECT id FROM request"))),
    )
    return tables, sealed


def _all(tx: Connection, kind: type[Value], where: str) -> tuple[Value, ...]:
    columns = ", ".join(field.name for field in fields(kind))
    return tuple(kind(**_plain(row._mapping)) for row in tx.execute(text(f"SELECT {columns} FROM {where}")))  # noqa: S608


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The driver may give bytea as memoryview."""
    return {str(name): bytes(value) if isinstance(value, memoryview) else value for name, value in row.items()}


def _devices(tx: Connection) -> tuple[Device, ...]:
    found = []
    for row in tx.execute(_DEVICES):
        values = dict(row._mapping)
        scopes = tuple(values.pop(name) for name in ("of_tenant", "of_site", "of_group"))
        found.append(Device(**values, scopes=scopes))
    return tuple(found)


@dataclass(frozen=True)
class _Seals:
    vault: Opener
    peppers: Mapping[UUID, Pepper]

    def opened(self, thing: Content | Aside, driver_name: str) -> Opened:
        """Open one; whatever goes wrong is what is told of it."""
        try:
            sealed = SealedConfig(thing.sealed)
            envelope = self.vault.open_config(TenantId(thing.tenant_id), DeviceId(thing.device_id), sealed)
            header, raw = unpack(envelope, LARGEST)
        except BackupflowError as exc:
            return Opened(f"{exc.code}: {exc.detail}")
        hashed = None
        if header.normalization_version == NORMALIZATION_VERSION and thing.tenant_id in self.peppers:
            hashed = bytes(content_hash(self.peppers[thing.tenant_id], driver(driver_name).normalize(raw)))
        owner = (header.tenant_id, header.device_id, header.seq)
        digest = hashlib.sha256(raw).hexdigest()
        return Opened("", *owner, header.normalization_version, digest, len(raw), hashed)
