"""`backupflow inventory import`: devices from another system, again and again."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backupflow.cli import inventory_view, output, timetable_view
from backupflow.cli.credentials import read_private
from backupflow.cli.exits import Exit
from backupflow.cli.option_groups import with_groups
from backupflow.cli.options import AsJson, InTenant, Yes, actor, confirm
from backupflow.cli.progress import progress
from backupflow.cli.session import wiring
from backupflow.cli.trust_question import settle_trust

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backupflow.core.model import Trust
    from backupflow.core.syncing import Inventory
    from backupflow.flows.syncing import Sync

app = typer.Typer(
    name="inventory",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Devices from other systems.\n\nExample: backupflow inventory import oxidized DIR --dry-run",
)
_import = typer.Typer(
    name="import",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Take over what another system has, and keep in step with it: each command may be run again and again.\n\n"
    "New devices are added and others changed as it says. A device that it does not have any more is paused, never "
    "removed, and resumed when it is back. What has no meaning here is listed.\n\n"
    "Example: backupflow inventory import netbox https://netbox.example.net --token-file token --dry-run",
)
app.add_typer(_import)


@dataclass(frozen=True, slots=True)
class How:
    """What a sync may do, as options."""

    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The credential profile of new devices for which it has no login."),
    ] = None
    adopt: Annotated[bool, typer.Option("--adopt", help="Also take over devices that came from elsewhere.")] = False
    update_logins: Annotated[
        bool, typer.Option("--update-logins", help="Seal logins anew that are there; it ends no block. Else they stay.")
    ] = False
    source: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Call it so as well: several folders of one kind are told apart by it."),
    ] = None
    verbose: Annotated[bool, typer.Option("--verbose", help="A line for each device that is another.")] = False


@dataclass(frozen=True, slots=True)
class Web:
    """How an address is asked, as options."""

    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The API token, in a 0600 file; else it is asked for.")
    ] = None
    ca_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificates of the authority that it is trusted by.")
    ] = None
    plain_http: Annotated[
        bool, typer.Option("--plain-http", help="Also send the token over http, where it can be read.")
    ] = False

    def token(self) -> str:
        """The token: never from an argument or the environment, which others can read."""
        if self.token_file:
            return read_private(self.token_file).strip()
        if not sys.stdin.isatty():
            output.stop(Exit.USAGE, "no terminal to ask for the token: --token-file FILE")
        answer: str = typer.prompt("API token", hide_input=True, err=True)
        return answer.strip()


Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Its folder, or a copy of it.")]
Url = Annotated[str, typer.Argument(metavar="URL", help="Its address, with https.")]


@_import.command()
@with_groups
def oxidized(
    folder: Folder, *, how: How, yes: Yes = False, tenant: InTenant = "default", as_json: AsJson = False
) -> None:
    """Oxidized: its `config`, and the router.db that it names.

    Its maps, variables and groups are followed; of a variable the nearest counts: node, model of a group, group,
    model, all. Logins become credential profiles: `oxidized`, `oxidized-GROUP`, `oxidized-MODEL`, `oxidized-USER`.
    A node with ssh_proxy waits until there is a jump host of that name.

    \b
    Examples:
      backupflow inventory import oxidized ~/.config/oxidized --dry-run
      backupflow inventory import oxidized /home/oxidized/.config/oxidized
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.wiring import inventories

    _sync(inventories.oxidized(folder), how, tenant, yes=yes, as_json=as_json)


@_import.command()
@with_groups
def rancid(
    folder: Folder,
    *,
    cloginrc: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The .cloginrc, if it is not in that folder.")
    ] = None,
    how: How,
    yes: Yes = False,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """RANCID: the router.db of each group of rancid.conf, and the logins of .cloginrc.

    Devices of type mikrotik or routeros that are up. Logins become credential profiles: `rancid`, and `rancid-GLOB`
    for those of a glob.

    \b
    Examples:
      backupflow inventory import rancid /var/lib/rancid --dry-run
      backupflow inventory import rancid /var/lib/rancid --cloginrc /home/rancid/.cloginrc
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.wiring import inventories

    _sync(inventories.rancid(folder, cloginrc), how, tenant, yes=yes, as_json=as_json)


@_import.command()
@with_groups
def librenms(
    url: Url, *, web: Web, how: How, yes: Yes = False, tenant: InTenant = "default", as_json: AsJson = False
) -> None:
    """LibreNMS: the devices that it has for Oxidized (/api/v0/oxidized), with their groups.

    It has no logins: give the groups one (`group edit GROUP --profile NAME`), or new devices with --profile.

    \b
    Examples:
      backupflow inventory import librenms https://nms.example.net --token-file token --profile core --dry-run
      backupflow inventory import librenms https://nms.example.net --token-file token
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.wiring import inventories

    token = web.token()
    _sync(inventories.librenms(_address(url, web), token), how, tenant, yes=yes, as_json=as_json)


