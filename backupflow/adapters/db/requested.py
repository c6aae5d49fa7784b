"""What somebody asked for, answered by the claim transaction: claimed, attached to what is open, refused, or kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db.claim_rows import FIELDS, FITS_ITS_LANE, OPEN, full_by_lane, insert, places
from backupflow.adapters.db.contacts import WARY
from backupflow.adapters.db.effective import LOGIN, hindrance
from backupflow.core.claiming import LANES
from backupflow.core.ledger import Kind
from backupflow.core.model import Claim, Lane, Trigger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.claiming import Room
    from backupflow.core.ledger import Limits
    from backupflow.core.scope import Policy

TRIALS = tuple(kind for kind in Kind if not kind.trigger.observes)  # tests and scans
_PAGES = 20  # of requests that are looked at in one tick
# What is full leaves a request waiting, but for one that may be attached to what is open.
_REQUESTS = text(f"""
    SELECT r.id, r.device_id, r.kind, r.forced FROM request r JOIN device d ON d.id = r.device_id
    WHERE r.answered_at IS NULL AND r.id > :after AND r.kind = ANY(:kinds) AND ({FITS_ITS_LANE} OR {OPEN})
    ORDER BY r.id LIMIT :batch""")
_HINDRANCES = ", ".join(
    hindrance(f"'{trigger}'") + f" AS {trigger}_hindrance" for trigger in Trigger if trigger.by_person
)
_REQUESTED = text(f"""
    SELECT {FIELDS}, {_HINDRANCES}, {WARY} AS wary, c.id AS open, c.trigger AS open_trigger,
        c.state = 'running' AS open_runs
    FROM device d {LOGIN} LEFT JOIN collection c ON c.device_id = d.id AND c.state IN ('claimed', 'running')
    WHERE d.id = ANY(:devices) ORDER BY d.id FOR NO KEY UPDATE OF d SKIP LOCKED""")
_ANSWER = text("""
    UPDATE request SET answered_at = now(), answer = :answer, collection_id = :collection WHERE id = :request""")


def answer_requests(
    tx: Connection, room: Room, limits: Limits, defaults: Policy, among: Sequence[Kind] = tuple(Kind)
) -> list[Claim]:
    """Those of these kinds in the order in which they came; what finds no room is passed by what does."""
    new: list[Claim] = []
    after = 0
    for _ in range(_PAGES):
        wanted = [kind for kind in among if room.for_trials or kind not in TRIALS]
        values = full_by_lane(room) | {"kinds": wanted, "batch": limits.batch, "after": after}
        waiting = tx.execute(_REQUESTS, values).all()
        if waiting:
            new += _answer(tx, waiting, room, defaults)
            after = waiting[-1].id
        if len(waiting) < limits.batch or not any(room.left(lane) for lane in LANES):
            break
    return new


def _answer(tx: Connection, waiting: Sequence[Row[Any]], room: Room, defaults: Policy) -> list[Claim]:
    devices = {row.id: row for row in tx.execute(_REQUESTED, {"devices": [r.device_id for r in waiting]})}
    open_rows = {key: (row.open, Trigger(row.open_trigger), row.open_runs) for key, row in devices.items() if row.open}
    new: list[Claim] = []
    for request in waiting:
        device = devices.get(request.device_id)
        if device is None:  # locked by somebody at this moment: next tick
            continue
        kind = Kind(request.kind)
        asked = kind.asked(forced=request.forced)
        if hindered := getattr(device, f"{asked}_hindrance"):
            answer, collection = f"refused: {hindered}", None
        elif device.id in open_rows:
            collection, trigger, runs = open_rows[device.id]
            if not (kind.is_met_by(trigger) and (runs or asked is not Trigger.FORCED or trigger is asked)):
                # It waits until this row has ended; by force also until it has begun: what comes by itself may be
                # withdrawn, for what force would go past.
                continue
            answer = "attached"
        elif device.wary and not request.forced:
            answer, collection = f"refused: {device.wary}", None
        elif room.take(lane := _lane(device), places(device), trial=kind in TRIALS):
            claim = insert(tx, [device], asked, lane, defaults)[0]
            answer, collection = "claimed", claim.collection_id
            open_rows[device.id] = claim.collection_id, asked, False
            new.append(claim)
        else:
            continue
        tx.execute(_ANSWER, {"request": request.id, "answer": answer, "collection": collection})
    return new


def _lane(device: Row[Any]) -> Lane:
    """Whoever asks for a slow device must not hold up those who ask for others."""
    return Lane.SLOW if device.lane == Lane.SLOW else Lane.NOW
