"""SQL that counts devices as core.verdict counts them, so that a fleet in figures costs no row per device.

The same words, in the same order; tests/integration/db/test_gauges.py holds one against the other. Of a timetable
PostgreSQL knows nothing: its period and what is no delay of it come in as values, by what the scopes say of it.
"""

from __future__ import annotations

from backupflow.adapters.db.effective import (
    HOP_HINDRANCE,
    HOP_IN_TROUBLE,
    LOGIN,
    MAINTENANCE_UNTIL,
    observes,
    own_hindrance,
)
from backupflow.adapters.db.unreadable import UNREADABLE
from backupflow.core.model import State, Trigger
from backupflow.core.overview import AT_JUMP_HOST, GOOD, LONGEST_HOLD, OPEN, SOON
from backupflow.core.verdict import Count
from backupflow.errors import AuthenticationFailed

_WHEN = "ARRAY['cron', 'interval_seconds']"
_NEAREST = f"""
    CASE WHEN d.settings ?| {_WHEN} THEN d.settings WHEN g.settings ?| {_WHEN} THEN g.settings
         WHEN s.settings ?| {_WHEN} THEN s.settings ELSE t.settings END"""
# What the nearest scope that says when says of it (core.scope.resolve), in two texts; empty: nothing. Taken as they
# are: to make one value of both for each device took longer than all else.
CRON, EVERY = (f"coalesce(({_NEAREST}) ->> '{key}', '')" for key in ("cron", "interval_seconds"))
_OWN = own_hindrance(f"'{Trigger.SCHEDULE}'")
_HELD = f"(d.hold_until > now() AND d.hold_until <= now() + interval '{LONGEST_HOLD.total_seconds()} s')"


def _words(states: frozenset[State] | frozenset[str]) -> str:
    return ", ".join(f"'{word}'" for word in sorted(states))


def _is(what: Count) -> str:
    return f"'{what.name}'"


# Of x: how a device stands so far. OFFSET 0: each value is worked out once, not at each place where it is used.
_SO_FAR = f"""
    SELECT d.id, d.tenant_id, d.site_id, d.name, d.status, d.blocked_code, d.failures, {_OWN} AS own,
        coalesce({HOP_IN_TROUBLE}, false) AND h.id IS NOT NULL AS trouble, {HOP_HINDRANCE} AS hop,
        {MAINTENANCE_UNTIL} AS maintenance_until, d.next_due_at, claim.claimed_at, said.tolerance, d.hold_until,
        num_nonnulls(s.down_since, d.unreachable_since, d.offline_since) > 0 AS away,
        {_HELD} OR d.hold_until BETWEEN now() - said.tolerance AND now() AS kept_away,
        d.refused_on <> d.login_on AND l.next_changed_at IS NOT NULL AS other_next,
        cur.collected_at AS current_at, {UNREADABLE} AS unreadable,
        cur.collected_at >= now() - (said.period + said.tolerance) AND NOT {UNREADABLE} AS fresh
    FROM device d {LOGIN}
    JOIN unnest(CAST(:crons AS text[]), CAST(:everys AS text[]), CAST(:periods AS interval[]),
        CAST(:tolerances AS interval[])) AS said (cron, every, period, tolerance)
        ON said.cron = {CRON} AND said.every = {EVERY}
    LEFT JOIN collection cur ON cur.id = d.current_collection_id
    LEFT JOIN (SELECT device_id, claimed_at FROM collection WHERE state = 'claimed' AND {observes("trigger")}) claim
        ON claim.device_id = d.id
    WHERE d.status <> 'removed' OFFSET 0"""
# The last collection is asked for only where it decides.
_LAST = f"""
    SELECT c.state, c.code, coalesce(c.ended_at, c.collected_at, c.started_at, c.claimed_at) AS at
    FROM collection c WHERE c.device_id = x.id AND {observes("c.trigger")} AND x.fresh IS NOT TRUE
        AND x.status = 'active' AND x.blocked_code IS NULL
    ORDER BY c.seq DESC LIMIT 1"""
_HAS_TURN = f"coalesce(x.other_next AND last.code = '{AuthenticationFailed.code}', false)"
_FAILING = f"""
    (last.state NOT IN ({_words(frozenset(GOOD | OPEN | {State.WITHDRAWN}))}) AND NOT {_HAS_TURN}
        AND coalesce(last.code, '') NOT IN ({_words(AT_JUMP_HOST)}))"""
_SINCE = """
    greatest(coalesce(x.claimed_at, x.next_due_at), x.maintenance_until,
        CASE WHEN x.claimed_at IS NULL AND x.kept_away THEN x.hold_until END)"""
_UNDER_WAY = f"""
    (last.state IS NULL OR {_HAS_TURN} OR (last.state IN ({_words(frozenset(OPEN | {State.WITHDRAWN}))})
        AND last.at >= now() - x.tolerance))"""
_COUNTED = f"""
    CASE WHEN x.status <> 'active' THEN {_is(Count.PAUSED)}
         WHEN x.blocked_code IS NOT NULL THEN {_is(Count.BLOCKED)}
         WHEN x.own = 'no login' THEN {_is(Count.NO_LOGIN)}
         WHEN x.own IS NOT NULL OR (x.hop IS NOT NULL AND NOT x.trouble) THEN {_is(Count.LOGIN)}
         WHEN x.maintenance_until > now() THEN {_is(Count.MAINTENANCE)}
         WHEN x.away THEN {_is(Count.OFFLINE)}
         WHEN x.trouble AND x.next_due_at <= now() + interval '{SOON.total_seconds()} s' THEN {_is(Count.BEHIND)}
         WHEN NOT x.trouble AND coalesce(x.claimed_at, x.next_due_at) IS NOT NULL
              AND {_SINCE} < now() - x.tolerance THEN {_is(Count.OVERDUE)}
         WHEN x.unreadable THEN {_is(Count.UNREADABLE)}
         WHEN x.fresh THEN {_is(Count.FRESH)}
         WHEN {_FAILING} OR ({_HAS_TURN} AND x.current_at IS NOT NULL) THEN {_is(Count.FAILING)}
         WHEN x.current_at IS NULL AND {_UNDER_WAY} THEN {_is(Count.WAITING)}
         WHEN x.kept_away THEN {_is(Count.HELD)} ELSE {_is(Count.STALE)} END"""
# Every device that was not removed, with `counted`: the name of a core.verdict.Count. Of each timetable that there is
# :crons, :everys, :periods and :tolerances have one.
DEVICES = f"""
    SELECT x.*, {_COUNTED} AS counted FROM ({_SO_FAR}) x
    LEFT JOIN LATERAL ({_LAST}) last ON true OFFSET 0"""
