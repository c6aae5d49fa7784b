"""`backupflow hostkey`: what a device is known by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import output, scan
from backupflow.cli.exits import Exit
from backupflow.cli.options import AsJson, DeviceName, InTenant, Yes, actor, confirm
from backupflow.cli.session import wiring

if TYPE_CHECKING:
    from backupflow.core.inventory import SeenKey

app = typer.Typer(
    name="hostkey",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Compare, accept and forget host keys.\n\nExample: backupflow hostkey show core-1",
)


@app.command()
def show(name: DeviceName, tenant: InTenant = "default", as_json: AsJson = False) -> None:
    """Show the pinned key, what was offered instead, and what is retired. Example: `backupflow hostkey show core-1`."""
    devices = wiring().devices("reader")
    record = devices.find(devices.tenant(tenant), name)
    if as_json:
        output.as_document({"device": record.name, "keys": [_document(key) for key in record.keys]})
        return
    if not record.keys:
        output.say(f"{record.name} has shown no host key yet")
        return
    for key in record.keys:
        output.say(f"{key.status:<8} {key.key.key_type} {key.key.fingerprint}")  # of ECDSA it just fits 80 columns
        seen = f"first seen {output.in_words(key.first_seen_at)}, last seen {output.in_words(key.last_seen_at)}"
        output.say(f"         {seen}")
        if key.last_verified_at:
            output.say(f"         last verified {output.in_words(key.last_verified_at)}")


@app.command()
def accept(
    name: DeviceName,
    fingerprint: Annotated[
        str | None, typer.Option(metavar="SHA256:…", help="The fingerprint that you compared.", show_default=False)
    ] = None,
    yes: Yes = False,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Pin the key that the device offers.

    It replaces the pinned one and ends the block over it. Compare the fingerprint with the router's own first: on its
    console, or over a way that you trust.

    \b
    Examples:
      backupflow hostkey accept core-1
      backupflow hostkey accept core-1 --yes --fingerprint SHA256:Yp1l…
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.flows import enroll

    if yes and fingerprint is None:
        raise typer.BadParameter("--yes needs the --fingerprint that you compared")
    devices = wiring().devices("enroller")
    tenant_id = devices.tenant(tenant)
    record = devices.find(tenant_id, name)
    chosen = fingerprint or next((key.key.fingerprint for key in record.offered), None)
    if chosen is None:
        remedy = "none on record: see `hostkey show`, and `hostkey reset` if the router lost or changed its key"
        output.stop(Exit.NOT_FOUND, f"{record.name} offers no other key than the pinned one, or {remedy}")
    offered = next((key for key in record.offered if key.key.fingerprint == chosen), None)
    if not yes and offered is not None:
        pinned = record.pinned
        output.note(f"pinned:  {f'{pinned.key.key_type}  {pinned.key.fingerprint}' if pinned else 'none'}")
        output.note(f"offered: {offered.key.key_type}  {offered.key.fingerprint}")
        if pinned and pinned.key.key_type != offered.key.key_type:
            output.note("The type differs too: an upgrade or a reset of the router may be why; so may a stranger.")
        confirm(f"Trust the offered key of {record.name} from now on?", yes=False)
    done = enroll.accept_key(wiring().enroll_ports(actor()), tenant_id, name, chosen)
    _told(done.device.name, f"{chosen} is pinned now", done.device.keys, as_json=as_json)


@app.command()
def reset(name: DeviceName, yes: Yes = False, tenant: InTenant = "default", as_json: AsJson = False) -> None:
    """Forget its host key; the next one is a first sight again. Example: `backupflow hostkey reset core-1`."""
    from backupflow.flows import enroll

    confirm(f"Forget the host key of {name}? Whoever answers next at its address may be pinned.", yes=yes)
    tenant_id = wiring().devices("enroller").tenant(tenant)
    done = enroll.reset_key(wiring().enroll_ports(actor()), tenant_id, name)
    text = "its host key is forgotten" if done.changed else "there was no host key"
    _told(done.device.name, text, done.device.keys, as_json=as_json)


app.command()(scan.scan)


def _told(name: str, text: str, keys: tuple[SeenKey, ...], *, as_json: bool) -> None:
    if as_json:
        output.as_document({"device": name, "keys": [_document(key) for key in keys]})
    else:
        output.say(f"{name}: {text}")


def _document(key: SeenKey) -> dict[str, Any]:
    return {
        "status": key.status,
        "key_type": key.key.key_type,
        "fingerprint": key.key.fingerprint,
        "first_seen_at": key.first_seen_at,
        "last_seen_at": key.last_seen_at,
        "last_verified_at": key.last_verified_at,
    }
