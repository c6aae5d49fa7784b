"""`up` itself, stopped by SIGTERM under load, as systemd does it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from backupflow.core.model import Login
from backupflow.simulator import Fleet
from tests.acceptance.install import Install, wait_for
from tests.faults.aftermath import await_current, broken
from tests.faults.stack import SETTINGS
from tests.faults.test_stopping import AMISS, PATIENCE, RUNNING, slow_routers

if TYPE_CHECKING:
    from pathlib import Path

LOGIN = Login("backup", "backup")
ROUTERS = 30


@pytest.mark.timeout(900)
def test_sigterm_to_up_under_load_loses_nothing(tmp_path: Path) -> None:
    """It ends with 0, everything with it and in order; the next `up` finds every session brought to its end."""
    with Fleet(slow_routers(ROUTERS)) as fleet:
        _stop_and_start(Install(tmp_path, **{**SETTINGS, "FLOWER_LISTEN": "off"}), fleet)


def _stop_and_start(install: Install, fleet: Fleet) -> None:
    install.start()
    try:
        for name in fleet:
            install.add(name, fleet[name].port, LOGIN)
        await_current(install, fleet, PATIENCE)
        for name in fleet:
            fleet[name].edit()
        wait_for(lambda: bool(install.rows(RUNNING)), "a session to be open", PATIENCE)
        family = install.processes()
        assert install.stop(signal.SIGTERM) == 0, install.output()[-3000:]
        assert not [process for process in family if process.is_running()]
        install.start()
        assert not install.rows(AMISS)
        await_current(install, fleet, PATIENCE)
        findings = broken(install, fleet)
        assert not findings, "\n".join(findings)
    finally:
        install.stop()
