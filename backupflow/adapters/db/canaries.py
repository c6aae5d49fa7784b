"""The canary of each queue: asked by beat, answered by who listens; and what the two say of the processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Engine, text

from backupflow.adapters.db.alarms import raise_alarm
from backupflow.adapters.db.engine import transaction
from backupflow.core.liveness import PROCESS_DEAF, Canary, Deaf, Hearing, Listener, ask_every
from backupflow.core.overview import ALIVE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

# An open question keeps its time, however often it is sent; unless nobody sent it for a while (no beat ran, or no
# process listened), or its times are those of a clock that stood ahead: then it is a new one.
_ASK = text("""
    INSERT INTO queue_canary AS c (queue)
    SELECT DISTINCT q.queue FROM process p CROSS JOIN LATERAL jsonb_array_elements_text(p.queues) AS q (queue)
    WHERE p.heartbeat_at BETWEEN now() - :alive AND now() + :alive
    ON CONFLICT (queue) DO UPDATE SET emitted_at = now(), answered_at = NULL,
        asked_at = CASE WHEN c.answered_at IS NULL AND c.asked_at <= now()
                         AND c.emitted_at BETWEEN now() - 2 * :every AND now() THEN c.asked_at ELSE now() END
        WHERE c.emitted_at NOT BETWEEN now() - :every AND now() + :every
    RETURNING queue""")
_NOT_SENT = text("""
    UPDATE queue_canary SET asked_at = now() WHERE answered_at IS NULL AND asked_at < now() - :every""")
_ANSWER = text("UPDATE queue_canary SET answered_at = now() WHERE queue = :queue AND answered_at IS NULL")
_LISTENERS = text("""
    SELECT id, role, host, pid, ARRAY(SELECT jsonb_array_elements_text(queues)), started_at, heartbeat_at, worked_at
    FROM process WHERE queues <> '[]'::jsonb OR role = 'scheduler' ORDER BY role, started_at""")
_CANARIES = text("SELECT queue, asked_at, emitted_at, answered_at FROM queue_canary ORDER BY queue")
_NOW = text("SELECT now()")
_CLEAR = text("""
    UPDATE alarm SET cleared_at = now() WHERE code = :code AND cleared_at IS NULL AND NOT scope = ANY(:scopes)""")


class Canaries:
    """core.liveness in PostgreSQL: `deaf_after` decides how often is asked."""

    def __init__(self, engine: Engine, deaf_after: timedelta) -> None:
        self._engine = engine
        self._every = ask_every(deaf_after)

    def ask(self) -> tuple[str, ...]:
        """The queues to be asked now, of those that somebody listens to; send after."""
        with transaction(self._engine) as tx:
            return tuple(sorted(tx.scalars(_ASK, {"alive": ALIVE, "every": self._every})))

    def not_sent(self) -> None:
        """The broker takes nothing: what is asked counts from when it does again. Nobody is deaf meanwhile."""
        with transaction(self._engine) as tx:
            tx.execute(_NOT_SENT, {"every": self._every})

    def answer(self, queue: str) -> None:
        """Who took the canary of a queue says so."""
        with transaction(self._engine) as tx:
            tx.execute(_ANSWER, {"queue": queue})

    def hearing(self) -> Hearing:
        """The processes and the canaries of one moment."""
        with transaction(self._engine) as tx:
            canaries = tuple(Canary(*row) for row in tx.execute(_CANARIES))
            listeners = tuple(Listener(*row) for row in tx.execute(_LISTENERS))
            return Hearing(tx.execute(_NOW).scalar_one(), listeners, canaries)

    def tell(self, found: Iterable[Deaf]) -> tuple[Deaf, ...]:
        """Let the alarms of these stand and of no others; gives those that are new."""
        deaf = {one.scope: one for one in found}
        with transaction(self._engine) as tx:
            tx.execute(_CLEAR, {"code": PROCESS_DEAF, "scopes": list(deaf)})
            return tuple(one for scope, one in deaf.items() if raise_alarm(tx, PROCESS_DEAF, scope, one.says))
