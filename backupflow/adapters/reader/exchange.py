"""One exchange with a child process over its pipes, bounded in time and bytes, in the calling thread alone."""

from __future__ import annotations

import math
import os
import select
import subprocess
import time
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

_CHUNK: Final = 1024 * 1024  # bytes asked for at once; a pipe gives what it holds


class Overdue(Exception):
    """The time is over, and the child has not ended."""


class TooMuch(Exception):
    """The child says more than it may."""


def exchange(process: subprocess.Popen[bytes], pieces: Iterable[bytes], most: int, within: timedelta) -> bytearray:
    """Write `pieces` to a child's stdin and read its stdout to the end; wait until it has ended.

    A child that reads no further is no failure: what it said tells. Raises Overdue, TooMuch.
    """
    ends = time.monotonic() + within.total_seconds()
    said = bytearray()
    sending = _Sending(process, pieces)
    stdout = _descriptor(process.stdout)
    poll = select.poll()
    poll.register(stdout, select.POLLIN)
    poll.register(sending.descriptor, select.POLLOUT)
    while True:
        ready = dict(poll.poll(_milliseconds(ends)))
        if time.monotonic() >= ends:
            raise Overdue
        if sending.descriptor in ready and sending.ended():
            poll.unregister(sending.descriptor)
            sending.close()
        if stdout in ready:
            heard = os.read(stdout, _CHUNK)
            if not heard:
                break
            said += heard
            if len(said) > most:
                raise TooMuch
    try:
        process.wait(max(0.0, ends - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise Overdue from None
    return said


def _milliseconds(ends: float) -> int:
    return max(0, math.ceil((ends - time.monotonic()) * 1000))


class _Sending:
    """What is still to be written, without copying it and without waiting."""

    def __init__(self, process: subprocess.Popen[bytes], pieces: Iterable[bytes]) -> None:
        self._pipe = process.stdin
        self.descriptor = _descriptor(process.stdin)
        self._left = deque(memoryview(piece) for piece in pieces if piece)
        os.set_blocking(self.descriptor, False)

    def ended(self) -> bool:
        """Write as much as the pipe takes; whether that was all, or nobody reads any more."""
        try:
            while self._left:
                written = os.write(self.descriptor, self._left[0][:_CHUNK])
                self._left[0] = self._left[0][written:]
                if not self._left[0]:
                    self._left.popleft()
        except BlockingIOError:
            return False
        except BrokenPipeError:
            return True
        return True

    def close(self) -> None:
        """Say that this was all."""
        if self._pipe is not None:
            self._pipe.close()


def _descriptor(pipe: object) -> int:
    number = getattr(pipe, "fileno", None)
    if number is None:
        raise TypeError("not a pipe")
    return int(number())
