"""The quarantine on a real PostgreSQL, as the roles that act on it: bytes kept once, bounded, and given back."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sqlalchemy import text

from backupflow.adapters.db.quarantine import Quarantine, Room, lock
from backupflow.core.message import encode
from backupflow.core.quarantine import Kept, Released
from backupflow.flows import ingest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.core.message import SnapshotMessage
    from tests.integration.db.fleet import Fleet

NOISE = "message_malformed: not a snapshot message"


@dataclass
class Bytes:
    """A delivery."""

    payload: bytes
    subject: str = "config.snapshot.create.x"


class Batch:
    """An inbox of one batch, and a vault without keys to be asked for."""

    def __init__(self, *batch: Bytes | SnapshotMessage) -> None:
        self._batch = [one if isinstance(one, Bytes) else Bytes(encode(one), one.subject) for one in batch]
        self.acknowledged: list[Bytes] = []
        self.put_off: list[Bytes] = []
        self.unexpected: list[Exception] = []

    def fetch(self) -> list[Bytes]:
        """Inbox."""
        batch, self._batch = self._batch, []
        return batch

    def acknowledge(self, delivery: Bytes) -> None:
        """Inbox."""
        self.acknowledged.append(delivery)

    def later(self, delivery: Bytes, _: object) -> None:
        """Inbox."""
        self.put_off.append(delivery)

    def newest(self) -> int:
        """Inbox."""
        return 0

    def drained(self, upto: int | None = None) -> bool:
        """Inbox."""
        return False

    def drain(self, fleet: Fleet) -> dict[str, int]:
        """Run the flow over it; the outcomes."""
        ports: Any = (self, fleet.observations, fleet.quarantine, self, self.unexpected.append)
        return dict(ingest.drain(ingest.IngestPorts(*ports), 3).outcomes)


def kept(fleet: Fleet) -> list[tuple[bytes | None, str]]:
    """What is in quarantine: bytes and reason."""
    rows = fleet.sql("SELECT payload, reason FROM quarantine ORDER BY id")
    return [(None if row.payload is None else bytes(row.payload), row.reason) for row in rows]


def release(fleet: Fleet) -> None:
    """An operator gives everything back."""
    with fleet.engine("operator").begin() as tx:
        tx.execute(text("UPDATE quarantine SET released_at = now(), released_by = 'me'"))


# --- putting aside -----------------------------------------------------------------------------------------------


def test_the_bytes_are_kept_once(fleet: Fleet) -> None:
    """Whatever it was, byte for byte, with one alarm per reason; a repeated delivery adds nothing."""
    hostile = Bytes(b"\x00\xff not a message \r\n", "config.snapshot.create." + "x" * 10_000)
    said = [fleet.quarantine.set_aside(hostile, "unknown_collection") for _ in range(3)]
    assert [(one.kept, one.new) for one in said] == [(Kept.BYTES, True), (Kept.BYTES, False), (Kept.BYTES, False)]
    fleet.quarantine.set_aside(Bytes(b"other"), "unknown_collection")
    fleet.quarantine.set_aside(Bytes(b"other"), "other_digest")
    assert kept(fleet) == [
        (hostile.payload, "unknown_collection"),
        (b"other", "unknown_collection"),
        (b"other", "other_digest"),
    ]
    assert fleet.alarms() == [("quarantine", "unknown_collection"), ("quarantine", "other_digest")]


def test_whose_it_claims_to_be_is_written_down(fleet: Fleet) -> None:
    """As far as it can be read at all; it needs not exist."""
    sent = fleet.passed("A")
    claims = {"tenant_id": str(sent.tenant_id), "device_id": str(UUID(int=5)), "extra": [1]}
    for payload in (encode(sent), json.dumps(claims).encode(), b'{"tenant_id": 5, "device_id": "\\ud800"}', b"["):
        fleet.quarantine.set_aside(Bytes(payload), "x")
    rows = fleet.sql("SELECT tenant_id, device_id FROM quarantine ORDER BY id")
    assert [tuple(row) for row in rows] == [
        (sent.tenant_id, sent.device_id),
        (sent.tenant_id, UUID(int=5)),
        (None, None),
        (None, None),
    ]


def test_a_full_quarantine_keeps_digests_and_then_nothing(fleet: Fleet) -> None:
    """Whoever can write to the bus cannot fill the database: neither with bytes, nor with rows."""
    quarantine = Quarantine(fleet.engine("ingester"), Room(size=1000, messages=3))
    assert [quarantine.set_aside(Bytes(letter * 400), "a").kept for letter in (b"a", b"b", b"c", b"d")] == [
        Kept.BYTES,
        Kept.BYTES,
        Kept.DIGEST,
        Kept.DIGEST,
    ]
    said = [quarantine.set_aside(Bytes(b"%d" % n), "b").kept for n in range(4)]
    assert said == [Kept.DIGEST, Kept.DIGEST, Kept.NOTHING, Kept.NOTHING]
    rows = fleet.sql("SELECT * FROM quarantine ORDER BY id")
    assert [row.payload and len(row.payload) for row in rows] == [400, 400, None, None, None, None]
    assert bytes(rows[2].digest) == hashlib.sha256(b"c" * 400).digest()
    assert fleet.alarms() == [("quarantine", "a"), ("quarantine", "b"), ("quarantine", "full")]
    assert "only its digest" in fleet.value("SELECT detail FROM alarm WHERE scope = 'b'")
    assert quarantine.set_aside(Bytes(b"a" * 400), "a").kept is Kept.BYTES  # that is there already
    assert Room().size == 256 * 1024 * 1024


def test_there_is_room_again_after_a_drop(fleet: Fleet) -> None:
    """The alarm of no room goes with the messages that took it."""
    quarantine = Quarantine(fleet.engine("ingester"), Room(size=1000, messages=1))
    for word in (b"a", b"b", b"c"):
        quarantine.set_aside(Bytes(word), "a")
    assert ("quarantine", "full") in fleet.alarms()
    fleet.sql("UPDATE quarantine SET released_at = now()")
    for row in fleet.sql("SELECT * FROM quarantine"):
        quarantine.taken(Released(row.id, b"", ""))
    assert fleet.alarms() == []
    assert quarantine.set_aside(Bytes(b"d"), "a").kept is Kept.BYTES


@pytest.mark.parametrize("subject", ["a\0b", "a\udcffb", "\N{SNOWMAN}" * 1000, "\0" * 10_000, ""])
def test_any_subject_fits(fleet: Fleet, subject: str) -> None:
    """What a row cannot hold must not come again and again, and hold up what comes with it (I9)."""
    batch = Batch(Bytes(b"junk", f"config.snapshot.create.{subject}"), fleet.passed("A"))
    assert batch.drain(fleet) == {"quarantined": 1, "stored": 1}
    row = fleet.sql("SELECT * FROM quarantine")[0]
    assert row.subject.startswith("config.snapshot.create.")
    assert row.subject.isascii()
    assert len(row.subject) <= 500


# --- one poisonous row -------------------------------------------------------------------------------------------

Refuse = Callable[[str, str, str, str], None]
POISON = """
    CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.{column} = {value} THEN RAISE EXCEPTION 'poison' USING ERRCODE = '{sqlstate}'; END IF;
        RETURN NEW; END $$;
    CREATE TRIGGER poison BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION poison()"""


@pytest.fixture
def poison(fleet: Fleet) -> Iterator[Refuse]:
    """Make PostgreSQL refuse one row; give the failure, the table and which row."""

    def refuse(sqlstate: str, table: str, column: str, value: str) -> None:
        fleet.sql(POISON.format(sqlstate=sqlstate, table=table, column=column, value=value).replace(":", r"\:"))

    yield refuse
    fleet.sql("DROP FUNCTION poison CASCADE")


@pytest.mark.parametrize("sqlstate", ["23514", "22003", "22021", "P0001", "XX000"])
def test_a_row_that_the_database_refuses_holds_up_nobody(fleet: Fleet, poison: Refuse, sqlstate: str) -> None:
    """The others of its batch are stored at once; the poisonous one is kept with its bytes, and comes no more."""
    first, bad, last = (fleet.passed(letter) for letter in "ABC")
    poison(sqlstate, "content", "device_id", f"'{bad.device_id}'")
    batch = Batch(first, bad, last)
    assert batch.drain(fleet) == {"stored": 2, "quarantined": 1}
    assert len(batch.acknowledged) == 3
    assert batch.put_off == []
    assert [(payload, reason.partition(":")[0]) for payload, reason in kept(fleet)] == [(encode(bad), "unexpected")]
    assert len(batch.unexpected) == 2  # of the batch, and of the row alone
    assert {row.device_id for row in fleet.sql("SELECT * FROM content")} == {first.device_id, last.device_id}
    assert fleet.row("collection", bad.collection_id).state == "published"


def test_what_was_poison_is_stored_once_the_cause_is_mended(fleet: Fleet, poison: Refuse) -> None:
    """Released too early it is put back with the reason; afterwards it is stored, and its alarm is over."""
    bad = fleet.passed("A")
    poison("23514", "content", "device_id", f"'{bad.device_id}'")
    Batch(bad).drain(fleet)
    release(fleet)
    assert Batch().drain(fleet) == {"quarantined": 1}
    assert fleet.sql("SELECT released_at FROM quarantine")[0].released_at is None
    fleet.sql("DROP TRIGGER poison ON content")
    release(fleet)
    assert Batch().drain(fleet) == {"stored": 1}
    assert kept(fleet) == []
    assert fleet.alarms() == []
    assert fleet.row("collection", bad.collection_id).state == "stored"


def test_what_fits_no_quarantine_comes_later(fleet: Fleet, poison: Refuse) -> None:
    """Not acknowledged, so never lost; not at once, so no hot loop; and nobody waits for it."""
    good = fleet.passed("A")
    poison("23514", "quarantine", "reason", f"'{NOISE}'")
    batch = Batch(Bytes(b"noise"), good)
    assert batch.drain(fleet) == {"put_off": 1, "stored": 1}
    assert [one.payload for one in batch.put_off] == [b"noise"]
    assert [one.payload for one in batch.acknowledged] == [encode(good)]


# --- given back --------------------------------------------------------------------------------------------------


def test_what_is_released_is_judged_as_ever(fleet: Fleet) -> None:
    """Stored, found to be stored already, or put back with the reason that holds now; the bus is not asked."""
    good, twice, bad = (fleet.passed(letter) for letter in "ABC")
    fleet.observations.store([twice])
    for one in (good, twice, bad):
        fleet.quarantine.set_aside(Bytes(encode(one), one.subject), "unexpected: Cause")
    fleet.sql("UPDATE collection SET state = 'failed', ended_at = now() WHERE id = :c", c=bad.collection_id)
    assert Batch().drain(fleet) == {}
    release(fleet)
    assert Batch().drain(fleet) == {"stored": 1, "already_stored": 1, "quarantined": 1}
    assert kept(fleet) == [(encode(bad), "wrong_state")]
    assert fleet.alarms() == [("quarantine", "wrong_state")]
    assert fleet.row("collection", good.collection_id).state == "stored"
    assert Batch().drain(fleet) == {}  # not released any more


@pytest.mark.parametrize("digest_only", [False, True])
def test_the_same_message_is_put_back_beside_itself(fleet: Fleet, digest_only: bool) -> None:
    """It was put aside for two reasons: one is left, and the bytes are."""
    bad = fleet.passed("A")
    fleet.sql("UPDATE collection SET state = 'failed', ended_at = now()")
    delivery = Bytes(encode(bad), bad.subject)
    fleet.quarantine.set_aside(delivery, "unexpected: Cause")
    if digest_only:
        Quarantine(fleet.engine("ingester"), Room(size=0)).set_aside(delivery, "wrong_state")
    else:
        fleet.quarantine.set_aside(delivery, "wrong_state")
    fleet.sql("UPDATE quarantine SET released_at = now() WHERE reason <> 'wrong_state'")
    Batch().drain(fleet)
    assert kept(fleet) == [(encode(bad), "wrong_state")]
    assert fleet.alarms() == [("quarantine", "wrong_state")]


def test_an_alarm_is_not_cleared_over_a_message_that_just_comes(fleet: Fleet) -> None:
    """The last one goes while another is put aside for the same reason: it waits, and the alarm stands afterwards."""
    fleet.quarantine.set_aside(Bytes(b"first"), "x")
    number = fleet.value("UPDATE quarantine SET released_at = now() RETURNING id")
    waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()"
    with ThreadPoolExecutor(1) as pool:
        with fleet.admin.begin() as coming:
            lock(coming)
            coming.execute(text("INSERT INTO quarantine (reason, subject, digest) VALUES ('x', 's', 'd')"))
            going = pool.submit(fleet.quarantine.taken, Released(number, b"", ""))
            while not going.done() and not fleet.sql(waits):
                threading.Event().wait(0.02)
        going.result()
    assert fleet.value("SELECT count(*) FROM quarantine") == 1
    assert fleet.alarms() == [("quarantine", "x")]
