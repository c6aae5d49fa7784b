"""Where the slots, or a limit, do not let everything be collected in its period: what to raise, each in a line."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from backupflow.cli import output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.core.overview import Concurrency, DeviceState, Overview


def capacity_lines(overview: Overview, max_total: int) -> Iterator[str]:
    """`max_total`: how many sessions the settings allow in all, 0: as many as there are slots."""
    load = overview.load
    if load is None or load.needed is None or load.session is None:
        return
    if load.short:
        yield (
            f"CAPACITY  needs {load.needed:,} of {output.counted(load.slots, 'slot')}: raise "
            "CONFIG_BACKUP_MAX_CONCURRENT, start another worker, or collect less often"
        )
    if 0 < max_total < min(load.needed, load.slots):
        yield (
            f"CAPACITY  needs {load.needed:,} sessions at a time, CONFIG_BACKUP_MAX_TOTAL allows {max_total:,}: "
            "raise it"
        )
    for scope in overview.concurrency:
        rate = sum(1 / one.interval.total_seconds() for one in overview.devices if _within(one, scope))
        needed = rate * load.session.total_seconds()
        if needed > scope.most:
            yield (
                f"CAPACITY  {scope.kind} {scope.name} needs {needed:.1f} sessions at a time, its concurrency allows "
                f"{scope.most:,} – `{scope.kind} edit {shlex.quote(scope.name)} --concurrency {needed + 1:.0f}`"
            )


def _within(device: DeviceState, scope: Concurrency) -> bool:
    if device.status != "active" or device.blocked_code or device.tenant_id != scope.tenant_id:
        return False
    return scope.kind == "tenant" or scope.name == (device.site if scope.kind == "site" else device.group)
