"""Messages that were put aside: why, what they claim, and how that compares with the row that they name.

All that a message says is hostile: it is read with bounds, compared, and never believed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from backupflow.core.message import SCHEMA_VERSION, SUBJECT_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

WRONG_SUBJECT = "wrong_subject"  # as a reason
UNEXPECTED = "unexpected"
_MOST_VALUES = 10_000  # of a message that is only looked at
_BIGINT = 2**63

T = TypeVar("T")


class Kept(StrEnum):
    """What was kept of a message that was put aside."""

    BYTES = "bytes"
    DIGEST = "digest"  # the quarantine is full of bytes
    NOTHING = "nothing"  # and of digests too


@dataclass(frozen=True, slots=True)
class SetAside:
    """What came of putting a message aside; `new`: its alarm did not stand yet."""

    kept: Kept
    new: bool


@dataclass(frozen=True, slots=True)
class Released:
    """A message that an operator gave back; a core.ports.Delivery."""

    number: int
    payload: bytes
    subject: str


@dataclass(frozen=True, slots=True)
class Trace:
    """What a message is known by when it is not in quarantine any more."""

    number: int
    digest: bytes
    collection_id: int | None  # that it names


class Fate(StrEnum):
    """What became of a message that was given back."""

    STORED = "stored"
    WAITING = "waiting"  # nobody has judged it yet
    HERE = "still_here"
    GONE = "gone"  # and its collection is not stored: somebody has dropped it


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of it; if it is still there: for which reason, and under which number."""

    number: int
    fate: Fate
    reason: str | None = None
    kept_as: int | None = None


@dataclass(frozen=True, slots=True)
class Claims:
    """What a message says of itself: each None if it does not, or not in the right type."""

    schema_version: int | None = None
    tenant_id: UUID | None = None
    device_id: UUID | None = None
    collection_id: int | None = None
    seq: int | None = None
    normalization_version: int | None = None
    content_hash: bytes | None = None
    sealed: str | None = None

    @property
    def digest(self) -> bytes | None:
        """SHA-256 of the text that should be sealed."""
        return hashlib.sha256(self.sealed.encode("utf-8", "surrogatepass")).digest() if self.sealed else None


@dataclass(frozen=True, slots=True)
class Named:
    """The collection that a message names, as its collector left it, and whose it is."""

    tenant_id: UUID
    tenant: str
    device_id: UUID
    device: str
    seq: int
    state: str
    normalization_version: int | None
    content_hash: bytes | None
    digest: bytes | None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A message that was put aside; tenant and device are the names of those that it claims, None if there are none."""

    number: int
    received_at: datetime
    reason: str
    subject: str
    digest: bytes
    size: int | None  # bytes that are kept; None: only the digest is
    tenant: str | None
    device: str | None
    released_at: datetime | None
    released_by: str | None


@dataclass(frozen=True, slots=True)
class Compared:
    """One field of a message against the row that it names; None: there is none to compare."""

    name: str
    claimed: str | None
    recorded: str | None

    @property
    def differs(self) -> bool:
        """Whether it is not what the row says."""
        return self.recorded is not None and self.claimed != self.recorded


@dataclass(frozen=True, slots=True)
class Looked:
    """A quarantined message with all that is known of it; nothing is compared if its bytes were not kept."""

    message: Quarantined
    claims: Claims
    compared: Sequence[Compared]
    named: Named | None  # the collection of that number, if there is one


def claims(payload: bytes) -> Claims:
    """What can be read of a message, however malformed, in time and memory that are a few times its size."""
    if payload.count(b"{") + payload.count(b"[") + payload.count(b",") > _MOST_VALUES:
        return Claims()
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError):
        return Claims()
    if not isinstance(said, dict):
        return Claims()
    return Claims(
        _whole(said.get("schema_version")),
        _read(UUID, said.get("tenant_id")),
        _read(UUID, said.get("device_id")),
        _whole(said.get("collection_id")),
        _whole(said.get("seq")),
        _whole(said.get("normalization_version")),
        _read(bytes.fromhex, said.get("content_hash")),
        _read(str, said.get("sealed")),
    )


def compare(said: Claims, subject: str, row: Named | None) -> tuple[Compared, ...]:
    """Each field as it claims against the row that it names, or None for all of them if there is no such row."""
    about = row.device_id if row else said.device_id
    recorded: dict[str, Any] = {field.name: getattr(row, field.name) for field in fields(Named)} if row else {}
    wanted = f"{SUBJECT_PREFIX}.{about}" if about else None
    return (
        Compared("schema_version", _text(said.schema_version), str(SCHEMA_VERSION)),
        Compared("subject", subject, wanted),
        *(
            Compared(name, _text(getattr(said, name)), _text(recorded.get(name)))
            for name in ("tenant_id", "device_id", "seq", "normalization_version", "content_hash", "digest")
        ),
    )


def _whole(value: object) -> int | None:
    return value if type(value) is int and -_BIGINT <= value < _BIGINT else None


def _read(read: Callable[[str], T], value: object) -> T | None:
    try:
        return read(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _text(value: object) -> str | None:
    if value is None:
        return None
    return value.hex() if isinstance(value, bytes) else str(value)
