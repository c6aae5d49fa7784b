"""`backupflow history`: what changed on a device, or on all of a tenant, and when."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import change_lines, moments, output, paging
from backupflow.cli.another_router import among, documents, in_words
from backupflow.cli.exits import Exit
from backupflow.cli.options import AsJson, InTenant, actor
from backupflow.cli.session import wiring
from backupflow.core.timeline import Entry, Wanted, component_of, likely
from backupflow.errors import MessageMalformed
from backupflow.flows.timeline import Opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from backupflow.cli.paging import Line
    from backupflow.core.driver import Grammar
    from backupflow.core.model import TenantId
    from backupflow.core.timeline import FleetHistory, History, Standing
    from backupflow.flows.timeline import DeviceChanges, FleetChanges

DEFAULT_LIMIT = 50


def history(
    name: Annotated[str | None, typer.Argument(metavar="DEVICE", help="Name of the device.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All devices instead of one.")] = False,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only from then on: 7d, 12h, or 2026-11-20T06:00.", show_default=False),
    ] = None,
    component: Annotated[
        str | None,
        typer.Option(metavar="MENU", help="Only changes there or below, such as ip/firewall.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many, the newest.")] = DEFAULT_LIMIT,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show secrets too; that is audited.")] = False,
    tenant: InTenant = "default",
    as_json: AsJson = False,
) -> None:
    """Tell what changed on a device and when, the newest first; secrets are masked.

    `diff` shows a change line by line, `show` and `export` give a configuration, `snapshots` lists all that are kept.

    \b
    Examples:
      backupflow history core-1
      backupflow history core-1 --component ip/firewall --since 30d
      backupflow history --all --since 1d --json
    """  # noqa: D301 - \b keeps the lines of the examples
    wanted = Wanted(limit, moments.since(since), component_of(component) if component else None)
    tenant_id = wiring().devices("reader").tenant(tenant)
    if every == (name is not None):
        raise typer.BadParameter("name a device, or say --all")
    if name is None:
        if reveal:
            raise typer.BadParameter("--reveal goes with one device: each look at its secrets is audited")
        _fleet(tenant_id, wanted, as_json=as_json)
    else:
        _device(tenant_id, name, wanted, as_json=as_json, reveal=reveal)


def _device(tenant_id: TenantId, name: str, wanted: Wanted, *, as_json: bool, reveal: bool) -> None:
    from backupflow.drivers import driver
    from backupflow.flows import timeline

    most, bad = None if as_json else change_lines.MOST, list[Entry]()
    found = timeline.history(wiring().timeline_ports(actor()), tenant_id, name, wanted, reveal=reveal, most=most)
    found = replace(found, opened=_watched(found.opened, bad))
    grammar = driver(found.history.owner.driver).grammar
    if as_json:
        output.as_document(_document(found, grammar, reveal=reveal))
    else:
        paging.show(_lines(found, wanted))
    _fail_if_damaged(bad)


def _fleet(tenant_id: TenantId, wanted: Wanted, *, as_json: bool) -> None:
    from backupflow.flows import timeline

    most, bad = None if as_json else change_lines.MOST, list[Entry]()
    found = timeline.fleet(wiring().timeline_ports(actor()), tenant_id, wanted, most=most)
    found = replace(found, opened=_watched(found.opened, bad))
    if as_json:
        changes = [change_lines.document(one, _grammar(one), reveal=False) for one in found.opened]
        output.as_document({"changes": changes, "not_interpreted_yet": found.fleet.uninterpreted})
    else:
        paging.show(_fleet_lines(found, wanted, tenant_id))
    _fail_if_damaged(bad)


def _lines(found: DeviceChanges, wanted: Wanted) -> Iterator[Line]:
    told, name = found.history, found.history.owner.name
    if told.standing is None:
        yield paging.line(f"{name} has no snapshot yet; see `status`")
        return
    for part in change_lines.folded(_standing(_named(told), told.standing), indent=""):
        yield paging.line(part, "bold")
    if told.flapping_since:
        for part in change_lines.folded(_flapping(name, told.flapping_since), indent=""):
            yield paging.line(part, "yellow")
    for one in among(found.opened, told.others, lambda opened: opened.entry.seq):
        if isinstance(one, Opened):
            yield from change_lines.lines(one, named=False)
        else:
            yield paging.line(in_words(one), "yellow")
    meant = _meant(told.owner.tenant_id, wanted, told.entries)
    yield from _end(len(told.entries), told, wanted, f"of {name}", meant)
    if told.entries:
        yield paging.line(_line_by_line(told.entries[0]), "dim")


def _named(told: History) -> str:
    """With that it is collected no more."""
    name = told.owner.name
    if told.removed_at is None:
        return name
    return f"{name} (removed {output.in_words(told.removed_at)}; `device restore {shlex.quote(name)}`)"


def _flapping(name: str, since: datetime) -> str:
    again = f"`ignore suggest --device {shlex.quote(name)}` names what changes each time"
    return f"flapping: it changes without end since {output.in_words(since)}, and is collected once a day; {again}"


def _line_by_line(newest: Entry) -> str:
    """What shows it whole: a first one has nothing that it differs from."""
    which = f"{shlex.quote(newest.owner.name)} {newest.seq}"
    compared = newest.previous_seq or (newest.told and newest.told.diff_sealed)
    return f"line by line: `diff {which}`" if compared else f"all of it: `show {which}`"


def _fleet_lines(found: FleetChanges, wanted: Wanted, tenant_id: TenantId) -> Iterator[Line]:
    for one in found.opened:
        yield from change_lines.lines(one, named=True)
    meant = _meant(tenant_id, wanted, found.fleet.entries)
    yield from _end(len(found.fleet.entries), found.fleet, wanted, "of any device", meant)


def _meant(tenant_id: TenantId, wanted: Wanted, entries: Sequence[Entry]) -> str:
    """Of a menu in which nothing was found, the one that may have been meant."""
    if entries or wanted.component is None:
        return ""
    near = likely(wanted.component, wiring().timelines.components(tenant_id))
    return f": did you mean {near}?" if near else ""


def _end(shown: int, told: History | FleetHistory, wanted: Wanted, of: str, meant: str) -> Iterator[Line]:
    """What is not shown, and why."""
    if not shown:
        where = f" in {wanted.component}" if wanted.component else ""
        yield paging.line(f"no change {of} is known{where}{' since then' if wanted.since else ''}{meant}")
    if shown == wanted.limit:
        yield paging.line(f"there may be older ones: --limit {wanted.limit * 10}", "dim")
    if told.uninterpreted:
        what = "that is not interpreted yet" if told.uninterpreted == 1 else "that are not interpreted yet"
        when = ", some for long: see `status`" if told.late else " (usually seconds)"
        yield paging.line(f"{output.counted(told.uninterpreted, 'change')} {what}{when}", "yellow")


def _standing(name: str, standing: Standing) -> str:
    since, last = output.in_words(standing.since), output.in_words(standing.last_seen_at)
    seen = output.counted(standing.observations, "collection")
    return f"{name}: unchanged since {since}, last seen {last} ({seen})"


def _document(found: DeviceChanges, grammar: Grammar, *, reveal: bool) -> dict[str, Any]:
    told, standing = found.history, found.history.standing
    return {
        "device": told.owner.name,
        "unchanged_since": standing.since if standing else None,
        "last_seen_at": standing.last_seen_at if standing else None,
        "current_snapshot": standing.last_seq if standing else None,
        "observations": standing.observations if standing else 0,
        "flapping_since": told.flapping_since,
        "removed_at": told.removed_at,
        "changes": [change_lines.document(one, grammar, reveal=reveal) for one in found.opened],
        "not_interpreted_yet": told.uninterpreted,
        "another_router": documents(told.others),
    }


def _grammar(opened: Opened) -> Grammar:
    from backupflow.drivers import driver

    return driver(opened.entry.owner.driver).grammar


def _watched(opened: Iterator[Opened], bad: list[Entry]) -> Iterator[Opened]:
    """The same; what is damaged of it is noted."""
    for one in opened:
        if one.closed == MessageMalformed.code and not one.entry.given_up_at:
            bad.append(one.entry)
        yield one


def _fail_if_damaged(bad: list[Entry]) -> None:
    if bad:
        which = shlex.quote(bad[0].owner.name)
        output.stop(Exit.DATA, f"{_many(bad)} not what was written: `reinterpret {which}` tells them anew")


def _many(bad: list[Entry]) -> str:
    return f"what was told of {output.counted(len(bad), 'change')} is"
