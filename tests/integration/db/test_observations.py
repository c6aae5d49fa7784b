"""Observations on a real PostgreSQL, as the role `ingester`: any order, any number of times, and the same history."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby, permutations, product
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from backupflow.core import backoff
from backupflow.core.ledger import Ending, Stored
from backupflow.core.message import encode
from backupflow.core.model import CollectionId, DeviceId, Purpose, Seq, State, TenantId
from backupflow.errors import StoreUnavailable, TransitKeyMissing
from backupflow.flows import ingest
from tests.integration.db.fleet import SECRET, Fleet, doubted, hashed, message, published, sealed
from tests.integration.db.invariants import check, histories

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backupflow.core.message import SnapshotMessage
    from tests.conftest import Size

HOUR = timedelta(hours=1)


@dataclass
class Bytes:
    """A delivery."""

    payload: bytes
    subject: str


class Lately:
    """An inbox of one batch, and a vault that has lost the keys of those who were removed."""

    def __init__(self, gone: TenantId, *batch: SnapshotMessage) -> None:
        self._gone = gone
        self._batches = [[Bytes(encode(one), one.subject) for one in batch]]
        self.acknowledged: list[Bytes] = []

    def fetch(self) -> list[Bytes]:
        """Inbox."""
        return self._batches.pop() if self._batches else []

    def acknowledge(self, delivery: Bytes) -> None:
        """Inbox."""
        self.acknowledged.append(delivery)

    def newest(self) -> int:
        """Inbox."""
        return 0

    def drained(self, upto: int | None = None) -> bool:
        """Inbox."""
        return False

    def mark(self, tenant_id: TenantId, purpose: Purpose, version: int = 1) -> str:
        """Canary."""
        if tenant_id == self._gone:
            raise TransitKeyMissing
        return "m"


def run_lengths(rows: Iterable[Any]) -> list[bytes]:
    """What a history shows: the contents at each change."""
    return [bytes(row.content_hash) for row in rows if row.is_change]


def observed(history: str) -> list[bytes]:
    """What it must show: the run-length of what was observed."""
    return [bytes(hashed(letter)) for letter, _ in groupby(history)]


# --- orders of delivery ------------------------------------------------------------------------------------------


def test_every_order_of_delivery_ends_the_same(fleet: Fleet, size: Size) -> None:
    """All orders of up to four observations over three contents; right after each delivery, not only at the end."""
    letters = [h for n in (1, 2, 3, 4) for h in map("".join, product("ABC", repeat=n))]
    if size == "small":  # the others differ by the names of the contents only
        letters = [h for h in letters if "ABC".startswith("".join(dict.fromkeys(h)))]
    cases = [(history, order) for history in letters for order in permutations(range(len(history)))]
    assert len(cases) == (371 if size == "small" else 2127)
    sent = fleet.observed([history for history, _ in cases])
    for turn in range(4):
        batch = [one[order[turn]] for one, (_, order) in zip(sent, cases, strict=True) if turn < len(order)]
        again = [one[order[0]] for one, (_, order) in zip(sent, cases, strict=True) if turn and turn < len(order)]
        assert set(fleet.observations.store(batch)) == {Stored.STORED}
        assert set(fleet.observations.store(again)) <= {Stored.ALREADY}
        check(fleet)
    shown = {key: run_lengths(rows) for key, rows in histories(fleet).items()}
    assert shown == {one[0].device_id: observed(history) for one, (history, _) in zip(sent, cases, strict=True)}


def test_random_histories_with_duplicates_end_right(fleet: Fleet, size: Size) -> None:
    """Longer histories, each message up to three times, in batches of any size, in any order."""
    dice = random.Random(20261121)
    count = 300 if size == "small" else 2000
    texts = ["".join(dice.choices("ABC", k=dice.randint(1, 6 if size == "small" else 9))) for _ in range(count)]
    sent = fleet.observed(texts)
    deliveries = [m for one in sent for m in one for _ in range(dice.randint(1, 3))]
    dice.shuffle(deliveries)
    while deliveries:
        batch = [deliveries.pop() for _ in range(min(len(deliveries), dice.randint(1, 100)))]
        assert set(fleet.observations.store(batch)) <= {Stored.STORED, Stored.ALREADY}
    check(fleet)
    shown = {key: run_lengths(rows) for key, rows in histories(fleet).items()}
    assert shown == {one[0].device_id: observed(history) for one, history in zip(sent, texts, strict=True)}


def test_a_late_arrival_makes_its_successor_be_looked_at_again(fleet: Fleet) -> None:
    """A _ B stood as A, B; then the missing A, or another B, comes: what was interpreted after A is cleared."""
    for missing, second in (("A", True), ("B", False)):
        a, late, b = fleet.observed([f"A{missing}B"])[0]
        fleet.observations.store([a, b])
        fleet.sql("UPDATE collection SET interpreted_after_seq = 1 WHERE id = :b", b=b.collection_id)
        assert fleet.observations.store([late]) == [Stored.STORED]
        after = fleet.row("collection", b.collection_id)
        assert (after.is_change, after.interpreted_after_seq) == (second, None)
    check(fleet)


def test_hashes_compare_within_one_version_only(fleet: Fleet) -> None:
    """Across versions of the normalizer it is undecided: shown as no change until both texts were opened."""
    old, new, newer = fleet.observed(["AAA"])[0]
    for m in (new, newer):
        fleet.sql("UPDATE collection SET normalization_version = 2 WHERE id = :c", c=m.collection_id)
    batch = [old, replace(new, normalization_version=2), replace(newer, normalization_version=2)]
    assert fleet.observations.store(batch) == [Stored.STORED] * 3
    assert [row.is_change for row in histories(fleet)[old.device_id]] == [True, None, False]
    assert fleet.value("SELECT count(*) FROM content") == 2


# --- one message, one row ----------------------------------------------------------------------------------------


def test_a_stored_observation_is_all_there(fleet: Fleet) -> None:
    """The row is final, refers to its content, and the device to the row."""
    sent = fleet.passed("A")
    assert fleet.observations.store([sent]) == [Stored.STORED]
    row, device = fleet.row("collection", sent.collection_id), fleet.row("device", sent.device_id)
    content = fleet.row("content", row.content_id)
    assert (row.state, row.code, row.is_change) == ("stored", None, True)
    assert row.stored_at is not None
    assert row.ended_at is not None
    assert (content.sealed, content.raw_bytes, content.first_seq) == (sent.sealed.text, 100, 1)
    assert bytes(content.content_hash) == sent.content_hash
    assert (device.current_seq, device.current_collection_id) == (1, row.id)


def test_the_first_sealing_of_a_text_stays(fleet: Fleet) -> None:
    """A, B, A: two contents; what is downloaded is the first export with that text (I16)."""
    a, b, again = fleet.observed(["ABA"])[0]
    fleet.observations.store([a, b, again])
    texts = fleet.sql("SELECT sealed FROM content ORDER BY id")
    assert [row.sealed for row in texts] == [a.sealed.text, b.sealed.text]
    assert (
        fleet.row("collection", again.collection_id).content_id == fleet.row("collection", a.collection_id).content_id
    )
    assert a.sealed.text != again.sealed.text


def test_the_same_text_on_two_devices_is_two_contents(fleet: Fleet) -> None:
    """Sealed for its device: sharing it would tell that two devices are alike, and could not be opened (I11)."""
    fleet.observations.store([one[0] for one in fleet.observed(["A", "A"])])
    assert fleet.value("SELECT count(*) FROM content") == 2


def test_a_duplicate_changes_nothing(fleet: Fleet) -> None:
    """In the same batch, in the next one, or after a crash between commit and acknowledgement."""
    sent = fleet.passed("A")
    assert fleet.observations.store([sent, sent]) == [Stored.STORED, Stored.ALREADY]
    before = [fleet.sql(f"SELECT * FROM {table}") for table in ("collection", "content", "device")]  # noqa: S608 - ours
    assert fleet.observations.store([sent]) == [Stored.ALREADY]
    assert [fleet.sql(f"SELECT * FROM {table}") for table in ("collection", "content", "device")] == before  # noqa: S608


def test_lost_is_corrected_to_stored_once(fleet: Fleet) -> None:
    """The message was only late: the row becomes stored, then stays as it is (I10)."""
    sent = fleet.passed("A")
    fleet.sql("UPDATE collection SET state = 'lost', code = 'message_gone', ended_at = now() - interval '1 hour'")
    assert fleet.observations.store([sent]) == [Stored.STORED]
    row = fleet.row("collection", sent.collection_id)
    assert (row.state, row.code) == ("stored", None)
    assert fleet.observations.store([sent]) == [Stored.ALREADY]


def test_a_batch_is_stored_whole_or_not_at_all(fleet: Fleet) -> None:
    """A poisonous row rolls all of its batch back; alone, the others are stored."""
    good, bad = fleet.passed("A"), fleet.passed("B")
    fleet.sql("UPDATE collection SET raw_bytes = NULL WHERE id = :c", c=bad.collection_id)  # no content without it
    with pytest.raises(DBAPIError):
        fleet.observations.store([good, bad])
    assert fleet.value("SELECT count(*) FROM content") == 0
    assert fleet.row("collection", good.collection_id).state == "published"
    assert fleet.observations.store([good]) == [Stored.STORED]
    check(fleet)


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"tenant_id": TenantId(uuid4())}, Stored.FOREIGN),
        ({"device_id": DeviceId(uuid4())}, Stored.UNKNOWN),
        ({"collection_id": CollectionId(10**12)}, Stored.UNKNOWN),
        ({"seq": Seq(2)}, Stored.FOREIGN),
        ({"sealed": sealed("other")}, Stored.OTHER_DIGEST),
        ({"content_hash": hashed("B")}, Stored.OTHER_DIGEST),
        ({"normalization_version": 2}, Stored.OTHER_DIGEST),
    ],
    ids=["tenant", "device", "collection", "seq", "sealed", "hash", "version"],
)
@pytest.mark.parametrize("state", ["published", "lost", "stored"])
def test_a_forged_message_changes_nothing(fleet: Fleet, change: dict[str, Any], outcome: Stored, state: str) -> None:
    """Each field is measured against what the collector wrote at the fence, whatever state the row is in (I11)."""
    sent = fleet.passed("A")
    if state == "stored":
        fleet.observations.store([sent])
    if state == "lost":
        fleet.sql("UPDATE collection SET state = 'lost'")
    before = [fleet.sql(f"SELECT * FROM {table}") for table in ("collection", "content", "device")]  # noqa: S608 - ours
    assert fleet.observations.store([replace(sent, **change)]) == [outcome]
    assert [fleet.sql(f"SELECT * FROM {table}") for table in ("collection", "content", "device")] == before  # noqa: S608
    assert not outcome.acceptable


def test_a_message_of_another_device_is_foreign(fleet: Fleet) -> None:
    """A real device's id over another's row, of the same tenant or of another: neither gets anything (I11)."""
    mine = fleet.passed("A")
    stranger = TenantId(fleet.value("INSERT INTO tenant (name, pepper) VALUES ('other', :p) RETURNING id", p=SECRET))
    theirs = fleet.passed("B", fleet.device(tenant_id=stranger))
    forged = [
        replace(mine, device_id=theirs.device_id, tenant_id=stranger),
        replace(mine, collection_id=theirs.collection_id),
        replace(theirs, tenant_id=mine.tenant_id),
    ]
    assert fleet.observations.store(forged) == [Stored.FOREIGN] * 3
    assert fleet.value("SELECT count(*) FROM content") == 0


@pytest.mark.parametrize("state", ["claimed", "running", "withdrawn", "failed", "blocked", "suspect", "tested"])
def test_what_never_passed_the_fence_is_refused(fleet: Fleet, state: str) -> None:
    """A message for a row that has not been published, or has ended otherwise, is not stored."""
    running = fleet.running()
    if state in {"failed", "blocked"}:  # it had passed, then was refused for good
        fleet.collections.publish(running, published("A"))
        fleet.collections.end(running, Ending(State(state), "x"))
    else:
        fleet.sql("UPDATE collection SET state = :s", s=state)
    assert fleet.observations.store([message(running, "A")]) == [Stored.WRONG_STATE]
    assert fleet.value("SELECT count(*) FROM content") == 0


@pytest.mark.parametrize("state", [State.SUSPECT, State.BLOCKED])
def test_what_was_kept_aside_is_never_stored(fleet: Fleet, state: State) -> None:
    """A forged message with the very bytes that were sealed, and the hash and digest that the row has (I8)."""
    running = fleet.running()
    assert fleet.collections.end(running, replace(doubted("A"), state=state, blocks=state is State.BLOCKED))
    assert fleet.observations.store([message(running, "A")]) == [Stored.WRONG_STATE]
    row = fleet.row("collection", running.collection_id)
    assert bytes(row.digest) == message(running, "A").sealed.digest
    assert (row.state, row.is_change, fleet.row("device", running.device_id).current_seq) == (state, None, 0)
    assert fleet.value("SELECT count(*) FROM content") == 0
    check(fleet)


def test_what_is_below_the_retention_is_expired(fleet: Fleet) -> None:
    """It is done with, not an alarm, also when retention has taken its row away; nothing is written."""
    late, gone, kept = fleet.observed(["ABC"])[0]
    fleet.sql("UPDATE device SET kept_from_seq = 3")
    fleet.sql("DELETE FROM collection WHERE id = :c", c=gone.collection_id)
    assert fleet.observations.store([late, gone, kept]) == [Stored.EXPIRED, Stored.EXPIRED, Stored.STORED]
    assert fleet.observations.store([replace(gone, tenant_id=TenantId(uuid4()))]) == [Stored.UNKNOWN]
    assert fleet.row("collection", late.collection_id).state == "published"
    assert fleet.value("SELECT count(*) FROM content") == 1


def test_forged_numbers_lock_nobody_out(fleet: Fleet) -> None:
    """Two batches that name each other's rows run side by side: what is only named is not locked."""
    one, two = fleet.passed("A"), fleet.passed("B")
    start = threading.Barrier(2)

    def store(batch: list[SnapshotMessage]) -> list[Stored]:
        start.wait()
        return [o for _ in range(20) for o in fleet.observations.store(batch)]

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(store, [replace(one, collection_id=two.collection_id), one])
        second = pool.submit(store, [replace(two, collection_id=one.collection_id), two])
        assert set(first.result()) | set(second.result()) == {Stored.FOREIGN, Stored.STORED, Stored.ALREADY}


