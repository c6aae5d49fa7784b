"""One configuration shown, and two compared: each as its normal form, opened and checked for who looks at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backupflow.core import diff
from backupflow.core.enclosure import Label, What, enclosed
from backupflow.core.model import SealedConfig
from backupflow.core.timeline import Owner
from backupflow.errors import InputInvalid, MessageMalformed, TransitKeyMissing
from backupflow.flows.history import Damaged, Exported, GivenUp, told
from backupflow.flows.timeline import LONGEST_TOLD

if TYPE_CHECKING:
    from datetime import datetime

    from backupflow.core.diff import Diff
    from backupflow.core.history import SealedSnapshot
    from backupflow.core.model import NormalConfig, Seq, TenantId
    from backupflow.core.timeline import Entry
    from backupflow.flows.timeline import TimelinePorts


@dataclass(frozen=True, slots=True)
class Shown:
    """One configuration: as the router gave it, and its normal form."""

    exported: Exported
    normal: NormalConfig


@dataclass(frozen=True, slots=True)
class Side:
    """What is compared; `at` None: it is not kept any more, and what is told of it was told when it was."""

    owner: Owner
    seq: Seq
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Compared:
    """What leads from one to the other. `stored`: it was made when the change came, not now."""

    old: Side
    new: Side
    diff: Diff
    stored: bool


@dataclass(frozen=True, slots=True)
class Alone:
    """Nothing that it could be compared with is kept: it is a router's first, or the one before was taken away."""

    new: Side


Closed = Damaged | GivenUp


def show(
    ports: TimelinePorts, tenant_id: TenantId, name: str, at: Seq | datetime | None, *, reveal: str = ""
) -> Shown | Closed:
    """One configuration, None: the current one; `reveal` says what its secrets are shown in, and is written down."""
    snapshot = ports.store.snapshot(tenant_id, name, at)
    if reveal:
        _reveal(ports, snapshot, what=reveal)
    return _shown(ports, snapshot)


def change(
    ports: TimelinePorts, tenant_id: TenantId, name: str, at: Seq | datetime | None, *, context: int, reveal: bool
) -> Compared | Alone | Closed:
    """The change that brought what was observed then, None: the newest, against what was there before it."""
    entry = ports.store.change(tenant_id, name, at)
    if reveal:
        said = {"what": "diff", "seq": entry.seq, "after_seq": entry.previous_seq}
        ports.store.reveal(ports.reading.actor, entry.owner, said)
    stored = _stored(ports, entry) if context == diff.CONTEXT or not entry.previous_seq else None
    if stored is not None and entry.told is not None:
        before = entry.previous_at if entry.previous_seq == entry.told.after_seq else None
        old = Side(entry.owner, entry.after, before)
        return Compared(old, Side(entry.owner, entry.seq, entry.at), stored, stored=True)
    if not entry.previous_seq:
        return Alone(Side(entry.owner, entry.seq, entry.at))
    older = ports.store.snapshot(tenant_id, name, entry.previous_seq)
    return _compared(ports, older, ports.store.snapshot(tenant_id, name, entry.seq), context)


def between(
    ports: TimelinePorts,
    tenant_id: TenantId,
    one: tuple[str, Seq | datetime | None],
    other: tuple[str, Seq | datetime | None],
    *,
    context: int,
    reveal: bool,
) -> Compared | Closed:
    """Any two configurations of one device, or of two that speak one language, from the one to the other."""
    older, newer = (ports.store.snapshot(tenant_id, name, at) for name, at in (one, other))
    if older.driver != newer.driver:
        raise InputInvalid(
            f"{older.device_name} is {older.driver}, {newer.device_name} is {newer.driver}: no two kinds compare"
        )
    if reveal:
        _reveal_pair(ports, older, newer)
    if older.device_id == newer.device_id and context == diff.CONTEXT:
        entry = ports.store.leads(older, newer)
        stored = _stored(ports, entry) if entry else None
        if stored is not None:
            return Compared(_side(older), _side(newer), stored, stored=True)
    return _compared(ports, older, newer, context)


def _compared(ports: TimelinePorts, older: SealedSnapshot, newer: SealedSnapshot, context: int) -> Compared | Closed:
    old = _shown(ports, older)
    new = _shown(ports, newer)
    if not isinstance(old, Shown):
        return old
    if not isinstance(new, Shown):
        return new
    return Compared(_side(older), _side(newer), diff.diff(old.normal, new.normal, context), stored=False)


def _shown(ports: TimelinePorts, snapshot: SealedSnapshot) -> Shown | Closed:
    exported = told(ports.reading, snapshot)
    if not isinstance(exported, Exported):
        return exported
    return Shown(exported, ports.reading.driver(snapshot.driver).normalize(exported.raw))


def _stored(ports: TimelinePorts, entry: Entry) -> Diff | None:
    """The diff that was sealed with the change; what does not open, or is not its, is made anew from both texts."""
    sealed = entry.told.diff_sealed if entry.told else None
    if entry.told is None or sealed is None:
        return None
    owner = entry.owner
    label = Label(owner.tenant_id, owner.device_id, entry.seq, entry.told.after_seq, What.DIFF)
    try:
        envelope = ports.reading.configs.open_config(owner.tenant_id, owner.device_id, SealedConfig(sealed))
        return diff.decode(enclosed(envelope, label, LONGEST_TOLD))
    except (MessageMalformed, TransitKeyMissing):
        return None


def _side(snapshot: SealedSnapshot) -> Side:
    return Side(_owner(snapshot), snapshot.number, snapshot.collected_at)


def _owner(snapshot: SealedSnapshot) -> Owner:
    return Owner(snapshot.tenant_id, snapshot.device_id, snapshot.device_name, snapshot.driver)


def _reveal(ports: TimelinePorts, snapshot: SealedSnapshot, **said: Any) -> None:  # noqa: ANN401 - values of any type
    ports.store.reveal(ports.reading.actor, _owner(snapshot), {**said, "seq": snapshot.seq})


def _reveal_pair(ports: TimelinePorts, older: SealedSnapshot, newer: SealedSnapshot) -> None:
    """One act for a device; of two devices, each is shown."""
    if older.device_id == newer.device_id:
        _reveal(ports, newer, what="diff", after_seq=older.seq)
        return
    for shown, other in ((older, newer), (newer, older)):
        _reveal(ports, shown, what="diff", other=other.device_name, other_seq=other.seq)
