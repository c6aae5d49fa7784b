"""What goes is a prefix, old, and never what is current."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.model import Seq
from backupflow.core.retaining import Age, Cut, Kept, cut, cut_at, is_too_much
from backupflow.errors import NotFound

NOW = datetime(2026, 6, 1, tzinfo=UTC)
BEFORE = NOW - timedelta(days=90)
ages = st.lists(st.integers(min_value=-400, max_value=1), max_size=30)


def kept(*days: int) -> list[Kept]:
    """Configurations that were last seen so many days ago, the oldest first."""
    return [Kept(Seq(4 * n + 1), Seq(4 * n + 4), NOW + timedelta(days=day)) for n, day in enumerate(days)]


@given(ages, st.integers(min_value=0, max_value=9))
def test_what_goes_is_an_old_prefix_and_the_last_ones_stay(days: list[int], keep: int) -> None:
    """Whatever the clocks said: nothing young goes, nothing from the middle, and K are left, one at least."""
    history = kept(*days)
    found = cut(history, Age(BEFORE, keep))
    gone = found.configurations if found else 0
    assert all(one.last_at < BEFORE for one in history[:gone])
    assert gone == 0 or len(history) - gone >= max(keep, 1)
    # No more could go: what stays first is young, or one of the last.
    if history and len(history) - gone > max(keep, 1):
        assert history[gone].last_at >= BEFORE
    if found:
        assert found.below == history[gone].first


@given(ages)
def test_a_removed_device_keeps_all_until_its_time_is_over(days: list[int]) -> None:
    """Until then it is like any other, so that it can be restored; then nothing is left."""
    history, age = kept(*days), Age(BEFORE, 5)
    assert cut(history, age, NOW) == cut(history, age)
    assert cut(history, age, BEFORE - timedelta(seconds=1)) == (Cut(None, len(history)) if history else None)


def test_a_stable_router_keeps_its_only_configuration() -> None:
    """Last seen a year ago, since it was paused: it is current all the same."""
    assert cut(kept(-400), Age(BEFORE, 1)) is None


def test_a_configuration_lives_as_long_as_it_was_last_seen() -> None:
    """The first of the run may be years old."""
    assert cut(kept(-300, -89, -80, -70), Age(BEFORE, 1)) == Cut(Seq(5), 1)


@pytest.mark.parametrize(
    ("taken", "there", "too_much"), [(20, 20, False), (21, 21, True), (21, 105, False), (22, 105, True), (0, 0, False)]
)
def test_more_than_a_fifth_is_too_much(taken: int, there: int, too_much: bool) -> None:
    """But of a few: of three configurations one is more than a fifth."""
    assert is_too_much(taken, there) is too_much


@pytest.mark.parametrize("at", [Seq(13), NOW - timedelta(days=69)])
def test_a_point_that_there_is_not_takes_nothing(at: Seq | datetime) -> None:
    """A number or a time beyond all that is there is a slip of the pen: all but the current one would go."""
    with pytest.raises(NotFound):
        cut_at(kept(-300, -89, -70), at)


@pytest.mark.parametrize(
    ("at", "gone"), [(Seq(1), None), (Seq(4), None), (Seq(5), 1), (Seq(12), 2), (BEFORE, 1), (NOW - timedelta(80), 2)]
)
def test_what_lies_before_a_point_goes(at: Seq | datetime, gone: int | None) -> None:
    """The configuration of that observation stays, and so does what was seen since that time."""
    found = cut_at(kept(-300, -89, -70), at)
    assert (found and found.configurations) == gone
