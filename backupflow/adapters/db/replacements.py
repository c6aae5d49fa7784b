"""When a device became another router, as the audit has it: nothing is told as one across that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from backupflow.core.history import Replacement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

# Acts of before had no `after_seq`; then what was claimed before is of the router before. Most devices never were
# another one, and need no look into the audit.
_REPLACEMENTS = text("""
    SELECT a.at, coalesce(CAST(a.detail ->> 'after_seq' AS bigint), (
        SELECT max(c.seq) FROM collection c WHERE c.device_id = d.id AND c.claimed_at <= a.at), 0) AS after_seq
    FROM device d JOIN audit a ON a.device_id = d.id
    WHERE d.id = :device AND d.router_since_seq > 0
      AND (a.action = 'device_replaced' OR a.detail -> 'changed' @> '"router_since_seq"')
    ORDER BY a.id""")
# Which router it was, counted from 0; `:routers` are the first seq of each but the first.
ROUTER = "width_bucket(c.seq, CAST(:routers AS bigint[]))"


def replacements_of(tx: Connection, device_id: UUID) -> Sequence[Replacement]:
    """The oldest first."""
    return [Replacement(row.at, row.after_seq) for row in tx.execute(_REPLACEMENTS, {"device": device_id})]


def routers(replacements: Sequence[Replacement]) -> list[int]:
    """What ROUTER is to be given: ascending."""
    return sorted(one.after_seq + 1 for one in replacements)
