"""The same act on many devices: which ones, how many, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from backupflow.cli import output, timetable_view
from backupflow.cli.exits import Exit
from backupflow.cli.options import actor, confirm
from backupflow.cli.progress import progress
from backupflow.cli.session import wiring

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backupflow.core.fleet import Candidate
    from backupflow.core.inventory import DeviceRecord, Update
    from backupflow.flows.bulk import Part

_SHOWN = 8  # names in a question
_CONDITION = (
    "field=value, field!=value or field~pattern (how it begins, or with * and ?), of name, host, port, status, "
    "blocked, group, site, profile, jump, source, driver, version, model, identity and serial; several must all hold."
)

MaybeName = Annotated[str | None, typer.Argument(metavar="DEVICE", help="Name of the device.", show_default=False)]
Where = Annotated[
    list[str] | None, typer.Option("--where", metavar="CONDITION", help=f"Those with {_CONDITION}", show_default=False)
]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which devices, if not one by its name."""

    group: Annotated[str | None, typer.Option(metavar="NAME", help="Those of a group.", show_default=False)] = None
    site: Annotated[str | None, typer.Option(metavar="NAME", help="Those of a site.", show_default=False)] = None
    where: Where = None

    def part(self, tenant: str) -> Part:
        """As the flow knows it."""
        from backupflow.flows.bulk import Part

        return Part(tenant, self.group, self.site, tuple(self.where or ()))


@dataclass(frozen=True, slots=True)
class ChosenToEdit:
    """The same for a command whose --group and --site say where a device is to belong."""

    in_group: Annotated[
        str | None, typer.Option("--in-group", metavar="NAME", help="Those of a group.", show_default=False)
    ] = None
    in_site: Annotated[
        str | None, typer.Option("--in-site", metavar="NAME", help="Those of a site.", show_default=False)
    ] = None
    where: Where = None

    def part(self, tenant: str) -> Part:
        """As the flow knows it."""
        from backupflow.flows.bulk import Part

        return Part(tenant, self.in_group, self.in_site, tuple(self.where or ()))


def part_of(name: str | None, chosen: Chosen | ChosenToEdit, tenant: str) -> Part | None:
    """Which devices are meant, None: the one that is named. BadParameter if both are said, or nothing is."""
    part = chosen.part(tenant)
    some = part.group is not None or part.site is not None or bool(part.where)
    if (name is not None) == some:
        group, site = ("--in-group", "--in-site") if isinstance(chosen, ChosenToEdit) else ("--group", "--site")
        raise typer.BadParameter(f"name one device, or choose many with {group}, {site} and --where")
    return part if some else None


def act_on(
    part: Part,
    decide: Callable[[DeviceRecord], Update | None],
    words: tuple[str, str],
    *,
    yes: bool,
    as_json: bool,
    before: Callable[[Sequence[Candidate]], None] = lambda _: None,
) -> None:
    """Say how many, ask, do it, and tell; `words` are what is to be done and what was, such as (pause, paused).

    `before` is called with them when it was agreed to. The command ends if there are none.
    """
    from backupflow.flows import bulk

    what, done = words
    devices = bulk.devices_of(wiring().fleet("enroller"), part)
    if not devices:
        output.stop(Exit.NOT_FOUND, "no device is like that; see `device list`")
    confirm(f"{what.capitalize()} {_these(devices)}?", yes=yes)
    before(devices)
    with progress(done, len(devices), quiet=as_json) as moved:
        outcome = bulk.act(wiring().fleet("enroller"), part.tenant, devices, decide, actor(), moved=moved)
    left = len(devices) - len(outcome.changed)
    if as_json:
        names = [{"name": device.name, "changed": device.device_id in outcome.changed} for device in devices]
        told = {"chosen": len(devices), "changed": len(outcome.changed), "devices": names}
        output.as_document(told | timetable_view.document(outcome.rescheduled))
    else:
        already = f"; {left:,} were so already" if left else ""
        output.say(f"{len(outcome.changed):,} {done}{already}{timetable_view.pressure(outcome.rescheduled)}")


def _these(devices: Sequence[Candidate]) -> str:
    names = ", ".join(device.name for device in devices[:_SHOWN])
    more = f" and {len(devices) - _SHOWN:,} more" if len(devices) > _SHOWN else ""
    return f"{len(devices):,} device{'s' if len(devices) > 1 else ''} ({names}{more})"
