"""Old attempts are taken away, and nobody who looks at a history can tell: before, after, and when late ones come."""
# ruff: noqa: S608 - the statements are put together of our own constants

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from backupflow.adapters.db.compacting import Compacting
from backupflow.adapters.db.verifying import Verifying
from backupflow.core.ledger import Stored
from backupflow.core.model import Pepper, Seq
from backupflow.errors import MessageMalformed, NotFound
from backupflow.flows import maintain
from tests.checker.case import Terms
from tests.checker.check import judge
from tests.checker.reading import gather
from tests.conftest import SIZE
from tests.integration.db.fleet import Fleet, hashed
from tests.integration.db.invariants import check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.history import Run
    from backupflow.core.message import SnapshotMessage
    from backupflow.core.model import DeviceId

KEEP = timedelta(days=30)
# What a letter stands for. A, B, C: stored with that content. P, L: A and B that ingest does not have yet.
STORED, PENDING = "ABC", {"P": "A", "L": "B"}
ENDED = {
    "f": ("failed", "device_timeout", None, "schedule"),
    "g": ("failed", "device_unreachable", None, "schedule"),
    "b": ("blocked", "authentication_failed", None, "forced"),
    "w": ("withdrawn", "withdrawn", "paused", "schedule"),
    "v": ("withdrawn", "withdrawn", "site down", "schedule"),
    "l": ("lost", "lease_over", None, "schedule"),
    "t": ("tested", "", None, "test"),
    "s": ("suspect", "export_suspect", "small", "schedule"),
}
NOTHING_READ = """
    content_hash = NULL, digest = NULL, collected_at = NULL, normalization_version = NULL, raw_bytes = NULL"""
ENDS = f"""
    UPDATE collection SET state = :state, code = :code, detail = :detail, trigger = :trigger, {NOTHING_READ},
        ended_at = now() WHERE device_id = :d AND seq = :s"""
DOUBT = """
    UPDATE collection SET state = :state, code = :code, detail = :detail, trigger = :trigger, ended_at = now()
    WHERE device_id = :d AND seq = :s"""
ASIDE = """
    INSERT INTO aside (collection_id, tenant_id, device_id, sealed)
    SELECT id, tenant_id, device_id, :sealed FROM collection WHERE device_id = :d AND seq = :s"""
LOST = "UPDATE collection SET state = 'lost', code = 'message_gone', ended_at = now() WHERE device_id = :d AND seq = :s"
ASK = """
    INSERT INTO request (tenant_id, device_id, requested_by, collection_id, answered_at, answer)
    SELECT tenant_id, device_id, 'me', id, now(), 'claimed' FROM collection WHERE device_id = :d AND seq = :s"""
AGE = """
    UPDATE collection c SET claimed_at = t.at, emitted_at = t.at, started_at = t.at,
        collected_at = CASE WHEN c.collected_at IS NOT NULL THEN t.at END,
        stored_at = CASE WHEN c.stored_at IS NOT NULL THEN t.at END,
        ended_at = CASE WHEN c.ended_at IS NOT NULL THEN t.at END
    FROM (SELECT id, now() - interval '1 day' + seq * interval '1 s'
              - CASE WHEN seq <= :old THEN interval '40 days' ELSE interval '0' END AS at
          FROM collection WHERE device_id = :d) t
    WHERE t.id = c.id"""
TABLES = ("device", "collection", "content", "aside", "request", "audit", "alarm", "quarantine")


@dataclass(frozen=True)
class History:
    """What happened to one device: a letter an attempt; the first `old` of them are older than what is kept."""

    letters: str
    old: int
    asked: frozenset[int] = frozenset()  # the attempts that somebody had asked for
    order: int = 0  # of the deliveries; 0: as they were read


@dataclass(frozen=True)
class Made:
    """A history in the ledger."""

    history: History
    device: DeviceId
    messages: Sequence[SnapshotMessage]  # by seq

    @property
    def name(self) -> str:
        """Of the device."""
        return str(self.device)

    def of(self, letters: str) -> list[SnapshotMessage]:
        """The messages of these."""
        return [m for m, letter in zip(self.messages, self.history.letters, strict=True) if letter in letters]


class Shut:
    """A vault that opens nothing: what is sealed is not of these tests."""

    def open_config(self, *_: object) -> NoReturn:
        """Refuse."""
        raise MessageMalformed("shut")

    def open_pepper(self, *_: object) -> Pepper:
        """Give none."""
        return Pepper(b"")