@_import.command()
@with_groups
def netbox(
    url: Url,
    *,
    web: Web,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="KEY=VALUE", help="Only such devices, as NetBox filters them; repeatable."),
    ] = None,
    group_from: Annotated[
        str | None,
        typer.Option(metavar="FIELD", help="What becomes the group: role, tenant, platform, location, cluster, tag."),
    ] = None,
    port_field: Annotated[
        str | None, typer.Option(metavar="NAME", help="The custom field that has the SSH port.")
    ] = None,
    any_platform: Annotated[
        bool, typer.Option("--any-platform", help="All that the filters leave is RouterOS, whatever its platform says.")
    ] = False,
    sites: Annotated[bool, typer.Option("--sites/--no-sites", help="Whether its sites become sites here.")] = True,
    how: How,
    yes: Yes = False,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """NetBox: its active devices that are RouterOS, at their primary addresses, with their sites.

    RouterOS is what has a platform that says so, or none and a type by MikroTik.

    \b
    Examples:
      backupflow inventory import netbox https://netbox.example.net --token-file token --profile core --dry-run
      backupflow inventory import netbox https://netbox.example.net --token-file token \\
        --filter tag=backup --group-from role --port-field ssh_port
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.wiring import inventories

    if group_from is not None and group_from not in inventory_view.GROUPS_FROM:
        raise typer.BadParameter(f"--group-from is one of {', '.join(inventory_view.GROUPS_FROM)}")
    token, quiet = web.token(), as_json
    with progress("reading", None, quiet=quiet) as moved:
        read = 0

        def told(far: int, _of: int) -> None:
            nonlocal read
            moved(far - read)
            read = far

        inventory = inventories.netbox(
            _address(url, web),
            token,
            filters=_filters(filters or []),
            group_from=group_from,
            port_field=port_field,
            whatever_platform=any_platform,
            sites=sites,
            progress=told,
        )
    _sync(inventory, how, tenant, yes=yes, as_json=as_json)


def _address(url: str, web: Web) -> inventory_view.Address:
    from backupflow.wiring.inventories import Address

    return Address(url, web.ca_file, web.plain_http)


def _filters(given: list[str]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not key or not equals or not key.replace("_", "").isalnum():
            raise typer.BadParameter("--filter is KEY=VALUE, such as tag=backup")
        found[key] = (*found.get(key, ()), value)
    return found


def _sync(inventory: Inventory, how: How, tenant: str, *, yes: bool, as_json: bool) -> None:
    from backupflow.core.syncing import labelled
    from backupflow.flows import syncing

    if how.source is not None:
        inventory = labelled(inventory, how.source)
    ports = wiring().import_ports(actor())
    wish = syncing.Wish(tenant, how.profile, how.adopt, how.update_logins)
    sync = syncing.look(ports, inventory, wish)
    there = ports.store.standing({tenant}).tenants[tenant]
    shown = inventory_view.Shown(sync, syncing.missing_jumps(sync, there), how.dry_run, how.verbose or how.dry_run)
    if not how.dry_run:
        if sync.doubtful:
            confirm(inventory_view.doubt(sync), yes=yes)
        _take(sync, tenant, quiet=as_json)
    inventory_view.show(shown, as_json=as_json)
    if shown.wrong:
        raise typer.Exit(Exit.WRONG)


def _take(sync: Sync, tenant: str, *, quiet: bool) -> None:
    from backupflow.flows import syncing

    ports, plan = wiring().import_ports(actor()), sync.agreed
    trust = _settled(sync, tenant)
    work = len(plan.added) + len(plan.changed) + len(plan.gone) + len(plan.back) + len(sync.renews)
    with progress("importing", work, quiet=quiet) as moved:
        done = syncing.take(ports, wiring().scope_ports(actor()), sync, trust=trust, moved=moved)
    timetable_view.note(done.rescheduled)


def _settled(sync: Sync, tenant: str) -> Mapping[str, Trust]:
    """Ask what first keys are worth where one password becomes that of many; of profiles that are made: the answers."""
    more = {name: count for (whose, name), count in sync.agreed.comes_to.items() if whose == tenant}
    made = {name for whose, kind, name in sync.agreed.makes if kind == "profile"}
    new = {p.name for p in sync.inventory.profiles if p.name in made and p.private_key is None}
    answers = settle_trust(sync.tenant_id, more, new=new)
    return {name: answer for name, answer in answers.items() if name in new}
