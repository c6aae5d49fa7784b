"""The ingest flow over small fakes: what is acknowledged, what is put aside, and what comes again."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from backupflow.core.ledger import Stored
from backupflow.core.message import SnapshotMessage, decode, encode
from backupflow.core.model import CollectionId, ContentHash, DeviceId, Purpose, SealedConfig, Seq, TenantId
from backupflow.core.quarantine import Kept, Released, SetAside
from backupflow.errors import BackupflowError, BusUnavailable, StoreUnavailable, TransitKeyMissing, VaultUnavailable
from backupflow.flows.ingest import Drained, IngestPorts, drain
from backupflow.flows.quarantine import AGAIN_IN

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
    message = SnapshotMessage(tenant, DeviceId(UUID(int=2)), CollectionId(seq), Seq(seq), 1, hashed, sealed)
    return Letter(encode(message), message.subject)


class World:
    """Inbox, store and vault in one; each call is written down."""

    def __init__(self, *batches: Sequence[Letter]) -> None:
        self.batches = list(batches)
        self.ends_after: int | None = None  # so many batches were stored
        self.calls: list[tuple[str, object]] = []
        self.outcomes: dict[int, Stored | Exception] = {}
        self.empty = True
        self.upto: int | None = None  # what was asked for
        self.marks = {(TENANT, Purpose.DATA): "good", (TENANT, Purpose.PEPPER): "unlike"}
        self.answers: str | BackupflowError = "good"
        self.away: BackupflowError | None = None
        self.told: list[Exception] = []
        self.settled: list[tuple[CollectionId | None, str, str]] = []
        self.kept = Kept.BYTES
        self.unkept: Exception | None = None
        self.given_back: list[Released] = []

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

    def newest(self) -> int:
        """Inbox."""
        return len(self.batches)

    def drained(self, upto: int | None = None) -> bool:
        """Inbox."""
        self.upto = upto
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

    def set_aside(self, delivery: Letter, reason: str) -> SetAside:
        """QuarantineStore."""
        if self.away or self.unkept:
            raise self.away or self.unkept  # type: ignore[misc]
        self.calls.append(("aside", (self._name(delivery), reason)))
        return SetAside(self.kept, new=len(self.did("aside")) == 1)

    def released(self, after: int, limit: int) -> list[Released]:
        """QuarantineStore."""
        return [one for one in self.given_back if one.number > after][:limit]

    def taken(self, released: Released) -> None:
        """QuarantineStore."""
        self.calls.append(("taken", released.number))
        self.given_back.remove(released)

    def put_back(self, released: Released, reason: str) -> SetAside:
        """QuarantineStore."""
        if self.unkept:
            raise self.unkept
        self.calls.append(("back", (released.number, reason)))
        self.given_back.remove(released)
        return SetAside(Kept.BYTES, new=True)

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
        parts = (self, self, self, self, self.told.append, timedelta(seconds=77))
        ports = IngestPorts(
            *parts,  # type: ignore[arg-type]
            lambda *one: self.settled.append(one),
            lambda: self.ends_after is not None and len(self.did("stored")) >= self.ends_after,
        )
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


def test_a_process_that_is_to_end_takes_no_more() -> None:
    """What it has taken it brings to its end; the rest is another's, and a trickle would never let it go."""
    world = World([letter(1), letter(2)], [letter(3)])
    world.ends_after = 1
    assert world.drain().outcomes == {"stored": 2}
    assert world.did("acknowledged") == [1, 2]
    assert len(world.batches) == 1


def test_lost_is_only_looked_for_when_all_that_was_there_is_done_with() -> None:
    """Also after a full turn: a large fleet never leaves the stream empty, and more may have come since it began."""
    world = World()
    assert world.drain().lost == 2
    assert world.did("looked for lost") == [timedelta(seconds=77)]
    world = World()
    world.empty = False
    assert world.drain().lost == 0
    assert world.calls == []
    world = World([letter(1)], [letter(2)], [letter(3)])
    world.drain(batches=2)
    assert (world.upto, world.did("looked for lost")) == (3, [timedelta(seconds=77)])


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


def test_each_message_is_told_with_its_collection_when_it_is_settled() -> None:
    """By that id a person follows it through the logs; what cannot be read has none. A reason says why not."""
    world = World([letter(1), letter(2), Letter(b"{}")])
    world.outcomes[2] = Stored.OTHER_DIGEST
    world.drain()
    ids = [decode(letter(seq).payload).collection_id for seq in (1, 2)]
    assert world.settled[0][:2] == (None, "quarantined")
    assert world.settled[1:] == [(ids[0], "stored", ""), (ids[1], "quarantined", "other_digest")]


def test_what_was_settled_is_told_though_the_database_goes_away_then() -> None:
    """A drain that is cut off has done what it has done."""
    world = World([letter(1)], [letter(2)])
    world.outcomes[2] = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        world.drain()
    assert [outcome for _, outcome, _ in world.settled] == ["stored"]


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
    world = World([letter(1)], [letter(2)])
    world.answers = answers
    if isinstance(answers, VaultUnavailable):
        with pytest.raises(VaultUnavailable):
            world.drain()
        assert world.calls == []
    else:
        done = world.drain()
        assert (list(done.keys), bool(done.keys[TENANT])) == ([TENANT], True)
        assert (world.did("later"), world.did("stored"), world.did("acknowledged")) == ([1, 2], [], [])


def test_the_canary_is_asked_for_the_tenants_of_the_batch_only() -> None:
    """Another tenant's missing key does not hold up this one's history (I11)."""
    world = World([letter(1)])
    world.marks[OTHER, Purpose.DATA] = "other"
    assert world.drain().outcomes == {"stored": 1}


