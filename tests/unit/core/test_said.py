"""Thirty pairs of exports and what a person on call reads of each: the pairs were written before the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from backupflow.core.changes import changes
from backupflow.core.model import RawConfig
from backupflow.core.summary import told
from backupflow.drivers import driver

SAID = Path(__file__).parent / "said"
ROS = driver("routeros")


def lines(case: Path, *, reveal: bool = False) -> list[str]:
    """What is told of one pair."""
    before, after = (ROS.normalize(RawConfig((case / f"{one}.rsc").read_bytes())) for one in ("before", "after"))
    grammar = ROS.grammar
    return list(told(changes(grammar.tree(before), grammar.tree(after), grammar), grammar, reveal=reveal))


@pytest.mark.parametrize("case", sorted(SAID.iterdir()), ids=lambda case: case.name)
def test_an_edit_is_told_as_a_person_would(case: Path) -> None:
    """Line by line, in the order of the configuration."""
    assert lines(case) == (case / "expected.txt").read_text("utf-8").splitlines()


def test_there_are_thirty_of_them() -> None:
    """A folder that is gone would pass."""
    assert len(list(SAID.iterdir())) == 30