# --- lost on the way ---------------------------------------------------------------------------------------------


def test_only_what_is_old_enough_is_lost(fleet: Fleet) -> None:
    """What was published a moment ago may still be on its way; stored or failed rows are left alone."""
    old, new, done = fleet.passed("A"), fleet.passed("B"), fleet.passed("C")
    fleet.observations.store([done])
    for one, age in ((old, 61), (new, 30), (done, 600)):
        later = "UPDATE collection SET collected_at = now() - :age WHERE id = :c"
        fleet.sql(later, c=one.collection_id, age=timedelta(seconds=age))
    fleet.sql("UPDATE device SET next_due_at = now() + interval '1 hour'")
    assert fleet.observations.lose_published(timedelta(seconds=60)) == 1
    assert fleet.observations.lose_published(timedelta(seconds=60)) == 0
    rows = [fleet.row("collection", one.collection_id) for one in (old, new, done)]
    assert [(row.state, row.code) for row in rows] == [("lost", "message_gone"), ("published", None), ("stored", None)]
    due = fleet.row("device", old.device_id)
    assert (due.next_due_at, due.losses, due.failures) == (rows[0].ended_at, 1, 0)
    assert fleet.row("device", new.device_id).next_due_at > rows[0].ended_at


def test_what_was_read_under_a_clock_that_stood_ahead_is_lost_too(fleet: Fleet) -> None:
    """Its message is gone; it must not wait until the clock is there again."""
    sent = fleet.passed("A")
    fleet.sql("UPDATE collection SET collected_at = now() + interval '10 years'")
    assert fleet.observations.lose_published(timedelta(seconds=60)) == 1
    assert fleet.row("collection", sent.collection_id).state == "lost"


