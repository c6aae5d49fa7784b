"""Who is given which login: each process its own, a person's commands what they need, nobody the installer's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupflow.adapters import vault_roles as of_vault
from backupflow.adapters.db import roles as of_postgres
from backupflow.adapters.hook import add_secret, read_secrets, retire_secrets
from backupflow.cli.processes import processes
from backupflow.cli.secrets import secrets as make_secrets
from backupflow.core.system_backup import EVENTS, KEPT_SECRETS
from backupflow.errors import SettingsInvalid
from backupflow.wiring import provision
from backupflow.wiring.rooms import INSTALL, READERS, files, logins, passwords

if TYPE_CHECKING:
    from pathlib import Path

PROCESSES = {process.name: process.role for process in processes(10, status=True, flower=True)}


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_has_every_login_of_its_role(name: str) -> None:
    """A role that is known to a server has a login to it in the room of the process."""
    role, there = PROCESSES[name], set(logins(PROCESSES[name]))
    for server, known in (
        ("postgres", of_postgres.ROLES),
        ("redis", provision.REDIS_ROLES),
        ("nats", provision.NATS_ROLES),
        ("openbao", of_vault.ROLES),
    ):
        assert (f"{role}.{server}" in there) == (role in known)


def test_no_reader_has_the_logins_that_give_every_right() -> None:
    """Admins, the installer and the migrator are in the room of the install alone."""
    given = {name for room in READERS for name in logins(room)}
    assert not [name for name in given if name.split(".")[0] in ("admin", "installer", "migrator", "poller")]
    assert not {"migrator.openbao", "installer.openbao"} & given


def test_who_stands_at_the_network_opens_nothing_that_is_kept() -> None:
    """The collector opens passwords of routers, the ingester nothing at all: neither finds the reader's login."""
    for room in ("scheduler", "collector", "ingester", "flower"):
        assert {name.split(".")[0] for name in logins(room)} == {room}


def test_every_password_is_made_beforehand() -> None:
    """The users' files of the servers are written before these start, so nothing may be missing then."""
    made = set(passwords())
    asked: list[str] = []

    def secret(name: str) -> str:
        asked.append(name)
        return "a" * 43

    provision.server_users(secret)
    assert set(asked) <= made
    assert {f"{role}.postgres" for role in of_postgres.ROLES} <= made
    assert {name for room in READERS for name in logins(room)} <= {*made, *(f"{r}.openbao" for r in of_vault.ROLES)}


def test_a_process_destroys_no_key_and_adds_no_login() -> None:
    """Who removes a tenant's keys, or adds routers, is a person: no process has that login."""
    for room in set(PROCESSES.values()):
        assert not {"provisioner", "enroller"} & {name.split(".")[0] for name in files(room)}


def test_events_are_signed_from_the_first_one_on(tmp_path: Path) -> None:
    """Its secret lies where events are told and tried, for rooms are read-only; and where a backup takes it from."""
    make_secrets(tmp_path, volumes=True)
    made = read_secrets(tmp_path / INSTALL)
    assert len(made) == 1
    assert EVENTS in KEPT_SECRETS
    assert {room for room in READERS if (tmp_path / room / EVENTS).exists()} == {"operator", "console"}
    make_secrets(tmp_path, volumes=True)
    assert all(read_secrets(tmp_path / room) == made for room in (INSTALL, "operator", "console"))


def test_the_secret_of_events_is_exchanged_where_the_others_are_copied_from(tmp_path: Path) -> None:
    """In a copy it would be shown, given to the receiver, and then never be signed with."""
    make_secrets(tmp_path, volumes=True)
    before = read_secrets(tmp_path / INSTALL)
    with pytest.raises(SettingsInvalid, match=r"is a copy: .*rooms/install"):
        add_secret(tmp_path / "console")
    assert read_secrets(tmp_path / "console") == before
    made = add_secret(tmp_path / INSTALL)
    make_secrets(tmp_path, volumes=True)
    assert read_secrets(tmp_path / "operator") == [made, *before]
    assert retire_secrets(tmp_path / INSTALL) == 1
    make_secrets(tmp_path, volumes=True)
    assert read_secrets(tmp_path / "operator") == [made]


def test_a_room_that_cannot_be_written_says_where_the_secret_of_events_is_exchanged(tmp_path: Path) -> None:
    """A container has its room alone, read-only: it sees no other one. One line, no traceback."""
    with pytest.raises(SettingsInvalid, match=r"cannot be written \(.*run --rm keeper event secret") as raised:
        add_secret(tmp_path / "gone")
    assert "\n" not in str(raised.value)


def test_what_a_reader_may_not_have_any_more_is_taken_from_its_room(tmp_path: Path) -> None:
    """An earlier version gave the maintain worker the login that destroys keys; what is somebody's own stays."""
    make_secrets(tmp_path, volumes=True)
    login = tmp_path / INSTALL / "provisioner.openbao"
    login.write_text("{}", "utf-8")
    for name in (login.name, "migrator.postgres", "authorities.pem"):
        (tmp_path / "operator" / name).write_text("{}", "utf-8")
    make_secrets(tmp_path, volumes=True)
    there = {path.name for path in (tmp_path / "operator").iterdir()}
    assert not {login.name, "migrator.postgres"} & there
    assert "authorities.pem" in there
    assert (tmp_path / "console" / login.name).exists()
    login.unlink()  # nowhere else then, so it is nobody's to destroy
    (tmp_path / "operator" / login.name).write_text("{}", "utf-8")
    make_secrets(tmp_path, volumes=True)
    assert (tmp_path / "operator" / login.name).exists()
