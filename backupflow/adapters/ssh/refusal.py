"""Why a jump host opened no connection to a device: what its answer means, and for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupflow.errors import (
    AuthenticationFailed,
    BackupflowError,
    CollectorBusy,
    CommandRejected,
    ConnectionRefused,
    DeviceUnreachable,
    JumpHostBlocked,
    JumpHostUnreachable,
    NameUnresolved,
)

if TYPE_CHECKING:
    from backupflow.adapters.ssh.forwarding import Refusal

# RFC 4254, section 5.1
_PROHIBITED = frozenset({1, 3})  # administratively prohibited; unknown type of channel
_CONNECT_FAILED = 2
_SHORTAGE = 4

# What may be read from a jump host's words, which are hostile: those of strerror and gai_strerror, that OpenSSH sends
# (channels.c), of glibc, musl and the BSDs. Anything else is a device that was not reached, without a reason.
_REFUSED = "Connection refused"
_NO_NAME = (
    "Name or service not known",
    "Temporary failure in name resolution",
    "No address associated with hostname",
    "Non-recoverable failure in name resolution",
    "Name does not resolve",
    "nodename nor servname provided",
    "unknown host",
)
_NO_WAY = ("No route to host", "Network is unreachable", "Connection timed out", "Host is down")


def judged(name: str, refusal: Refusal, *, passed: bool) -> BackupflowError:
    """The failure that a refusal is: of the jump host of that name, or of the device behind it.

    `passed`: it has forwarded for somebody. Then what it does not forward to is an address that its rules do not name
    (PermitOpen of sshd_config) or one that was mistyped, and no reason to leave all others waiting.
    """
    if tried(refusal):
        return _of_the_device(name, refusal.words)
    if refusal.reason == _SHORTAGE:
        return CollectorBusy(f"the jump host {name} has no room for more connections")
    if refusal.reason in _PROHIBITED and passed:
        return DeviceUnreachable(f"the jump host {name} does not forward to it (administratively prohibited)")
    if refusal.reason in _PROHIBITED:
        return _because(JumpHostBlocked, name, CommandRejected("it forwards no connections, or not to this device"))
    return _because(JumpHostUnreachable, name, DeviceUnreachable("it refused a channel for no reason that is known"))


def tried(refusal: Refusal) -> bool:
    """Whether it was willing to forward: it tried to connect."""
    return refusal.reason == _CONNECT_FAILED


def _of_the_device(name: str, words: str) -> BackupflowError:
    if _REFUSED in words:
        return ConnectionRefused(f"behind the jump host {name}")
    if any(known in words for known in _NO_NAME):
        return NameUnresolved(f"by the jump host {name}")
    known = next((known for known in _NO_WAY if known in words), "the connection failed")
    return DeviceUnreachable(f"connect: {known}, says the jump host {name}")


def _because(failure: type[BackupflowError], name: str, met: BackupflowError) -> BackupflowError:
    made = failure(says(name, met))
    made.__cause__ = met
    return made


def says(name: str, met: BackupflowError) -> str:
    """A detail that tells what was met at a jump host, and begins with its name."""
    if isinstance(met, AuthenticationFailed):
        return f"{name}: it refused the login" + (f" ({met.detail})" if met.detail else "")
    return f"{name}: {met.detail or met.code.replace('_', ' ')}"
