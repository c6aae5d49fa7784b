"""How a device stands: of several the first that holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from backupflow.core.model import DeviceId, State, TenantId
from backupflow.core.overview import DeviceState, JumpHostState, LastCollection, Standing

NOW = datetime(2026, 11, 22, 2, 10, tzinfo=UTC)
HOP = UUID(int=9)
LATE = NOW - timedelta(hours=3)
FAILED = LastCollection(3, State.FAILED, "device_timeout", "", NOW)
DEVICE = DeviceState(
    TenantId(UUID(int=1)), DeviceId(UUID(int=2)), "core-1", "192.0.2.1", 22, "active", None, None, 0,
    timedelta(hours=1), NOW, None, replace(FAILED, state=State.STORED, code=None), NOW, 1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "standing", "calls"),
    [
        ({}, Standing.OK, False),
        ({"next_due_at": LATE}, Standing.OVERDUE, True),
        ({"last": FAILED}, Standing.FAILING, True),
        # what waits for a jump host is neither late nor failing, whatever its last run met, and needs nobody
        ({"waits_for": HOP, "next_due_at": LATE, "last": FAILED}, Standing.AT_JUMP_HOST, False),
        ({"waits_for": HOP, "hindrance": "jump host down: hop-1"}, Standing.AT_JUMP_HOST, False),
        ({"waits_for": HOP, "next_due_at": NOW + timedelta(seconds=50)}, Standing.AT_JUMP_HOST, False),
        # what is not due yet waits for nothing
        ({"waits_for": HOP, "next_due_at": NOW + timedelta(minutes=14)}, Standing.OK, False),
        ({"waits_for": HOP, "status": "paused"}, Standing.PAUSED, False),
        ({"waits_for": HOP, "blocked_code": "identity_changed"}, Standing.BLOCKED, True),
        # nor is what came no farther, once the jump host is well again
        ({"last": replace(FAILED, code="jump_host_unreachable")}, Standing.OK, False),
        ({"last": replace(FAILED, code="jump_host_blocked"), "current_at": None}, Standing.WAITING, False),
        ({"hindrance": "login suspended"}, Standing.SUSPENDED, True),
    ],
)
def test_a_device_stands_as_what_is_nearest_says(changes: dict[str, Any], standing: Standing, *, calls: bool) -> None:
    """And an operator is called only where something is to be done about it."""
    found = replace(DEVICE, **changes).standing(NOW)
    assert (found, found.needs_somebody) == (standing, calls)


@pytest.mark.parametrize(
    ("changes", "in_trouble"),
    [
        ({}, False),
        ({"down_since": NOW}, True),
        ({"blocked_code": "authentication_failed"}, True),
        ({"hindrance": "jump host without login"}, True),
    ],
)
def test_a_jump_host_is_in_trouble_until_it_can_be_passed(changes: dict[str, Any], *, in_trouble: bool) -> None:
    """Down, blocked, or nobody can log in to it."""
    hop = JumpHostState(HOP, "hop-1", None, None, None, None, None, NOW, 450)
    assert replace(hop, **changes).in_trouble is in_trouble
