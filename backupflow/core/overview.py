"""The install at one look, as values: how each device stands, what was asked for, which alarms stand, who is alive."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from backupflow.core.jump import JUMP_HOST_BLOCKED, JUMP_HOST_DOWN
from backupflow.core.model import LoginOn, State
from backupflow.errors import AuthenticationFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from backupflow.core.capacity import Load
    from backupflow.core.escrow import Escrow
    from backupflow.core.ledger import Step
    from backupflow.core.model import ContentHash, DeviceId, TenantId
    from backupflow.core.next_step import Turn

LATE = timedelta(minutes=15)  # at the least; a tenth of the interval if that is more (I9)
ALIVE = timedelta(seconds=30)  # a heartbeat comes every 5 s
JOB_LATE = "job_late"  # code of an alarm
BACKUP_OLD = timedelta(days=7)  # of the system
SOON = timedelta(minutes=1)  # what failed at a jump host is due again by then (core.backoff)
BEAT_SILENT = timedelta(seconds=10)
LONGEST_HOLD = timedelta(hours=2)  # a firewall's hold that lies farther ahead is of a clock that stood wrong
OPEN = frozenset({State.CLAIMED, State.RUNNING, State.PUBLISHED})
AT_JUMP_HOST = frozenset({JUMP_HOST_DOWN, JUMP_HOST_BLOCKED})  # codes of collections that came no farther
GOOD = frozenset({State.STORED, State.PUBLISHED, State.TESTED})


class Standing(StrEnum):
    """How a device stands; of several the first that holds."""

    REMOVED = "removed"
    PAUSED = "paused"
    BLOCKED = "blocked"
    NO_LOGIN = "no login"
    SUSPENDED = "suspended"
    REFUSED = "login refused"  # by many: it waits until one of them takes it again
    MAINTENANCE = "maintenance"
    OFFLINE = "offline"  # it, or all of its site
    AT_JUMP_HOST = "waiting for jump host"  # which has a line of its own
    OVERDUE = "overdue"
    FAILING = "failing"
    WAITING = "waiting"  # for its first snapshot
    OK = "ok"

    @property
    def needs_somebody(self) -> bool:
        """Whether an operator should look."""
        return self not in _AT_REST


_AT_REST = frozenset(
    {
        Standing.OK,
        Standing.WAITING,
        Standing.AT_JUMP_HOST,
        Standing.MAINTENANCE,
        Standing.PAUSED,
        Standing.REMOVED,
    }
)
_OF_HINDRANCE = {"no login": Standing.NO_LOGIN, "login refused": Standing.REFUSED}
# What is told by the fields of its own; the rest of what is in the way keeps it from being collected for good.
_AROUND = frozenset({"maintenance", "site down"})
_STATUS = "status"  # the queue of a process that only looks whether devices answer


@dataclass(frozen=True, slots=True)
class LastCollection:
    """The newest collection of a device, however it ended."""

    seq: int
    state: State
    code: str | None
    detail: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What decides how a device stands."""

    tenant_id: TenantId
    device_id: DeviceId
    name: str
    host: str
    port: int
    status: str
    hindrance: str | None  # why it is not claimed, in words
    blocked_code: str | None
    failures: int
    interval: timedelta
    next_due_at: datetime | None
    claimed_at: datetime | None  # of a claim that nobody has started
    last: LastCollection | None
    current_at: datetime | None
    snapshots: int
    facts: Mapping[str, Any] = field(default_factory=dict)  # what its current export says of it
    waits_for: UUID | None = None  # the jump host in its way, if nothing of its own is
    driver: str = ""
    source: str | None = None
    group: str | None = None
    site: str | None = None
    profile: str | None = None  # whose login it uses; None: its own, or none
    jump: str | None = None  # the jump host on its way
    by_key: bool = False
    paused_reason: str | None = None
    site_id: UUID | None = None
    site_down_since: datetime | None = None
    maintenance_until: datetime | None = None  # of whichever scope says so for longest
    answered_at: datetime | None = None  # when it last said anything at all
    unreachable_since: datetime | None = None
    offline_since: datetime | None = None  # a poller's word keeps it from being asked
    flapping_since: datetime | None = None  # it changes without end, and is collected once a day
    hold_until: datetime | None = None  # its firewall might ban us: nothing that comes by itself connects before
    other_login_next: bool = False  # it refused one of two, and the other one has its turn within minutes
    login_on: LoginOn = LoginOn.CURRENT  # which of two took it last, while they are rotated
    seconds: float | None = None  # that its last session took
    unreadable: bool = False  # nobody can open its current configuration: its keys were lost, or it is damaged

    @property
    def blocked(self) -> str | None:
        """As core.choosing knows it."""
        return self.blocked_code

    def waits(self, now: datetime) -> bool:
        """Whether it would be collected by now if its jump host could be passed."""
        return self.waits_for is not None and self.next_due_at is not None and self.next_due_at <= now + SOON

    def overdue(self, now: datetime) -> bool:
        """Due, or claimed and not begun, for longer than may be; what waits for its jump host is not late itself."""
        if self.waits_for is not None:
            return False
        since = self.claimed_at or self.next_due_at
        if since is None:
            return False
        if self.maintenance_until is not None:  # or was: what fell due meanwhile is late from its end on
            since = max(since, self.maintenance_until)
        if self.claimed_at is None and self.kept_away(now) and self.hold_until is not None:  # or was: as above
            since = max(since, self.hold_until)
        return now - since > self.tolerance

    @property
    def tolerance(self) -> timedelta:
        """How much later than its due time is no delay yet (I9)."""
        return max(LATE, self.interval / 10)

    def held(self, now: datetime) -> bool:
        """Whether we keep away for fear of its firewall; a time too far ahead is of a clock that was set right."""
        return self.hold_until is not None and now < self.hold_until <= now + LONGEST_HOLD

    def kept_away(self, now: datetime) -> bool:
        """Whether it is held, or was so lately that nothing of it can be expected yet."""
        return self.held(now) or (self.hold_until is not None and now - self.tolerance <= self.hold_until <= now)

    def due_at(self, now: datetime) -> datetime | None:
        """When it is collected next by itself; not before the end of what it is held for."""
        if self.next_due_at is None or self.hold_until is None or not self.held(now):
            return self.next_due_at
        return max(self.next_due_at, self.hold_until)

    def in_maintenance(self, now: datetime) -> bool:
        """Whether nothing of it is collected by itself, and nobody is to be told."""
        return self.maintenance_until is not None and self.maintenance_until > now

    @property
    def away_since(self) -> datetime | None:
        """Since when it, or all of its site, does not answer or is said to be off; None: it is there."""
        times = (self.site_down_since, self.unreachable_since, self.offline_since)
        return min(filter(None, times), default=None)

    def fresh(self, now: datetime) -> bool:
        """Whether its newest observation, changed or not, is no older than its interval and what is no delay.

        What nobody can open is nothing that anybody has.
        """
        if self.unreadable or self.current_at is None:
            return False
        return now - self.current_at <= self.interval + self.tolerance

    def stands(self, now: datetime) -> str:
        """How it stands, in words: of a paused one also why, as far as somebody said so."""
        standing = self.standing(now)
        if standing is Standing.PAUSED and self.paused_reason:
            return f"{standing}: {self.paused_reason}"
        if standing in {Standing.OK, Standing.WAITING} and self.has_turn:
            return f"{standing}: {self.has_turn}"
        return standing

    @property
    def has_turn(self) -> str | None:
        """Which of two logins is sent next, where the other one was refused a moment ago; that is no failure yet."""
        if not self.other_login_next or self.last is None or self.last.code != AuthenticationFailed.code:
            return None
        return f"the {'new' if self.login_on is LoginOn.NEXT else 'old'} login has its turn"

    def standing(self, now: datetime) -> Standing:
        """How it stands."""
        if self.status != "active":
            return Standing(self.status)
        if self.blocked_code:
            return Standing.BLOCKED
        kind = (self.hindrance or "").partition(": ")[0]
        if kind and kind not in _AROUND and self.waits_for is None:
            return _OF_HINDRANCE.get(kind, Standing.SUSPENDED)
        return self._standing_by_itself(now)

    def _standing_by_itself(self, now: datetime) -> Standing:
        if self.in_maintenance(now):
            return Standing.MAINTENANCE
        if self.away_since is not None:
            return Standing.OFFLINE
        if self.waits(now):
            return Standing.AT_JUMP_HOST
        if self.overdue(now):
            return Standing.OVERDUE
        if self._failing:
            return Standing.FAILING
        return Standing.OK if self.current_at else Standing.WAITING

    @property
    def _failing(self) -> bool:
        if self.last is None or self.last.state in GOOD | OPEN | {State.WITHDRAWN} or self.has_turn:
            return False
        return self.last.code not in AT_JUMP_HOST


