"""Versions of a tenant's keys, what is sealed under which of them, and what a loss of them means: values, decisions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from backupflow.core.model import Purpose, Sealed, SealedConfig, SealedSecret, key_version

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from backupflow.core.model import TenantId

KEYS_LOST = "keys_lost"  # why a login is suspended
KEY_MADE = "key_made"  # action in the audit: a renewal has made a key, its detail has the mark
LOGIN_LOST = "login suspended: its keys were lost; set it with device edit"  # in words
# So long a message may still come of what was given up as lost: its worker stood still between fence and publish.
LATE_MESSAGES = timedelta(minutes=10)


class Held(StrEnum):
    """Where a sealed text lies, in the order in which they are moved: what is asked for most first."""

    PEPPER = "pepper"
    LOGIN = "login"
    NEXT_LOGIN = "next login"  # of a profile that is being rotated
    ASIDE = "aside"
    EVENT = "event"
    OUTBOX = "outbox"
    CHANGES = "changes"
    DIFF = "diff"
    LOG = "log"  # of a router, of who changed it
    CONTENT = "content"

    @property
    def purpose(self) -> Purpose:
        """Of the key that it is sealed under."""
        return {
            Held.PEPPER: Purpose.PEPPER,
            Held.LOGIN: Purpose.CREDENTIALS,
            Held.NEXT_LOGIN: Purpose.CREDENTIALS,
        }.get(self, Purpose.DATA)

    @property
    def sealed_as(self) -> type[Sealed]:
        """The class of its text."""
        return SealedConfig if self.purpose is Purpose.DATA else SealedSecret


@dataclass(frozen=True, slots=True)
class KeyVersions:
    """A key as the vault has it; `as_made`: of the kind that this program makes, so that it may be used."""

    newest: int
    oldest_opened: int  # min_decryption_version
    as_made: bool


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key as the database knows it; `marked_at`: nothing that began since then has anything older in hand."""

    mark: str
    marked_at: datetime
    made_at: datetime
    oldest_version: int  # what is sealed under an older one is not taken in any more

    @property
    def version(self) -> int:
        """Of the canary."""
        return key_version(self.mark)


@dataclass(frozen=True, slots=True)
class Item:
    """A sealed text in its row. `given_up`: with keys that were lost, nobody expects that it can be moved."""

    held: Held
    key: int | UUID
    context: UUID
    sealed: str
    name: str  # for a person
    given_up: bool


@dataclass(frozen=True, slots=True)
class Stock:
    """How many texts of one kind are sealed under one version; None: no sealed text at all."""

    held: Held
    version: int | None
    given_up: bool
    count: int


class Loss(StrEnum):
    """What is wrong with a key, so that it counts as lost."""

    GONE = "the vault has no such key"
    OTHER = "the vault has another key under its name"
    PEPPER = "it answers, but the tenant's pepper does not open with it: its row was altered"
    OLDER = "the vault has an older one, without the version of its canary: is there a newer backup of the vault?"


def loss(key: KeyVersions | None, marked: int, *, answers: bool) -> Loss | None:
    """Whether a key is lost: None if it answers its canary, which is of the version `marked`.

    What rows say of their versions counts for nothing: one that was altered would be a reason to give up all.
    """
    if key is None:
        return Loss.GONE
    if key.newest < marked:
        return Loss.OLDER
    return None if answers else Loss.OTHER


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a renewal writes, all of it in one transaction, if the canaries are still `before`."""

    tenant_id: TenantId
    lost: Mapping[Purpose, Loss]
    before: Mapping[Purpose, str]  # the canaries of what was lost
    marks: Mapping[Purpose, str]  # of what is used instead
    pepper: SealedSecret | None  # None: the old one stays
    logins_above: int | None  # those under newer versions are gone; 0: all, None: none

    @property
    def gives_up_snapshots(self) -> bool:
        """Whether nothing that was read until now is expected to open."""
        return Purpose.DATA in self.lost


@dataclass(frozen=True, slots=True)
class Renewed:
    """What came of it: how many devices have what cannot be opened any more, and how many logins are to be set."""

    lost: Mapping[Purpose, Loss]
    devices: int
    logins: int


@dataclass(frozen=True, slots=True)
class Unmoved:
    """A sealed text that could not be moved, and was left as it is."""

    name: str
    why: str


@dataclass(slots=True)
class Rewrapped:
    """What rewrapping did, and why older versions are not retired yet, in words; `retired`: below which version."""

    moved: int = 0
    given_up: int = 0
    unmoved: list[Unmoved] = field(default_factory=list)
    holds: list[str] = field(default_factory=list)
    retired: dict[Purpose, int] = field(default_factory=dict)
