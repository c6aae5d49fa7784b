"""What the claim transaction counts before it claims: who works, what is open, and which limits there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from backupflow.core.claiming import LANES, Open, Room, limits_of, shared, trials_of
from backupflow.core.model import Lane, State, Trigger

if TYPE_CHECKING:
    from uuid import UUID

    from backupflow.core.ledger import Limits

# A clock that stood ahead and was set right leaves times that lie too far in the future: they mean nothing.
_ALIVE_SLOTS = text("""
    SELECT slots FROM process WHERE heartbeat_at BETWEEN now() - :alive AND now() + :alive""")
_TAKEN = text("""
    SELECT lane, state, trigger, count(*) AS n FROM collection WHERE state IN ('claimed', 'running')
    GROUP BY lane, state, trigger""")
# Each worker process logs in by itself: one whose login nobody has passed with would refuse it to all of them at once.
_JUMP_HOSTS = text("""
    SELECT h.id, h.failures > 0 OR h.down_since IS NOT NULL OR h.reached_at IS NULL
        OR coalesce(hl.changed_at > h.reached_at, false) AS one_at_a_time
    FROM jump_host h LEFT JOIN credential_profile hl ON hl.id = h.credential_profile_id""")
MOST = 1_000_000  # more is no limit, and what is no number of PostgreSQL's would end every tick
_CONCURRENCY = text(
    " UNION ALL ".join(
        f"SELECT id, CAST(greatest(least(CAST(settings -> 'concurrency' AS numeric), {MOST}), 1) AS int) AS most "
        f"FROM {scope} "
        "WHERE jsonb_typeof(settings -> 'concurrency') = 'number'"
        for scope in ("device_group", "site", "tenant")
    )
)
_OPEN = text("""
    SELECT c.lane, d.via_id, d.device_group_id, d.site_id, d.tenant_id, count(*) AS n
    FROM collection c JOIN device d ON d.id = c.device_id WHERE c.state IN ('claimed', 'running')
    GROUP BY c.lane, d.via_id, d.device_group_id, d.site_id, d.tenant_id""")


def slots_of(tx: Connection, limits: Limits) -> tuple[dict[Lane, int], dict[Lane, int]]:
    """How many collections the workers that live take at a time, by lane; and how many processes they are."""
    slots, processes = dict.fromkeys(LANES, 0), dict.fromkeys(LANES, 0)
    for of_process in tx.scalars(_ALIVE_SLOTS, {"alive": limits.process_alive}):
        for lane, count in of_process.items():
            slots[shared(Lane(lane))] += int(count)
        for one in {shared(Lane(lane)) for lane, count in of_process.items() if int(count)}:
            processes[one] += 1
    return slots, processes


def room_of(tx: Connection, limits: Limits, slots: dict[Lane, int], processes: dict[Lane, int]) -> Room:
    """What may be claimed in this transaction."""
    window = {lane: limits.window_factor * count for lane, count in slots.items()}
    taken, trials = 0, dict.fromkeys(LANES, 0)
    for row in tx.execute(_TAKEN):
        taken += row.n
        if not Trigger(row.trigger).observes:
            trials[shared(Lane(row.lane))] += row.n
        if row.state == State.CLAIMED:
            window[shared(Lane(row.lane))] -= row.n
    jump_hosts: dict[UUID, bool] = {row.id: row.one_at_a_time for row in tx.execute(_JUMP_HOSTS)}
    scopes: dict[UUID, int] = {row.id: row.most for row in tx.execute(_CONCURRENCY)}
    total = limits.max_total - taken if limits.max_total else None
    most = limits_of(jump_hosts, scopes, processes, _open(tx)) if jump_hosts or scopes else {}
    return Room(window, total, most, trials_of(slots, trials))


def _open(tx: Connection) -> list[Open]:
    rows = tx.execute(_OPEN)
    return [
        Open(
            Lane(row.lane),
            frozenset(filter(None, (row.via_id, row.device_group_id, row.site_id, row.tenant_id))),
            row.n,
        )
        for row in rows
    ]
