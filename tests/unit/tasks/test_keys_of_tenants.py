"""What ingest tells of tenants that have not their keys: an alarm of each, once, until something of it is stored."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING
from uuid import UUID

from backupflow.core.model import TenantId
from backupflow.tasks import ingest

if TYPE_CHECKING:
    import pytest

ONE, OTHER = TenantId(UUID(int=1)), TenantId(UUID(int=2))


def test_each_tenant_without_its_keys_is_an_alarm_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that an earlier process left is settled; what did not change is not written again."""
    said: list[tuple[str, str]] = []
    alarms = SimpleNamespace(settle=lambda scope, code="", _detail="": said.append((scope, code)))
    monkeypatch.setattr(ingest, "wiring", lambda: SimpleNamespace(alarms=lambda _role: alarms))
    monkeypatch.setattr(ingest, "_keys", {})
    for keys in ({ONE: "", OTHER: "gone"}, {ONE: "", OTHER: "gone"}, {ONE: ""}, {OTHER: ""}):
        ingest._settle_keys(keys)
    scope = f"tenant {OTHER} ingest"
    assert said == [(f"tenant {ONE} ingest", ""), (scope, "transit_key_missing"), (scope, "")]
