"""Waiting for what was asked for."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from backupflow.cli import asking
from backupflow.core.model import State
from backupflow.core.overview import Asked

if TYPE_CHECKING:
    from collections.abc import Sequence

STORED = Asked(1, "core-1", "claimed", State.STORED, None, None, is_change=True, seq=2)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """What the store says, one after the other; the last one for ever."""
    told: list[Asked] = []

    def asked(numbers: Sequence[int]) -> list[Asked]:
        return [told.pop(0) if len(told) > 1 else told[0]] if numbers else []

    store = SimpleNamespace(requests=SimpleNamespace(asked=asked))
    monkeypatch.setattr(asking, "wiring", lambda: store)
    monkeypatch.setattr(asking, "POLL_SECONDS", 0)
    return told


def test_who_waits_may_ask_right_away_what_changed(answers: list[Asked]) -> None:
    """A change that is about to be interpreted is waited for."""
    answers += [replace(STORED, untold=True), replace(STORED, untold=True), STORED]
    assert asking.wait([1], None, lambda _: None) == [STORED]
    assert answers == [STORED]


def test_a_change_that_nobody_interprets_holds_nobody_up(answers: list[Asked], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stored, which is what was asked for."""
    monkeypatch.setattr(asking, "TOLD_SECONDS", 0)
    answers.append(replace(STORED, untold=True))
    assert asking.wait([1], None, lambda _: None) == answers
