"""What is in the way of a task that comes again and again: an alarm while it lasts, and a line in the log once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backupflow import telemetry
from backupflow.errors import TransitKeyMissing
from backupflow.wiring import wiring

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backupflow.core.model import TenantId


@dataclass(slots=True)
class Obstacles:
    """Of one kind of task, in this process. `scope`: of its alarms; `done`: what is not done of a tenant meanwhile."""

    role: str
    scope: str
    done: str
    keys: dict[TenantId, str] = field(default_factory=dict)  # why a tenant has not its keys, as an alarm; "": it has
    _said: str = ""  # by the log
    _standing: str | None = None  # as an alarm; None: not known, an earlier process may have left one

    def settle(self, code: str = "", detail: str = "") -> None:
        """This is in the way of all of it, or nothing."""
        if code and code != self._said:
            telemetry.logger().error(telemetry.ALARM_RAISED, code=code, detail=detail, scope=self.scope)
        self._said = code
        if code != self._standing:
            wiring().alarms(self.role).settle(self.scope, code, detail)
            self._standing = code

    def settle_keys(self, keys: Mapping[TenantId, str]) -> None:
        """Each tenant that has not its keys is an alarm of its own: what is of it waits, the others' goes on."""
        for tenant_id, why in keys.items():
            if self.keys.get(tenant_id) == why:
                continue
            scope, code = f"tenant {tenant_id} {self.scope}", TransitKeyMissing.code if why else ""
            if why:
                telemetry.logger().error(telemetry.ALARM_RAISED, code=code, detail=why, scope=scope)
            detail = f"nothing of the tenant {tenant_id} is {self.done}: {why}" if why else ""
            wiring().alarms(self.role).settle(scope, code, detail)
            self.keys[tenant_id] = why
