"""One act on many devices: what it makes due at once comes one after another."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from backupflow.core.enrolment import resumed
from backupflow.core.fleet import CarriedOut
from backupflow.core.inventory import DeviceRecord, Following, Update
from backupflow.core.model import DeviceId, TenantId
from backupflow.flows import bulk

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
RECORD = DeviceRecord(
    TenantId(UUID(int=9)), DeviceId(UUID(int=1)), "core-1", "192.0.2.1", 22, "routeros", "paused", {}, "backup",
    "password", True, None, None, None, 0, NOW - timedelta(days=3), None, timedelta(hours=6), None, NOW,
)  # fmt: skip


class Desk:
    """Only carries out what each device is to become."""

    def __init__(self, record: DeviceRecord = RECORD) -> None:
        self.record = record
        self.updates: list[Update | None] = []

    def carry_out(self, _tenants: Any, touched: Any, decide: Any, _actor: str, _moved: Any) -> CarriedOut:  # noqa: ANN401
        """Decide over one record after another."""
        acts = decide(None).acts
        assert [act.device_id for act in acts] == list(touched)
        self.updates = [act.decide(replace(self.record, device_id=act.device_id)) for act in acts]
        return CarriedOut()


def done(count: int, decide: Callable[[DeviceRecord], Update | None], record: DeviceRecord = RECORD) -> list[Any]:
    """What an act makes of so many devices."""
    desk = Desk(record)
    devices: Any = [type("One", (), {"device_id": DeviceId(UUID(int=number))}) for number in range(count)]
    bulk.act(desk, "default", devices, decide, "me")  # type: ignore[arg-type]
    return desk.updates


def test_a_site_that_is_resumed_does_not_come_in_one_second() -> None:
    """Four a second, as an import brings them."""
    dues = [update.columns["next_due_at"] for update in done(500, resumed)]
    assert dues == [NOW + timedelta(milliseconds=250) * n for n in range(500)]


@pytest.mark.parametrize(
    ("interval", "longest"), [(timedelta(minutes=2), timedelta(minutes=2)), (timedelta(days=1), bulk.MOST)]
)
def test_the_last_of_many_waits_no_longer_than_its_period(
    monkeypatch: pytest.MonkeyPatch, interval: timedelta, longest: timedelta
) -> None:
    """Nor than half an hour."""
    monkeypatch.setattr(bulk, "EACH", timedelta(minutes=1))
    dues = [update.columns["next_due_at"] for update in done(40, resumed, replace(RECORD, interval=interval))]
    assert max(dues) == NOW + longest


def test_what_is_due_by_its_phase_stays_so() -> None:
    """Only what the act makes due at once is spread, also where it follows from the act only."""
    update = Update("x", columns={"next_due_at": NOW + timedelta(hours=1)}, if_moved=Following({"next_due_at": NOW}))
    _, second = done(2, lambda _: update)
    assert second.columns == update.columns
    assert second.if_moved.columns == {"next_due_at": NOW + bulk.EACH}
    assert done(2, lambda _: None) == [None, None]
    assert done(2, lambda _: Update("x"))[1].columns == {}
