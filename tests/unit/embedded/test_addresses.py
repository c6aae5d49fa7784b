"""Addresses: told to other terminals while the install runs, and only then; ports that stay if they can."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING

import pytest

from backupflow.embedded import Address, Addresses, open_folder, running_install
from backupflow.embedded.addresses import HOST, addresses_from, choose_ports, publish
from backupflow.embedded.folder import write_private
from backupflow.errors import ServerUnusable

if TYPE_CHECKING:
    from pathlib import Path


def test_another_terminal_finds_the_running_install(tmp_path: Path) -> None:
    """What was published is read back; a server that was left out is None."""
    data = tmp_path / "data"
    with open_folder(data) as folder:
        assert running_install(data) is None  # not ready yet
        publish(folder, addresses_from({"postgres": 1, "openbao": 2}))
        found = running_install(data)
        assert found == Addresses(os.getpid(), postgres=Address(HOST, 1), openbao=Address(HOST, 2))
        assert found.openbao_url == f"http://{HOST}:2"
        assert Addresses(1).openbao_url == ""
    assert running_install(data) is None


def test_addresses_that_a_killed_run_left_are_not_believed(tmp_path: Path) -> None:
    """Without the lock the file says nothing."""
    data = tmp_path / "data"
    with open_folder(data):
        pass
    write_private(data / "run" / "addresses.json", json.dumps({"pid": os.getpid(), "postgres": None}))
    assert running_install(data) is None


def test_addresses_of_a_process_that_is_gone_are_not_believed(tmp_path: Path) -> None:
    """The servers of a killed run hold the lock a moment longer than it lived."""
    with open_folder(tmp_path / "data") as folder:
        write_private(folder.path / "run" / "addresses.json", json.dumps({"pid": 2**22 + 1}))
        assert running_install(folder.path) is None


def test_a_folder_that_is_none_runs_nothing(tmp_path: Path) -> None:
    """Asking is no error."""
    assert running_install(tmp_path / "nowhere") is None


def test_another_users_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing runs, and I may not look, are two answers."""
    with open_folder(tmp_path / "data") as folder:

        def refuse(*_: object) -> int:
            raise PermissionError

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(ServerUnusable, match="another user"):
            running_install(folder.path)


def test_ports_stay_from_run_to_run(tmp_path: Path) -> None:
    """A client that kept an address finds the server again."""
    with open_folder(tmp_path / "data") as folder:
        ports = choose_ports(folder, ["postgres", "redis"])
        assert choose_ports(folder, ["postgres", "redis"]) == ports
        assert len(set(ports.values())) == 2


def test_a_port_that_was_taken_meanwhile_is_chosen_anew(tmp_path: Path) -> None:
    """Only the one that is taken changes."""
    with open_folder(tmp_path / "data") as folder, socket.socket() as stranger:
        ports = choose_ports(folder, ["postgres", "redis"])
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind((HOST, ports["postgres"]))
        stranger.listen()
        again = choose_ports(folder, ["postgres", "redis"])
        assert again["postgres"] != ports["postgres"]
        assert again["redis"] == ports["redis"]


def test_all_ports_are_chosen_anew_when_asked(tmp_path: Path) -> None:
    """After a server found its port taken, the file is not asked again."""
    with open_folder(tmp_path / "data") as folder:
        names = [f"server-{number}" for number in range(5)]
        assert choose_ports(folder, names) != choose_ports(folder, names, anew=True)


def test_what_is_asked_for_later_leaves_the_other_ports_as_they_were(tmp_path: Path) -> None:
    """The processes ask for theirs after the servers: each finds its own again at the next start."""
    with open_folder(tmp_path / "data") as folder:
        servers, page = choose_ports(folder, ["postgres", "redis"]), choose_ports(folder, ["flower"])
        assert set(page) == {"flower"}
        assert choose_ports(folder, ["postgres", "redis"]) == servers
        assert choose_ports(folder, ["flower"]) == page
