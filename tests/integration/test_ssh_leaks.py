"""What sessions leave behind: nothing, whatever happened in them."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import paramiko
import psutil
import pytest

from backupflow.adapters.ssh import SshCollector
from backupflow.core.model import HostKey, Login, Target, Timeouts
from backupflow.errors import BackupflowError, HostKeyMismatch, LoginSuspended
from backupflow.simulator import Behaviour, Fleet, RouterSpec, SimulatedRouter
from tests.integration.ssh_strange_process import CAP, strange_servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

logger = logging.getLogger(__name__)
WATCHDOG = "ssh-watchdog"
GOOD = Login("backup", "backup")
MUTE = Timeouts(banner=timedelta(seconds=0.2))
BEHAVIOURS = {
    "good": Behaviour(),
    "refused": Behaviour(refuse_login=True),
    "cut": Behaviour(cut_after=3000, export_size=100_000),
    "mute": Behaviour(mute="banner"),
    "bomb": Behaviour(export_size=200_000),
    "closed": Behaviour(listening=False),
}
EXPECTED = {
    "good": "collected",
    "refused": "authentication_failed",
    "cut": "output_truncated",
    "mute": "device_timeout",
    "bomb": "output_too_large",
    "closed": "connection_refused",
}


def outcome(router: SimulatedRouter, timeouts: Timeouts) -> str:
    """What one session comes to."""
    pinned = HostKey(router.host_key_type, router.host_key_blob)
    target = Target(router.host, router.port, pinned, legacy_ssh=False, timeouts=timeouts, max_bytes=150_000)
    try:
        with SshCollector().session(target, lambda _: None, lambda: GOOD) as session:
            session.run("/export show-sensitive")
    except BackupflowError as failure:
        return failure.code
    return "collected"


def test_the_thread_of_a_session_ends_before_its_socket_is_closed() -> None:
    """Else it could read from a number that is another session's socket by now."""
    with Fleet([RouterSpec("good"), RouterSpec("refused", behaviour=BEHAVIOURS["refused"])]) as fleet:
        for name in ("good", "refused") * 5:
            assert outcome(fleet[name], Timeouts()) == EXPECTED[name]
            assert not [thread for thread in threading.enumerate() if isinstance(thread, paramiko.Transport)]


def round_of(fleet: Fleet) -> None:
    """One session with each router, five at a time."""
    with ThreadPoolExecutor(5) as pool:
        timeouts = {name: MUTE if name == "mute" else Timeouts() for name in fleet}
        found = dict(zip(fleet, pool.map(lambda name: outcome(fleet[name], timeouts[name]), fleet), strict=True))
    assert found == EXPECTED
    assert fleet.wait_idle()


