"""What stands above devices: shared logins, groups, sites, tenants, jump hosts; as they stand, and what is wanted."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from backupflow.core.inventory import DIRECT
from backupflow.errors import Conflict, InputInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from backupflow.core.inventory import DeviceLogin, SeenKey
    from backupflow.core.model import ExpectedKey, JumpHostId, TenantId, TrustedHow
    from backupflow.core.rescheduling import Rescheduled
    from backupflow.core.rotation import Act, Rotation

NEVER = datetime.min.replace(tzinfo=UTC)
LONGEST_NAME = 100
LONGEST_REASON = 200


class ScopeKind(StrEnum):
    """Of what stands above devices. `word` is what a person calls it, `setting_place` what core.scope does."""

    PROFILE = "credential_profile"
    GROUP = "group"
    SITE = "site"
    TENANT = "tenant"
    JUMP_HOST = "jump_host"

    @property
    def word(self) -> str:
        """In words."""
        return self.value.replace("_", " ")

    @property
    def setting_place(self) -> str:
        """As `core.scope.checked_for` knows it."""
        return "profile" if self is ScopeKind.PROFILE else self.value


@dataclass(frozen=True, slots=True)
class NewScope:
    """What is to be made; of what its kind has not, nothing is said. Its id is made first: a login is sealed for it."""

    kind: ScopeKind
    tenant_id: TenantId
    scope_id: UUID
    name: str
    settings: Mapping[str, Any]
    profile: str | None = None
    jump: str | None = None  # a name, or DIRECT for a group
    host: str = ""
    port: int = 22
    login: DeviceLogin | None = None
    expected: tuple[ExpectedKey, ...] = ()


@dataclass(frozen=True, slots=True)
class ScopeRecord:
    """A group, a site or a tenant. `profile`, `jump` are names, `devices` how many belong to it."""

    kind: ScopeKind
    scope_id: UUID
    tenant_id: TenantId
    name: str
    settings: Mapping[str, Any]
    profile: str | None
    jump: str | None
    direct: bool
    devices: int
    maintenance_until: datetime | None = None  # also one that is over
    now: datetime = NEVER  # PostgreSQL's


@dataclass(frozen=True, slots=True)
class ProfileRecord:
    """A shared login, never its secret. `uses`: through what (device, group, site, tenant) -> how many devices use it.

    `named_by` are those that name it, in words, whether it is used through them or not.
    """

    profile_id: UUID
    tenant_id: TenantId
    name: str
    username: str
    method: str  # password or key
    settings: Mapping[str, Any]
    suspended_at: datetime | None
    suspended_reason: str | None
    changed_at: datetime
    uses: Mapping[str, int]
    named_by: tuple[str, ...]
    refused: int  # devices that are blocked since it was refused
    trial_at: datetime | None = None  # suspended since many devices refused it: when one tries it again
    trials: int = 0
    waiting: int = 0  # devices that are due, and would be collected if it were not suspended
    rotation: Rotation | None = None  # what is to take its place, if anything is
    taken: bool = False  # devices took it as it is now

    @property
    def scope_id(self) -> UUID:
        """Its id, as any scope has one."""
        return self.profile_id

    @property
    def devices(self) -> int:
        """How many devices use it."""
        return sum(self.uses.values())


@dataclass(frozen=True, slots=True)
class HopRecord:
    """A jump host as it stands; `now` is PostgreSQL's.

    `named_by` as above; `behind`: devices that are reached through it, `waiting`: those of them that are due and have
    nothing of their own in the way; `alarm`: what its alarm says; `login_suspended_at`, `login_suspended_reason`: its
    login is sent nowhere, `by_key`: that is a key.
    """

    jump_host_id: JumpHostId
    tenant_id: TenantId
    name: str
    host: str
    port: int
    profile: str | None
    settings: Mapping[str, Any]
    failures: int
    down_since: datetime | None
    retry_at: datetime | None
    blocked_code: str | None
    blocked_detail: str | None
    blocked_at: datetime | None
    reached_at: datetime | None
    keys: tuple[SeenKey, ...]
    expected: tuple[ExpectedKey, ...]
    behind: int
    waiting: int
    named_by: tuple[str, ...]
    now: datetime
    alarm: str | None = None
    login_suspended_at: datetime | None = None  # not while devices try it in turns: then it is passed, too
    login_suspended_reason: str | None = None
    by_key: bool = False

    @property
    def scope_id(self) -> UUID:
        """Its id, as any scope has one."""
        return self.jump_host_id

    @property
    def pinned(self) -> SeenKey | None:
        """The key that is trusted."""
        return next((key for key in self.keys if key.status == "pinned"), None)

    @property
    def offered(self) -> tuple[SeenKey, ...]:
        """The keys that were offered instead, the newest first."""
        return tuple(key for key in self.keys if key.status == "offered")

    @property
    def in_trouble(self) -> bool:
        """Its devices wait for it, since something was met there."""
        return self.blocked_code is not None or self.down_since is not None or self.failures > 0

    @property
    def holds_up(self) -> bool:
        """Its devices wait for it, or for its login."""
        return self.in_trouble or self.login_suspended_at is not None


Record = ScopeRecord | ProfileRecord | HopRecord


@dataclass(frozen=True, slots=True)
class ScopeUpdate:
    """What an act changes, all in one transaction with its audit row; None stays, `""` is none any more.

    `ends_refusals`: the login is another one, so whoever was blocked since it was refused is tried again, devices and
    jump hosts. `ends_trouble`: a jump host is tried anew, at once.
    """

    action: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)
    profile: str | None = None
    jump: str | None = None  # a name, or DIRECT for a group
    login: DeviceLogin | None = None
    retires: tuple[int, ...] = ()  # numbers of host keys
    pins: int | None = None
    how: TrustedHow | None = None  # the key of `pins` comes to be trusted, or, if there is none, the pinned is known
    expects: tuple[ExpectedKey, ...] | None = None
    ends_trouble: bool = False
    ends_refusals: bool = False
    removes: bool = False
    rotates_to: DeviceLogin | None = None  # what is to take the place of the login, see core.rotation
    ends_rotation: Act | None = None


class Expected(NamedTuple):
    """Devices that are collected soon since their login is another one; `held` of them not before `held_until`."""

    now: datetime
    devices: int
    by: datetime  # all but those that are held
    held: int = 0
    held_until: datetime | None = None


class Acted(NamedTuple):
    """What an act did. Of what was removed: as it was before. `rescheduled`: devices that run at other times now."""

    record: Record
    changed: bool
    rescheduled: Rescheduled | None = None
    expected: Expected | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What of a group, a site, a tenant or a jump host is to be another; None stays, `""` is none any more."""

    name: str | None = None
    settings: Mapping[str, Any] | None = None
    unset: tuple[str, ...] = ()
    profile: str | None = None
    jump: str | None = None
    host: str | None = None
    port: int | None = None
    new_host: bool = False  # another machine answers there now
    fingerprint: str | None = None


def name_taken(what: str, name: str) -> Conflict:
    """That another of its kind has this name; `what`: the kind, in a word."""
    return Conflict(f"a {what} named {name} is there already")


def checked_scope_name(kind: ScopeKind, name: str) -> str:
    """A name that any terminal, file and table can bear; InputInvalid otherwise."""
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable() or name != name.strip() or name.startswith("-"):
        raise InputInvalid(
            f"the name of a {kind.word} has 1 to {LONGEST_NAME} characters, no control character, no blank at its "
            "ends, no - before it"
        )
    if kind is ScopeKind.JUMP_HOST and name == DIRECT:
        raise InputInvalid(f"{DIRECT} is no name of a jump host: it says that there is none")
    return name
