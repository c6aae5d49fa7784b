"""From a line to a logged-in connection: the steps 2 to 5 of a session, with a device or with a jump host."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from paramiko.ssh_exception import IncompatiblePeer

from backupflow.adapters.ssh.algorithms import lacks_pinned_type, mismatch, offer, speaks_only_legacy
from backupflow.adapters.ssh.login import authenticate
from backupflow.adapters.ssh.transport import BROKEN
from backupflow.core.model import HostKey
from backupflow.errors import (
    AlgorithmsIncompatible,
    BackupflowError,
    DeviceUnreachable,
    HostKeyMismatch,
    SshDowngraded,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backupflow.adapters.ssh.transport import Transport
    from backupflow.adapters.ssh.watchdog import Watch
    from backupflow.core.model import Login, Target

JOIN_SECONDS = 5.0  # a line that was shut wakes the transport's thread at once; the rest is for a busy machine


def log_in(
    transport: Transport, watch: Watch, target: Target, admit: Callable[[HostKey], None], login: Callable[[], Login]
) -> HostKey:
    """Exchange keys, let the server's key be admitted, ask for the login and log in once; gives that key.

    What `admit` and `login` raise passes unchanged. Raises DeviceUnreachable, DeviceTimeout, AlgorithmsIncompatible,
    SshDowngraded, HostKeyMismatch, AuthenticationFailed.
    """
    timeouts = target.timeouts
    watch.step("banner", timeouts.banner)
    with true_cause(watch, transport):
        offered = _exchange_keys(transport, target)  # 2
    watch.step("pin and login", timeouts.deadline)  # the time of our own servers is not the device's
    admit(offered)  # 3
    watch.check()
    if target.pinned not in {None, offered}:
        raise HostKeyMismatch("it was admitted with another key than the pinned one")
    credentials = login()  # 4
    watch.step("login", timeouts.login)
    with true_cause(watch, transport):
        authenticate(transport, credentials)  # 5
    return offered


@contextmanager
def true_cause(watch: Watch, transport: Transport) -> Iterator[None]:
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
