"""What waits to be told, what of it is being told as one event, and what came of that."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import Connection, Engine, Row, text
from sqlalchemy.exc import DBAPIError

from backupflow.adapters.db.alarms import clear_alarm, raise_alarm
from backupflow.adapters.db.effective import LOGIN
from backupflow.adapters.db.engine import transaction, translated
from backupflow.adapters.db.taken import TAKEN
from backupflow.core.delivery import Event, SealedLines
from backupflow.core.events import HOLD, UNDELIVERED, Kind
from backupflow.core.gathering import APART, About, Happened, Key
from backupflow.core.told_change import ToldChange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta
    from uuid import UUID

    from backupflow.core.delivery import Failed
    from backupflow.core.gathering import Gathered
    from backupflow.core.model import TenantId

SCOPE = "hook"  # of the alarm
_SENDING = 0x62666576
_UNSENT = "sent_at IS NULL AND given_up_at IS NULL"
# A time too far ahead means nothing: a clock was set right since then.
_DUE = "(due_at <= now() OR due_at > now() + interval '2 hours')"
_RIPE = f"""event_id IS NULL AND CASE WHEN due_at IS NULL
    THEN created_at NOT BETWEEN now() - interval '{HOLD.total_seconds()} s' AND now() + interval '1 minute'
    ELSE {_DUE} END"""
_SOMETHING_DUE = text(f"""
    SELECT EXISTS (SELECT 1 FROM outbox WHERE {_RIPE}) OR EXISTS (SELECT 1 FROM event WHERE {_UNSENT} AND {_DUE})""")
_ANY_RIPE = text(f"SELECT now() AS now, EXISTS (SELECT 1 FROM outbox WHERE {_RIPE}) AS ripe")
_AT_ONCE = 10_000
# Whom an alarm is about stands in its scope; what is told of a tenant's devices is the tenant's, whoever raised it.
_ID = "CAST(substring(w.scope FROM '^{kind} ([0-9a-f]{{8}}-[0-9a-f-]{{27}})') AS uuid)"
_WAITING = text(f"""
    WITH w AS (
        SELECT o.id, o.kind, o.created_at, coalesce(a.code, o.payload ->> 'code', o.kind) AS code,
            coalesce(a.scope, o.payload ->> 'scope', '') AS scope, coalesce(a.tenant_id, o.tenant_id) AS tenant_id,
            coalesce(a.since, o.created_at) AS since, coalesce(a.detail, o.payload ->> 'text', '') AS detail,
            CASE WHEN o.kind = 'changed' THEN o.device_id END AS changed, o.payload,
            a.cleared_at IS NULL AS stands, CASE WHEN o.kind = 'cleared' THEN (
                SELECT r.event_id FROM outbox r WHERE r.alarm_id = a.id AND r.kind = 'raised') END AS told_in
        FROM outbox o LEFT JOIN alarm a ON a.id = o.alarm_id WHERE o.event_id IS NULL ORDER BY o.id LIMIT {_AT_ONCE})
    SELECT w.*, coalesce(w.tenant_id, x.tenant_id, place.tenant_id, hop.tenant_id, login.tenant_id) AS owner,
        tenant.name AS tenant, x.name AS device, coalesce(place.name, x.site) AS site,
        coalesce(w.changed, place.id, x.site_id, hop.id, login.id) AS place, hop.name AS jump_host,
        coalesce(login.name, x.profile) AS profile, coalesce(login.method, x.method) = 'key' AS by_key,
        coalesce(login.id, x.login) IN ({TAKEN}) AS taken
    FROM w LEFT JOIN LATERAL (
        SELECT d.tenant_id, d.name, d.site_id, s.name AS site, l.name AS profile, l.method, l.id AS login
        FROM device d {LOGIN} WHERE d.id = coalesce({_ID.format(kind="device")}, {_ID.format(kind="login")})) x ON true
    LEFT JOIN site place ON place.id = {_ID.format(kind="site")}
    LEFT JOIN jump_host hop ON hop.id = {_ID.format(kind="jump host")}
    LEFT JOIN credential_profile login ON login.id = {_ID.format(kind="login")}
    LEFT JOIN tenant ON tenant.id = coalesce(w.tenant_id, x.tenant_id, place.tenant_id, hop.tenant_id, login.tenant_id)
    ORDER BY w.id""")
_TOLD = text("""
    SELECT tenant_id, kind, code, place, max(created_at) AS at FROM event
    WHERE created_at BETWEEN now() - CAST(:apart AS interval) AND now() GROUP BY tenant_id, kind, code, place""")
_MAKE = text("""
    INSERT INTO event (id, tenant_id, kind, code, place, body, device_id, sealed)
    SELECT :id, :tenant, :kind, :code, :place, :body, o.device_id, o.sealed FROM outbox o WHERE o.id = :first""")
_TELL_IN = text("UPDATE outbox SET event_id = :event, due_at = NULL, sealed = NULL WHERE id = ANY(:rows)")
_LATER = text("""
    UPDATE outbox o SET due_at = later.at
    FROM unnest(CAST(:rows AS bigint[]), CAST(:due AS timestamptz[])) AS later (id, at) WHERE o.id = later.id""")
_DROP = text("DELETE FROM outbox WHERE id = ANY(:rows)")
_FORGET = text("""
    DELETE FROM outbox WHERE id IN (
        SELECT id FROM outbox WHERE event_id IS NULL
          AND created_at NOT BETWEEN now() - CAST(:older AS interval) AND now() + interval '1 minute'
        ORDER BY id LIMIT 10000) RETURNING id""")
# In order of what they tell of one thing, so that no end overtakes its beginning. Nobody has to act on a change, of
# which there may be many at once: no alarm waits for them.
_SEQ = "CASE WHEN e.kind = 'changed' THEN CAST(CAST(e.body AS json) ->> 'seq' AS bigint) END"
_NEXT = text(f"""
    SELECT e.id, e.number, e.code, e.body, e.attempts, e.failing_since, now() AS now, e.tenant_id, e.device_id,
        e.sealed, {_SEQ} AS seq,
        (SELECT c.id FROM collection c WHERE (c.device_id, c.seq) = (e.device_id, {_SEQ})) AS collection_id
    FROM event e
    WHERE {_UNSENT} AND {_DUE} AND NOT EXISTS (
        SELECT 1 FROM event x WHERE x.number < e.number AND x.sent_at IS NULL AND x.given_up_at IS NULL
          AND (x.code, x.place) = (e.code, e.place) AND x.tenant_id IS NOT DISTINCT FROM e.tenant_id)
    ORDER BY e.kind = 'changed', e.number LIMIT 1""")
_SENT = text("""
    UPDATE event SET sent_at = now(), tried_at = now(), attempts = attempts + 1, answer = :says, failing_since = NULL,
        sealed = NULL
    WHERE id = :id AND sent_at IS NULL""")
_TRIED = text("""
    UPDATE event SET tried_at = now(), attempts = attempts + 1, answer = :says,
        failing_since = coalesce(failing_since, now()), due_at = now() + coalesce(CAST(:wait AS interval), '0'),
        given_up_at = CASE WHEN CAST(:wait AS interval) IS NULL THEN now() END
    WHERE id = :id AND sent_at IS NULL""")
_PAUSE = text(f"UPDATE event SET due_at = now() + :pause WHERE {_UNSENT} AND due_at < now() + :pause")
# What cannot be opened now waits, and nothing counts against it.
_POSTPONE = text(f"""
    UPDATE event SET due_at = now() + :wait WHERE {_UNSENT} AND sealed IS NOT NULL AND due_at < now() + :wait
      AND (CAST(:tenant AS uuid) IS NULL OR tenant_id = :tenant)""")
_IN_TROUBLE = text("""
    SELECT EXISTS (SELECT 1 FROM event WHERE given_up_at IS NOT NULL
        OR sent_at IS NULL AND failing_since < now() - interval '1 hour')""")


def something_due(tx: Connection) -> bool:
    """Whether there is anything to be gathered or sent."""
    return bool(tx.scalar(_SOMETHING_DUE))


class Outbox:
    """core.ports.EventStore."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Nobody else sends meanwhile; False if somebody does. The lock is of a session: it ends with this process."""
        with translated():
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        mine = False
        try:
            with translated():
                mine = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _SENDING}))
            yield mine
        finally:
            if mine:
                with suppress(DBAPIError):  # with its connection the lock is gone too
                    connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _SENDING})
            connection.close()

    def gather(
        self,
        decide: Callable[[Sequence[Happened], Mapping[Key, datetime], datetime], Gathered],
        compose: Callable[[UUID, Key, Sequence[Happened], datetime], str],
    ) -> int:
        """Make events of what waits, in one transaction; how many."""
        with transaction(self._engine) as tx:
            asked = tx.execute(_ANY_RIPE).one()
            if not asked.ripe:
                return 0
            waiting = [_happened(row) for row in tx.execute(_WAITING)]
            gathered = decide(waiting, _told(tx), asked.now)
            for key, rows in gathered.events:
                event_id = uuid4()
                body = compose(event_id, key, rows, asked.now)
                values = {"tenant": key.tenant_id, "kind": key.kind, "code": key.code, "place": key.place}
                tx.execute(_MAKE, values | {"id": event_id, "body": body, "first": rows[0].number})
                tx.execute(_TELL_IN, {"event": event_id, "rows": [one.number for one in rows]})
            _settle_others(tx, gathered)
            return len(gathered.events)

    def forget(self, older: timedelta) -> int:
        """Drop what has waited for longer, since there is no hook; how many."""
        with transaction(self._engine) as tx:
            return len(tx.execute(_FORGET, {"older": older}).all())

    def next_due(self) -> tuple[Event, datetime] | None:
        """The next event to be sent, and PostgreSQL's time."""
        with transaction(self._engine) as tx:
            row = tx.execute(_NEXT).first()
            if row is None:
                return None
            lines = SealedLines(row.tenant_id, row.device_id, row.seq, row.sealed) if row.sealed else None
            tries = (row.attempts, row.failing_since)
            return Event(row.id, row.number, row.body, *tries, lines, row.code, row.collection_id), row.now

    def postpone(self, tenant_id: TenantId | None, wait: timedelta) -> None:
        """Of this tenant, or all, what has sealed lines is not tried before."""
        with transaction(self._engine) as tx:
            tx.execute(_POSTPONE, {"tenant": tenant_id, "wait": wait})

    def delivered(self, event: Event, says: str) -> None:
        """It was taken. Whoever was told that events are not is told that they are, if none is left."""
        with transaction(self._engine) as tx:
            tx.execute(_SENT, {"id": event.event_id, "says": says})
            if not tx.scalar(_IN_TROUBLE):
                clear_alarm(tx, UNDELIVERED, SCOPE)

    def failed(self, event: Event, says: str, failed: Failed) -> bool:
        """It was not; True if that is a new alarm."""
        with transaction(self._engine) as tx:
            tx.execute(_TRIED, {"id": event.event_id, "says": says, "wait": failed.again_in})
            tx.execute(_PAUSE, {"pause": failed.pause})
            if not failed.told:
                return False
            what = "was given up" if failed.again_in is None else "could not be told for an hour"
            detail = f"event {event.number} {what}: {says}; see `event list --failed`"
            return raise_alarm(tx, UNDELIVERED, SCOPE, detail)


