"""The read side: what is kept of a device, and one export given back byte for byte (I16)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupflow.core.envelope import unpack
from backupflow.core.export import NORMALIZATION_VERSION
from backupflow.core.model import SealedConfig, content_hash
from backupflow.core.verification import DAMAGED, alarm_scope
from backupflow.errors import MessageMalformed, TransitKeyMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from backupflow.core.driver import Driver
    from backupflow.core.envelope import Header
    from backupflow.core.history import Aside, Run, SealedSnapshot
    from backupflow.core.model import NormalConfig, Pepper, RawConfig, SealedSecret, Seq, TenantId
    from backupflow.core.ports import AlarmBell, ConfigOpener, SecretOpener, SnapshotStore


@dataclass(frozen=True, slots=True)
class HistoryPorts:
    """What reading needs of the world; `actor` is who reads, `max_bytes` the largest export that was ever accepted."""

    store: SnapshotStore
    configs: ConfigOpener
    secrets: SecretOpener
    driver: Callable[[str], Driver]
    alarms: AlarmBell
    actor: str
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Exported:
    """An export as the router gave it, and which one it is."""

    raw: RawConfig
    header: Header
    snapshot: SealedSnapshot


@dataclass(frozen=True, slots=True)
class Damaged:
    """What is stored is not what was collected: nothing of it is given out, and an alarm stands; `new` if just now."""

    snapshot: SealedSnapshot
    why: str
    new: bool


@dataclass(frozen=True, slots=True)
class GivenUp:
    """It is sealed with keys that were lost and given up: nobody can open it. No alarm: that is known."""

    snapshot: SealedSnapshot


def snapshots(store: SnapshotStore, tenant_id: TenantId, name: str, limit: int) -> Sequence[Run]:
    """The newest `limit` configurations of a device, the newest first; one that came back later counts again."""
    return store.runs(tenant_id, name, limit)


def export(
    ports: HistoryPorts, tenant_id: TenantId, name: str, at: Seq | datetime | None
) -> Exported | Damaged | GivenUp:
    """Read one export: the current one, one by its number, or the one that was current at a time.

    The read is audited before anything is opened. All that can be checked is: the sealing is bound to the device, the
    header names device and seq, the digest of the export, and the keyed hash of its normalized text (I2).
    """
    return told(ports, ports.store.read(tenant_id, name, at, ports.actor))


def asides(store: SnapshotStore, tenant_id: TenantId, name: str) -> Sequence[Aside]:
    """What was kept aside of a device and is still there, the newest first."""
    return store.asides(tenant_id, name)


def aside(ports: HistoryPorts, tenant_id: TenantId, name: str, seq: Seq | None) -> Exported | Damaged | GivenUp:
    """Read one export that may not become the current one, by its number or the newest; audited and checked alike."""
    return told(ports, ports.store.read_aside(tenant_id, name, seq, ports.actor))


def told(ports: HistoryPorts, snapshot: SealedSnapshot) -> Exported | Damaged | GivenUp:
    """Open one export; what was given up is tried all the same: its keys may be back. Audited by whoever asks."""
    if snapshot.given_up_at is None:
        return opened(ports, snapshot)
    try:
        return _whole(ports, snapshot)
    except (MessageMalformed, TransitKeyMissing):
        return GivenUp(snapshot)


def opened(ports: HistoryPorts, snapshot: SealedSnapshot) -> Exported | Damaged:
    """Open one export and check all of it, as `export` says; audited by whoever asks."""
    try:
        return _whole(ports, snapshot)
    except MessageMalformed as exc:
        return damaged(ports, snapshot, exc.detail or "it cannot be opened")
    except TransitKeyMissing:
        now = ports.store.again(snapshot)
        if now == snapshot:
            raise
    return opened(ports, now)  # it was moved to a newer version of its key, and the old one retired, since it was read


def _whole(ports: HistoryPorts, snapshot: SealedSnapshot) -> Exported:
    sealed = SealedConfig(snapshot.sealed)
    exported = unpacked(snapshot, ports.configs.open_config(snapshot.tenant_id, snapshot.device_id, sealed), ports)
    if is_hashed(exported):
        check_hash(ports, snapshot, ports.driver(snapshot.driver).normalize(exported.raw))
    return exported


def unpacked(snapshot: SealedSnapshot, envelope: bytes, ports: HistoryPorts) -> Exported:
    """What was opened, if its header names device, collection and normalization; else MessageMalformed."""
    header, raw = unpack(envelope, ports.max_bytes)
    owner = (snapshot.tenant_id, snapshot.device_id, snapshot.first_seq)
    if (header.tenant_id, header.device_id, header.seq) != owner:
        raise MessageMalformed("its sealed header names another device or collection")
    # A newer normalizer may have gone over the past; of one that is not known here no hash could be checked.
    rewritten = header.normalization_version < snapshot.normalization_version <= NORMALIZATION_VERSION
    if not rewritten and header.normalization_version != snapshot.normalization_version:
        raise MessageMalformed("its sealed header names another normalization")
    return Exported(raw, header, snapshot)


def is_hashed(exported: Exported) -> bool:
    """Whether its hash says anything: they compare only within one version; the digest of the export was compared."""
    return exported.snapshot.normalization_version == NORMALIZATION_VERSION and not exported.snapshot.unhashed


def check_hash(ports: HistoryPorts, snapshot: SealedSnapshot, normal: NormalConfig) -> None:
    """MessageMalformed unless the text has the hash that was stored."""
    if not hmac.compare_digest(content_hash(pepper_of(ports, snapshot), normal), snapshot.content_hash):
        raise MessageMalformed("its text does not have the hash that was stored")


def damaged(ports: HistoryPorts, snapshot: SealedSnapshot, why: str) -> Damaged:
    """Raise the alarm of one export."""
    scope = alarm_scope(snapshot.device_id, snapshot.first_seq)
    return Damaged(snapshot, why, ports.alarms.alarm(DAMAGED, scope, f"{snapshot.device_name}: {why}"))


def pepper_of(ports: HistoryPorts, snapshot: SealedSnapshot) -> Pepper:
    """The pepper of its tenant; TransitKeyMissing if that does not open."""
    try:
        return ports.secrets.open_pepper(snapshot.tenant_id, snapshot.sealed_pepper)
    except MessageMalformed as exc:  # it is the tenant's: not one of its snapshots is to blame
        raise TransitKeyMissing(f"the tenant's pepper does not open: {exc.detail}") from exc


class OnePepper:
    """core.ports.SecretOpener: the pepper that was opened last is not opened again for each export."""

    def __init__(self, secrets: SecretOpener) -> None:
        self._secrets = secrets
        self._last: tuple[TenantId, SealedSecret] | None = None
        self._pepper: Pepper | None = None

    def open_login(self, tenant_id: TenantId, context: UUID, sealed: SealedSecret) -> bytes:
        """Never asked for here."""
        return self._secrets.open_login(tenant_id, context, sealed)

    def open_pepper(self, tenant_id: TenantId, sealed: SealedSecret) -> Pepper:
        """The tenant's pepper."""
        if self._pepper is None or self._last != (tenant_id, sealed):
            self._pepper, self._last = self._secrets.open_pepper(tenant_id, sealed), (tenant_id, sealed)
        return self._pepper
