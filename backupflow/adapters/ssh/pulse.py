"""Whether a connection that lives long still does: asked when it is quiet, and ended when no answer comes.

All of it is done by the connection's own thread, which paramiko wakes ten times a second: nothing else runs while
nothing happens. A write that does not get on is ended too, so that nobody waits for ever behind it.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from backupflow.adapters.ssh.wire import Wire
from backupflow.errors import BackupflowError, DeviceTimeout, DeviceUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable

ASK_SECONDS: Final = 3.0  # of silence while there are sessions
ASK_IDLE_SECONDS: Final = 30.0  # while there are none: also what keeps a firewall from forgetting it
ANSWER_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 300.0


class Pulse:
    """The signs of life of one connection."""

    def __init__(self, ask: Callable[[], bool], idle: Callable[[], bool]) -> None:
        self._ask = ask
        self._idle = idle  # whether nobody has used it for long, and nobody can any more
        self._changed = threading.Condition()
        self._wanted = False
        self._heard_at = time.monotonic()
        self._asked_at: float | None = None
        self.resting_since: float | None = None  # None: there are sessions
        self.ended = self.overdue = False
        self.failure: BackupflowError | None = None  # why it was ended from here

    def heard(self) -> None:
        """Something came."""
        self._heard_at, self._asked_at = time.monotonic(), None
        if self._wanted:
            with self._changed:
                self._wanted = False
                self._changed.notify_all()

    def quiet(self) -> bool:
        """Nothing came for a moment; False if it is to be ended."""
        now = time.monotonic()
        resting = self.resting_since
        if resting is not None and now - resting > IDLE_SECONDS and self._idle():
            return False
        if self._asked_at is not None:
            if now - self._asked_at <= ANSWER_SECONDS:
                return True
            self.failure = DeviceTimeout(f"no answer within {ANSWER_SECONDS:g} s")
            return False
        if self._wanted or now - self._heard_at > (ASK_SECONDS if resting is None else ASK_IDLE_SECONDS):
            self._asked_at = now  # in a key exchange it is the other end's turn anyhow
            self._ask()
        return True

    def stuck(self) -> None:
        """A write does not get on."""
        self.failure = DeviceTimeout(f"nothing was taken within {ANSWER_SECONDS:g} s")

    def end(self) -> None:
        """It is over, for whatever reason."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def lives(self, latest: float) -> bool:
        """Ask now, and wait for a sign of life until `latest` (seconds, monotonic clock); or until it is ended.

        Where there is no time to wait, something must have been heard a moment ago.
        """
        asked = time.monotonic()
        with self._changed:
            self._wanted = True
            left = min(latest - asked, 2 * ANSWER_SECONDS)  # an earlier question may have been answered meanwhile
            self._changed.wait_for(lambda: self.ended or self._heard_at > asked, max(0.0, left))
        if self.ended:
            return False
        if self._heard_at <= asked and left >= 2 * ANSWER_SECONDS:
            self.overdue = True  # its own thread should have ended it by now
        return self._heard_at > (asked if left > ASK_SECONDS else asked - 2 * ASK_SECONDS)

    def why(self) -> BackupflowError:
        """What ended it."""
        if self.overdue:
            return self.failure or DeviceTimeout(f"no answer within {2 * ANSWER_SECONDS:g} s")
        return self.failure or DeviceUnreachable("its connection broke")


class HopWire(Wire):
    """A TCP connection with a pulse."""

    pulse: Pulse | None = None
    _stuck_since: float | None = None

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Read as a wire does; nothing, as at the end, when it is to be ended."""
        try:
            data = super().recv(bufsize, flags)
        except TimeoutError:
            if self.pulse is not None and not self.pulse.quiet():
                return b""
            raise
        if data and self.pulse is not None:
            self.pulse.heard()
        return data

    def send(self, data: bytes, flags: int = 0, /) -> int:  # type: ignore[override]
        """Write as a socket does; end the connection if nothing goes for too long."""
        try:
            sent = super().send(data, flags)
        except TimeoutError:
            now = time.monotonic()
            self._stuck_since = self._stuck_since or now
            if now - self._stuck_since > ANSWER_SECONDS:
                if self.pulse is not None:
                    self.pulse.stuck()
                self.shut()
            raise
        self._stuck_since = None
        return sent
