"""Maintenance: what opens and closes by the clock, what a person says, and what becomes of what was due meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from backupflow.core.ledger import Ending, Limits
from backupflow.core.model import State
from backupflow.core.windows import ENDED
from tests.integration.db.fleet import Fleet, migrated
from tests.integration.db.virtual_time import VirtualTime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backupflow.core.model import DeviceId
    from backupflow.embedded import Servers

NO_ANSWER = Ending(State.FAILED, "device_unreachable", counts=True, again_in=timedelta(minutes=5))
TABLES = ["tenant", "site", "device_group", "device"]


@pytest.fixture(scope="module")
def later(servers: Servers, postgres_roles: Path) -> Iterator[tuple[Fleet, VirtualTime]]:
    """A database whose time can be set ahead."""
    with migrated(servers, postgres_roles) as made:
        yield made, VirtualTime(made)


@pytest.fixture
def placed(fleet: Fleet) -> DeviceId:
    """A due device of a group at a site, and a worker."""
    return a_device(fleet)


def a_device(fleet: Fleet) -> DeviceId:
    """The same in any database."""
    fleet.workers(collect=10)
    fleet.sql("INSERT INTO site (tenant_id, name) VALUES (:t, 'north')", t=fleet.tenant)
    fleet.sql("INSERT INTO device_group (tenant_id, name) VALUES (:t, 'core')", t=fleet.tenant)
    device = fleet.device()
    fleet.sql("UPDATE device SET site_id = (SELECT id FROM site), device_group_id = (SELECT id FROM device_group)")
    return device


def says(fleet: Fleet, table: str, *windows: str) -> None:
    """Windows of a scope."""
    listed = ", ".join(f'"{window}"' for window in windows)
    fleet.sql(f"UPDATE {table} SET settings = CAST(:s AS jsonb)", s=f'{{"maintenance": [{listed}]}}')  # noqa: S608


def around(fleet: Fleet) -> str:
    """A window that is open now, on each day, for an hour at least."""
    now: datetime = fleet.value("SELECT now()")
    start, end = now - timedelta(hours=1), now + timedelta(hours=2)
    return f"daily {start:%H}:00-{end:%H}:00"


def claimed(fleet: Fleet) -> int:
    """How many a tick claims."""
    done = fleet.claims.claim(Limits())
    assert done
    return len(done.new)


@pytest.mark.parametrize("table", TABLES)
def test_nothing_is_collected_by_itself_in_a_window(fleet: Fleet, placed: DeviceId, table: str) -> None:
    """Of whichever scope; what somebody asks for is, and so is all of it afterwards, the longest due first."""
    says(fleet, table, around(fleet))
    assert claimed(fleet) == 0
    until = fleet.value(f"SELECT maintenance_until FROM {table}")  # noqa: S608
    assert until > fleet.value("SELECT now()")
    assert (until.minute, until.second) == (0, 0)
    fleet.request(placed)
    assert claimed(fleet) == 1


@pytest.mark.parametrize("table", TABLES)
def test_what_is_over_is_kept_for_a_day(fleet: Fleet, placed: DeviceId, table: str) -> None:
    """A time that was is kept for a day, since nobody is late for the time before it; then it is forgotten."""
    fleet.sql(f"UPDATE {table} SET maintenance_until = now() - interval '23 hours'")  # noqa: S608
    assert claimed(fleet) == 1
    assert fleet.value(f"SELECT maintenance_until FROM {table}") is not None  # noqa: S608
    fleet.sql(f"UPDATE {table} SET maintenance_until = now() - interval '25 hours'")  # noqa: S608
    claimed(fleet)
    assert fleet.value(f"SELECT maintenance_until FROM {table}") is None  # noqa: S608
    assert fleet.row("device", placed).last_seq == 1


def test_what_waits_in_a_queue_is_withdrawn_when_a_window_opens(fleet: Fleet, placed: DeviceId) -> None:
    """It was claimed, nobody had begun with it, and it is still owed."""
    assert claimed(fleet) == 1
    says(fleet, "site", around(fleet))
    done = fleet.claims.claim(Limits())
    assert done
    assert done.withdrawn == 1
    row = fleet.row("device", placed)
    assert row.next_due_at <= fleet.value("SELECT now()")
    assert fleet.value("SELECT detail FROM collection") == "maintenance"


def test_what_a_person_ended_stays_so_while_the_window_lasts(fleet: Fleet, placed: DeviceId) -> None:
    """Else it would be open again at the next look."""
    says(fleet, "site", around(fleet))
    fleet.sql("UPDATE site SET maintenance_until = :ended", ended=ENDED)
    assert claimed(fleet) == 1
    assert fleet.value("SELECT maintenance_until FROM site") == ENDED
    fleet.sql("UPDATE site SET settings = '{}'")
    claimed(fleet)
    assert fleet.value("SELECT maintenance_until FROM site") is None
    assert fleet.row("device", placed).last_seq == 1


@pytest.mark.parametrize("days", [3, 900])
def test_a_clock_that_stood_ahead_leaves_no_window_open(fleet: Fleet, placed: DeviceId, days: int) -> None:
    """What was open by that clock is not, once it is right: nobody has said that nothing is to be collected."""
    says(fleet, "site", around(fleet))
    assert claimed(fleet) == 0
    left_over = "date_trunc('hour', now()) + :ahead * interval '1 day'"
    fleet.sql(f"UPDATE site SET settings = '{{}}', maintenance_until = {left_over}", ahead=days)  # noqa: S608
    assert claimed(fleet) == 1
    assert fleet.value("SELECT maintenance_until FROM site") is None
    assert fleet.row("device", placed).last_seq == 1


def test_windows_that_make_no_sense_are_none(fleet: Fleet, placed: DeviceId) -> None:
    """They are an alarm; what is never collected in silence is worse than what is at a wrong hour."""
    says(fleet, "site", "never")
    fleet.sql("UPDATE device SET settings = '{\"maintenance\": [5]}'")
    assert claimed(fleet) == 1
    site = fleet.value("SELECT id FROM site")
    assert sorted(fleet.alarms()) == sorted(
        [("settings_unusable", f"site {site}"), ("settings_unusable", f"device {placed}")]
    )


def test_who_is_being_edited_is_not_waited_for(fleet: Fleet, placed: DeviceId) -> None:
    """A tick waits for nobody: the site is looked at again some seconds later."""
    says(fleet, "site", around(fleet))
    with fleet.admin.begin() as tx:
        from sqlalchemy import text

        tx.execute(text("SELECT 1 FROM site FOR NO KEY UPDATE"))
        assert claimed(fleet) == 1
        assert fleet.value("SELECT maintenance_until FROM site") is None
    assert fleet.row("device", placed).last_seq == 1


def test_a_window_opens_and_closes_by_the_clock(later: tuple[Fleet, VirtualTime]) -> None:
    """Hours pass: the device is left alone in it, and collected within a tick of its end."""
    fleet, clock = later
    device = a_device(fleet)
    now = clock.now.astimezone(UTC)
    start = (now + timedelta(hours=2)).replace(minute=0, second=0, microsecond=0)
    says(fleet, "site", f"daily {start:%H:%M}-{start + timedelta(hours=3):%H:%M}")
    fleet.sql("UPDATE device SET next_due_at = :at", at=start + timedelta(hours=1))
    clock.forward(start + timedelta(hours=1, minutes=1) - now)
    fleet.workers(collect=10)
    assert claimed(fleet) == 0
    clock.forward(timedelta(hours=1, minutes=58))
    fleet.workers(collect=10)
    assert claimed(fleet) == 0
    clock.forward(timedelta(minutes=1, seconds=1))
    fleet.workers(collect=10)
    assert claimed(fleet) == 1
    assert fleet.row("device", device).last_seq == 1


@pytest.mark.usefixtures("placed")
def test_twenty_thousand_devices_are_not_looked_at(fleet: Fleet) -> None:
    """Those without a word of maintenance of their own are passed by an index."""
    fleet.fleet(2000)
    fleet.sql("ANALYZE device")
    from backupflow.adapters.db.windows import _SAID

    plan = "\n".join(row[0] for row in fleet.sql(f"EXPLAIN {_SAID.text}"))
    assert "ix_device_maintenance" in plan


def failed(fleet: Fleet, device: DeviceId, trigger: str = "manual") -> None:
    """A session that nobody answered, the third in a row and more."""
    fleet.sql("UPDATE device SET failures = 2 WHERE id = :d", d=device)
    assignment = fleet.running(device, trigger=trigger)
    assert fleet.collections.end(assignment, NO_ANSWER)


@pytest.mark.parametrize("table", TABLES)
def test_a_device_that_somebody_works_on_is_not_down(fleet: Fleet, placed: DeviceId, table: str) -> None:
    """No alarm while it lasts, of whichever scope; the next failure after it is one."""
    fleet.sql(f"UPDATE {table} SET maintenance_until = now() + interval '1 hour'")  # noqa: S608
    failed(fleet, placed)
    assert fleet.alarms() == []
    fleet.sql(f"UPDATE {table} SET maintenance_until = now()")  # noqa: S608
    failed(fleet, placed)
    assert fleet.alarms() == [("device_down", f"device {placed}")]


def test_a_site_that_somebody_works_on_is_not_told_as_down(fleet: Fleet) -> None:
    """Neither while it lasts, nor for the last probe before its end: a new one tells."""
    site = fleet.value("INSERT INTO site (tenant_id, name) VALUES (:t, 'south') RETURNING id", t=fleet.tenant)
    devices = [fleet.device(site_id=site, due=timedelta(hours=5)) for _ in range(5)]
    fleet.sql(
        "UPDATE device SET unreachable_since = now() - interval '1 hour', answered_at = now() - interval '2 hours'"
    )
    fleet.sql(
        "UPDATE site SET down_since = now() - interval '1 hour', probe_at = now() + interval '4 minutes', probes = 1"
    )
    failed(fleet, devices[0], "probe")
    fleet.sql("DELETE FROM alarm")
    fleet.sql("UPDATE site SET maintenance_until = now() + interval '1 minute'")
    claimed(fleet)
    fleet.sql("UPDATE site SET maintenance_until = now()")
    claimed(fleet)
    assert fleet.alarms() == []
    failed(fleet, devices[1], "probe")
    claimed(fleet)
    assert fleet.alarms() == [("site_down", f"site {site}")]
