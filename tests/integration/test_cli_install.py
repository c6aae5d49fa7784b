"""Which install a command is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupflow.cli.exits import Exit, exit_of
from backupflow.cli.install import open_wiring
from backupflow.embedded import default_seal_key, open_folder
from backupflow.embedded.seal import seal_stanza
from backupflow.errors import NotRunning, ServerUnusable

if TYPE_CHECKING:
    from pathlib import Path

    from backupflow.embedded import Servers


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "NATS_URL", "OPENBAO_ADDR", "CONFIG_SECRETS_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_a_running_install_is_found_by_its_folder(servers: Servers) -> None:
    """Its addresses and the folder of its logins are taken from there."""
    found = open_wiring(servers.folder.path).settings.servers
    assert found.database_url == f"postgresql://{servers.addresses.postgres}/backupflow"
    assert found.nats_url == f"nats://{servers.addresses.nats}"
    assert found.openbao_addr == servers.addresses.openbao_url
    assert found.secrets_dir == servers.folder.path / "secrets"


def test_what_the_environment_names_wins(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is configured is used though another one runs here; an empty variable configures nothing."""
    monkeypatch.setenv("NATS_URL", "nats://elsewhere:4222")
    monkeypatch.setenv("OPENBAO_ADDR", "")
    found = open_wiring(servers.folder.path).settings.servers
    assert found.nats_url == "nats://elsewhere:4222"
    assert found.openbao_addr == servers.addresses.openbao_url


def test_a_configured_install_needs_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses in the environment are enough."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://db:5432/backupflow")
    monkeypatch.setenv("CONFIG_SECRETS_DIR", str(tmp_path))
    found = open_wiring(tmp_path / "none").settings.servers
    assert (found.database_url, found.secrets_dir) == ("postgresql://db:5432/backupflow", tmp_path)


def test_nothing_to_be_found_says_what_to_do(tmp_path: Path) -> None:
    """One line names the folder and the ways out; it is no wrong setting, which one would look for in vain."""
    with pytest.raises(NotRunning, match=rf"backupflow up.*{tmp_path}/none.*--data-dir.*DATABASE_URL") as nobody:
        open_wiring(tmp_path / "none")
    assert exit_of(nobody.value) == Exit.UNAVAILABLE


def test_where_up_would_not_start_a_command_says_why(tmp_path: Path) -> None:
    """At night one asks `doctor`: it does not send to a start that is refused, but to the page that leads out."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "installer.openbao").write_text("{}")
    with pytest.raises(ServerUnusable, match=r"storage is gone.*docs/how-to/lost-vault\.md") as refused:
        open_wiring(tmp_path)
    assert exit_of(refused.value) == Exit.UNAVAILABLE
    (tmp_path / "openbao").mkdir()
    (tmp_path / "openbao" / "vault.db").touch()
    with pytest.raises(NotRunning):
        open_wiring(tmp_path)


def test_who_asks_why_nothing_runs_is_told_that_the_key_of_the_seal_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it should lie and how `up` is told of another place, since a unit may name one; not before there is any."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with open_folder(tmp_path / "data") as folder:
        key = default_seal_key(folder)
        with pytest.raises(NotRunning) as fresh:
            open_wiring(folder.path)
        assert "seal" not in str(fresh.value)
        seal_stanza(folder, None, is_new=True)
    with pytest.raises(NotRunning) as stopped:
        open_wiring(folder.path)
    assert "seal" not in str(stopped.value)
    key.rename(tmp_path / "elsewhere.key")
    with pytest.raises(NotRunning, match=rf"not at {key}: bring it back, or name it with `up --seal-key FILE`") as gone:
        open_wiring(folder.path)
    assert exit_of(gone.value) == Exit.UNAVAILABLE
