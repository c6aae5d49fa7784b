"""When a device is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.cadence import first_due, next_due, next_in_phase

ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
INTERVALS = st.timedeltas(timedelta(seconds=1), timedelta(days=30))
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(INTERVALS, MOMENTS)
def test_the_next_run_is_the_first_of_its_phase_in_the_future(interval: timedelta, now: datetime) -> None:
    """The next due time lies in the future, at most one interval away, and on the device's phase."""
    due = next_due(ANCHOR, interval, now)
    assert now < due <= now + interval
    assert (due - ANCHOR) % interval == timedelta(0)


@given(INTERVALS, MOMENTS, MOMENTS)
def test_a_phase_reaches_back_before_its_anchor(interval: timedelta, anchor: datetime, now: datetime) -> None:
    """An anchor that a wrong clock set years ahead still has a turn within one interval, of the same phase."""
    due = next_in_phase(anchor, interval, now)
    assert now < due <= now + interval
    assert (due - anchor) % interval == timedelta(0)


def test_three_days_down_are_one_run() -> None:
    """A device that could not run for three days is due once, not twelve times."""
    assert next_due(ANCHOR, timedelta(hours=6), ANCHOR + timedelta(days=3)) == ANCHOR + timedelta(days=3, hours=6)


def test_a_phase_that_has_not_begun_begins_with_its_anchor() -> None:
    """Before its first run a device is due at its anchor."""
    assert next_due(ANCHOR, timedelta(hours=6), ANCHOR - timedelta(seconds=1)) == ANCHOR


@given(st.floats(0, 1, exclude_max=True))
def test_new_devices_are_spread_over_the_window(dice: float) -> None:
    """The first run of a new device lies within the window that is configured."""
    due = first_due(ANCHOR, (timedelta(seconds=30), timedelta(seconds=300)), dice)
    assert ANCHOR + timedelta(seconds=30) <= due <= ANCHOR + timedelta(seconds=300)


def test_a_spread_of_nothing_is_now() -> None:
    """A window of zero makes a new device due at once."""
    assert first_due(ANCHOR, (timedelta(0), timedelta(0)), 0.5) == ANCHOR
