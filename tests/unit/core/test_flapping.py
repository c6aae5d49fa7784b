"""When a device counts as one that changes without end, and when no more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backupflow.core.flapping import DAY, LastDay, Quota, Turn, reckoned_from, told, turn

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
QUOTA = Quota(changes=24, bytes=1000)


@pytest.mark.parametrize(
    ("changes", "size", "since", "expected"),
    [
        (24, 1000, None, Turn.STAYS),
        (25, 0, None, Turn.BEGINS),
        (1, 1001, None, Turn.BEGINS),
        (0, 0, NOW - DAY + timedelta(seconds=1), Turn.STAYS),
        (24, 1000, NOW - DAY, Turn.ENDS),
        (25, 0, NOW - 9 * DAY, Turn.STAYS),
        (0, 1001, NOW - 9 * DAY, Turn.STAYS),
    ],
)
def test_a_device_flaps_above_either_limit_until_a_day_has_stayed_within_both(
    changes: int, size: int, since: datetime | None, expected: Turn
) -> None:
    """What is at a limit is within it; less than a day is no day."""
    assert turn(LastDay(changes, size), QUOTA, since, NOW) is expected


def test_while_it_flaps_its_next_run_is_looked_for_a_day_later() -> None:
    """And not else."""
    assert reckoned_from(NOW, None) == NOW
    assert reckoned_from(NOW, NOW - timedelta(hours=1)) == NOW + DAY


def test_the_alarm_says_which_limit_was_passed() -> None:
    """By its setting, in a line that names the device, and what finds out what changes."""
    assert "`ignore suggest --device core-1`" in told("core-1", LastDay(25, 9), QUOTA)
    assert told("core-1", LastDay(25, 9), QUOTA).startswith("core-1: more than 24 changes in a day")
    assert "1,001 bytes of changed configurations (more than 1,000) in a day" in told("x", LastDay(2, 1001), QUOTA)