def _told(tx: Connection) -> dict[Key, datetime]:
    rows = tx.execute(_TOLD, {"apart": APART})
    return {Key(row.tenant_id, Kind(row.kind), row.code, row.place): row.at for row in rows}


def _settle_others(tx: Connection, gathered: Gathered) -> None:
    """What is told in no event of its own."""
    for number, event_id in gathered.continued:
        tx.execute(_TELL_IN, {"event": event_id, "rows": [number]})
    if gathered.later:
        numbers, due = (list(column) for column in zip(*gathered.later, strict=True))
        tx.execute(_LATER, {"rows": numbers, "due": due})
    if gathered.dropped:
        tx.execute(_DROP, {"rows": list(gathered.dropped)})


def _happened(row: Row[Any]) -> Happened:
    about = About(
        row.device,
        row.site,
        row.jump_host,
        row.profile,
        bool(row.by_key),
        row.tenant,
        row.detail,
        bool(row.taken),
        _change(row.payload) if row.changed else None,
    )
    return Happened(
        row.id,
        row.kind,
        row.code,
        row.scope,
        row.created_at,
        row.since,
        row.owner,
        str(row.place or ""),
        row.stands,
        row.told_in,
        about,
    )


def _change(said: Mapping[str, Any]) -> ToldChange:
    return ToldChange(
        said["kind"],
        said["seq"],
        said["after_seq"],
        said["changes"],
        said["ignored"],
        said["lines_added"],
        said["lines_removed"],
        tuple(said["components"]),
    )
