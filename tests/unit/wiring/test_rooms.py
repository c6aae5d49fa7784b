"""Who is given which login: each process its own, a person's commands what they need, nobody the installer's."""

from __future__ import annotations

import pytest

from backupflow.adapters import vault_roles as of_vault
from backupflow.adapters.db import roles as of_postgres
from backupflow.cli.processes import processes
from backupflow.wiring import provision
from backupflow.wiring.rooms import READERS, logins, passwords

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
