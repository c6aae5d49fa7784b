"""A service that says a marker where an SSH server would say its name, and then sends what is no packet."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def talker(marker: str) -> Iterator[int]:
    """Its port on loopback, as long as the context lasts."""
    said = f"{marker}\r\nSSH-2.0-{marker}\r\n{marker * 8}".encode()

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection, suppress(OSError):
                    connection.sendall(said)
                    connection.settimeout(2)
                    connection.recv(4096)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listening.getsockname()[1])
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)
