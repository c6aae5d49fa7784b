"""Loads what is judged: the tables in one snapshot, what the vault opens of them, and the routers' events."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import Connection, Engine, text

from backupflow.core import change_codec, diff
from backupflow.core.applying import applied
from backupflow.core.enclosure import Label, What, enclosed
from backupflow.core.envelope import unpack
from backupflow.core.export import NORMALIZATION_VERSION
from backupflow.core.model import DeviceId, Pepper, SealedConfig, SealedSecret, Seq, TenantId, content_hash
from backupflow.core.tree import equal
from backupflow.drivers import driver
from backupflow.errors import BackupflowError
from backupflow.simulator.history import Event
from tests.checker.case import Evidence
from tests.checker.routers import routers_of
from tests.checker.values import Act, Alarm, Aside, Content, Device, HostKey, Interpretation, Opened, Owned, Row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

    from backupflow.core.model import NormalConfig

Value = TypeVar("Value", Row, Content, Aside, HostKey, Alarm, Interpretation)
LARGEST = 64 * 1024 * 1024  # bytes of an export that any setting may have let in
OPENED_AT_ONCE = 4
TELLING = 12  # characters of a value that stand nowhere by chance
_DEVICES = text("""
    SELECT d.id, d.tenant_id, d.name, d.driver, d.status, d.settings, d.next_due_at, d.blocked_code, d.failures,
        d.losses, d.last_seq, d.kept_from_seq, d.current_seq, d.unreadable_to_seq, d.unhashed_to_seq,
        d.current_collection_id, CASE WHEN l.next_changed_at IS NOT NULL THEN d.login_on END AS login_on,
        d.created_at, d.removed_at, d.flapping_since,
        t.settings AS of_tenant, s.settings AS of_site, g.settings AS of_group,
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


# What counts: another one was of another predecessor.
_INTERPRETED = """interpretation i WHERE EXISTS (
    SELECT 1 FROM collection c WHERE c.id = i.collection_id AND c.interpreted_after_seq = i.after_seq)"""


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
        opened_interpretations=_Told(seals, tables).troubles(),
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
    interpretations: tuple[Interpretation, ...]
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
        _all(tx, Interpretation, _INTERPRETED),
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

    def normal(self, content: Content, driver_name: str) -> NormalConfig:
        """The text that a content has."""
        sealed = SealedConfig(content.sealed)
        envelope = self.vault.open_config(TenantId(content.tenant_id), DeviceId(content.device_id), sealed)
        return driver(driver_name).normalize(unpack(envelope, LARGEST)[1])

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


class _Told:
    """What is wrong with each interpretation that was sealed; the texts of one device are held at a time."""

    def __init__(self, seals: _Seals, tables: _Tables) -> None:
        self._seals = seals
        self._rows = {(row.device_id, row.seq): row for row in tables.rows}
        self._contents = {content.id: content for content in tables.contents}
        self._devices = {device.id: device for device in tables.devices}
        self._interpretations = sorted(tables.interpretations, key=lambda one: (str(one.device_id), one.seq))

    def troubles(self) -> dict[int, str]:
        """By the collection's id; empty: nothing is wrong."""
        return {one.collection_id: self._trouble(one) for one in self._interpretations if one.diff_sealed}

    def _trouble(self, one: Interpretation) -> str:
        rows = [self._rows.get((one.device_id, seq)) for seq in (one.after_seq, one.seq)]
        contents = [self._contents.get(row.content_id or 0) if row else None for row in rows]
        device = self._devices[one.device_id]
        if any(content is None or content.first_seq <= device.of_lost_keys for content in contents):
            return ""  # retention has taken it, or nobody can open it any more
        try:
            before, after = (self._normal(content, device.driver) for content in contents if content)
            return self._untrue(one, before, after, device.driver)
        except (BackupflowError, ValueError) as exc:
            return f"it does not open: {type(exc).__name__} {exc}"

    @lru_cache(maxsize=4)  # noqa: B019 - lives as long as one look
    def _normal(self, content: Content, driver_name: str) -> NormalConfig:
        return self._seals.normal(content, driver_name)

    def _untrue(self, one: Interpretation, before: NormalConfig, after: NormalConfig, driver_name: str) -> str:
        lines = diff.decode(self._opened(one, What.DIFF, one.diff_sealed))
        if diff.applied(before, lines) != after:
            return "its diff leads to another text"
        grammar = driver(driver_name).grammar
        if one.changes_sealed is not None:
            changes = change_codec.decode(self._opened(one, What.CHANGES, one.changes_sealed))
            made = applied(grammar.tree(before), changes, grammar)
            if not equal(made, grammar.tree(after), grammar.is_ordered):
                return "its changes lead to another text"
        shown = [line.text for hunk in lines.hunks for line in hunk.lines if line.mark != " "]
        words = {word for text_ in shown for word in text_.split("=")[1:] if len(word) >= TELLING}
        clear = one.in_clear({line.component for hunk in lines.hunks for line in hunk.lines})
        return "its row has a piece of the text in clear" if any(word in clear for word in words) else ""

    def _opened(self, one: Interpretation, what: What, sealed: str | None) -> bytes:
        owner = TenantId(one.tenant_id), DeviceId(one.device_id)
        label = Label(*owner, Seq(one.seq), Seq(one.after_seq), what)
        return enclosed(self._seals.vault.open_config(*owner, SealedConfig(sealed or "")), label, LARGEST)
