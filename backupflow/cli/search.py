"""`backupflow search`: a text or a pattern in the configurations of a tenant."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backupflow.cli import output
from backupflow.cli.exits import Exit
from backupflow.cli.option_groups import with_groups
from backupflow.cli.options import AsJson, actor
from backupflow.cli.progress import bar
from backupflow.cli.session import wiring
from backupflow.core.timeline import component_of, likely

if TYPE_CHECKING:
    from backupflow.core.model import DeviceId
    from backupflow.core.searching import Extent, Search
    from backupflow.flows.search import Hit, LookedFor, Searched

DEFAULT_LIMIT = 1000
_LONGEST_LINE = 240  # characters of a line that a person is shown
_BEFORE_HIT = 60  # of them before what was found, in a longer line
_LARGEST_PATTERN_FILE = 64 * 1024
_MOST_NAMED = 20  # snapshots that could not be searched


@dataclass(frozen=True)
class Where:
    """In which configurations."""

    device: Annotated[str | None, typer.Option(metavar="NAME", help="Of this device.", show_default=False)] = None
    group: Annotated[str | None, typer.Option(metavar="NAME", help="Of a group.", show_default=False)] = None
    site: Annotated[str | None, typer.Option(metavar="NAME", help="Of a site.", show_default=False)] = None
    tenant: Annotated[str, typer.Option(metavar="NAME", help="Whose devices they are.")] = "default"
    every: Annotated[
        bool, typer.Option("--all", help="All that are kept, of removed devices too; else the current ones.")
    ] = False
    component: Annotated[
        str | None,
        typer.Option(metavar="MENU", help="In this menu and below it, such as ip/firewall.", show_default=False),
    ] = None
    section: Annotated[str | None, typer.Option(hidden=True)] = None  # as --component was called once
    reveal: Annotated[bool, typer.Option("--reveal", help="In the text with its secrets, and show them.")] = False


@dataclass(frozen=True)
class How:
    """How the pattern is read, and what is shown."""

    pattern_file: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="The pattern is the first line of it; - is stdin.", show_default=False),
    ] = None
    regexp: Annotated[bool, typer.Option("--regexp", "-e", help="It is a regular expression (RE2).")] = False
    ignore_case: Annotated[bool, typer.Option("--ignore-case", "-i", help="Small letters are as capitals.")] = False
    count: Annotated[bool, typer.Option("--count", help="How many lines, and of how many devices.")] = False
    devices: Annotated[bool, typer.Option("--devices", help="The names of the devices, one a line.")] = False
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="So many lines, then stop [default: 1000].", show_default=False),
    ] = None
    as_json: AsJson = False


@with_groups
def search(
    pattern: Annotated[
        str | None, typer.Argument(metavar="PATTERN", help="What to look for.", show_default=False)
    ] = None,
    *,
    where: Where,
    how: How,
) -> None:
    """Find a text in the configurations of a tenant.

    Each line that has it is shown with its device, snapshot and menu. Secrets are masked before anything is looked for,
    unless you say --reveal. That you searched is audited, and how much was found; not what for.

    A secret that is looked for does not belong on a command line, where others see it: give it by --pattern-file.

    \b
    Examples:
      backupflow search 10.20.0.0/16
      backupflow search --regexp 'disabled=(no|yes)' --component ip/service --site hq
      backupflow search --devices --all 192.0.2.53
      backupflow search --reveal --count --pattern-file - < leaked.txt
    """  # noqa: D301 - \b keeps the lines of the examples
    if how.count and how.devices:
        raise typer.BadParameter("--count or --devices")
    wanted, looked_for = _wanted(where), _looked_for(_pattern(pattern, how.pattern_file), where, how)
    shown = _Shown(how, where)
    try:
        done = _search(wanted, looked_for, shown)
    except KeyboardInterrupt:
        output.stop(Exit.INTERRUPTED, f"interrupted; {shown.looked_at:,} of {shown.total:,} searched")
    shown.end(done)
    if done.damaged:
        raise typer.Exit(Exit.WRONG)


def _pattern(pattern: str | None, file: str | None) -> str:
    if pattern is not None and file is not None:
        raise typer.BadParameter("give a PATTERN or --pattern-file, not both")
    if pattern is None and file is None:
        raise typer.BadParameter("give a PATTERN or --pattern-file")
    if file is None:
        return pattern or ""
    try:
        if file == "-":
            data = sys.stdin.buffer.read(_LARGEST_PATTERN_FILE)
        else:
            with Path(file).open("rb") as opened:
                data = opened.read(_LARGEST_PATTERN_FILE)
        lines = data.decode().splitlines()
    except OSError as exc:
        output.stop(Exit.NOT_FOUND, f"--pattern-file {file}: {exc.strerror}")
    except UnicodeDecodeError:
        output.stop(Exit.DATA, f"--pattern-file {file}: it is no text in UTF-8")
    if len(lines) > 1:
        output.stop(Exit.DATA, f"--pattern-file {file}: it has more than one line; what is looked for is one")
    return lines[0] if lines else ""


def _wanted(where: Where) -> Search:
    from backupflow.core.searching import Search

    tenant_id = wiring().devices("reader").tenant(where.tenant)
    return Search(tenant_id, where.device, where.group, where.site, where.every, where.reveal)


def _looked_for(pattern: str, where: Where, how: How) -> LookedFor:
    from backupflow.core.searching import Pattern, component
    from backupflow.flows.search import LookedFor

    menu = where.section if where.component is None else where.component
    within = None if menu is None else component(menu)
    limit = how.limit or (None if how.count or how.devices else DEFAULT_LIMIT)
    return LookedFor(Pattern(pattern, regexp=how.regexp, ignore_case=how.ignore_case), within, limit)


@dataclass
class _Shown:
    """What is shown of a search while it goes on, and at its end."""

    how: How
    where: Where
    extent: Extent | None = None
    hits: list[Hit] = field(default_factory=list)
    names: dict[DeviceId, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    looked_at: int = 0

    @property
    def total(self) -> int:
        """How many configurations are to be searched."""
        return self.extent.snapshots if self.extent else 0

    def found(self, hit: Hit) -> None:
        """A line that has it."""
        snapshot = hit.candidate.snapshot
        if self.how.devices and snapshot.device_id not in self.names:
            self.names[snapshot.device_id] = snapshot.device_name
            self.lines.append(snapshot.device_name)
        elif not self.how.count and not self.how.devices:
            if self.how.as_json:
                self.hits.append(hit)
            self.lines.append(_line(hit))

    def flush(self) -> None:
        """Show what was found since then."""
        lines, self.lines = self.lines, []
        if not self.how.as_json:
            for line in lines:
                output.say(line)

    def end(self, done: Searched) -> None:
        """What came of it."""
        if self.how.as_json:
            output.as_document(self._document(done))
            return
        summary = f"{output.counted(done.hits, 'line')} of {output.counted(len(done.devices), 'device')}"
        if self.how.count:
            output.say(summary)
        masked = "" if self.where.reveal else "; secrets were masked"
        searched = f"{summary}; {done.searched:,} of {output.counted(self.total, 'configuration')} searched{masked}"
        output.note(f"stopped at --limit: {searched}" if done.limited else searched)
        if not done.hits and (near := self._meant()):
            output.note(f"backupflow: no change was told in that menu so far: did you mean {near}?")
        for text in _not_searched(done)[:_MOST_NAMED]:
            output.note(f"backupflow: not searched: {text}")
        if more := len(_not_searched(done)[_MOST_NAMED:]):
            output.note(f"backupflow: not searched: {more:,} more, see `verify`")

    def _meant(self) -> str | None:
        """The menu that may have been meant: which ones there are, only what was told of changes says in clear."""
        menu = self.where.component or self.where.section
        if menu is None:
            return None
        tenant_id = wiring().devices("reader").tenant(self.where.tenant)
        return likely(component_of(menu), wiring().timelines.components(tenant_id))

    def _document(self, done: Searched) -> dict[str, Any]:
        return {
            **({"names": list(self.names.values())} if self.how.devices else {}),
            **({} if self.how.count or self.how.devices else {"hits": [_hit(hit) for hit in self.hits]}),
            "lines": done.hits,
            "devices": len(done.devices),
            "configurations": self.total,
            "searched": done.searched,
            "complete": not done.limited,
            "revealed": self.where.reveal,
            "damaged": [
                {"device": one.snapshot.device_name, "snapshot": one.snapshot.first_seq, "why": one.why}
                for one in done.damaged
            ],
            "given_up": [{"device": one.device_name, "snapshot": one.first_seq} for one in done.given_up],
        }


def _search(wanted: Search, looked_for: LookedFor, shown: _Shown) -> Searched:
    from backupflow.flows import search as flow

    ports = wiring().search_ports(actor())
    with bar("searching", quiet=shown.how.as_json) as far:

        def began(extent: Extent) -> None:
            shown.extent = extent
            far.began(extent.snapshots)

        def moved(more: int) -> None:
            shown.looked_at += more
            far.moved(more)
            if shown.lines:
                with far.aside():
                    shown.flush()

        try:
            return flow.search(ports, wanted, looked_for, flow.Watching(began, moved, shown.found))
        finally:
            with far.aside():
                shown.flush()


def _line(hit: Hit) -> str:
    snapshot = hit.candidate.snapshot
    which = f"{snapshot.device_name}{' (removed)' if hit.candidate.is_removed else ''} #{snapshot.number}"
    return f"{which} {hit.line.component or '–'}: {_cut(hit)}"


def _cut(hit: Hit) -> str:
    """The line, or of a long one what stands around the first that was found."""
    text, start = hit.line.text, hit.line.start
    if len(text) <= _LONGEST_LINE:
        return text
    begin = max(0, min(start - _BEFORE_HIT, len(text) - _LONGEST_LINE))
    piece = text[begin : begin + _LONGEST_LINE]
    return f"{'…' if begin else ''}{piece}{'…' if begin + _LONGEST_LINE < len(text) else ''}"


def _hit(hit: Hit) -> dict[str, Any]:
    snapshot = hit.candidate.snapshot
    return {
        "device": snapshot.device_name,
        "removed": hit.candidate.is_removed,
        "snapshot": snapshot.number,
        "collected_at": snapshot.collected_at,
        "current": hit.candidate.is_current,
        "component": hit.line.component,
        "line": hit.line.number,
        "text": hit.line.text,
        "start": hit.line.start,
        "end": hit.line.end,
    }


def _not_searched(done: Searched) -> list[str]:
    return [
        *(f"{one.snapshot.device_name} #{one.snapshot.first_seq}: DAMAGED: {one.why}" for one in done.damaged),
        *(f"{one.device_name} #{one.first_seq}: {output.given_up(one.given_up_at)}" for one in done.given_up),
    ]
