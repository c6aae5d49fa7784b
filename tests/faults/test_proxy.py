"""The fault proxy itself: each of its modes does what it says, over loopback."""

from __future__ import annotations

import gc
import socket
import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.install import wait_for
from tests.faults.proxy import HOST, ProxyLoop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.proxy import Proxy

SECONDS = 20.0
SHORT = 0.3  # of silence: what would come had come by then, or comes later and fails the test that follows it


class Echo:
    """Answers every byte with itself; keeps what it was sent, and says how each connection ended."""

    def __init__(self) -> None:
        self.listener = socket.create_server((HOST, 0))
        self.port: int = self.listener.getsockname()[1]
        self.heard: list[bytearray] = []
        self.ends: list[str] = []
        self.open: list[socket.socket] = []
        self.threads = [threading.Thread(target=self._serve, daemon=True)]
        self.threads[0].start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.open.append(connection)
                self.heard.append(bytearray())
                thread = threading.Thread(target=self._echo, args=(connection, self.heard[-1]), daemon=True)
                self.threads.append(thread)
                thread.start()

    def _echo(self, connection: socket.socket, heard: bytearray) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    heard += data
                    connection.sendall(data)
                self.ends.append("end")
            except OSError as exc:
                self.ends.append(type(exc).__name__)

    def close(self) -> None:
        """End it all; may be called twice."""
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(SECONDS)


@pytest.fixture
def echo() -> Iterator[Echo]:
    """A server."""
    with closing(Echo()) as it:
        yield it


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    """A proxy in front of it."""
    with ProxyLoop() as loop:
        yield loop.open(HOST, echo.port)


def connect(proxy: Proxy) -> socket.socket:
    """A client's connection through the proxy."""
    return socket.create_connection((HOST, proxy.port), timeout=SECONDS)


def say(client: socket.socket, words: bytes) -> bytes:
    """Send, and give what comes back: as many bytes."""
    client.sendall(words)
    return listen(client, len(words))


def listen(client: socket.socket, count: int) -> bytes:
    """So many bytes, fewer if the end comes before."""
    heard = b""
    while len(heard) < count:
        data = client.recv(count - len(heard))
        if not data:
            break
        heard += data
    return heard


def until_reset(client: socket.socket) -> bytes:
    """What comes before the reset."""
    heard = b""
    with suppress(ConnectionResetError):
        while True:
            data = client.recv(1)
            assert data, "an orderly end"
            heard += data
    return heard


def hears_nothing(client: socket.socket) -> bool:
    """Whether neither a byte nor an end comes."""
    client.settimeout(SHORT)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(SECONDS)
    return False


def test_what_is_said_passes_unchanged_and_ends_as_its_sender_ends_it(proxy: Proxy, echo: Echo) -> None:
    """Many bytes there and back, counted; the end of one direction leaves the other open."""
    sent = bytes(range(256)) * 8_000
    with connect(proxy) as client:
        sending = threading.Thread(target=client.sendall, args=(sent,))
        sending.start()
        assert listen(client, len(sent)) == sent
        sending.join(SECONDS)
        client.shutdown(socket.SHUT_WR)
        assert listen(client, 1) == b""
    wait_for(lambda: echo.ends == ["end"], "the end at the server", SECONDS)
    assert (proxy.up, proxy.down, proxy.accepted) == (len(sent), len(sent), 1)


def test_a_cut_resets_both_sides_and_the_next_connection_works(proxy: Proxy, echo: Echo) -> None:
    """Not an orderly end: a reset, which no client takes for a complete answer."""
    with connect(proxy) as client:
        assert say(client, b"before") == b"before"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    wait_for(lambda: echo.ends == ["ConnectionResetError"], "the reset at the server", SECONDS)
    with connect(proxy) as client:
        assert say(client, b"after") == b"after"


def test_a_refusing_proxy_refuses_until_it_is_healed(proxy: Proxy) -> None:
    """The port stays its own while nobody listens there."""
    with connect(proxy) as client:
        assert say(client, b"before") == b"before"
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.pass_through()
    with connect(proxy) as client:
        assert say(client, b"after") == b"after"


def test_a_black_hole_keeps_connections_open_and_silent(proxy: Proxy, echo: Echo) -> None:
    """Old and new ones; no byte and no end gets through, and healed they are reset, for they lost bytes."""
    with connect(proxy) as old, connect(proxy) as gone, connect(proxy) as idle:
        for client in (old, gone, idle):
            assert say(client, b"before") == b"before"
        proxy.black_hole()
        old.sendall(b"lost")
        gone.close()
        with connect(proxy) as new:
            new.sendall(b"lost")
            assert hears_nothing(old)
            assert hears_nothing(new)
            assert echo.ends == []
            proxy.pass_through()
            for client in (old, new):
                with pytest.raises(ConnectionResetError):
                    client.recv(1)
        wait_for(lambda: echo.ends == ["ConnectionResetError"] * 2, "the resets at the server", SECONDS)
        assert say(idle, b"after") == b"after"
    assert {bytes(words) for words in echo.heard} == {b"before", b"beforeafter"}


