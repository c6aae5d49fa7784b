"""A device whose last collection failed: what to do, when it is tried again, and the page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from backupflow.cli.device_trouble import after_failure, raised
from backupflow.core.firewall import Met
from backupflow.core.inventory import DeviceRecord
from backupflow.core.model import DeviceId, State, TenantId
from backupflow.core.overview import Alarm, LastCollection

NOW = datetime(2026, 11, 22, 2, 10, tzinfo=UTC)
RECORD = DeviceRecord(
    TenantId(UUID(int=1)), DeviceId(UUID(int=2)), "core 1", "192.0.2.1", 22, "routeros", "active", {}, "backup",
    "password", True, None, None, None, 3, NOW - timedelta(days=1), NOW, timedelta(hours=6), None, NOW,
)  # fmt: skip
LAST = LastCollection(4, State.FAILED, "connection_refused", None, NOW)
SOON = NOW + timedelta(minutes=43)


@pytest.mark.parametrize(
    ("due", "met", "ends"),
    [
        (SOON, Met(), "it is tried again by itself in 43 min, at once with `backup 'core 1' --wait`"),
        (NOW, Met(), "it is tried again by itself now, at once with `backup 'core 1' --wait`"),
        (None, Met(), "nobody tries it again by himself, at once with `backup 'core 1' --wait`"),
        (SOON, Met(NOW, SOON, SOON), "in 43 min, at once with `backup 'core 1' --wait --force`"),
    ],
)
def test_a_failing_device_says_what_to_do_and_when_it_is_tried(due: datetime | None, met: Met, ends: str) -> None:
    """The advice of its failure; a command that would not be refused; and where its page is."""
    says = after_failure(replace(RECORD, met=met), LAST, due)
    assert says
    assert says.startswith("check that its SSH service is on and admits this address; ")
    assert says.endswith(f"{ends} – docs/runbook/connection_refused.md")


def test_what_failed_without_a_code_of_ours_still_says_when() -> None:
    """A message that was lost has no advice and no page."""
    says = after_failure(RECORD, replace(LAST, state=State.LOST, code="message_gone"), SOON)
    assert says == "it is tried again by itself in 43 min, at once with `backup 'core 1' --wait`"


@pytest.mark.parametrize("state", [State.STORED, State.SUSPECT, State.BLOCKED, State.WITHDRAWN, State.RUNNING])
def test_what_did_not_fail_has_nothing_to_be_done(state: State) -> None:
    """Nor has a device that is paused, nor one that was never collected."""
    assert after_failure(RECORD, replace(LAST, state=state), SOON) is None
    assert after_failure(replace(RECORD, status="paused"), LAST, SOON) is None
    assert after_failure(RECORD, None, SOON) is None


def test_the_alarms_of_a_device_are_named_with_it() -> None:
    """By number, as `alarm list` has them; those of others are not."""
    mine = Alarm(10, "device_down", f"device {RECORD.device_id}", "no", NOW, None)
    assert raised(RECORD, [mine, replace(mine, scope="device 9")]) == "10 device_down since 2026-11-22 02:10:00Z"
    assert raised(RECORD, []) is None
