"""The ledger in memory: every port that PostgreSQL answers, by the functions of the core and a few dicts.

It says what the SQL means. tests/integration/db/twin.py lets both answer the same questions and compares them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID

from backupflow.adapters.db.collections import LEASE_GRACE, REPLACED
from backupflow.adapters.db.endings import _unless_answered
from backupflow.adapters.db.meanwhile import Meanwhile
from backupflow.core import backoff, cadence, trust
from backupflow.core.inventory import DeviceLogin, DeviceRecord, SeenKey
from backupflow.core.jump import JumpHost
from backupflow.core.ledger import Assignment, Claimed, Kind, Stored, Withdrawn
from backupflow.core.model import (
    Claim,
    CollectionId,
    DeviceId,
    EndMark,
    HostKey,
    JumpHostId,
    Lane,
    Purpose,
    SealedConfig,
    SealedSecret,
    Seq,
    State,
    Target,
    TenantId,
    Trigger,
    TrustedHow,
)
from backupflow.core.scope import LONGEST_SESSION, Policy
from backupflow.core.sequence import Observation, place
from backupflow.core.storing import ContentKey, Fenced, Holder, Standing, content_key, judge, observation_of
from backupflow.core.suspicion import Known
from backupflow.errors import HostKeyMismatch, HostKeyUnapproved, LeaseLost, LoginSuspended
from tests.unit.flows.picture import DevicePicture, HopPicture, Picture, RowPicture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from backupflow.core.inventory import Update
    from backupflow.core.jump import JumpTrouble
    from backupflow.core.ledger import Ending, Limits, Published
    from backupflow.core.message import SnapshotMessage

TENANT = TenantId(UUID(int=1))
PEPPER = SealedSecret("vault:v1:cGVwcGVy")
LOGIN = SealedSecret("vault:v1:bG9naW4=")
POLICY = Policy(end_mark=False)
MARKS = {(TENANT, purpose): f"mark of {purpose}" for purpose in Purpose}
OPEN = {State.CLAIMED, State.RUNNING}
HOP = JumpHostId(UUID(int=99))
MINUTE = timedelta(minutes=1)


class Clock:
    """The database's clock."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """What it shows."""
        return self.now


@dataclass
class Hop:
    """A jump host's row, and its host key; its login is never another one."""

    changed_at: datetime
    pinned: HostKey | None = None
    failures: int = 0
    down_since: datetime | None = None
    retry_at: datetime | None = None
    blocked_code: str | None = None
    reached_at: datetime | None = None

    @property
    def in_trouble(self) -> bool:
        """Whether its devices wait for it."""
        return self.failures > 0 or self.down_since is not None

    @property
    def one_at_a_time(self) -> bool:
        """Whether one session at a time may try it."""
        return self.in_trouble or self.reached_at is None

    def hindrance(self, now: datetime) -> str | None:
        """What keeps it from being tried."""
        if self.blocked_code:
            return "jump host blocked: hop"
        return "jump host down: hop" if self.is_left_alone(now) else None

    def is_left_alone(self, now: datetime) -> bool:
        """For a while."""
        return self.retry_at is not None and now < self.retry_at <= now + 120 * MINUTE

    @property
    def picture(self) -> HopPicture:
        """What its row says."""
        pinned = self.pinned.blob if self.pinned else None
        times = (self.down_since, self.retry_at)
        return HopPicture(self.failures, *times, self.blocked_code, self.reached_at, pinned)

    @property
    def assigned(self) -> JumpHost:
        """As a collection is told of it."""
        target = Target("hop", 22, self.pinned, POLICY.legacy_ssh, POLICY.timeouts)
        login = (UUID(int=0), LOGIN, self.changed_at)
        return JumpHost(HOP, "hop", target, POLICY.trust, "backup", *login, self.failures, self.reached_at is not None)