@dataclass(frozen=True, slots=True)
class JumpHostState:
    """How a jump host stands; `waiting`: the devices behind it that are due, with nothing of their own in the way."""

    jump_host_id: UUID
    name: str
    hindrance: str | None  # of its login: none, or suspended
    down_since: datetime | None
    retry_at: datetime | None
    blocked_code: str | None
    blocked_detail: str | None
    reached_at: datetime | None
    waiting: int

    @property
    def in_trouble(self) -> bool:
        """Whether its devices wait for it."""
        return self.hindrance is not None or self.blocked_code is not None or self.down_since is not None


@dataclass(frozen=True, slots=True)
class SiteState:
    """How a site stands."""

    site_id: UUID
    name: str
    down_since: datetime | None
    probe_at: datetime | None  # when one of its devices is asked next
    maintenance_until: datetime | None


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many sessions at a time a scope allows with all of its devices together."""

    kind: str  # group, site or tenant
    tenant_id: UUID
    name: str
    most: int


@dataclass(frozen=True, slots=True)
class LoginState:
    """How a login stands that devices share."""

    profile_id: UUID
    name: str
    suspended_at: datetime | None
    suspended_reason: str | None
    trial_at: datetime | None  # suspended since many refused it: when one device tries it again
    trials: int
    next_changed_at: datetime | None  # it is being rotated since
    taken: bool = False  # devices took it as it is now: where it is refused, the router is to be changed, not it
    by_key: bool = False


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that is, or was, wrong."""

    number: int
    code: str
    scope: str
    detail: str
    since: datetime
    cleared_at: datetime | None


