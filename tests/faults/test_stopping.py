"""Stopped in order: SIGTERM loses nothing and ends in time; a release goes through worker by worker."""

from __future__ import annotations

import shutil
import signal
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backupflow.adapters.db.migrate import upgrade
from backupflow.cli.processes import processes
from backupflow.cli.up import STOP_WITHIN
from backupflow.core.model import Login
from backupflow.simulator import Behaviour, Fleet, RouterSpec
from backupflow.wiring import shipped
from tests.acceptance.install import wait_for
from tests.faults.aftermath import await_current, broken
from tests.faults.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOGIN = Login("backup", "backup")
PATIENCE = 180.0
ROUTERS = {"small": 6, "soak": 30}
TURNS = {"small": 1, "soak": 5}
# In the order of docs/systemd.md: whoever stores and interprets first, whoever claims last.
ORDER = ("interpret", "ingest", "maintain", "collect-slow", "collect", "beat")
KINDS = {"small": ("ingest", "collect", "beat"), "soak": ORDER}  # each start costs a second of CPU
RUNNING = "SELECT 1 FROM collection WHERE state = 'running'"
AMISS = """
    SELECT d.name, c.seq, c.state, c.code FROM collection c JOIN device d ON d.id = c.device_id
    WHERE c.state IN ('lost', 'failed', 'blocked', 'suspect') ORDER BY c.claimed_at"""
# What a release may do to a schema that older processes use: something more, which may be left out.
NEXT = '''"""Add what nobody of before knows."""

from alembic import op

revision = "9999"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE device ADD COLUMN of_the_next_version text")
    op.execute("ALTER TABLE collection ADD COLUMN of_the_next_version integer NOT NULL DEFAULT 0")
    op.execute("CREATE TABLE of_the_next_version (id integer PRIMARY KEY)")
'''


def slow_routers(number: int) -> list[RouterSpec]:
    """Each answers after a second."""
    slow = Behaviour(answer_delay=timedelta(seconds=1))
    return [RouterSpec(f"r{one:02}", seed=one, behaviour=slow) for one in range(number)]


@pytest.fixture(scope="module")
def fleet(size: str) -> Iterator[Fleet]:
    """Routers that take their time, so that a session is open whenever somebody is stopped."""
    with Fleet(slow_routers(ROUTERS[size])) as routers:
        yield routers


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, fleet: Fleet, size: str) -> Iterator[Stack]:
    """One process of each kind, under load; each test leaves it so."""
    with Stack(tmp_path_factory.mktemp("stack"), CONFIG_BACKUP_MAX_CONCURRENT=4) as it:
        for kind in KINDS[size]:
            it.start(kind)
        it.await_alive()
        for name in fleet:
            it.add(name, fleet[name].port, LOGIN)
        it.await_rounds(list(fleet), 1, PATIENCE)
        yield it


def test_the_order_of_a_restart_leaves_nobody_out() -> None:
    """A process that is new needs its place in it."""
    assert set(ORDER) == {process.name for process in processes(4, status=False)}


@pytest.mark.timeout(900)
def test_a_rolling_restart_under_load_loses_nothing(stack: Stack, fleet: Fleet, size: str) -> None:
    """Each process in turn is stopped by SIGTERM in mid-work and started anew: all ends well, nobody is lost.

    It ends by itself in the time that a supervisor gives it, with what it has begun brought to its end.
    """
    for _ in range(TURNS[size]):
        for kind in KINDS[size]:
            for name in fleet:
                fleet[name].edit()
            wait_for(lambda: bool(stack.rows(RUNNING)), "a session to be open", PATIENCE)
            worker = next(one for one in stack.workers if one.kind == kind and one.is_alive)
            worker.signal(signal.SIGTERM)
            assert worker.wait(STOP_WITHIN.total_seconds()) == 0, worker.output()[-2000:]
            stack.await_alive(stack.start(kind))
    await_current(stack, fleet, PATIENCE)
    assert not stack.rows(AMISS)
    findings = broken(stack, fleet)
    assert not findings, "\n".join(findings)


@pytest.mark.timeout(900)
def test_processes_go_on_beside_a_schema_of_the_next_version(
    stack: Stack, fleet: Fleet, tmp_path: Path, size: str
) -> None:
    """The database is migrated under their hands: no session is lost, no row fails, every kind goes on."""
    scripts = tmp_path / "alembic"
    shutil.copytree(shipped("alembic"), scripts)
    head = stack.wiring.require_schema("reader")
    (scripts / "versions" / "9999_add_what_nobody_knows.py").write_text(NEXT.replace("{head}", head), "utf-8")
    for name in fleet:
        fleet[name].edit()
    wait_for(lambda: bool(stack.rows(RUNNING)), "a session to be open", PATIENCE)
    living = [worker for worker in stack.workers if worker.is_alive]
    try:
        assert upgrade(stack.wiring.engine("migrator"), scripts) == "9999"
        for name in fleet:
            fleet[name].edit()
        stack.await_rounds(list(fleet), 2, PATIENCE)
        await_current(stack, fleet, PATIENCE)
    finally:  # what is started after this knows of no such version
        stack.admin("UPDATE alembic_version SET version_num = :head", head=head)
    assert len(living) == len(KINDS[size])
    assert all(worker.is_alive for worker in living)
    assert not stack.rows(AMISS)
    findings = broken(stack, fleet)
    assert not findings, "\n".join(findings)
