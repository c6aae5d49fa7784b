"""The read side of what changed: the changes of a device or of a tenant, each opened for who looks at it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from backupflow.core import change_codec
from backupflow.core.enclosure import Label, What, enclosed
from backupflow.core.folding import Folding
from backupflow.core.ignoring import with_ignored
from backupflow.core.model import SealedConfig
from backupflow.core.timeline import is_within
from backupflow.errors import BackupflowError, MessageMalformed, TransitKeyMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from backupflow.core.changes import Change
    from backupflow.core.driver import Grammar
    from backupflow.core.folding import Few
    from backupflow.core.model import DeviceId, Seq, TenantId
    from backupflow.core.ports import TimelineStore
    from backupflow.core.timeline import Entry, FleetHistory, History, Wanted
    from backupflow.flows.history import HistoryPorts

LONGEST_TOLD = 256 * 1024 * 1024  # bytes of what was told of one change, inflated
PAGE: Final = 100  # changes of a configuration that are opened at once
PAGE_BYTES: Final = 4 * 1024 * 1024  # of them, sealed: what is larger is opened alone
_AT_ONCE: Final = 1000  # that are held against the rules


@dataclass(frozen=True, slots=True)
class TimelinePorts:
    """What looking at changes needs of the world; `reading.actor` is who looks."""

    store: TimelineStore
    reading: HistoryPorts


@dataclass(frozen=True, slots=True)
class Opened:
    """One change, and what was told of it: None if nothing is, or if it does not open: then `closed` says why.

    `changes` are those that are not ignored, of what was wanted; `more` there are beyond those that were asked for.
    `few` tells all of them in a few lines; None: they were asked for themselves.
    """

    entry: Entry
    changes: tuple[Change, ...] | None
    closed: str = ""
    ignored: int = 0
    more: int = 0
    few: Few | None = None


@dataclass(frozen=True, slots=True)
class DeviceChanges:
    """The changes of a device: each of `history.entries` is opened when it is looked at, and none is held."""

    history: History
    opened: Iterator[Opened]


@dataclass(frozen=True, slots=True)
class FleetChanges:
    """The changes of a tenant's devices, in the same way."""

    fleet: FleetHistory
    opened: Iterator[Opened]


def history(
    ports: TimelinePorts, tenant_id: TenantId, name: str, wanted: Wanted, *, reveal: bool, most: int | None = None
) -> DeviceChanges:
    """A device's changes, the newest first; to see their secrets is written down before they are opened.

    `most`: so many are given of each at the most, and a few lines that tell all; None: all, and no lines.
    """
    read = ports.store.history(tenant_id, name, wanted)
    if reveal and read.entries:
        said = {"what": "history", "from_seq": read.entries[-1].seq, "to_seq": read.entries[0].seq}
        ports.store.reveal(ports.reading.actor, read.owner, said)

    def again() -> Sequence[Entry]:
        return ports.store.history(tenant_id, name, wanted).entries

    return DeviceChanges(read, _begun(_opened(ports, read.entries, again, _Part(wanted.component, most, reveal))))


def fleet(ports: TimelinePorts, tenant_id: TenantId, wanted: Wanted, *, most: int | None = None) -> FleetChanges:
    """The changes of all devices of a tenant, the newest first; their secrets are seen of one device at a time."""
    read = ports.store.fleet(tenant_id, wanted)

    def again() -> Sequence[Entry]:
        return ports.store.fleet(tenant_id, wanted).entries

    return FleetChanges(read, _begun(_opened(ports, read.entries, again, _Part(wanted.component, most))))


@dataclass(frozen=True, slots=True)
class _Part:
    """What of each is wanted: changes there or below it, and the first so many of them."""

    component: str | None
    most: int | None
    reveal: bool = False


_MOVED = TransitKeyMissing("").code  # sealed under a newer version of its key since it was read, or the key is gone


def _begun(opened: Iterator[Opened]) -> Iterator[Opened]:
    """The same with its first one opened: a vault that is away says so before anything is shown."""
    return chain(list(islice(opened, 1)), opened)


