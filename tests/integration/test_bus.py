"""The bus on a real NATS server: what is stored, what is refused, and what happens when the server goes away."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sysconfig
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psutil
import pytest

from backupflow.adapters.bus import BATCH_BYTES, Bus, BusLogin
from backupflow.core.message import SnapshotMessage, decode, encode
from backupflow.core.model import CollectionId, ContentHash, DeviceId, SealedConfig, Seq, TenantId
from backupflow.errors import BusUnavailable, OutputTooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backupflow.core.ports import BusGauge, Inbox, Publisher

MIB = 1024 * 1024
PASSWORD = "a-password-of-the-test"
CONFIG = """
listen: "127.0.0.1:{port}"
max_payload: {max_payload}
jetstream {{ store_dir: "{store}" }}
authorization {{ users: [ {{ user: "all", password: "{password}" }} ] }}
"""


class NatsServer:
    """A server of the test's own, that can be killed, stopped and started again on the same port and store."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._config = folder / "nats.conf"
        text = CONFIG.format(port=self.port, max_payload=8 * MIB, store=folder / "store", password=PASSWORD)
        self._config.write_text(text)
        self._binary = Path(sysconfig.get_path("scripts")) / "nats-server"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Run it and wait until it answers."""
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen([str(self._binary), "-c", str(self._config)], stdout=quiet, stderr=quiet)
        wait_for(self._greets)

    def stop(self) -> None:
        """SIGSTOP; returns when each of its threads stands still, since until then one may still answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        threads = Path(f"/proc/{self._process.pid}/task")
        wait_for(
            lambda: all(
                (thread / "stat").read_text().rsplit(")", 1)[1].split()[0] == "T" for thread in threads.iterdir()
            )
        )

    def go_on(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, whatever state it is in."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _greets(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            return b'"jetstream":true' in connection.recv(4096)
        return False

    def bus(self, *, password: str = PASSWORD, seconds: float = 1.0, max_bytes: int = 200 * MIB) -> Bus:
        """A client of this server."""
        login = BusLogin("all", password)
        return Bus(f"nats://127.0.0.1:{self.port}", login, timeout=timedelta(seconds=seconds), max_bytes=max_bytes)


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it never came to pass"
        time.sleep(0.02)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """Run a server for one test."""
    server = NatsServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def bus(server: NatsServer) -> Iterator[Bus]:
    """A bus with stream and consumer."""
    bus = server.bus()
    assert bus.make_sure()
    yield bus
    bus.close()


def message(size: int = 100, seq: int = 1) -> SnapshotMessage:
    """One observation of a new device, with a sealed text of that size."""
    sealed = SealedConfig("vault:v1:" + "A" * size)
    ids = (TenantId(uuid4()), DeviceId(uuid4()), CollectionId(seq), Seq(seq))
    return SnapshotMessage(*ids, 1, ContentHash(b"h" * 32), sealed)


def drain(bus: Bus) -> list[SnapshotMessage]:
    """Fetch and acknowledge everything."""
    got = []
    while deliveries := bus.fetch():
        for delivery in deliveries:
            got.append(decode(delivery.payload))
            bus.acknowledge(delivery)
    return got


def test_the_bus_is_what_the_flows_ask_for(bus: Bus) -> None:
    """Publisher, Inbox and BusGauge, as mypy sees them."""
    publisher: Publisher = bus
    inbox: Inbox = bus
    gauge: BusGauge = bus
    assert publisher.publish(message())
    assert not inbox.drained()
    assert gauge.room() < 200 * MIB


def test_what_was_published_arrives_as_it_was(bus: Bus) -> None:
    """A message comes back whole, under its device's subject, and is gone when it was acknowledged."""
    sent = message(size=6000)
    assert bus.publish(sent)
    (delivery,) = bus.fetch()
    assert decode(delivery.payload) == sent
    assert delivery.subject == f"config.snapshot.create.{sent.device_id}"
    assert delivery.deliveries == 1
    assert not bus.drained()
    bus.acknowledge(delivery)
    assert bus.drained()
    assert bus.status().messages == 0


def test_a_stream_that_is_never_empty_is_done_with_up_to_a_number(bus: Bus) -> None:
    """What was there before is told from what came since, also if it was acknowledged out of order."""
    assert bus.newest() == 0
    for _ in range(2):
        assert bus.publish(message())
    (first, second), newest = bus.fetch(), bus.newest()
    assert bus.publish(message())
    bus.acknowledge(second)
    assert (newest, bus.drained(newest)) == (2, False)
    bus.acknowledge(first)
    assert (bus.drained(newest), bus.drained(bus.newest()), bus.drained()) == (True, False, False)


def pub(subject: bytes, headers: bytes = b"") -> bytes:
    """The line of a publish, with the payload `junk`."""
    if headers:
        return b"HPUB %s %d %d\r\n%sjunk\r\n" % (subject, len(headers), len(headers) + 4, headers)
    return b"PUB %s 4\r\njunk\r\n" % subject


def hostile(server: NatsServer, *lines: bytes) -> None:
    """Publish by hand what no client of ours would."""
    login = b'{"user": "all", "pass": "%s", "headers": true, "verbose": false}' % PASSWORD.encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.recv(4096)
        connection.sendall(b"CONNECT " + login + b"\r\n" + b"".join(lines) + b"PING\r\n")
        assert connection.recv(4096).endswith(b"PONG\r\n")


@pytest.mark.parametrize(
    "line",
    [
        pub(b"config.snapshot.create.a\xff\xfeb"),
        pub(b"config.snapshot.create.a\x00b"),
        pub(b"config.snapshot.create.a", b"NATS/1.0 \xff\xfe\xff\r\n\r\n"),
        pub(b"config.snapshot.create.a", b"NATS/1.0\r\n\xff\xfe: \xff\r\n\r\n"),
        pub(b"config.snapshot.create.a", b"NATS/1.0\r\n\r\n"),
        pub(b"config.snapshot.create.a", b"NATS/1.0"),
    ],
    ids=["subject", "nul", "status", "header", "no-header", "short"],
)
def test_whatever_is_published_is_delivered_and_holds_up_nobody(server: NatsServer, bus: Bus, line: bytes) -> None:
    """A subject or header that is not UTF-8 must not make the consumer deaf: what came with it arrives too (I9)."""
    first, second = message(), message()
    assert bus.publish(first)
    hostile(server, line)
    assert bus.publish(second)
    payloads = []
    while deliveries := bus.fetch():
        for delivery in deliveries:
            payloads.append(delivery.payload)
            bus.acknowledge(delivery)
    assert payloads == [encode(first), b"junk", encode(second)]
    assert bus.drained()


def test_a_repeated_publish_is_stored_once(bus: Bus) -> None:
    """The same observation again, as after a time-out, is no second message."""
    sent = message()
    assert bus.publish(sent)
    assert bus.publish(sent)
    assert bus.status().messages == 1


def test_threads_share_one_connection(bus: Bus) -> None:
    """What ten threads publish at once arrives, each exactly once, through one more thread."""
    before = [thread.name for thread in threading.enumerate()].count("bus")
    sent = [message() for _ in range(200)]
    with ThreadPoolExecutor(10) as pool:
        assert all(pool.map(bus.publish, sent))
    assert sorted(str(got.device_id) for got in drain(bus)) == sorted(str(one.device_id) for one in sent)
    assert [thread.name for thread in threading.enumerate()].count("bus") == before


def test_a_batch_is_bounded_in_bytes(bus: Bus) -> None:
    """However large the messages are, a batch stays within its bytes, and all of them come."""
    for _ in range(11):
        assert bus.publish(message(size=7 * MIB))
    sizes = []
    while deliveries := bus.fetch():
        sizes.append(sum(len(delivery.payload) for delivery in deliveries))
        for delivery in deliveries:
            bus.acknowledge(delivery)
    assert len(sizes) > 1
    assert max(sizes) <= BATCH_BYTES
    assert bus.drained()


def test_a_full_stream_refuses_and_keeps_what_it_has(server: NatsServer) -> None:
    """Without room a publish is refused for certain; nothing that was stored is dropped."""
    bus = server.bus(max_bytes=4 * MIB)
    bus.make_sure()
    sent = [message(size=MIB) for _ in range(3)]
    assert all(bus.publish(one) for one in sent)
    assert bus.room() < 2 * MIB
    with pytest.raises(BusUnavailable, match="maximum bytes exceeded"):
        bus.publish(message(size=2 * MIB))
    assert drain(bus) == sent
    assert bus.publish(message(size=2 * MIB))
    bus.close()


def test_a_message_that_is_too_large_is_refused_with_its_size(bus: Bus) -> None:
    """What the server would cut the connection for is not sent; the connection lives on."""
    for size in (8 * MIB, 8 * MIB - 700, 9 * MIB):
        with pytest.raises(OutputTooLarge, match=r"a message of \d+ bytes is more than the bus takes at once"):
            bus.publish(message(size=size))
    assert bus.publish(message(size=8 * MIB - 2000))
    assert bus.status().messages == 1


def test_without_a_stream_everything_says_so(server: NatsServer) -> None:
    """A missing stream is a definite refusal for the publisher, and no empty queue for the others."""
    bus = server.bus()
    for ask in (lambda: bus.publish(message()), bus.fetch, bus.drained, bus.room):
        with pytest.raises(BusUnavailable):
            ask()
    assert bus.make_sure()
    assert not bus.make_sure()
    assert bus.publish(message())
    bus.close()


def test_a_delivery_that_is_put_off_comes_later(bus: Bus) -> None:
    """What cannot be handled now comes again, not before its time, and counts as delivered twice."""
    bus.publish(message())
    (delivery,) = bus.fetch()
    started = time.monotonic()
    bus.later(delivery, timedelta(seconds=1))
    assert not bus.drained()
    again = None
    while again is None:
        again = next(iter(bus.fetch()), None)
    assert time.monotonic() - started >= 1.0
    assert (again.deliveries, again.stream_seq) == (2, delivery.stream_seq)


def test_nothing_is_kept_for_later_while_the_server_is_down(server: NatsServer, bus: Bus) -> None:
    """A publish without a server is refused for certain, and does not arrive when the server is back."""
    stored = message()
    assert bus.publish(stored)
    server.kill()
    wait_for(lambda: not reachable(bus))  # before the client has noticed, the outcome is unknown
    for _ in range(2):
        with pytest.raises(BusUnavailable):
            bus.publish(message())
    server.start()
    wait_for(lambda: reachable(bus))
    assert drain(bus) == [stored]


def reachable(bus: Bus) -> bool:
    """Whether the stream answers."""
    with contextlib.suppress(BusUnavailable):
        return bus.room() > 0
    return False


def test_a_mute_server_makes_the_outcome_unknown(server: NatsServer, bus: Bus) -> None:
    """Without an answer nobody knows; what arrives after all arrives once."""
    sent = message()
    server.stop()
    try:
        assert not bus.publish(sent)
    finally:
        server.go_on()
    wait_for(lambda: reachable(bus))
    assert drain(bus) == [sent]


def test_a_killed_server_costs_no_stored_message(server: NatsServer, bus: Bus) -> None:
    """After kill -9 the same bus goes on by itself, and delivers what was not acknowledged."""
    sent = [message() for _ in range(5)]
    assert all(bus.publish(one) for one in sent)
    server.kill()
    server.start()
    wait_for(lambda: reachable(bus))
    assert drain(bus) == sent
    assert bus.publish(message())


def test_a_refused_login_says_so_without_the_password(server: NatsServer) -> None:
    """A wrong password is told apart from a server that is gone, and is not in the text."""
    bus = server.bus(password="wrong-but-secret")
    with pytest.raises(BusUnavailable, match=r"(?i)authorization violation") as refused:
        bus.room()
    assert "wrong-but-secret" not in str(refused.value)
    bus.close()


def test_close_gives_everything_back(server: NatsServer) -> None:
    """Closing ends the thread and the descriptors, with and without a server; the next call begins anew."""
    process = psutil.Process()
    before, threads = process.num_fds(), set(threading.enumerate())
    bus = server.bus()
    bus.make_sure()
    bus.fetch()
    bus.close()
    assert bus.publish(message())
    server.kill()
    bus.close()
    lonely = server.bus(seconds=0.3)
    with pytest.raises(BusUnavailable):
        lonely.room()
    lonely.close()
    lonely.close()
    assert process.num_fds() == before
    assert set(threading.enumerate()) <= threads


def test_a_forked_child_opens_its_own(bus: Bus) -> None:
    """A child does not speak through its parent's connection."""
    assert bus.publish(message())
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            status = 0 if bus.publish(message()) else 1
        os._exit(status)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert bus.publish(message())
    assert bus.status().messages == 3
