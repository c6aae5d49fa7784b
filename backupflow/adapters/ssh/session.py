"""A session with a device over SSH, in numbered steps.

1. TCP connect.
2. Key exchange; with a pinned key, algorithms of its type are offered first, and SHA-1 and CBC only to a device that
   may have them and never did without.
3. `admit` compares the whole key and raises to refuse. Nothing about the login has been asked for yet. Whatever it
   admits, a pinned device with another key is not logged in to.
4. Only now `login` is called: it looks once more whether the login is allowed, and opens the secret.
5. One attempt to log in.
6. Run the command, without a terminal.
7. Read both streams to their end, under the byte cap and the deadline.
8. The exit status, and whether the output ended or broke off.
9. Further commands of the same session run on a new channel of the same connection.
10. Close everything, whatever happened: channel, connection, thread, socket.

No key agent, no file of the home directory and no known_hosts is looked at. What a server sends in words is hostile:
none of it gets into an error but names of algorithms that look like ones.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from paramiko.ssh_exception import IncompatiblePeer

from backupflow.adapters.ssh import reading
from backupflow.adapters.ssh.algorithms import lacks_pinned_type, mismatch, offer, speaks_only_legacy
from backupflow.adapters.ssh.login import authenticate
from backupflow.adapters.ssh.transport import BROKEN, Transport
from backupflow.adapters.ssh.watchdog import watchdog_of_process
from backupflow.adapters.ssh.wire import connect
from backupflow.core.model import HostKey
from backupflow.errors import (
    AlgorithmsIncompatible,
    BackupflowError,
    DeviceUnreachable,
    HostKeyMismatch,
    JumpHostUnreachable,
    LeaseLost,
    OutputTruncated,
    SshDowngraded,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backupflow.adapters.ssh.watchdog import Watch
    from backupflow.core.driver import Reply
    from backupflow.core.jump import Via
    from backupflow.core.model import Login, Target

_JOIN_SECONDS = 5.0  # a shut socket wakes the transport's thread at once; the rest is for a busy machine


class SshSession:
    """A logged-in session; of one thread."""

    def __init__(self, transport: Transport, watch: Watch, target: Target) -> None:
        self._transport = transport
        self._watch = watch
        self._target = target

    @property
    def modern(self) -> bool:
        """Whether nothing with SHA-1 or CBC was used in this connection: no key exchange, signature, cipher or MAC."""
        return self._transport.modern

    def run(self, command: str, within: timedelta | None = None) -> Reply:
        """Run a command and read both streams to their end (steps 6 to 9), `within` the target's time if not given.

        Raises DeviceTimeout, OutputTooLarge, OutputTruncated, CommandRejected; HostKeyMismatch if another key comes up.
        """
        self._watch.step("command", self._target.timeouts.command if within is None else within)
        with _true_cause(self._watch, self._transport):
            try:
                return reading.run(self._transport, command, self._target.max_bytes)  # 6 7 8 9
            except BROKEN as exc:
                raise OutputTruncated("the connection broke") from exc


class SshCollector:
    """Opens sessions with devices; cheap to make, opens nothing by itself, may be used by many threads at once."""

    def __init__(self) -> None:
        # paramiko logs tracebacks and what servers say, unescaped.
        logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)

    @contextmanager
    def session(
        self, target: Target, admit: Callable[[HostKey], None], login: Callable[[], Login], via: Via | None = None
    ) -> Iterator[SshSession]:
        """Open a session, and close it again (steps 1 to 10).

        What `admit` and `login` raise passes unchanged. Raises ConnectionRefused, DeviceUnreachable, DeviceTimeout,
        AlgorithmsIncompatible, SshDowngraded, HostKeyMismatch, AuthenticationFailed.
        """
        if via is not None:
            raise JumpHostUnreachable(f"{via.jump_host.name}: no way through it yet")
        started = time.monotonic()
        timeouts, deadline = target.timeouts, _deadline(target, started)
        with (
            connect(target.host, target.port, min(timeouts.connect, deadline)) as wire,  # 1
            watchdog_of_process().watch(wire, deadline, started) as watch,
        ):
            transport = Transport(wire, lambda: watch.step("key exchange", timeouts.login))
            try:
                watch.step("banner", timeouts.banner)
                with _true_cause(watch, transport):
                    offered = _exchange_keys(transport, target)  # 2
                watch.step("pin and login", timeouts.deadline)  # the time of our own servers is not the device's
                admit(offered)  # 3
                watch.check()
                if target.pinned not in {None, offered}:
                    raise HostKeyMismatch("it was admitted with another key than the pinned one")
                credentials = login()  # 4
                watch.step("login", timeouts.login)
                with _true_cause(watch, transport):
                    authenticate(transport, credentials)  # 5
                del credentials
                wire.allowance = None
                watch.step("session", timeouts.deadline)
                yield SshSession(transport, watch, target)
            finally:
                transport.end(_JOIN_SECONDS)  # 10

    def handshake(self, target: Target, via: Via | None = None) -> HostKey:
        """The key that a session would be shown (steps 1 to 3, and 10): no authentication is begun, not even `none`.

        Raises what `session` raises up to there.
        """

        def admit(key: HostKey) -> None:
            raise _Shown(key)

        def login() -> Login:
            raise LeaseLost("nothing was admitted")  # never called: what `admit` raises ends the session

        try:
            with self.session(target, admit, login, via):
                raise AssertionError("a session was opened without a login")
        except _Shown as shown:
            return shown.key


class _Shown(Exception):
    """Ends a session in which nothing but the host key was asked for."""

    def __init__(self, key: HostKey) -> None:
        super().__init__()
        self.key = key


def _deadline(target: Target, now: float) -> timedelta:
    """The longest that the session may last: never longer than its lease, whatever was waited for before it began."""
    if target.not_after is None:
        return target.timeouts.deadline
    left = timedelta(seconds=target.not_after - now)
    if left <= timedelta(0):
        raise LeaseLost("the lease was over before the session began")
    return min(target.timeouts.deadline, left)


@contextmanager
def _true_cause(watch: Watch, transport: Transport) -> Iterator[None]:
    """Whatever broke because the watchdog ended the session is a time-out, because of a key a matter of keys."""
    try:
        yield
    except BackupflowError as exc:
        if watch.expired:
            raise watch.failure() from exc
        if transport.unproven and not transport.is_active():
            raise HostKeyMismatch("the device could not prove that it owns the key that it showed") from exc
        raise


def _exchange_keys(transport: Transport, target: Target) -> HostKey:
    legacy = target.legacy_ssh and not target.spoke_modern
    offer(transport, target.pinned, legacy=legacy, expected=target.expected)
    try:
        transport.start_client()
        key = transport.get_remote_server_key()
    except IncompatiblePeer as exc:
        raise _incompatible(transport, target) from exc
    except BROKEN as exc:
        if not transport.remote_version:
            raise DeviceUnreachable("nothing that speaks SSH answered") from exc
        raise DeviceUnreachable("the connection broke during the key exchange") from exc
    return HostKey(key.get_name(), key.asbytes())


def _incompatible(transport: Transport, target: Target) -> BackupflowError:
    ours, offered = transport.ours(), transport.offered
    if not offered:
        return AlgorithmsIncompatible("it speaks another version of the SSH protocol than 2")
    lacking = mismatch(ours, offered)
    # Before the key: without SHA-1 the one that it has now cannot be seen.
    if target.spoke_modern and speaks_only_legacy(target.pinned, offered):
        return SshDowngraded(lacking)
    if lacks_pinned_type(target.pinned, offered):
        return HostKeyMismatch(f"it has no host key of the pinned type any more; {lacking}")
    return AlgorithmsIncompatible(lacking)