def test_messages_that_vanish_again_and_again_wait_for_the_first_step(fleet: Fleet) -> None:
    """A stream that swallows everything must not have each device collected every two minutes, nor wait for hours."""
    device, waits = fleet.device(), []
    for _ in range(4):
        sent = fleet.passed("A", device)
        fleet.sql("UPDATE collection SET collected_at = now() - interval '1 hour' WHERE state = 'published'")
        assert fleet.observations.lose_published(timedelta(seconds=60)) == 1
        ended = fleet.row("collection", sent.collection_id).ended_at
        waits.append(fleet.row("device", device).next_due_at - ended)
    assert waits == [timedelta(0), timedelta(0), backoff.step(0, 0.0), backoff.step(0, 0.0)]
    fleet.observations.store([fleet.passed("A", device)])
    assert fleet.row("device", device).losses == 0


def test_a_loss_that_nothing_misses_makes_nothing_due(fleet: Fleet) -> None:
    """Something newer is stored already, or the device is paused."""
    old, new = fleet.observed(["AB"])[0]
    fleet.observations.store([new])
    paused = fleet.passed("A")
    fleet.sql("UPDATE device SET status = 'paused', next_due_at = NULL WHERE id = :d", d=paused.device_id)
    fleet.sql("UPDATE device SET next_due_at = now() + interval '1 hour' WHERE id = :d", d=old.device_id)
    fleet.sql("UPDATE collection SET collected_at = now() - interval '1 hour'")
    assert fleet.observations.lose_published(timedelta(seconds=60)) == 2
    assert fleet.row("device", paused.device_id).next_due_at is None
    assert fleet.value("SELECT next_due_at > now() FROM device WHERE id = :d", d=old.device_id) is True


