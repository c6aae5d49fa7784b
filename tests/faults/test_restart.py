"""Everything that waits, over a death of everything: nothing comes early, and nothing is forgotten."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from backupflow.core.inventory import NewDevice, Placement
from backupflow.core.model import DeviceId, Login
from backupflow.core.scopes import NewScope, ScopeKind
from backupflow.flows import scopes
from backupflow.simulator import Fleet, RouterSpec
from backupflow.simulator.spec import Login as Account
from tests.acceptance.install import Install, enrol, wait_for
from tests.integration.db.fleet import Fleet as Ledger
from tests.integration.db.virtual_time import VirtualTime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 120.0
RIGHT, WRONG = Login("backup", "backup"), Login("backup", "something else")
CROWD = [f"crowd-{number}" for number in range(6)]
ALONE = ["healthy", "refuses", "away", "paused", "turned"]
# How it stands, in one row; times that were set once must be the same after any restart.
STANDS = """
    SELECT d.name, d.status, d.paused_reason, d.blocked_code, d.blocked_at, d.failures, d.next_due_at, d.login_on,
        d.refused_on, d.refused_at, l.suspended_at, l.trial_at, l.trials, l.next_changed_at IS NOT NULL AS rotates
    FROM device d LEFT JOIN credential_profile l ON l.id = d.credential_profile_id
    WHERE d.name <> 'healthy' ORDER BY d.name"""


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """Routers; one of them has its next password already."""
    turned = RouterSpec("turned", logins=(Account("backup", "the next one"),))
    with Fleet([*(RouterSpec(name) for name in [*ALONE, *CROWD] if name != "turned"), turned]) as running:
        yield running


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    """`backupflow up`, with first runs at once."""
    made = Install(tmp_path, CONFIG_BACKUP_SPREAD_FROM=0, CONFIG_BACKUP_SPREAD_TO=0)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.mark.timeout(600)
def test_what_waits_goes_on_waiting_over_a_restart(install: Install, fleet: Fleet) -> None:
    """Blocked, backing off, paused, suspended, half rotated: kill -9 of all changes nothing of it, time alone does."""
    _enrol(install, fleet)
    wait_for(lambda: _settled(install), "every device to stand as it should", PATIENCE)
    ledger = _ledger(install)
    time = VirtualTime(ledger)
    before, met = install.rows(STANDS), _connections(fleet)
    install.wiring.close()
    install.kill_all()
    install.start()
    _await_rounds(install, 3)
    assert install.rows(STANDS) == before
    assert _connections(fleet) == met

    time.forward(timedelta(minutes=8))  # the first wait after a failure, and that between two logins, are over
    wait_for(lambda: _connections(fleet)["turned"] > met["turned"], "the other login to be tried", PATIENCE)
    wait_for(lambda: _stored(install, "turned"), "what the other login gave", PATIENCE)
    wait_for(lambda: _row(install, "away").failures > 1, "the one that was away to be tried again", PATIENCE)
    assert set(_connections(fleet) - met) == {"turned"}
    assert _row(install, "turned").login_on == "next"

    time.forward(timedelta(minutes=8))  # a trial of the login that many have refused
    wait_for(lambda: _row(install, CROWD[0]).trials == 1, "one to try the login again", PATIENCE)
    _await_rounds(install, 2)
    tried = {name: count for name, count in (_connections(fleet) - met).items() if name in CROWD}
    assert sum(tried.values()) == 1, tried
    assert (_connections(fleet) - met)["refuses"] == (_connections(fleet) - met)["paused"] == 0
    assert [row.blocked_code for row in install.rows(STANDS)].count("authentication_failed") == 1
    ledger.close()


def _enrol(install: Install, fleet: Fleet) -> None:
    """Devices that will stand in every way that there is."""
    acts = install.wiring.scope_ports("test")
    for name, login in (("crowd", WRONG), ("turning", RIGHT)):
        scopes.add(acts, NewScope(ScopeKind.PROFILE, install.tenant_id, uuid4(), name, {}), login)
    install.add("healthy", fleet["healthy"].port, RIGHT, {"interval_seconds": 2})
    install.add("refuses", fleet["refuses"].port, WRONG)
    install.add("paused", fleet["paused"].port, RIGHT)
    install.command("device", "pause", "paused", "--reason", "a test")
    install.add("away", _nobody_listens(fleet), RIGHT)
    install.command("credential", "rotate", "turning", "--password-stdin", stdin=b"the next one\n")
    for name, profile in {**dict.fromkeys(CROWD, "crowd"), "turned": "turning"}.items():
        _add(install, fleet, name, profile)


def _add(install: Install, fleet: Fleet, name: str, profile: str) -> None:
    place = Placement(profile=profile)
    new = NewDevice(
        install.tenant_id, DeviceId(uuid4()), name, "127.0.0.1", fleet[name].port, "routeros", {}, placement=place
    )
    enrol(install.wiring, new, None)


def _nobody_listens(fleet: Fleet) -> int:
    """The port of a router that was turned off."""
    port = fleet["away"].port
    fleet["away"].behave(listening=False)
    return port


def _settled(install: Install) -> bool:
    rows = {row.name: row for row in install.rows(STANDS)}
    return (
        rows["refuses"].blocked_code == "authentication_failed"
        and rows["away"].failures == 1
        and rows["paused"].status == "paused"
        and rows["turned"].refused_on == "current"
        and rows["turned"].login_on == "next"
        and all(rows[name].suspended_at is not None for name in CROWD)
        and not any(rows[name].blocked_code for name in CROWD)
        and not install.rows("SELECT 1 FROM collection WHERE state IN ('claimed', 'running')")
    )


def _await_rounds(install: Install, rounds: int) -> None:
    """So that everything that is due has had its time: the healthy one is collected meanwhile."""
    count = "SELECT count(*) AS n FROM collection c JOIN device d ON d.id = c.device_id WHERE d.name = 'healthy'"
    first = install.rows(count)[0].n
    wait_for(lambda: install.rows(count)[0].n >= first + rounds, f"{rounds} rounds of the healthy one", PATIENCE)


def _row(install: Install, name: str) -> Any:  # noqa: ANN401 - a row of the database
    return next(row for row in install.rows(STANDS) if row.name == name)


def _stored(install: Install, name: str) -> bool:
    statement = "SELECT 1 FROM device WHERE name = :name AND current_collection_id IS NOT NULL"
    return bool(install.rows(statement, name=name))


def _connections(fleet: Fleet) -> Counter[str]:
    opened = [event.router for event in fleet.history if event.kind == "session_opened"]
    return Counter(name for name in opened if name != "healthy")


def _ledger(install: Install) -> Ledger:
    servers = install.wiring.settings.servers
    admin = (servers.secrets_dir / "admin.postgres").read_text(encoding="utf-8").strip()
    return Ledger(servers.database_url, servers.secrets_dir, admin)
