"""A server that drops what exceeds the client's window, as RouterOS does, where others wait."""

from __future__ import annotations

import queue
import random
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from paramiko.common import cMSG_CHANNEL_CLOSE, cMSG_CHANNEL_EOF, cMSG_CHANNEL_REQUEST
from paramiko.message import Message

from backupflow.adapters.ssh import transport as module
from tests.integration.ssh_strangers import Server, collect, listening, serving, tell

if TYPE_CHECKING:
    from collections.abc import Iterator

    import paramiko

SMALL = 128 * 1024
PIECE = 16 * 1024
SIZES = (500_000, 2_400_000)  # what is reported as cut, and the largest real export that was found
DELAYS = (0.0, 0.02)  # seconds, each way


def export_of(size: int) -> bytes:
    """No two parts of it are equal."""
    return random.Random(size).randbytes(size)


class Dropping(Server):
    """Sends its whole export at once, and forgets what the window has no room for at that moment."""

    def __init__(self, export: bytes) -> None:
        super().__init__(self.send_what_fits)
        self.export = export

    def send_what_fits(self, transport: paramiko.Transport, channel: paramiko.Channel) -> None:
        """The window does not grow meanwhile: it does so under the lock that is held here."""
        with channel.lock:
            for at in range(0, len(self.export), PIECE):
                piece = self.export[at : at + PIECE]
                if len(piece) <= channel.out_window_size:
                    channel.out_window_size -= len(piece)
                    tell_data(transport, channel, piece)
        tell(transport, cMSG_CHANNEL_REQUEST, channel, "exit-status", False, 0)
        tell(transport, cMSG_CHANNEL_EOF, channel)
        tell(transport, cMSG_CHANNEL_CLOSE, channel)


def tell_data(transport: paramiko.Transport, channel: paramiko.Channel, piece: bytes) -> None:
    """Send one packet of output."""
    message = Message()
    message.add_byte(bytes([94]))  # SSH_MSG_CHANNEL_DATA
    message.add_int(channel.remote_chanid)
    message.add_string(piece)
    transport._send_user_message(message)  # type: ignore[attr-defined]


def pump(source: socket.socket, sink: socket.socket, delay: float) -> None:
    """Pass on what comes, each piece `delay` seconds after it came: a long way, not a narrow one."""
    passing: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def deliver() -> None:
        while True:
            due, data = passing.get()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if not data:
                    return sink.shutdown(socket.SHUT_WR)
                sink.sendall(data)
            except OSError:
                return None

    thread = threading.Thread(target=deliver)
    thread.start()
    try:
        while data := source.recv(65536):
            passing.put((time.monotonic() + delay, data))
    except OSError:
        pass  # the other side has left
    finally:
        passing.put((time.monotonic() + delay, b""))
        thread.join(30)


@contextmanager
def far_away(port: int, delay: float) -> Iterator[int]:
    """A relay to a port of this machine that takes `delay` seconds each way."""

    def serve(client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as server:
            back = threading.Thread(target=pump, args=(server, client, delay))
            back.start()
            pump(client, server, delay)
            back.join(30)

    with listening(serve) as relayed:
        yield relayed


def collected(export: bytes, delay: float) -> bytes:
    """What arrives of an export; the server always says that it went well."""
    with serving(Dropping(export)) as port, far_away(port, delay) as relayed:
        reply = collect(relayed)
    assert reply.exit_status == 0
    return reply.stdout


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("size", SIZES)
def test_an_export_arrives_whole_from_a_server_that_waits_for_no_window(size: int, delay: float) -> None:
    """Byte for byte, near and far."""
    export = export_of(size)
    assert collected(export, delay) == export


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("size", SIZES)
def test_a_small_window_would_lose_the_tail(size: int, delay: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: with 128 kB, as others have it, just that much arrives and status 0 says all is well."""
    monkeypatch.setattr(module, "WINDOW", SMALL)
    export = export_of(size)
    assert collected(export, delay) == export[:SMALL]


def test_the_window_holds_more_than_any_export_may_have() -> None:
    """So it is the byte cap that ends a session, and never the window that cuts one."""
    assert module.WINDOW >= 2 * 16 * 1024 * 1024