# --- what the database itself refuses ----------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["operator", "migrator", "admin"])
def test_the_current_observation_cannot_be_deleted(fleet: Fleet, role: str) -> None:
    """Neither its row nor its content, whoever tries (I8)."""
    fleet.observations.store([fleet.passed("A")])
    engine = fleet.admin if role == "admin" else fleet.engine(role)
    for statement in ("DELETE FROM collection", "DELETE FROM content"):
        with (
            pytest.raises(DBAPIError, match=r"fk_device_current_collection|fk_collection_content"),
            engine.begin() as tx,
        ):
            tx.execute(text(statement))


def test_no_row_is_stored_without_its_content(fleet: Fleet) -> None:
    """`stored` without a content, or with one of another device, is impossible to write (I11)."""
    mine, theirs = fleet.passed("A"), fleet.passed("B")
    fleet.observations.store([theirs])
    content = fleet.row("collection", theirs.collection_id).content_id
    with pytest.raises(DBAPIError, match="ck_collection_stored"):
        fleet.sql("UPDATE collection SET state = 'stored' WHERE id = :c", c=mine.collection_id)
    swap = "UPDATE collection SET content_id = :content WHERE id = :c"
    with pytest.raises(DBAPIError, match="fk_collection_content"):
        fleet.sql(swap, content=content, c=mine.collection_id)
    point = "UPDATE device SET current_collection_id = :theirs WHERE id = :d"
    with pytest.raises(DBAPIError, match="fk_device_current_collection"):
        fleet.sql(point, theirs=theirs.collection_id, d=mine.device_id)


