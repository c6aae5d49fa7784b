"""What the job `watch` tells: one alarm for a site that is late, and a shortage of slots only if it lasts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from backupflow.core.capacity import Load
from backupflow.core.watching import SHORT_FOR, Late, Shortage, Watched, judge, of_the_late, shortage

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
TENANT, NORTH = UUID(int=1), UUID(int=2)
MINUTE = timedelta(minutes=1)


def late(number: int, site: str | None = "north") -> Late:
    """One of a site, due so many minutes ago."""
    due = NOW - number * MINUTE
    return Late(TENANT, UUID(int=number), f"core-{number}", NORTH if site else None, site, due)


def load(needed: int, slots: int = 40) -> Load:
    """So many slots are needed."""
    return Load(needed / 60, MINUTE, slots)


def test_a_site_is_told_once() -> None:
    """With the longest first; a device without a site has an alarm of its own."""
    told = of_the_late([late(20), late(30), late(25), late(40), late(60, None)])
    assert [(one.scope, one.detail) for one in told] == [
        (f"device {UUID(int=60)}", "core-60 is overdue since 2026-11-22 02:00 UTC"),
        (
            f"site {NORTH}",
            (
                "4 devices at north are overdue, the longest since 2026-11-22 02:20 UTC: "
                "core-40, core-30, core-25 and 1 more"
            ),
        ),
    ]


@pytest.mark.parametrize(
    ("needed", "since", "stands", "then"),
    [
        (40, None, False, Shortage(None, stands=False)),
        (41, None, False, Shortage(NOW, stands=False)),  # it has just begun
        (41, NOW - SHORT_FOR + MINUTE, False, Shortage(NOW - SHORT_FOR + MINUTE, stands=False)),
        (41, NOW - SHORT_FOR, False, Shortage(NOW - SHORT_FOR, stands=True)),
        (41, NOW + MINUTE, False, Shortage(NOW, stands=False)),  # a clock stood ahead
        (40, NOW - SHORT_FOR, False, Shortage(None, stands=False)),
        (40, NOW - SHORT_FOR, True, Shortage(NOW - SHORT_FOR, stands=True)),  # not over by so little
        (36, NOW - SHORT_FOR, True, Shortage(None, stands=False)),
    ],
)
def test_a_shortage_is_told_when_it_lasts(needed: int, since: datetime | None, then: Shortage, *, stands: bool) -> None:
    """And it is over when there are enough with something to spare."""
    assert shortage(load(needed), since, NOW, stands=stands) == then


def test_without_workers_or_sessions_there_is_no_shortage() -> None:
    """The one has an alarm of its own, the other is not known."""
    for unknown in (load(41, slots=0), Load(1.0, None, 10)):
        assert shortage(unknown, NOW - SHORT_FOR, NOW, stands=True) == Shortage(None, stands=False)


def test_nothing_new_is_told_of_devices_while_something_else_is_to_blame() -> None:
    """What stands goes on standing as long as it is true."""
    seen = Watched(NOW, (late(20),), load(1), None, short_stands=False, excused=True)
    told = judge(seen)
    assert (len(told.late), told.raises) == (1, False)
