"""The HTTP server of a process, asked over real connections."""

from __future__ import annotations

import http.client
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backupflow.cli.probing import ask
from backupflow.core.health import Answer
from backupflow.tasks import endpoint
from backupflow.tasks.endpoint import AT_ONCE, Endpoint
from backupflow.telemetry import metrics
from tests.acceptance.install import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backupflow.tasks.health import Health

HOST = "127.0.0.1"
PATIENCE = 20.0


class Said:
    """What a process says of itself."""

    def __init__(self) -> None:
        self.well = True

    def live(self) -> Answer:
        """Of its life."""
        return Answer(well=True, says="alive")

    def ready(self) -> Answer:
        """Of its work."""
        return Answer(self.well, "ready" if self.well else "not ready: it waits for the broker")


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Said, int]]:
    """An endpoint that serves for all tests."""
    process = Said()
    endpoint = Endpoint(HOST, 0, cast("Health", process))
    endpoint.start()
    yield process, endpoint.port(PATIENCE)
    endpoint.stop()


@pytest.fixture
def said(served: tuple[Said, int]) -> Said:
    """Its process, which is well."""
    served[0].well = True
    return served[0]


@pytest.fixture
def port(served: tuple[Said, int], said: Said) -> int:
    """Its port, with no connection left of another test."""
    wait_for(lambda: ask(HOST, served[1], "ready") == (True, "ready"), "an answer", PATIENCE)
    return served[1]


def get(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, str, bytes]:
    """Status, type and body."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()
    finally:
        connection.close()


def test_the_reason_comes_with_the_status_a_probe_understands(port: int, said: Said) -> None:
    """200 or 503, and one line of text."""
    assert get(port, "/ready") == (200, "text/plain; charset=utf-8", b"ready\n")
    said.well = False
    assert get(port, "/ready") == (503, "text/plain; charset=utf-8", b"not ready: it waits for the broker\n")
    assert get(port, "/live")[0] == 200


def test_metrics_are_what_prometheus_reads(port: int) -> None:
    """Names, types and values, by the parser of its own library."""
    metrics.BACKUPS.labels("success").inc(0)
    status, kind, body = get(port, "/metrics")
    found = {family.name: family for family in text_string_to_metric_families(body.decode())}
    assert (status, kind.startswith("text/plain; version=")) == (200, True)
    assert found["config_backup"].type == "counter"
    assert found["process_cpu_seconds"].samples[0].value > 0


def test_what_asks_for_openmetrics_gets_it(port: int) -> None:
    """As Prometheus does, which then stores the exact types."""
    status, kind, body = get(port, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert (status, kind.startswith("application/openmetrics-text")) == (200, True)
    assert body.endswith(b"# EOF\n")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/../secrets", 404), ("POST", "/ready", 501), ("DELETE", "/live", 501)],
)
def test_nothing_else_is_answered(port: int, method: str, path: str, status: int) -> None:
    """It takes no orders and has no files."""
    assert get(port, path, method)[0] == status


def test_a_head_has_no_body(port: int) -> None:
    """RFC 9110, section 9.3.2."""
    assert get(port, "/ready", "HEAD") == (200, "text/plain; charset=utf-8", b"")


def test_noise_and_silence_hurt_nobody_else(port: int) -> None:
    """A probe is answered at once, however many hold a connection and say a byte now and then."""
    with ExitStack() as ends:
        held = [ends.enter_context(socket.create_connection((HOST, port), PATIENCE)) for _ in range(AT_ONCE)]
        for one in held:
            one.sendall(b"G")
        with socket.create_connection((HOST, port), PATIENCE) as noisy:
            noisy.sendall(b"\x16\x03\x01\x00\xee not HTTP at all\r\n\r\n")
        for _ in range(2 * AT_ONCE):
            assert ask(HOST, port, "live") == (True, "alive")


def test_no_more_are_served_at_once_than_there_are_places(port: int) -> None:
    """A flood of connections makes no flood of threads: who holds a place longest is hung up on."""
    with ExitStack() as ends:
        held = [ends.enter_context(socket.create_connection((HOST, port), PATIENCE)) for _ in range(AT_ONCE + 1)]
        held[0].settimeout(2.0)  # less than a place is held by one who says nothing
        assert _is_hung_up(held[0].recv)
        held[-1].sendall(b"GET /live HTTP/1.0\r\n\r\n")
        assert held[-1].recv(12) == b"HTTP/1.0 200"


def test_a_place_is_one_thread_and_those_who_are_hung_up_on_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose threads do not end, since they are at an answer, take no more of them than twice the places."""
    places, pairs = endpoint._Places(), [socket.socketpair() for _ in range(2 * AT_ONCE + 1)]
    taken = [places.take(one) for one, _ in pairs]
    assert taken == [True] * (2 * AT_ONCE) + [False]
    places.give_back(pairs[0][0])
    assert places.take(pairs[-1][0])
    for pair in pairs:
        for one in pair:
            one.close()


def test_a_request_has_one_deadline(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then does not buy more time, as it would if each read had its own."""
    monkeypatch.setattr(endpoint, "ANSWER_SECONDS", 1.0)
    served = Endpoint(HOST, 0, cast("Health", said))
    served.start()
    with socket.create_connection((HOST, served.port(PATIENCE)), PATIENCE) as slow:
        slow.settimeout(0.3)  # less than a read may take
        assert any(_says_a_byte_and_is_hung_up_on(slow) for _ in range(20))
    served.stop()


def _says_a_byte_and_is_hung_up_on(slow: socket.socket) -> bool:
    try:
        slow.sendall(b"G")
        return slow.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize(
    ("address", "here"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True), ("fe80::1%eth0", False),
     ("10.0.0.1", False), ("::ffff:10.0.0.1", False)],
)  # fmt: skip
def test_probes_of_this_machine_have_places_of_their_own(address: str, here: bool) -> None:
    """Whatever comes over a network takes none of them."""
    assert endpoint.is_here(address) is here
    server = endpoint._Server((HOST, 0), {})
    with server:
        assert (server._places((address, 1)) is server._places((HOST, 1))) is here


def _is_hung_up(receive: Callable[[int], bytes]) -> bool:
    try:
        return receive(1) == b""
    except ConnectionResetError:
        return True


def test_an_address_that_is_taken_is_tried_again(said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may still hold it: collecting goes on meanwhile, and it answers as soon as it can."""
    monkeypatch.setattr(endpoint, "BIND_AGAIN_SECONDS", 0.05)
    with socket.create_server((HOST, 0)) as other:
        taken = other.getsockname()[1]
        served = Endpoint(HOST, taken, cast("Health", said))
        served.start()
        with pytest.raises(TimeoutError):
            served.port(0.3)
    assert served.port(PATIENCE) == taken
    assert ask(HOST, taken, "live") == (True, "alive")
    served.stop()


def test_a_probe_says_why_it_got_no_answer() -> None:
    """One line, whatever listens there, or nothing does."""
    with socket.create_server((HOST, 0)) as mute:
        port = mute.getsockname()[1]
    assert ask(HOST, port, "ready") == (False, f"no answer from {HOST}:{port}: Connection refused")