def test_plain_text_does_not_fit(fleet: Fleet) -> None:
    """A content that is not sealed is refused by the database itself (I5)."""
    insert = (
        "INSERT INTO content (tenant_id, device_id, normalization_version, content_hash, sealed, raw_bytes, first_seq) "
        "VALUES (:t, :d, 1, 'x', '/ip address', 1, 1)"
    )
    with pytest.raises(DBAPIError, match="ck_content_sealed"):
        fleet.sql(insert, t=fleet.tenant, d=fleet.device())


def a_tenant(fleet: Fleet, name: str) -> TenantId:
    """One more tenant that has its keys."""
    return TenantId(fleet.value("INSERT INTO tenant (name, pepper) VALUES (:n, :p) RETURNING id", n=name, p=SECRET))


# --- keys, and the server ----------------------------------------------------------------------------------------


def test_the_canaries_of_the_rows_that_are_named_are_given(fleet: Fleet) -> None:
    """Those of the tenants that own the rows, whatever tenant a message names, and of no other."""
    other = a_tenant(fleet, "other")
    for tenant, purpose, mark in ((fleet.tenant, "data", "m1"), (fleet.tenant, "pepper", "m2"), (other, "data", "m3")):
        insert = "INSERT INTO transit_key (tenant_id, purpose, mark) VALUES (:t, :p, :m)"
        fleet.sql(insert, t=tenant, p=purpose, m=mark)
    sent = fleet.passed("A")
    forged = [replace(sent, tenant_id=other), replace(sent, tenant_id=other, collection_id=CollectionId(10**12))]
    for batch in ([sent], [sent, *forged], forged):
        found = fleet.observations.expected_marks(batch)
        assert found == {(fleet.tenant, Purpose.DATA): "m1", (fleet.tenant, Purpose.PEPPER): "m2"}
    assert fleet.observations.expected_marks(forged[1:]) == {}


