"""The small HTTP server of a process: /metrics for Prometheus, /live and /ready for whoever starts and watches it.

It answers everybody who reaches its address, and tells numbers, codes and states: no text of a router, no secret.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, ClassVar

from prometheus_client.exposition import choose_encoder

from backupflow import telemetry
from backupflow.telemetry.metrics import exposition

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.health import Answer
    from backupflow.tasks.health import Health

AT_ONCE = 8  # requests; who is beyond that is hung up on
ANSWER_SECONDS = 5.0  # for each read and write of a client
BIND_AGAIN_SECONDS = 10.0
_TEXT = "text/plain; charset=utf-8"


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = ANSWER_SECONDS
    server_version, sys_version = "backupflow", ""

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
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address: ClassVar[bool] = True  # type: ignore[misc]
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], answers: dict[str, Callable[[], Answer]]) -> None:
        self.answers = answers
        self._free = threading.BoundedSemaphore(AT_ONCE)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def verify_request(self, *_: object) -> bool:
        return self._free.acquire(blocking=False)

    def process_request_thread(self, *args: object) -> None:
        try:
            super().process_request_thread(*args)  # type: ignore[arg-type]
        finally:
            self._free.release()

    def handle_error(self, *_: object) -> None:
        """A client that went away: its business."""


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
