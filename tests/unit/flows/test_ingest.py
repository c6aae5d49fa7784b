"""The ingest flow over small fakes: what is acknowledged, what is put aside, and what comes again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from backupflow.core.ledger import Stored
from backupflow.core.message import SnapshotMessage, decode, encode
from backupflow.core.model import CollectionId, ContentHash, DeviceId, Purpose, SealedConfig, Seq, TenantId
from backupflow.errors import BackupflowError, BusUnavailable, StoreUnavailable, TransitKeyMissing, VaultUnavailable
from backupflow.flows.ingest import AGAIN_IN, Drained, IngestPorts, drain

if TYPE_CHECKING:
    from collections.abc import Sequence

TENANT, OTHER = TenantId(UUID(int=1)), TenantId(UUID(int=9))


@dataclass(frozen=True)
class Letter:
    """A delivery."""

    payload: bytes
    subject: str = "config.snapshot.create.x"


def letter(seq: int, tenant: TenantId = TENANT) -> Letter:
    """A delivery of a well-formed message."""
    sealed = SealedConfig("vault:v1:QUJD")
    hashed = ContentHash(bytes(32))
    return Letter(
        encode(SnapshotMessage(tenant, DeviceId(UUID(int=2)), CollectionId(seq), Seq(seq), 1, hashed, sealed))
    )


class World:
    """Inbox, store and vault in one; each call is written down."""

    def __init__(self, *batches: Sequence[Letter]) -> None:
        self.batches = list(batches)
        self.calls: list[tuple[str, object]] = []
        self.outcomes: dict[int, Stored | Exception] = {}
        self.empty = True
        self.marks = {(TENANT, Purpose.DATA): "good", (TENANT, Purpose.PEPPER): "unlike"}
        self.answers: str | BackupflowError = "good"
        self.away: BackupflowError | None = None
        self.told: list[Exception] = []

    def fetch(self) -> Sequence[Letter]:
        """Inbox."""
        return self.batches.pop(0) if self.batches else ()

    def acknowledge(self, delivery: Letter) -> None:
        """Inbox."""
        self.calls.append(("acknowledged", self._name(delivery)))

    def later(self, delivery: Letter, wait: timedelta) -> None:
        """Inbox."""
        self.calls.append(("later", self._name(delivery)))
        assert wait == AGAIN_IN

    def drained(self) -> bool:
        """Inbox."""
        return self.empty

    def make_sure(self) -> bool:
        """Inbox."""
        raise NotImplementedError

    def store(self, batch: Sequence[SnapshotMessage]) -> list[Stored]:
        """ObservationStore."""
        if self.away:
            raise self.away
        self.calls.append(("stored", [message.seq for message in batch]))
        outcomes = [self.outcomes.get(message.seq, Stored.STORED) for message in batch]
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        return [outcome for outcome in outcomes if isinstance(outcome, Stored)]

    def set_aside(self, delivery: Letter, reason: str) -> None:
        """ObservationStore."""
        if self.away:
            raise self.away
        self.calls.append(("aside", (self._name(delivery), reason)))

    def lose_published(self, older_than: timedelta) -> int:
        """ObservationStore."""
        self.calls.append(("looked for lost", older_than))
        return 2

    def expected_marks(self, batch: Sequence[SnapshotMessage]) -> dict[tuple[TenantId, Purpose], str]:
        """ObservationStore."""
        tenant_ids = {message.tenant_id for message in batch}
        return {key: mark for key, mark in self.marks.items() if key[0] in tenant_ids}

    def mark(self, tenant_id: TenantId, purpose: Purpose, version: int = 1) -> str:
        """Canary."""
        if isinstance(self.answers, BackupflowError):
            raise self.answers
        return self.answers

    @staticmethod
    def _name(delivery: Letter) -> object:
        return decode(delivery.payload).seq if delivery.payload.startswith(b'{"schema') else delivery.payload

    def drain(self, batches: int = 5) -> Drained:
        """Run the flow."""
        ports = IngestPorts(self, self, self, self.told.append, timedelta(seconds=77))  # type: ignore[arg-type]
        return drain(ports, batches)

    def did(self, what: str) -> list[object]:
        """What was done of a kind, in order."""
        return [which for kind, which in self.calls if kind == what]


def test_a_batch_is_stored_then_acknowledged() -> None:
    """Together in one transaction; only after it, one by one."""
    world = World([letter(1), letter(2)], [letter(3)])
    done = world.drain()
    assert done.outcomes == {"stored": 3}
    assert world.calls[:4] == [("stored", [1, 2]), ("acknowledged", 1), ("acknowledged", 2), ("stored", [3])]


def test_lost_is_only_looked_for_when_the_consumer_is_empty() -> None:
    """And never after a full turn: something may still be waiting."""
    world = World()
    assert world.drain().lost == 2
    assert world.did("looked for lost") == [timedelta(seconds=77)]
    world = World()
    world.empty = False
    assert world.drain().lost == 0
    assert world.calls == []
    world = World([letter(1)], [letter(2)])
    world.drain(batches=2)
    assert world.did("looked for lost") == []


@pytest.mark.parametrize("outcome", list(Stored))
def test_what_is_done_with_is_acknowledged_and_the_rest_put_aside_first(outcome: Stored) -> None:
    """Stored, stored before, expired: done. Anything else is kept as it came, then acknowledged; never dropped."""
    world = World([letter(1)])
    world.outcomes[1] = outcome
    done = world.drain()
    if outcome.acceptable:
        assert (done.outcomes, world.did("aside")) == ({outcome.value: 1}, [])
        assert world.calls[:2] == [("stored", [1]), ("acknowledged", 1)]
    else:
        assert done.outcomes == {"quarantined": 1}
        assert world.calls[:3] == [("stored", [1]), ("aside", (1, outcome)), ("acknowledged", 1)]
    assert outcome.acceptable is (outcome in {Stored.STORED, Stored.ALREADY, Stored.EXPIRED})


def test_what_is_no_message_is_put_aside_and_holds_up_nobody() -> None:
    """Its bytes are kept before it is acknowledged; the good ones of its batch are stored."""
    noise = [Letter(b"\xff\x00"), Letter(b"{}"), Letter(json.dumps({"schema_version": 99}).encode()[1:])]
    world = World([noise[0], letter(1), *noise[1:]])
    assert world.drain().outcomes == {"quarantined": 3, "stored": 1}
    assert world.did("stored") == [[1]]
    for one in noise:
        aside = next(n for n, call in enumerate(world.calls) if call[0] == "aside" and call[1][0] == one.payload)  # type: ignore[index]
        assert world.calls[aside + 1] == ("acknowledged", one.payload)


def test_a_batch_of_noise_asks_neither_vault_nor_store() -> None:
    """There is nothing to store."""
    world = World([Letter(b"x")])
    world.answers = VaultUnavailable()
    assert world.drain().outcomes == {"quarantined": 1}


def test_one_poisonous_row_does_not_hold_up_its_batch() -> None:
    """The batch is tried one by one: the poison is put aside and said, the others are stored."""
    world = World([letter(1), letter(2), letter(3)])
    world.outcomes[2] = ValueError("poison")
    assert world.drain().outcomes == {"stored": 2, "quarantined": 1}
    assert world.did("stored") == [[1, 2, 3], [1], [2], [3]]
    assert world.did("aside") == [(2, "unexpected: ValueError")]
    assert world.did("acknowledged") == [1, 2, 3]
    assert [str(exc) for exc in world.told] == ["poison", "poison"]


def test_while_the_database_is_away_nothing_is_acknowledged() -> None:
    """All of it comes again; nothing is taken for poison."""
    for batch in ([letter(1), letter(2)], [Letter(b"noise")]):
        world = World(batch)
        world.away = StoreUnavailable()
        with pytest.raises(StoreUnavailable):
            world.drain()
        assert world.calls == []
        assert world.told == []


def test_a_database_that_goes_away_among_single_rows_is_no_poison() -> None:
    """Not the row's fault: it comes again after a wait, and so does all that follows it."""
    world = World([letter(1), letter(2), letter(3)])
    world.outcomes = {1: ValueError("poison"), 2: StoreUnavailable()}
    with pytest.raises(StoreUnavailable):
        world.drain()
    assert world.did("aside") == [(1, "unexpected: ValueError")]
    assert world.did("acknowledged") == [1]
    assert world.did("later") == [2]


