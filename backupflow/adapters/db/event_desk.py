"""What was told and what could not be, for a person, who may have it tried again."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Engine, text

from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.engine import transaction
from backupflow.core.delivery import HookState, ListedEvent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_UNSENT = "sent_at IS NULL AND given_up_at IS NULL"
_FAILED = "(e.given_up_at IS NOT NULL OR e.sent_at IS NULL AND e.failing_since IS NOT NULL)"
_LIST = text(f"""
    SELECT e.id, e.number, e.kind, e.code, e.body, e.created_at, e.due_at, e.attempts, e.tried_at, e.answer, e.sent_at,
        e.given_up_at FROM event e WHERE NOT :failed OR {_FAILED} ORDER BY e.number DESC LIMIT :limit""")
_RETRY = text("""
    UPDATE event SET due_at = now(), given_up_at = NULL, failing_since = NULL
    WHERE sent_at IS NULL AND (CAST(:number AS bigint) IS NULL OR number = :number) RETURNING number""")
_STATE = text(f"""
    SELECT max(sent_at) AS sent_at, count(*) FILTER (WHERE {_UNSENT}) AS waiting,
        count(*) FILTER (WHERE {_UNSENT} AND failing_since IS NOT NULL) AS failing,
        count(*) FILTER (WHERE given_up_at IS NOT NULL) AS given_up,
        (SELECT answer FROM event WHERE sent_at IS NULL AND tried_at IS NOT NULL ORDER BY tried_at DESC LIMIT 1)
        AS answer FROM event""")


class EventDesk:
    """core.ports.EventDesk; `reader` may look, `operator` have events tried again."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def events(self, limit: int, *, failed: bool = False) -> Sequence[ListedEvent]:
        """The newest first; only those that could not be told yet, or were given up, if `failed`."""
        with transaction(self._engine) as tx:
            return [ListedEvent(*row) for row in tx.execute(_LIST, {"failed": failed, "limit": limit})]

    def state(self) -> HookState:
        """How it stands with what was told."""
        with transaction(self._engine) as tx:
            return HookState(*tx.execute(_STATE).one())

    def retry(self, number: int | None, actor: str) -> Sequence[int]:
        """Let this event, or all that were not taken yet, be tried at once, and again for three days; their numbers."""
        with transaction(self._engine) as tx:
            numbers = sorted(tx.scalars(_RETRY, {"number": number}))
            if numbers:
                record_act(tx, actor, "events_retried", detail={"events": numbers[:1000], "count": len(numbers)})
            return numbers

    @contextmanager
    def audited(self, action: str, actor: str) -> Iterator[None]:
        """Around an act on the hook: it is written down if it is done."""
        with transaction(self._engine) as tx:
            record_act(tx, actor, action)
            yield
