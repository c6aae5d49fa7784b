"""`backupflow hostkey`: what a device is known by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from backupflow.cli import key_acts, key_import, key_pending, key_view, output, scan
from backupflow.cli.options import AsJson, DeviceName, InTenant, Yes, actor, confirm
from backupflow.cli.session import wiring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.core.inventory import DeviceRecord

app = typer.Typer(
    name="hostkey",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Compare, approve, accept, import and forget host keys.\n\nExample: backupflow hostkey show core-1",
)


@app.command()
def show(name: DeviceName, tenant: InTenant = "default", as_json: AsJson = False) -> None:
    """Show its keys: pinned, offered, expected, retired.

    Of each how it came to be trusted, and which other devices have the same.

    \b
    Example: backupflow hostkey show core-1
    """  # noqa: D301 - \b keeps the line of the example
    devices = wiring().devices("reader")
    record = devices.find(devices.tenant(tenant), name)
    same_key, same_serial = wiring().key_desk("reader").likenesses(record.device_id)
    if as_json:
        output.as_document(
            {
                "device": record.name,
                "keys": [key_view.document(key) for key in record.keys],
                "expected": [
                    {"fingerprint": key.fingerprint, "key_type": key.key_type, "how": key.how}
                    for key in record.expected
                ],
                "same_key": list(same_key),
                "same_serial": list(same_serial),
            }
        )
        return
    for line in _lines(record):
        output.say(line)
    for line in key_view.alike(same_key, same_serial):
        output.say_long(line)


def _lines(record: DeviceRecord) -> Iterator[str]:
    if not record.keys:
        yield f"{record.name} has shown no host key yet"
    if not record.pinned:
        yield from key_view.expected_lines(record.expected)
    for key in record.keys:
        yield from key_view.lines(key)


@app.command()
def reset(name: DeviceName, yes: Yes = False, tenant: InTenant = "default", as_json: AsJson = False) -> None:
    """Forget its host key.

    What was expected is forgotten too: the next key is a first sight again.

    \b
    Example: backupflow hostkey reset core-1
    """  # noqa: D301 - \b keeps the line of the example
    from backupflow.flows import enroll

    confirm(f"Forget the host key of {name}? Whoever answers next at its address may be pinned.", yes=yes)
    tenant_id = wiring().devices("enroller").tenant(tenant)
    done = enroll.reset_key(wiring().enroll_ports(actor()), tenant_id, name)
    text = "its host key is forgotten" if done.changed else "there was no host key"
    key_acts.told(done.device, text, as_json=as_json)


app.command()(scan.scan)
app.command()(key_pending.pending)
app.command()(key_acts.approve)
app.command()(key_acts.accept)
app.add_typer(key_import.app)
