"""What is kept of a device, as values to be shown: runs of equal observations, and one of them sealed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from backupflow.core.model import ContentHash, DeviceId, SealedSecret, Seq, TenantId


@dataclass(frozen=True, slots=True)
class Run:
    """Observations in a row with the same configuration: `seq` and `collected_at` are the first one's."""

    seq: Seq
    collected_at: datetime
    last_seq: Seq
    last_collected_at: datetime
    observations: int
    raw_bytes: int
    content_hash: ContentHash
    facts: Mapping[str, Any]
    is_current: bool
    secrets: str = ""  # what is shown of them: a word of core.model.Secrets; empty if that was not looked at
    only_secrets: bool = False  # it differs from the run before it in nothing but whether secrets are shown
    given_up_at: datetime | None = None  # when the keys that it is sealed with were given up


@dataclass(frozen=True, slots=True)
class Replacement:
    """Another router stands behind the device's name since `at`; what was collected up to `after_seq` is not its."""

    at: datetime
    after_seq: int


@dataclass(frozen=True, slots=True)
class Aside:
    """A whole export that may not become the current one: `state` suspect, or blocked by another router."""

    seq: Seq
    collected_at: datetime
    state: str
    code: str
    detail: str
    raw_bytes: int
    facts: Mapping[str, Any]
    given_up_at: datetime | None = None  # when the keys that it is sealed with were given up


@dataclass(frozen=True, slots=True)
class SealedSnapshot:
    """One observation with the sealed export of its text; the export is the one of `first_seq`.

    What was kept aside is its own first. `sealed` is what the row has: whether that is a sealed text at all is a part
    of the check. `given_up_at`: when the keys that it is sealed with were given up; should they be back, it opens.
    `unhashed`: its hash is under a pepper that was given up, and says nothing.
    """

    tenant_id: TenantId
    device_id: DeviceId
    device_name: str
    driver: str
    seq: Seq
    collected_at: datetime
    first_seq: Seq
    first_collected_at: datetime
    normalization_version: int
    content_hash: ContentHash
    sealed: str
    sealed_pepper: SealedSecret
    given_up_at: datetime | None = None
    unhashed: bool = False
    stretch: Seq | None = None  # the first of those in a row with it; None: nobody asked

    @property
    def number(self) -> Seq:
        """What `snapshots` and `history` list it as."""
        return self.stretch or self.seq
