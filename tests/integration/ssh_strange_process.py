"""A process of strange servers, one a kind of failure, so that another process can be seen to keep nothing."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import socket
import struct
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from paramiko.common import AUTH_FAILED, OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED, cMSG_CHANNEL_CLOSE

from tests.integration.ssh_strangers import ECDSA, Server, hang_up, say, tell, until_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    import paramiko

    Serve = Callable[[socket.socket], None]

BANNER = b"SSH-2.0-ROSSSH\r\n"
CAP = 100_000  # bytes that a client should accept
_LONG = 120.0  # seconds


def whole(transport: paramiko.Transport, channel: paramiko.Channel) -> None:
    """An export that ends as it should, with exit status 3."""
    say("eof", "status", "close")(transport, channel)


def cut(transport: paramiko.Transport, channel: paramiko.Channel) -> None:
    """Half an export, and a reset."""
    channel.sendall(b"/ip dns\r\nset ser")
    assert isinstance(transport.sock, socket.socket)
    hang_up(transport.sock, reset=True)


def closed(transport: paramiko.Transport, channel: paramiko.Channel) -> None:
    """Half an export, and the channel is closed."""
    channel.sendall(b"/ip dns\r\nset ser")
    tell(transport, cMSG_CHANNEL_CLOSE, channel)


def stall(transport: paramiko.Transport, channel: paramiko.Channel) -> None:
    """Half an export, and nothing more."""
    channel.sendall(b"/ip dns\r\nset ser")
    transport.join(_LONG)


def drip(transport: paramiko.Transport, channel: paramiko.Channel) -> None:
    """Byte after byte."""
    while transport.is_active():
        channel.sendall(b"#")
        time.sleep(0.05)


def bomb(_: paramiko.Transport, channel: paramiko.Channel) -> None:
    """More than is accepted."""
    for _times in range(CAP // 1000 + 10):
        channel.sendall(b"#" * 1000)


ANSWERS = {"good": whole, "cut": cut, "channel closed": closed, "stall": stall, "drip": drip, "bomb": bomb}


class Hanging(Server):
    """Falls silent in the login: at the query for its methods, or at the password."""

    silent_at = ""

    def check_auth_none(self, username: str) -> int:
        """Answer, or not."""
        self.hang("methods")
        return super().check_auth_none(username)

    def check_auth_password(self, username: str, password: str) -> int:
        """Answer, or not."""
        self.hang("password")
        return super().check_auth_password(username, password)

    def hang(self, at: str) -> None:
        """Wait until the client has left."""
        if at == self.silent_at and self.transport is not None:
            self.transport.connection.settimeout(_LONG)
            with contextlib.suppress(OSError):
                until_gone(self.transport.connection)
            raise EOFError


def server(kind: str) -> Server:
    """The server of a kind."""
    made = Hanging(ANSWERS.get(kind, whole))
    match kind:
        case "reset in the key exchange":
            made.after, made.resets = "key exchange init", True
        case "reset after the keys":
            made.after, made.resets = "new keys", True
        case "incompatible":
            made.speaks = {"kex": ("diffie-hellman-group14-sha1",)}
        case "mute after the handshake":
            made.silent_at = "methods"
        case "login hangs":
            made.silent_at = "password"
        case "login refused":
            made.verdict = AUTH_FAILED
        case "hangs up on the login":
            made.after = "password"
        case "channel refused":
            made.opens = OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        case "exec refused":
            made.runs = False
        case _:
            pass
    return made


def raw(kind: str) -> Serve | None:
    """What a kind does that does not speak SSH, if it is one."""
    said = {
        "no banner": b"",
        "garbage banner": b"HTTP/1.1 400 Bad Request\r\n\r\n",
        "oversized packet": BANNER + struct.pack(">I", 0xFFFFFFFC) + bytes(4),
        "mute after the banner": BANNER,
    }

    def speak(connection: socket.socket) -> None:
        connection.sendall(said[kind])
        if kind == "garbage banner":
            connection.shutdown(socket.SHUT_WR)
        until_gone(connection)

    def endless(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"x" * 65536)

    return {**dict.fromkeys(said, speak), "endless banner": endless}.get(kind)


def _serve(listener: socket.socket, kind: str) -> None:
    def one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, EOFError):
            (raw(kind) or server(kind).serve)(connection)

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=one, args=(connection,), daemon=True).start()


def _run(kinds: tuple[str, ...], answer: Connection) -> None:
    threading.excepthook = lambda _: None  # what a strange server stumbles over is nobody's business
    logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)
    ports = {}
    listeners = [socket.create_server(("127.0.0.1", 0), backlog=64) for _ in kinds]
    for listener, kind in zip(listeners, kinds, strict=True):
        ports[kind] = listener.getsockname()[1]
        threading.Thread(target=_serve, args=(listener, kind), daemon=True).start()
    answer.send((ports, ECDSA.asbytes()))
    with contextlib.suppress(EOFError):
        answer.recv()  # until the other end is gone, however it went


@contextmanager
def strange_servers(kinds: tuple[str, ...]) -> Iterator[tuple[dict[str, int], bytes]]:
    """Serve each kind on a port of its own, in a process of its own; gives the ports and the host key."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=_run, args=(kinds, there), daemon=True)
    child.start()
    there.close()
    try:
        assert here.poll(60)
        yield here.recv()
    finally:
        here.close()
        child.join(10)
        if child.is_alive():
            child.kill()
            child.join()
        child.close()
