"""What of an install must be after a restore as it was before."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.stack.judging import Place

# What a restore has to bring back, and what collecting routers that did not change leaves as it is.
KEPT = {
    "devices": "SELECT name, status, blocked_code FROM device ORDER BY name",
    "host keys": "SELECT device_id::text, status, fingerprint, first_seen_at FROM host_key ORDER BY id",
    "changes": "SELECT device_id::text, seq, digest FROM collection WHERE state = 'stored' AND is_change ORDER BY 1, 2",
    "contents": "SELECT device_id::text, content_hash FROM content ORDER BY id",
    "keys": "SELECT purpose, mark, oldest_version FROM transit_key ORDER BY 1, 2",
}
Kept = dict[str, list[tuple[object, ...]]]


def different(was: Kept, now: Kept) -> list[str]:
    """What is not as it was, in words."""
    found = []
    for name, rows in was.items():
        gone, new = [row for row in rows if row not in now[name]], [row for row in now[name] if row not in rows]
        if rows != now[name]:
            found.append(f"{name}: {len(gone)} are gone, {len(new)} are new: {[*gone, *new][:2]}")
    return found


def kept(place: Place) -> Kept:
    """What stands in the database now."""
    return {name: [tuple(row) for row in place.rows(statement)] for name, statement in KEPT.items()}
