"""The scheduler's view of the ledger: one transaction claims what is due, takes requests, and mends what was left.

Lock order everywhere: device, then collection. Here devices are locked with SKIP LOCKED, so a claim waits for nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, text

from backupflow.adapters.db.alarms import clear_alarm, raise_alarm
from backupflow.adapters.db.effective import HINDRANCE, LOGIN, SETTINGS, hindrance, usable_policy
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.jobs import claim_jobs, tell_of_jobs
from backupflow.adapters.db.room import room_of, slots_of
from backupflow.core import backoff, cadence
from backupflow.core.claiming import LANES, shared
from backupflow.core.ledger import Claimed, Kind, Limits
from backupflow.core.model import Claim, CollectionId, Lane, Trigger
from backupflow.core.scope import LONGEST_SESSION
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime, timedelta
    from uuid import UUID

    from backupflow.core.claiming import Room
    from backupflow.core.scope import Policy

LANE_WITHOUT_WORKERS = "lane_without_workers"  # code of an alarm
# One beat at a time. Of the transaction, not of the session: a stopped beat is freed of it by its time-out.
_CLAIMING = 0x62666361
_IDLE_SECONDS = 5

_OPEN = "EXISTS (SELECT 1 FROM collection c WHERE c.device_id = d.id AND c.state IN ('claimed', 'running'))"
_FIELDS = f"""d.id, d.tenant_id, d.lane, d.last_seq, d.anchor_at, d.via_id, d.device_group_id, d.site_id,
    {SETTINGS}"""
# Of a jump host or a scope that is full nothing more is looked at: it must not hide what else is due.
_FITS = "NOT ARRAY[d.via_id, d.device_group_id, d.site_id, d.tenant_id] && CAST({full} AS uuid[])"
_PAGES = 20  # of requests that are looked at in one tick
_ROUNDS = 50  # of questions for due devices, each with what has become full left out

# A row that a collector is starting at this moment is left to it, who may have been stopped over it (SIGSTOP).
_AGAIN = text("""
    UPDATE collection SET emitted_at = now(), emits = emits + 1 WHERE id IN (
        SELECT id FROM collection WHERE state = 'claimed'
          AND (emitted_at <= now() - :after OR emitted_at > now() + :after)
        FOR NO KEY UPDATE SKIP LOCKED) RETURNING id, lane""")
_OVER = "c.state = 'running' AND (c.lease_until < now() OR c.lease_until > now() + :longest)"
_LAPSED = text(f"""
    SELECT d.id FROM device d WHERE EXISTS (SELECT 1 FROM collection c WHERE c.device_id = d.id AND {_OVER})
    ORDER BY d.id FOR NO KEY UPDATE OF d SKIP LOCKED""")
_LOSE = text(f"""
    UPDATE collection c SET state = 'lost', code = 'lease_over', ended_at = now()
    FROM device d WHERE d.id = c.device_id AND c.device_id = ANY(:devices) AND {_OVER}
    RETURNING d.id, d.losses, c.trigger""")
_LOST_DUE = text("""
    UPDATE device SET losses = losses + 1,
        next_due_at = CASE WHEN status <> 'active' THEN next_due_at
                           WHEN :spread THEN greatest(now(), least(next_due_at, now() + :wait)) ELSE now() + :wait END
    WHERE id = :device""")
_OF_ROW = hindrance("c.trigger")
_WAITING_ROWS = text("SELECT device_id FROM collection WHERE state = 'claimed'")
_HINDERED = text(f"""
    SELECT d.id, c.trigger, {_OF_ROW} AS hindrance
    FROM device d {LOGIN} JOIN collection c ON c.device_id = d.id AND c.state = 'claimed'
    WHERE d.id = ANY(:devices) AND {_OF_ROW} IS NOT NULL ORDER BY d.id FOR NO KEY UPDATE OF d SKIP LOCKED""")
# What a lane that nobody works on has claimed would keep its place in a limit from the other lane for ever.
_FORSAKEN = text(f"""
    SELECT d.id, c.trigger, 'nobody works on its lane: ' || c.lane AS hindrance
    FROM device d JOIN collection c ON c.device_id = d.id AND c.state = 'claimed' AND c.lane = ANY(:lanes)
    WHERE NOT {_FITS.format(full=":limited")} ORDER BY d.id FOR NO KEY UPDATE OF d SKIP LOCKED""")
_WITHDRAW = text("""
    UPDATE collection SET state = 'withdrawn', code = 'withdrawn', detail = :reason, ended_at = now()
    WHERE device_id = :device AND state = 'claimed'""")
# The run that was withdrawn is still owed: it is due as soon as nothing is in the way any more.
OWED = text("UPDATE device SET next_due_at = now() WHERE id = :device AND status = 'active'")
# What is full leaves a request waiting, but for one that may be attached to what is open.
_FULL = f"CASE WHEN d.lane = '{Lane.SLOW}' THEN CAST(:slow AS uuid[]) ELSE CAST(:normal AS uuid[]) END"
_REQUESTS = text(f"""
    SELECT r.id, r.device_id, r.kind FROM request r JOIN device d ON d.id = r.device_id
    WHERE r.answered_at IS NULL AND r.id > :after AND r.kind = ANY(:kinds) AND ({_FITS.format(full=_FULL)} OR {_OPEN})
    ORDER BY r.id LIMIT :batch""")
_TRIALS = [kind for kind in Kind if not kind.trigger.observes]
_HINDRANCES = ", ".join(hindrance(f"'{kind.trigger}'") + f" AS {kind}_hindrance" for kind in Kind)
_REQUESTED = text(f"""
    SELECT {_FIELDS}, {_HINDRANCES}, c.id AS open, c.trigger AS open_trigger
    FROM device d {LOGIN} LEFT JOIN collection c ON c.device_id = d.id AND c.state IN ('claimed', 'running')
    WHERE d.id = ANY(:devices) ORDER BY d.id FOR NO KEY UPDATE OF d SKIP LOCKED""")
_ANSWER = text("""
    UPDATE request SET answered_at = now(), answer = :answer, collection_id = :collection WHERE id = :request""")
_DUE = text(f"""
    SELECT {_FIELDS} FROM device d {LOGIN}
    WHERE d.status = 'active' AND d.blocked_code IS NULL AND d.next_due_at <= now() AND d.lane = :lane
      AND {_FITS.format(full=":full")} AND {HINDRANCE} IS NULL AND NOT {_OPEN}
    ORDER BY d.next_due_at, d.id LIMIT :room FOR NO KEY UPDATE OF d SKIP LOCKED""")
_CLAIM = text("""
    INSERT INTO collection (tenant_id, device_id, seq, trigger, lane)
    SELECT tenant_id, id, last_seq + 1, :trigger, :lane FROM device WHERE id = ANY(:devices)
    RETURNING id, device_id""")
# A test or a scan is no run: what is due stays due.
_CLAIMED = text("UPDATE device SET last_seq = last_seq + 1 WHERE id = ANY(:devices)")
_CLAIMED_DUE = text("""
    UPDATE device d SET last_seq = last_seq + 1, next_due_at = due.at
    FROM unnest(CAST(:devices AS uuid[]), CAST(:due AS timestamptz[])) AS due (id, at) WHERE d.id = due.id""")
# Due, or asked for, for so long that workers which start with everything else would have said that they live.
_DUE_IN_VAIN = text(f"""
    SELECT EXISTS (SELECT 1 FROM process WHERE role = 'scheduler' AND started_at < now() - :alive)
      AND EXISTS (
        SELECT 1 FROM device d {LOGIN}
        WHERE d.status = 'active' AND d.lane = :lane AND {HINDRANCE} IS NULL AND (d.next_due_at < now() - :alive
            OR EXISTS (SELECT 1 FROM request r
                       WHERE r.device_id = d.id AND r.answered_at IS NULL AND r.requested_at < now() - :alive)))""")
# When each is due that waits for its turn, to be measured against its interval.
_WAITING = text(f"""
    SELECT {_FIELDS}, d.next_due_at, d.created_at, d.failures + d.losses AS failing, now() AS now
    FROM device d {LOGIN} WHERE d.status = 'active' AND d.next_due_at > now()""")
_SOONER = text("""
    UPDATE device d SET next_due_at = late.at FROM (
        SELECT x.id, l.at
        FROM unnest(CAST(:devices AS uuid[]), CAST(:was AS timestamptz[]), CAST(:due AS timestamptz[]))
            AS l (id, was, at)
        JOIN device x ON x.id = l.id AND x.next_due_at = l.was
        ORDER BY x.id FOR NO KEY UPDATE OF x SKIP LOCKED) late
    WHERE d.id = late.id""")


class Claims:
    """core.ports.ClaimStore. `defaults` are the global settings, `dice` gives numbers in [0, 1)."""

    def __init__(self, engine: Engine, defaults: Policy, dice: Callable[[], float]) -> None:
        self._engine = engine
        self._defaults = defaults
        self._dice = dice

    def claim(self, limits: Limits) -> Claimed | None:
        """One claim transaction; None if another beat is at it."""
        with transaction(self._engine) as tx:
            tx.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{_IDLE_SECONDS}s'"))
            if not tx.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _CLAIMING}):
                return None
            lost = self._lose_lapsed(tx)
            withdrawn = self._withdraw_hindered(tx)
            again = _claims(tx.execute(_AGAIN, {"after": limits.emit_again_after}))
            jobs = claim_jobs(tx)
            tell_of_jobs(tx, limits.process_alive)
            if "reconcile" in jobs:
                self._draw_nearer(tx)
            new: list[Claim] = []
            if limits.may_claim:
                slots, processes = slots_of(tx, limits)
                room = room_of(tx, limits, slots, processes)
                if forsaken := self._withdraw_forsaken(tx, slots, room):
                    room, withdrawn = room_of(tx, limits, slots, processes), withdrawn + forsaken
                _tell_of_lanes(tx, slots, limits)
                new += self._answer_requests(tx, room, limits, list(Kind))
                for lane in (Lane.NORMAL, Lane.SLOW):
                    new += self._claim_due(tx, lane, room, limits)
                room.trials.clear()  # what nothing that is due has taken
                new += self._answer_requests(tx, room, limits, _TRIALS)
            return Claimed(tuple(new), again, lost, withdrawn, jobs)

    def _lose_lapsed(self, tx: Connection) -> int:
        longest = {"longest": 2 * LONGEST_SESSION}
        devices = list(tx.scalars(_LAPSED, longest))
        if not devices:
            return 0
        rows = tx.execute(_LOSE, {"devices": devices} | longest).all()
        for row in rows:
            if not Trigger(row.trigger).observes:
                continue
            after = backoff.after_loss(row.losses, self._dice())
            spread = backoff.no_later_than_its_turn(after.again_in)
            tx.execute(_LOST_DUE, {"device": row.id, "wait": after.again_in, "spread": spread})
        return len(rows)

    def _withdraw_hindered(self, tx: Connection) -> int:
        claimed = list(tx.scalars(_WAITING_ROWS))  # asked first: of how few they are the planner has no idea
        return _withdraw(tx, tx.execute(_HINDERED, {"devices": claimed}).all() if claimed else [])

    def _withdraw_forsaken(self, tx: Connection, slots: dict[Lane, int], room: Room) -> int:
        lanes = [lane for lane in Lane if not slots[shared(lane)]]
        values = {"lanes": lanes, "limited": room.shared_by_lanes}
        return _withdraw(tx, tx.execute(_FORSAKEN, values).all() if all(values.values()) else [])

    def _draw_nearer(self, tx: Connection) -> None:
        """What is due later than its interval says: that was made shorter, or a clock stood ahead for a while."""
        late = []
        for row in tx.execute(_WAITING):
            try:
                interval = usable_policy(self._defaults, row).interval
            except InputInvalid:
                continue
            latest = _latest_due(row, interval)
            if row.next_due_at > latest:
                late.append((row.id, row.next_due_at, latest))
        if late:
            devices, was, due = (list(column) for column in zip(*late, strict=True))
            tx.execute(_SOONER, {"devices": devices, "was": was, "due": due})

    def _answer_requests(self, tx: Connection, room: Room, limits: Limits, kinds: list[Kind]) -> list[Claim]:
        """Those of these kinds in the order in which they came; what finds no room is passed by what does."""
        new: list[Claim] = []
        after = 0
        for _ in range(_PAGES):
            full = {"slow": room.full(Lane.SLOW), "normal": room.full(Lane.NORMAL)}
            wanted = [kind for kind in kinds if room.for_trials or kind not in _TRIALS]
            waiting = tx.execute(_REQUESTS, full | {"kinds": wanted, "batch": limits.batch, "after": after}).all()
            if waiting:
                new += self._answer(tx, waiting, room)
                after = waiting[-1].id
            if len(waiting) < limits.batch or not any(room.left(lane) for lane in LANES):
                break
        return new

    def _answer(self, tx: Connection, waiting: Sequence[Row[Any]], room: Room) -> list[Claim]:
        devices = {row.id: row for row in tx.execute(_REQUESTED, {"devices": [r.device_id for r in waiting]})}
        open_rows = {key: (row.open, Trigger(row.open_trigger)) for key, row in devices.items() if row.open}
        new: list[Claim] = []
        for request in waiting:
            device = devices.get(request.device_id)
            if device is None:  # locked by somebody at this moment: next tick
                continue
            kind = Kind(request.kind)
            if hindered := getattr(device, f"{kind}_hindrance"):
                answer, collection = f"refused: {hindered}", None
            elif device.id in open_rows:
                collection, trigger = open_rows[device.id]
                if not kind.is_met_by(trigger):  # it waits until this row has ended
                    continue
                answer = "attached"
            elif room.take(lane := _lane_of_request(device), _places(device), trial=kind in _TRIALS):
                claim = self._insert(tx, [device], kind.trigger, lane)[0]
                answer, collection = "claimed", claim.collection_id
                open_rows[device.id] = claim.collection_id, kind.trigger
                new.append(claim)
            else:
                continue
            tx.execute(_ANSWER, {"request": request.id, "answer": answer, "collection": collection})
        return new

    def _claim_due(self, tx: Connection, lane: Lane, room: Room, limits: Limits) -> list[Claim]:
        """Who has waited longest first; what waits for a full jump host or scope is passed by what does not."""
        new: list[Claim] = []
        for _ in range(_ROUNDS):
            left = min(room.left(lane), limits.batch - len(new))
            if left <= 0:
                break
            rows = tx.execute(_DUE, {"lane": lane, "room": left, "full": room.full(lane)}).all()
            new += self._insert(tx, [row for row in rows if room.take(lane, _places(row))], Trigger.SCHEDULE, lane)
            if len(rows) < left:
                break
        return new

    def _insert(self, tx: Connection, devices: Sequence[Row[Any]], trigger: Trigger, lane: Lane) -> list[Claim]:
        if not devices:
            return []
        now: datetime = tx.scalar(text("SELECT now()"))
        keys = [row.id for row in devices]
        made = tx.execute(_CLAIM, {"trigger": trigger, "lane": lane, "devices": keys})
        claimed = {row.device_id: Claim(CollectionId(row.id), lane) for row in made}
        if trigger.observes:
            tx.execute(_CLAIMED_DUE, {"devices": keys, "due": [self._next_due(tx, row, now) for row in devices]})
        else:
            tx.execute(_CLAIMED, {"devices": keys})
        return [claimed[key] for key in keys]

    def _next_due(self, tx: Connection, row: Row[Any], now: datetime) -> datetime:
        """One device whose settings make no sense must not stop the fleet: its collector refuses it, in each period."""
        try:
            interval = usable_policy(self._defaults, row).interval
        except InputInvalid as exc:
            interval = self._defaults.interval
            raise_alarm(tx, "settings_unusable", f"device {row.id}", exc.detail, row.tenant_id)
        return cadence.next_due(row.anchor_at, interval, now)


def _withdraw(tx: Connection, rows: Sequence[Row[Any]]) -> int:
    """End these claims; what they were for is still owed."""
    for row in rows:
        tx.execute(_WITHDRAW, {"device": row.id, "reason": row.hindrance})
        if Trigger(row.trigger).observes:
            tx.execute(OWED, {"device": row.id})
    return len(rows)


def _latest_due(row: Row[Any], interval: timedelta) -> datetime:
    """No turn comes later than this, but for what waits after a failure."""
    began = row.created_at <= row.now  # else a clock stood ahead when the device was added, and its anchor is as wrong
    due = (cadence.next_due if began else cadence.next_in_phase)(row.anchor_at, interval, row.now)
    return max(due, row.now + backoff.LONGEST_WAIT) if row.failing else due


def _claims(rows: Iterable[Row[Any]]) -> tuple[Claim, ...]:
    return tuple(Claim(CollectionId(row.id), Lane(row.lane)) for row in rows)


def _places(device: Row[Any]) -> tuple[UUID | None, ...]:
    """What may be full of it."""
    return device.via_id, device.device_group_id, device.site_id, device.tenant_id


def _lane_of_request(device: Row[Any]) -> Lane:
    """Whoever asks for a slow device must not hold up those who ask for others."""
    return Lane.SLOW if device.lane == Lane.SLOW else Lane.NOW


def _tell_of_lanes(tx: Connection, slots: dict[Lane, int], limits: Limits) -> None:
    """What is due in a lane that nobody works on would wait in silence (I9)."""
    for lane, count in slots.items():
        scope = f"lane {lane}"
        if count:
            clear_alarm(tx, LANE_WITHOUT_WORKERS, scope)
        elif tx.scalar(_DUE_IN_VAIN, {"lane": lane, "alive": limits.process_alive}):
            raise_alarm(tx, LANE_WITHOUT_WORKERS, scope, "devices are due in it, and no worker takes from its queue")
