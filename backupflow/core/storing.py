"""What a message is worth: (what it says, the row that it names, the device that it claims to be of) -> outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from backupflow.core.ledger import Stored
from backupflow.core.model import ContentHash, DeviceId, Seq, State, TenantId
from backupflow.core.sequence import Observation

if TYPE_CHECKING:
    from backupflow.core.message import SnapshotMessage

_AWAITED = {State.PUBLISHED, State.LOST}  # what is lost may be corrected: its message was only late


@dataclass(frozen=True, slots=True)
class Fenced:
    """What a collector wrote at the fence; nothing else of an observation is believed."""

    digest: bytes  # of the sealed text
    content_hash: ContentHash
    normalization_version: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A collection's row as far as a message is measured against it; `fenced`: None before the fence."""

    tenant_id: TenantId
    device_id: DeviceId
    seq: Seq
    state: State
    fenced: Fenced | None


@dataclass(frozen=True, slots=True)
class Holder:
    """A device as far as a message is measured against it."""

    tenant_id: TenantId
    tenant_removed: bool
    kept_from_seq: Seq  # retention has taken away what lies below it
    current_seq: Seq  # the greatest that is stored; 0: none is
    compacted_to_seq: int = 0  # up to this one rows that said nothing more were taken away
    oldest_version: int = 1  # of the key; the vault opens nothing that is sealed under an older one


class ContentKey(NamedTuple):
    """What a content is kept once by: the first sealing of a text stays, later ones of it refer to it (I16)."""

    tenant_id: TenantId
    device_id: DeviceId
    normalization_version: int
    content_hash: ContentHash


def judge(message: SnapshotMessage, row: Standing | None, device: Holder | None) -> Stored:
    """Nothing in a message is believed but what its collector wrote at the fence; STORED: it is to be stored now."""
    if device is None:
        return Stored.UNKNOWN
    if row is None:  # rows are taken away below kept_from_seq, and of long ago: what is late for them has had its time
        gone = message.seq < device.kept_from_seq or message.seq <= device.compacted_to_seq
        expired = device.tenant_id == message.tenant_id and gone
        return Stored.EXPIRED if expired else Stored.UNKNOWN
    if (row.tenant_id, row.device_id, row.seq) != (message.tenant_id, message.device_id, message.seq):
        return Stored.FOREIGN
    if row.fenced is None:
        return Stored.WRONG_STATE
    fenced = Fenced(message.sealed.digest, message.content_hash, message.normalization_version)
    if row.fenced != fenced and not (row.state is State.STORED and _is_rewritten(fenced, row.fenced)):
        return Stored.OTHER_DIGEST
    if row.state is State.STORED:
        return Stored.ALREADY
    if row.state not in _AWAITED:
        return Stored.WRONG_STATE
    # Of a tenant that was removed nothing new is written: its keys may be gone, and nobody may ask for it any more.
    late = message.seq < device.kept_from_seq or device.tenant_removed
    if late:
        return Stored.EXPIRED
    return Stored.RETIRED if message.sealed.key_version < device.oldest_version else Stored.STORED


def _is_rewritten(then: Fenced, now: Fenced) -> bool:
    """Whether it is the same sealed text, whose hash a newer normalizer has made anew since it was stored."""
    return then.digest == now.digest and then.normalization_version < now.normalization_version


def observation_of(message: SnapshotMessage) -> Observation:
    """What a message adds to its device's history."""
    return Observation(message.seq, message.content_hash, message.normalization_version)


def content_key(message: SnapshotMessage) -> ContentKey:
    """The content that a message brings, or refers to."""
    return ContentKey(message.tenant_id, message.device_id, message.normalization_version, message.content_hash)
