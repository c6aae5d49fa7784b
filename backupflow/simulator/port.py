"""A TCP port of something simulated: it may refuse connections for a while and keeps its number meanwhile."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOOPBACK = "127.0.0.1"
_ACCEPTED_AT_ONCE = 32


class Port:
    """Hands each accepted connection to the protocol that `serve` makes for its peer."""

    def __init__(
        self, host: str, number: int, serve: Callable[[tuple[str, int]], Callable[[], asyncio.Protocol]]
    ) -> None:
        self.host = host
        self.number = number
        self._serve = serve
        self._socket: socket.socket | None = None
        self._accepting: set[asyncio.Task[object]] = set()

    def open(self, *, listening: bool) -> None:
        """Bind the port and listen; or bind it only: connections are refused, and nobody else gets it meanwhile."""
        self.close()
        self._socket = bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bound.settimeout(0)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((self.host, self.number))
        self.number = bound.getsockname()[1]
        if listening:
            bound.listen(_ACCEPTED_AT_ONCE)
            asyncio.get_running_loop().add_reader(bound, self._accept, bound)

    def close(self) -> None:
        """Give the port back."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, peer = listening.accept()
            except BlockingIOError:
                return
            except OSError as exc:
                if exc.errno in {errno.ECONNABORTED, errno.EINTR}:
                    continue
                raise
            connection.settimeout(0)
            task: asyncio.Task[object] = loop.create_task(loop.connect_accepted_socket(self._serve(peer), connection))
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)
