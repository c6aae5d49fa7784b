"""The read side of what changed: the changes of a device or of a tenant, each opened for who looks at it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backupflow.core import change_codec
from backupflow.core.enclosure import Label, What, enclosed
from backupflow.core.ignoring import with_ignored
from backupflow.core.model import SealedConfig
from backupflow.core.timeline import is_within
from backupflow.errors import BackupflowError, MessageMalformed, TransitKeyMissing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.changes import Change
    from backupflow.core.model import TenantId
    from backupflow.core.ports import TimelineStore
    from backupflow.core.timeline import Entry, FleetHistory, History, Wanted
    from backupflow.flows.history import HistoryPorts

LONGEST_TOLD = 256 * 1024 * 1024  # bytes of what was told of one change, inflated


@dataclass(frozen=True, slots=True)
class TimelinePorts:
    """What looking at changes needs of the world; `reading.actor` is who looks."""

    store: TimelineStore
    reading: HistoryPorts


@dataclass(frozen=True, slots=True)
class Opened:
    """One change, and what was told of it: None if nothing is, or if it does not open: then `closed` says why."""

    entry: Entry
    changes: tuple[Change, ...] | None
    closed: str = ""


@dataclass(frozen=True, slots=True)
class DeviceChanges:
    """The changes of a device."""

    history: History
    opened: tuple[Opened, ...]


@dataclass(frozen=True, slots=True)
class FleetChanges:
    """The changes of a tenant's devices."""

    fleet: FleetHistory
    opened: tuple[Opened, ...]


def history(ports: TimelinePorts, tenant_id: TenantId, name: str, wanted: Wanted, *, reveal: bool) -> DeviceChanges:
    """A device's changes, the newest first; to see their secrets is written down before they are opened."""
    read = ports.store.history(tenant_id, name, wanted)
    if reveal and read.entries:
        said = {"what": "history", "from_seq": read.entries[-1].seq, "to_seq": read.entries[0].seq}
        ports.store.reveal(ports.reading.actor, read.owner, said)
    opened = _opened(ports, read.entries, wanted.component)
    if any(one.closed == _MOVED for one in opened):
        read = ports.store.history(tenant_id, name, wanted)
        opened = _opened(ports, read.entries, wanted.component)
    return DeviceChanges(read, opened)


def fleet(ports: TimelinePorts, tenant_id: TenantId, wanted: Wanted) -> FleetChanges:
    """The changes of all devices of a tenant, the newest first; their secrets are seen of one device at a time."""
    read = ports.store.fleet(tenant_id, wanted)
    opened = _opened(ports, read.entries, wanted.component)
    if any(one.closed == _MOVED for one in opened):
        read = ports.store.fleet(tenant_id, wanted)
        opened = _opened(ports, read.entries, wanted.component)
    return FleetChanges(read, opened)


_MOVED = TransitKeyMissing("").code  # sealed under a newer version of its key since it was read, or the key is gone


def _opened(ports: TimelinePorts, entries: Sequence[Entry], component: str | None) -> tuple[Opened, ...]:
    """All in as few requests as can be; of one component, what happened there or below it alone."""
    sealed = {number: text for number, entry in enumerate(entries) if (text := _sealed(entry)) is not None}
    envelopes = dict(zip(sealed, _envelopes(ports, entries, sealed), strict=True))
    return tuple(
        _within(_read(ports, entry, envelopes[number]), component) if number in envelopes else Opened(entry, None)
        for number, entry in enumerate(entries)
    )


def _within(opened: Opened, component: str | None) -> Opened:
    if component is None or opened.changes is None:
        return opened
    return replace(opened, changes=tuple(one for one in opened.changes if is_within(one.component, component)))


def _envelopes(
    ports: TimelinePorts, entries: Sequence[Entry], sealed: dict[int, SealedConfig]
) -> Sequence[bytes | BackupflowError]:
    if not sealed:
        return ()
    owners = [entries[number].owner for number in sealed]
    configs = [(owner.device_id, text) for owner, text in zip(owners, sealed.values(), strict=True)]
    return ports.reading.configs.open_configs(owners[0].tenant_id, configs)


def _sealed(entry: Entry) -> SealedConfig | None:
    """What is to be opened; what is no sealed text at all is damaged as an unsealed one would be."""
    text = entry.told.changes_sealed if entry.told else None
    if text is None:
        return None
    try:
        return SealedConfig(text)
    except MessageMalformed:
        return None


def _read(ports: TimelinePorts, entry: Entry, envelope: bytes | BackupflowError) -> Opened:
    if isinstance(envelope, BackupflowError):
        return Opened(entry, None, envelope.code)
    if entry.told is None:
        return Opened(entry, None)
    owner = entry.owner
    label = Label(owner.tenant_id, owner.device_id, entry.seq, entry.told.after_seq, What.CHANGES)
    try:
        changes = change_codec.decode(enclosed(envelope, label, LONGEST_TOLD))
    except MessageMalformed as exc:
        return Opened(entry, None, exc.code)
    return Opened(entry, with_ignored(changes, entry.rules, ports.reading.driver(owner.driver).grammar))