@pytest.mark.parametrize("answers", ["another", TransitKeyMissing(), VaultUnavailable()])
def test_nothing_is_written_while_the_canary_fails(answers: str | BackupflowError) -> None:
    """A vault that has other keys, none, or does not answer: what is stored now could never be opened (I2)."""
    world = World([letter(1)])
    world.answers = answers
    with pytest.raises((TransitKeyMissing, VaultUnavailable)):
        world.drain()
    assert world.calls == []


def test_the_canary_is_asked_for_the_tenants_of_the_batch_only() -> None:
    """Another tenant's missing key does not hold up this one's history (I11)."""
    world = World([letter(1)])
    world.marks[OTHER, Purpose.DATA] = "other"
    assert world.drain().outcomes == {"stored": 1}
    world = World([letter(1), letter(2, OTHER)])
    world.marks[OTHER, Purpose.DATA] = "other"
    with pytest.raises(TransitKeyMissing):
        world.drain()


def test_an_acknowledgement_that_is_lost_is_not_an_error_of_the_row() -> None:
    """The bus went away after the commit: the message comes again, and is found to be stored already."""
    world = World([letter(1)])
    world.acknowledge = _away  # type: ignore[assignment,method-assign]
    with pytest.raises(BusUnavailable):
        world.drain()
    assert world.calls == [("stored", [1])]
    assert world.told == []


def _away(_: Letter) -> None:
    raise BusUnavailable
