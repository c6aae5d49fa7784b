"""One connection to a jump host: how it comes about, what it opens, and whose failure is whose."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from backupflow.adapters.ssh.connection import JOIN_SECONDS, log_in
from backupflow.adapters.ssh.forwarding import ForwardingTransport
from backupflow.adapters.ssh.pulse import HopWire, Pulse
from backupflow.adapters.ssh.refusal import judged, says, tried
from backupflow.adapters.ssh.transport import BROKEN
from backupflow.adapters.ssh.tunnel import Tunnel
from backupflow.adapters.ssh.watchdog import watchdog_of_process
from backupflow.adapters.ssh.wire import connect
from backupflow.core.jump import CHANNELS
from backupflow.errors import (
    AlgorithmsIncompatible,
    AuthenticationFailed,
    CollectorBusy,
    ConnectionRefused,
    DeviceTimeout,
    DeviceUnreachable,
    HostKeyMismatch,
    HostKeyUnapproved,
    JumpHostBlocked,
    JumpHostUnreachable,
    LoginUnusable,
    NameUnresolved,
    SshDowngraded,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backupflow.core.jump import JumpHost, Via
    from backupflow.core.model import HostKey, Target

PLACE_SECONDS: Final = 30.0  # how long a session waits for one of the channels: beat does not claim more than there are
LONGEST_LIFE_SECONDS: Final = 3600.0  # then its key and its login are looked at again
FIRST_MOMENT_SECONDS: Final = 10.0  # sessions that had begun before its first key was pinned have come by then

_DOWN = (DeviceUnreachable, ConnectionRefused, NameUnresolved, DeviceTimeout)
_BLOCKED = (
    AuthenticationFailed, LoginUnusable, HostKeyMismatch, HostKeyUnapproved, AlgorithmsIncompatible, SshDowngraded,
)  # fmt: skip


class Hop:
    """A logged-in connection to a jump host; of many threads."""

    def __init__(self, jump_host: JumpHost, key: HostKey, transport: ForwardingTransport, pulse: Pulse) -> None:
        self.name = jump_host.name
        self.jump_host_id = jump_host.jump_host_id
        self._key = key
        self._made_as = jump_host.mark
        self._known_as = (*jump_host.mark[:-1], key.blob)  # once its first key is pinned
        self.users = 0
        self.retired = False
        self.passed = jump_host.passed
        self._transport = transport
        self._pulse = pulse
        self._places = threading.BoundedSemaphore(CHANNELS)
        self._made_at = time.monotonic()

    @property
    def usable(self) -> bool:
        """Whether another session may go through it."""
        fresh = time.monotonic() < self._made_at + LONGEST_LIFE_SECONDS and not self._transport.overfull
        return fresh and not self.retired and self._transport.is_active() and not self._pulse.ended

    def is_for(self, mark: tuple[object, ...]) -> bool:
        """Whether it leads to that jump host, with that login and key; without a key only when it has just been made.

        Later it may be that its key is not the jump host's any more, and was taken away for that.
        """
        just_made = time.monotonic() < self._made_at + FIRST_MOMENT_SECONDS
        return mark == self._known_as or (mark == self._made_as and just_made)

    def admit(self, via: Via) -> None:
        """Let its key be admitted for another session, if none is pinned: that it was once may have been taken back.

        Raises what `enter` does for its key.
        """
        if via.jump_host.target.pinned is None:
            with _told_as_blocked(self.name):
                via.admit(self._key)

    def rest(self, since: float | None) -> None:
        """Nobody uses it since then (seconds, monotonic clock); None: somebody does."""
        self._pulse.resting_since = since

    def open(self, target: Target, ends: float) -> Tunnel:
        """A line to a device. `ends`: how long it may be waited for a place.

        Raises what is the device's failure (ConnectionRefused, DeviceUnreachable, NameUnresolved), what is the jump
        host's (JumpHostUnreachable, JumpHostBlocked), or CollectorBusy.
        """
        patience = max(0.0, min(PLACE_SECONDS, ends - time.monotonic()))
        if not self._places.acquire(timeout=patience):
            raise CollectorBusy(f"all {CHANNELS} channels of the jump host {self.name} are in use")
        try:
            return self._opened(target, ends)
        except BaseException:
            self._places.release()
            raise

    def _opened(self, target: Target, ends: float) -> Tunnel:
        seconds = min(target.timeouts.connect.total_seconds(), max(0.0, ends - time.monotonic()))
        try:
            channel = self._transport.open_to(target.host, target.port, seconds)
        except BROKEN:
            raise self._gone() from self._pulse.why()
        if channel is None:
            if (trouble := self.trouble(target.not_after)) is not None:
                raise trouble
            if time.monotonic() >= ends:
                raise CollectorBusy(f"no time was left to reach it from the jump host {self.name}")
            raise DeviceUnreachable(f"connect: no answer within {seconds:g} s, from the jump host {self.name}")
        self.passed = self.passed or channel.refusal is None or tried(channel.refusal)
        if channel.refusal is not None:
            raise judged(self.name, channel.refusal, passed=self.passed)
        whole = time.monotonic() + target.timeouts.deadline.total_seconds()
        lacking = target.not_after if target.not_after is not None and target.not_after < whole else None
        return Tunnel(channel, lacking, lambda: self.trouble(target.not_after), self._places.release)

    def trouble(self, latest: float | None) -> JumpHostUnreachable | None:
        """What is wrong with it now: it is asked, and waited for until `latest`; None if it answers."""
        if self._transport.is_active() and self._pulse.lives(latest or float("inf")):
            return None
        if self._pulse.overdue:
            self._transport.cut()
        gone = self._gone()
        gone.__cause__ = self._pulse.why()
        return gone

    def close(self) -> None:
        """End it, whatever still goes through it."""
        self._transport.end(JOIN_SECONDS)

    def _gone(self) -> JumpHostUnreachable:
        return JumpHostUnreachable(says(self.name, self._pulse.why()))


def enter(via: Via, not_after: float | None, idle: Callable[[Hop], bool]) -> Hop:
    """Connect and log in to a jump host, once, as to a device. `idle`: asked whether it may end for want of use.

    What its admit and login raise passes unchanged, but for what is a matter of its key. Raises JumpHostUnreachable,
    JumpHostBlocked; CollectorBusy if it was the session's lease that left no time.
    """
    name, busy = via.jump_host.name, CollectorBusy(f"no time was left to wait for the jump host {via.jump_host.name}")
    if _over(not_after):  # who waited for the attempt of another until both were out of time: no knock for nothing
        raise busy
    try:
        with _told_as_blocked(name):
            return _entered(via, not_after, idle)
    except _DOWN as exc:
        if _over(not_after):
            raise busy from exc
        raise JumpHostUnreachable(says(name, exc)) from exc


def _over(not_after: float | None) -> bool:
    return not_after is not None and time.monotonic() >= not_after


@contextmanager
def _told_as_blocked(name: str) -> Iterator[None]:
    """Whatever a person must mend at a jump host of that name is told as such."""
    try:
        yield
    except _BLOCKED as exc:
        raise JumpHostBlocked(says(name, exc)) from exc
    except JumpHostBlocked as exc:  # by what admits its key, or opens its login
        raise JumpHostBlocked(says(name, exc)) from exc.__cause__


def _entered(via: Via, not_after: float | None, idle: Callable[[Hop], bool]) -> Hop:
    target, began = via.jump_host.target, time.monotonic()
    left = target.timeouts.deadline
    if not_after is not None:
        left = min(left, max(timedelta(0), timedelta(seconds=not_after - began)))
    wire = connect(target.host, target.port, min(target.timeouts.connect, left), HopWire)
    transport: ForwardingTransport | None = None
    try:
        with watchdog_of_process().watch(wire, left, began) as watch:
            transport = ForwardingTransport(wire, lambda: watch.step("key exchange", target.timeouts.login))
            offered = log_in(transport, watch, target, via.admit, via.login)
        return _living(via.jump_host, offered, transport, wire, idle)
    except BaseException:
        if transport is not None:
            transport.end(JOIN_SECONDS)
        wire.close()
        raise


def _living(
    jump_host: JumpHost, key: HostKey, transport: ForwardingTransport, wire: HopWire, idle: Callable[[Hop], bool]
) -> Hop:
    pulse = Pulse(transport.ask, lambda: idle(hop))
    hop = Hop(jump_host, key, transport, pulse)
    transport.on_end = pulse.end
    wire.allowance, wire.pulse = None, pulse
    if not transport.is_alive():
        pulse.end()
    return hop