@dataclass(frozen=True, slots=True)
class LivingProcess:
    """A process that says that it lives, or did."""

    process_id: UUID
    role: str
    host: str
    pid: int
    slots: Mapping[str, int]
    started_at: datetime
    heartbeat_at: datetime
    queues: Sequence[str] = ()
    worked_at: datetime | None = None  # when it last began a task (a beat: ended a tick), or could not

    @property
    def kind(self) -> str:
        """Its role; but who only looks whether devices answer has a collector's, and collects nothing."""
        return _STATUS if tuple(self.queues) == (_STATUS,) else self.role

    def alive(self, now: datetime) -> bool:
        """Whether it was heard lately."""
        return now - self.heartbeat_at < ALIVE


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Keys of a tenant that were lost and given up: of so many devices there are snapshots that nobody can open."""

    at: datetime
    devices: int
    logins: int  # that wait to be set again


@dataclass(frozen=True, slots=True)
class Job:
    """Periodic work; `completed_at`: when all of it was done last."""

    name: str
    due_at: datetime
    completed_at: datetime | None
    finished_at: datetime | None  # a part of it, or a try
    outcome: str | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """Changes that were stored longer ago than LATE, and of which nobody knows yet what they are."""

    changes: int
    oldest_at: datetime  # when it was stored


@dataclass(frozen=True, slots=True)
class Copies:
    """What there is beside the install itself: when the newest backup of the system was made, None: never.

    `installed_at` is when its first tenant was made.
    """

    now: datetime
    installed_at: datetime
    backup_at: datetime | None
    escrows: tuple[Escrow, ...] = ()

    @property
    def lacks_backup(self) -> bool:
        """Whether there is none that is young enough; what lies in the future is of a clock that stood ahead."""
        return self.backup_at is None or self.now - self.backup_at > BACKUP_OLD

    @property
    def backup_overdue(self) -> bool:
        """The same of an install that was there for long enough to have one."""
        return self.lacks_backup and self.now - self.installed_at > BACKUP_OLD

    @property
    def late(self) -> list[Escrow]:
        """The escrows of which there should be a younger file."""
        return [escrow for escrow in self.escrows if escrow.is_late]


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything at one moment, PostgreSQL's `now`."""

    now: datetime
    devices: tuple[DeviceState, ...]
    alarms: tuple[Alarm, ...]
    processes: tuple[LivingProcess, ...]
    given_up: tuple[GivenUp, ...] = ()
    jobs: tuple[Job, ...] = ()
    jump_hosts: tuple[JumpHostState, ...] = ()
    sites: tuple[SiteState, ...] = ()
    logins: tuple[LoginState, ...] = ()
    running: int = 0  # sessions at this moment
    load: Load | None = None
    concurrency: tuple[Concurrency, ...] = ()
    backlog: Backlog | None = None
    copies: Copies | None = None

    @property
    def slots(self) -> int:
        """How many sessions at a time the workers that live can hold."""
        return sum(sum(process.slots.values()) for process in self.processes if process.alive(self.now))

    @property
    def round(self) -> timedelta | None:
        """How long all devices that are collected would take once, in all slots, by the mean of the last sessions.

        None if nothing was collected yet, or nobody is there to do it.
        """
        if self.load is None or self.load.session is None or not self.slots:
            return None
        taken = sum(one.status == "active" and one.blocked_code is None for one in self.devices)
        return self.load.session * taken / self.slots

    @property
    def beat_silent_for(self) -> timedelta | None:
        """How long no scheduler was heard; None if there never was one."""
        heard = [process.heartbeat_at for process in self.processes if process.role == "scheduler"]
        return max(self.now - max(heard), timedelta(0)) if heard else None


