"""`backupflow device`: one device at a time, each act audited."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from backupflow.cli import (
    bulk,
    device_acts,
    device_list,
    device_view,
    importing,
    maintenance,
    restoring,
    testing,
    timetable_view,
)
from backupflow.cli.bulk import ChosenToEdit, MaybeName
from backupflow.cli.credentials import Source, read_login
from backupflow.cli.device_settings import DeviceSettings, Fingerprint, Placing, UnsetOrWay, taken_back
from backupflow.cli.maintenance import WHAT, HowLong
from backupflow.cli.option_groups import with_groups
from backupflow.cli.options import AsJson, DeviceName, InTenant, Yes, actor, confirm
from backupflow.cli.session import wiring
from backupflow.cli.trust_question import settle_devices, settle_trust

if TYPE_CHECKING:
    pass

app = typer.Typer(
    name="device",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Enrol, edit, pause, unblock, believe and remove devices.\n\nExample: backupflow device add core-1 192.0.2.1",
)


Port = Annotated[int | None, typer.Option(min=1, max=65535, help="TCP port of its SSH service.", show_default=False)]
Username = Annotated[str | None, typer.Option(metavar="NAME", help="Login name on the device.", show_default=False)]


@app.command()
@with_groups
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name.")],
    host: Annotated[str, typer.Argument(metavar="HOST", help="Host name or address.")],
    *,
    port: Port = None,
    username: Username = None,
    source: Source,
    placing: Placing,
    fingerprint: Fingerprint = None,
    driver: Annotated[str, typer.Option(help="The kind of device.")] = "routeros",
    settings: DeviceSettings,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Enrol a device.

    From then on it is collected at its interval, the first time within some minutes. The login
    name is `backup` unless another is given; the password is asked for unless a source is named, or
    it has a credential profile, also by its group, site or tenant (`credential add`): a login by key is best.

    \b
    Examples:
      backupflow device add core-4 192.0.2.4 --profile routers --site north
      backupflow device add core-1 192.0.2.1
      backupflow device add core-2 192.0.2.2 --username backup --key-file id_rsa --legacy-ssh
      pass show core-3 | backupflow device add core-3 r3.example.net --password-stdin
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.core.inventory import NewDevice, checked_fingerprint, checked_username
    from backupflow.core.model import DeviceId, ExpectedKey, TrustedHow
    from backupflow.flows import enroll

    named, placement = settings.named(), placing.placement()
    _one_login(placing, given=source.given or username is not None)
    expected = (ExpectedKey(checked_fingerprint(fingerprint), TrustedHow.IMPORT),) if fingerprint else ()
    found = wiring().devices("enroller")
    tenant_id = found.tenant(tenant)
    profile = None if source.given or username else found.profile_for(tenant_id, placement)
    new = NewDevice(
        tenant_id, DeviceId(uuid4()), name, host, port or 22, driver, named, placement=placement, expected=expected
    )
    ports = wiring().enroll_ports(actor())
    enroll.look_before_adding(ports, new)
    login = None if profile else read_login(checked_username(username or "backup"), source)
    if profile:
        settle_trust(tenant_id, {profile: 1})
    device_acts.told(enroll.add(ports, new, login), "added", as_json=as_json)
    timetable_view.say_times(named, as_json=as_json)


@app.command()
@with_groups
def edit(
    name: MaybeName = None,
    *,
    chosen: ChosenToEdit,
    rename: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Another name.")] = None,
    host: Annotated[str | None, typer.Option(help="Another address; its host key stays pinned.")] = None,
    port: Port = None,
    new_router: Annotated[bool, typer.Option("--new-router", help="Another router: forget its host key.")] = False,
    username: Username = None,
    ask_password: Annotated[bool, typer.Option("--ask-password", help="Ask for a new password.")] = False,
    source: Source,
    forget_login: Annotated[
        bool, typer.Option("--forget-login", help="Forget its own login, for the one that its scopes have.")
    ] = False,
    placing: Placing,
    fingerprint: Fingerprint = None,
    settings: DeviceSettings,
    unset: UnsetOrWay = None,
    yes: Yes = False,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Change what is named, of one device or of all that are chosen.

    New credentials end the block of a refused login; a profile takes the place of a login of its own. Another jump host
    is another way to another place: the device is collected at once, and its host key stays pinned.

    \b
    Examples:
      backupflow device edit core-1 --profile routers --group access --unset interval
      backupflow device edit core-1 --ask-password
      backupflow device edit core-1 --host 192.0.2.9 --interval 1h
      backupflow device edit --in-site north --where "version~6." --legacy-ssh
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.core.enrolment import Edit, edited
    from backupflow.core.inventory import checked_username
    from backupflow.flows import enroll

    named = settings.named()
    _one_login(placing, given=source.given or ask_password or username is not None)
    back, way = taken_back(unset, placing.jump)
    placed = replace(placing.placement(), jump=way)
    part = bulk.part_of(name, chosen, tenant)
    if part is not None:
        if source.given or ask_password or username is not None:
            raise typer.BadParameter("a login is each device's own: for many, `credential add` and --profile")
        wanted = Edit(
            rename, host, port, None, None, named or None, new_router, placed, back, fingerprint,
            forget_login,
        )  # fmt: skip
        device_acts.edit_many(part, wanted, yes=yes, as_json=as_json)
        timetable_view.say_times(named, as_json=as_json)
        return
    name = name or ""
    devices = wiring().devices("enroller")
    tenant_id = devices.tenant(tenant)
    wanted = Edit(
        rename, host, port, username, None, named or None, new_router, placed, back, fingerprint,
        forget_login,
    )  # fmt: skip
    if source.given or ask_password:
        there = devices.find(tenant_id, name)
        edited(there, replace(wanted, username=None), None)  # what is wrong besides, before anybody is asked
        login = read_login(checked_username(username or there.username or "backup"), source, new=True)
        wanted = replace(wanted, login=login)
    settle_devices(tenant, name, wanted)
    device_acts.told(enroll.edit(wiring().enroll_ports(actor()), tenant_id, name, wanted), "edited", as_json=as_json)
    timetable_view.say_times(named, as_json=as_json)


@app.command("maintenance", help=f"{WHAT}\n\n\b\nExample: backupflow device maintenance core-1 --for 2h")
@with_groups
def maintain(  # noqa: D103 - its help is above
    name: DeviceName, *, how_long: HowLong, tenant: InTenant = "default", as_json: AsJson = False
) -> None:
    maintenance.of_device(name, tenant, how_long, as_json=as_json)


@app.command()
def believe(name: DeviceName, tenant: InTenant = "default", as_json: AsJson = False) -> None:
    """Believe its next export, however it differs from the last one that was believed.

    For a router of which each export is suspect (export_suspect) though it is right: a list that a
    script rewrites, a menu that it cannot export any more. Look at what was kept aside first. It is
    collected at once; another serial number is never believed.

    \b
    Examples:
      backupflow export core-1 --aside -o aside.rsc
      backupflow device believe core-1
    """  # noqa: D301 - \b keeps the lines of the examples
    device_acts.act("believe", name, tenant, "will be believed with its next export", as_json=as_json)


@app.command()
def replaced(name: DeviceName, yes: Yes = False, tenant: InTenant = "default", as_json: AsJson = False) -> None:
    """Another router stands at this name: forget the old one. Example: `backupflow device replaced core-1`."""
    _look(name, tenant)
    confirm(f"Forget the host key of {name}, and trust the next one that its policy allows?", yes=yes)
    device_acts.act("replaced", name, tenant, "set up for its new router", as_json=as_json)


@app.command()
def remove(name: DeviceName, yes: Yes = False, tenant: InTenant = "default", as_json: AsJson = False) -> None:
    """Stop collecting it for good; its history stays. Example: `backupflow device remove core-1 --yes`."""
    _look(name, tenant)
    confirm(f"Remove {name}?", yes=yes)
    device_acts.act("remove", name, tenant, "removed", as_json=as_json)


app.command()(restoring.restore)
app.command()(device_acts.pause)
app.command()(device_acts.resume)
app.command()(device_acts.unblock)
app.command()(device_view.show)
app.command("import")(importing.import_devices)
app.command("test")(testing.try_out)
app.command("list")(device_list.list_devices)


def _look(name: str, tenant: str) -> None:
    """Whether it is there at all, before anybody is asked about it."""
    devices = wiring().devices("enroller")
    devices.find(devices.tenant(tenant), name)


def _one_login(placing: Placing, *, given: bool) -> None:
    if placing.profile and given:
        raise typer.BadParameter("--profile brings its own login: leave out --username and the password, or --profile")
