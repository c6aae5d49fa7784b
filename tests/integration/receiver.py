"""A receiver of events on the loopback: it notes what it is sent byte for byte, and answers as it is told to."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True)
class Posted:
    """One request."""

    line: str
    headers: dict[str, str]  # names in lower case
    body: bytes


@dataclass
class Web:
    """A running receiver. `answers` are given in turn, the last one for ever; what is none is told the connection."""

    port: int
    answers: list[bytes | Callable[[socket.socket], None]] = field(default_factory=lambda: [OK])
    posted: list[Posted] = field(default_factory=list)
    connections: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}/events?of=backupflow"

    def answer(self) -> bytes | Callable[[socket.socket], None]:
        """The next one."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def status(code: int, *headers: str, text: str = "") -> bytes:
    """An answer of a few words."""
    lines = [f"HTTP/1.1 {code} Word", f"Content-Length: {len(text)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + text).encode()


@contextmanager
def receiver(context: ssl.SSLContext | None = None) -> Iterator[Web]:
    """Listen on a free port; one thread a connection, all gone at the end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        web = Web(listening.getsockname()[1])
        threads: list[threading.Thread] = []

        def listen() -> None:
            while not web.over.is_set():
                with suppress(OSError):
                    accepted, _ = listening.accept()
                    threads.append(threading.Thread(target=_serve, args=(web, accepted, context), daemon=True))
                    threads[-1].start()

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield web
        finally:
            web.over.set()
            listening.shutdown(socket.SHUT_RDWR)
            for one in (thread, *threads):
                one.join(30)


def _serve(web: Web, accepted: socket.socket, context: ssl.SSLContext | None) -> None:
    web.connections += 1
    with suppress(OSError), accepted:
        connection = context.wrap_socket(accepted, server_side=True) if context else accepted
        with connection:
            posted = _read(connection)
            if posted is None:
                return
            web.posted.append(posted)
            answer = web.answer()
            if isinstance(answer, bytes):
                connection.sendall(answer)
            else:
                answer(connection)


def _read(connection: socket.socket) -> Posted | None:
    got = b""
    while b"\r\n\r\n" not in got:
        piece = connection.recv(65_536)
        if not piece:
            return None
        got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    line, *rest = head.decode("ascii").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in rest)}
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65_536)
    return Posted(line, headers, body)
