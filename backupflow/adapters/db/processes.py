"""Who is alive: a heartbeat row a process; its slots make the window of its lanes."""

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

_BEAT = text("""
    INSERT INTO process (id, role, host, pid, slots) VALUES (:id, :role, :host, :pid, CAST(:slots AS jsonb))
    ON CONFLICT (id) DO UPDATE SET heartbeat_at = now(), slots = excluded.slots""")
_SAID = text("SELECT count(*) FROM process WHERE pid = ANY(:pids) AND host = :host")
_GONE = text("DELETE FROM process WHERE id = :id")


class Processes:
    """The heartbeat of this process; `process_id` is made once a process."""

    def __init__(self, engine: Engine, process_id: UUID, role: str) -> None:
        self._engine = engine
        self._id = process_id
        self._role = role

    def beat(self, slots: Mapping[str, int]) -> None:
        """Say that this process lives, and how many collections of each lane it takes at a time."""
        values = {
            "id": self._id,
            "role": self._role,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "slots": json.dumps(dict(slots)),
        }
        with transaction(self._engine) as tx:
            tx.execute(_BEAT, values)

    def said_alive(self, pids: Collection[int]) -> int:
        """How many of these processes of this machine have said that they live."""
        with transaction(self._engine) as tx:
            return int(tx.scalar(_SAID, {"pids": list(pids), "host": socket.gethostname()}) or 0)

    def gone(self) -> None:
        """Say that this process ends: its slots are free at once."""
        with transaction(self._engine) as tx:
            tx.execute(_GONE, {"id": self._id})
