"""A process whose main thread stands still while its heart beats: it is told, and under a supervisor restarted.

In full size only; in the small one it is a worker of tests/faults/test_back_pressure.py.
"""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupflow.cli import up
from backupflow.cli.processes import processes
from backupflow.cli.revive import Reviver
from backupflow.core.model import Login
from backupflow.simulator import Fleet, RouterSpec
from tests.acceptance.install import wait_for
from tests.conftest import SIZE
from tests.faults.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGIN = Login("backup", "backup")
STANDS_STILL = Path(__file__).parent / "stuck"
DEAF_AFTER = 6
SLOTS = 4
STARTED = ("maintain", "collect", "beat")
PATIENCE = 90.0
ALARMS = "SELECT scope, detail FROM alarm WHERE code = 'process_deaf' AND cleared_at IS NULL"


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """A few healthy routers."""
    with Fleet([RouterSpec(f"r{number}", seed=number) for number in range(3)]) as routers:
        yield routers


@pytest.fixture
def stack(tmp_path: Path, fleet: Fleet) -> Iterator[Stack]:
    """Servers, and routers to collect."""
    with Stack(tmp_path, CONFIG_DEAF_AFTER=DEAF_AFTER, CONFIG_BACKUP_MAX_CONCURRENT=SLOTS) as made:
        for name in fleet:
            made.add(name, fleet[name].port, LOGIN)
        yield made


@pytest.fixture
def install(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> up.Install:
    """A supervisor and the processes of the main lane; an ingester would have nothing to say here."""
    monkeypatch.setattr(up, "STOP_WITHIN", timedelta(seconds=1))  # no wait makes a thread that stands still go on
    path = os.pathsep.join((str(STANDS_STILL), stack.environment["PYTHONPATH"]))
    made = up.Install(stack.servers, stack.wiring, {**stack.environment, "PYTHONPATH": path}, stack.seal_key)
    for process in processes(SLOTS, status=False):
        if process.name in STARTED:
            stack.servers.supervisor.start(up._program(made, process, None))
    wait_for(lambda: heard(stack, list(pids(made).values())), "them to be alive", PATIENCE)
    return made


def pids(install: up.Install) -> dict[str, int]:
    """The processes that the supervisor runs, by name."""
    found = {status.name: status.pid or 0 for status in install.servers.supervisor.status()}
    return {name: found[name] for name in STARTED}


def heard(stack: Stack, wanted: list[int]) -> bool:
    """Whether the hearts of these beat."""
    fresh = "SELECT pid FROM process WHERE pid = ANY(:wanted) AND heartbeat_at > now() - interval '5 s'"
    return len(stack.rows(fresh, wanted=wanted)) == len(wanted)


def collected(stack: Stack) -> int:
    """How many sessions began so far."""
    return int(stack.rows("SELECT count(*) AS n FROM collection WHERE started_at IS NOT NULL")[0].n)


def check_it_is_revived(stack: Stack, install: up.Install, reviver: Reviver, said: list[str], name: str) -> None:
    """Make a process stand still, and look at what becomes of it."""
    wait_for(lambda: collected(stack) > 0, "a session", PATIENCE)
    assert reviver.look() == []
    assert stack.rows(ALARMS) == []
    before, said[:] = pids(install), []
    stuck = before[name]
    os.kill(stuck, signal.SIGUSR2)
    wait_for(lambda: bool(stack.rows(ALARMS)), "the alarm", PATIENCE)
    assert [f"pid {stuck} on" in alarm.detail for alarm in stack.rows(ALARMS)] == [True]
    wait_for(lambda: heard(stack, [stuck]), "its heart to beat on", PATIENCE)
    done = collected(stack)
    assert reviver.look() == [name]
    assert [line.startswith(f"{name} is restarted: ") for line in said] == [True]
    after = pids(install)
    assert {other for other in after if after[other] != before[other]} == {name}
    assert reviver.look() == []  # its row still looks alive
    wait_for(lambda: collected(stack) > done, "a session after that", PATIENCE)
    stack.admin("UPDATE process SET heartbeat_at = now() - interval '31 s' WHERE pid = :pid", pid=stuck)
    wait_for(lambda: not stack.rows(ALARMS), "the alarm to end", PATIENCE)


if SIZE == "soak":

    @pytest.mark.timeout(600)
    def test_a_process_that_stands_still_is_told_and_restarted(stack: Stack, install: up.Install) -> None:
        """The worker of the main lane, and beat: each alone, with one line; a jump of the time restarts nobody (I9)."""
        said: list[str] = []
        reviver = Reviver(stack.servers.supervisor, stack.wiring, said.append)
        for name in ("collect", "beat"):
            check_it_is_revived(stack, install, reviver, said, name)
        before = pids(install)
        stack.admin(
            "UPDATE process SET heartbeat_at = heartbeat_at - interval '8 h', worked_at = worked_at - interval '8 h'"
        )
        stack.admin(
            "UPDATE queue_canary SET asked_at = asked_at - interval '8 h', emitted_at = emitted_at - interval '8 h'"
        )
        assert reviver.look() == []
        assert pids(install) == before
