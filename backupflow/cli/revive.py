"""What `up` does about a process that lives but takes no work: it is restarted, and that is said."""

from __future__ import annotations

import socket
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from backupflow.core import liveness
from backupflow.errors import BackupflowError, StoreUnavailable

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from backupflow.core.liveness import Deaf, Silence
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
        self._silences: dict[str, Silence] = {}  # by name
        self._looked = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        """Look every few seconds until `stop`; a look that fails is said once, and ends nothing."""
        from backupflow.telemetry import systemd

        failing = ""
        while not stop.wait(LOOK_SECONDS):
            systemd.notify("WATCHDOG=1")
            try:
                self.look()
                failing = ""
            except Exception as exc:  # noqa: BLE001 -- if this loop ended, all servers and workers would end with it
                if type(exc).__name__ != failing:
                    why = str(exc) if isinstance(exc, BackupflowError) else type(exc).__name__
                    self._say(f"nobody looks whether the processes take work, until this is over: {why}")
                failing = type(exc).__name__

    def look(self) -> list[str]:
        """Restart who is deaf or mute, gives their names; a look without a database is left to the next."""
        done = []
        # A restart takes its time, and whom the last look found may have been heard meanwhile.
        while wanted := self._first():
            name, deaf = wanted
            self._restarted[name] = time.monotonic()
            self._restart(name, deaf)
            done.append(name)
        return done

    def _first(self) -> tuple[str, Deaf] | None:
        """Of those to be restarted now."""
        after, host = self._wiring.settings.collecting.deaf_after, socket.gethostname()
        now = time.monotonic()
        # Of a long time since the last look a part counts: this process may have been stopped, and all others with it.
        passed = min(timedelta(seconds=now - self._looked), liveness.ask_every(after))
        self._looked = now
        before, self._silences = self._silences, {}  # hearts need the database: without it nobody was silent
        try:
            hearing = self._wiring.canaries("reader").hearing()
        except StoreUnavailable:
            return None
        programs = {status.pid: status.name for status in self._supervisor.status() if status.pid is not None}
        self._silences = liveness.listen(before, hearing, programs, host, passed)
        found = liveness.deaf(hearing, after) + liveness.mute(self._silences.values(), after)
        lately = {name: timedelta(seconds=now - at) for name, at in self._restarted.items()}
        return next(iter(liveness.to_restart(found, programs, host, lately).items()), None)

    def _restart(self, name: str, deaf: Deaf) -> None:
        self._say(f"{name} is restarted: {deaf.says}")
        try:
            self._supervisor.restart(name)
        except BackupflowError as exc:
            self._say(f"{name} did not start again: {exc}")
