"""All that the rows say of each device, but for what is different each time; two ledgers are compared by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from backupflow.core.model import DeviceId


class RowPicture(NamedTuple):
    """A collection."""

    seq: int
    state: str
    code: str | None
    trigger: str
    lane: str
    emits: int
    emitted_at: datetime
    lease_until: datetime | None
    collected_at: datetime | None
    ended_at: datetime | None
    is_change: bool | None
    content_hash: bytes | None


class HopPicture(NamedTuple):
    """A jump host."""

    failures: int
    down_since: datetime | None
    retry_at: datetime | None
    blocked_code: str | None
    reached_at: datetime | None
    pinned: bytes | None


class DevicePicture(NamedTuple):
    """A device, its host keys, collections (by seq), contents (hash, sealed, first seq), requests, and jump host."""

    status: str
    blocked_code: str | None
    failures: int
    losses: int
    lane: str
    last_seq: int
    kept_from_seq: int
    current_seq: int
    next_due_at: datetime | None
    remembered_command: str | None
    router_since_seq: int
    believe_seq: int
    modern_ssh_at: datetime | None
    keys: frozenset[tuple[str, bytes]]
    rows: tuple[RowPicture, ...]
    contents: frozenset[tuple[bytes, str, int]]
    requests: tuple[tuple[str | None, int | None], ...]
    hop: HopPicture | None


Picture = dict["DeviceId", DevicePicture]
