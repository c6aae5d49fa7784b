"""Everything at once: the real flows among workers, beats, an ingester and a ledger, in any order, with any fault.

After every step the ledger is measured against what was observed (I1-I4, I7, I9, I10); at the end all that was broken
is mended, and every router's configuration has to arrive.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from backupflow.adapters.db.collections import LEASE_GRACE
from backupflow.core import backoff, enrolment, key_acts
from backupflow.core.envelope import unpack
from backupflow.core.inventory import DeviceLogin
from backupflow.core.ledger import Assignment, Kind, Limits, Stored
from backupflow.core.message import encode
from backupflow.core.model import (
    DeviceId,
    NormalConfig,
    SealedConfig,
    SealedSecret,
    Seq,
    State,
    TenantId,
    Trigger,
    content_hash,
)
from backupflow.core.quarantine import Kept, SetAside
from backupflow.errors import BackupflowError, BusUnavailable, Conflict, StoreUnavailable, VaultUnavailable
from backupflow.flows import ingest, schedule
from tests.unit.core.history import History, model
from tests.unit.flows.ledger import OPEN, POLICY, TENANT, Clock, Ledger
from tests.unit.flows.outside import (
    LETTERS,
    Broker,
    Bus,
    Fate,
    JumpHost,
    Killed,
    Letter,
    Router,
    Sent,
    Step,
    Vault,
    Worker,
    met,
)
from tests.unit.flows.world import HOP_KEY, KEY, OTHER, PEPPER, Toy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from backupflow.core.inventory import DeviceRecord, Update
    from backupflow.core.ledger import Ending, Published
    from backupflow.core.message import SnapshotMessage
    from backupflow.core.model import CollectionId, Purpose
    from backupflow.core.quarantine import Released
    from tests.unit.flows.picture import DevicePicture, Picture

DEVICES = tuple(DeviceId(UUID(int=n)) for n in (2, 3))
BEGAN = datetime(2026, 11, 22, 12, tzinfo=UTC)
LEASE = POLICY.timeouts.deadline + LEASE_GRACE
LIMITS = Limits()
# A moment, past a repeated emission or a publish, past a lease, past each step of the backoff, past an interval.
PASSES = [timedelta(seconds=s) for s in (1, 61, 170, 330, 960, 3800)] + [POLICY.interval + timedelta(seconds=7)]
LATEST_DUE = max(POLICY.interval, backoff.LONGEST_WAIT)
# Which state may follow which; what is not named is final.
MOVES = {
    None: {State.CLAIMED},
    State.CLAIMED: {State.RUNNING, State.WITHDRAWN},
    State.RUNNING: {State.PUBLISHED, State.LOST, State.FAILED, State.BLOCKED, State.SUSPECT, State.TESTED},
    State.PUBLISHED: {State.STORED, State.LOST, State.FAILED},
    State.LOST: {State.STORED},
}
ANY = st.integers(0, 2**16)  # one of those that are there
BAD = [fate for fate in Fate if fate is not Fate.WELL]
# So many calls of a port, or until it stands before that one, or to the end; and how the next one ends, if it is made.
UNTIL = st.sampled_from([*range(12), *["fence", "publish", "end"] * 3, *[""] * 8])
LAST = st.sampled_from([*[None] * 8, *map(Step, BAD), *(Step(sent=sent) for sent in Sent)])
SERVERS = st.sampled_from(
    [*["arrives"] * 4, *["well"] * 3, "vault away", "keys lost", "rotated", "bus away", "wiped", "flushed"]
)
ACTS = ("unblock", "login", "key", "replace", "believe", "pause")
DEVICE = st.sampled_from(DEVICES)
KIND = st.sampled_from([*[Kind.BACKUP] * 6, Kind.TEST, Kind.TEST, Kind.SCAN])
TESTS = {Trigger.TEST, Trigger.SCAN}


@dataclass
class Inbox:
    """One drain of the ingester: its ports, of which the n-th call meets its fate."""

    world: World
    batch: list[Letter]
    fate: Fate = Fate.WELL
    at: int = 0
    lose: bool = True
    calls: int = 0

    def _call(self, away: BackupflowError, act: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever a port answers
        self.calls += 1
        return met(self.fate if self.calls == self.at else Fate.WELL, away, act)

    def fetch(self) -> Sequence[Letter]:
        """Inbox."""
        batch, self.batch = self.batch, []
        return batch

    def acknowledge(self, delivery: Letter) -> None:
        """Inbox."""
        stream = self.world.bus.stream
        gone = [one for one in stream if one.number != delivery.number]
        self._call(BusUnavailable(), lambda: stream.__setitem__(slice(None), gone))

    def later(self, delivery: Letter, wait: timedelta) -> None:
        """Inbox: it stays in the stream."""

    def newest(self) -> int:
        """Inbox."""
        return 0

    def drained(self, upto: int | None = None) -> bool:
        """Inbox."""
        return self.lose and not self.world.bus.stream

    def mark(self, tenant_id: TenantId, purpose: Purpose, version: int = 1) -> Any:  # noqa: ANN401
        """Canary."""
        return self._call(VaultUnavailable(), lambda: self.world.vault.mark(tenant_id, purpose))

    def store(self, batch: Sequence[SnapshotMessage]) -> Any:  # noqa: ANN401
        """ObservationStore: nothing is written while the canary fails (I2)."""

        def store() -> Any:  # noqa: ANN401
            stored = self.world.ledger.store(batch)
            assert self.world.vault.well or Stored.STORED not in stored
            return stored

        return self._call(StoreUnavailable(), store)

    def set_aside(self, delivery: Letter, reason: str) -> Any:  # noqa: ANN401
        """QuarantineStore: nothing that a collector sent ever gets there, however often it comes."""
        assert delivery.number == 0, reason
        self.world.aside.append(reason)
        return self._call(StoreUnavailable(), lambda: SetAside(Kept.BYTES, new=True))

    def released(self, after: int, limit: int) -> Sequence[Released]:
        """QuarantineStore: nobody gives anything back."""
        return ()

    def lose_published(self, older_than: timedelta) -> Any:  # noqa: ANN401
        """ObservationStore."""
        return self._call(StoreUnavailable(), lambda: self.world.ledger.lose_published(older_than))

    def expected_marks(self, batch: Sequence[SnapshotMessage]) -> Any:  # noqa: ANN401
        """ObservationStore."""
        return self._call(StoreUnavailable(), lambda: self.world.ledger.expected_marks(batch))


@dataclass
class World:
    """All that there is at a time, and what was truly observed."""

    ledger: Any  # tests.unit.flows.ledger.Ledger, or what compares it with another one
    clock: Clock
    vault: Vault = field(default_factory=Vault)
    bus: Bus = field(default_factory=Bus)
    broker: Broker = field(default_factory=Broker)
    hop: JumpHost = field(default_factory=JumpHost)
    routers: dict[DeviceId, Router] = field(default_factory=lambda: {key: Router() for key in DEVICES})
    workers: list[Worker] = field(default_factory=list)
    beats: list[tuple[schedule.Seen, list[schedule.Readiness]]] = field(default_factory=list)
    steps: int = 0
    observed: dict[DeviceId, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    read_at: dict[DeviceId, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    aside: list[str] = field(default_factory=list)

    def router_at(self, host: str) -> Router:
        """The router that answers there."""
        return self.routers[DeviceId(UUID(host))]

    def start(self, worker: Worker, collection_id: CollectionId, holder: str) -> Any:  # noqa: ANN401
        """A worker takes a claim; no device that is blocked is ever taken up, nor one behind a blocked hop (I7)."""
        started = self.ledger.start(collection_id, holder)
        if isinstance(started, Assignment):
            worker.assignment, worker.lease_until = started, self.clock() + LEASE
            picture = self.ledger.picture()[started.device_id]
            assert picture.blocked_code is None or started.trigger is Trigger.SCAN
            assert picture.status == "active" or started.trigger in TESTS
            assert picture.hop is None or picture.hop.blocked_code is None
        return started

    def end(self, assignment: Assignment, ending: Ending) -> Any:  # noqa: ANN401
        """A collection ends: nothing of a device's runs follows from a test, and no failure from its jump host."""
        before = self.ledger.picture()[assignment.device_id]
        ended = self.ledger.end(assignment, ending)
        after = self.ledger.picture()[assignment.device_id]
        assert ending.state in {State.TESTED, State.FAILED} or assignment.trigger.observes
        if not assignment.trigger.observes:
            assert _runs(after) == _runs(before)
        elif ending.jump_trouble and ended:
            assert _runs(after)[1:] == _runs(before)[1:]
            assert after.next_due_at is None or after.next_due_at <= self.clock() + backoff.AGAIN_WITHIN
            assert after.blocked_code == before.blocked_code
        return ended

    def fence(self, worker: Worker, assignment: Assignment, published: Published) -> Any:  # noqa: ANN401
        """A worker passes the fence: from here on it counts as observed, in the order of reading (I1)."""
        passed = self.ledger.publish(assignment, published)
        if passed:
            assert worker.saw
            when, letter = worker.saw
            earlier = self.read_at[assignment.device_id]
            assert all(seq < assignment.seq and at < when for seq, at in earlier.items())
            earlier[assignment.seq] = when
            self.observed[assignment.device_id][assignment.seq] = letter
        return passed

    def drain(self, batch: list[Letter], fate: Fate = Fate.WELL, at: int = 0, *, lose: bool = True) -> None:
        """The ingester takes a batch; if nothing is left then, it may `lose` what has vanished."""
        inbox, wrong = Inbox(self, batch, fate, at, lose), list[Exception]()
        try:
            ingest.drain(ingest.IngestPorts(inbox, inbox, inbox, inbox, wrong.append), 1)  # type: ignore[arg-type]
        except (Killed, BackupflowError):
            assert fate is not Fate.WELL or not self.vault.well
        if wrong:
            raise wrong[0]

    def tick(self, beat: int, *, look: bool = True) -> None:
        """A beat looks, unless it goes by what it saw before, and claims."""
        seen, last = self.beats[beat]
        if look:
            watched = schedule.Watched(self.ledger, self.vault, self.bus, 1000)
            last[:] = [schedule.look(watched, seen, (self.clock() - BEGAN).total_seconds())]
        ticked = schedule.tick(self.ledger, self.broker, last[0], LIMITS)
        seen.claimed |= bool(ticked.claimed and ticked.claimed.new)


