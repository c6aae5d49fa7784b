"""A login that a whole fleet refuses for a while: it is sent a handful of times, and nobody is blocked for it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.faults.refusing import Refusing
from tests.integration.db.fleet import Fleet, migrated
from tests.integration.db.virtual_time import VirtualTime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backupflow.embedded import Servers
    from tests.conftest import Size

ROUTERS = {"small": 60, "soak": 200}
WORKERS = 20
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def ahead(servers: Servers, postgres_roles: Path) -> Iterator[tuple[Fleet, VirtualTime]]:
    """A database of its own: its time is another one."""
    with migrated(servers, postgres_roles) as made:
        yield made, VirtualTime(made)


def _standing(fleet: Fleet) -> tuple[int, int, list[str]]:
    """How many logins are suspended, how many devices blocked, and which alarms stand."""
    suspended = fleet.value("SELECT count(*) FROM credential_profile WHERE suspended_at IS NOT NULL")
    blocked = fleet.value("SELECT count(*) FROM device WHERE blocked_code IS NOT NULL")
    return suspended, blocked, sorted({code for code, _ in fleet.alarms()})


def test_a_login_that_all_refuse_for_a_while_is_sent_a_handful_of_times(
    ahead: tuple[Fleet, VirtualTime], size: Size
) -> None:
    """At most 5, one a worker, and 2 trials; nobody is blocked, and all are collected within 75 min of its end."""
    fleet, time = ahead
    fleet.empty()
    scene = Refusing(fleet, time, ROUTERS[size], WORKERS)
    end = scene.down_until = time.now + 20 * MINUTE
    scene.run_until(end)
    # More than the 5 that it takes: those under way. On a busy machine not every worker had begun by then.
    assert 5 < len(scene.sent) <= 5 + WORKERS + 2
    assert _standing(fleet) == (1, 0, ["login_refused"])
    scene.run_until(end + 76 * MINUTE)
    assert len(scene.refused) <= 5 + WORKERS + 2
    assert scene.late(end + 75 * MINUTE) == 0
    assert _standing(fleet) == (0, 0, [])


def test_those_whose_own_password_is_wrong_are_blocked_by_themselves_in_the_end(
    ahead: tuple[Fleet, VirtualTime], size: Size
) -> None:
    """A fifth of the routers have another password: each is sent ours twice at the most, and the others are fine."""
    fleet, time = ahead
    fleet.empty()
    scene = Refusing(fleet, time, ROUTERS[size], WORKERS)
    hosts = [row.host for row in fleet.sql("SELECT host FROM device ORDER BY next_due_at")]
    scene.wrong = set(hosts[::5])
    scene.run_until(time.now + timedelta(hours=8))
    assert set(scene.refused) == scene.wrong
    assert max(Counter(scene.refused).values()) <= 2
    assert {row.host for row in fleet.sql("SELECT host FROM device WHERE blocked_code <> ''")} == scene.wrong
    assert _standing(fleet) == (0, len(scene.wrong), ["authentication_failed"])
    assert scene.late(time.now) == len(scene.wrong)


def test_a_login_that_is_refused_for_hours_is_tried_by_one_device_at_a_time(ahead: tuple[Fleet, VirtualTime]) -> None:
    """After 15, 45 and 75 min and then hourly, over restarts of everything, and by another device each time."""
    fleet, time = ahead
    fleet.empty()
    scene = Refusing(fleet, time, 14, 3)
    end = scene.down_until = time.now + timedelta(hours=4, minutes=30)
    while time.now < end:
        scene.run_until(min(time.now + timedelta(hours=1), end))
        fleet.close()
    suspended_at = fleet.value("SELECT suspended_at FROM credential_profile")
    trials = [(at, router) for at, router, _ in scene.sent if at > suspended_at + MINUTE]
    after = [(at - suspended_at) / MINUTE for at, _ in trials]
    assert [round(minutes) for minutes in after] == pytest.approx([15, 45, 75, 135, 195, 255], abs=2)
    assert all(late >= due for late, due in zip(after, [15, 45, 75, 135, 195, 255], strict=True))
    assert max(Counter(scene.refused).values()) == 1
    scene.run_until(end + 76 * MINUTE)
    assert scene.late(end + 75 * MINUTE) == 0
    assert _standing(fleet) == (0, 0, [])
