"""This machine's clock, held against PostgreSQL's."""

from __future__ import annotations

import socket
import time
from datetime import timedelta

from backupflow import telemetry
from backupflow.wiring import wiring

CLOCK_WRONG = timedelta(seconds=2)
CLOCK_RIGHT = timedelta(seconds=1)  # less than wrong, so that an alarm does not come and go
wall_clock = time.time


class ClockWatch:
    """Holds this machine's clock against PostgreSQL's, which is the one that counts.

    Nothing of ours is decided by it, but logs are read by it, certificates are, and Celery's transport gives back what
    a worker has taken when an hour has passed on some machine's clock.
    """

    def __init__(self, role: str) -> None:
        self._role = role
        self._scope = f"clock of {socket.gethostname()}"
        self._wrong: bool | None = None  # not known: an earlier process may have left an alarm

    def look(self) -> None:
        """Raise the alarm, or clear it, when that changes; an answer that took long is believed that much less."""
        before = wall_clock()
        theirs = wiring().clock(self._role).timestamp()
        after = wall_clock()
        off = theirs - (before + after) / 2
        surely = timedelta(seconds=max(abs(off) - abs(after - before) / 2, 0))
        wrong = surely > (CLOCK_RIGHT if self._wrong else CLOCK_WRONG)
        if wrong == self._wrong:
            return
        if wrong:
            detail = f"it is {abs(off):.0f} s {'behind' if off > 0 else 'ahead of'} PostgreSQL's"
            telemetry.logger().error(telemetry.ALARM_RAISED, code="clock_skew", detail=detail, scope=self._scope)
            wiring().alarms(self._role).settle(self._scope, "clock_skew", detail)
        else:
            wiring().alarms(self._role).settle(self._scope)
        self._wrong = wrong
