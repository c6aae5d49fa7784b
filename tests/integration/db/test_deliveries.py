"""Deliveries on a real PostgreSQL: any order, any number of times, by many writers, and the model's history."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event

from backupflow.core.ledger import Stored
from tests.integration.db.fleet import Fleet, hashed
from tests.integration.db.invariants import check, histories
from tests.unit.core.history import LETTERS, Case, History, cases, model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backupflow.core.message import SnapshotMessage
    from backupflow.core.model import DeviceId
    from tests.conftest import Size

DRAWN = 300
WRITERS = 8
DEVICES, LENGTH = 80, 10  # 80 * 10 observations, each delivered twice: 1,600
SEED = 20261122


def shown(fleet: Fleet) -> dict[DeviceId, History]:
    """What the rows say of each device that has a history."""
    letters = {bytes(hashed(letter)): letter for letter in LETTERS}
    current = {row.id: row.current_seq for row in fleet.sql("SELECT id, current_seq FROM device")}
    kept = "SELECT device_id, count(*) AS n FROM content GROUP BY device_id"
    contents = {row.device_id: row.n for row in fleet.sql(kept)}
    return {
        key: History(
            [(row.seq, letters[bytes(row.content_hash)]) for row in rows if row.is_change], current[key], contents[key]
        )
        for key, rows in histories(fleet).items()
    }


def expected(arrived: Mapping[DeviceId, Mapping[int, str]]) -> dict[DeviceId, History]:
    """What the model says of them."""
    return {key: model(observed) for key, observed in arrived.items()}


@pytest.mark.timeout(1800)
def test_random_cases_end_as_the_model_says(fleet: Fleet, size: Size) -> None:
    """300 of the 31,287, up to three deliveries of each in a batch; after every batch, not only at the end."""
    dice = random.Random(SEED)
    drawn: list[Case] = dice.sample(list(cases()), DRAWN if size == "small" else 3 * DRAWN)
    sent = fleet.observed([case.letters for case in drawn])
    arrived: dict[DeviceId, dict[int, str]] = {}
    waiting = [[messages[one] for one in case.order] for case, messages in zip(drawn, sent, strict=True)]
    while any(waiting):
        batch, wanted = [], []
        for case, messages in zip(drawn, waiting, strict=True):
            for message in [messages.pop(0) for _ in range(min(len(messages), dice.randint(1, 3)))]:
                there = arrived.setdefault(message.device_id, {})
                wanted.append(Stored.ALREADY if message.seq in there else Stored.STORED)
                there[message.seq] = case.letters[message.seq - 1]
                batch.append(message)
        assert fleet.observations.store(batch) == wanted
        check(fleet)
        assert shown(fleet) == expected(arrived)
    assert sum(len(observed) for observed in arrived.values()) == sum(len(case.letters) for case in drawn)


@pytest.mark.timeout(1800)
def test_many_writers_end_as_the_model_says(fleet: Fleet, size: Size) -> None:
    """1,600 shuffled, duplicated deliveries by eight writers, in batches: each stored once, no deadlock (I1, I3)."""
    for seed in range(1 if size == "small" else 5):
        fleet.empty()
        dice = random.Random(SEED + seed)
        texts = ["".join(dice.choices(LETTERS, k=LENGTH)) for _ in range(DEVICES)]
        sent = fleet.observed(texts)
        deliveries = [message for one in sent for message in one] * 2
        assert len(deliveries) == 1600
        dice.shuffle(deliveries)
        outcomes = by_writers(fleet, deliveries, dice)
        assert (outcomes.count(Stored.STORED), outcomes.count(Stored.ALREADY)) == (800, 800)
        check(fleet)
        observed = {one[0].device_id: dict(enumerate(text, 1)) for one, text in zip(sent, texts, strict=True)}
        assert shown(fleet) == expected(observed)


def by_writers(fleet: Fleet, deliveries: Sequence[SnapshotMessage], dice: random.Random) -> list[Stored]:
    """Let the writers, each with connections of its own, take batches of any size; an error of any is raised."""
    batches, at = [], 0
    while at < len(deliveries):
        taken = dice.randint(1, 20)
        batches.append(deliveries[at : at + taken])
        at += taken
    start = threading.Barrier(WRITERS)
    connections = set()
    event.listen(fleet.engine("ingester"), "checkout", lambda made, *_: connections.add(id(made)))

    def write(mine: Sequence[Sequence[SnapshotMessage]]) -> list[Stored]:
        start.wait()
        return [outcome for batch in mine for outcome in fleet.observations.store(batch)]

    with ThreadPoolExecutor(WRITERS) as pool:
        done = list(pool.map(write, [batches[n::WRITERS] for n in range(WRITERS)]))
    assert len(connections) > 1  # they were at it at the same time
    return [outcome for outcomes in done for outcome in outcomes]
