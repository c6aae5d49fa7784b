"""Messages become stored observations, a batch a transaction; what cannot be stored is put aside, never dropped."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from backupflow.core.message import SnapshotMessage, decode
from backupflow.core.model import Purpose, key_version
from backupflow.core.quarantine import UNEXPECTED, WRONG_SUBJECT, Kept
from backupflow.errors import BackupflowError, MessageMalformed, TransitKeyMissing, Verdict
from backupflow.flows.quarantine import D, FromBus, FromQuarantine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from backupflow.core.ledger import Stored
    from backupflow.core.model import CollectionId, TenantId
    from backupflow.core.ports import Canary, Inbox, ObservationStore, QuarantineStore
    from backupflow.core.quarantine import Released
    from backupflow.flows.quarantine import Origin

    Marks = Mapping[tuple[TenantId, Purpose], str]

PUBLISHED_AT_LEAST = timedelta(seconds=60)  # longer than any publish may take
PUT_OFF = "put_off"  # it comes again
RELEASED_AT_ONCE = 8  # of 8 MiB at the most

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class IngestPorts:
    """What ingesting needs of the world. `unexpected` is told what nobody foresaw about one message.

    `settled` is told what became of each, and why it was refused; without an id it could not even be read.
    """

    inbox: Inbox
    store: ObservationStore
    quarantine: QuarantineStore
    canary: Canary
    unexpected: Callable[[Exception], None]
    lost_after: timedelta = PUBLISHED_AT_LEAST
    settled: Callable[[CollectionId | None, str, str], None] = lambda _id, _outcome, _reason: None
    ends: Callable[[], bool] = lambda: False  # whether this process is to end: a trickle would keep it for long


@dataclass(slots=True)
class Drained:
    """What one drain did; `alarms` are the reasons that it raised one for, `keys` why tenants have not theirs or ""."""

    outcomes: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    alarms: list[str] = field(default_factory=list)
    keys: dict[TenantId, str] = field(default_factory=dict)


def drain(ports: IngestPorts, batches: int) -> Drained:
    """Take up to `batches` batches, then look for what has vanished.

    What was published long ago is in the stream when this begins, or nowhere: so it is enough that all up to there is
    done with. A large fleet never leaves the stream empty.
    """
    done = Drained()
    newest = ports.inbox.newest()
    bus = _Intake(ports, FromBus(ports.inbox, ports.quarantine), done)
    for _ in range(batches):
        if ports.ends():
            break
        deliveries = ports.inbox.fetch()
        if not deliveries:
            break
        bus.take(deliveries)
    if ports.inbox.drained(newest):
        done.lost = ports.store.lose_published(ports.lost_after)
    _take_released(_Intake(ports, FromQuarantine(ports.quarantine), done), batches)
    return done


def _take_released(intake: _Intake[Released], batches: int) -> None:
    """Each once: one that cannot even be put back must not be taken again and again."""
    last = 0
    for _ in range(batches):
        released = intake.ports.quarantine.released(last, RELEASED_AT_ONCE)
        if not released:
            break
        intake.take(released)
        last = released[-1].number


@dataclass(frozen=True, slots=True)
class _Intake(Generic[D]):
    """Takes batches of one origin. The same checks for each, in this order, whatever was said of it before."""

    ports: IngestPorts
    origin: Origin[D]
    drained: Drained

    def take(self, deliveries: Sequence[D]) -> None:
        pairs = self._with_their_keys(list(self._readable(deliveries)))
        if not pairs:
            return
        messages = [message for _, message in pairs]
        # One poisonous row must not hold up its batch.
        stored = self._guarded(lambda: list(self.ports.store.store(messages)))
        if isinstance(stored, Exception):
            for delivery, message in pairs:
                self._take_alone(delivery, message)
        else:
            for (delivery, message), outcome in zip(pairs, stored, strict=True):
                self._settle(delivery, message, outcome)

    def _readable(self, deliveries: Sequence[D]) -> Iterator[tuple[D, SnapshotMessage]]:
        for delivery in deliveries:
            try:
                message = decode(delivery.payload)
            except MessageMalformed as exc:
                self._refuse(delivery, None, f"{exc.code}: {exc.detail}")
                continue
            # Who may publish is decided by subject: whoever may speak for one device must not speak for another.
            if delivery.subject == message.subject:
                yield delivery, message
            else:
                self._refuse(delivery, message, WRONG_SUBJECT)

    def _with_their_keys(self, pairs: list[tuple[D, SnapshotMessage]]) -> list[tuple[D, SnapshotMessage]]:
        """Nothing is written for a tenant whose keys the vault has not: it could never be opened again (I2).

        What is of such a tenant comes again; the others of the batch are not held up by it.
        """
        if not pairs:
            return pairs
        keys = _keys_of(self.ports, [message for _, message in pairs])
        self.drained.keys |= keys
        missing = {tenant_id for tenant_id, why in keys.items() if why}
        if not missing:
            return pairs
        kept = []
        for delivery, message in pairs:
            if missing.isdisjoint(tenant_id for tenant_id, _ in self.ports.store.expected_marks([message])):
                kept.append((delivery, message))
            else:
                self.origin.later(delivery)
                self._count(message, PUT_OFF, "the vault has not the keys of its tenant")
        return kept

    def _take_alone(self, delivery: D, message: SnapshotMessage) -> None:
        try:
            stored = self._guarded(lambda: self.ports.store.store([message])[0])
        except BackupflowError as exc:
            if exc.verdict is Verdict.PAUSE:
                self.origin.later(delivery)
            raise
        if isinstance(stored, Exception):
            self._refuse(delivery, message, f"{UNEXPECTED}: {type(stored).__name__}")
        else:
            self._settle(delivery, message, stored)

    def _settle(self, delivery: D, message: SnapshotMessage, outcome: Stored) -> None:
        if not self.origin.accepts(outcome):
            self._refuse(delivery, message, outcome.value)
            return
        self.origin.done(delivery)
        self._count(message, outcome.value)

    def _refuse(self, delivery: D, message: SnapshotMessage | None, reason: str) -> None:
        aside = self._guarded(lambda: self.origin.refused(delivery, reason))
        if isinstance(aside, Exception):  # it can be neither stored nor kept: the others go on
            self.origin.later(delivery)
            self._count(message, PUT_OFF, reason)
            return
        if aside.new:
            self.drained.alarms.append(reason)
        self._count(message, "dropped" if aside.kept is Kept.NOTHING else "quarantined", reason)

    def _count(self, message: SnapshotMessage | None, outcome: str, reason: str = "") -> None:
        self.drained.outcomes[outcome] += 1
        self.ports.settled(None if message is None else message.collection_id, outcome, reason)

    def _guarded(self, act: Callable[[], T]) -> T | Exception:
        """What the act gives, or what nobody foresaw; a database that is away is neither, and ends the drain."""
        try:
            return act()
        except BackupflowError:
            raise  # nothing is acknowledged, all of it comes again
        except Exception as exc:  # noqa: BLE001 - a defect that one message finds must not hold up the others
            self.ports.unexpected(exc)
            return exc


def _keys_of(ports: IngestPorts, messages: Sequence[SnapshotMessage]) -> dict[TenantId, str]:
    """Of each tenant whose rows these name why the vault has not its keys, or "" if it has."""

    def expected(tenant_id: TenantId | None = None) -> Marks:
        marks = ports.store.expected_marks(messages)
        return {key: mark for key, mark in marks.items() if key[1] is Purpose.DATA and tenant_id in {None, key[0]}}

    keys, marks = {}, expected()
    for tenant_id in {tenant_id for tenant_id, _ in marks}:
        own = {key: mark for key, mark in marks.items() if key[0] == tenant_id}
        try:
            check_marks(ports.canary, own, partial(expected, tenant_id))
            keys[tenant_id] = ""
        except TransitKeyMissing as exc:
            keys[tenant_id] = exc.detail or exc.code
    return keys


def check_marks(canary: Canary, expected: Marks, look_again: Callable[[], Marks]) -> None:
    """TransitKeyMissing if a key is gone or is another one than it was.

    Since `expected` was read the canary may have moved to a newer version of its key, and the older one been retired:
    what does not answer is looked up again, and counts only if the same is still expected of it.
    """
    for (tenant_id, purpose), mark in expected.items():
        wanted: str | None = mark
        while wanted and (trouble := _trouble(canary, tenant_id, purpose, wanted)):
            before, wanted = wanted, look_again().get((tenant_id, purpose))  # none: a tenant that is gone by now
            if wanted == before:
                raise trouble


def _trouble(canary: Canary, tenant_id: TenantId, purpose: Purpose, mark: str) -> BackupflowError | None:
    try:
        same = canary.mark(tenant_id, purpose, key_version(mark)) == mark
    except BackupflowError as exc:
        return exc
    return None if same else TransitKeyMissing(f"another {purpose} key than before")
