"""What the jobs do to the database: each mend is one statement that says what it mends."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from backupflow.adapters.db.alarms import raise_alarm
from backupflow.adapters.db.engine import transaction, translated
from backupflow.core.model import Secrets, SecretsPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import timedelta


# Each device is locked before what belongs to it is touched, as everywhere; one that somebody works on is left to the
# next time. PostgreSQL looks again at what it has locked, if it was changed since it was found.
def _of(found: str) -> str:
    return f"WITH d AS (SELECT d.id FROM device d WHERE {found} ORDER BY d.id FOR NO KEY UPDATE OF d SKIP LOCKED)"


_MENDS = {
    # An active device that is never due would never be collected, in silence (I9).
    "no_due_time": f"""
        {_of("d.status = 'active' AND d.next_due_at IS NULL")}
        UPDATE device SET next_due_at = now() FROM d WHERE device.id = d.id RETURNING d.id""",
    # A removed or paused device is not due.
    "due_though_inactive": f"""
        {_of("d.status <> 'active' AND d.next_due_at IS NOT NULL")}
        UPDATE device SET next_due_at = NULL FROM d WHERE device.id = d.id RETURNING d.id""",
    "claim_of_removed": f"""
        {_of("d.status = 'removed' AND EXISTS (SELECT 1 FROM collection WHERE device_id = d.id AND state = 'claimed')")}
        UPDATE collection c SET state = 'withdrawn', code = 'withdrawn', detail = 'removed', ended_at = now()
        FROM d WHERE d.id = c.device_id AND c.state = 'claimed' RETURNING c.id""",
    # The login of a device that is gone is a secret that nobody needs any more.
    "login_without_owner": f"""
        {_of("d.status = 'removed' AND EXISTS (SELECT 1 FROM credential_profile WHERE device_id = d.id)")}
        DELETE FROM credential_profile p USING d WHERE d.id = p.device_id RETURNING p.id""",
    "request_of_removed": f"""
        {_of("d.status = 'removed' AND EXISTS (SELECT 1 FROM request WHERE device_id = d.id AND answered_at IS NULL)")}
        UPDATE request r SET answered_at = now(), answer = 'refused: removed'
        FROM d WHERE d.id = r.device_id AND r.answered_at IS NULL RETURNING r.id""",
    # Whatever was raised for it: there is nothing left to do about it. No device takes it up again.
    "alarm_of_removed": """
        UPDATE alarm SET cleared_at = now() FROM device d
        WHERE d.status = 'removed' AND alarm.scope = 'device ' || d.id AND alarm.cleared_at IS NULL
        RETURNING alarm.id""",
    "alarm_of_removed_tenant": """
        UPDATE alarm SET cleared_at = now() FROM tenant t
        WHERE t.removed_at IS NOT NULL AND alarm.scope LIKE 'tenant ' || t.id || ' %' AND alarm.cleared_at IS NULL
        RETURNING alarm.id""",
    "process_long_gone": """
        DELETE FROM process
        WHERE heartbeat_at NOT BETWEEN now() - interval '1 day' AND now() + interval '1 day' RETURNING id""",
}
# What nobody looks at any more, a part at a time: an answered request, a cleared alarm.
_KEPT_FOR = "interval '90 days'"
_PART = 10_000
_MENDS |= {
    kind: f"""
        DELETE FROM {table} WHERE id IN (
            SELECT id FROM {table} WHERE {ended} < now() - {_KEPT_FOR} ORDER BY id LIMIT {_PART} FOR UPDATE SKIP LOCKED)
        RETURNING id"""
    for kind, table, ended in (
        ("request_long_answered", "request", "answered_at"),
        ("alarm_long_cleared", "alarm", "cleared_at"),
    )
}
# What was told, or given up; but not as long as its end may still have to be told.
_TOLD_FOR = "interval '30 days'"
_MENDS["event_long_told"] = f"""
    DELETE FROM event WHERE id IN (
        SELECT e.id FROM event e
        WHERE coalesce(e.sent_at, e.given_up_at) < now() - {_TOLD_FOR} AND NOT EXISTS (
            SELECT 1 FROM outbox o JOIN alarm a ON a.id = o.alarm_id
            WHERE o.event_id = e.id AND (a.cleared_at IS NULL OR a.cleared_at > now() - {_TOLD_FOR}))
        ORDER BY e.number LIMIT {_PART} FOR UPDATE OF e SKIP LOCKED) RETURNING id"""
# Of what was kept aside a device's newest few say what there is to say, for a while. What a device gave that is gone, a
# router that was replaced (a stranger, maybe), or one whose secrets are to stay on it, is needed no more. No lock: such
# a row never changes, and one that comes meanwhile is left to the next time.
_KEPT_ASIDE = 3
_ASIDE_FOR = "interval '30 days'"
_ASIDES = 1000
_OMITS = f"""
    a.facts ->> 'secrets' = '{Secrets.SHOWN}' AND coalesce(
        d.settings ->> 'secrets', g.settings ->> 'secrets', s.settings ->> 'secrets', t.settings ->> 'secrets', :secrets
    ) = '{SecretsPolicy.OMIT}'"""
_MENDS |= {
    kind: f"""
        DELETE FROM aside WHERE collection_id IN (
            SELECT a.collection_id FROM (
                SELECT x.collection_id, x.device_id, x.created_at, c.seq, c.facts,
                    row_number() OVER (PARTITION BY x.device_id ORDER BY x.collection_id DESC) AS nth
                FROM aside x JOIN collection c ON c.id = x.collection_id) a
            JOIN device d ON d.id = a.device_id JOIN tenant t ON t.id = d.tenant_id
            LEFT JOIN site s ON s.id = d.site_id LEFT JOIN device_group g ON g.id = d.device_group_id
            WHERE {which} ORDER BY a.collection_id LIMIT {_ASIDES})
        RETURNING collection_id"""
    for kind, which in (
        ("aside_of_removed", "d.status = 'removed'"),
        # What was given up with its keys has its time: they may come back.
        ("aside_of_router_before", "a.seq <= d.router_since_seq AND a.seq > d.unreadable_to_seq"),
        ("aside_with_secrets", _OMITS),
        ("aside_long_ago", f"a.nth > {_KEPT_ASIDE} OR a.created_at < now() - {_ASIDE_FOR}"),
    )
}
# The current observation is the one with the greatest stored seq (I3): where it is not, something of ours is wrong.
# By the index, a device at a time, and without a lock: to sort the whole history takes as long as it is large.
_CURRENT = """
    device d CROSS JOIN LATERAL (
        SELECT c.id, c.seq FROM collection c WHERE c.device_id = d.id AND c.state = 'stored'
        ORDER BY c.seq DESC LIMIT 1) g
    WHERE (d.current_collection_id, d.current_seq) IS DISTINCT FROM (g.id, g.seq)"""
_SUSPECTS = text(f"SELECT d.id FROM {_CURRENT}")
_LOCK = text("SELECT id FROM device WHERE id = ANY(:devices) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED")
_WRONG_CURRENT = text(f"""
    UPDATE device SET current_seq = wrong.seq, current_collection_id = wrong.collection
    FROM (SELECT d.id, g.seq, g.id AS collection FROM {_CURRENT} AND d.id = ANY(:devices)) wrong
    WHERE device.id = wrong.id RETURNING device.id""")


_RUNNING = 0x6266726E
_RUN = text("SELECT pg_try_advisory_lock(:lock, hashtext(:job))")
_RAN = text("SELECT pg_advisory_unlock(:lock, hashtext(:job))")
# Of several tasks for one claim the first does it. A time that lies in the future is of a clock that stood ahead.
_DONE = text("SELECT 1 FROM job WHERE name = :job AND finished_at BETWEEN claimed_at AND now()")
_FINISHED = text("""
    UPDATE job SET finished_at = now(), outcome = :outcome,
        completed_at = CASE WHEN CAST(:again AS interval) IS NULL THEN now() ELSE completed_at END,
        due_at = coalesce(now() + least(CAST(:again AS interval), every),
                          least(coalesce(claimed_at, now()), now()) + every)
    WHERE name = :job""")


class House:
    """core.ports.HouseStore. `secrets` is the global setting, where no scope has its own."""

    def __init__(self, engine: Engine, secrets: SecretsPolicy = SecretsPolicy.COLLECT) -> None:
        self._engine = engine
        self._secrets = secrets

    def mend(self) -> Mapping[str, int]:
        """Mend what disagrees, a transaction a kind; how many of each. What is locked is left to the next time."""
        mended = {kind: self._mend(statement) for kind, statement in _MENDS.items()}
        return mended | {"wrong_current": self._mend_current()}

    def _mend(self, statement: str) -> int:
        with transaction(self._engine) as tx:
            return len(tx.execute(text(statement), {"secrets": self._secrets}).all())

    def _mend_current(self) -> int:
        with transaction(self._engine) as tx:
            suspects = list(tx.scalars(_SUSPECTS))
        if not suspects:
            return 0
        with transaction(self._engine) as tx:
            locked = list(tx.scalars(_LOCK, {"devices": suspects}))
            wrong = tx.execute(_WRONG_CURRENT, {"devices": locked}).all()
            for row in wrong:
                raise_alarm(tx, "wrong_current", f"device {row.id}", "the current observation was not the newest one")
            return len(wrong)

    @contextmanager
    def turn(self, job: str) -> Iterator[bool]:
        """Nobody else runs it meanwhile; False if somebody does, or has finished what was claimed.

        The lock is of a session: it ends with this process, and no transaction stays open.
        """
        values = {"lock": _RUNNING, "job": job}
        with translated():
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        mine = False
        try:
            with translated():
                mine = bool(connection.scalar(_RUN, values))
                wanted = mine and not connection.scalar(_DONE, values)
            yield wanted
        finally:
            if mine:
                with suppress(DBAPIError):  # with its connection the lock is gone too
                    connection.execute(_RAN, values)
            connection.close()

    def finished(self, job: str, outcome: str, again_in: timedelta | None = None) -> None:
        """Record that a job ran, and when it is due again; without `again_in` it is done, and due at its next turn."""
        with transaction(self._engine) as tx:
            tx.execute(_FINISHED, {"job": job, "outcome": outcome, "again": again_in})
