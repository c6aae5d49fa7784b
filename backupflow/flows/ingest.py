"""Messages become stored observations, a batch a transaction; what cannot be stored is put aside, never dropped."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from backupflow.core.message import SnapshotMessage, decode
from backupflow.core.model import Purpose, key_version
from backupflow.errors import BackupflowError, MessageMalformed, TransitKeyMissing, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from backupflow.core.ledger import Stored
    from backupflow.core.model import TenantId
    from backupflow.core.ports import Canary, Delivery, Inbox, ObservationStore

    Marks = Mapping[tuple[TenantId, Purpose], str]

PUBLISHED_AT_LEAST = timedelta(seconds=60)  # longer than any publish may take
AGAIN_IN = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class IngestPorts:
    """What ingesting needs of the world. `unexpected` is told what nobody foresaw about one message."""

    inbox: Inbox
    store: ObservationStore
    canary: Canary
    unexpected: Callable[[Exception], None]
    lost_after: timedelta = PUBLISHED_AT_LEAST


@dataclass(slots=True)
class Drained:
    """What one drain did."""

    outcomes: Counter[str] = field(default_factory=Counter)
    lost: int = 0


def drain(ports: IngestPorts, batches: int) -> Drained:
    """Take up to `batches` batches; stops early when the stream is empty, and then looks for what has vanished."""
    done = Drained()
    for _ in range(batches):
        deliveries = ports.inbox.fetch()
        if not deliveries:
            if ports.inbox.drained():
                done.lost = ports.store.lose_published(ports.lost_after)
            break
        done.outcomes.update(_take(ports, deliveries))
    return done


def _take(ports: IngestPorts, deliveries: Sequence[Delivery]) -> list[str]:
    pairs: list[tuple[Delivery, SnapshotMessage]] = []
    outcomes: list[str] = []
    for delivery in deliveries:
        try:
            pairs.append((delivery, decode(delivery.payload)))
        except MessageMalformed as exc:
            outcomes.append(_set_aside(ports, delivery, f"{exc.code}: {exc.detail}"))
    if not pairs:
        return outcomes
    _check_canary(ports, [message for _, message in pairs])
    try:
        stored = ports.store.store([message for _, message in pairs])
    except BackupflowError:
        raise  # the database is away: nothing is acknowledged, all of it comes again
    except Exception as exc:  # noqa: BLE001 - one poisonous row must not hold up its batch
        ports.unexpected(exc)
        return outcomes + [_take_alone(ports, delivery, message) for delivery, message in pairs]
    return outcomes + [_settle(ports, pair[0], outcome) for pair, outcome in zip(pairs, stored, strict=True)]


def _take_alone(ports: IngestPorts, delivery: Delivery, message: SnapshotMessage) -> str:
    try:
        outcome = ports.store.store([message])[0]
    except BackupflowError as exc:
        if exc.verdict is Verdict.PAUSE:
            ports.inbox.later(delivery, AGAIN_IN)
        raise
    except Exception as exc:  # noqa: BLE001 - the poisonous one itself
        ports.unexpected(exc)
        return _set_aside(ports, delivery, f"unexpected: {type(exc).__name__}")
    return _settle(ports, delivery, outcome)


def _settle(ports: IngestPorts, delivery: Delivery, outcome: Stored) -> str:
    if not outcome.acceptable:
        return _set_aside(ports, delivery, outcome)
    ports.inbox.acknowledge(delivery)
    return outcome.value


def _set_aside(ports: IngestPorts, delivery: Delivery, reason: str) -> str:
    ports.store.set_aside(delivery, reason)
    ports.inbox.acknowledge(delivery)  # only after its bytes are kept
    return "quarantined"


def _check_canary(ports: IngestPorts, messages: Sequence[SnapshotMessage]) -> None:
    """Nothing is written while the vault has not the keys that it had: it could never be opened again (I2)."""

    def expected() -> Marks:
        return {key: mark for key, mark in ports.store.expected_marks(messages).items() if key[1] is Purpose.DATA}

    check_marks(ports.canary, expected(), expected)


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
