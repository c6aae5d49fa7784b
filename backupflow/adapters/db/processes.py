"""Who is alive: a heartbeat row a process; its slots make the window of its lanes, `worked_at` tells that it hears."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING

from sqlalchemy import Engine, text

from backupflow.adapters.db.engine import transaction

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from uuid import UUID

# Of a collector, all of whose threads hold sessions with a lease, nobody can expect that it begins more work.
_FULL = """
    (SELECT count(*) FROM collection c WHERE c.state = 'running' AND c.lease_until > now()
        AND starts_with(c.holder, :holds)) >= :threads"""
_BEAT = """
    INSERT INTO process (id, role, host, pid, slots, queues, worked_at)
    VALUES (:id, :role, :host, :pid, CAST(:slots AS jsonb), CAST(:queues AS jsonb), CASE WHEN :worked THEN now() END)
    ON CONFLICT (id) DO UPDATE SET heartbeat_at = now(), slots = excluded.slots, queues = excluded.queues,
        worked_at = CASE WHEN :worked OR {full} THEN now() ELSE process.worked_at END"""
_OF_ANY = text(_BEAT.format(full="false"))
_OF_COLLECTOR = text(_BEAT.format(full=_FULL))
_SAID = text("SELECT count(*) FROM process WHERE pid = ANY(:pids) AND host = :host AND NOT id = ANY(:others)")
_IDS = text("SELECT id FROM process")
_GONE = text("DELETE FROM process WHERE id = :id")


class Processes:
    """The heartbeat of this process; `process_id` is made once a process."""

    def __init__(self, engine: Engine, process_id: UUID, role: str) -> None:
        self._engine = engine
        self._id = process_id
        self._role = role

    def beat(self, slots: Mapping[str, int], queues: Collection[str] = (), *, worked: bool = False) -> None:
        """Say that this process lives, how many collections of each lane it takes at a time, and where it listens.

        `worked`: since the last time it began a task, or it could not.
        """
        values = {
            "id": self._id,
            "role": self._role,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "slots": json.dumps(dict(slots)),
            "queues": json.dumps(sorted(queues)),
            "worked": worked,
        }
        if slots:
            values |= {"holds": self.holder(""), "threads": max(slots.values())}
        with transaction(self._engine) as tx:
            tx.execute(_OF_COLLECTOR if slots else _OF_ANY, values)

    def holder(self, session: str) -> str:
        """What the row of a session says of who holds it: this process, and the session."""
        return f"{self._id}/{session}"

    def ids(self) -> frozenset[UUID]:
        """Of all rows, of the dead too."""
        with transaction(self._engine) as tx:
            return frozenset(tx.scalars(_IDS))

    def said_alive(self, pids: Collection[int], others: Collection[UUID] = ()) -> int:
        """How many of these processes of this machine have said that they live; the rows of `others` are not theirs."""
        values = {"pids": list(pids), "host": socket.gethostname(), "others": list(others)}
        with transaction(self._engine) as tx:
            return int(tx.scalar(_SAID, values) or 0)

    def gone(self) -> None:
        """Say that this process ends: its slots are free at once."""
        with transaction(self._engine) as tx:
            tx.execute(_GONE, {"id": self._id})
