"""Sites that are down, as beat sees them: judged, announced, probed, and released when they answer again.

Collectors only write what they heard of their own device; here it is put together, by one beat at a time. Sites and
devices are locked with SKIP LOCKED: what an operator works on at this moment is looked at in the next tick.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db.alarms import clear_alarm, raise_alarm
from backupflow.adapters.db.claim_rows import FIELDS, FITS_ITS_LANE, OPEN
from backupflow.adapters.db.contacts import HELD
from backupflow.adapters.db.effective import LOGIN, hindrance
from backupflow.core.model import Trigger
from backupflow.core.outages import (
    AT_LEAST,
    DEVICE_DOWN,
    PROBE_EVERY,
    SITE_DOWN,
    SPREAD,
    TOGETHER,
    away_since,
    site_is_down,
    site_scope,
    whose_turn,
)
from backupflow.errors import DeviceUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from datetime import datetime
    from uuid import UUID

_AWAY = "d.status = 'active' AND d.blocked_code IS NULL AND d.unreachable_since IS NOT NULL"
# What says that it is over: an answer, or that nobody is left who is away. `since`: a clock may have stood ahead.
_DOWN = text(f"""
    SELECT s.id, s.tenant_id, s.name, s.down_since, s.probe_at, s.probes,
        EXISTS (SELECT 1 FROM device d WHERE d.site_id = s.id AND d.answered_at <= now()
            AND d.answered_at > CASE WHEN s.down_since <= now() THEN s.down_since ELSE now() - :every END) AS answered,
        t.removed_at IS NULL AND EXISTS (SELECT 1 FROM device d WHERE d.site_id = s.id AND {_AWAY}) AS lasts,
        EXISTS (SELECT 1 FROM alarm a WHERE a.code = '{SITE_DOWN}' AND a.scope = 'site ' || s.id
                AND a.cleared_at IS NULL) AS told
    FROM site s JOIN tenant t ON t.id = s.tenant_id
    WHERE s.down_since IS NOT NULL OR s.probe_at IS NOT NULL ORDER BY s.id FOR NO KEY UPDATE OF s SKIP LOCKED""")
# Since when it is up again, for those that could not be made due yet.
_UP = text("""
    UPDATE site SET down_since = NULL, probes = 0, probe_at = now() WHERE id = :site RETURNING probe_at""")
_RELEASED = text("UPDATE site SET probe_at = NULL WHERE id = :site")
_TO_RELEASE = """
    SELECT d.id FROM device d WHERE d.site_id = :site AND d.status = 'active' AND d.blocked_code IS NULL
      AND (d.next_due_at <= :up OR d.unreachable_since IS NOT NULL AND d.next_due_at > :up + :spread
           AND coalesce(d.met_at <= :up, true))"""
_WAITING = text(_TO_RELEASE + " LIMIT 1")
_LOCK_WAITING = text(_TO_RELEASE + " ORDER BY d.id FOR NO KEY UPDATE OF d SKIP LOCKED")
_DUE = text("""
    UPDATE device d SET next_due_at = :up + :spread * due.share
    FROM unnest(CAST(:devices AS uuid[]), CAST(:shares AS float[])) AS due (id, share) WHERE d.id = due.id""")
_TIMES = f"""array_agg(d.unreachable_since) FILTER (WHERE {_AWAY}) AS away,
        array_agg(d.answered_at) FILTER (WHERE d.unreachable_since IS NULL AND d.answered_at IS NOT NULL) AS heard"""
_SUSPECTED = text(f"""
    SELECT s.id, s.tenant_id, s.name, {_TIMES}
    FROM site s JOIN device d ON d.site_id = s.id JOIN tenant t ON t.id = s.tenant_id AND t.removed_at IS NULL
    WHERE s.down_since IS NULL AND d.status <> 'removed' AND s.id IN (
        SELECT d.site_id FROM device d WHERE {_AWAY} AND d.unreachable_since BETWEEN now() - :together AND now()
        GROUP BY d.site_id HAVING count(*) >= :at_least)
    GROUP BY s.id""")
_GOES_DOWN = text("""
    UPDATE site SET down_since = now(), probe_at = now(), probes = 0 WHERE id IN (
        SELECT id FROM site WHERE id = :site FOR NO KEY UPDATE SKIP LOCKED)""")
# What is sent to a site that is down, one at a time: a trial of a login that its devices wait for is a probe, too.
_ASKS = f"'{Trigger.PROBE}', '{Trigger.TRIAL}'"
# Of a probe that nobody answered: the last that was done with its device. What was before the end of a maintenance says
# nothing: somebody worked on it.
_PROVED = text(f"""
    SELECT DISTINCT s.id FROM site s JOIN tenant t ON t.id = s.tenant_id JOIN device d ON d.site_id = s.id
    JOIN collection c ON c.device_id = d.id AND c.seq = d.last_seq
    WHERE s.id = ANY(:sites) AND c.trigger IN ({_ASKS}) AND c.code = '{DeviceUnreachable.code}'
      AND c.ended_at >= greatest(s.down_since, s.maintenance_until, t.maintenance_until)""")
_COUNTED = text(f"SELECT count(*) FILTER (WHERE {_AWAY}) AS away, count(*) AS n FROM device d "
                "WHERE d.site_id = :site AND d.status = 'active'")  # fmt: skip
_AWAY_OF = text(f"SELECT {_TIMES} FROM device d WHERE d.site_id = :site AND d.status <> 'removed'")
_TOLD_BY_SITE = text(f"""
    UPDATE alarm SET cleared_at = now() WHERE code = '{DEVICE_DOWN}' AND cleared_at IS NULL AND scope IN (
        SELECT 'device ' || id FROM device WHERE site_id = :site AND unreachable_since >= :since)""")
_NOT_DOWN = text(f"""
    UPDATE alarm SET cleared_at = now() WHERE code = '{SITE_DOWN}' AND cleared_at IS NULL
      AND scope NOT IN (SELECT 'site ' || id FROM site WHERE down_since IS NOT NULL)""")
# At a site whose probe is still on its way nobody else is tried.
_DUE_PROBES = text(f"""
    SELECT s.id, s.probes FROM site s
    WHERE s.down_since IS NOT NULL AND (s.probe_at <= now() OR s.probe_at > now() + :every) AND NOT EXISTS (
        SELECT 1 FROM device d JOIN collection c ON c.device_id = d.id AND c.state IN ('claimed', 'running')
        WHERE d.site_id = s.id AND c.trigger IN ({_ASKS}))
    ORDER BY s.probe_at, s.id FOR NO KEY UPDATE OF s SKIP LOCKED""")
_HINDERED = hindrance("CAST(:trigger AS text)")
_IN_ORDER = text(f"""
    SELECT d.id FROM device d {LOGIN} WHERE d.site_id = :site AND {_HINDERED} IS NULL
      AND (CAST(:login AS uuid) IS NULL OR l.id = :login)
    ORDER BY d.answered_at DESC NULLS LAST, d.id""")
_PROBE = text(f"""
    SELECT {FIELDS} FROM device d {LOGIN}
    WHERE d.id = ANY(:devices) AND {FITS_ITS_LANE} AND NOT {HELD} AND {_HINDERED} IS NULL AND NOT {OPEN}
    ORDER BY array_position(CAST(:devices AS uuid[]), d.id) LIMIT 1 FOR NO KEY UPDATE OF d SKIP LOCKED""")
# A trial is one of many, of which some are of sites that are not down, or that somebody works on at this moment.
_PROBED = text("""
    UPDATE site SET probes = probes + 1, probe_at = now() + :every WHERE id IN (
        SELECT id FROM site WHERE id = ANY(:sites) AND down_since IS NOT NULL
        ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)""")


def watch(tx: Connection, dice: Callable[[], float]) -> None:
    """See which sites went down, which are up again, and which outages are certain by now."""
    untold = {}
    for row in tx.execute(_DOWN, {"every": PROBE_EVERY}).all():
        if row.down_since is None:
            _release(tx, row.id, row.probe_at, dice)
        elif row.answered or not row.lasts:
            clear_alarm(tx, SITE_DOWN, site_scope(row.id))
            _release(tx, row.id, tx.execute(_UP, {"site": row.id}).scalar_one(), dice)
        elif not row.told and row.probes:
            untold[row.id] = row
    for site_id in tx.scalars(_PROVED, {"sites": list(untold)}) if untold else ():
        _tell(tx, untold[site_id])
    for row in tx.execute(_SUSPECTED, {"together": TOGETHER, "at_least": AT_LEAST}).all():
        if site_is_down(row.away or (), row.heard or (), _now(tx)):
            tx.execute(_GOES_DOWN, {"site": row.id})
    tx.execute(_NOT_DOWN)


def probes(tx: Connection, full: dict[str, list[UUID]]) -> Sequence[Row[Any]]:
    """One device of each site that is down and is to be tried now; see claim_rows.Attempts."""
    return list(_asked(tx, full, Trigger.PROBE))


def trial(tx: Connection, full: dict[str, list[UUID]], login: UUID, but: Collection[UUID]) -> Row[Any] | None:
    """A device whose turn it is to be tried at a site that is down, `but` at these, if it is sent this login."""
    return next(_asked(tx, full, Trigger.TRIAL, login, but), None)


def _asked(
    tx: Connection, full: dict[str, list[UUID]], trigger: Trigger, login: UUID | None = None, but: Collection[UUID] = ()
) -> Iterator[Row[Any]]:
    for site in tx.execute(_DUE_PROBES, {"every": PROBE_EVERY}).all():
        if site.id in but:
            continue
        values = {"trigger": trigger, "login": login, "site": site.id}
        devices = list(tx.scalars(_IN_ORDER, values))
        turn = whose_turn(site.probes, len(devices))
        yield from tx.execute(_PROBE, full | values | {"devices": devices[turn:] + devices[:turn]}).all()


def probed(tx: Connection, rows: Sequence[Row[Any]]) -> None:
    """These were claimed."""
    tx.execute(_PROBED, {"sites": [row.site_id for row in rows], "every": PROBE_EVERY})


def _tell(tx: Connection, site: Row[Any]) -> None:
    """Once it was asked after the judgement, and did not answer. Whose device went away with it needs no alarm."""
    count = tx.execute(_COUNTED, {"site": site.id}).one()
    says = f"{site.name}: {count.away} of {count.n} devices do not answer since {site.down_since:%Y-%m-%d %H:%M} UTC"
    raise_alarm(tx, SITE_DOWN, site_scope(site.id), says, site.tenant_id)
    times = tx.execute(_AWAY_OF, {"site": site.id}).one()
    since = away_since(times.away or (), times.heard or (), _now(tx))
    tx.execute(_TOLD_BY_SITE, {"site": site.id, "since": since})


def _release(tx: Connection, site_id: UUID, up: datetime, dice: Callable[[], float]) -> None:
    """All that waited are due soon; what somebody else has locked at this moment in the next tick."""
    values = {"site": site_id, "up": up, "spread": SPREAD}
    devices = list(tx.scalars(_LOCK_WAITING, values))
    if devices:
        tx.execute(_DUE, values | {"devices": devices, "shares": [dice() for _ in devices]})
    if tx.scalar(_WAITING, values) is None or not timedelta(0) <= _now(tx) - up <= SPREAD:
        tx.execute(_RELEASED, values)


def _now(tx: Connection) -> Any:  # noqa: ANN401 - a time
    return tx.scalar(text("SELECT now()"))