def test_a_message_of_a_removed_tenant_holds_up_nobody(fleet: Fleet) -> None:
    """Its keys are gone for good: the others of its batch are stored, and of it nothing is written (I2, I9)."""
    gone = a_tenant(fleet, "gone")
    for tenant in (fleet.tenant, gone):
        fleet.sql("INSERT INTO transit_key (tenant_id, purpose, mark) VALUES (:t, 'data', 'm')", t=tenant)
    good, late = fleet.passed("A"), fleet.passed("B", fleet.device(tenant_id=gone))
    forged = replace(good, tenant_id=gone)
    fleet.sql("UPDATE tenant SET removed_at = now() WHERE id = :t", t=gone)
    world = Lately(gone, good, late, forged)
    ports = ingest.IngestPorts(world, fleet.observations, fleet.quarantine, world, print)  # type: ignore[arg-type]
    assert ingest.drain(ports, 2).outcomes == {"stored": 1, "expired": 1, "quarantined": 1}
    assert len(world.acknowledged) == 3
    assert [row.device_id for row in fleet.sql("SELECT * FROM content")] == [good.device_id]


def test_a_connection_that_dies_in_a_batch_stores_nothing(fleet: Fleet) -> None:
    """The server ends the session in the middle: nothing of the batch is there, it is said, and the next try stores."""
    sent = [fleet.passed("A"), fleet.passed("B")]
    observations = fleet.observations
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = :d"
    with ThreadPoolExecutor(1) as pool, fleet.admin.begin() as tx:
        tx.execute(text("SELECT 1 FROM device FOR UPDATE"))
        storing = pool.submit(observations.store, sent)
        name = fleet.admin.url.database
        for _ in range(500):
            if fleet.sql(end, d=name):
                break
            threading.Event().wait(0.02)
        with pytest.raises(StoreUnavailable):
            storing.result()
    assert fleet.value("SELECT count(*) FROM content") == 0
    assert observations.store(sent) == [Stored.STORED] * 2
    check(fleet)