def build(fleet: Fleet, histories: Sequence[History]) -> list[Made]:
    """As beat, collectors, ingest and a person left it."""
    letters = ["".join(PENDING.get(one, one if one in STORED else "A") for one in h.letters) for h in histories]
    made = [Made(h, sent[0].device_id, sent) for h, sent in zip(histories, fleet.observed(letters), strict=True)]
    with fleet.admin.begin() as tx:
        for one in made:
            for message, letter in zip(one.messages, one.history.letters, strict=True):
                where: dict[str, Any] = {"d": one.device, "s": message.seq}
                if letter == "L":
                    tx.execute(text(LOST), where)
                if letter in ENDED:
                    ended = zip(("state", "code", "detail", "trigger"), ENDED[letter], strict=True)
                    tx.execute(text(DOUBT if letter == "s" else ENDS), where | dict(ended))
                if letter == "s":
                    tx.execute(text(ASIDE), where | {"sealed": message.sealed.text})
                if message.seq in one.history.asked:
                    tx.execute(text(ASK), where)
    for one in made:
        sent = one.of(STORED)
        if one.history.order:
            random.Random(one.history.order).shuffle(sent)
        assert all(outcome is Stored.STORED for outcome in fleet.observations.store(sent))
    with fleet.admin.begin() as tx:
        for one in made:
            tx.execute(text(AGE), {"d": one.device, "old": one.history.old})
    return made


def shown(fleet: Fleet, one: Made) -> Sequence[Run]:
    """What `snapshots` tells of it."""
    return fleet.snapshots.runs(fleet.tenant, one.name, 100_000)


def looked_at(fleet: Fleet, made: Sequence[Made]) -> tuple[Any, ...]:
    """All that anybody can see of these histories."""
    verifying = Verifying(fleet.engine("operator"))
    said = judge(gather(fleet.admin, Shut(), ()), Terms(at_work=False))
    findings = sorted(one for one in said if "I2" not in one)  # that nothing opens here
    flaws = [verifying.flaws(one.device) for one in made]
    current = fleet.sql("SELECT id, current_seq, current_collection_id FROM device ORDER BY id")
    return [shown(fleet, one) for one in made], findings, flaws, current


def compact(fleet: Fleet) -> int:
    """As the job does, but that a device is looked at again at once."""
    fleet.sql("UPDATE device SET compacted_at = NULL")
    return maintain.compact_part(Compacting(fleet.engine("operator")), KEEP, lambda: False).counts["taken_away"]


def left(fleet: Fleet, one: Made) -> list[int]:
    """The attempts that are still there."""
    return [row.seq for row in fleet.sql("SELECT seq FROM collection WHERE device_id = :d ORDER BY seq", d=one.device)]


def stays(one: Made, firsts: set[int]) -> list[int]:
    """What has to be left: all but what stands between two of its like, is old, and nothing refers to."""
    letters, history, kinds = one.history.letters, one.history, list[str | None]()
    before = ""
    for letter in letters:
        if letter in STORED:
            kinds.append(letter if letter == before else None)
            before = letter
        else:
            kinds.append(letter if letter in ENDED else None)
    between = {
        seq
        for seq in range(2, len(letters))
        if kinds[seq - 1] is not None and kinds[seq - 2] == kinds[seq - 1] == kinds[seq]
    }
    bound = set(history.asked) | firsts | {seq for seq, letter in enumerate(letters, 1) if letter == "s"}
    return [seq for seq in range(1, len(letters) + 1) if seq not in between or seq > history.old or seq in bound]