def test_latency_delays_each_way_and_keeps_the_order(proxy: Proxy) -> None:
    """Twice the delay for an answer, not twice for each of many chunks."""
    proxy.latency(0.2)
    with connect(proxy) as client:
        began = time.monotonic()
        sent = b"".join(b"%06d" % number for number in range(100_000))
        sending = threading.Thread(target=client.sendall, args=(sent,))
        sending.start()
        assert listen(client, 1) == sent[:1]
        assert time.monotonic() - began >= 0.4
        assert listen(client, len(sent) - 1) == sent[1:]
        sending.join(SECONDS)


def test_a_thin_line_is_shared_by_all_connections(proxy: Proxy, echo: Echo) -> None:
    """Ten thousand bytes of two connections take the seconds that one line of that rate needs."""
    proxy.limit(10_000)
    began = time.monotonic()
    with connect(proxy) as one, connect(proxy) as other:
        for client in (one, other):
            client.sendall(b"x" * 5_000)
        for client in (one, other):
            assert listen(client, 5_000) == b"x" * 5_000
    assert time.monotonic() - began >= 0.95
    assert [len(words) for words in echo.heard] == [5_000, 5_000]


def test_a_swallowed_answer_was_asked_for_and_ends_in_a_reset(proxy: Proxy, echo: Echo) -> None:
    """The server has done it, the client never learns."""
    with connect(proxy) as client:
        assert say(client, b"before") == b"before"
        proxy.swallow_answers()
        client.sendall(b"COMMIT")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert bytes(echo.heard[0]) == b"beforeCOMMIT"
    assert proxy.swallowed == 1
    proxy.pass_through()
    with connect(proxy) as client:
        assert say(client, b"after") == b"after"


def test_answers_are_swallowed_only_after_the_words_in_their_order(proxy: Proxy) -> None:
    """Words that come in pieces count, on one connection; `times` says for how many."""
    proxy.swallow_answers(b"UPDATE", b"COMMIT", times=1)
    with connect(proxy) as first, connect(proxy) as second, connect(proxy) as third:
        assert say(first, b"COMMIT") == b"COMMIT"
        assert say(first, b"UPDA") == b"UPDA"
        assert say(first, b"TE; COMM") == b"TE; COMM"
        assert say(second, b"COMMIT") == b"COMMIT"
        first.sendall(b"IT")
        with pytest.raises(ConnectionResetError):
            first.recv(1)
        assert say(third, b"UPDATE; COMMIT") == b"UPDATE; COMMIT"
    assert proxy.swallowed == 1


@pytest.mark.parametrize("way", ["up", "down"])
def test_what_shall_happen_after_some_bytes_happens_after_exactly_those(proxy: Proxy, echo: Echo, way: str) -> None:
    """A cut in the middle of a message, at a byte of one's choice."""
    proxy.after(proxy.cut, bytes_up=7 if way == "up" else None, bytes_down=7 if way == "down" else None)
    with connect(proxy) as client:
        client.sendall(b"0123456789")
        heard = until_reset(client)
    wait_for(lambda: echo.ends != [], "the end at the server", SECONDS)
    if way == "up":
        assert bytes(echo.heard[0]) == b"0123456"
    else:
        assert heard == b"0123456"
        assert bytes(echo.heard[0]) == b"0123456789"


def test_a_server_that_is_not_there_is_a_reset(echo: Echo) -> None:
    """The proxy has accepted by then: it cannot refuse any more."""
    echo.close()
    with ProxyLoop() as loop, pytest.raises(ConnectionResetError), connect(loop.open(HOST, echo.port)) as client:
        client.recv(1)


def test_a_closed_loop_leaves_no_thread_and_no_descriptor(echo: Echo) -> None:
    """Whatever its connections did at that moment."""
    threads = threading.active_count()
    with ProxyLoop() as loop:
        proxies = [loop.open(HOST, echo.port) for _ in range(3)]
        clients = [connect(proxy) for proxy in proxies]
        for client in clients:
            assert say(client, b"hello") == b"hello"
        proxies[0].black_hole()
        proxies[1].latency(60)
        proxies[1].cut()
        clients[2].sendall(b"x")
    for client in clients:
        client.close()
    wait_for(lambda: len(echo.ends) == 3, "the ends at the server", SECONDS)
    wait_for(lambda: threading.active_count() <= threads, "the threads to end", SECONDS)


def test_a_reset_in_the_moment_of_connecting_leaves_nothing_open(echo: Echo) -> None:
    """A side that is there just then has nobody who would close it; what is left open is a warning, and fails."""
    with ProxyLoop() as loop:
        proxy = loop.open(HOST, echo.port)
        for _ in range(200):
            with socket.socket() as client:
                client.connect((HOST, proxy.port))
                proxy.cut()
    gc.collect()
