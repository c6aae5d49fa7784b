"""`backupflow ignore`: what is not told of, and what might better not be."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import output
from backupflow.cli.exits import Exit
from backupflow.cli.options import AsJson, actor
from backupflow.cli.session import wiring

if TYPE_CHECKING:
    from backupflow.core.ignoring import Place, Rule, StandingRule

_MANY = 3  # devices with the same noise: it is the fleet's

app = typer.Typer(
    name="ignore",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Changes that nobody wants to be told of: they stay in the snapshots, and out of the timeline and events.\n\n"
    "Example: backupflow ignore add --device core-1 'system/note:note'",
)
OfDevice = Annotated[str | None, typer.Option("--device", metavar="NAME", help="For this device.", show_default=False)]
OfGroup = Annotated[
    str | None, typer.Option("--group", metavar="NAME", help="For the devices of a group.", show_default=False)
]
OfTenant = Annotated[
    str, typer.Option("--tenant", metavar="NAME", help="Whose devices; without --device or --group for all of them.")
]
OfAll = Annotated[str, typer.Option("--tenant", metavar="NAME", help="Whose rules.")]
RuleText = Annotated[
    str, typer.Argument(metavar="RULE", help="COMPONENT:PROPERTY[, ITEM]; * is any property, ITEM may have * and ?.")
]


@app.command()
def add(
    rule: RuleText,
    *,
    device: OfDevice = None,
    group: OfGroup = None,
    tenant: OfTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Do not tell of changes that a rule covers whole; from now on, and of those that were told already.

    A change is covered if all the properties that changed are; that an item comes, goes or moves is covered by * alone.
    A rule is kept in clear: put no secret into it.

    \b
    Examples:
      backupflow ignore add --device core-1 'system/note:note'
      backupflow ignore add --group edge 'ip/dhcp-server/lease:*'
      backupflow ignore add 'interface/ethernet:comment, ether1'
    """  # noqa: D301 - \b keeps the lines of the examples
    from backupflow.core.ignoring import rule as read
    from backupflow.core.timeline import likely

    wanted, place = read(rule), _place(device, group)
    tenant_id = wiring().devices("reader").tenant(tenant)
    added = wiring().ignore_rules("enroller").add(tenant_id, place, wanted, actor())
    known = wiring().timelines.components(tenant_id)
    said = "ignored from now on" if added else "ignored already, and nothing was changed"
    _tell(wanted, place, tenant, said, as_json=as_json, changed=added)
    if known and wanted.component not in known:
        meant = likely(wanted.component, known)
        output.note(
            f"backupflow: no change was told in {wanted.component} so far"
            + (f": did you mean {meant}? `ignore list` shows the rule, `ignore remove` takes it back" if meant else "")
        )


@app.command("list")
def list_rules(tenant: OfAll = "default", as_json: AsJson = False) -> None:
    """List what is not told of.

    \b
    Example: backupflow ignore list
    """  # noqa: D301 - \b keeps the line of the example
    tenant_id = wiring().devices("reader").tenant(tenant)
    rules = wiring().ignore_rules("reader").rules(tenant_id)
    if as_json:
        output.as_document({"tenant": tenant, "rules": [_document(one) for one in rules]})
    elif not rules:
        output.say("nothing is ignored; `ignore suggest` looks for what changes nearly every time")
    else:
        columns = ("rule", "for", "added by", "added")
        output.show_table(columns, [(str(one.rule), _for(one), one.added_by, one.created_at) for one in rules])


@app.command()
def remove(
    rule: RuleText,
    *,
    device: OfDevice = None,
    group: OfGroup = None,
    tenant: OfTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Tell of it again; also of what a rule has kept out of the timeline. Events that were not sent are not sent late.

    \b
    Example: backupflow ignore remove --device core-1 'system/note:note'
    """  # noqa: D301 - \b keeps the line of the example
    from backupflow.core.ignoring import rule as read

    wanted, place = read(rule), _place(device, group)
    tenant_id = wiring().devices("reader").tenant(tenant)
    removed = wiring().ignore_rules("enroller").remove(tenant_id, place, wanted, actor())
    if not removed:
        output.stop(Exit.NOT_FOUND, f"no rule {wanted} stands for {_whom(place, tenant)}; see `ignore list`")
    _tell(wanted, place, tenant, "told of again", as_json=as_json, changed=True)


@app.command()
def suggest(
    device: OfDevice = None, group: OfGroup = None, tenant: OfTenant = "default", as_json: AsJson = False
) -> None:
    """Look for what changed in eight of the last ten runs or more, and say which rules would hide it.

    \b
    Example: backupflow ignore suggest --group edge
    """  # noqa: D301 - \b keeps the line of the example
    from backupflow.flows import ignoring

    place = _place(device, group)
    tenant_id = wiring().devices("reader").tenant(tenant)
    found = ignoring.suggest(wiring().suggest_ports(), tenant_id, place)
    if as_json:
        rules = [{"rule": str(rule), "devices": devices} for rule, devices in found.rules.items()]
        output.as_document({"tenant": tenant, "suggestions": rules, "unreadable": found.closed})
    elif not found.rules:
        output.say("nothing changes nearly every time")
    else:
        for rule, devices in sorted(found.rules.items(), key=lambda item: (-len(item[1]), str(item[0]))):
            _suggest(rule, devices, tenant)
    if found.closed and not as_json:
        output.note(
            f"backupflow: what changed of {output.counted(len(found.closed), 'device')} does not open: `verify`"
        )


def _suggest(rule: Rule, devices: list[str], tenant: str) -> None:
    of_tenant = "" if tenant == "default" else f" --tenant {shlex.quote(tenant)}"
    output.say(f"{rule}: changes nearly every time on {_names(devices)}")
    for option in [""] if len(devices) >= _MANY else [f" --device {shlex.quote(name)}" for name in devices]:
        output.say(f"   backupflow ignore add{of_tenant}{option} {shlex.quote(str(rule))}")


def _names(devices: list[str]) -> str:
    shown = ", ".join(devices[:_MANY])
    return shown if len(devices) <= _MANY else f"{shown} and {len(devices) - _MANY:,} more"


def _place(device: str | None, group: str | None) -> Place:
    from backupflow.core.ignoring import Place

    if device is not None and group is not None:
        raise typer.BadParameter("--device or --group")
    return Place(device, group)


def _whom(place: Place, tenant: str) -> str:
    if place.device is not None:
        return f"device {place.device}"
    return f"group {place.group}" if place.group is not None else f"all devices of tenant {tenant}"


def _for(one: StandingRule) -> str:
    if one.device is not None:
        return f"device {one.device}"
    return f"group {one.group}" if one.group is not None else "all"


def _tell(rule: Rule, place: Place, tenant: str, said: str, *, as_json: bool, changed: bool) -> None:
    if as_json:
        where = {"tenant": tenant, "device": place.device, "group": place.group}
        output.as_document({"rule": str(rule), **where, "changed": changed})
    else:
        output.say(f"{rule}: {said}, for {_whom(place, tenant)}")


def _document(one: StandingRule) -> dict[str, Any]:
    return {
        "rule": str(one.rule),
        "component": one.rule.component,
        "property": one.rule.property,
        "item": one.rule.identity,
        "device": one.device,
        "group": one.group,
        "added_by": one.added_by,
        "added_at": one.created_at,
    }
