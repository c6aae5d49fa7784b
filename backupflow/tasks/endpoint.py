"""The small HTTP server of a process: /metrics for Prometheus, /live and /ready for whoever starts and watches it.

It answers everybody who reaches its address, and tells numbers, codes and states: no text of a router, no secret.

Whoever asks may be a stranger who wants it to look dead, so that it is started again and its sessions are cut:

1. A request has one deadline, however many bytes it comes in.
2. Where all places are taken the newcomer gets the place of whoever holds one longest: a probe asks in one piece and is
   answered at once, who only holds a connection is hung up on.
3. Connections from this machine have places of their own: `backupflow health` comes from there.
"""

from __future__ import annotations

import io
import ipaddress
import socket
import socketserver
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, ClassVar

from prometheus_client.exposition import choose_encoder

from backupflow import telemetry
from backupflow.telemetry.metrics import exposition

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

    from backupflow.core.health import Answer
    from backupflow.tasks.health import Health

AT_ONCE = 8  # requests from this machine, and as many from elsewhere
ANSWER_SECONDS = 5.0  # for a whole request and its answer
BIND_AGAIN_SECONDS = 10.0
_TEXT = "text/plain; charset=utf-8"


class _Request(io.RawIOBase):
    """What a client says until the deadline (monotonic seconds); TimeoutError if it goes on then."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        allow(self._connection, self._deadline)
        return self._connection.recv_into(buffer)


def allow(connection: socket.socket, deadline: float) -> None:
    """Let the next wait of it last until then, and no longer; TimeoutError if that is over."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "backupflow", ""

    def setup(self) -> None:
        """A deadline for all of it; to the library a time-out is one of each read."""
        super().setup()
        self._deadline = time.monotonic() + ANSWER_SECONDS
        self.rfile = io.BufferedReader(_Request(self.connection, self._deadline))

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, kind = choose_encoder(self.headers.get("Accept", ""))
            self._send(200, kind, exposition(encode))
        elif path in self.server.answers:
            answer = self.server.answers[path]()
            self._send(200 if answer.well else 503, _TEXT, f"{answer.says}\n".encode())
        else:
            self._send(404, _TEXT, b"there are /metrics, /live and /ready\n")

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """A probe every few seconds is no news."""

    def _send(self, status: int, kind: str, body: bytes) -> None:
        allow(self.connection, self._deadline)  # a write of the library waits for that long in all
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            allow(self.connection, self._deadline)
            self.wfile.write(body)


class _Places:
    """Connections that are served at a time, each by a thread; the one that holds its place longest goes first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[socket.socket, None] = {}  # in the order of their coming
        self._threads = 0

    def take(self, connection: socket.socket) -> bool:
        """Whether it may be served. Who was hung up on needs his thread for a moment: of these there are few, too."""
        with self._lock:
            if self._threads >= 2 * AT_ONCE:
                return False
            if len(self._held) >= AT_ONCE:
                longest = next(iter(self._held))
                del self._held[longest]
                with suppress(OSError):  # it has just ended
                    longest.shutdown(socket.SHUT_RDWR)
            self._held[connection] = None
            self._threads += 1
            return True

    def give_back(self, connection: socket.socket) -> None:
        """Its thread is done."""
        with self._lock:
            self._held.pop(connection, None)
            self._threads -= 1


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address: ClassVar[bool] = True  # type: ignore[misc]
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], answers: dict[str, Callable[[], Answer]]) -> None:
        self.answers = answers
        self._here, self._elsewhere = _Places(), _Places()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return self._places(client_address).take(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places(client_address).give_back(request)

    def _places(self, peer: tuple[str, int]) -> _Places:
        return self._here if is_here(peer[0]) else self._elsewhere

    def handle_error(self, *_: object) -> None:
        """A client that went away: its business."""


def is_here(address: str) -> bool:
    """Whether it is a loopback address; a socket for both has IPv4 inside of IPv6 (RFC 4291, 2.5.5.2)."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


class Endpoint:
    """Serves in threads of its own. An address that is taken is tried again: no work waits for it."""

    def __init__(self, host: str, port: int, health: Health) -> None:
        self._address = (host, port)
        self._answers: dict[str, Callable[[], Answer]] = {"/live": health.live, "/ready": health.ready}
        self._ended = threading.Event()
        self._server: _Server | None = None
        self._bound = threading.Event()

    def start(self) -> None:
        """Serve from now on, as soon as the address is free."""
        threading.Thread(target=self._serve, name="endpoint", daemon=True).start()

    def stop(self) -> None:
        """Serve no more."""
        self._ended.set()
        if self._server is not None:
            self._server.shutdown()

    def port(self, within: float) -> int:
        """The port that it serves on; TimeoutError if it does not in so many seconds."""
        if not self._bound.wait(within) or self._server is None:
            raise TimeoutError
        return int(self._server.server_address[1])

    def _serve(self) -> None:
        said = False
        while not self._ended.is_set():
            try:
                self._server = _Server(self._address, self._answers)
            except OSError as exc:
                if not said:
                    host, port = self._address
                    telemetry.logger().error(telemetry.ENDPOINT_FAILED, listen=f"{host}:{port}", error=exc.strerror)
                said = True
                self._ended.wait(BIND_AGAIN_SECONDS)
                continue
            self._bound.set()
            with self._server:
                self._server.serve_forever()
