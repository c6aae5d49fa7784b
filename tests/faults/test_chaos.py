"""Everything at once: a seeded storm over beats, workers, servers and networks, then quiet, then the checker."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backupflow.core.model import Login
from backupflow.simulator import Behaviour, Fleet, RouterSpec
from tests.acceptance.install import wait_for
from tests.faults.aftermath import await_current, broken
from tests.faults.chaos import DECK, SERVERS, WORKERS, Storm, Weather, script
from tests.faults.disasters import redeliver_after
from tests.faults.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.chaos import Act

LOGIN = Login("backup", "backup")
LEASE = 19.0  # seconds: the deadlines of tests.faults.stack.SETTINGS and their grace
PATIENCE = 240.0
ACK_WAIT = 4.0  # seconds, in the small size
STANDS = {"stream_remade"}  # until an operator has read it
_FENCED = """
    SELECT id FROM collection WHERE state = 'published' AND collected_at < clock_timestamp() - interval '20 s'"""
_ASKED = "SELECT d.name FROM request r JOIN device d ON d.id = r.device_id WHERE r.answered_at IS NULL"
EVERYONE = ("maintain", "ingest", "collect-slow", *("collect",) * 3, *("beat",) * 3)


@dataclass(frozen=True)
class Shape:
    """How many routers, collected how often, in what weather.

    Afterwards what is due in more than `patient` seconds only, since it failed too often in a row, is asked for.
    """

    routers: int
    interval: int
    concurrency: int
    weather: Weather
    seed: int | None
    patient: float


SHAPES = {
    "small": Shape(12, 5, 4, Weather(20.0, 1.1, 3.0, 0.7, LEASE + 3), 20, 10.0),
    "soak": Shape(50, 20, 8, Weather(600.0, 4.0, 12.0, 0.5, LEASE + 3), None, 300.0),
}


@pytest.fixture
def shape(size: str) -> Shape:
    """The wanted size; BACKUPFLOW_CHAOS_SECONDS and BACKUPFLOW_CHAOS_SEED say otherwise."""
    wanted = SHAPES[size]
    seconds = float(os.environ.get("BACKUPFLOW_CHAOS_SECONDS", wanted.weather.seconds))
    seed = os.environ.get("BACKUPFLOW_CHAOS_SEED")
    drawn = secrets.randbelow(1_000_000) if wanted.seed is None else wanted.seed
    return replace(wanted, weather=replace(wanted.weather, seconds=seconds), seed=int(seed) if seed else drawn)


@pytest.fixture
def fleet(shape: Shape) -> Iterator[Fleet]:
    """Routers that take up to a second for their answer."""
    specs = [
        RouterSpec(f"r{number:02}", seed=number, behaviour=Behaviour(answer_delay=timedelta(seconds=number % 5 / 5)))
        for number in range(shape.routers)
    ]
    with Fleet(specs) as routers:
        yield routers


@pytest.fixture
def stack(tmp_path: Path, shape: Shape, fleet: Fleet) -> Iterator[Stack]:
    """Three beats, three collectors, one of each other kind; what ends is started again."""
    with Stack(tmp_path, CONFIG_BACKUP_INTERVAL=shape.interval, CONFIG_BACKUP_MAX_CONCURRENT=shape.concurrency) as it:
        for kind in EVERYONE:
            it.start(kind, restart=True)
        it.await_alive()
        for name in fleet:
            it.add(name, fleet[name].port, LOGIN)
        yield it


def test_a_script_is_a_function_of_its_seed() -> None:
    """Any failure can be played again; in the full size everything that can happen does, and to everybody."""
    weather = SHAPES["soak"].weather
    acts = script(7, weather, ["r00", "r01"])
    assert acts == script(7, weather, ["r00", "r01"])
    assert acts != script(8, weather, ["r00", "r01"])
    assert {act.what for act in acts} == {what for _, what, _ in DECK} | {"edit"}
    assert {act.whom for act in acts} == {*SERVERS, *WORKERS, "r00", "r01"}
    assert all(0 <= act.at < weather.seconds for act in acts)
    assert max(act.seconds for act in acts if act.what == "stop") > LEASE


@pytest.mark.timeout(6 * 3600)
def test_after_a_storm_every_promise_holds(stack: Stack, fleet: Fleet, shape: Shape) -> None:
    """Killed, stopped, emptied, wiped, sealed, cut off: it becomes healthy by itself, and nothing is wrong (I1-I16)."""
    assert shape.seed is not None
    await_current(stack, fleet, PATIENCE)
    storm = Storm(stack, fleet)
    acts = script(shape.seed, shape.weather, list(fleet))
    print(f"seed {shape.seed}", *acts, sep="\n")  # noqa: T201 - pytest shows it with a failure
    try:
        storm.blow(acts)
        hurried = settle(stack, fleet, shape)
        findings = broken(stack, fleet, stopped=storm.still, grace=timedelta(seconds=30), alarms=STANDS)
        findings += [f"in quarantine: {row}" for row in stack.admin("SELECT subject, reason FROM quarantine")]
        assert not findings, "\n".join(findings)
    except AssertionError as exc:
        raise AssertionError(failure(shape.seed, storm, exc)) from None
    print(summary(stack, acts, hurried))  # noqa: T201 - shown with -s


def settle(stack: Stack, fleet: Fleet, shape: Shape) -> int:
    """Wait until every router's newest revision is current and no alarm stands; how many were asked for."""
    stack.await_alive(*stack.workers)
    if shape.patient < PATIENCE:
        redeliver_after(stack, ACK_WAIT)  # what a dead ingester holds would be waited for, too
    hurried: list[str] = []
    await_current(stack, fleet, shape.patient + PATIENCE, lambda: hurried.extend(hurry(stack, shape.patient)))

    def calm() -> bool:
        hurried.extend(hurry(stack, shape.patient))
        return not standing(stack) - STANDS and not waiting(stack, shape.patient) and not stack.rows(_FENCED)

    wait_for(calm, "calm: no alarm, nobody who waits for long, no old message under way", PATIENCE)
    return len(hurried)


def hurry(stack: Stack, patient: float) -> list[str]:
    """Ask for the devices that wait for longer than that, and were not asked for yet; who they are."""
    asked = {row.name for row in stack.rows(_ASKED)}
    late = [name for name in waiting(stack, patient) if name not in asked]
    if late:
        stack.wiring.requests.ask(stack.tenant_id, late, "test")
    return late


def waiting(stack: Stack, patient: float) -> list[str]:
    """Who is due in so many seconds only."""
    rows = stack.rows("SELECT name FROM device WHERE next_due_at > now() + :patient * interval '1 s'", patient=patient)
    return [row.name for row in rows]


def standing(stack: Stack) -> set[str]:
    """The codes of the alarms that were not cleared."""
    return {row.code for row in stack.rows("SELECT code FROM alarm WHERE cleared_at IS NULL")}


def failure(seed: int, storm: Storm, exc: AssertionError) -> str:
    """Everything that is needed to play it again, and to understand it."""
    script_so_far = "\n".join(storm.told)
    return f"BACKUPFLOW_CHAOS_SEED={seed}\n{exc}\nwhat happened:\n{script_so_far}"


def summary(stack: Stack, acts: list[Act], hurried: int) -> str:
    """What it was, in a few lines."""
    states = {row.state: row.n for row in stack.rows("SELECT state, count(*) AS n FROM collection GROUP BY 1")}
    codes = {row.code: row.n for row in stack.rows("SELECT code, count(*) AS n FROM collection GROUP BY 1")}
    return f"{Counter(act.what for act in acts)}\n{states}\n{codes}\nasked for: {hurried}"