def _runs(device: DevicePicture) -> tuple[object, ...]:
    """What is known of a device's runs."""
    return (
        device.next_due_at, device.failures, device.losses, device.lane, device.current_seq,
        device.remembered_command, device.router_since_seq, device.modern_ssh_at,
    )  # fmt: skip


class Machine(RuleBasedStateMachine):
    """The rules. `made` gives the ledger: in memory, or whatever else behaves like it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(BEGAN)
        self.world = World(self.made(self.clock), self.clock)
        self.world.beats = [(schedule.Seen(), [schedule.NOT_LOOKED]) for _ in range(2)]
        self.states: dict[tuple[DeviceId, int], str] = {}
        self.acted: set[DeviceId] = set()
        self.blocked: dict[DeviceId, str | None] = {}
        self.excused: dict[DeviceId, int] = defaultdict(int)  # runs that ended before they could tell of a refusal
        self.count = 0
        self.hop_blocked: str | None = None
        self.hop_excused = 0

    def made(self, clock: Clock) -> Any:  # noqa: ANN401 - see World
        """The ledger."""
        return Ledger(clock)

    @initialize(rounds=st.integers(0, 2), behind=st.integers(0, 2))
    def enrol(self, rounds: int, behind: int) -> None:
        """Two devices, due at once, so many of them behind the jump host; some have a history already."""
        for number, key in enumerate(DEVICES):
            self.world.ledger.add(key, str(key), behind=number < behind)
        for letter in "AB"[:rounds]:
            for router in self.world.routers.values():
                router.letter = letter
            self._round()

    def teardown(self) -> None:
        """Mend all that was broken, let time pass: then each router's configuration has arrived (I1, I9, I10)."""
        try:
            if sys.exception() is None:  # else a step has failed, and that is what is to be told
                self._settle()
        finally:
            for worker in self.world.workers:
                worker.kill()

    # --- beats and time ------------------------------------------------------------------------------------------

    @rule(beat=st.integers(0, 1), look=st.booleans(), emitted=st.booleans())
    def tick(self, beat: int, *, look: bool, emitted: bool) -> None:
        """One of the beats claims; it may be killed before it sends anything, or the broker takes nothing."""
        self.world.broker.up = emitted
        self.world.tick(beat, look=look)
        self.world.broker.up = True

    @rule(by=st.sampled_from(PASSES))
    def time_passes(self, by: timedelta) -> None:
        """Whoever stands still has been stopped meanwhile."""
        self.world.ledger.advance(by)

    # --- workers: as many rules as there are for all the rest -----------------------------------------------------

    @rule(key=DEVICE, until=UNTIL, last=LAST, again=st.sampled_from([False, False, True]), kind=KIND)
    def work(
        self, key: DeviceId, until: int | str, last: Step | None, *, again: bool, kind: Kind = Kind.BACKUP
    ) -> None:
        """A worker takes a task, which may come a second time; if there is none, somebody asks for one."""
        queue = self.world.broker.queue
        if not queue:
            self.world.ledger.ask(key, kind)
            self.world.tick(0)
        if queue:
            number = queue[0]
            if not again:
                queue.remove(number)
            self._start(number)
            self._go_to(self.world.workers[-1], until, last)

    @rule(key=DEVICE, kind=KIND)
    def work_to_the_end(self, key: DeviceId, kind: Kind) -> None:
        """Nothing happens to this one."""
        self.work(key, "", None, again=False, kind=kind)

    @rule(which=ANY, until=UNTIL, last=LAST)
    def go_on(self, which: int, until: int | str, last: Step | None) -> None:
        """A worker does some more of its work; one that was stopped goes on as if nothing had happened."""
        if self.world.workers:
            self._go_to(self.world.workers[which % len(self.world.workers)], until, last)
        else:
            self.work(DEVICES[which % 2], until, last, again=False)

    @rule(which=ANY, where=st.sampled_from(["fence", "publish"]), last=LAST)
    def stop_at(self, which: int, where: str, last: Step | None) -> None:
        """One of them is brought to where it matters most."""
        self.go_on(which, where, last)

    @rule(which=ANY, where=st.sampled_from(["fence", "fence", "publish", "login"]), then=st.integers(0, 3))
    def stop_beyond_the_lease(self, which: int, where: str, then: int) -> None:
        """One is stopped until another may be at it; who comes first then is open: both read, only one is believed."""
        self.go_on(which, where, None)
        self.world.ledger.advance(PASSES[2])
        self.world.tick(0)
        if then > 1:
            self.go_on(which, "", None)
        if then % 2:
            self.work(DEVICES[which % 2], "", None, again=False)

    # --- what surrounds them -------------------------------------------------------------------------------------

    @rule(key=DEVICE, what=st.sampled_from([*"ABCABCABCtZ", "key", "refuses", "unreachable", "mute"]))
    def router(self, key: DeviceId, what: str) -> None:
        """Somebody edits it (`t` looks cut, `Z` is another); or it has another key, no login, is gone, mute."""
        router = self.world.routers[key]
        router.letter = what if len(what) == 1 else router.letter
        router.key = OTHER if what == "key" else KEY
        router.refuses, router.unreachable, router.mute = (what == one for one in ("refuses", "unreachable", "mute"))

    @rule(what=st.sampled_from(["well", "well", "unreachable", "unreachable", "refuses", "forwards", "key", "mended"]))
    def jump_host(self, what: str) -> None:
        """It goes, or comes back; it has another key, no login, forwards nothing; an operator looks after it."""
        hop = self.world.hop
        hop.unreachable, hop.refuses, hop.forwards = what == "unreachable", what == "refuses", what != "forwards"
        hop.key = OTHER if what == "key" else HOP_KEY
        if what == "mended":
            self._mend_jump_host()

    @rule(which=ANY, what=SERVERS)
    def servers(self, which: int, what: str) -> None:
        """The vault goes, loses its keys, has new versions; the bus goes, its stream is wiped; no task is left.

        Or a message arrives that nobody knew of, or once more, however long ago it came first.
        """
        vault, bus = self.world.vault, self.world.bus
        vault.up, vault.keys, bus.up = what != "vault away", what != "keys lost", what != "bus away"
        vault.version += what == "rotated"
        if what == "wiped":
            bus.wipe()
        if what == "flushed":
            self.world.broker.queue.clear()
        if what == "arrives" and bus.under_way:
            bus.arrive(bus.under_way.pop(which % len(bus.under_way)))
        elif what == "arrives" and bus.arrived:
            bus.arrive(bus.arrived[which % len(bus.arrived)])

    # --- the ingester --------------------------------------------------------------------------------------------

    @rule(order=st.lists(ANY, max_size=3), fate=st.sampled_from([*[Fate.WELL] * 6, *BAD]), at=st.integers(1, 5))
    def deliver(self, order: list[int], fate: Fate, at: int) -> None:
        """A batch, in any order, with duplicates; or the ingester finds nothing, and looks for what has vanished.

        It may be killed before or after the commit, before or after an acknowledgement; or one of its calls fails.
        """
        stream = self.world.bus.stream
        self.world.drain([stream[which % len(stream)] for which in order] if stream else [], fate, at)

    @precondition(lambda self: self.world.bus.sent and self.world.vault.well)
    @rule(which=ANY, what=st.sampled_from(["sealed", "sealed", "text", "tenant", "device", "seq"]))
    def forge(self, which: int, what: str) -> None:
        """A message that differs in one thing from what its collector sent changes nothing, and is kept (I2, I11)."""
        world, before = self.world, self.world.ledger.picture()
        lost = {(key, row.seq) for key, device in before.items() for row in device.rows if row.state == State.LOST}
        known = [one for one in world.bus.sent if (one.device_id, one.seq) in lost] or world.bus.sent
        forged = self._forged(known[which % len(known)], what)
        aside = len(world.aside)
        world.drain([Letter(0, encode(forged), forged.subject)], lose=False)
        assert world.ledger.picture() == before
        assert len(world.aside) > aside or forged.seq < before[forged.device_id].kept_from_seq

    # --- the operator --------------------------------------------------------------------------------------------

    @rule(key=DEVICE, what=st.sampled_from([*ACTS, *["resume"] * 3, *[0, 1, 2, 3]]))
    def operate(self, key: DeviceId, what: str | int) -> None:
        """An act of an operator; or retention takes away what lies so far before the current one, never that (I8)."""
        if isinstance(what, str):
            self._act(key, what)
        elif (cut := self.world.ledger.picture()[key].current_seq - what) > 0:
            self.world.ledger.retain(key, cut)

    # --- what must hold ------------------------------------------------------------------------------------------

    @invariant()
    def promises(self) -> None:
        """After every step."""
        picture: Picture = self.world.ledger.picture()
        for key, device in picture.items():
            self._check_history(key, device)
            self._check_moves(key, device)
            self._check_sessions(key)
            self._check_block(key, device)
            self._check_not_forgotten(device)
        self._check_jump_host(picture)
        self.acted.clear()

    def _check_history(self, key: DeviceId, device: DevicePicture) -> None:
        """I1, I2, I3, I8: the run-length of what was observed; every content opens and is what it says."""
        stored = [row for row in device.rows if row.state == State.STORED]
        texts = {hashed: self._opened(key, hashed, text, seq) for hashed, text, seq in device.contents}
        changes = [(row.seq, texts[row.content_hash or b""]) for row in stored if row.is_change]
        observed = self.world.observed[key]
        shown = History(changes, device.current_seq, len(device.contents))
        assert shown == model({row.seq: observed[row.seq] for row in stored})
        assert all(texts[row.content_hash or b""] == observed[row.seq] for row in stored)

    def _opened(self, key: DeviceId, hashed: bytes, text: str, seq: int) -> str:
        tenant, device, envelope = self.world.vault.sealed[text]
        header, raw = unpack(envelope, 10_000)
        assert (tenant, device) == (header.tenant_id, header.device_id) == (TENANT, key)
        assert header.seq == seq
        assert content_hash(PEPPER, Toy().normalize(raw)) == hashed
        return LETTERS[raw]

    def _check_moves(self, key: DeviceId, device: DevicePicture) -> None:
        """I10: one final state, with a reason; lost is corrected to stored."""
        for row in device.rows:
            before = self.states.get((key, row.seq))
            if row.state != before:
                assert self._reachable(before, row.state), (before, row.state)
            self.states[key, row.seq] = row.state
            open_ = row.state in OPEN | {State.PUBLISHED}
            assert Trigger(row.trigger).observes or row.state not in {State.PUBLISHED, State.STORED, State.SUSPECT}
            assert row.trigger in TESTS or row.state != State.TESTED
            assert (row.ended_at is None) == open_
            assert (row.code is None) == (open_ or row.state == State.STORED)
        assert sum(row.state in OPEN for row in device.rows) <= 1

    def _reachable(self, before: str | None, after: str) -> bool:
        state = State(before) if before else None
        follow = MOVES.get(state, set())
        return after in follow or any(self._reachable(one, after) for one in follow)

    def _check_sessions(self, key: DeviceId) -> None:
        """I4: one session, but for those that were stopped beyond their lease."""
        now = self.clock()
        open_ = [
            worker for worker in self.world.routers[key].sessions if worker.lease_until and worker.lease_until > now
        ]
        assert len(open_) <= 1

    def _check_block(self, key: DeviceId, device: DevicePicture) -> None:
        """I7: a block ends by an act; one refused login a block, and one for each run that could not tell of it."""
        before = self.blocked.get(key)
        assert device.blocked_code == before or before is None or key in self.acted
        self.blocked[key] = device.blocked_code
        if key in self.acted:
            self.world.routers[key].refused = 0
            self.excused[key] = sum(row.state in OPEN for row in device.rows)
        lost = sum(row.code == "lease_over" for row in device.rows)
        running = [worker for worker in self.world.workers if worker.at and self._of(worker, key)]
        assert self.world.routers[key].refused <= 1 + lost + self.excused[key] + len(running)

    def _check_jump_host(self, picture: Picture) -> None:
        """I7: it is blocked until an act; one refused login, and one for each run that could not tell of it."""
        behind = [device for device in picture.values() if device.hop]
        hop = behind[0].hop if behind else None
        if hop is None:
            return
        assert (hop.failures > 0) == (hop.down_since is not None)
        assert hop.down_since or not (hop.retry_at or hop.blocked_code)
        assert hop.retry_at is None or hop.retry_at <= self.clock() + timedelta(minutes=5) * 1.25
        assert self.hop_blocked is None or hop.blocked_code == self.hop_blocked
        self.hop_blocked = hop.blocked_code
        lost = sum(row.code == "lease_over" for device in behind for row in device.rows)
        running = [worker for worker in self.world.workers if worker.at]
        assert self.world.hop.refused <= 1 + lost + self.hop_excused + len(running)

    def _of(self, worker: Worker, key: DeviceId) -> bool:
        return worker.assignment is not None and worker.assignment.device_id == key

    def _check_not_forgotten(self, device: DevicePicture) -> None:
        """I9: it is due within its time, or somebody is at it until a lease ends, or an operator is asked."""
        if device.status != "active" or device.blocked_code:
            return
        now = self.clock()
        assert device.next_due_at is not None
        assert device.next_due_at <= now + LATEST_DUE
        for row in device.rows:
            assert row.state != State.RUNNING or (row.lease_until and row.lease_until <= now + LEASE)
            assert row.state != State.CLAIMED or row.emitted_at <= now

    # --- how ------------------------------------------------------------------------------------------------------

    def _forged(self, message: SnapshotMessage, what: str) -> SnapshotMessage:
        sealed = SealedConfig("vault:v1:Zm9yZ2Vk")
        others = dict(zip(DEVICES, reversed(DEVICES), strict=True))
        fields: dict[str, Mapping[str, Any]] = {
            "sealed": {"sealed": sealed},
            "text": {"sealed": sealed, "content_hash": content_hash(PEPPER, NormalConfig(b"forged"))},
            "tenant": {"tenant_id": TenantId(UUID(int=9))},
            "device": {"device_id": others[message.device_id]},
            "seq": {"seq": Seq(message.seq + 1)},
        }
        return replace(message, **fields[what])

    def _start(self, number: CollectionId) -> None:
        self.count += 1
        self.world.workers.append(Worker(self.world, number, f"holder {self.count}"))

    def _go_on(self, worker: Worker, calls: int, step: Step | None = None) -> None:
        for _ in range(calls):
            if worker.at:
                self.world.steps += 1
                worker.step(step or Step())
        if not worker.at:
            self.world.workers.remove(worker)
            if worker.wrong:
                raise worker.wrong[0]

    def _go_to(self, worker: Worker, until: int | str, last: Step | None) -> None:
        """So many calls, or until it stands before that one; and one more that ends like `last`."""
        if isinstance(until, int):
            self._go_on(worker, until)
        while isinstance(until, str) and worker.at not in {"", until}:
            self._go_on(worker, 1)
        if worker.at and last:
            self._go_on(worker, 1, last)

    def _act(self, key: DeviceId, what: str) -> None:
        sealed = SealedSecret(f"vault:v1:bG9naW4{'abc'[self.world.steps % 3]}")
        login = DeviceLogin("backup", "password", sealed)
        acts: dict[str, Callable[[DeviceRecord], Update | None]] = {
            "unblock": enrolment.unblocked,
            "login": lambda record: enrolment.edited(record, enrolment.Edit(username="backup"), login),
            "key": lambda record: key_acts.key_accepted(record, self.world.routers[key].key.fingerprint),
            "replace": enrolment.router_replaced,
            "pause": enrolment.paused,
            "resume": enrolment.resumed,
            "believe": enrolment.export_believed,
        }
        self.acted.add(key)
        try:
            self.world.ledger.act(key, acts[what])
        except Conflict:
            return

    def _mend_jump_host(self) -> None:
        self.world.ledger.mend_jump_host()
        self.hop_blocked, self.world.hop.refused = None, 0
        rows = (row for device in self.world.ledger.picture().values() for row in device.rows)
        self.hop_excused = sum(row.state in OPEN for row in rows)

    def _settle(self) -> None:
        world = self.world
        world.hop.key, world.hop.unreachable, world.hop.refuses, world.hop.forwards = HOP_KEY, False, False, True
        world.vault.up = world.vault.keys = world.bus.up = True
        for router in world.routers.values():
            router.key, router.refuses, router.unreachable, router.mute = KEY, False, False, False
        self._all_goes_on()
        picture: Picture = world.ledger.picture()
        for _ in range(6):
            self._mend_jump_host()
            for key, device in picture.items():
                if device.blocked_code:
                    self._act(key, "replace")
                self._act(key, "resume")
            world.ledger.advance(PASSES[5])
            world.drain([])
            self._round()
            self.promises()
            picture = world.ledger.picture()
            if all(self._arrived(key, device) for key, device in picture.items()):
                break
        for key, device in picture.items():
            self._check_settled(key, device)

    def _round(self) -> None:
        """Each is asked for, claimed, collected and stored, as far as it can be."""
        for key in DEVICES:
            self.world.ledger.ask(key)
        self.world.tick(0)
        self._all_goes_on()

    def _all_goes_on(self) -> None:
        """Whoever stood still ends; what was emitted is done, what is under way arrives and is stored."""
        world = self.world
        for number in world.broker.queue:
            self._start(number)
        world.broker.queue.clear()
        for worker in list(world.workers):
            self._go_on(worker, 30)
        for message in world.bus.under_way:
            world.bus.arrive(message)
        world.bus.under_way.clear()
        while world.bus.stream:
            world.drain(world.bus.stream[:5])
        world.drain([])

    def _arrived(self, key: DeviceId, device: DevicePicture) -> bool:
        """Whether the newest configuration is the current one."""
        return self.world.observed[key].get(device.current_seq) == self.world.routers[key].letter

    def _check_settled(self, key: DeviceId, device: DevicePicture) -> None:
        """Nothing of what has arrived is missing, and nothing is left half done."""
        rows = {row.seq: row for row in device.rows}
        assert self._arrived(key, device)
        assert rows[device.current_seq].state == State.STORED
        for of, seq in self.world.bus.owed:
            assert of != key or seq < device.kept_from_seq or rows[seq].state == State.STORED
        waiting = [row for row in device.rows if row.state in {State.RUNNING, State.PUBLISHED}]
        assert waiting == []
