"""A fleet as a file or an inventory wants it, against the fleet as it stands: what is added, changed, missing.

Nothing here is shown with a value of what was read: a column that slipped may hold a password.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from backupflow.errors import AuthenticationFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backupflow.core.model import DeviceId, TenantId

DEFAULT_PORT = 22
IMPORT = "import"  # the source of a device that came from a file


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one row, or one entry of an inventory, says of a device; None: nothing, `""`: that it has none any more.

    `line` says where: a number that no other has.
    """

    name: str
    host: str | None = None
    port: int | None = None
    profile: str | None = None
    group: str | None = None
    site: str | None = None
    jump: str | None = None  # the name of a jump host, or `direct`
    fingerprint: str | None = None  # SHA256:…
    legacy_ssh: bool | None = None
    tenant: str | None = None
    interval: float | None = None  # seconds
    cron: str | None = None  # in place of it
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    line: int = 0
    source: str | None = None  # the inventory that a device which is here belongs to from now on


@dataclass(frozen=True, slots=True)
class WantedProfile:
    """A named login that an inventory brings, with a password or a key; it is made where there is none of its name."""

    name: str
    username: str
    password: str | None = field(default=None, repr=False)
    tenant: str | None = None
    private_key: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something of an inventory that has no meaning here; `says` what, without a secret."""

    where: str
    says: str


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where; never with the value that is wrong."""

    line: int
    column: str | None
    says: str

    def __str__(self) -> str:
        """`line 7, column port: not a port`."""
        return f"line {self.line}{f', column {self.column}' if self.column else ''}: {self.says}"


class Orphans(StrEnum):
    """What becomes of a device that is here and not wanted any more."""

    STAY = "stay"
    REMOVE = "remove"
    PAUSE = "pause"  # those of this source only; they are resumed when they are back


def gone_from(source: str) -> str:
    """Why a device is paused that an inventory does not have any more."""
    return f"gone from {source}"


@dataclass(frozen=True, slots=True)
class Asked:
    """How an import is to be done; `tenant` is that of whoever names none, `source` is written on new devices."""

    tenant: str = "default"
    source: str = IMPORT
    update: bool = False
    orphans: Orphans = Orphans.STAY
    makes_scopes: bool = False  # groups and sites that are named and not there
    partial: bool = False  # what is wrong is left out
    held: frozenset[str] = frozenset()  # names that are not missing though they are not wanted


@dataclass(frozen=True, slots=True)
class ScopeSays:
    """What a scope, or a device itself, says of the way to it; and a scope of the login, by the profile's name."""

    jump: str | None = None
    direct: bool = False
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A device that is here; names of scopes are its own, not inherited. `tenant` is a name."""

    tenant: str
    device_id: DeviceId
    name: str
    host: str
    port: int
    profile: str | None = None
    group: str | None = None
    site: str | None = None
    says: ScopeSays = ScopeSays()
    settings: Mapping[str, Any] = field(default_factory=dict)
    username: str | None = None  # of its own login
    pinned: str | None = None  # fingerprint
    expected: frozenset[str] = frozenset()  # fingerprints
    source: str | None = None
    paused_reason: str | None = None
    status: str = "active"
    blocked: str | None = None  # the code


@dataclass(frozen=True, slots=True)
class TenantScopes:
    """What of a tenant may be named."""

    tenant_id: TenantId
    says: ScopeSays = ScopeSays()
    groups: Mapping[str, ScopeSays] = field(default_factory=dict)
    sites: Mapping[str, ScopeSays] = field(default_factory=dict)
    profiles: frozenset[str] = frozenset()
    jump_hosts: frozenset[str] = frozenset()
    suspended: frozenset[str] = frozenset()  # profiles, by a person


@dataclass(frozen=True, slots=True)
class Fleet:
    """The fleet as it stands, of all tenants that are spoken of."""

    tenants: Mapping[str, TenantScopes]
    devices: tuple[Known, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is another than wanted, in words for a person; of a login never more than that it is one."""

    what: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Changed:
    """A device that is here and wanted differently."""

    known: Known
    wanted: Wanted
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What follows. With problems nothing is done, unless `partial` was asked for: then all but what is wrong."""

    added: tuple[Wanted, ...] = ()
    changed: tuple[Changed, ...] = ()
    differing: tuple[Changed, ...] = ()  # and left, since no update was asked for
    unchanged: tuple[Known, ...] = ()
    missing: tuple[Known, ...] = ()  # here, and not wanted
    gone: tuple[Known, ...] = ()  # those of them that are removed or paused
    back: tuple[Known, ...] = ()  # paused as gone, and wanted again
    comes_to: Mapping[tuple[str, str], int] = field(default_factory=dict)  # (tenant, profile): so many devices more
    makes: tuple[tuple[str, str, str], ...] = ()  # (tenant, `group`, `site` or `profile`, name)
    problems: tuple[Problem, ...] = ()
    remarks: tuple[Problem, ...] = ()  # nothing wrong, but to be known

    @property
    def counts(self) -> dict[str, int]:
        """How many of each."""
        names = ("added", "changed", "differing", "unchanged", "missing", "gone", "back")
        return {name: len(getattr(self, name)) for name in names}

    @property
    def stay_refused(self) -> frozenset[DeviceId]:
        """Devices that get another login and stay blocked since one was refused: only a person ends that."""
        return frozenset(
            change.known.device_id
            for change in self.changed
            if change.known.blocked == AuthenticationFailed.code
            and {"login", "profile"} & {difference.what for difference in change.differences}
        )

    @property
    def changes_anything(self) -> bool:
        """Whether there is something to do."""
        return any((self.added, self.changed, self.gone, self.back, self.makes))

    @property
    def gist(self) -> tuple[object, ...]:
        """What a person agreed to: another one at the moment of the act is another plan."""
        changed = [(change.known.device_id, change.differences) for change in self.changed]
        ids = [[known.device_id for known in devices] for devices in (self.gone, self.back)]
        return [row.line for row in self.added], changed, ids, self.makes, self.problems
