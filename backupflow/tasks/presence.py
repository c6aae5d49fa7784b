"""What beat tells of the poller that says who is online: keys that last for ever, and that nobody can ask."""

from __future__ import annotations

import time

from backupflow import telemetry
from backupflow.core.presence import PRESENCE_WITHOUT_TTL, key
from backupflow.wiring import wiring

SCOPE = "presence"
LOOK_SECONDS = 30.0


class PresenceWatch:
    """Of one beat; any number may keep it: each raises for what it sees, and clears what it has raised itself.

    One that starts clears what an earlier one may have left. Another one that still sees it raises it again.
    """

    def __init__(self) -> None:
        self._looked: float | None = None  # monotonic seconds
        self._standing = True
        self._failing = ""

    def look(self) -> None:
        """Raise the alarm, or clear it, and say in the log when asking begins or ends to fail."""
        now = time.monotonic()
        self._tell_failure()
        seen = wiring().presence.without_ttl()
        if (not seen and not self._standing) or (self._looked is not None and now - self._looked < LOOK_SECONDS):
            return
        self._looked = now
        alarms = wiring().alarms("scheduler")
        if not seen:
            alarms.settle(SCOPE)
        else:
            detail = f"{key(seen[0])} and {len(seen) - 1} more" if len(seen) > 1 else key(seen[0])
            detail = f"no TTL, so what they say is ignored: {detail}"
            if alarms.alarm(PRESENCE_WITHOUT_TTL, SCOPE, detail):
                telemetry.logger().error(telemetry.ALARM_RAISED, code=PRESENCE_WITHOUT_TTL, detail=detail, scope=SCOPE)
        self._standing = bool(seen)

    def _tell_failure(self) -> None:
        failure = wiring().presence.failure()
        if bool(failure) != bool(self._failing):
            log = telemetry.logger()
            if failure:
                log.warning(telemetry.PRESENCE_UNREAD, error=failure)
            else:
                log.info(telemetry.PRESENCE_READ)
        self._failing = failure