@dataclass
class Device:
    """A device's row, its login and its host keys; fields are named as the columns are."""

    id: DeviceId
    name: str
    anchor_at: datetime
    next_due_at: datetime | None
    status: str = "active"
    host: str = ""
    port: int = 22
    lane: Lane = Lane.NORMAL
    settings: dict[str, Any] = field(default_factory=dict)
    blocked_code: str | None = None
    blocked_detail: str | None = None
    blocked_at: datetime | None = None
    failures: int = 0
    losses: int = 0
    remembered_command: str | None = None
    router_since_seq: int = 0
    end_mark: EndMark = EndMark.UNTRIED
    believe_seq: int = 0
    modern_ssh_at: datetime | None = None
    last_seq: int = 0
    kept_from_seq: int = 0
    current_seq: int = 0
    login_number: int = 0
    login: SealedSecret = LOGIN
    login_changed_at: datetime | None = None
    keys: list[SeenKey] = field(default_factory=list)
    hop: Hop | None = None

    @property
    def pinned(self) -> HostKey | None:
        """The key that is trusted."""
        return next((one.key for one in self.keys if one.status == "pinned"), None)

    def own_hindrance(self, trigger: Trigger) -> str | None:
        """What keeps it from being collected, tested or scanned."""
        if self.status == "removed" or (self.status != "active" and trigger.observes):
            return self.status
        return f"blocked: {self.blocked_code}" if self.blocked_code and trigger is not Trigger.SCAN else None

    def hindrance(self, trigger: Trigger, now: datetime) -> str | None:
        """The same, and what keeps its jump host from being tried."""
        return self.own_hindrance(trigger) or (self.hop.hindrance(now) if self.hop else None)

    def owe(self, now: datetime) -> None:
        """A run that was withdrawn is due as soon as nothing is in the way."""
        if self.status == "active":
            self.next_due_at = now

    def wait(self, now: datetime, wait: timedelta | None) -> None:
        """Again after a wait; a mere spread ends with its regular turn."""
        if self.status != "active" or wait is None:
            return
        if backoff.no_later_than_its_turn(wait):
            self.next_due_at = max(now, min(self.next_due_at or now + wait, now + wait))
        else:
            self.next_due_at = now + wait


@dataclass
class Row:
    """A collection's row."""

    id: CollectionId
    device: Device
    seq: Seq
    trigger: Trigger
    lane: Lane
    emitted_at: datetime
    state: State = State.CLAIMED
    code: str | None = None
    emits: int = 1
    started_at: datetime | None = None
    holder: str | None = None
    lease_until: datetime | None = None
    collected_at: datetime | None = None
    published: Published | None = None
    is_change: bool | None = None
    ended_at: datetime | None = None

    def end(self, state: State, code: str | None, now: datetime) -> None:
        """To a final state."""
        self.state, self.code, self.ended_at = state, code, now

    def held_by(self, assignment: Assignment) -> bool:
        """The fence."""
        return self.state is State.RUNNING and self.holder == assignment.holder

    @property
    def fenced(self) -> Fenced | None:
        """What a message is measured against."""
        if self.published is None:
            return None
        seen = self.published.observed
        return Fenced(self.published.digest, seen.content_hash, seen.normalization_version)

    @property
    def observation(self) -> Observation:
        """Its place in the history."""
        assert self.published
        seen = self.published.observed
        return Observation(self.seq, seen.content_hash, seen.normalization_version)


@dataclass
class Request:
    """Somebody asked for a collection."""

    device: DeviceId
    kind: Kind = Kind.BACKUP
    answer: str | None = None
    collection: CollectionId | None = None


