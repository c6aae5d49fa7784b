"""`backupflow status`: the install at one look."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from backupflow.cli import output
from backupflow.cli.options import AsJson, InTenant
from backupflow.cli.session import wiring
from backupflow.cli.standing_lines import (
    alarm_lines,
    given_up_lines,
    jobs_line,
    jump_host_lines,
    suspect_lines,
    suspended_lines,
)
from backupflow.cli.status_document import document
from backupflow.core.jump import scope_of
from backupflow.core.model import JumpHostId

if TYPE_CHECKING:
    from datetime import datetime

    from backupflow.core.overview import DeviceState, Overview

SHOWN = 30  # devices, those that need somebody first
STYLES = {
    "ok": "green",
    "blocked": "red",
    "failing": "yellow",
    "overdue": "red",
    "no login": "red",
    "suspended": "red",
    "waiting": "cyan",
    "waiting for jump host": "yellow",
    "paused": "dim",
    "removed": "dim",
    "alive": "green",
    "silent": "red",
}
COLUMNS = ("device", "stands", "last", "ago", "stored", "changes", "due in")
_DROPS = ("changes", "stored", "ago")  # where there is no room, in this order


def status(tenant: InTenant = "default", as_json: AsJson = False) -> None:
    """Show how everything stands, at one look.

    Devices by how they stand, what is overdue or blocked, the alarms, and who is alive.

    \b
    Example: backupflow status
    """  # noqa: D301 - \b keeps the line of the example
    overview = wiring().statuses.overview(wiring().devices("reader").tenant(tenant))
    quarantined = wiring().quarantine_desk("reader").count()
    if as_json:
        output.as_document(document(overview) | {"quarantined": quarantined})
    else:
        _show(overview, quarantined)


def _show(overview: Overview, quarantined: int) -> None:
    now = overview.now
    counts = Counter(device.standing(now) for device in overview.devices)
    stands = ", ".join(f"{n:,} {s}" for s, n in counts.items()) or "none yet"
    output.say(f"{output.counted(len(overview.devices), 'device')}: {stands}")
    told = {scope_of(JumpHostId(hop.jump_host_id)) for hop in overview.jump_hosts if hop.in_trouble}
    alarms = [alarm for alarm in overview.alarms if alarm.scope not in told]  # those have a line below
    for line in (
        *alarm_lines(alarms, overview),
        *jump_host_lines(overview),
        *suspended_lines(overview),
        *suspect_lines(overview),
        *given_up_lines(overview),
    ):
        output.say_long(line)
    if quarantined:
        output.say(f"in quarantine: {quarantined}; see `quarantine list`")
    alive = Counter(process.role for process in overview.processes if process.alive(now))
    words = ", ".join(f"{n} {role}" for role, n in sorted(alive.items()))
    output.say(f"alive: {words or 'nobody: start `backupflow up`, or see `doctor`'}")
    if "scheduler" not in alive and alive:
        output.say("no beat is alive: nothing is claimed; see `doctor`")
    output.say(jobs_line(overview))
    if not overview.devices:
        output.say("add one: backupflow device add NAME HOST")
        return
    ordered = sorted(overview.devices, key=lambda device: (not device.standing(now).needs_somebody, device.name))
    output.say("")
    rows = [device_row(device, now) for device in ordered[:SHOWN]]
    kept = output.fitting(COLUMNS, rows, _DROPS)
    places = [COLUMNS.index(column) for column in kept]
    output.show_table(kept, [[row[place] for place in places] for row in rows], STYLES)
    if len(ordered) > SHOWN:
        output.say(f"… and {len(ordered) - SHOWN} more: `device list`")


def device_row(device: DeviceState, now: datetime) -> tuple[output.Cell, ...]:
    """A device as a row under COLUMNS."""
    last = device.last
    how = device.blocked_code or ((last.code or last.state.value) if last else None)
    due = device.next_due_at if device.status == "active" and not device.blocked_code else None
    return (
        device.name,
        output.told(device.stands(now)),
        how,
        now - last.at if last else None,
        now - device.current_at if device.current_at else None,
        device.snapshots,
        None if due is None else "now" if due <= now else due - now,
    )
