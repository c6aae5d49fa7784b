"""`backupflow status`: the install at one look."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from backupflow.cli import output
from backupflow.cli.options import AsJson, InTenant
from backupflow.cli.problem_lines import problems
from backupflow.cli.session import wiring
from backupflow.cli.standing_lines import jobs_line, rotation_lines
from backupflow.cli.status_document import document
from backupflow.cli.verdict_line import verdict_document, verdict_line
from backupflow.core.verdict import Level, judge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from backupflow.core.overview import DeviceState, Overview
    from backupflow.core.verdict import Verdict

SHOWN = 30  # lines of what is wrong
STYLES = {
    "ok": "green",
    "blocked": "red",
    "failing": "yellow",
    "overdue": "red",
    "no login": "red",
    "suspended": "red",
    "login refused": "red",
    "offline": "yellow",
    "waiting": "cyan",
    "waiting for jump host": "yellow",
    "maintenance": "dim",
    "paused": "dim",
    "removed": "dim",
    "alive": "green",
    "silent": "red",
}
LEVEL_STYLES = {Level.OK: "bold green", Level.WARNING: "bold yellow", Level.CRITICAL: "bold red"}
COLUMNS = ("device", "stands", "last", "ago", "stored", "changes", "due in")
_DROPS = ("changes", "stored", "ago")  # where there is no room, in this order

ShowAll = Annotated[bool, typer.Option("--all", help="Show all devices too, and every line of what is wrong.")]
Watch = Annotated[bool, typer.Option("--watch", help="Show it again and again, until q or Ctrl-C.")]


def status(
    tenant: InTenant = "default", *, show_all: ShowAll = False, watch: Watch = False, as_json: AsJson = False
) -> None:
    """Say in one line whether all is well, then show only what is not.

    The first line is the verdict, OK, WARNING or CRITICAL, and the exit code says the same: 0, 1 or
    2. Below stands what is wrong, by reason and site, the largest first, each with the command that
    mends it. docs/status.md says what each number counts, and what makes which verdict.

    \b
    Examples:
      backupflow status
      backupflow status --watch
    """  # noqa: D301 - \b keeps the lines of the examples
    if watch and as_json:
        raise typer.BadParameter("--watch or --json")
    tenant_id = wiring().devices("reader").tenant(tenant)

    def look() -> Page:
        overview = wiring().statuses.overview(tenant_id)
        return Page(overview, judge(overview), wiring().quarantine_desk("reader").count())

    if watch and sys.stdout.isatty():
        from backupflow.cli.status_watch import keep_watching

        def seen() -> tuple[list[str], int]:
            page = look()
            return lines(page, show_all=show_all), page.verdict.level

        raise typer.Exit(keep_watching(seen))
    page = look()
    if as_json:
        summary = verdict_document(page.verdict, page.overview)
        output.as_document(document(page.overview) | {"quarantined": page.quarantined, "summary": summary})
    else:
        _show(page, show_all=show_all)
    raise typer.Exit(page.verdict.level)


@dataclass(frozen=True, slots=True)
class Page:
    """What one look gives."""

    overview: Overview
    verdict: Verdict
    quarantined: int


def lines(page: Page, *, show_all: bool) -> list[str]:
    """The verdict, then what is wrong."""
    found = problems(page.overview, wiring().limits.max_total)
    if page.quarantined:
        found.append(f"QUARANTINE  {output.counted(page.quarantined, 'message')} – `quarantine list`")
    shown = found if show_all else found[:SHOWN]
    more = [f"… and {len(found) - len(shown):,} more lines: `status --all`"] if len(found) > len(shown) else []
    new = [] if page.overview.devices else ["add one: backupflow device add NAME HOST"]
    return [verdict_line(page.verdict, page.overview), *shown, *more, *new, *(_rest(page) if show_all else [])]


def _rest(page: Page) -> Iterator[str]:
    """What is well: who lives, when the jobs were done, what is rotated, and whom we keep away from for a while."""
    alive = Counter(process.kind for process in page.overview.processes if process.alive(page.overview.now))
    yield f"alive: {', '.join(f'{n} {role}' for role, n in sorted(alive.items())) or 'nobody'}"
    yield jobs_line(page.overview)
    yield from rotation_lines(page.overview)
    now = page.overview.now
    held = {one.name: one.hold_until for one in page.overview.devices if one.hold_until and one.held(now)}
    if held:
        many = output.counted(len(held), "device")
        last = output.in_words(max(held.values()))
        yield f"kept away from, for fear of their firewalls: {many}, the last until {last}: {', '.join(sorted(held))}"


def _show(page: Page, *, show_all: bool) -> None:
    first, *others = lines(page, show_all=show_all)
    output.say_verdict(first, LEVEL_STYLES[page.verdict.level])
    for line in others:
        output.say_long(line)
    if show_all and page.overview.devices:
        _show_devices(page.overview)


def _show_devices(overview: Overview) -> None:
    now = overview.now
    ordered = sorted(overview.devices, key=lambda device: (not device.standing(now).needs_somebody, device.name))
    output.say("")
    rows = [device_row(device, now) for device in ordered]
    kept = output.fitting(COLUMNS, rows, _DROPS)
    places = [COLUMNS.index(column) for column in kept]
    output.show_table(kept, [[row[place] for place in places] for row in rows], STYLES)


def device_row(device: DeviceState, now: datetime) -> tuple[output.Cell, ...]:
    """A device as a row under COLUMNS."""
    last = device.last
    how = device.blocked_code or ((last.code or last.state.value) if last else None)
    due = device.due_at(now) if device.status == "active" and not device.blocked_code else None
    return (
        device.name,
        output.told(device.stands(now), output.LONGEST_DETAIL),
        how,
        now - last.at if last else None,
        now - device.current_at if device.current_at else None,
        device.snapshots,
        None if due is None else "now" if due <= now else due - now,
    )
