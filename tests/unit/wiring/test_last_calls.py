"""What a process knows of the servers by its own calls; real clients, at an address where nobody answers."""

from __future__ import annotations

import json
import socket
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backupflow.errors import BusUnavailable, VaultUnavailable
from backupflow.settings import Settings
from backupflow.wiring import Wiring
from backupflow.wiring.last_calls import LastCalls

if TYPE_CHECKING:
    from pathlib import Path

SECOND = timedelta(seconds=1)


def test_a_success_takes_back_what_failed_before_of_the_same_client_alone() -> None:
    """Maintenance has several logins: that one of them works says nothing of another."""
    now = [0.0]
    calls = LastCalls(lambda: now[0])
    reader, operator = calls.of("vault as reader"), calls.of("vault as operator")
    assert calls.failing() == {}
    reader("vault_unavailable")
    now[0] = 10.0
    operator("vault_unavailable")
    assert calls.failing() == {"vault_unavailable": timedelta(0)}
    operator("")
    assert calls.failing() == {"vault_unavailable": 10 * SECOND}
    reader("")
    assert calls.failing() == {}


def test_each_client_that_is_handed_out_tells_how_its_calls_went(tmp_path: Path) -> None:
    """The vault and the bus of the role, by the code of what failed."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        nobody = f"127.0.0.1:{gone.getsockname()[1]}"
    (tmp_path / "collector.nats").write_text("x")
    (tmp_path / "collector.openbao").write_text(json.dumps({"role_id": "a", "secret_id": "b"}))
    told = {"CONFIG_SECRETS_DIR": str(tmp_path), "NATS_URL": f"nats://{nobody}", "OPENBAO_ADDR": f"http://{nobody}"}
    wiring = Wiring(Settings(told))
    try:
        vault, bus = wiring.vault("collector"), wiring.bus("collector")
        bus._timeout = 0.2
        assert wiring.failing() == {}
        with pytest.raises(VaultUnavailable):
            vault.call("GET", "sys/mounts")
        assert wiring.failing().keys() == {"vault_unavailable"}
        with pytest.raises(BusUnavailable):
            bus.room()
        assert wiring.failing().keys() == {"vault_unavailable", "bus_unavailable"}
        vault._ask = lambda *_: {}  # type: ignore[method-assign]
        vault.call("GET", "sys/mounts")
        assert wiring.failing().keys() == {"bus_unavailable"}
    finally:
        wiring.close()
