"""`backupflow device show` and `device list`: what is known of devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import output
from backupflow.cli.options import AsJson, DeviceName, InTenant
from backupflow.cli.session import wiring

if TYPE_CHECKING:
    from backupflow.core.inventory import DeviceRecord


def show(name: DeviceName, tenant: InTenant = "default", as_json: AsJson = False) -> None:
    """Show one device. Example: `backupflow device show core-1 --json`."""
    devices = wiring().devices("reader")
    record = devices.find(devices.tenant(tenant), name)
    if as_json:
        output.as_document(document(record))
        return
    pinned = record.pinned
    output.show_table(
        ("device", record.name),
        (
            ("address", f"{record.host} port {record.port}"),
            ("driver", record.driver),
            ("login", f"{record.username} ({record.method})" if record.username else None),
            ("status", f"blocked: {record.blocked_code}" if record.blocked_code else record.status),
            ("why", record.blocked_detail),
            ("failures", record.failures),
            ("interval", record.interval),
            ("next due", None if record.blocked_code else record.next_due_at),
            ("last stored", record.last_collected_at),
            ("host key", f"{pinned.key.key_type} {pinned.key.fingerprint}" if pinned else None),
            ("settings", ", ".join(f"{key}={value}" for key, value in record.settings.items()) or None),
            ("id", str(record.device_id)),
        ),
    )


def list_devices(
    tenant: InTenant = "default",
    removed: Annotated[bool, typer.Option("--removed", help="Show removed devices too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List all devices and how each stands. Example: `backupflow device list`."""
    from backupflow.cli.status import STYLES, device_document, device_row

    tenant_id = wiring().devices("reader").tenant(tenant)
    overview = wiring().statuses.overview(tenant_id, removed=removed)
    if as_json:
        output.as_document({"devices": [device_document(device, overview.now) for device in overview.devices]})
    else:
        shown = [(device_row(device, overview.now), device) for device in overview.devices]
        rows = [(*row[:3], row[-1], device.host, device.port) for row, device in shown]
        output.show_table(("device", "stands", "last", "due in", "address", "port"), rows, STYLES)


def document(record: DeviceRecord) -> dict[str, Any]:
    """A device as JSON."""
    blocked = {"code": record.blocked_code, "detail": record.blocked_detail, "at": record.blocked_at}
    return {
        "id": record.device_id,
        "name": record.name,
        "host": record.host,
        "port": record.port,
        "driver": record.driver,
        "status": record.status,
        "username": record.username,
        "method": record.method,
        "settings": dict(record.settings),
        "interval_seconds": record.interval.total_seconds(),
        "blocked": blocked if record.blocked_code else None,
        "failures": record.failures,
        "next_due_at": record.next_due_at,
        "last_stored_at": record.last_collected_at,
        "fingerprint": record.pinned.key.fingerprint if record.pinned else None,
    }
