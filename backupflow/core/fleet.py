"""Many acts at once, as values: what one transaction is to do to a fleet, and what it did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta
    from uuid import UUID

    from backupflow.core.inventory import DeviceLogin, DeviceRecord, NewDevice, Update
    from backupflow.core.model import DeviceId, TenantId, Trust
    from backupflow.core.rescheduling import Rescheduled


@dataclass(frozen=True, slots=True)
class NewScope:
    """A group or a site that is named and not there."""

    tenant_id: TenantId
    kind: str  # group or site
    name: str


@dataclass(frozen=True, slots=True)
class NewProfile:
    """A shared login; its id is made first, since it is sealed for it."""

    tenant_id: TenantId
    profile_id: UUID
    name: str
    login: DeviceLogin
    trust: Trust | None = None


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A device that is new, and how long after the act it runs first."""

    device: NewDevice
    login: DeviceLogin | None
    first_after: timedelta


@dataclass(frozen=True, slots=True)
class Act:
    """One act on a device that is here, decided over its record; None: nothing to do."""

    device_id: DeviceId
    decide: Callable[[DeviceRecord], Update | None]


@dataclass(frozen=True, slots=True)
class Orders:
    """All of one transaction, in this order. `about`: the audit row of the whole, of each tenant."""

    action: str
    about: Mapping[TenantId, Mapping[str, Any]]
    profiles: tuple[NewProfile, ...] = ()
    scopes: tuple[NewScope, ...] = ()
    acts: tuple[Act, ...] = ()
    # Devices whose address another one is to have: they leave it before anything else is done.
    displaced: frozenset[DeviceId] = frozenset()
    added: tuple[Enrolment, ...] = ()


@dataclass(frozen=True, slots=True)
class CarriedOut:
    """What was done."""

    added: int = 0
    changed: frozenset[DeviceId] = frozenset()
    rescheduled: Rescheduled | None = None  # those whose timetable became another


@dataclass(frozen=True, slots=True)
class Candidate:
    """A device as it may be chosen by."""

    device_id: DeviceId
    name: str
    host: str
    port: int
    status: str
    blocked: str | None
    group: str | None = None
    site: str | None = None
    profile: str | None = None  # that is used, also if a scope names it
    jump: str | None = None
    source: str | None = None
    driver: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
