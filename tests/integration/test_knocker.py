"""Knocking at real sockets: who answers, who refuses, who is mute, and names that are none."""

from __future__ import annotations

import contextlib
import socket
import threading
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from backupflow.adapters.knocker import AT_A_TIME, TcpKnocker
from backupflow.core.knocking import Knock
from backupflow.core.model import DeviceId

if TYPE_CHECKING:
    from collections.abc import Iterator


def knock(port: int, host: str = "127.0.0.1", seconds: float = 20.0) -> Knock:
    """Where to knock."""
    return Knock(DeviceId(uuid4()), host, port, timedelta(seconds=seconds))


@contextlib.contextmanager
def full() -> Iterator[int]:
    """A port whose queue is full: to who connects it is as if nobody were there."""
    with contextlib.ExitStack() as ends:
        listener = ends.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = ends.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_only_who_takes_the_connection_answers() -> None:
    """One that refuses has nothing to be collected, and one that is mute is waited for no longer than was said."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as closed, full() as mute:
        closed.bind(("127.0.0.1", 0))
        there = knock(server.getsockname()[1])
        others = [
            knock(closed.getsockname()[1]),
            knock(mute, seconds=0.3),
            knock(22, "a" * 300),
        ]
        assert list(TcpKnocker().answering([others[0], there, *others[1:]])) == [there.device_id]


def test_nothing_is_said_and_nothing_stays_open() -> None:
    """The other side sees a connection that ends at once."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            one, _ = server.accept()
            with one:
                heard.append(one.recv(100))

        listener = threading.Thread(target=listen)
        listener.start()
        assert TcpKnocker().answering([knock(server.getsockname()[1])])
        listener.join(20)
    assert heard == [b""]


def test_so_many_at_a_time_and_no_more() -> None:
    """All of a round are knocked at, by a bounded number of threads."""
    most = 0
    with full() as mute, socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        knocks = [knock(mute, seconds=0.2) for _ in range(AT_A_TIME + 10)] + [knock(server.getsockname()[1])]
        ended = threading.Event()

        def watch() -> None:
            nonlocal most
            while not ended.wait(0.01):
                most = max(most, sum(thread.name.startswith("knock") for thread in threading.enumerate()))

        watcher = threading.Thread(target=watch)
        watcher.start()
        assert len(TcpKnocker().answering(knocks)) == 1
        ended.set()
        watcher.join(20)
    assert 0 < most <= AT_A_TIME
    assert TcpKnocker().answering([]) == ()
