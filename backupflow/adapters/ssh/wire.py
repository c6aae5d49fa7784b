"""The TCP connection to a device: opened within a time-out, and bounded in what a stranger may make it read."""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from typing import TYPE_CHECKING

from backupflow.errors import ConnectionRefused, DeviceUnreachable, NameUnresolved

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


class Wire(socket.socket):
    """A connected socket that refuses oversized packets, and floods from a server that has not yet accepted a login.

    paramiko asks for a whole packet at once, with the length that the server claims (up to 4 GiB), and collects
    banner lines without bound.
    """

    allowance: int | None = BEFORE_BANNER  # bytes still to be read; None: no bound here
    network_gone = False  # noted here: paramiko takes ETIMEDOUT for a short wait, and then sees an end like any other

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Read as a socket does; OSError (EMSGSIZE) beyond the bounds."""
        if bufsize > LARGEST_PACKET:
            raise OSError(errno.EMSGSIZE, "a packet is larger than was agreed")
        try:
            data = super().recv(bufsize, flags)
        except OSError as exc:
            self.network_gone = self.network_gone or exc.errno in _NETWORK_GONE
            raise
        if self.allowance is not None:
            self.allowance -= len(data)
            if self.allowance < 0:
                raise OSError(errno.EMSGSIZE, "too much was sent before the login")
        return data

    def shut(self) -> None:
        """Wake all who wait on this socket; it stays open until its owner closes it."""
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)


def connect(host: str, port: int, timeout: timedelta) -> Wire:
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
    for family, kind, protocol, _, address in addresses:
        try:
            return _open(Wire(family, kind, protocol), address, max(ends - time.monotonic(), _AT_LEAST))
        except OSError as exc:
            failure = exc
    if isinstance(failure, ConnectionRefusedError):
        raise ConnectionRefused from failure
    if isinstance(failure, TimeoutError):
        raise DeviceUnreachable(f"connect: no answer within {timeout.total_seconds():g} s") from failure
    raise DeviceUnreachable(f"connect: {failure.strerror or 'failed'}") from failure


def _open(wire: Wire, address: tuple[object, ...], seconds: float) -> Wire:
    try:
        wire.settimeout(seconds)
        wire.connect(address)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a key exchange is many small messages
    except BaseException:
        wire.close()
        raise
    return wire
