"""A device as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backupflow.cli.status_document import router_document
from backupflow.core.inventory import DIRECT

if TYPE_CHECKING:
    from backupflow.core.inventory import DeviceRecord


def document(record: DeviceRecord) -> dict[str, Any]:
    """A device as JSON."""
    blocked = {"code": record.blocked_code, "detail": record.blocked_detail, "at": record.blocked_at}
    return {
        "id": record.device_id,
        "name": record.name,
        "host": record.host,
        "port": record.port,
        "driver": record.driver,
        "status": record.status,
        "username": record.username,
        "method": record.method,
        "rotation": _rotation(record),
        "settings": dict(record.settings),
        "effective": {name: {"value": value, "from": origin} for name, (value, origin) in record.effective.items()},
        "group": record.group,
        "site": record.site,
        "profile": record.profile,
        "jump_host": DIRECT if record.direct else record.jump,
        "reached_through": record.via,
        "source": record.source,
        "paused_reason": record.paused_reason,
        "login_suspended": record.login_suspended,
        "expected_fingerprints": [key.fingerprint for key in record.expected],
        "interval_seconds": record.interval.total_seconds(),
        "cron": str(record.cron) if record.cron else None,
        "maintenance_until": record.maintenance_until,
        "blocked": blocked if record.blocked_code else None,
        "failures": record.failures,
        "offline_since": record.offline_since,
        "flapping_since": record.flapping_since,
        "held_until": record.held_until,
        "in_doubt": record.in_doubt,
        "believes_next": record.believes,
        "next_due_at": record.next_due_at,
        "last_stored_at": record.last_collected_at,
        "fingerprint": record.pinned.key.fingerprint if record.pinned else None,
        "trusted_how": record.pinned.trusted_how if record.pinned else None,
        "trusted_by": record.pinned.trusted_by if record.pinned else None,
        "trusted_at": record.pinned.trusted_at if record.pinned else None,
        "modern_ssh_at": record.modern_ssh_at,
        "login_lost": record.login_lost,
        "unreadable_to_snapshot": record.unreadable_to_seq or None,
        "keys_given_up_at": record.keys_given_up_at,
        "router": router_document(record.facts),
    }


def _rotation(record: DeviceRecord) -> dict[str, Any] | None:
    """Which of two logins it is sent next, while they are rotated, and since when that one has worked."""
    if not record.login_rotates:
        return None
    standing = record.standing
    return {"sends": standing.login_on, "refused": standing.refused_on, "works_since": record.login_since}
