"""The ways through jump hosts: one connection a jump host and process, shared by the sessions behind it.

A connection is made by the first session that needs it; whoever comes meanwhile waits for that one attempt and shares
its failure, and so does whoever comes a moment later and had begun before it was written down: eight sessions are not
eight attempts to log in (I7).
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from backupflow.adapters.ssh.hop import Hop, enter
from backupflow.errors import (
    BackupflowError,
    CollectorBusy,
    ConnectionRefused,
    DeviceUnreachable,
    JumpHostBlocked,
    JumpHostUnreachable,
    LeaseLost,
    LoginSuspended,
    NameUnresolved,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.adapters.ssh.tunnel import Tunnel
    from backupflow.core.jump import Via
    from backupflow.core.model import Target

SAME_MOMENT_SECONDS: Final = 10.0  # sessions that had begun when an attempt failed have come to this point by then
_OF_THE_HOP = (JumpHostUnreachable, JumpHostBlocked)
_OF_ONE_SESSION = (LeaseLost, LoginSuspended, CollectorBusy)  # another one may be allowed it, or have more time
_PAST_THE_HOP = (ConnectionRefused, DeviceUnreachable, NameUnresolved)

Mark = tuple[object, ...]


class _Attempt:
    """One attempt to connect, and what came of it for all who wait. `failures`: of the jump host until then."""

    def __init__(self, failures: int) -> None:
        self._failures = failures
        self._done = threading.Event()
        self._failure: BaseException | None = None
        self._until: float | None = None  # a failure is that of all who come until then

    @property
    def remembered(self) -> bool:
        """Whether it is under way, or has failed a moment ago."""
        return not self._done.is_set() or (self._until is not None and time.monotonic() < self._until)

    def counts_for(self, via: Via) -> bool:
        """Whether a session shares it; one that begins knowing of its failure is there to try anew."""
        return self.remembered and (not self._done.is_set() or via.jump_host.failures == self._failures)

    def end(self, failure: BaseException | None = None) -> None:
        """It is over."""
        self._failure = failure
        if isinstance(failure, _OF_THE_HOP):
            self._until = time.monotonic() + SAME_MOMENT_SECONDS
        self._done.set()

    def share(self, via: Via, ends: float) -> None:
        """Wait for its end; raises its failure, if that is not a matter of the one session that made it."""
        if not self._done.wait(max(0.0, ends - time.monotonic())):
            raise CollectorBusy(f"no time was left to wait for the jump host {via.jump_host.name}")
        failure = self._failure
        if isinstance(failure, BackupflowError) and not isinstance(failure, _OF_ONE_SESSION):
            raise type(failure)(failure.detail) from failure.__cause__


class Ways:
    """The connections of one process."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._hops: set[Hop] = set()
        self._attempts: dict[Mark, _Attempt] = {}

    @contextmanager
    def through(self, via: Via, target: Target) -> Iterator[Tunnel]:
        """A line to a device, open as long as the context; `via` is told that its jump host could be passed.

        Raises what Hop.open and hop.enter do.
        """
        hop, tunnel = self._opened(via, target)
        try:
            with tunnel:
                via.reached()
                yield tunnel
        finally:
            self._leave(hop)

    def close(self) -> None:
        """End them all, whatever still goes through them."""
        with self._changing:
            hops, self._hops = self._hops, set()
            self._attempts.clear()
        for hop in hops:
            hop.close()

    def _opened(self, via: Via, target: Target) -> tuple[Hop, Tunnel]:
        ends = target.not_after or time.monotonic() + target.timeouts.deadline.total_seconds()
        while True:
            hop, made = self._take(via, target, ends)
            try:
                return hop, hop.open(target, ends)
            except _PAST_THE_HOP:
                self._leave(hop)
                via.reached()
                raise
            except JumpHostUnreachable:
                self._leave(hop)
                if made or hop.usable or time.monotonic() >= ends:
                    raise
                # Else it had been dead for a while: that says nothing of the jump host as it is now.
            except BaseException:
                self._leave(hop)
                raise

    def _take(self, via: Via, target: Target, ends: float) -> tuple[Hop, bool]:
        """A connection to use, and whether it was made since this was called."""
        mark, made = via.jump_host.mark, False
        while True:
            with self._changing:
                if (hop := self._standing(mark)) is not None:
                    hop.users += 1
                    hop.rest(None)
                    break
                attempt = self._attempts.get(mark)
                mine = attempt is None or not attempt.counts_for(via)
                if attempt is None or mine:
                    attempt = self._attempts[mark] = _Attempt(via.jump_host.failures)
            if mine:
                return self._connect(via, target, attempt), True
            attempt.share(via, ends)
            made = True
        hop.passed = hop.passed or via.jump_host.passed
        try:
            hop.admit(via)
        except BaseException:
            self._leave(hop)
            raise
        return hop, made

    def _standing(self, mark: Mark) -> Hop | None:
        return next((hop for hop in self._hops if hop.is_for(mark) and hop.usable), None)

    def _connect(self, via: Via, target: Target, attempt: _Attempt) -> Hop:
        try:
            hop = enter(via, target.not_after, self._rested)
        except BaseException as exc:
            attempt.end(exc)
            raise
        with self._changing:
            hop.users = 1
            self._hops.add(hop)
            self._attempts = {
                mark: other for mark, other in self._attempts.items() if other.remembered and other is not attempt
            }
            old = [other for other in self._hops if other.jump_host_id == hop.jump_host_id and other is not hop]
            for other in old:
                other.retired = True
            unused = [other for other in old if not other.users]
            self._hops.difference_update(unused)
        attempt.end()
        for other in unused:
            other.close()
        return hop

    def _leave(self, hop: Hop) -> None:
        with self._changing:
            hop.users -= 1
            if hop.users:
                return
            over = not hop.usable
            if over:
                self._hops.discard(hop)
            else:
                hop.rest(time.monotonic())
        if over:
            hop.close()

    def _rested(self, hop: Hop) -> bool:
        """Whether a connection that was not used for long may end; from now on nobody takes it."""
        with self._changing:
            if hop.users:
                return False
            hop.retired = True
            self._hops.discard(hop)
            return True


_ways: dict[int, Ways] = {}


def ways_of_process() -> Ways:
    """Those of this process; a forked child has another number, so it makes its own."""
    return _ways.setdefault(os.getpid(), Ways())
