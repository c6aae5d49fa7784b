"""Every process dies before and after each call of each port's method, once and twice, and every promise still holds.

A process that dies is started again with the same environment until it lives; what it was at, and all that it has left
half done, has to come right by itself. The others run on.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from backupflow.wiring import kill_points
from backupflow.wiring.kill_points import methods
from tests.conftest import SIZE
from tests.faults.kill_field import PATIENCE, PROCESSES, Field, opened_field
from tests.faults.kill_situations import SITUATIONS, UNCALLED, Case, Commanded, Served, cases, situations_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.worker import Worker

SEED = 4
ALWAYS = {"ObservationStore.store-before-once-ingest", "CollectionStore.publish-after-once-collect"}
# That many more, drawn once and for all.
SAMPLE = {"beat": 1, "collect": 1, "ingest": 1, "interpret": 1, "maintain": 1, "command": 2}
EVERY = 0.4  # seconds between two provocations


def wanted() -> list[Case]:
    """All of the matrix, or some of each process that die once."""
    every = list(cases())
    if SIZE == "soak":
        return every
    dice = random.Random(SEED)
    once = [case for case in every if case.times == 1 and case.is_quick and str(case) not in ALWAYS]
    drawn = [dice.sample([case for case in once if case.place == place], count) for place, count in SAMPLE.items()]
    return [case for case in every if str(case) in ALWAYS] + [case for some in drawn for case in some]


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    """One install for all cases; at its end, when all has come to rest, every promise is checked once more."""
    with opened_field(tmp_path_factory.mktemp("kill")) as opened:
        yield opened
        opened.await_rest()
        assert opened.wrong() == []


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A folder for the deaths of one case."""
    folder = tmp_path / "tokens"
    folder.mkdir()
    return folder


def test_every_method_has_a_way_to_it() -> None:
    """A method of a port is in the matrix as soon as it is there: somebody has to say who calls it, and when."""
    known = set(methods())
    assert {method for method in known if not situations_of(method)} == UNCALLED
    stale = [
        name for name in SITUATIONS if not any(method == name or method.startswith(f"{name}.") for method in known)
    ]
    assert stale == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", wanted(), ids=str)
def test_what_was_begun_comes_right_after_a_death(field: Field, case: Case, tokens: Path) -> None:
    """It dies there as often as asked for; then every router's newest configuration is stored, and nothing is wrong."""
    field.begin_case(collects=case.kills_collectors)
    point = f"{case.method}:{case.when}:{{}}:{case.times}:{tokens}"
    if isinstance(case.situation, Served):
        serve(field, case, case.situation, point.format(case.situation.nth), tokens)
    else:
        command(field, case, case.situation, point.format(1), tokens)
    field.edit()
    field.await_newest()
    assert [name for name in PROCESSES if not field.workers[name].is_alive] == []
    assert field.wrong() == []


def serve(field: Field, case: Case, situation: Served, point: str, tokens: Path) -> None:
    """Let a process of the install die and start again, until it lives."""
    field.end(situation.process)
    situation.begin(field)
    try:
        for life in range(1, case.times + 1):
            field.begin_life(life)
            situation.ready(field)
            worker = field.start(situation.process, point, **dict(situation.environment))
            await_death(field, worker, situation, f"{case} was not hit in life {life}")
            assert worker.exit_status == kill_points.STATUS, worker.output()[-3000:]
            assert len(list(tokens.iterdir())) == life
        field.start(situation.process, point)
    finally:
        situation.mend(field)


def await_death(field: Field, worker: Worker, situation: Served, otherwise: str) -> None:
    """Provoke it until it dies."""
    until = time.monotonic() + PATIENCE
    while worker.is_alive:
        assert time.monotonic() < until, f"{otherwise}\n{field.story()}\n{worker.output()[-3000:]}"
        situation.provoke(field)
        time.sleep(EVERY)


def command(field: Field, case: Case, situation: Commanded, point: str, tokens: Path) -> None:
    """Let a command die, and run it again: what it does is done wholly or not at all, with its audit row."""
    situation.begin(field)
    try:
        for life in range(1, case.times + 1):
            died = field.command(*situation.argv(field, life), kill_point=point, program=situation.program)
            assert died.returncode == kill_points.STATUS, f"{case} was not hit in life {life}: {died}"
            assert len(list(tokens.iterdir())) == life
            check_acts(field, case, situation)
        again = field.command(*situation.argv(field, case.times + 1), kill_point=point, program=situation.program)
        assert again.returncode == situation.again, again
        check_acts(field, case, situation)
    finally:
        situation.mend(field)


def check_acts(field: Field, case: Case, situation: Commanded) -> None:
    """What was done is what the audit says, at this moment."""
    done, told = situation.acts(field)
    assert done == told, f"{case}: done {done}, audited {told}"
