"""What follows for a due device that a poller says is away: it waits a minute at a time, and one period in all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from backupflow.core.model import DeviceId
from backupflow.core.presence import LOOK_AGAIN, Skipped, key, may_ask, skipped

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_the_key_is_the_one_that_is_documented() -> None:
    """`device:<id>:status`, the id as a UUID is written."""
    device = DeviceId(UUID("01234567-89ab-cdef-0123-456789abcdef"))
    assert key(device) == "device:01234567-89ab-cdef-0123-456789abcdef:status"


@pytest.mark.parametrize(
    ("since", "counts"),
    [
        (None, True),
        (NOW, True),
        (NOW - HOUR + timedelta(seconds=1), True),
        (NOW - HOUR, False),
        (NOW - 3 * HOUR, False),
        (NOW + HOUR, True),
    ],
)
def test_a_word_counts_for_one_period(since: datetime | None, *, counts: bool) -> None:
    """Then the device is tried whatever is said; a time that lies in the future says nothing of a period."""
    assert may_ask(since, HOUR, NOW) is counts


@pytest.mark.parametrize(
    ("since", "period", "follows"),
    [
        (None, HOUR, Skipped(NOW, NOW + LOOK_AGAIN)),
        (NOW - HOUR / 2, HOUR, Skipped(NOW - HOUR / 2, NOW + LOOK_AGAIN)),
        (NOW - HOUR + LOOK_AGAIN / 2, HOUR, Skipped(NOW - HOUR + LOOK_AGAIN / 2, NOW + LOOK_AGAIN / 2)),
        (NOW + HOUR, HOUR, Skipped(NOW, NOW + LOOK_AGAIN)),
        (None, LOOK_AGAIN / 2, Skipped(NOW, NOW + LOOK_AGAIN / 2)),
    ],
)
def test_it_is_looked_at_again_within_a_minute(since: datetime | None, period: timedelta, follows: Skipped) -> None:
    """So a device that is back is collected soon; and at the end of its period at once."""
    assert skipped(since, period, NOW) == follows
