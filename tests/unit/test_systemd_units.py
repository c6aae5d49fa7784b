"""The units of systemd say what the code says: which processes there are, their logins, how long each may take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backupflow.cli.processes import Process, processes
from backupflow.cli.up import STOP_WITHIN
from backupflow.embedded import Server
from backupflow.embedded.program import Program
from backupflow.settings import Settings
from backupflow.wiring.rooms import files

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
PROCESSES = {process.name: process for process in processes(10, status=True, flower=True)}
BOTH = ("backupflow.service", "backupflow@.service")


def values(file: Path, name: str) -> list[str]:
    """What stands after `name=`, in order."""
    return re.findall(rf"^{name}=(.*)$", file.read_text("utf-8"), re.MULTILINE)


def test_there_are_logins_for_every_process_and_for_nothing_else() -> None:
    """A process that is new needs a folder here."""
    assert {folder.name for folder in UNITS.iterdir() if folder.is_dir()} == {
        f"backupflow@{name}.service.d" for name in PROCESSES
    }


@pytest.mark.parametrize("process", PROCESSES.values(), ids=lambda process: process.name)
def test_a_process_is_shown_the_files_of_its_role_alone(process: Process) -> None:
    """Each from the room of its role, by the name that the process asks for; the secret of events to who tells them."""
    folder = UNITS / f"backupflow@{process.name}.service.d"
    room = f"/etc/backupflow/rooms/{process.role}"
    assert values(folder / "logins.conf", "LoadCredential") == [f"{one}:{room}/{one}" for one in files(process.role)]
    assert (folder / "no-heart.conf").exists() == (not process.heart)


@pytest.mark.parametrize("unit", BOTH)
def test_no_unit_leaves_a_core_file_or_keeps_a_right(unit: str) -> None:
    """What a crash would write down holds keys; an empty line takes all capabilities away."""
    assert values(UNITS / unit, "LimitCORE") == ["0"]
    assert values(UNITS / unit, "CapabilityBoundingSet") == [""]
    assert values(UNITS / unit, "NoNewPrivileges") == ["yes"]
    assert values(UNITS / unit, "Type") == ["notify"]


def test_processes_are_not_all_one_user() -> None:
    """One user could read the logins of the other units in /run/credentials, and their memory."""
    assert values(UNITS / "backupflow@.service", "User") == ["backupflow-%i"]


def test_a_unit_waits_longer_than_what_it_stops() -> None:
    """A worker for its longest collection, `up` for its workers and then for each server."""
    collecting = Settings({}).collecting
    longest = sum(
        span.total_seconds()
        for span in (
            collecting.connect_timeout,
            collecting.banner_timeout,
            collecting.login_timeout,
            collecting.command_timeout,
        )
    )
    of_server = Program(name="", argv=(), cwd=UNITS, log=UNITS, env={}).stop_timeout.total_seconds()
    assert int(values(UNITS / "backupflow@.service", "TimeoutStopSec")[0]) > 2 * longest
    everything = 2 * STOP_WITHIN.total_seconds() + len(Server) * of_server
    assert int(values(UNITS / "backupflow.service", "TimeoutStopSec")[0]) > everything
