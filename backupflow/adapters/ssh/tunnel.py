"""A line through a jump host: one channel of its connection, held to the same bounds as a TCP connection."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from backupflow.adapters.ssh.transport import BROKEN
from backupflow.adapters.ssh.wire import Rationed
from backupflow.errors import (
    BackupflowError,
    CollectorBusy,
    DeviceTimeout,
    DeviceUnreachable,
    JumpHostUnreachable,
    OutputTruncated,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.adapters.ssh.forwarding import Forwarded

# What a device may be blamed for when its line ended: nobody can tell from the line alone.
_PERHAPS_THE_HOP = (DeviceTimeout, DeviceUnreachable, OutputTruncated)


class Tunnel(Rationed):
    """What paramiko's transport takes for a socket.

    `trouble` tells what is wrong with the jump host now, None if it answers; `closed` is called once, at the end.
    """

    def __init__(
        self,
        channel: Forwarded,
        ends: float | None,
        trouble: Callable[[], JumpHostUnreachable | None],
        closed: Callable[[], None],
    ) -> None:
        self._channel = channel
        self._ends = ends  # of the lease, where it leaves less time than a session may take
        self._trouble = trouble
        self._release = closed
        self._closing = threading.Lock()
        self._shut = False
        self._closed = False

    @property
    def network_gone(self) -> bool:
        """Whether the jump host is gone, and not the device."""
        return not self._channel.ended and self._trouble() is not None

    def blame(self, failure: BackupflowError) -> BackupflowError:
        """The jump host's failure, if it does not answer; the time that its lease lacked is not the device's either."""
        if not isinstance(failure, _PERHAPS_THE_HOP):
            return failure
        if (trouble := self._trouble()) is not None:
            return trouble
        if isinstance(failure, DeviceTimeout) and self._ends is not None and time.monotonic() >= self._ends:
            return CollectorBusy("the way through the jump host took the time of the session")
        return failure

    def settimeout(self, seconds: float) -> None:
        """How long one read or write may wait."""
        self._channel.settimeout(seconds)

    def recv(self, size: int) -> bytes:
        """Read as a socket does; OSError (EMSGSIZE) beyond the bounds."""
        self.check_packet(size)
        return b"" if self._shut else self.spent(self._channel.recv(size))

    def send(self, data: bytes) -> int:
        """Write as a socket does."""
        if self._shut or not (sent := self._channel.send(data)):
            raise BrokenPipeError
        return sent

    def shut(self) -> None:
        """Wake all who wait. Nothing is sent, so that a jump host that takes nothing holds nobody up."""
        self._shut = True
        self._channel.in_buffer.close()

    def close(self) -> None:
        """Close the channel, and give its place back; may be called twice."""
        with self._closing:
            first, self._closed = not self._closed, True
        if first:
            try:
                self.shut()
                with suppress(*BROKEN):
                    self._channel.close()
            finally:
                self._release()

    def __enter__(self) -> Self:
        """Closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()
