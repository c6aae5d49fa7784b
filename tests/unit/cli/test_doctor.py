"""What `doctor` says where the servers are away: one reason, and what to do."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from backupflow.cli.doctor import CHECKS, look_at_all
from backupflow.settings import Settings
from backupflow.wiring import Wiring

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def away(tmp_path: Path) -> Wiring:
    """An install none of whose servers answers; to wait for NATS would take seconds, so it has none."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{nobody.getsockname()[1]}"
    for role in ("reader", "operator", "enroller"):
        for server in ("postgres", "redis", "nats"):
            (tmp_path / f"{role}.{server}").write_text("x", "utf-8")
        (tmp_path / f"{role}.openbao").write_text('{"role_id": "a", "secret_id": "b"}', "utf-8")
    environment = {
        "DATABASE_URL": f"postgresql://{at}/backupflow",
        "REDIS_URL": f"redis://{at}/0",
        "OPENBAO_ADDR": f"http://{at}",
        "CONFIG_SECRETS_DIR": str(tmp_path),
    }
    return Wiring(Settings(environment))


def test_an_absent_database_is_one_finding_and_doctor_does_not_send_to_itself(away: Wiring) -> None:
    """Where it was looked for, why it did not answer, what to do; of what is kept there nothing is asked."""
    try:
        checks = {check.name: check for check in look_at_all(away)}
    finally:
        away.close()
    assert list(checks) == list(CHECKS)
    database = checks["PostgreSQL"]
    assert database.says.startswith("no answer from 127.0.0.1:")
    assert database.says.endswith(": connection refused")
    assert "DATABASE_URL" in database.remedy
    assert not [check.name for check in checks.values() if "doctor" in check.remedy]
    asked = {name for name, check in checks.items() if not check.skipped}
    assert asked == {"PostgreSQL", "OpenBao", "NATS", "broker", "logins"}
    assert not [name for name in checks if name not in asked and (checks[name].well or checks[name].remedy)]