class Ledger:
    """All ports of the database. `clock` says its time; every dice shows 0: what is due again is due at once.

    `number` gives a new row its id.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        counter = count(1)
        self.number: Callable[[DeviceId, int], CollectionId] = lambda *_: CollectionId(next(counter))
        self.devices: dict[DeviceId, Device] = {}
        self.rows: dict[CollectionId, Row] = {}
        self.contents: dict[ContentKey, tuple[SealedConfig, int]] = {}
        self.requests: list[Request] = []
        self.hop = Hop(clock())

    # --- ClaimStore ----------------------------------------------------------------------------------------------

    def claim(self, limits: Limits) -> Claimed | None:
        """ClaimStore."""
        now = self.clock()
        lost = self._lose_lapsed(now)
        withdrawn = self._withdraw_hindered(now)
        again = tuple(
            self._emit_again(row, now)
            for row in self.rows.values()
            if row.state is State.CLAIMED and not now - limits.emit_again_after < row.emitted_at
        )
        new = (*self._answer_requests(now), *self._claim_due(now)) if limits.may_claim else ()
        return Claimed(new, again, lost, withdrawn)

    def _lose_lapsed(self, now: datetime) -> int:
        lapsed = [
            row
            for row in self.rows.values()
            if row.lease_until
            and row.state is State.RUNNING
            and not now <= row.lease_until <= now + 2 * LONGEST_SESSION
        ]
        for row in lapsed:
            row.end(State.LOST, "lease_over", now)
            if not row.trigger.observes:
                continue
            row.device.wait(now, backoff.after_loss(row.device.losses, 0.0).again_in)
            row.device.losses += 1
        return len(lapsed)

    def _withdraw_hindered(self, now: datetime) -> int:
        claimed = [row for row in self.rows.values() if row.state is State.CLAIMED]
        hindered = [row for row in claimed if row.device.hindrance(row.trigger, now)]
        for row in hindered:
            row.end(State.WITHDRAWN, "withdrawn", now)
            if row.trigger.observes:
                row.device.owe(now)
        return len(hindered)

    def _emit_again(self, row: Row, now: datetime) -> Claim:
        row.emitted_at, row.emits = now, row.emits + 1
        return Claim(row.id, row.lane)

    def _answer_requests(self, now: datetime) -> list[Claim]:
        """What is full when it begins leaves a request waiting, unless its device is open."""
        new = []
        waiting = [one for one in self.requests if not one.answer]
        full = [one for one in waiting if not self._has_room(self.devices[one.device])]
        for request in waiting:
            device = self.devices[request.device]
            row = self._open(device)
            if request in full and row is None:
                continue
            if hindrance := device.hindrance(request.kind.trigger, now):
                request.answer = f"refused: {hindrance}"
            elif row is not None:
                if request.kind.is_met_by(row.trigger):
                    request.answer, request.collection = "attached", row.id
            elif self._has_room(device):
                lane = Lane.SLOW if device.lane is Lane.SLOW else Lane.NOW
                claim = self._claim(device, request.kind.trigger, lane, now)
                request.answer, request.collection = "claimed", claim.collection_id
                new.append(claim)
        return new

    def _has_room(self, device: Device) -> bool:
        """Through a jump host in trouble, or a new one, goes one at a time; else there is always room for so few."""
        behind = [one for one in self.devices.values() if one.hop is not None]
        return device.hop is None or not device.hop.one_at_a_time or not any(map(self._open, behind))

    def _claim_due(self, now: datetime) -> list[Claim]:
        due = sorted(
            (device.lane, device.next_due_at, device.id)
            for device in self.devices.values()
            if device.next_due_at and device.next_due_at <= now and device.status == "active"
        )
        new = []
        for lane, _, key in due:
            device = self.devices[key]
            free = not device.hindrance(Trigger.SCHEDULE, now) and not self._open(device)
            if free and self._has_room(device):
                new.append(self._claim(device, Trigger.SCHEDULE, lane, now))
        return new

    def _claim(self, device: Device, trigger: Trigger, lane: Lane, now: datetime) -> Claim:
        device.last_seq += 1
        if trigger.observes:
            device.next_due_at = cadence.next_due(device.anchor_at, POLICY.interval, now)
        number = self.number(device.id, device.last_seq)
        self.rows[number] = Row(number, device, Seq(device.last_seq), trigger, lane, now)
        return Claim(number, lane)

    def _open(self, device: Device) -> Row | None:
        return next((row for row in self._of(device) if row.state in OPEN), None)

    def _of(self, device: Device, *states: State) -> list[Row]:
        """Its rows, the newest last."""
        rows = [row for row in self.rows.values() if row.device is device and (not states or row.state in states)]
        return sorted(rows, key=lambda row: row.seq)

    def _row(self, assignment: Assignment) -> Row:
        """Its row; one that is not there any more, since its collector was stopped for so long, is held by nobody."""
        gone = Row(assignment.collection_id, self.devices[assignment.device_id], assignment.seq, assignment.trigger,
                   Lane.NORMAL, self.clock(), State.LOST)  # fmt: skip
        return self.rows.get(assignment.collection_id, gone)

    # --- CollectionStore -----------------------------------------------------------------------------------------

    def start(self, collection_id: CollectionId, holder: str) -> Assignment | Withdrawn | None:
        """CollectionStore."""
        now, row = self.clock(), self.rows.get(collection_id)
        if row is None or row.state is not State.CLAIMED:
            return None
        hindrance = row.device.hindrance(row.trigger, now)
        hindrance = hindrance or (REPLACED if row.seq <= row.device.router_since_seq else None)
        if hindrance:
            if row.trigger.observes:
                row.device.owe(now)
            row.end(State.WITHDRAWN, "withdrawn", now)
            return Withdrawn(hindrance)
        row.state, row.holder, row.started_at = State.RUNNING, holder, now
        row.lease_until = now + POLICY.timeouts.deadline + LEASE_GRACE
        return self._assignment(row, holder)

    def _assignment(self, row: Row, holder: str) -> Assignment:
        device = row.device
        modern = device.modern_ssh_at is not None
        policy = POLICY
        return Assignment(
            row.id, holder, TENANT, device.id, device.name, row.seq, "toy",
            Target(device.host, 22, device.pinned, policy.legacy_ssh, policy.timeouts, spoke_modern=modern),
            policy.trust, "backup", UUID(int=device.login_number), device.login, device.id, PEPPER,
            device.remembered_command, device.failures, device.losses,
            policy.secrets, policy.end_mark, device.end_mark, self._known(device),
            device.login_changed_at, row.trigger, device.hop.assigned if device.hop else None,
        )  # fmt: skip

    def _known(self, device: Device) -> Known:
        accepted = [row for row in self._of(device, State.PUBLISHED, State.STORED) if row.seq > device.router_since_seq]
        before = accepted[-1].published if accepted else None
        since = accepted[-1].seq if accepted else device.router_since_seq
        suspect = [row.published for row in self._of(device, State.SUSPECT) if row.seq > since and row.published]
        return Known(
            before.observed if before else None,
            suspect[-1].observed if suspect else None,
            device.believe_seq > since,
        )

    def pin(self, assignment: Assignment, key: HostKey, how: TrustedHow = TrustedHow.FIRST_USE) -> None:
        """CollectionStore."""
        row = self._row(assignment)
        if not row.held_by(assignment):
            raise LeaseLost
        if row.device.host != assignment.target.host:
            raise LoginSuspended("the device has another address since the collection began")
        match trust.judge(row.device.pinned, key):
            case trust.Mismatch():
                raise HostKeyMismatch("another key was pinned or is expected since the session began")
            case trust.FirstSeen():
                row.device.keys = [one for one in row.device.keys if (one.status, one.key) != ("offered", key)]
                self._keep(row.device, "pinned", key)

    def _keep(self, device: Device, status: str, key: HostKey) -> None:
        now = self.clock()
        number = 1 + max((one.number for one in device.keys), default=0)
        device.keys.insert(0, SeenKey(number, status, key, now, now, None))

    def login_allowed(self, assignment: Assignment, key: HostKey) -> bool:
        """CollectionStore."""
        row = self._row(assignment)
        device = row.device
        same = (device.pinned, device.host, device.login, UUID(int=device.login_number))
        there = (key, assignment.target.host, assignment.sealed_login, assignment.login_id)
        may = row.trigger is not Trigger.SCAN and device.own_hindrance(row.trigger) is None
        return row.held_by(assignment) and same == there and may

    def pin_jump_host(self, assignment: Assignment, key: HostKey, how: TrustedHow) -> None:
        """CollectionStore."""
        row = self._row(assignment)
        if not row.held_by(assignment):
            raise LeaseLost
        if row.device.host != assignment.target.host:
            raise LoginSuspended("the device has another address since the collection began")
        if isinstance(trust.judge(self.hop.pinned, key), trust.Mismatch):
            raise HostKeyMismatch("another key was pinned or is expected since the session began")
        self.hop.pinned = key

    def jump_login_allowed(self, assignment: Assignment, key: HostKey) -> bool:
        """CollectionStore."""
        row = self._row(assignment)
        well = self.hop.pinned == key and self.hop.blocked_code is None
        return row.held_by(assignment) and well and row.device.own_hindrance(row.trigger) is None

    def jump_host_reached(self, assignment: Assignment) -> None:
        """CollectionStore."""
        hop, now = self.hop, self.clock()
        lately = hop.reached_at is not None and now - MINUTE <= hop.reached_at <= now
        if hop.blocked_code is None and not (lately and not hop.in_trouble and hop.retry_at is None):
            hop.failures, hop.down_since, hop.retry_at, hop.reached_at = 0, None, None, now

    def _trouble(self, row: Row, trouble: JumpTrouble, assignment: Assignment) -> None:
        hop, now, began = self.hop, self.clock(), assignment.jump_host
        of_its_key = trouble.code in {HostKeyMismatch.code, HostKeyUnapproved.code}
        if hop.blocked_code or (of_its_key and began and hop.pinned != began.target.pinned):
            return
        if trouble.refuses_to_forward and hop.reached_at is not None:
            return
        known = hop.retry_at and hop.is_left_alone(now) and row.started_at and row.started_at < hop.retry_at
        since = hop.reached_at and row.started_at and hop.reached_at > row.started_at
        if trouble.blocks:
            hop.blocked_code, hop.retry_at = trouble.code, None
        elif known or since:
            return
        else:
            assert trouble.again_in
            hop.retry_at = now + trouble.again_in
        hop.failures, hop.down_since = hop.failures + 1, hop.down_since or now

    def publish(self, assignment: Assignment, published: Published) -> bool:
        """CollectionStore."""
        row = self._row(assignment)
        if not row.held_by(assignment) or not row.trigger.observes:
            return False
        device, meanwhile = row.device, self._meanwhile(assignment)
        if meanwhile.elsewhere:
            raise LoginSuspended("the device was moved or removed since the collection began")
        row.state, row.published, row.collected_at = State.PUBLISHED, published, self.clock()
        row.lease_until = None
        device.failures, device.lane = 0, Lane.NORMAL
        if device.router_since_seq < row.seq:
            device.remembered_command, device.end_mark = published.command, published.end_mark
        self._learn_modern(device, assignment, published, meanwhile)
        return True

    def _learn_modern(self, device: Device, assignment: Assignment, published: Published, meanwhile: Meanwhile) -> None:
        forgotten = assignment.target.spoke_modern and not meanwhile.modern
        if published.modern_ssh and not (meanwhile.elsewhere or meanwhile.replaced or forgotten):
            device.modern_ssh_at = device.modern_ssh_at or self.clock()

    def _meanwhile(self, assignment: Assignment) -> Meanwhile:
        device, target = self.devices[assignment.device_id], assignment.target
        return Meanwhile(
            removed=device.status == "removed",
            moved=device.host != target.host,
            replaced=device.router_since_seq >= assignment.seq,
            believed=device.believe_seq >= assignment.seq,
            other_login=UUID(int=device.login_number) != assignment.login_id,
            other_pin=device.pinned != target.pinned,
            modern=device.modern_ssh_at is not None,
        )

    def end(self, assignment: Assignment, ending: Ending) -> Ending | None:
        """CollectionStore."""
        now, row = self.clock(), self._row(assignment)
        meanwhile = self._meanwhile(assignment)
        ending = _unless_answered(meanwhile, ending)
        from_states = {State.RUNNING} if ending.aside else {State.RUNNING, State.PUBLISHED}
        if row.holder != assignment.holder or row.state not in from_states:
            return None
        row.end(ending.state, ending.code, now)
        row.lease_until = None
        if ending.aside:
            row.published, row.collected_at = ending.aside.published, now
            if ending.state is State.SUSPECT:
                self._learn_modern(row.device, assignment, ending.aside.published, meanwhile)
        self._follow(row, ending, now, assignment)
        if ending.scanned and not meanwhile.elsewhere and row.device.pinned != ending.scanned:
            self._offer(row.device, ending.scanned)
        return ending

    def _follow(self, row: Row, ending: Ending, now: datetime, assignment: Assignment) -> None:
        device = row.device
        if row.trigger.observes:
            device.failures += ending.counts
            device.losses = device.losses + 1 if ending.pauses else device.losses if ending.jump_trouble else 0
            device.lane = Lane.SLOW if ending.slow else device.lane
            device.wait(now, ending.again_in)
        if ending.offered:
            self._offer(device, ending.offered)
        if ending.jump_trouble:
            self._trouble(row, ending.jump_trouble, assignment)
        if ending.blocks:
            device.blocked_code, device.blocked_detail, device.blocked_at = ending.code, ending.detail, now

    def _offer(self, device: Device, key: HostKey) -> None:
        if all((one.status, one.key) != ("offered", key) for one in device.keys):
            self._keep(device, "offered", key)

    # --- ObservationStore, KeyLedger -----------------------------------------------------------------------------

    def store(self, batch: Sequence[SnapshotMessage]) -> list[Stored]:
        """ObservationStore."""
        return [self._store(message) for message in batch]

    def _store(self, message: SnapshotMessage) -> Stored:
        row, device = self.rows.get(message.collection_id), self.devices.get(message.device_id)
        outcome = judge(message, _standing(row) if row else None, _holder(device) if device else None)
        if outcome is not Stored.STORED or row is None or device is None:
            return outcome
        stored = {one.seq: one for one in self._of(device, State.STORED)}
        around = [one.observation for one in stored.values()]
        placed = place(observation_of(message), around, Seq(device.current_seq))
        self.contents.setdefault(content_key(message), (message.sealed, message.seq))
        row.end(State.STORED, None, self.clock())
        row.is_change = placed.is_change
        if placed.successor:
            stored[placed.successor.seq].is_change = placed.successor.is_change
        if placed.is_current:
            device.current_seq, device.losses = message.seq, 0
        return outcome

    def lose_published(self, older_than: timedelta) -> int:
        """ObservationStore."""
        now = self.clock()
        gone = [
            row
            for row in self.rows.values()
            if row.collected_at and row.state is State.PUBLISHED and abs(now - row.collected_at) > older_than
        ]
        waits = [backoff.after_pause(row.device.losses, 0.0).again_in for row in gone]
        for row, wait in zip(gone, waits, strict=True):
            row.end(State.LOST, "message_gone", now)
            if row.device.status == "active" and row.device.current_seq < row.seq and wait is not None:
                row.device.losses += 1
                row.device.next_due_at = now + wait
        return len(gone)

    def expected_marks(self, batch: Sequence[SnapshotMessage]) -> dict[tuple[TenantId, Purpose], str]:
        """ObservationStore."""
        return MARKS if any(message.collection_id in self.rows for message in batch) else {}

    def all_marks(self) -> dict[tuple[TenantId, Purpose], str]:
        """KeyLedger."""
        return MARKS

    # --- time, the operator, and retention -----------------------------------------------------------------------

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self.clock.now += by

    def add(self, device_id: DeviceId, name: str, *, behind: bool = False) -> None:
        """Enrol a device; it is due at once. `behind`: behind the jump host."""
        now = self.clock()
        hop = self.hop if behind else None
        self.devices[device_id] = Device(device_id, name, now, now, host=name, login_changed_at=now, hop=hop)

    def mend_jump_host(self) -> None:
        """An operator forgets its key and its block: it may be tried at once, by one."""
        self.hop.pinned = self.hop.blocked_code = self.hop.retry_at = self.hop.reached_at = None

    def act(self, device_id: DeviceId, decide: Callable[[DeviceRecord], Update | None]) -> bool:
        """DeviceStore.change; whether anything changed."""
        device = self.devices[device_id]
        update = decide(self._record(device))
        if update is None:
            return False
        for name, value in update.columns.items():
            setattr(device, name, value)
        if update.login:
            self._log_in(device, update.login)
        device.keys = [self._answered(one, update) for one in device.keys]
        return True

    def _log_in(self, device: Device, login: DeviceLogin) -> None:
        device.login_number += 1
        device.login, device.login_changed_at = login.sealed or device.login, self.clock()

    def _answered(self, key: SeenKey, update: Update) -> SeenKey:
        if key.number in update.retires:
            return replace(key, status="retired")
        return replace(key, status="pinned") if key.number == update.pins else key

    def _record(self, device: Device) -> DeviceRecord:
        accepted = max(
            (row.seq for row in self._of(device, State.PUBLISHED, State.STORED)), default=device.router_since_seq
        )
        since = max(accepted, device.router_since_seq)
        collected = [row.collected_at for row in self._of(device, State.STORED) if row.collected_at]
        return DeviceRecord(
            TENANT, device.id, device.name, device.host, device.port, "toy", device.status, device.settings, "backup",
            "password", True, device.blocked_code, device.blocked_detail, device.blocked_at, device.failures,
            device.anchor_at, device.next_due_at, POLICY.interval, max(collected, default=None), self.clock(),
            tuple(device.keys), device.last_seq, device.modern_ssh_at, {},
            any(row.seq > since for row in self._of(device, State.SUSPECT)), device.believe_seq > since,
        )  # fmt: skip

    def ask(self, device_id: DeviceId, kind: Kind = Kind.BACKUP) -> None:
        """RequestStore."""
        self.requests.append(Request(device_id, kind))

    def retain(self, device_id: DeviceId, cut: int) -> None:
        """Take away all that is final below a cut, which never lies above the current one (I8)."""
        device = self.devices[device_id]
        assert cut <= device.current_seq
        device.kept_from_seq = max(device.kept_from_seq, cut)
        final = [row for row in self._of(device) if row.seq < cut and row.ended_at is not None]
        for row in final:
            del self.rows[row.id]
        gone = {row.id for row in final}
        self.requests = [one for one in self.requests if one.collection not in gone]
        stored = self._of(device, State.STORED)
        stored[0].is_change = True
        kept = {row.observation.content_hash for row in stored}
        self.contents = {k: v for k, v in self.contents.items() if k.device_id != device_id or k.content_hash in kept}

    # --- what can be seen of it ----------------------------------------------------------------------------------

    def picture(self) -> Picture:
        """All that a row says, but for what is different each time."""
        return {device.id: self._picture(device) for device in self.devices.values()}

    def _picture(self, device: Device) -> DevicePicture:
        mine = {key: kept for key, kept in self.contents.items() if key.device_id == device.id}
        rows = {row.id: row.seq for row in self._of(device)}
        asked = [one for one in self.requests if one.device == device.id]
        return DevicePicture(
            device.status, device.blocked_code, device.failures, device.losses, device.lane, device.last_seq,
            device.kept_from_seq, device.current_seq, device.next_due_at, device.remembered_command,
            device.router_since_seq, device.believe_seq, device.modern_ssh_at,
            frozenset((one.status, one.key.blob) for one in device.keys if one.status != "retired"),
            tuple(
                RowPicture(
                    row.seq, row.state, row.code, row.trigger, row.lane, row.emits, row.emitted_at, row.lease_until,
                    row.collected_at, row.ended_at, row.is_change,
                    row.fenced.content_hash if row.fenced else None,
                ) for row in self._of(device)
            ),
            frozenset((key.content_hash, sealed.text, seq) for key, (sealed, seq) in mine.items()),
            tuple((one.answer, rows.get(one.collection or CollectionId(0))) for one in asked),
            device.hop.picture if device.hop else None,
        )  # fmt: skip


def _standing(row: Row) -> Standing:
    return Standing(TENANT, row.device.id, row.seq, row.state, row.fenced)


def _holder(device: Device) -> Holder:
    return Holder(
        TENANT, tenant_removed=False, kept_from_seq=Seq(device.kept_from_seq), current_seq=Seq(device.current_seq)
    )
