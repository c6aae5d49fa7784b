"""What a connection with a server runs over, bounded in what a stranger may make it read; and TCP, the plain case."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from typing import TYPE_CHECKING, Protocol, TypeVar

from backupflow.errors import BackupflowError, ConnectionRefused, DeviceUnreachable, NameUnresolved

if TYPE_CHECKING:
    from datetime import timedelta

# RFC 4253, section 6.1, asks for packets up to 35,000 bytes; what offers more than we announce is not an SSH server.
LARGEST_PACKET = 256 * 1024
# What a server may say before its banner (RFC 4253, section 4.2): paramiko joins it anew for each small piece, so that
# half a megabyte cost 0.13 s of CPU, and this costs a tenth of it.
BEFORE_BANNER = 64 * 1024
# What a server may send after it, before it has accepted a login: key exchanges and banners are some kilobytes.
BEFORE_LOGIN = 512 * 1024
# What this end's kernel says when nobody is heard any more: the other end has not hung up.
_NETWORK_GONE = frozenset({errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN})
_AT_LEAST = 0.001  # seconds: none at all would mean "do not wait", and fail differently


class Line(Protocol):
    """What paramiko's transport, the watchdog and a session ask of a connection."""

    allowance: int | None

    @property
    def network_gone(self) -> bool:
        """Whether the network ended the connection, and not the server."""

    def shut(self) -> None:
        """Wake all who wait; never waits itself."""

    def blame(self, failure: BackupflowError) -> BackupflowError:
        """Whose failure it is: the same, or another one if something on the way to the device is the cause."""


class Rationed:
    """Refuses oversized packets, and floods from a server that has not yet accepted a login.

    paramiko asks for a whole packet at once, with the length that the server claims (up to 4 GiB), and collects
    banner lines without bound.
    """

    allowance: int | None = BEFORE_BANNER  # bytes still to be read; None: no bound here

    def check_packet(self, size: int) -> None:
        """OSError (EMSGSIZE) if it is asked to read more at once than any packet has."""
        if size > LARGEST_PACKET:
            raise OSError(errno.EMSGSIZE, "a packet is larger than was agreed")

    def spent(self, data: bytes) -> bytes:
        """The same; OSError (EMSGSIZE) if it is more than was allowed."""
        if self.allowance is not None:
            self.allowance -= len(data)
            if self.allowance < 0:
                raise OSError(errno.EMSGSIZE, "too much was sent before the login")
        return data


class Wire(Rationed, socket.socket):
    """A connected socket."""

    network_gone = False  # noted here: paramiko takes ETIMEDOUT for a short wait, and then sees an end like any other

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Read as a socket does; OSError (EMSGSIZE) beyond the bounds."""
        self.check_packet(bufsize)
        try:
            data = super().recv(bufsize, flags)
        except OSError as exc:
            self.network_gone = self.network_gone or exc.errno in _NETWORK_GONE
            raise
        return self.spent(data)

    def shut(self) -> None:
        """Wake all who wait on this socket; it stays open until its owner closes it."""
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)

    def blame(self, failure: BackupflowError) -> BackupflowError:
        """Nothing stands between."""
        return failure


W = TypeVar("W", bound=Wire)


def connect(host: str, port: int, timeout: timedelta, kind: type[W]) -> W:
    """Open a TCP connection to the first address of `host` that answers, all within `timeout`.

    A name is looked up by the system's resolver, whose own time-outs hold (resolv.conf); an address costs no look-up.
    Raises NameUnresolved, ConnectionRefused or DeviceUnreachable.
    """
    ends = time.monotonic() + timeout.total_seconds()
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise NameUnresolved from exc
    failure: OSError = TimeoutError()
    for family, type_, protocol, _, address in addresses:
        try:
            return _open(kind(family, type_, protocol), address, max(ends - time.monotonic(), _AT_LEAST))
        except OSError as exc:
            failure = exc
    if isinstance(failure, ConnectionRefusedError):
        raise ConnectionRefused from failure
    if isinstance(failure, TimeoutError):
        raise DeviceUnreachable(f"connect: no answer within {timeout.total_seconds():g} s") from failure
    raise DeviceUnreachable(f"connect: {failure.strerror or 'failed'}") from failure


def _open(wire: W, address: tuple[object, ...], seconds: float) -> W:
    try:
        wire.settimeout(seconds)
        wire.connect(address)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a key exchange is many small messages
    except BaseException:
        wire.close()
        raise
    return wire
