"""Devices that stand alike in one line: what is wrong, the alarm that is raised, the command, and the page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from backupflow.cli.device_groups import device_groups
from backupflow.core.model import DeviceId, State, TenantId
from backupflow.core.overview import Alarm, DeviceState, LastCollection, Overview

NOW = datetime(2026, 11, 22, 2, 10, tzinfo=UTC)
ROUTERS = 1_800


def failing(number: int, code: str = "connection_refused") -> DeviceState:
    """One that was collected well an hour ago, and has failed three times since."""
    last = LastCollection(4, State.FAILED, code, None, NOW - timedelta(minutes=5))
    return DeviceState(
        TenantId(UUID(int=1)), DeviceId(UUID(int=number)), f"core-{number}", "192.0.2.1", 22, "active", None, None, 3,
        timedelta(hours=6), NOW + timedelta(hours=1), None, last, NOW - timedelta(hours=1), 1,
    )  # fmt: skip


def down(number: int) -> Alarm:
    """The alarm of one."""
    return Alarm(100 + number, "device_down", f"device {UUID(int=number)}", "no", NOW, None)


def lines(devices: list[DeviceState], alarms: list[Alarm]) -> list[str]:
    """What is told of them."""
    return [line for _, line in device_groups(Overview(NOW, tuple(devices), tuple(alarms), ()))]


def test_one_that_is_down_names_its_alarm_and_its_page() -> None:
    """Whoever was woken by `device_down` finds it here, though what it has is fresh."""
    (line,) = lines([failing(1)], [down(1)])
    assert line.startswith("FAILING  connection_refused  last good 2026-11-22 01:10:00Z  core-1, alarm 101 device_down")
    assert line.endswith(" – `device show core-1` – docs/runbook/connection_refused.md")
    assert "device_down" not in lines([failing(1)], [down(2)])[0]


def test_many_that_are_down_are_counted() -> None:
    """One line for all of them, and how many of them are an alarm."""
    numbers = range(1, ROUTERS + 1)
    (line,) = lines([failing(n) for n in numbers], [down(n) for n in numbers if n > 1])
    assert "  1,800 devices, 1,799 alarms device_down: core-1, " in line
    assert line.endswith(" – `device list --status failing` – docs/runbook/connection_refused.md")


@pytest.mark.parametrize(
    ("device", "page"),
    [
        (replace(failing(1), blocked_code="authentication_failed"), "authentication_failed"),
        (replace(failing(1, "device_unreachable"), unreachable_since=NOW), "device_unreachable"),
        (replace(failing(1), next_due_at=NOW - timedelta(hours=9)), "overdue"),
        (failing(1, "unexpected"), "unexpected"),
    ],
)
def test_a_line_ends_with_its_page(device: DeviceState, page: str) -> None:
    """Blocked, offline and overdue ones too."""
    assert lines([device], [])[0].endswith(f" – docs/runbook/{page}.md")


@pytest.mark.parametrize(
    "device", [failing(1, "message_gone"), replace(failing(1, "device_unreachable"), offline_since=NOW)]
)
def test_a_line_names_no_page_that_there_is_not(device: DeviceState) -> None:
    """A message that was lost has none, nor has the word of a poller."""
    assert "docs/runbook" not in lines([device], [])[0]
