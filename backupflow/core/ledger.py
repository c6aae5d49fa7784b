"""The values that pass between flows and the ledger of collections."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from backupflow.core.model import EndMark, LoginOn, SecretsPolicy, Trigger
from backupflow.core.suspicion import NOTHING, Known

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from backupflow.core.jump import JumpHost, JumpTrouble
    from backupflow.core.model import (
        Claim,
        CollectionId,
        DeviceId,
        HostKey,
        SealedConfig,
        SealedSecret,
        Seq,
        State,
        Target,
        TenantId,
        Trust,
    )
    from backupflow.core.suspicion import Observed


LOG_KEPT = "kept"  # what came of asking a router for its log of edits
COLLECTING = "collecting"  # scope of an alarm: ours is down, as the collectors see it


class Stored(StrEnum):
    """What became of one message."""

    STORED = "stored"
    ALREADY = "already_stored"  # a duplicate of what is stored: acknowledged, nothing written
    # Below the device's kept_from_seq, of a row that was taken away since it said nothing more, or of a removed tenant:
    # acknowledged, nothing written.
    EXPIRED = "expired"
    UNKNOWN = "unknown_collection"
    FOREIGN = "other_owner"  # tenant, device or seq are not those of the row
    OTHER_DIGEST = "other_digest"
    WRONG_STATE = "wrong_state"  # the row never reached the fence, or ended without it
    RETIRED = "retired_key_version"  # the vault does not open any more what is sealed under that version

    @property
    def acceptable(self) -> bool:
        """Whether the message is done with; otherwise it goes into quarantine."""
        return self in {Stored.STORED, Stored.ALREADY, Stored.EXPIRED}


@dataclass(frozen=True, slots=True)
class Assignment:
    """All that a collector needs for a collection that it has just started; the fence is (collection_id, holder)."""

    collection_id: CollectionId
    holder: str
    tenant_id: TenantId
    device_id: DeviceId
    device_name: str
    seq: Seq
    driver: str
    target: Target
    trust: Trust
    username: str  # of a scan the login may be missing: it sends none
    login_id: UUID | None
    sealed_login: SealedSecret | None
    login_context: UUID | None
    sealed_pepper: SealedSecret
    remembered_command: str | None
    failures: int
    losses: int
    secrets: SecretsPolicy = SecretsPolicy.COLLECT
    asks_end_mark: bool = True
    end_mark: EndMark = EndMark.UNTRIED
    known: Known = NOTHING  # what is known of this router
    login_changed_at: datetime | None = None
    trigger: Trigger = Trigger.SCHEDULE
    jump_host: JumpHost | None = None  # that it is reached through
    login_on: LoginOn = LoginOn.CURRENT  # which of two, while they are rotated
    login_shared: bool = False  # of a profile that others use too
    login_rotates: bool = False  # there are two, see core.rotation
    asks_who: bool = False  # for the router's log of edits too

    @property
    def via_id(self) -> UUID | None:
        """The jump host on the way."""
        return self.jump_host.jump_host_id if self.jump_host else None


class Kind(StrEnum):
    """What somebody asks for."""

    BACKUP = "backup"
    TEST = "test"
    SCAN = "scan"

    @property
    def trigger(self) -> Trigger:
        """Of the collection that answers it."""
        return Trigger.MANUAL if self is Kind.BACKUP else Trigger(self)

    def asked(self, *, forced: bool) -> Trigger:
        """The same, of a request that may be one by force."""
        return Trigger.FORCED if forced and self is Kind.BACKUP else self.trigger

    def is_met_by(self, trigger: Trigger) -> bool:
        """Whether a collection that is open already does what is asked for."""
        return trigger.observes if self is Kind.BACKUP else trigger is self.trigger


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a test or a scan looked at; `well` is None if it did not come to it."""

    name: str  # see core.report.Stage
    well: bool | None
    says: str = ""
    code: str = ""  # why it is not well
    facts: Mapping[str, str | int] = field(default_factory=dict)  # the same for a program


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A claim that ended before any connection was made."""

    reason: str


@dataclass(frozen=True, slots=True)
class Published:
    """What a collector knows when it passes the fence, or puts an export aside."""

    observed: Observed
    digest: bytes  # of the sealed text
    command: str  # to begin with next time
    exit_status: int | None
    raw_bytes: int
    host_key: HostKey  # that the router proved to have
    modern_ssh: bool  # nothing but modern algorithms was agreed on
    end_mark: EndMark = EndMark.UNTRIED
    who: str = ""  # what came of asking for its log of edits: LOG_KEPT, or why there is none; empty: it was not asked
    log: SealedConfig | None = None  # that log, see core.edits


@dataclass(frozen=True, slots=True)
class KeptAside:
    """A whole export that may not become the current one: sealed, to be looked at, never promoted."""

    published: Published
    sealed: SealedConfig


@dataclass(frozen=True, slots=True)
class Ending:
    """How a collection ends, and what follows for its device."""

    state: State
    code: str
    detail: str = ""
    counts: bool = False
    blocks: bool = False
    again_in: timedelta | None = None
    slow: bool = False  # the device is known to be slow from now on: its next ones run in a lane of their own
    offered: HostKey | None = None  # a key that was not the pinned one, kept to be shown
    scanned: HostKey | None = None  # a key that was only looked at: the pinned one is seen again, another one offered
    pauses: bool = False  # it counts among what ended in a row through no fault of the device
    aside: KeptAside | None = None  # what was read, if it is to be kept
    alarm: str = ""  # the scope of an alarm that it raises, with its code; a block raises one by itself
    jump_trouble: JumpTrouble | None = None  # it is its jump host's failure
    report: tuple[Step, ...] = ()  # what a test or a scan found


@dataclass(frozen=True, slots=True)
class Limits:
    """What one claim may take."""

    window_factor: int = 3  # claimed rows of a lane <= this * its slots
    max_total: int = 0  # claimed and running rows together; 0: no limit
    emit_again_after: timedelta = timedelta(seconds=60)
    process_alive: timedelta = timedelta(seconds=30)  # a heartbeat older than this has no slots
    batch: int = 1000
    may_claim: bool = True  # False: ours is down, only housekeeping is done


@dataclass(frozen=True, slots=True)
class Claimed:
    """What one claim transaction decided; emitted after its commit."""

    new: tuple[Claim, ...] = ()
    again: tuple[Claim, ...] = ()
    lost: int = 0
    withdrawn: int = 0
    jobs: tuple[str, ...] = field(default=())
    tells: bool = False  # something is to be told
    skipped_offline: int = 0  # due, and not claimed since a poller says that they are away; no rows