def kept() -> tuple[int, list[str]]:
    """Descriptors and threads of this process, without those that the simulator's loop makes for itself."""
    for thread in threading.enumerate():
        if thread.name == WATCHDOG:
            thread.join(10)  # it ends by itself when there is nothing to watch
    gc.collect()
    names = sorted(thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_"))
    return psutil.Process().num_fds(), names


@pytest.mark.timeout(900)
def test_sessions_leave_no_thread_descriptor_or_memory_behind(size: str) -> None:
    """Good and bad ends alike; in a soak a thousand of them."""
    rounds = 170 if size == "soak" else 8
    with Fleet([RouterSpec(name, behaviour=behaviour) for name, behaviour in BEHAVIOURS.items()]) as fleet:
        for _ in range(3):
            round_of(fleet)
        before, memory = kept(), psutil.Process().memory_info().rss
        for _ in range(rounds):
            round_of(fleet)
        assert kept() == before
        assert WATCHDOG not in before[1]
        assert psutil.Process().memory_info().rss - memory < 32 * 1024 * 1024


# --- each kind of failure ---------------------------------------------------------------------------------------------

QUICK = timedelta(seconds=0.4)  # for what never comes
KINDS: dict[str, tuple[str, dict[str, timedelta]]] = {
    "good": ("collected", {}),
    "no banner": ("device_timeout", {"banner": QUICK}),
    "garbage banner": ("device_unreachable", {}),
    "endless banner": ("device_unreachable", {}),
    "oversized packet": ("device_unreachable", {}),
    "mute after the banner": ("device_timeout", {"login": QUICK}),
    "reset in the key exchange": ("device_unreachable", {}),
    "incompatible": ("algorithms_incompatible", {}),
    "reset after the keys": ("device_unreachable", {}),
    "mute after the handshake": ("device_timeout", {"login": QUICK}),
    "login refused": ("authentication_failed", {}),
    "hangs up on the login": ("authentication_failed", {}),
    "login hangs": ("device_timeout", {"login": QUICK}),
    "channel refused": ("command_rejected", {}),
    "exec refused": ("command_rejected", {}),
    "cut": ("output_truncated", {}),
    "channel closed": ("output_truncated", {}),
    "stall": ("device_timeout", {"command": QUICK}),
    "drip": ("device_timeout", {"command": QUICK}),
    "bomb": ("output_too_large", {}),
}
# What goes wrong here, with a server that does nothing wrong.
OF_OURS = {
    "connection refused": "connection_refused",
    "host key mismatch": "host_key_mismatch",
    "another key than admit says": "host_key_mismatch",
    "admit raises": "Elsewhere",
    "login raises": "suspended",
    "body raises": "Elsewhere",
}


class Elsewhere(Exception):
    """Not of this adapter."""


def fails_here(kind: str, target: Target) -> None:
    """One session of a kind of ours with a good server."""

    def admit(_: HostKey) -> None:
        if kind == "host key mismatch":
            raise HostKeyMismatch
        if kind == "admit raises":
            raise Elsewhere

    def login() -> Login:
        if kind == "login raises":
            raise LoginSuspended
        return GOOD

    if "key" in kind:
        target = replace(target, pinned=HostKey("ssh-ed25519", b"of another time"))
    with SshCollector().session(target, admit, login):
        if kind == "body raises":
            raise Elsewhere


def ending(kind: str, port: int, key: bytes) -> str:
    """What one session of a kind comes to."""
    pinned = HostKey("ecdsa-sha2-nistp256", key)
    timeouts = {"banner": timedelta(minutes=1), **KINDS.get(kind, ("", {}))[1]}
    target = Target("127.0.0.1", port, pinned, legacy_ssh=False, timeouts=Timeouts(**timeouts), max_bytes=CAP)
    try:
        if kind in OF_OURS:
            fails_here(kind, target)
        else:
            with SshCollector().session(target, lambda _: None, lambda: GOOD) as session:
                session.run("/export")
    except BackupflowError as failure:
        return failure.code
    except Elsewhere:
        return "Elsewhere"
    return "collected"


def closed_port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else gets meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.timeout(7200)
def test_each_kind_of_failure_leaves_nothing_behind(size: str) -> None:
    """Threads and descriptors are as before after each kind, memory after all; in a soak a thousand of each."""
    number, at_once, may_grow = (1000, 12, 24 * 1024 * 1024) if size == "soak" else (3, 4, 16 * 1024 * 1024)
    expected = {**{kind: code for kind, (code, _) in KINDS.items()}, **OF_OURS}
    process = psutil.Process()
    with strange_servers(tuple(KINDS)) as (ports, key), contextmanager(closed_port)() as refusing:
        where = {**dict.fromkeys(OF_OURS, ports["good"]), "connection refused": refusing, **ports}

        def play(kind: str, times: int) -> Counter[str]:
            with ThreadPoolExecutor(at_once) as pool:
                return Counter(pool.map(lambda _: ending(kind, where[kind], key), range(times)))

        for kind in expected:
            play(kind, at_once)  # what is made once is no leak
        before, memory = kept(), process.memory_info().rss
        for kind, code in expected.items():
            began, was = time.monotonic(), process.memory_info().rss
            assert play(kind, number) == {code: number}, kind
            assert kept() == before, kind
            now = process.memory_info().rss
            took = time.monotonic() - began
            logger.info(
                "%s: %d in %.1f s, %d threads, %d descriptors, %+d kB of %d kB",
                kind,
                number,
                took,
                len(before[1]),
                before[0],
                (now - was) // 1024,
                now // 1024,
            )
        assert process.memory_info().rss - memory < may_grow


def test_fifty_sessions_at_once_end_as_each_should(size: str) -> None:
    """One process, one watchdog; the slow ones hold up nobody."""
    number = 200 if size == "soak" else 50
    specs = [RouterSpec(f"r{n}", behaviour=Behaviour(export_size=60_000)) for n in range(number)]
    specs += [RouterSpec(f"mute{n}", behaviour=Behaviour(mute="banner")) for n in range(5)]
    with Fleet(specs) as fleet:
        with ThreadPoolExecutor(50) as pool:
            timeouts = {name: MUTE if name.startswith("mute") else Timeouts(banner=timedelta(60)) for name in fleet}
            found = Counter(pool.map(lambda name: outcome(fleet[name], timeouts[name]), fleet))
        assert found == {"collected": number, "device_timeout": 5}
        assert WATCHDOG not in kept()[1]


def _in_child(host: str, port: int, answer: Connection) -> None:
    target = Target(host, port, None, legacy_ssh=False, timeouts=MUTE)
    try:
        with SshCollector().session(target, lambda _: None, lambda: GOOD):
            answer.send("in")
    except BackupflowError as failure:
        answer.send(failure.code)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_a_watchdog_of_its_own() -> None:
    """The thread of the parent does not come along; a child that leaned on it would wait for ever."""
    with Fleet([RouterSpec("mute", behaviour=BEHAVIOURS["mute"])]) as fleet:
        router = fleet["mute"]
        assert outcome(router, MUTE) == "device_timeout"
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        child = context.Process(target=_in_child, args=(router.host, router.port, there))
        child.start()
        try:
            assert here.poll(30)
            assert here.recv() == "device_timeout"
        finally:
            child.join(30)
            child.close()
            here.close()
            there.close()


@pytest.mark.parametrize("fails", ["admit", "login", "body"])
def test_what_fails_outside_of_ssh_closes_the_session_too(fails: str) -> None:
    """A database that is down, a vault that is sealed, a flow that gives up: the error passes, the connection ends."""

    def here(place: str) -> Callable[..., None]:
        def fail(*_: object) -> None:
            if fails == place:
                raise Elsewhere

        return fail

    def login() -> Login:
        here("login")()
        return GOOD

    with Fleet([RouterSpec("r1")]) as fleet:
        router = fleet["r1"]
        target = Target(router.host, router.port, None, legacy_ssh=False, timeouts=Timeouts())
        before = kept()
        with pytest.raises(Elsewhere), SshCollector().session(target, here("admit"), login):
            here("body")()
        assert fleet.wait_idle()
        assert kept()[0] == before[0]
