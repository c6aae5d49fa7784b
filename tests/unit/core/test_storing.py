"""The store rule: any order of delivery, any number of times, and the same history; all else changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from backupflow.core.ledger import Stored
from backupflow.core.model import CollectionId, ContentHash, DeviceId, SealedConfig, Seq, State, TenantId
from backupflow.core.sequence import Observation, Reconsidered, place
from backupflow.core.storing import Holder, Standing, judge
from tests.unit.core.history import (
    CASES,
    DEVICE,
    TENANT,
    cases,
    fence_of,
    hash_of,
    letter_of,
    model,
    sealed,
    sent,
    shelf,
)

MESSAGE = sent("ABA")[1]
ROW = Standing(TENANT, DEVICE, Seq(2), State.PUBLISHED, fence_of(MESSAGE))
HOLDER = Holder(TENANT, tenant_removed=False, kept_from_seq=Seq(0), current_seq=Seq(0))
OTHER = UUID(int=9)


# --- every order of delivery -------------------------------------------------------------------------------------


def test_every_order_of_delivery_ends_the_same() -> None:
    """31,287 cases, in each one message twice: after every delivery it is the run-length of what has arrived (I1, I3).

    Each text is kept once, as it was sealed first; the duplicate is known for what it is.
    """
    count = 0
    messages: dict[str, Any] = {}
    for letters, order in cases():
        count += 1
        made = messages.setdefault(letters, sent(letters))
        store, arrived = shelf(made), dict[int, str]()
        for one in order:
            message = made[one]
            outcome = Stored.ALREADY if message.seq in arrived else Stored.STORED
            arrived.setdefault(message.seq, letter_of(message))
            assert store.store(message) is outcome, (letters, order)
            assert store.history() == model(arrived), (letters, order)
        first = {letters[one]: made[one].sealed for one in reversed(order)}
        assert set(store.contents.values()) == set(first.values()), (letters, order)
    assert count == CASES


def test_the_cases_are_all_there_is() -> None:
    """Each history and order once; every message of every length comes twice in some, at once and much later."""
    met = list(cases())
    orders = {(letters, tuple(dict.fromkeys(order))) for letters, order in met}
    assert (len(met), len(orders)) == (CASES, CASES)
    for length in range(1, 6):
        of_length = [order for letters, order in met if len(letters) == length]
        twice = [next(one for one in order if order.count(one) == 2) for order in of_length]
        gaps = {
            len(order) - 1 - order[::-1].index(one) - order.index(one)
            for order, one in zip(of_length, twice, strict=True)
        }
        assert set(twice) == set(range(length))
        assert gaps == set(range(1, length + 1))


def test_the_model_is_the_run_length() -> None:
    """Said once more, by hand."""
    assert model({}) == ([], 0, 0)
    assert model({4: "A", 2: "B", 1: "A", 3: "B", 9: "B"}) == ([(1, "A"), (2, "B"), (4, "A"), (9, "B")], 9, 2)


@pytest.mark.parametrize("state", [State.PUBLISHED, State.LOST])
def test_what_was_taken_for_lost_takes_its_place(state: State) -> None:
    """Its message was only late: the row is corrected, once, and its successor is looked at again (I10)."""
    a, late, b = made = sent("ABB")
    store = shelf(made, state)
    assert [store.store(one) for one in (a, b, late, late)] == [Stored.STORED] * 3 + [Stored.ALREADY]
    assert store.history() == ([(1, "A"), (2, "B")], 3, 2)


# --- where an observation goes -----------------------------------------------------------------------------------


def seen(seq: int, letter: str, version: int = 1) -> Observation:
    """A stored observation."""
    return Observation(Seq(seq), hash_of(letter), version)


def test_only_what_changes_by_it_is_given() -> None:
    """The nearest on both sides, however many there are and in whatever order; current only if nothing is newer."""
    there = [seen(9, "A"), seen(1, "B"), seen(5, "B"), seen(3, "A")]
    placed = place(seen(4, "A"), there, Seq(9))
    assert (placed.is_change, placed.successor, placed.is_current) == (False, Reconsidered(Seq(5), True), False)
    placed = place(seen(10, "A"), there, Seq(9))
    assert (placed.is_change, placed.successor, placed.is_current) == (False, None, True)
    assert place(seen(2, "C"), [], Seq(0)).is_change is True


def test_across_versions_of_the_normalizer_both_neighbours_are_undecided() -> None:
    """Hashes of two versions say nothing about each other."""
    placed = place(seen(2, "A", 2), [seen(1, "A"), seen(3, "A")], Seq(3))
    assert (placed.is_change, placed.successor) == (None, Reconsidered(Seq(3), None))


# --- what a message is worth -------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(State))
def test_only_what_is_awaited_is_stored(state: State) -> None:
    """Published or lost; a stored one is a duplicate, and nothing else was ever to come."""
    wanted = {State.PUBLISHED: Stored.STORED, State.LOST: Stored.STORED, State.STORED: Stored.ALREADY}
    assert judge(MESSAGE, replace(ROW, state=state), HOLDER) is wanted.get(state, Stored.WRONG_STATE)
    assert judge(MESSAGE, replace(ROW, state=state, fenced=None), HOLDER) is Stored.WRONG_STATE


@pytest.mark.parametrize("state", list(State))
def test_a_late_duplicate_of_what_a_newer_normalizer_rewrote_is_known_by_its_sealed_text(state: State) -> None:
    """Its row has another hash of another version now; only of what is stored, and never the other way round."""
    rewritten = replace(fence_of(MESSAGE), content_hash=hash_of("C"), normalization_version=2)
    row = replace(ROW, state=state, fenced=rewritten)
    wanted = Stored.ALREADY if state is State.STORED else Stored.OTHER_DIGEST
    assert judge(MESSAGE, row, HOLDER) is wanted
    assert judge(replace(MESSAGE, sealed=sealed("other")), row, HOLDER) is Stored.OTHER_DIGEST
    same = replace(row, fenced=replace(rewritten, normalization_version=1))
    assert judge(MESSAGE, same, HOLDER) is Stored.OTHER_DIGEST
    assert judge(replace(MESSAGE, normalization_version=3), row, HOLDER) is Stored.OTHER_DIGEST


FORGED: list[tuple[dict[str, Any], Stored]] = [
    ({"tenant_id": TenantId(OTHER)}, Stored.FOREIGN),
    ({"device_id": DeviceId(OTHER)}, Stored.FOREIGN),
    ({"seq": Seq(1)}, Stored.FOREIGN),
    ({"sealed": sealed("other")}, Stored.OTHER_DIGEST),
    ({"content_hash": ContentHash(bytes(32))}, Stored.OTHER_DIGEST),
    ({"normalization_version": 2}, Stored.OTHER_DIGEST),
]


@pytest.mark.parametrize(("forged", "outcome"), FORGED)
@pytest.mark.parametrize("state", [State.PUBLISHED, State.LOST, State.STORED])
def test_each_field_is_measured_against_the_fence(forged: dict[str, Any], outcome: Stored, state: State) -> None:
    """Whatever state the row is in, and also where retention or a removed tenant would let it expire (I2, I11)."""
    for device in (HOLDER, replace(HOLDER, kept_from_seq=Seq(9)), replace(HOLDER, tenant_removed=True)):
        assert judge(replace(MESSAGE, **forged), replace(ROW, state=state), device) is outcome


def test_what_retention_has_taken_away_has_had_its_time() -> None:
    """Below kept_from_seq a message expires, with its row or without; never one of another tenant, nor at the cut."""
    cut = replace(HOLDER, kept_from_seq=Seq(3))
    assert judge(MESSAGE, ROW, cut) is Stored.EXPIRED
    assert judge(MESSAGE, None, cut) is Stored.EXPIRED
    assert judge(replace(MESSAGE, tenant_id=TenantId(OTHER)), None, cut) is Stored.UNKNOWN
    at_the_cut = replace(HOLDER, kept_from_seq=Seq(2))
    assert judge(MESSAGE, ROW, at_the_cut) is Stored.STORED
    assert judge(MESSAGE, None, at_the_cut) is Stored.UNKNOWN


def test_a_message_whose_row_was_taken_away_is_done_with() -> None:
    """It was stored, or never was one: no alarm. Above what was looked at, or of another tenant, it is a stranger."""
    compacted = replace(HOLDER, compacted_to_seq=2)
    assert judge(MESSAGE, None, compacted) is Stored.EXPIRED
    assert judge(MESSAGE, ROW, compacted) is Stored.STORED
    assert judge(MESSAGE, None, replace(HOLDER, compacted_to_seq=1)) is Stored.UNKNOWN
    assert judge(MESSAGE, None, replace(compacted, tenant_id=TenantId(OTHER))) is Stored.UNKNOWN


def test_of_a_removed_tenant_nothing_new_is_stored() -> None:
    """What is stored already stays."""
    removed = replace(HOLDER, tenant_removed=True)
    assert judge(MESSAGE, ROW, removed) is Stored.EXPIRED
    assert judge(MESSAGE, replace(ROW, state=State.STORED), removed) is Stored.ALREADY


def test_what_names_nothing_is_unknown() -> None:
    """No such device, or no such collection."""
    assert judge(MESSAGE, ROW, None) is Stored.UNKNOWN
    assert judge(replace(MESSAGE, collection_id=CollectionId(10**9)), None, HOLDER) is Stored.UNKNOWN


def test_a_sealing_of_its_own_is_not_the_one_at_the_fence() -> None:
    """The same text sealed twice differs: only the one that the collector made counts."""
    assert SealedConfig(sealed("B2").text) == MESSAGE.sealed
    assert judge(replace(MESSAGE, sealed=sealed("B3")), ROW, HOLDER) is Stored.OTHER_DIGEST
