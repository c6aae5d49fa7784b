"""`backupflow device list`: how the devices stand, all or those that are chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backupflow.cli import output
from backupflow.cli.bulk import Where
from backupflow.cli.options import AsJson, InTenant
from backupflow.cli.session import wiring
from backupflow.cli.status import STYLES
from backupflow.cli.status_document import device_document
from backupflow.core.choosing import condition
from backupflow.core.flapping import FLAPPING
from backupflow.core.overview import Standing

if TYPE_CHECKING:
    from datetime import datetime

    from backupflow.core.overview import DeviceState

COLUMNS = (
    "device", "stands", "address", "in the way", "site", "identity", "model", "version", "serial", "secrets",
)  # fmt: skip
_DROPS = ("secrets", "serial", "identity", "version", "model", "site")  # where there is no room, in this order
SAME = "="  # it calls itself what we call it
SSH = 22  # TCP port (RFC 4253, section 4): only another one is worth a word


def list_devices(
    tenant: InTenant = "default",
    *,
    removed: Annotated[bool, typer.Option("--removed", help="Show removed devices too.")] = False,
    group: Annotated[str | None, typer.Option(metavar="NAME", help="Only those of this group.")] = None,
    site: Annotated[str | None, typer.Option(metavar="NAME", help="Only those at this site.")] = None,
    stands: Annotated[
        Standing | None, typer.Option("--status", help="Only those that stand so.", show_default=False)
    ] = None,
    where: Where = None,
    as_json: AsJson = False,
) -> None:
    """List all devices and how each stands, and what is in the way of those that do not stand well.

    On a terminal that is too narrow for all columns the least needed are left out. Under identity stands what the
    router calls itself; a = there says that this is the name that it has here.

    \b
    Examples:
      backupflow device list --site north
      backupflow device list --status blocked --where "model~CCR"
    """  # noqa: D301 - \b keeps the lines of the examples
    devices = wiring().devices("reader")
    tenant_id = devices.tenant(tenant)
    within = devices.within(tenant_id, group, site) if group or site else None
    overview = wiring().statuses.overview(tenant_id, removed=removed)
    asked = [condition(text) for text in where or ()]
    shown = [
        device
        for device in overview.devices
        if (within is None or device.device_id in within)
        and (stands is None or device.standing(overview.now) is stands)
        and all(meets(device) for meets in asked)
    ]
    if as_json:
        output.as_document({"devices": [device_document(device, overview.now) for device in shown]})
    else:
        rows = [_row(device, overview.now) for device in shown]
        kept = output.fitting(COLUMNS, rows, _DROPS)
        places = [COLUMNS.index(column) for column in kept]
        output.show_table(kept, [[row[place] for place in places] for row in rows], STYLES)
        if left := [column for column in COLUMNS if column not in kept]:
            output.note(f"left out for want of room: {', '.join(left)}")


def _row(device: DeviceState, now: datetime) -> tuple[output.Cell, ...]:
    facts = device.facts
    host = f"[{device.host}]" if ":" in device.host else device.host
    address = device.host if device.port == SSH else f"{host}:{device.port}"
    identity = SAME if facts.get("identity") == device.name else output.told(facts.get("identity"))
    said = [identity, output.told(facts.get("model")), output.told(facts.get("version"))]
    serial = output.told(facts.get("serial") or facts.get("system_id"))
    why = _in_the_way(device, now)
    return (device.name, device.standing(now), address, why, device.site, *said, serial, facts.get("secrets"))


def _in_the_way(device: DeviceState, now: datetime) -> str | None:
    """Why it does not stand well, in a word or two."""
    match device.standing(now):
        case Standing.PAUSED:
            return output.told(device.paused_reason)
        case Standing.BLOCKED:
            return device.blocked_code
        case Standing.AT_JUMP_HOST:
            return device.jump
        case Standing.SUSPENDED:
            return device.profile
        case Standing.FAILING:
            return (device.last.code or device.last.state) if device.last else None
        case _:
            return FLAPPING if device.flapping_since else None
