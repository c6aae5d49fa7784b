"""What verifying asks of the ledger and what the ledger answers: values, each small enough to be held one at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from backupflow.core.history import SealedSnapshot
    from backupflow.core.model import DeviceId, Seq, TenantId
    from backupflow.errors import BackupflowError

DAMAGED = "snapshot_damaged"  # code of the alarm


class Kept(StrEnum):
    """Where a sealed export lies."""

    CONTENT = "content"  # what was observed: of the history
    ASIDE = "aside"  # what was not believed


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be verified; None: all.

    `share` of what is kept, in [0, 1], the longest unverified first; the current one of each device always. What was
    looked at within `window` before counts as done, so that a run that was cut off goes on; `actor` None: a job.
    """

    share: float
    tenant_id: TenantId | None = None
    device_id: DeviceId | None = None
    window: timedelta | None = None
    actor: str | None = None
    without: tuple[TenantId, ...] = ()  # whose keys are not there: nothing of them is opened


@dataclass(frozen=True, slots=True)
class Standing:
    """What there is at the beginning. `before`: what was looked at since then counts as done."""

    before: datetime
    devices: int  # with a current one that is not done
    contents: int  # that can be read
    contents_done: int  # of those, the ones that are no device's current
    asides: int
    asides_done: int
    unreadable: int  # given up with their keys


@dataclass(frozen=True, slots=True)
class Due:
    """A device, and the content of its newest observation; None: that was given up with its keys, or is gone."""

    device_id: DeviceId
    device_name: str
    content: int | None


@dataclass(frozen=True, slots=True)
class Sight:
    """A kept export as its rows have it, and what they alone show to be wrong with it, in words; empty: nothing."""

    snapshot: SealedSnapshot
    why: str

    @property
    def tenant_id(self) -> TenantId:
        """Whose it is."""
        return self.snapshot.tenant_id


@dataclass(frozen=True, slots=True)
class Keyless:
    """A kept export of a tenant whose keys are not even on record."""

    tenant_id: TenantId
    why: str


@dataclass(frozen=True, slots=True)
class Flaw:
    """One row of a device's history that contradicts the others; seq 0: all of it."""

    seq: Seq
    collected_at: datetime | None
    why: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One export that is not what was collected, or one place where a device's history contradicts itself."""

    device_id: DeviceId
    device_name: str
    seq: Seq
    collected_at: datetime | None
    aside: bool
    why: str
    scope: str  # of its alarm
    new: bool  # that was raised just now


@dataclass(frozen=True, slots=True)
class Rest:
    """What a part of a run leaves to the next: so many of each kind, but for the tenants that have not their keys."""

    standing: Standing
    contents: int
    asides: int
    without_keys: Mapping[TenantId, str] = field(default_factory=dict)


@dataclass(slots=True)
class Verified:
    """What one run did.

    `trouble` is what kept it from doing all: a server of ours that is away, or tenants that have not their keys;
    `rest` what is left because there was enough.
    """

    devices: int = 0
    opened: int = 0
    damaged: int = 0
    unreadable: int = 0
    without_keys: int = 0  # tenants
    complete: bool = False
    trouble: BackupflowError | None = None
    rest: Rest | None = None


def keys_scope(tenant_id: TenantId) -> str:
    """What an alarm of a tenant is about whose exports cannot be verified, for its keys are not there."""
    return f"tenant {tenant_id} verify"


def alarm_scope(device_id: DeviceId, seq: Seq | None) -> str:
    """What an alarm of a damaged snapshot is about; None: the order of the device's history."""
    return f"device {device_id} history" if seq is None else f"device {device_id} seq {seq}"
