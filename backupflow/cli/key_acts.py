"""`backupflow hostkey approve` and `accept`: what a person says of a key that was compared, one by one or by a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from backupflow.cli import key_view, output
from backupflow.cli.device_acts import when_due
from backupflow.cli.exits import Exit
from backupflow.cli.key_files import by_file, read
from backupflow.cli.options import BY_FINGERPRINT, AsJson, InTenant, Yes, actor, confirm
from backupflow.cli.session import wiring

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.inventory import DeviceRecord, Update

Device = Annotated[str | None, typer.Argument(metavar="[DEVICE]", help="Name of the device.", show_default=False)]
Fingerprint = Annotated[
    str | None, typer.Option(metavar="SHA256:…", help="The fingerprint that you compared.", show_default=False)
]
FromFile = Annotated[
    str | None, typer.Option("--file", metavar="FILE", help="Lines `name,fingerprint`; - is stdin.", show_default=False)
]


def approve(
    name: Device = None,
    *,
    fingerprint: Fingerprint = None,
    file: FromFile = None,
    yes: Yes = False,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Trust a first key that you compared with the router's own.

    Only first keys: a changed one takes `hostkey accept`. For a device that was never contacted
    the fingerprint is written down, and it will be the only key that may be pinned. Said of a
    key that was trusted on first use, it is on record that you compared it. A file is taken
    line by line, exact matches only, and what does not match is listed; exit code 1.

    \b
    Examples:
      backupflow hostkey approve core-1
      backupflow hostkey approve core-1 --fingerprint SHA256:Yp1l… --yes
      backupflow hostkey pending --first --csv > compared.csv
      backupflow hostkey approve --file compared.csv
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.core.key_acts import key_approved

    _act(key_approved, "approve", (name, fingerprint, file), yes=yes, tenant=tenant, as_json=as_json)


def accept(
    name: Device = None,
    *,
    fingerprint: Fingerprint = None,
    file: FromFile = None,
    yes: Yes = False,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Trust a changed key that you compared with the router's own.

    It is pinned in place of the pinned or the expected one, and the block over it ends. Only
    changed keys: a first one takes `hostkey approve`.
    Compare the fingerprint with the router's own first: on its console, or over a way that you
    trust. A file is taken line by line, exact matches only, and what does not match is listed;
    exit code 1.

    \b
    Examples:
      backupflow hostkey accept core-1
      backupflow hostkey accept core-1 --yes --fingerprint SHA256:Yp1l…
      backupflow hostkey pending --changed --site north --csv > compared.csv
      backupflow hostkey accept --file compared.csv
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.core.key_acts import key_accepted

    _act(key_accepted, "accept", (name, fingerprint, file), yes=yes, tenant=tenant, as_json=as_json)


def told(record: DeviceRecord, text: str, *, as_json: bool) -> None:
    """What became of one device."""
    if as_json:
        output.as_document({"device": record.name, "keys": [key_view.document(key) for key in record.keys]})
    else:
        output.say(f"{record.name}: {text}")


def _act(
    decide: Callable[[DeviceRecord, str], Update | None],
    verb: str,
    what: tuple[str | None, str | None, str | None],
    *,
    yes: bool,
    tenant: str,
    as_json: bool,
) -> None:
    name, fingerprint, file = what
    if (name is None) is (file is None) or (file and fingerprint):
        raise typer.BadParameter("name a device, or --file")
    devices = wiring().devices("enroller")
    tenant_id = devices.tenant(tenant)
    if file is not None:
        by_file(decide, verb, tenant_id, read(file), yes=yes, as_json=as_json)
    elif name is not None:
        if yes and fingerprint is None:
            raise typer.BadParameter("--yes needs the --fingerprint that you compared")
        record = devices.find(tenant_id, name)
        chosen = fingerprint or _only(record, verb)
        if decide(record, chosen) is not None and not yes:  # it raises what stands against it before anybody is asked
            _ask(record, chosen, verb)
        after, changed = devices.change(tenant_id, name, lambda found: decide(found, chosen), actor())
        pinned = after.pinned is not None
        text = f"{chosen} is {'pinned' if pinned else 'the only key that may be pinned'} now"
        if record.blocked_code and after.blocked_code is None:
            text += when_due(after)
        told(after, text if changed else "that is so already", as_json=as_json)


def _only(record: DeviceRecord, verb: str) -> str:
    """The key that is meant if none is named."""
    if record.offered:
        return record.offered[0].key.fingerprint
    if verb == "approve" and record.pinned:
        return record.pinned.key.fingerprint
    why = f"{record.name} offers no other key than the pinned one, or none on record: see `hostkey show`, and "
    why += "`hostkey reset` if the router lost or changed its key"
    if verb == "approve":
        why = f"{record.name} has shown no host key yet: name the --fingerprint that you compared, or "
        why += f"`hostkey scan {record.name}` looks"
    return output.stop(Exit.NOT_FOUND, why)


def _ask(record: DeviceRecord, chosen: str, verb: str) -> None:
    output.note(f"{record.name}:  {key_view.known_as(record.facts)}, at {record.host}")
    pinned, offered = record.pinned, next((key for key in record.offered if key.key.fingerprint == chosen), None)
    output.note(f"pinned:  {f'{pinned.key.key_type}  {pinned.key.fingerprint}' if pinned else 'none'}")
    for key in () if pinned else record.expected:
        output.note(f"instead of: {key.fingerprint}")
    if offered:
        output.note(f"offered: {offered.key.key_type}  {offered.key.fingerprint}")
    if pinned and offered and pinned.key.key_type != offered.key.key_type:
        output.note("The type differs too: an upgrade or a reset of the router may be why; so may a stranger.")
    question = f"{record.name} has shown no key yet. {verb.capitalize()} {chosen} before it does?"
    if offered:
        question = f"Trust the offered key of {record.name} from now on?"
    elif pinned:
        question = f"Have you compared the pinned key of {record.name} with the router's own?"
    confirm(question, yes=False, instead=BY_FINGERPRINT)
