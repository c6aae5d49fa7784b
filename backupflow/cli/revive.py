"""What `up` does about a process that lives but takes no work: it is restarted, and that is said."""

from __future__ import annotations

import socket
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from backupflow.core import liveness
from backupflow.errors import BackupflowError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.embedded.supervisor import Supervisor
    from backupflow.wiring import Wiring

LOOK_SECONDS = 5.0


class Reviver:
    """Looks at the processes that a supervisor runs, as its database knows them."""

    def __init__(self, supervisor: Supervisor, wiring: Wiring, say: Callable[[str], None]) -> None:
        self._supervisor = supervisor
        self._wiring = wiring
        self._say = say
        self._restarted: dict[str, float] = {}  # by name, monotonic seconds
        self._answers_since: float | None = None  # the database

    def look(self) -> list[str]:
        """Restart who is deaf or mute, gives their names; a look without a database is left to the next."""
        after = self._wiring.settings.collecting.deaf_after
        try:
            hearing = self._wiring.canaries("reader").hearing()
        except StoreUnavailable:
            self._answers_since = None
            return []
        now = time.monotonic()
        self._answers_since = now if self._answers_since is None else self._answers_since
        found = liveness.deaf(hearing, after)
        if now - self._answers_since > after.total_seconds():
            found += liveness.mute(hearing, after)
        lately = {name: timedelta(seconds=now - at) for name, at in self._restarted.items()}
        programs = {status.pid: status.name for status in self._supervisor.status() if status.pid is not None}
        wanted = liveness.to_restart(found, programs, socket.gethostname(), lately)
        for name, deaf in wanted.items():
            self._restarted[name] = now
            self._restart(name, deaf)
        return list(wanted)

    def _restart(self, name: str, deaf: liveness.Deaf) -> None:
        self._say(f"{name} is restarted: {deaf.says}")
        try:
            self._supervisor.restart(name)
        except BackupflowError as exc:
            self._say(f"{name} did not start again: {exc}")
