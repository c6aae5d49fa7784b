"""`backupflow diff`: what differs between two configurations, line by line."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from backupflow.cli import diff_lines, moments, output, paging
from backupflow.cli.exits import Exit
from backupflow.cli.opened import whole
from backupflow.cli.options import AsJson, DeviceName, InTenant, actor
from backupflow.cli.session import wiring
from backupflow.core.diff import CONTEXT

if TYPE_CHECKING:
    from backupflow.core.model import Seq
    from backupflow.flows.showing import Alone, Compared

_MOST = 10_000  # lines around, of a text that may have many more


def diff(
    name: DeviceName,
    first: Annotated[
        str | None, typer.Argument(metavar="A", help="A number of `history`, a time, or now.", show_default=False)
    ] = None,
    second: Annotated[str | None, typer.Argument(metavar="B", help="The same.", show_default=False)] = None,
    *,
    other: Annotated[
        str | None, typer.Option("--with", metavar="DEVICE", help="Another device instead.", show_default=False)
    ] = None,
    side_by_side: Annotated[bool, typer.Option("--side-by-side", "-y", help="In two columns.")] = False,
    stat: Annotated[bool, typer.Option("--stat", help="Only how many lines differ in which menu.")] = False,
    context: Annotated[
        int, typer.Option("--context", "-U", min=0, max=_MOST, help="Equal lines around a difference.")
    ] = CONTEXT,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show secrets too; that is audited.")] = False,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Show what differs between two configurations of a device, or of two devices; secrets are masked.

    Without A and B the last change; with the number A alone what changed with it, with a time what has changed since;
    with both what leads from A to B. Of two devices the current ones, or A of the first and B of the other.

    \b
    Examples:
      backupflow diff core-1
      backupflow diff core-1 17
      backupflow diff core-1 2026-11-20T06:00 now --side-by-side
      backupflow diff core-1 --with core-2 --stat
    """  # noqa: D301 - \b keeps the lines of the examples
    if sum((side_by_side, stat, as_json)) > 1:
        raise typer.BadParameter("--side-by-side, --stat and --json are three forms of it: choose one")
    wanted = (moments.at(first), moments.at(second))
    given = sum(text is not None for text in (first, second))
    found = _compared(_Asked(name, other, wanted, given, tenant, context), reveal=reveal)
    if as_json:
        output.as_document(diff_lines.document(found, reveal=reveal))
    elif stat:
        paging.show(diff_lines.stat(found, reveal=reveal))
    elif side_by_side:
        paging.show(diff_lines.side_by_side(found, paging.width(), reveal=reveal))
    else:
        paging.show(diff_lines.unified(found, reveal=reveal))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be compared; `given`: how many moments were named."""

    name: str
    other: str | None
    wanted: tuple[Seq | datetime | None, Seq | datetime | None]
    given: int
    tenant: str
    context: int


def _compared(asked: _Asked, *, reveal: bool) -> Compared:
    from backupflow.flows import showing

    ports = wiring().timeline_ports(actor())
    tenant_id = wiring().devices("reader").tenant(asked.tenant)
    one, two = asked.wanted
    if asked.other is None and (asked.given == 0 or (asked.given == 1 and not isinstance(one, datetime))):
        outcome = showing.change(ports, tenant_id, asked.name, one, context=asked.context, reveal=reveal)
        return _alone(outcome) if isinstance(outcome, showing.Alone) else whole(outcome)
    older, newer = (asked.name, one), (asked.other or asked.name, two)
    return whole(showing.between(ports, tenant_id, older, newer, context=asked.context, reveal=reveal))


def _alone(found: Alone) -> NoReturn:
    which = f"snapshot {found.new.seq} of {found.new.owner.name}"
    shown = f"show {shlex.quote(found.new.owner.name)} {found.new.seq}"
    output.stop(Exit.NOT_FOUND, f"nothing is kept that {which} could be compared with; see `{shown}`")