def test_a_tenant_without_its_keys_holds_up_no_other() -> None:
    """What is of it comes again, in each batch; the others of the batch are stored, and it is told."""
    world = World([letter(1), letter(2, OTHER), letter(3)], [letter(4, OTHER)], [letter(5)])
    world.marks[OTHER, Purpose.DATA] = "other"
    done = world.drain()
    assert done.outcomes == {"stored": 3, "put_off": 2}
    assert (world.did("stored"), world.did("acknowledged")) == ([[1, 3], [5]], [1, 3, 5])
    assert world.did("later") == [2, 4]
    assert done.keys == {TENANT: "", OTHER: "another data key than before"}


def test_an_acknowledgement_that_is_lost_is_not_an_error_of_the_row() -> None:
    """The bus went away after the commit: the message comes again, and is found to be stored already."""
    world = World([letter(1)])
    world.acknowledge = _away  # type: ignore[assignment,method-assign]
    with pytest.raises(BusUnavailable):
        world.drain()
    assert world.calls == [("stored", [1])]
    assert world.told == []


def test_a_message_under_the_subject_of_another_device_is_put_aside() -> None:
    """Who may publish is decided by subject: whoever may speak for one device must not speak for another."""
    subjects = (f"config.snapshot.create.{UUID(int=3)}", "config.snapshot.create", "config.snapshot.create.x.y")
    world = World([letter(1), *(replace(letter(n), subject=one) for n, one in enumerate(subjects, 2)), letter(5)])
    assert world.drain().outcomes == {"stored": 2, "quarantined": 3}
    assert world.did("stored") == [[1, 5]]
    assert world.did("aside") == [(n, "wrong_subject") for n in (2, 3, 4)]


def test_what_can_be_neither_stored_nor_kept_comes_again_and_holds_up_nobody() -> None:
    """It is not acknowledged, and not asked for at once; the others of its batch are stored."""
    world = World([Letter(b"noise"), letter(1), letter(2)])
    world.outcomes[1] = ValueError("poison")
    world.unkept = ValueError("does not fit either")
    assert world.drain().outcomes == {"put_off": 2, "stored": 1}
    assert world.did("acknowledged") == [2]
    assert world.did("later") == [b"noise", 1]
    assert len(world.told) == 4


def test_what_is_not_even_on_record_is_counted_apart() -> None:
    """The quarantine is full: it is acknowledged, so that the stream goes on, and the log says how many there were."""
    world = World([Letter(b"x"), letter(1)])
    world.kept = Kept.NOTHING
    done = world.drain()
    assert done.outcomes == {"dropped": 1, "stored": 1}
    assert world.did("acknowledged") == [b"x", 1]


def test_each_alarm_that_was_raised_is_told_once() -> None:
    """So that the log has one line for it, however many messages there are."""
    assert World([Letter(b"x"), Letter(b"y")]).drain().alarms == ["message_malformed: not a snapshot message"]


def released(number: int, letter: Letter) -> Released:
    """A letter that an operator gave back."""
    return Released(number, letter.payload, letter.subject)


def test_what_was_released_goes_through_the_very_same_checks() -> None:
    """Form, subject, canary and row: stored and gone, or back with the reason; on the bus nothing is acknowledged."""
    world = World()
    foreign = replace(letter(3), subject="config.snapshot.create.x")
    world.given_back = [
        released(7, letter(1)),
        released(8, letter(2)),
        released(9, foreign),
        released(10, Letter(b"x")),
    ]
    world.outcomes = {1: Stored.STORED, 2: Stored.OTHER_DIGEST}
    assert world.drain().outcomes == {"stored": 1, "quarantined": 3}
    assert world.did("taken") == [7]
    assert sorted(world.did("back")) == [  # type: ignore[type-var]
        (8, "other_digest"),
        (9, "wrong_subject"),
        (10, "message_malformed: not a snapshot message"),
    ]
    assert world.did("stored") == [[1, 2]]
    assert world.did("acknowledged") == []
    world.given_back = [released(11, letter(4))]
    world.answers = "another key"
    assert world.drain().outcomes == {"put_off": 1}
    assert world.did("stored") == [[1, 2]]
    assert world.given_back


def test_what_is_released_and_expired_stays() -> None:
    """Nobody else has it, and nothing of it would be on record: only a person may drop it."""
    world = World()
    world.given_back = [released(7, letter(1)), released(8, letter(2))]
    world.outcomes = {1: Stored.EXPIRED, 2: Stored.ALREADY}
    world.drain()
    assert (world.did("back"), world.did("taken")) == ([(7, "expired")], [8])


def test_what_was_released_is_taken_once_in_a_drain() -> None:
    """Also what cannot be put back; many are taken in small batches, since each may have 8 MiB."""
    world = World()
    world.given_back = [released(n, Letter(b"x")) for n in range(1, 20)]
    world.unkept = ValueError("does not fit")
    assert world.drain().outcomes == {"put_off": 19}
    world = World()
    world.given_back = [released(n, letter(n)) for n in range(1, 20)]
    assert world.drain().outcomes == {"stored": 19}
    assert [len(batch) for batch in world.did("stored")] == [8, 8, 3]  # type: ignore[arg-type]


def test_what_was_released_waits_for_the_bus() -> None:
    """A vault without the keys of one tenant, whose messages were released, stops nobody on the bus."""
    world = World([letter(1, OTHER)])
    world.marks[OTHER, Purpose.DATA] = "good"
    world.marks[TENANT, Purpose.DATA] = "lost"
    world.given_back = [released(1, letter(2))]
    assert world.drain().keys == {OTHER: "", TENANT: "another data key than before"}
    assert world.did("acknowledged") == [1]
    assert world.given_back


def _away(_: Letter) -> None:
    raise BusUnavailable
