"""Who is deaf, and what is restarted for it: pure decisions over the rows of processes and canaries."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from backupflow.core.liveness import (
    RESTART_AGAIN_AFTER,
    Canary,
    Deaf,
    Hearing,
    Listener,
    Silence,
    ask_every,
    deaf,
    listen,
    mute,
    to_restart,
)

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
AFTER = timedelta(minutes=2)


def ago(seconds: float) -> datetime:
    """So many seconds before now."""
    return NOW - timedelta(seconds=seconds)


WORKER = Listener(UUID(int=1), "collector", "here", 11, ("collect", "collect.now"), ago(3600), ago(3), ago(150))
BEAT = Listener(UUID(int=2), "scheduler", "here", 22, (), ago(3600), ago(3), ago(150))
OPEN = Canary("collect", ago(130), ago(10), None)


def judged(*listeners: Listener, canaries: tuple[Canary, ...] = (OPEN,)) -> tuple[Deaf, ...]:
    """Who of them is deaf."""
    return deaf(Hearing(NOW, listeners, canaries), AFTER)


def test_alive_and_idle_while_work_waits_is_deaf() -> None:
    """It says which, since when its work waits, and where."""
    assert judged(WORKER) == (Deaf(WORKER, ago(130), ("collect",)),)
    says = judged(WORKER)[0].says
    for word in ("collect, collect.now", "pid 11", "here", "2026-01-02 11:57:50 UTC", "waits in collect,", "restart"):
        assert word in says


def test_a_beat_whose_ticks_do_not_end_is_deaf() -> None:
    """Its work is its ticks; no canary is needed to see that."""
    assert judged(BEAT, canaries=()) == (Deaf(BEAT, ago(150)),)
    assert "beat (pid 22 on here)" in judged(BEAT)[0].says
    assert judged(replace(BEAT, worked_at=ago(5))) == ()


@pytest.mark.parametrize(
    "listener",
    [
        replace(WORKER, worked_at=ago(100)),
        replace(WORKER, worked_at=ago(0)),
        replace(WORKER, worked_at=None, started_at=ago(100)),
        replace(WORKER, worked_at=ago(150), started_at=ago(100)),
        replace(WORKER, heartbeat_at=ago(31)),
        replace(WORKER, heartbeat_at=ago(-31)),
        replace(WORKER, queues=("maintain",)),
        replace(BEAT, started_at=ago(100)),
        replace(BEAT, heartbeat_at=ago(31)),
    ],
    ids=[
        "works",
        "just worked",
        "just started",
        "just started anew",
        "silent",
        "of another clock",
        "elsewhere",
        "new beat",
        "silent beat",
    ],
)
def test_who_works_or_started_or_is_silent_is_not_deaf(listener: Listener) -> None:
    """What it began lately, its start, or no heartbeat speak against it."""
    assert judged(listener) == ()


@pytest.mark.parametrize(
    "canary",
    [
        replace(OPEN, answered_at=ago(129)),
        replace(OPEN, asked_at=ago(119)),
        replace(OPEN, emitted_at=ago(61)),
        replace(OPEN, emitted_at=ago(-5)),
        replace(OPEN, asked_at=ago(-3600)),
    ],
    ids=["answered", "asked lately", "asked no more", "sent in the future", "asked in the future"],
)
def test_only_an_open_question_that_is_still_asked_tells(canary: Canary) -> None:
    """Where no beat asks any more, or a clock was set back, nobody is judged."""
    assert judged(WORKER, canaries=(canary,)) == ()


def test_a_time_of_work_in_the_future_excuses_nobody() -> None:
    """A clock that stood ahead when it was written must not hide a deaf process for as long as it did."""
    assert judged(replace(WORKER, worked_at=ago(-3600))) == (
        Deaf(replace(WORKER, worked_at=ago(-3600)), ago(130), ("collect",)),
    )


def test_what_waits_counts_from_its_last_work() -> None:
    """A question older than its last work waits behind what it took, so the time counts from that work."""
    old = replace(OPEN, asked_at=ago(1000))
    assert judged(replace(WORKER, worked_at=ago(119)), canaries=(old,)) == ()
    assert judged(replace(WORKER, worked_at=ago(121)), canaries=(old,))[0].since == ago(121)


def test_each_is_judged_for_itself() -> None:
    """Of two workers of a queue the one that works is not deaf, the idle one is."""
    busy = replace(WORKER, process_id=UUID(int=3), worked_at=ago(1))
    assert [one.listener for one in judged(busy, WORKER)] == [WORKER]


STEP = timedelta(seconds=30)


def watched(*rows: tuple[Listener, ...]) -> dict[str, Silence]:
    """The silences of pid 11, "collect", and 22, "beat", after looks at these rows, a step of time between any two."""
    silences: dict[str, Silence] = {}
    for row in rows:
        silences = listen(silences, Hearing(NOW, row, ()), {11: "collect", 22: "beat"}, "here", STEP)
    return silences


def test_whose_heartbeat_stands_still_for_long_is_mute() -> None:
    """In the time of who watches, from the first look that met it; another heartbeat ends it."""
    silences = watched((WORKER, BEAT), *[(WORKER, replace(BEAT, heartbeat_at=ago(2)))] * 4)
    assert {name: one.lasted for name, one in silences.items()} == {"collect": 4 * STEP, "beat": 3 * STEP}
    assert mute(silences.values(), 4 * STEP) == ()
    found = mute(silences.values(), timedelta(seconds=119))
    assert found == (Deaf(WORKER, WORKER.heartbeat_at, mute=True),)
    assert "heartbeat is missing" in found[0].says
    silences = watched((WORKER,), (WORKER,), (replace(WORKER, heartbeat_at=ago(1)),))
    assert silences["collect"].lasted == timedelta(0)


def test_rows_that_look_old_at_once_make_nobody_mute() -> None:
    """A machine that slept, or whose clock was set ahead or back: what counts is that no heartbeat comes."""
    for hours in (8, -8):
        moved = [replace(one, heartbeat_at=ago(hours * 3600)) for one in (WORKER, BEAT)]
        assert mute(watched((WORKER, BEAT), tuple(moved)).values(), STEP / 2) == ()


def test_a_dead_process_whose_number_came_again_is_not_the_program() -> None:
    """Of two rows the newer is the program's, in any order; and silence is counted for a process, not for a number."""
    again = replace(WORKER, process_id=UUID(int=9), started_at=ago(60))
    for order in ((WORKER, again), (again, WORKER)):
        assert watched(order)["collect"].listener == again
    assert watched((WORKER,), (replace(WORKER, process_id=UUID(int=9)),))["collect"].lasted == timedelta(0)
    assert watched((replace(WORKER, host="there"), replace(WORKER, pid=33))) == {}


def test_a_beat_that_never_says_that_it_works_is_not_judged() -> None:
    """One of the version before this judgement, in an upgrade without a stop: its ticks are nowhere to be read."""
    assert judged(replace(BEAT, worked_at=None), canaries=()) == ()


def test_a_question_is_sent_again_before_anybody_counts_as_deaf() -> None:
    """One that was lost with an emptied broker must have been sent again, and waited for."""
    assert 2 * ask_every(AFTER) < AFTER


def test_only_programs_of_this_machine_are_restarted_and_not_again_soon() -> None:
    """By process id and host; once in ten minutes at most, so that a cause elsewhere makes no storm."""
    found = judged(WORKER, BEAT, replace(WORKER, host="there", pid=33))
    assert len(found) == 3
    programs = {11: "collect", 33: "maintain", 44: "ingest"}
    assert to_restart(found, programs, "here", {}) == {"collect": found[0]}
    assert to_restart(found, programs, "here", {"collect": RESTART_AGAIN_AFTER - timedelta(seconds=1)}) == {}
    assert to_restart(found, programs, "here", {"collect": RESTART_AGAIN_AFTER, "maintain": AFTER}) == {
        "collect": found[0]
    }
