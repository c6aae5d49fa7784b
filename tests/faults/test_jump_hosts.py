"""A jump host that is gone for a while: nobody behind it is blamed, and all of them follow when it is back."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from backupflow.core.inventory import NewDevice, Placement
from backupflow.core.jump import JUMP_HOST_DOWN
from backupflow.core.model import DeviceId, Login
from backupflow.core.scopes import NewScope, ScopeKind
from backupflow.flows import scopes
from backupflow.simulator import Behaviour, Fleet, JumpSpec, RouterSpec
from tests.acceptance.install import enrol, wait_for
from tests.faults.aftermath import await_current, broken
from tests.faults.rounds import now_there
from tests.faults.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

logger = logging.getLogger(__name__)
LOGIN, TO_JUMP_HOSTS = Login("backup", "backup"), Login("jump", "jump")
STAYS, GOES = "east", "west"
PATIENCE = 150.0
# As short as they may be, so that a jump host is tried some times within seconds.
SETTINGS: dict[str, Any] = {"CONFIG_JUMP_HOST_RETRY": 1, "CONFIG_BACKUP_INTERVAL": 4}


@dataclass(frozen=True)
class Shape:
    """How many routers behind each, how often one goes, and for how many attempts at least."""

    behind: int
    times: int
    attempts: int


SHAPES = {"small": Shape(15, 1, 2), "soak": Shape(60, 5, 6)}


@pytest.fixture
def shape(size: str) -> Shape:
    """The wanted size."""
    return SHAPES[size]


def behind(name: str, shape: Shape) -> list[str]:
    """The routers behind a jump host."""
    return [f"{name}-{number}" for number in range(1, shape.behind + 1)]


@pytest.fixture
def fleet(shape: Shape) -> Iterator[Fleet]:
    """The same private addresses behind two jump hosts; a session takes long enough to be met by what happens."""
    lasting = Behaviour(answer_delay=timedelta(seconds=0.1))
    routers = [RouterSpec(name, behaviour=lasting) for hop in (STAYS, GOES) for name in behind(hop, shape)]
    hops = [
        JumpSpec(hop, behind={(f"10.0.0.{number}", 22): name for number, name in enumerate(behind(hop, shape), 1)})
        for hop in (STAYS, GOES)
    ]
    with Fleet(routers, jump_hosts=hops) as running:
        yield running


@pytest.fixture
def stack(tmp_path: Path, fleet: Fleet, shape: Shape) -> Iterator[Stack]:
    """The whole pipeline, with those devices."""
    with Stack(tmp_path, **SETTINGS) as running:
        acts, tenant = running.wiring.scope_ports("test"), running.tenant_id
        scopes.add(acts, NewScope(ScopeKind.PROFILE, tenant, uuid4(), "jumps", {}), TO_JUMP_HOSTS)
        for hop, jump_host in fleet.jump_hosts.items():
            made = NewScope(
                ScopeKind.JUMP_HOST, tenant, uuid4(), hop, {}, "jumps", host=jump_host.host, port=jump_host.port
            )
            scopes.add(acts, made)
            for number, name in enumerate(behind(hop, shape), 1):
                place = Placement(jump=hop)
                new = NewDevice(
                    tenant, DeviceId(uuid4()), name, f"10.0.0.{number}", 22, "routeros", {}, placement=place
                )
                enrol(running.wiring, new, LOGIN)
        running.start_all()
        yield running


@pytest.mark.timeout(1200)
def test_a_jump_host_that_goes_for_a_while_is_no_devices_failure(stack: Stack, fleet: Fleet, shape: Shape) -> None:
    """No failure, no loss, one alarm; those behind the other go on, and all are stored when it is back (I9, I10)."""
    gone, stays, goes = fleet.jump_hosts[GOES], behind(STAYS, shape), behind(GOES, shape)
    stack.await_rounds([*stays, *goes], 1, PATIENCE)
    for _ in range(shape.times):
        gone.stop()
        for name in fleet:
            fleet[name].edit()
        down = now_there(stack, PATIENCE)
        wait_for(lambda: failures(stack) >= shape.attempts, "some attempts to pass it", PATIENCE)
        await_stored(stack, stays[:5], down)
        assert [row.code for row in alarms(stack)] == [JUMP_HOST_DOWN]
        back, began = now_there(stack, PATIENCE), time.monotonic()
        gone.resume()
        await_stored(stack, goes, back)
        logger.info("all %d were stored %.1f s after it was back", len(goes), time.monotonic() - began)
        assert (failures(stack), alarms(stack)) == (0, [])
    await_current(stack, fleet, PATIENCE)
    assert blamed(stack) == []
    assert broken(stack, fleet) == []
    assert fleet.jump_hosts[STAYS].stats.connections == 1


def failures(stack: Stack) -> int:
    """Of the jump host that goes, in a row."""
    return int(stack.rows("SELECT failures FROM jump_host WHERE name = :name", name=GOES)[0].failures)


def alarms(stack: Stack) -> list[Alarm]:
    """Those that stand."""
    return [Alarm(row.code, row.scope) for row in stack.rows("SELECT code, scope FROM alarm WHERE cleared_at IS NULL")]


@dataclass(frozen=True)
class Alarm:
    """Of what, and about whom."""

    code: str
    scope: str


def await_stored(stack: Stack, names: Sequence[str], since: datetime) -> None:
    """Wait until all of them were read and stored since then."""
    statement = (
        "SELECT DISTINCT d.name FROM collection c JOIN device d ON d.id = c.device_id "
        "WHERE c.state = 'stored' AND c.started_at > :since AND d.name = ANY(:names)"
    )

    def stored() -> bool:
        return len(stack.rows(statement, since=since, names=list(names))) == len(names)

    wait_for(stored, f"{len(names)} routers to be stored", PATIENCE)


def blamed(stack: Stack) -> list[str]:
    """Devices against which anything counts, and rows that failed by what is not the jump host's."""
    rows = stack.rows(
        "SELECT d.name, d.failures, d.losses, d.lane, d.blocked_code, c.seq, c.code, c.detail FROM device d "
        "LEFT JOIN collection c ON c.device_id = d.id AND c.state IN ('failed', 'blocked', 'suspect', 'lost') "
        "AND c.code <> :down WHERE d.failures > 0 OR d.losses > 0 OR d.blocked_code IS NOT NULL OR c.id IS NOT NULL",
        down=JUMP_HOST_DOWN,
    )
    return [str(row) for row in rows]
