"""What the checker judges: rows, opened contents and what the routers wrote down, all as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID


@dataclass(frozen=True)
class Device:
    """A row of `device`, with the settings of its scopes and what else keeps it from being claimed."""

    id: UUID
    tenant_id: UUID
    name: str
    driver: str
    status: str
    settings: Mapping[str, Any]
    scopes: Sequence[Mapping[str, Any] | None]  # of tenant, site and group
    next_due_at: datetime | None
    blocked_code: str | None
    failures: int
    losses: int
    last_seq: int
    kept_from_seq: int
    current_seq: int
    unreadable_to_seq: int
    unhashed_to_seq: int
    current_collection_id: int | None
    created_at: datetime
    removed_at: datetime | None
    has_login: bool
    suspended_at: datetime | None
    login_on: str | None = None  # which of two logins it is sent next, while they are rotated
    flapping_since: datetime | None = None
    has_way: bool = True  # to it: no jump host, or one that is in no trouble

    @property
    def of_lost_keys(self) -> int:
        """Up to this seq the keys that sealed or hashed what is stored are lost: it is compared with nothing."""
        return max(self.unreadable_to_seq, self.unhashed_to_seq)

    @property
    def is_due_at_times(self) -> bool:
        """Whether beat shall claim it: nothing that `status` would show stands in the way."""
        free = self.has_login and self.suspended_at is None and self.has_way
        return self.status == "active" and self.blocked_code is None and free


@dataclass(frozen=True)
class Row:
    """A row of `collection`."""

    id: int
    tenant_id: UUID
    device_id: UUID
    seq: int
    state: str
    code: str | None
    claimed_at: datetime
    emitted_at: datetime
    emits: int
    started_at: datetime | None
    holder: str | None
    lease_until: datetime | None
    collected_at: datetime | None
    content_hash: bytes | None
    digest: bytes | None
    normalization_version: int | None
    raw_bytes: int | None
    stored_at: datetime | None
    content_id: int | None
    is_change: bool | None
    ended_at: datetime | None
    trigger: str = "schedule"
    login_on: str | None = None  # which of two, while they are rotated; None: no login was sent
    compacted: int = 0  # how many with its outcome were taken away just before it
    login_id: UUID | None = None  # whose login was sent
    interpreted_after_seq: int | None = None

    @property
    def over_at(self) -> datetime | None:
        """When its session was over at the latest; None while it runs."""
        return self.collected_at or self.ended_at


@dataclass(frozen=True)
class Content:
    """A row of `content`."""

    id: int
    tenant_id: UUID
    device_id: UUID
    normalization_version: int
    content_hash: bytes
    sealed: str = field(repr=False)
    raw_bytes: int
    first_seq: int


@dataclass(frozen=True)
class Aside:
    """A row of `aside`."""

    collection_id: int
    tenant_id: UUID
    device_id: UUID
    sealed: str = field(repr=False)


@dataclass(frozen=True)
class Interpretation:
    """A row of `interpretation`."""

    collection_id: int
    tenant_id: UUID
    device_id: UUID
    seq: int
    after_seq: int
    kind: str
    detail: str
    components: Sequence[str]
    touched: Sequence[str]
    changes_sealed: str | None = field(repr=False, default=None)
    diff_sealed: str | None = field(repr=False, default=None)

    def in_clear(self, menus: Collection[str]) -> str:
        """All that anybody who reads the row can see, but for the names of these menus: that is what they are for."""
        strange = (name for name in self.components if name not in menus)
        return " ".join((self.kind, self.detail, *strange, *self.touched))


@dataclass(frozen=True)
class Opened:
    """What a sealed text holds: its header, and the hashes of the export in it; `trouble`: why it does not open."""

    trouble: str = ""
    tenant_id: UUID | None = None
    device_id: UUID | None = None
    seq: int = 0
    normalization_version: int = 0
    raw_sha256: str = ""
    raw_bytes: int = 0
    content_hash: bytes | None = None  # None: not to be had, of another normalization or of a pepper that is lost


@dataclass(frozen=True)
class HostKey:
    """A row of `host_key` that is a device's."""

    id: int
    tenant_id: UUID
    device_id: UUID
    status: str
    fingerprint: str
    first_seen_at: datetime
    last_seen_at: datetime
    last_verified_at: datetime | None


@dataclass(frozen=True)
class Act:
    """A row of `audit`; `text` is what its digest is made of, beside `previous`."""

    id: int
    at: datetime
    tenant_id: UUID | None
    action: str
    device_id: UUID | None
    detail: Mapping[str, Any]
    previous: bytes
    digest: bytes
    text: str


@dataclass(frozen=True)
class Owned:
    """A row of any other table that belongs to a device: whose it is, and which."""

    table: str
    id: str
    tenant_id: UUID
    device_id: UUID


@dataclass(frozen=True)
class Alarm:
    """An alarm that stands."""

    code: str
    scope: str
    detail: str
    since: datetime
