"""The install at one look, as JSON."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from backupflow.cli.copy_lines import copies_document

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from backupflow.core.overview import Alarm, DeviceState, JumpHostState, LivingProcess, Overview


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
        "sites": [
            {
                "id": site.site_id,
                "name": site.name,
                "down_since": site.down_since,
                "probe_at": site.probe_at,
                "maintenance_until": site.maintenance_until,
            }
            for site in overview.sites
        ],
        "logins": [
            {
                "id": login.profile_id,
                "name": login.name,
                "suspended_at": login.suspended_at,
                "suspended_reason": login.suspended_reason,
                "trial_at": login.trial_at,
                "rotated_since": login.next_changed_at,
            }
            for login in overview.logins
        ],
        "not_interpreted": None
        if overview.backlog is None
        else {"changes": overview.backlog.changes, "oldest_stored_at": overview.backlog.oldest_at},
        "beat_silent_seconds": overview.beat_silent_for,
        "keys_given_up": [
            {"at": one.at, "devices": one.devices, "suspended_logins": one.logins} for one in overview.given_up
        ],
        **copies_document(overview),
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
        "fresh": device.fresh(now),
        "unreachable_since": device.unreachable_since,
        "offline_since": device.offline_since,
        "flapping_since": device.flapping_since,
        "maintenance_until": device.maintenance_until,
        "hold_until": device.hold_until,
        "has_turn": device.has_turn,
        "login_on": device.login_on,
        "site": device.site,
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