def _opened(
    ports: TimelinePorts, entries: Sequence[Entry], again: Callable[[], Sequence[Entry]], part: _Part
) -> Iterator[Opened]:
    """Page by page, in as few requests as can be; what was sealed anew meanwhile is read again, once."""
    newer: dict[tuple[DeviceId, Seq], Entry] = {}
    for page in _pages(entries):
        now = [newer.get(_key(entry), entry) for entry in page]
        envelopes = _envelopes(ports, now)
        if not newer and any(isinstance(one, BackupflowError) and one.code == _MOVED for one in envelopes):
            newer = {_key(entry): entry for entry in again()}
            now = [newer.get(_key(entry), entry) for entry in page]
            envelopes = _envelopes(ports, now)
        for number, entry in enumerate(now):
            envelope, envelopes[number] = envelopes[number], None
            yield Opened(entry, None, "", _ignored(entry)) if envelope is None else _read(ports, entry, envelope, part)


def _key(entry: Entry) -> tuple[DeviceId, Seq]:
    return entry.owner.device_id, entry.seq


def _pages(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """As many as may be held at once."""
    page: list[Entry] = []
    size = 0
    for entry in entries:
        more = len(entry.told.changes_sealed or "") if entry.told else 0
        if page and (len(page) == PAGE or size + more > PAGE_BYTES):
            yield page
            page, size = [], 0
        page.append(entry)
        size += more
    if page:
        yield page


def _envelopes(ports: TimelinePorts, entries: Sequence[Entry]) -> list[bytes | BackupflowError | None]:
    """Of each its envelope, or why it does not open; None: there is nothing to be opened."""
    found: list[bytes | BackupflowError | None] = [None] * len(entries)
    sealed = {number: text for number, entry in enumerate(entries) if (text := _sealed(entry)) is not None}
    if sealed:
        configs = [(entries[number].owner.device_id, text) for number, text in sealed.items()]
        opened = ports.reading.configs.open_configs(entries[0].owner.tenant_id, configs)
        for number, one in zip(sealed, opened, strict=True):
            found[number] = one
    return found


def _sealed(entry: Entry) -> SealedConfig | None:
    """What is to be opened; what is no sealed text at all is damaged as an unsealed one would be."""
    text = entry.told.changes_sealed if entry.told else None
    if text is None:
        return None
    try:
        return SealedConfig(text)
    except MessageMalformed:
        return None


def _read(ports: TimelinePorts, entry: Entry, envelope: bytes | BackupflowError, part: _Part) -> Opened:
    if isinstance(envelope, BackupflowError):
        return Opened(entry, None, envelope.code, _ignored(entry))
    if entry.told is None:
        return Opened(entry, None)
    owner = entry.owner
    label = Label(owner.tenant_id, owner.device_id, entry.seq, entry.told.after_seq, What.CHANGES)
    try:
        changes = change_codec.decoded(enclosed(envelope, label, LONGEST_TOLD))
        return _counted(entry, changes, ports.reading.driver(owner.driver).grammar, part)
    except MessageMalformed as exc:
        return Opened(entry, None, exc.code, _ignored(entry))


def _ignored(entry: Entry) -> int:
    return entry.told.ignored if entry.told else 0


def _counted(entry: Entry, changes: Iterator[Change], grammar: Grammar, part: _Part) -> Opened:
    """Those that are wanted are kept; of the others it is counted how many there are, and what tells them is held."""
    kept: list[Change] = []
    folding = None if part.most is None else Folding(grammar, reveal=part.reveal)
    more = ignored = 0
    while some := list(islice(changes, _AT_ONCE)):
        here = [one for one in some if part.component is None or is_within(one.component, part.component)]
        shown = [one for one in with_ignored(here, entry.rules, grammar) if not one.ignored]
        ignored += len(here) - len(shown)
        room = len(shown) if part.most is None else max(part.most - len(kept), 0)
        kept += shown[:room]
        more += len(shown[room:])
        if folding is not None:
            for one in shown:
                folding.add(one)
    return Opened(entry, tuple(kept), "", ignored, more, folding.few() if folding else None)
