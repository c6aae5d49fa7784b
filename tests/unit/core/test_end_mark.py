"""What is known of a router's end mark, from one collection to the next."""

from __future__ import annotations

import pytest

from backupflow.core.end_mark import after_export, after_probe, asked
from backupflow.core.model import EndMark


@pytest.mark.parametrize(
    ("repeated", "known"), [(True, EndMark.REPEATED), (False, EndMark.ABSENT), (None, EndMark.UNTRIED)]
)
def test_a_question_without_an_answer_is_asked_again(repeated: bool | None, known: EndMark) -> None:
    """A slow moment must not cost the one sign of a cut between two items."""
    assert after_probe(repeated=repeated) is known


def test_only_an_export_that_showed_it_makes_it_required() -> None:
    """A small menu is no export: a router may give up its line after a menu that it could not export."""
    assert [known for known in EndMark if asked(known)] == [EndMark.REPEATED, EndMark.REQUIRED]
    assert after_export(EndMark.REPEATED, ended=True, upgraded=False) is EndMark.REQUIRED
    assert after_export(EndMark.REPEATED, ended=False, upgraded=False) is EndMark.ABSENT


@pytest.mark.parametrize("upgraded", [True, False])
def test_a_mark_that_came_stays_required(upgraded: bool) -> None:
    """Whatever version showed it; one that was believed without it is asked for it no more."""
    assert after_export(EndMark.REQUIRED, ended=True, upgraded=upgraded) is EndMark.REQUIRED
    assert after_export(EndMark.REQUIRED, ended=False, upgraded=upgraded) is EndMark.ABSENT


def test_another_version_is_asked_anew() -> None:
    """What the one before did not know, it may know."""
    assert after_export(EndMark.ABSENT, ended=False, upgraded=True) is EndMark.UNTRIED
    assert after_export(EndMark.ABSENT, ended=False, upgraded=False) is EndMark.ABSENT
    assert after_export(EndMark.UNTRIED, ended=False, upgraded=False) is EndMark.UNTRIED
