"""Alive and ready: what a process decides of what it knows of itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from backupflow.core.health import CALL_FRESH, HEARTBEAT_LATE, LOOP_SILENT, TICK_LATE, Vitals, alive, ready

SOON = timedelta(seconds=1)
WELL = Vitals(silent={"heart": SOON, "consumer": SOON}, heartbeat=SOON)


def test_a_process_whose_loops_go_round_lives_and_is_ready() -> None:
    """And says no more than that."""
    assert (alive(WELL).well, alive(WELL).says) == (True, "alive")
    assert (ready(WELL).well, ready(WELL).says) == (True, "ready")


def test_a_loop_that_hangs_is_the_end_of_life() -> None:
    """Whoever starts processes is to start it again; the loop is named, and those that go round are not."""
    hung = replace(WELL, silent={"heart": SOON, "consumer": LOOP_SILENT + SOON})
    assert not alive(hung).well
    assert alive(hung).says == "its consumer has not gone round for 121 s"
    assert ready(hung).says == f"not ready: {alive(hung).says}"


def test_a_loop_may_wait_for_as_long_as_its_servers_may_take() -> None:
    """The last lawful moment is no death."""
    assert alive(replace(WELL, silent={"heart": LOOP_SILENT})).well


@pytest.mark.parametrize(
    "trouble",
    [
        {"waits_for": "its database: store_unavailable"},
        {"heartbeat": None},
        {"heartbeat": HEARTBEAT_LATE + SOON},
        {"has_broker": False},
        {"ticked": TICK_LATE + SOON},
        {"ticks": True},
        {"failing": {"bus_unavailable": CALL_FRESH}},
        {"stuck": 4},
        {"ends": True},
    ],
)
def test_what_keeps_it_from_its_work_makes_it_unready_and_kills_nobody(trouble: dict[str, Any]) -> None:
    """A server that is away, or an end that was asked for, is no reason to start a process again."""
    vitals = replace(WELL, **trouble)
    assert alive(vitals).well
    assert not ready(vitals).well
    assert ready(vitals).says.startswith("not ready: ")


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        ({"waits_for": "the broker"}, "not ready: it waits for the broker"),
        ({"heartbeat": timedelta(seconds=45)}, "not ready: its database took no heartbeat for 45 s"),
        ({"has_broker": False}, "not ready: it has no connection to the broker"),
        ({"ticks": True, "ticked": None}, "not ready: no tick has succeeded yet"),
        (
            {"ticked": SOON, "failing": {"vault_unavailable": SOON, "bus_unavailable": SOON}},
            "not ready: its last call failed: bus_unavailable, vault_unavailable",
        ),
        ({"stuck": 4}, "not ready: all of its 4 threads are at tasks that take longer than they may"),
    ],
)
def test_the_reason_is_one_line_for_a_person(trouble: dict[str, Any], says: str) -> None:
    """Of several reasons the first, which is the one that the others follow from."""
    assert ready(replace(WELL, **trouble)).says == says
    assert ready(replace(WELL, **{"ticked": TICK_LATE + SOON, **trouble})).says in {
        says,
        "not ready: no tick succeeded for 31 s",
    }


def test_a_failure_of_long_ago_says_nothing_of_now() -> None:
    """Whoever had nothing to do since may well be able to."""
    assert ready(replace(WELL, failing={"bus_unavailable": CALL_FRESH + SOON})).well


def test_beat_that_claims_nothing_is_ready_and_says_why_it_claims_nothing() -> None:
    """The vault may be away: the beat does what it can, and another one would do no more."""
    paused = replace(WELL, ticked=SOON, note="claiming paused: vault_unavailable")
    assert (ready(paused).well, ready(paused).says) == (True, "ready; claiming paused: vault_unavailable")


def test_one_that_ends_is_alive_while_it_finishes_what_it_has_begun() -> None:
    """Its loops have stopped by then; its time is what the grace of its service says."""
    ending = replace(WELL, ends=True, silent={"heart": 2 * LOOP_SILENT})
    assert alive(ending).well
    assert ready(ending).says == "not ready: it is ending"