LETTER = st.sampled_from("AAAAAAABBCPLffffgbwwvlltts")
STRETCHES = st.lists(st.tuples(LETTER, st.integers(1, 6)), min_size=1, max_size=8)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Stretches of equal attempts, and what stands between them."""
    letters = "".join(letter * count for letter, count in draw(STRETCHES))
    seqs = st.integers(1, len(letters))
    return History(
        letters, draw(st.integers(0, len(letters))), draw(st.frozensets(seqs, max_size=2)), draw(st.integers(0, 9))
    )


@settings(max_examples=12 if SIZE == "small" else 400, suppress_health_check=list(HealthCheck))
@given(st.lists(histories(), min_size=1, max_size=8))
def test_nobody_can_tell_that_old_attempts_were_taken_away(ledger: Fleet, drawn: list[History]) -> None:
    """Runs with their counts, verify, and the checker of all promises say the same.

    A message that comes twice is done with, one that comes late goes where it belongs, and no row goes twice.
    """
    ledger.empty()
    made = build(ledger, drawn)
    before = looked_at(ledger, made)
    firsts = {one.device: set[int]() for one in made}
    for row in ledger.sql("SELECT device_id, first_seq FROM content"):
        firsts[row.device_id].add(row.first_seq)
    gone = compact(ledger)
    assert [left(ledger, one) for one in made] == [stays(one, firsts[one.device]) for one in made]
    assert gone == sum(len(one.messages) for one in made) - ledger.value("SELECT count(*) FROM collection")
    assert ledger.value("SELECT coalesce(sum(compacted), 0) FROM collection") == gone
    assert looked_at(ledger, made) == before
    assert compact(ledger) == 0

    tables = [ledger.sql(f"SELECT * FROM {table} ORDER BY 1") for table in TABLES]
    for one in made:
        assert {*ledger.observations.store(one.of(STORED))} <= {Stored.ALREADY, Stored.EXPIRED}
    assert [ledger.sql(f"SELECT * FROM {table} ORDER BY 1") for table in TABLES] == tables

    for one in made:
        late = one.of("PL")
        assert set(ledger.observations.store(late)) <= {Stored.STORED}
        read = one.of(STORED + "PL")
        assert sum(run.observations for run in shown(ledger, one)) == len(read)
        changes = [
            m for m, last in zip(read, [None, *read], strict=False) if not last or m.content_hash != last.content_hash
        ]
        assert [(run.seq, run.content_hash) for run in reversed(shown(ledger, one))] == [
            (m.seq, m.content_hash) for m in changes
        ]
    check(ledger)


def test_a_snapshot_that_was_seen_once_can_be_had_for_ever(fleet: Fleet) -> None:
    """Whoever wrote its number down gets the same configuration, under the number of the next that is left."""
    (one,) = build(fleet, [History("AAAAAffffBBBB", 13)])
    assert compact(fleet) == 5
    assert left(fleet, one) == [1, 2, 5, 6, 9, 10, 11, 13]

    def read(seq: int) -> tuple[int, bytes]:
        found = fleet.snapshots.read(fleet.tenant, one.name, Seq(seq), "me")
        return found.seq, found.content_hash

    assert [read(seq) for seq in (3, 4, 5, 12)] == [
        (5, hashed("A")),
        (5, hashed("A")),
        (5, hashed("A")),
        (13, hashed("B")),
    ]
    for seq in (7, 8, 9):
        with pytest.raises(NotFound):
            read(seq)


def test_counts_are_handed_on(fleet: Fleet) -> None:
    """A stretch that goes on for months is three rows, and how many there were is known."""
    (one,) = build(fleet, [History("A" + "A" * 9, 5)])
    assert compact(fleet) == 3
    fleet.sql("UPDATE collection SET ended_at = now() - interval '40 days'")
    assert compact(fleet) == 4
    rows = fleet.sql("SELECT seq, compacted FROM collection ORDER BY seq")
    assert [tuple(row) for row in rows] == [(1, 0), (2, 0), (10, 7)]
    assert [run.observations for run in shown(fleet, one)] == [10]
    assert fleet.row("device", one.device).compacted_to_seq == 9


def test_a_part_ends_when_there_was_enough_and_the_next_goes_on(fleet: Fleet) -> None:
    """Devices that are done are not looked at again that day, and one that somebody works on is left to the next."""
    made = build(fleet, [History("ffff", 4) for _ in range(3)])
    store, looks = Compacting(fleet.engine("operator")), iter([False, True])
    part = maintain.compact_part(store, KEEP, lambda: next(looks))
    assert (part.counts, part.again_in) == ({"devices": 1, "taken_away": 2}, maintain.NEXT_PART)
    with fleet.engine("ingester").begin() as tx:
        others = max(one.device for one in made)
        tx.execute(text("SELECT 1 FROM device WHERE id = :d FOR NO KEY UPDATE"), {"d": others})
        rest = maintain.compact_part(store, KEEP, lambda: False)
    assert (rest.counts["taken_away"], rest.again_in) == (2, None)
    assert maintain.compact_part(store, KEEP, lambda: False).counts == {"devices": 1, "taken_away": 2}
    assert maintain.compact_part(store, KEEP, lambda: False).counts == {"devices": 0, "taken_away": 0}
    assert maintain.compact_part(store, KEEP, lambda: False).outcome == "nothing to do"
