"""`backupflow status`: the install at one look."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from backupflow.cli import output
from backupflow.cli.next_step import next_step
from backupflow.cli.options import AsJson, InTenant
from backupflow.cli.output import LONGEST_DETAIL
from backupflow.cli.session import wiring
from backupflow.core.jump import scope_of
from backupflow.core.model import JumpHostId, State
from backupflow.errors import ExportSuspect

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from backupflow.core.overview import Alarm, DeviceState, JumpHostState, LastCollection, LivingProcess, Overview

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
    output.say(f"{len(overview.devices)} devices: " + (", ".join(f"{n} {s}" for s, n in counts.items()) or "none yet"))
    told = {scope_of(JumpHostId(hop.jump_host_id)) for hop in overview.jump_hosts if hop.in_trouble}
    for alarm in overview.alarms:
        if alarm.scope not in told:  # it has a line below
            output.say_long(alarm_line(alarm, overview))
    for line in jump_host_lines(overview):
        output.say_long(line)
    for line in suspect_lines(overview):
        output.say_long(line)
    for line in given_up_lines(overview):
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
    output.show_table(COLUMNS, [device_row(device, now) for device in ordered[:SHOWN]], STYLES)
    if len(ordered) > SHOWN:
        output.say(f"… and {len(ordered) - SHOWN} more: `device list`")


def alarm_line(alarm: Alarm, overview: Overview) -> str:
    """What is wrong, since when, and what to do about it."""
    says = output.told(alarm.detail or alarm.scope, LONGEST_DETAIL)
    line = f"ALARM {alarm.number}  {alarm.code}  since {output.in_words(alarm.since)}  {says}"
    names = [device.name for device in overview.devices if alarm.scope == _scope(device)]
    step = next_step(alarm.code, names[0]) if names else None
    return f"{line} – {step}" if step else line


def jump_host_lines(overview: Overview) -> list[str]:
    """A line for each jump host that cannot be passed, and for how many devices that is so."""
    return [
        f"JUMP HOST  {_trouble(hop, overview.now)}: {_waiting(hop.waiting)}"
        for hop in overview.jump_hosts
        if hop.in_trouble
    ]


def _waiting(count: int) -> str:
    return "1 device waits" if count == 1 else f"{count} devices wait"


def _trouble(hop: JumpHostState, now: datetime) -> str:
    if hop.hindrance is not None:
        return f"{hop.name}: {hop.hindrance}"
    since = output.in_words(hop.down_since) if hop.down_since else "now"
    if hop.blocked_code is not None:
        says = output.told(hop.blocked_detail or hop.blocked_code, LONGEST_DETAIL)
        return f"{hop.name} blocked since {since}, {hop.blocked_code}: {says}"
    again = f"in {output.span(hop.retry_at - now)}" if hop.retry_at and hop.retry_at > now else "by the next of them"
    return f"{hop.name} down since {since}, tried again {again}"


def suspect_lines(overview: Overview) -> list[str]:
    """A line for each device whose last export is not believed (yet), unless an alarm says so already."""
    told = {alarm.scope for alarm in overview.alarms if alarm.code == ExportSuspect.code}
    suspects = [
        (device, device.last)
        for device in overview.devices
        if device.last and device.last.state is State.SUSPECT and _scope(device) not in told
    ]
    return [_suspect_line(device, last, overview.now) for device, last in suspects]


def jobs_line(overview: Overview) -> str:
    """When each periodic job was done completely for the last time."""
    done = [
        f"{job.name} {output.span(overview.now - job.completed_at)} ago" if job.completed_at else f"{job.name} not yet"
        for job in overview.jobs
    ]
    return f"done completely: {', '.join(done)}"


def given_up_lines(overview: Overview) -> list[str]:
    """What was given up with its keys: no alarm, nothing can be done about it, but for the logins."""
    lines = []
    for one in overview.given_up:
        says = [f"snapshots of {one.devices} devices are {output.given_up(one.at)}"] if one.devices else []
        logins = f"{one.logins} logins are suspended, their keys were lost: set each with `device edit`"
        lines.append("KEYS  " + "; ".join([*says, *([logins] if one.logins else [])]))
    return lines


def _suspect_line(device: DeviceState, last: LastCollection, now: datetime) -> str:
    due = device.next_due_at
    again = f"asked again in {output.span(due - now)}" if due and due > now else "about to be asked again"
    step = next_step(last.code, device.name)
    return f"SUSPECT  {device.name}: {output.told(last.detail, LONGEST_DETAIL)}; kept aside, {again} – {step}"


def _scope(device: DeviceState) -> str:
    """Of the alarms of a device."""
    return f"device {device.device_id}"


def device_row(device: DeviceState, now: datetime) -> tuple[output.Cell, ...]:
    """A device as a row under COLUMNS."""
    last = device.last
    how = (last.code or last.state.value) if last else None
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


def document(overview: Overview) -> dict[str, Any]:
    """All of it as JSON."""
    now = overview.now
    counts = Counter(device.standing(now).value for device in overview.devices)
    return {
        "at": now,
        "counts": dict(counts),
        "devices": [device_document(device, now) for device in overview.devices],
        "alarms": [alarm_document(alarm) for alarm in overview.alarms],
        "processes": [process_document(process, now) for process in overview.processes],
        "jobs": [
            {
                "name": job.name,
                "due_at": job.due_at,
                "completed_at": job.completed_at,
                "finished_at": job.finished_at,
                "outcome": job.outcome,
            }
            for job in overview.jobs
        ],
        "jump_hosts": [jump_host_document(hop) for hop in overview.jump_hosts],
        "beat_silent_seconds": overview.beat_silent_for,
        "keys_given_up": [
            {"at": one.at, "devices": one.devices, "suspended_logins": one.logins} for one in overview.given_up
        ],
    }


def jump_host_document(hop: JumpHostState) -> dict[str, Any]:
    """A jump host as JSON."""
    return {
        "id": hop.jump_host_id,
        "name": hop.name,
        "in_trouble": hop.in_trouble,
        "hindrance": hop.hindrance,
        "down_since": hop.down_since,
        "retry_at": hop.retry_at,
        "blocked_code": hop.blocked_code,
        "blocked_detail": hop.blocked_detail,
        "reached_at": hop.reached_at,
        "waiting": hop.waiting if hop.in_trouble else 0,
    }


def device_document(device: DeviceState, now: datetime) -> dict[str, Any]:
    """A device and how it stands as JSON."""
    last = device.last
    told = last and {"seq": last.seq, "state": last.state, "code": last.code, "detail": last.detail, "at": last.at}
    return {
        "id": device.device_id,
        "name": device.name,
        "host": device.host,
        "port": device.port,
        "standing": device.standing(now),
        "paused_reason": device.paused_reason,
        "blocked_code": device.blocked_code,
        "failures": device.failures,
        "overdue": device.overdue(now),
        "interval_seconds": device.interval.total_seconds(),
        "next_due_at": device.next_due_at,
        "last_collection": told,
        "last_stored_at": device.current_at,
        "changes": device.snapshots,
        "router": router_document(device.facts),
    }


def router_document(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the current export says of the router, as JSON: as it was said, not as it is shown."""
    return {name: facts.get(name) for name in ("identity", "model", "version", "serial", "system_id", "secrets")} | {
        "markers": list(facts.get("markers") or ())
    }


def alarm_document(alarm: Alarm) -> dict[str, Any]:
    """An alarm as JSON."""
    return {
        "number": alarm.number,
        "code": alarm.code,
        "scope": alarm.scope,
        "detail": alarm.detail,
        "since": alarm.since,
        "cleared_at": alarm.cleared_at,
    }


def process_document(process: LivingProcess, now: datetime) -> dict[str, Any]:
    """A process as JSON."""
    return {
        "id": process.process_id,
        "role": process.role,
        "host": process.host,
        "pid": process.pid,
        "slots": dict(process.slots),
        "queues": list(process.queues),
        "alive": process.alive(now),
        "started_at": process.started_at,
        "heartbeat_at": process.heartbeat_at,
        "worked_at": process.worked_at,
    }
