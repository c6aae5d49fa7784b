"""The scheduler's view of the ledger: one transaction claims what is due, takes requests, and mends what was left.

Lock order everywhere: device, then collection. Here devices are locked with SKIP LOCKED, so a claim waits for nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, text

from backupflow.adapters.db import login_trials, outages, windows
from backupflow.adapters.db.absences import there
from backupflow.adapters.db.alarms import clear_alarm, raise_alarm
from backupflow.adapters.db.claim_rows import FIELDS, FITS, OPEN, Attempts, full_by_lane, insert, places
from backupflow.adapters.db.contacts import HELD
from backupflow.adapters.db.effective import HINDRANCE, LOGIN
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.jobs import claim_jobs, tell_of_jobs
from backupflow.adapters.db.left_over import emit_again, lose_lapsed, withdraw_forsaken, withdraw_hindered
from backupflow.adapters.db.outbox import something_due
from backupflow.adapters.db.requested import TRIALS, answer_requests
from backupflow.adapters.db.room import room_of, slots_of
from backupflow.adapters.db.turns import draw_nearer
from backupflow.core.ledger import Claimed, Limits
from backupflow.core.model import Claim, DeviceId, Lane, Trigger

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from backupflow.adapters.db.absences import Absent
    from backupflow.core.claiming import Room
    from backupflow.core.scope import Policy

LANE_WITHOUT_WORKERS = "lane_without_workers"  # code of an alarm
# What is claimed beside the turns and the requests, before what is due.
ATTEMPTS: tuple[Attempts, ...] = (
    Attempts(Trigger.TRIAL, login_trials.due, outages.probed),
    Attempts(Trigger.PROBE, outages.probes, outages.probed),
)
# One beat at a time. Of the transaction, not of the session: a stopped beat is freed of it by its time-out.
_CLAIMING = 0x62666361
_IDLE_SECONDS = 5

_ROUNDS = 50  # of questions for due devices, each with what has become full left out
# Where some are away, so many at a time: thousands of them, each due again after a minute, must not fill the rounds.
_LOOK_AT = 500
_DUE = text(f"""
    SELECT {FIELDS} FROM device d {LOGIN}
    WHERE d.status = 'active' AND d.blocked_code IS NULL AND d.next_due_at <= now() AND d.lane = :lane
      AND {FITS.format(full=":full")} AND NOT {HELD} AND {HINDRANCE} IS NULL AND NOT {OPEN}
    ORDER BY d.next_due_at, d.id LIMIT :room FOR NO KEY UPDATE OF d SKIP LOCKED""")
# Due, or asked for, for so long that workers which start with everything else would have said that they live.
_DUE_IN_VAIN = text(f"""
    SELECT EXISTS (SELECT 1 FROM process WHERE role = 'scheduler' AND started_at < now() - :alive)
      AND EXISTS (
        SELECT 1 FROM device d {LOGIN}
        WHERE d.status = 'active' AND d.lane = :lane AND {HINDRANCE} IS NULL AND (d.next_due_at < now() - :alive
            OR EXISTS (SELECT 1 FROM request r
                       WHERE r.device_id = d.id AND r.answered_at IS NULL AND r.requested_at < now() - :alive)))""")


def nobody(_devices: Sequence[DeviceId]) -> Collection[DeviceId]:
    """Which of these are said to be away: none, where nobody says so."""
    return ()


class Claims:
    """core.ports.ClaimStore. `defaults` are the global settings, `dice` gives numbers in [0, 1).

    `absent` is asked which of the devices that are about to be claimed are said to be away.
    """

    def __init__(
        self,
        engine: Engine,
        defaults: Policy,
        dice: Callable[[], float],
        absent: Absent = nobody,
    ) -> None:
        self._engine = engine
        self._defaults = defaults
        self._dice = dice
        self._absent = absent
        self._ticks = 0

    def claim(self, limits: Limits) -> Claimed | None:
        """One claim transaction; None if another beat is at it."""
        with transaction(self._engine) as tx:
            tx.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{_IDLE_SECONDS}s'"))
            if not tx.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _CLAIMING}):
                return None
            if self._ticks % windows.EVERY == 0:
                windows.open_and_close(tx)
            self._ticks += 1
            lost = lose_lapsed(tx, self._dice)
            outages.watch(tx, self._dice)
            withdrawn = withdraw_hindered(tx)
            again = emit_again(tx, limits.emit_again_after)
            jobs = claim_jobs(tx)
            tell_of_jobs(tx, limits.process_alive)
            if "reconcile" in jobs:
                draw_nearer(tx, self._defaults)
            new: list[Claim] = []
            away = 0
            if limits.may_claim:
                slots, processes = slots_of(tx, limits)
                room = room_of(tx, limits, slots, processes)
                if forsaken := withdraw_forsaken(tx, slots, room):
                    room, withdrawn = room_of(tx, limits, slots, processes), withdrawn + forsaken
                _tell_of_lanes(tx, slots, limits)
                new, away = self._claim(tx, room, limits)
            tells = something_due(tx)
            return Claimed(tuple(new), again, lost, withdrawn, jobs, tells, skipped_offline=away)

    def _claim(self, tx: Connection, room: Room, limits: Limits) -> tuple[list[Claim], int]:
        """What is claimed, and how many were due and are said to be away."""
        new = answer_requests(tx, room, limits, self._defaults)
        for attempts in ATTEMPTS:
            new += self._claim_attempts(tx, attempts, room)
        away = 0
        for lane in (Lane.NORMAL, Lane.SLOW):
            due, absent = self._claim_due(tx, lane, room, limits)
            new, away = new + due, away + absent
        room.trials.clear()  # what nothing that is due has taken
        return new + answer_requests(tx, room, limits, self._defaults, TRIALS), away

    def _claim_attempts(self, tx: Connection, attempts: Attempts, room: Room) -> list[Claim]:
        new: list[Claim] = []
        taken = []
        for row in attempts.due(tx, full_by_lane(room)):
            if room.take(lane := Lane(row.lane), places(row)):
                new += insert(tx, [row], attempts.trigger, lane, self._defaults)
                taken.append(row)
        if taken:
            attempts.claimed(tx, taken)
        return new

    def _claim_due(self, tx: Connection, lane: Lane, room: Room, limits: Limits) -> tuple[list[Claim], int]:
        """Who has waited longest first; what waits for a full jump host or scope is passed by what does not.

        And so is whoever is said to be away; how many those are.
        """
        new: list[Claim] = []
        away = 0
        for _ in range(_ROUNDS):
            left = min(room.left(lane), limits.batch - len(new))
            if left <= 0:
                break
            look_at = max(left, _LOOK_AT) if away else left
            rows = tx.execute(_DUE, {"lane": lane, "room": look_at, "full": room.full(lane)}).all()
            here = there(tx, rows, self._absent, self._defaults)
            away += len(rows) - len(here)
            taken = [row for row in here if room.take(lane, places(row))]
            new += insert(tx, taken, Trigger.SCHEDULE, lane, self._defaults)
            if len(rows) < look_at:
                break
        return new, away


def _tell_of_lanes(tx: Connection, slots: dict[Lane, int], limits: Limits) -> None:
    """What is due in a lane that nobody works on would wait in silence (I9)."""
    for lane, count in slots.items():
        scope = f"lane {lane}"
        if count:
            clear_alarm(tx, LANE_WITHOUT_WORKERS, scope)
        elif tx.scalar(_DUE_IN_VAIN, {"lane": lane, "alive": limits.process_alive}):
            raise_alarm(tx, LANE_WITHOUT_WORKERS, scope, "devices are due in it, and no worker takes from its queue")
