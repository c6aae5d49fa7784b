"""A TCP door in front of a server, which a test opens, shuts, or lets people wait at."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class Gate:
    """Forwards connections while it is open; shut it refuses them and ends those that are; mute it never answers."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._lock = threading.Lock()
        self._links: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self._mute = False
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.open()

    def open(self, *, mute: bool = False) -> None:
        """Let connections in; those of a mute gate are accepted and heard, and never answered."""
        self.shut()
        self._mute = mute
        listener = socket.create_server(("127.0.0.1", self.port))
        self._listener = listener
        self._go(lambda: self._accept(listener))

    def shut(self) -> None:
        """Refuse new connections and end the old."""
        with self._lock:
            listener, self._listener = self._listener, None
            links, self._links = self._links, []
        for end in ([listener] if listener else []) + links:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self._threads:
            thread.join(5)
        self._threads = []

    def __enter__(self) -> Self:
        """Use as a context."""
        return self

    def __exit__(self, *_: object) -> None:
        """Shut it for good."""
        self.shut()

    def _go(self, work: object) -> None:
        thread = threading.Thread(target=work, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                one, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                if self._listener is not listener:
                    one.close()
                    return
                self._links.append(one)
            if not self._mute:
                self._join(one)

    def _join(self, one: socket.socket) -> None:
        try:
            other = socket.create_connection(self._target, timeout=5)
        except OSError:
            one.close()
            return
        other.settimeout(None)
        with self._lock:
            self._links.append(other)
        self._go(lambda: _pump(one, other))
        self._go(lambda: _pump(other, one))


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
