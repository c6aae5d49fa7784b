"""Every mutant applies to the code as it is now; that its tests fail then is what `make mutants` shows."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from tools.mutants import Fate, Mutant, read_table, report

ROOT = Path(__file__).resolve().parents[2]
MUTANTS = read_table()
NAMES = [f"{mutant.promise} {mutant.what}" for mutant in MUTANTS]
PROMISES = [f"I{number}" for number in range(1, 17)]


@pytest.mark.parametrize("mutant", MUTANTS, ids=NAMES)
def test_a_mutant_applies_to_the_code(mutant: Mutant) -> None:
    """Its text stands there exactly once, and what comes of it is another program that can be read."""
    changed = mutant.applied(ROOT)
    for path, text in changed.items():
        assert text != path.read_text(encoding="utf-8")
        if path.suffix == ".py":
            ast.parse(text)


@pytest.mark.parametrize("mutant", MUTANTS, ids=NAMES)
def test_a_mutant_names_tests_that_exist(mutant: Mutant) -> None:
    """A test that was renamed would kill nothing any more."""
    for test in mutant.tests:
        file, _, name = test.partition("::")
        module = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        there = {node.name for node in ast.walk(module) if isinstance(node, ast.FunctionDef)}
        assert name.partition("[")[0] in there
    assert mutant.tests


def test_every_promise_has_mutants_of_its_own() -> None:
    """A promise that nothing can break is not tested by anything."""
    counted = Counter(mutant.promise for mutant in MUTANTS)
    assert sorted(counted) == sorted(PROMISES)
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("verdict", ["SURVIVED", "DOES NOT APPLY", "DID NOT RUN"])
def test_what_is_not_killed_fails_the_run(verdict: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The run tells which it was, and what its tests said."""
    fates = [Fate(MUTANTS[0], "killed", 1.0), Fate(MUTANTS[1], verdict, 1.0, "4 passed")]
    assert report(fates) == 1
    told = capsys.readouterr().out
    assert f"{verdict}: {MUTANTS[1].what}" in told
    assert "4 passed" in told
    assert "1 of 2 mutants were killed" in told
    assert report(fates[:1]) == 0
