"""What a vault keeps goes from a folder into containers and back: its audit is written elsewhere there."""

from __future__ import annotations

import json
import time
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest

from backupflow.adapters.vault import AppRoleLogin
from backupflow.adapters.vault.raft import RaftVault
from backupflow.embedded import Server, ServerOptions, open_folder, openbao, start_servers
from backupflow.errors import VaultUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backupflow.embedded import Servers

FOLDER, CONTAINER = openbao.Place(port=0, cluster_port=0).audit, "stdout"  # as embedded.composed says it
PLACE = openbao.Place
ALONE = frozenset({Server.POSTGRES, Server.REDIS, Server.NATS})


@contextmanager
def vault(root: Path, audit: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    """A vault whose requests are written there, on the seal that all of them have."""
    monkeypatch.setattr(openbao, "Place", partial(PLACE, audit=audit))
    options = ServerOptions(leave_out=ALONE, seal_key=root.parent / "seal.key", fsync=False)
    with open_folder(root) as folder, start_servers(folder, options) as servers:
        yield servers


def client(servers: Servers, login: dict[str, str]) -> RaftVault:
    """With the login of an installer."""
    found = AppRoleLogin(login["role_id"], login["secret_id"])
    return RaftVault(servers.addresses.openbao_url, found)


def login_of(servers: Servers) -> dict[str, str]:
    """Its installer's."""
    found: dict[str, str] = json.loads(servers.secret_path("installer.openbao").read_text("utf-8"))
    return found


@pytest.mark.parametrize(("here", "there"), [(FOLDER, CONTAINER), (CONTAINER, FOLDER)])
def test_a_vault_takes_a_snapshot_of_one_that_is_audited_elsewhere(
    here: str, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opens again, knows the logins of then, writes its audit where it always did, and so after a restart."""
    with vault(tmp_path / "here", here, monkeypatch) as servers:
        login = login_of(servers)
        with closing(client(servers, login)) as known:
            snapshot = list(known.snapshot())
    root = tmp_path / "there"
    with vault(root, there, monkeypatch) as servers:
        with closing(client(servers, login_of(servers))) as known:
            known.restore(iter(snapshot))
        await_login(servers, login)
    assert audits(root, there) > 0
    before = audits(root, there)
    with vault(root, there, monkeypatch) as servers:
        await_login(servers, login)
    assert audits(root, there) > before


def audits(root: Path, audit: str) -> int:
    """How many requests of an installer are written down, where they are to be."""
    log = "openbao.log" if audit == CONTAINER else "openbao-audit.log"
    text = (root / "logs" / log).read_text("utf-8", "replace")
    return text.count('"path":"auth/token/lookup-self"')


def await_login(servers: Servers, login: dict[str, str]) -> None:
    """It becomes what it was given some moments later."""
    until = time.monotonic() + 60
    while True:
        with closing(client(servers, login)) as known:
            try:
                known.call("GET", "auth/token/lookup-self")
            except VaultUnavailable:
                assert time.monotonic() < until, (servers.folder.path / "logs/openbao.log").read_text("utf-8")[-3000:]
            else:
                return
        time.sleep(0.2)