@dataclass(frozen=True, slots=True)
class Within:
    """A part of a fleet, by names; all of it if none is given."""

    group: str | None = None
    site: str | None = None


EVERYWHERE = Within()


class Result(StrEnum):
    """What came of something that was asked for."""

    SUCCESS = "success"
    FAILED = "failed"
    LOCKED = "locked"  # nothing was tried: the device is blocked, paused, its login waits, it was met too often


@dataclass(frozen=True, slots=True)
class Asked:
    """A request and what became of it."""

    number: int
    device: str
    answer: str | None
    state: State | None
    code: str | None
    detail: str | None
    is_change: bool | None
    seq: int | None
    seconds: float | None = None  # from its beginning in a worker to its end
    report: tuple[Step, ...] = ()  # of a test or a scan, if it was asked for
    profile: str | None = None  # whose login the device uses; None: its own, or none
    by_key: bool = False
    jump: str | None = None  # the jump host on its way
    run: int | None = None  # the number of its collection
    content_hash: ContentHash | None = None  # of what was stored
    blocked: str | None = None  # why the device is blocked now
    forced: bool = False
    paused_reason: str | None = None  # of a device that is paused now, if somebody gave one
    taken: bool = False  # other devices took its shared login as it is now
    suspended: bool = False  # that login is sent nowhere now
    tried: bool = False  # but by one device at a time, since many refused it
    untold: bool = False  # it is stored, and what changed is not known yet, but soon: an interpreter lives
    turn: Turn | None = None  # it refused one of two logins, and the other one is sent next
    snapshot: int | None = None  # the number of what was stored, as `snapshots` lists it

    @property
    def refused(self) -> bool:
        """Beat would not claim the device."""
        return bool(self.answer and self.answer.startswith("refused"))

    @property
    def ended(self) -> bool:
        """Nothing more will come."""
        return self.refused or (self.state is not None and self.state not in OPEN)

    @property
    def succeeded(self) -> bool:
        """There is a new observation in the history, or all is well that was to be tested."""
        return self.state is State.STORED or (self.state is State.TESTED and not self.code)

    @property
    def result(self) -> Result | None:
        """In a word; None: it has not ended."""
        if not self.ended:
            return None
        if self.succeeded:
            return Result.SUCCESS
        return Result.LOCKED if self.refused or self.state is State.WITHDRAWN else Result.FAILED
