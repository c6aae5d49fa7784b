"""A session with a device over SSH, in numbered steps.

1. TCP connect; or, through a jump host, a channel of the connection to it (see `jump`), which came about by these same
   steps. From here on the device is spoken to end to end: a jump host sees none of it.
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

import contextlib
import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from backupflow.adapters.ssh import reading
from backupflow.adapters.ssh.connection import JOIN_SECONDS, log_in, true_cause
from backupflow.adapters.ssh.jump import ways_of_process
from backupflow.adapters.ssh.transport import BROKEN, Transport
from backupflow.adapters.ssh.watchdog import watchdog_of_process
from backupflow.adapters.ssh.wire import Wire, connect
from backupflow.errors import BackupflowError, LeaseLost, OutputTruncated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backupflow.adapters.ssh.tunnel import Tunnel
    from backupflow.adapters.ssh.watchdog import Watch
    from backupflow.core.driver import Reply
    from backupflow.core.jump import Via
    from backupflow.core.model import HostKey, Login, Target


class SshSession:
    """A logged-in session; of one thread."""

    def __init__(self, transport: Transport, line: Wire | Tunnel, watch: Watch, target: Target) -> None:
        self._transport = transport
        self._line = line
        self._watch = watch
        self._target = target

    @property
    def modern(self) -> bool:
        """Whether nothing with SHA-1 or CBC was used in this connection: no key exchange, signature, cipher or MAC."""
        return self._transport.modern

    def run(self, command: str, within: timedelta | None = None) -> Reply:
        """Run a command and read both streams to their end (steps 6 to 9), `within` the target's time if not given.

        Raises DeviceTimeout, OutputTooLarge, OutputTruncated, CommandRejected; HostKeyMismatch if another key comes up;
        JumpHostUnreachable if it was that which broke.
        """
        self._watch.step("command", self._target.timeouts.command if within is None else within)
        with _blamed(self._line), true_cause(self._watch, self._transport):
            try:
                return reading.run(self._transport, command, self._target.max_bytes)  # 6 7 8 9
            except BROKEN as exc:
                raise OutputTruncated("the connection broke") from exc


class SshCollector:
    """Opens sessions with devices; cheap to make, opens nothing by itself, may be used by many threads at once."""

    def __init__(self) -> None:
        # paramiko logs tracebacks and what servers say, unescaped.
        logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)

    @contextlib.contextmanager
    def session(
        self, target: Target, admit: Callable[[HostKey], None], login: Callable[[], Login], via: Via | None = None
    ) -> Iterator[SshSession]:
        """Open a session, and close it again (steps 1 to 10).

        What `admit` and `login` raise passes unchanged. Raises NameUnresolved, ConnectionRefused, DeviceUnreachable,
        DeviceTimeout, AlgorithmsIncompatible, SshDowngraded, HostKeyMismatch, AuthenticationFailed; through a jump host
        also JumpHostUnreachable, JumpHostBlocked and CollectorBusy, and what its own `login` and `reached` raise.
        """
        began = time.monotonic()
        deadline, timeouts = _deadline(target, began), target.timeouts
        with contextlib.ExitStack() as stack:
            line: Wire | Tunnel
            if via is None:
                line = stack.enter_context(connect(target.host, target.port, min(timeouts.connect, deadline), Wire))
            else:
                line = stack.enter_context(ways_of_process().through(via, target))
                began = time.monotonic()  # the time of the way to it is not the device's
                deadline = _deadline(target, began)
            watch = stack.enter_context(watchdog_of_process().watch(line, deadline, began))
            transport = Transport(line, lambda: watch.step("key exchange", timeouts.login))
            stack.callback(transport.end, JOIN_SECONDS)  # 10
            with _blamed(line):
                log_in(transport, watch, target, admit, login)  # 2 3 4 5
            line.allowance = None
            watch.step("session", timeouts.deadline)
            yield SshSession(transport, line, watch, target)

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


@contextlib.contextmanager
def _blamed(line: Wire | Tunnel) -> Iterator[None]:
    """A line may know better whose failure it was."""
    try:
        yield
    except BackupflowError as exc:
        if (other := line.blame(exc)) is not exc:
            raise other from other.__cause__ or exc
        raise


def _deadline(target: Target, now: float) -> timedelta:
    """The longest that the session may last: never longer than its lease, whatever was waited for before it began."""
    if target.not_after is None:
        return target.timeouts.deadline
    left = timedelta(seconds=target.not_after - now)
    if left <= timedelta(0):
        raise LeaseLost("the lease was over before the session began")
    return min(target.timeouts.deadline, left)
