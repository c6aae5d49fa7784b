"""`backupflow device`: one device at a time, each act audited."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from backupflow.cli import output
from backupflow.cli.credentials import KeyFile, PassphraseFile, PasswordFile, PasswordStdin, Source, read_login
from backupflow.cli.options import AsJson, DeviceName, InTenant, Yes, actor, confirm, seconds
from backupflow.cli.session import wiring

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.inventory import DeviceRecord
    from backupflow.core.model import TenantId
    from backupflow.flows.enroll import Done, EnrollPorts

app = typer.Typer(
    name="device",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Enrol, edit, pause, unblock and remove devices.\n\nExample: backupflow device add core-1 192.0.2.1",
)


class TrustOption(StrEnum):
    """What to do with the first host key."""

    TOFU = "tofu"
    APPROVED = "approved"


Port = Annotated[int | None, typer.Option(min=1, max=65535, help="TCP port of its SSH service.", show_default=False)]
Username = Annotated[str | None, typer.Option(metavar="NAME", help="Login name on the device.", show_default=False)]
Legacy = Annotated[
    bool | None,
    typer.Option("--legacy-ssh/--no-legacy-ssh", help="Allow SHA-1, for RouterOS 6 without strong-crypto."),
]
Interval = Annotated[str | None, typer.Option(metavar="SPAN", help="How often, e.g. 6h or 15m.", show_default=False)]
CommandTimeout = Annotated[
    str | None, typer.Option(metavar="SPAN", help="How long an export may take, e.g. 120s.", show_default=False)
]
TrustPolicy = Annotated[
    TrustOption | None,
    typer.Option(help="tofu: pin the first host key; approved: ask first (hostkey accept).", show_default=False),
]


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name.")],
    host: Annotated[str, typer.Argument(metavar="HOST", help="Host name or address.")],
    *,
    port: Port = None,
    username: Username = None,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    driver: Annotated[str, typer.Option(help="The kind of device.")] = "routeros",
    legacy_ssh: Legacy = None,
    interval: Interval = None,
    command_timeout: CommandTimeout = None,
    trust: TrustPolicy = None,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Enrol a device.

    From then on it is collected at its interval, the first time within some minutes. The login
    name is `backup` unless another is given; the password is asked for unless a source is named.

    \b
    Examples:
      backupflow device add core-1 192.0.2.1
      backupflow device add core-2 192.0.2.2 --username backup --key-file id_rsa --legacy-ssh
      pass show core-3 | backupflow device add core-3 r3.example.net --password-stdin
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.core.inventory import NewDevice
    from backupflow.core.model import DeviceId
    from backupflow.flows import enroll

    settings = _settings(legacy_ssh, interval, command_timeout, trust)
    found = wiring().devices("enroller")
    tenant_id = found.tenant(tenant)
    login = read_login(username or "backup", Source(password_stdin, password_file, key_file, passphrase_file))
    new = NewDevice(tenant_id, DeviceId(uuid4()), name, host, port or 22, driver, settings)
    _told(enroll.add(wiring().enroll_ports(actor()), new, login), "added", as_json=as_json)


@app.command()
def edit(
    name: DeviceName,
    *,
    rename: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Another name.")] = None,
    host: Annotated[str | None, typer.Option(help="Another address; its host key stays pinned.")] = None,
    port: Port = None,
    new_router: Annotated[bool, typer.Option("--new-router", help="Another router: forget its host key.")] = False,
    username: Username = None,
    ask_password: Annotated[bool, typer.Option("--ask-password", help="Ask for a new password.")] = False,
    password_stdin: PasswordStdin = False,
    password_file: PasswordFile = None,
    key_file: KeyFile = None,
    passphrase_file: PassphraseFile = None,
    legacy_ssh: Legacy = None,
    interval: Interval = None,
    command_timeout: CommandTimeout = None,
    trust: TrustPolicy = None,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Change what is named.

    New credentials end the block of a refused login.

    \b
    Examples:
      backupflow device edit core-1 --ask-password
      backupflow device edit core-1 --host 192.0.2.9 --interval 1h
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.core.enrolment import Edit
    from backupflow.flows import enroll

    devices = wiring().devices("enroller")
    tenant_id = devices.tenant(tenant)
    source = Source(password_stdin, password_file, key_file, passphrase_file)
    login = None
    if source.given or ask_password:
        login = read_login(username or devices.find(tenant_id, name).username or "backup", source)
    settings = _settings(legacy_ssh, interval, command_timeout, trust)
    wanted = Edit(rename, host, port, username, login, settings or None, new_router)
    _told(enroll.edit(wiring().enroll_ports(actor()), tenant_id, name, wanted), "edited", as_json=as_json)


@app.command()
def pause(name: DeviceName, tenant: InTenant = "default", as_json: AsJson = False) -> None:
    """Stop collecting it until it is resumed; its history stays. Example: `backupflow device pause core-1`."""
    _act("pause", name, tenant, "paused", as_json=as_json)


@app.command()
def resume(name: DeviceName, tenant: InTenant = "default", as_json: AsJson = False) -> None:
    """Collect it again. Example: `backupflow device resume core-1`."""
    _act("resume", name, tenant, "resumed", as_json=as_json)


@app.command()
def unblock(name: DeviceName, tenant: InTenant = "default", as_json: AsJson = False) -> None:
    """Try again at once whatever blocked it; its pin stays. Example: `backupflow device unblock core-1`."""
    _act("unblock", name, tenant, "unblocked", as_json=as_json)


@app.command()
def replaced(name: DeviceName, yes: Yes = False, tenant: InTenant = "default", as_json: AsJson = False) -> None:
    """Another router stands at this name: forget the old one. Example: `backupflow device replaced core-1`."""
    confirm(f"Forget the host key of {name}, and trust the next one that its policy allows?", yes=yes)
    _act("replaced", name, tenant, "set up for its new router", as_json=as_json)


@app.command()
def remove(name: DeviceName, yes: Yes = False, tenant: InTenant = "default", as_json: AsJson = False) -> None:
    """Stop collecting it for good; its history stays. Example: `backupflow device remove core-1 --yes`."""
    confirm(f"Remove {name}?", yes=yes)
    _act("remove", name, tenant, "removed", as_json=as_json)


@app.command()
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


@app.command("list")
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


def _act(flow: str, name: str, tenant: str, done: str, *, as_json: bool) -> None:
    from backupflow.flows import enroll

    act: Callable[[EnrollPorts, TenantId, str], Done] = getattr(enroll, flow)
    tenant_id = wiring().devices("enroller").tenant(tenant)
    _told(act(wiring().enroll_ports(actor()), tenant_id, name), done, as_json=as_json)


def _told(outcome: Done, done: str, *, as_json: bool) -> None:
    record = outcome.device
    if as_json:
        output.as_document({"changed": outcome.changed, "device": document(record)})
    elif not outcome.changed:
        output.say(f"{record.name}: nothing to do")
    else:
        due = f"; due in {output.span(record.next_due_at - record.now)}" if record.next_due_at else ""
        output.say(f"{record.name} {done}{due if record.status == 'active' else ''}")


def _settings(
    legacy_ssh: bool | None, interval: str | None, command_timeout: str | None, trust: TrustOption | None
) -> dict[str, Any]:
    named = {
        "legacy_ssh": legacy_ssh,
        "interval_seconds": seconds(interval),
        "command_timeout_seconds": seconds(command_timeout),
        "trust": trust.value if trust else None,
    }
    return {name: value for name, value in named.items() if value is not None}
