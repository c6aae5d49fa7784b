"""Networks between the pipeline and its servers that fail in every way: it resumes, nothing is lost or doubled."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import TYPE_CHECKING

import pytest

from backupflow.core.model import Login
from backupflow.errors import BackupflowError, Verdict
from backupflow.simulator import Behaviour, Fleet, RouterSpec
from tests.acceptance.install import wait_for
from tests.faults.aftermath import await_current, broken
from tests.faults.disasters import redeliver_after
from tests.faults.stack import Proxy, Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

LOGIN = Login("backup", "backup")
ROUTERS = 6
PATIENCE = 150.0
ACK_WAIT = 4.0  # seconds after which what was fetched and not acknowledged is delivered again
LATENCY = 0.04  # seconds each way: a claim or a fence makes some fifteen round trips, one after the other
THIN = 24_000  # bytes a second: some thirty collections a minute take half of it
CUT_EVERY = 0.25  # seconds


def cut(lines: Sequence[Proxy], seconds: float) -> None:
    """Again and again."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for line in lines:
            line.cut()
        time.sleep(CUT_EVERY)


def held(change: Callable[[Proxy], None]) -> Callable[[Sequence[Proxy], float], None]:
    """A mode that lasts."""

    def hold(lines: Sequence[Proxy], seconds: float) -> None:
        for line in lines:
            change(line)
        time.sleep(seconds)

    return hold


BREAKS = {"cut": cut, "refuse": held(Proxy.refuse), "half_open": held(Proxy.black_hole)}
SLOWS = {
    "latency": held(lambda line: line.latency(LATENCY)),
    "thin_line": held(lambda line: line.limit(THIN)),
}
SERVERS = ("postgres", "redis", "nats", "openbao")


@dataclass(frozen=True)
class Shape:
    """Which faults, and for how many seconds each."""

    faults: tuple[tuple[str, str], ...]
    seconds: float


SHAPES = {
    "small": Shape(
        (
            ("postgres", "half_open"),
            ("nats", "cut"),
            ("redis", "refuse"),
            ("openbao", "half_open"),
            ("postgres", "latency"),
        ),
        2.5,
    ),
    "soak": Shape(tuple(product(SERVERS, (*BREAKS, *SLOWS))), 12.0),
}


@dataclass
class Lines:
    """The proxies of each server, and the three that swallow an answer."""

    of: dict[str, list[Proxy]]
    fence: Proxy
    publish: Proxy
    store: Proxy

    @contextmanager
    def under(self, server: str, fault: str, seconds: float) -> Iterator[None]:
        """Let a fault last that long, and then as long as the context does."""
        try:
            (BREAKS | SLOWS)[fault](self.of[server], seconds)
            yield
        finally:
            for line in self.of[server]:
                line.pass_through()


@pytest.fixture
def shape(size: str) -> Shape:
    """The wanted size."""
    return SHAPES[size]


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """Routers whose sessions take long enough to be met by a fault."""
    behaviour = Behaviour(answer_delay=timedelta(seconds=0.3))
    with Fleet([RouterSpec(f"r{number}", seed=number, behaviour=behaviour) for number in range(ROUTERS)]) as all_:
        yield all_


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """Servers and proxies, no process."""
    with Stack(tmp_path) as it:
        redeliver_after(it, ACK_WAIT)
        yield it


@pytest.fixture
def lines(stack: Stack) -> Lines:
    """Every process, of which collector and ingester have lines of their own that swallow one answer each."""
    servers = stack.servers.addresses
    assert servers.postgres
    assert servers.nats
    fence, store = (stack.proxying.open(servers.postgres.host, servers.postgres.port) for _ in range(2))
    publish = stack.proxying.open(servers.nats.host, servers.nats.port)
    fence.swallow_answers(b"UPDATE collection SET state = 'published'", b"COMMIT", times=1)
    store.swallow_answers(b"UPDATE collection SET state = 'stored'", b"COMMIT", times=1)
    publish.swallow_answers(b"PUB config.snapshot.create.", times=1)
    for kind in ("maintain", "collect-slow", "beat"):
        stack.start(kind)
    stack.start("collect", **stack.through("postgres", fence), **stack.through("nats", publish))
    stack.start("ingest", **stack.through("postgres", store))
    stack.await_alive()
    of = {server: [stack.proxies[server]] for server in SERVERS}
    of["postgres"] += [fence, store]
    of["nats"] += [publish]
    return Lines(of, fence, publish, store)


@pytest.mark.timeout(1800)
def test_whatever_networks_do_the_history_stays_true_and_resumes_by_itself(
    stack: Stack, lines: Lines, fleet: Fleet, shape: Shape
) -> None:
    """Unknown outcomes of the fence, of a publish and of a store; then cuts, silence, refusals and slow lines (I1-I10).

    Nothing of it counts against a router.
    """
    for name in fleet:
        stack.add(name, fleet[name].port, LOGIN)
    swallowing = {"fence": lines.fence, "publish": lines.publish, "store": lines.store}
    wait_for(lambda: all(line.swallowed for line in swallowing.values()), "three unknown outcomes", PATIENCE)
    for server, fault in shape.faults:
        for name in fleet:
            fleet[name].edit()
        with lines.under(server, fault, shape.seconds):
            if fault in SLOWS:  # slow is not broken: it works all the same
                await_current(stack, fleet, PATIENCE)
        await_moving(stack, fleet, f"{server} {fault}")
    await_current(stack, fleet, PATIENCE)
    wait_for(lambda: not gone_in_silence(stack), "the end of what was fenced and never published", PATIENCE)
    assert [line.swallowed for line in swallowing.values()] == [1, 1, 1]
    assert held_against_routers(stack) == []
    assert broken(stack, fleet) == []
    assert (
        stack.admin("SELECT subject, reason FROM quarantine") == []
    )  # what was stored and not acknowledged came again
    everything = [worker for worker in stack.workers if not worker.is_alive]
    assert everything == [], [worker.output()[-2000:] for worker in everything]


def await_moving(stack: Stack, fleet: Fleet, what: str) -> None:
    """Wait until some router was collected and stored from now on; others may wait for the end of a lease."""
    before = stored(stack)
    wait_for(lambda: stored(stack) > before, f"work to go on after {what}", PATIENCE)


def stored(stack: Stack) -> int:
    """How many observations are stored."""
    return int(stack.rows("SELECT count(*) AS n FROM collection WHERE state = 'stored'")[0].n)


def gone_in_silence(stack: Stack) -> list[int]:
    """Rows that passed the fence long ago, and nobody has said what became of them."""
    rows = stack.rows(
        "SELECT id FROM collection WHERE state = 'published' AND collected_at < clock_timestamp() - interval '10 s'"
    )
    return [row.id for row in rows]


def held_against_routers(stack: Stack) -> list[str]:
    """Failures that are no fault of any router, and were counted as one."""
    ours = [kind.code for kind in every_kind(BackupflowError) if kind.verdict is Verdict.PAUSE]
    rows = stack.rows(
        "SELECT d.name, c.seq, c.state, c.code, c.detail, d.failures FROM collection c "
        "JOIN device d ON d.id = c.device_id WHERE c.state IN ('failed', 'blocked', 'suspect') AND c.code <> ALL(:ours)"
        " OR d.failures > 0",
        ours=ours,
    )
    return [str(row) for row in rows]


def every_kind(of: type[BackupflowError]) -> Iterator[type[BackupflowError]]:
    """A class and all below it."""
    yield of
    for kind in of.__subclasses__():
        yield from every_kind(kind)
