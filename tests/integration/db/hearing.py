"""Who is told of events in tests of the outbox, and who opens what is sealed in them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from backupflow.core.delivery import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from backupflow.core.model import DeviceId, SealedConfig, TenantId
    from backupflow.errors import BackupflowError

YES = Answer(delivered=True, says="HTTP 200")
NO = Answer(delivered=False, says="HTTP 500")


class Receiver:
    """Plays the hook: notes what it was told, answers what it is told to."""

    def __init__(self, answer: Answer = YES) -> None:
        self.answer = answer
        self.told: list[tuple[UUID, str]] = []

    def deliver(self, event_id: UUID, body: str) -> Answer:
        """core.ports.Hook."""
        self.told.append((event_id, body))
        return self.answer

    @property
    def said(self) -> list[dict[str, Any]]:
        """What it was told."""
        return [json.loads(text) for _, text in self.told]


class Opener:
    """Plays the vault: opens what it was given, and fails as it is told to; counts how often it was asked."""

    def __init__(self) -> None:
        self.plain: dict[str, bytes] = {}
        self.trouble: dict[TenantId | None, Exception] = {}
        self.asked = 0

    def open_config(self, tenant_id: TenantId, device_id: DeviceId, sealed: SealedConfig) -> bytes:
        """core.ports.ConfigOpener."""
        self.asked += 1
        if (trouble := self.trouble.get(tenant_id) or self.trouble.get(None)) is not None:
            raise trouble
        return self.plain[sealed.text]

    def open_configs(
        self, tenant_id: TenantId, configs: Sequence[tuple[DeviceId, SealedConfig]]
    ) -> list[bytes | BackupflowError]:
        """core.ports.ConfigOpener."""
        return [self.open_config(tenant_id, *one) for one in configs]
