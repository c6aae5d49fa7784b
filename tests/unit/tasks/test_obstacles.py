"""What is in the way of a task is an alarm while it lasts, and one line in the log."""

from __future__ import annotations

from types import SimpleNamespace
from uuid import UUID

import pytest

from backupflow.core.model import TenantId
from backupflow.tasks import obstacles
from backupflow.tasks.obstacles import Obstacles

ONE, OTHER = TenantId(UUID(int=1)), TenantId(UUID(int=2))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The alarms that are written: scope and code."""
    written: list[tuple[str, str]] = []
    alarms = SimpleNamespace(settle=lambda scope, code="", _detail="": written.append((scope, code)))
    monkeypatch.setattr(obstacles, "wiring", lambda: SimpleNamespace(alarms=lambda _role: alarms))
    return written


def test_each_tenant_without_its_keys_is_an_alarm_of_its_own(said: list[tuple[str, str]]) -> None:
    """Also one that an earlier process left is settled; what did not change is not written again."""
    found = Obstacles("ingester", "ingest", "stored")
    for keys in ({ONE: "", OTHER: "gone"}, {ONE: "", OTHER: "gone"}, {ONE: ""}, {OTHER: ""}):
        found.settle_keys(keys)
    scope = f"tenant {OTHER} ingest"
    assert said == [(f"tenant {ONE} ingest", ""), (scope, "transit_key_missing"), (scope, "")]


def test_an_obstacle_is_written_when_it_comes_and_when_it_goes(said: list[tuple[str, str]]) -> None:
    """Also that nothing is in the way, by a process that has just begun: another one may have left an alarm."""
    found = Obstacles("ingester", "ingest", "stored")
    for code in ("", "", "vault_unavailable", "vault_unavailable", ""):
        found.settle(code)
    assert said == [("ingest", ""), ("ingest", "vault_unavailable"), ("ingest", "")]
