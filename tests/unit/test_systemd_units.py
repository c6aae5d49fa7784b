"""The units of systemd say what the code says: which processes there are, their logins, how long each may take."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backupflow.cli import app
from backupflow.cli.processes import Process, processes
from backupflow.cli.up import STOP_WITHIN
from backupflow.core.system_backup import KEPT_SECRETS, SEAL_KEY
from backupflow.embedded import Server
from backupflow.embedded.program import Program
from backupflow.settings import Settings
from backupflow.wiring.rooms import files

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
PROCESSES = {process.name: process for process in processes(10, status=True, flower=True)}
BOTH = ("backupflow.service", "backupflow@.service")
BACKUP = UNITS / "backupflow-backup.service"
OWN_SERVERS = UNITS / "backupflow-backup.service.d" / "own-servers.conf"


def values(file: Path, name: str) -> list[str]:
    """What stands after `name=`, in order."""
    return re.findall(rf"^{name}=(.*)$", file.read_text("utf-8"), re.MULTILINE)


def test_there_are_logins_for_every_process_and_for_nothing_else() -> None:
    """A process that is new needs a folder here."""
    assert {folder.name for folder in UNITS.glob("backupflow@*") if folder.is_dir()} == {
        f"backupflow@{name}.service.d" for name in PROCESSES
    }


@pytest.mark.parametrize("process", PROCESSES.values(), ids=lambda process: process.name)
def test_a_process_is_shown_the_files_of_its_role_alone(process: Process) -> None:
    """Each from the room of its role, by the name that the process asks for; the secret of events to who tells them."""
    folder = UNITS / f"backupflow@{process.name}.service.d"
    room = f"/etc/backupflow/rooms/{process.role}"
    assert values(folder / "logins.conf", "LoadCredential") == [f"{one}:{room}/{one}" for one in files(process.role)]
    assert (folder / "no-heart.conf").exists() == (not process.heart)


@pytest.mark.parametrize("unit", [*BOTH, BACKUP.name])
def test_no_unit_leaves_a_core_file_or_keeps_a_right(unit: str) -> None:
    """What a crash would write down holds keys; an empty line takes all capabilities away."""
    assert values(UNITS / unit, "LimitCORE") == ["0"]
    assert values(UNITS / unit, "CapabilityBoundingSet") == [""]
    assert values(UNITS / unit, "NoNewPrivileges") == ["yes"]
    assert values(UNITS / unit, "Type") == ["oneshot" if unit == BACKUP.name else "notify"]


def test_processes_are_not_all_one_user() -> None:
    """One user could read the logins of the other units in /run/credentials, and their memory."""
    assert values(UNITS / "backupflow@.service", "User") == ["backupflow-%i"]


def test_the_page_gives_the_folder_of_the_escrow_to_whoever_writes_it() -> None:
    """A user whom systemd makes anew at each start has another number each time: of that name there must be one."""
    page = (UNITS.parents[1] / "docs" / "systemd.md").read_text("utf-8")
    users = values(UNITS / "backupflow.service", "User") + [
        user.replace("%i", "maintain") for user in values(UNITS / "backupflow@.service", "User")
    ]
    owners = re.findall(r"^install -d -m 0700 -o (\S+) -g (\S+) /mnt/escrow/backupflow$", page, re.MULTILINE)
    assert owners == [(user, user) for user in users]
    assert set(re.findall(r"^useradd .* (\S+)$", page, re.MULTILINE)) == set(users)


def test_no_page_puts_the_authorities_where_no_process_may_look() -> None:
    """Every process reads that file itself, as a user of its own, and the folder of the settings is root's alone."""
    docs = UNITS.parents[1] / "docs"
    pages = [docs / name for name in ("systemd.md", "servers.md", "how-to/own-servers.md")]
    assert "install -d -m 0700 /etc/backupflow " in pages[0].read_text("utf-8")
    named = [re.findall(r"CONFIG_SERVERS_CA=(\S+)", page.read_text("utf-8")) for page in pages]
    assert all(named)
    assert {Path(file).parent for files_ in named for file in files_} == {Path("/etc/ssl")}


def test_the_page_brings_the_logins_of_admins_before_the_secrets_are_made() -> None:
    """After `secrets` has made a login for a vault of ours, one of somebody else's refuses it."""
    page = (UNITS.parents[1] / "docs" / "systemd.md").read_text("utf-8")
    told = (
        "install/admin.postgres",
        "install/admin.openbao",
        "backupflow secrets --rooms",
        "backupflow provision --rooms",
    )
    places = [page.index(one) for one in told]
    assert places == sorted(places)


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


def backup_words(file: Path) -> list[str]:
    """What `backupflow` is given by a unit that makes a backup: its shell's words, before they are expanded."""
    command = shlex.split(values(file, "ExecStart")[-1].replace("$$", "$").replace("%%", "%"))
    assert command[:2] == ["/bin/sh", "-c"]
    return shlex.split(re.sub(r"\$\(.*?\)", "DATE", command[2]))[2:]


@pytest.mark.parametrize("file", [BACKUP, OWN_SERVERS], ids=lambda file: file.name)
def test_the_backup_of_each_night_is_a_command_that_there_is(file: Path) -> None:
    """Into the folder that systemd makes for its user, for a public key that a person has named."""
    words = backup_words(file)
    assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0
    assert words[words.index("create") + 1] == "$STATE_DIRECTORY/DATE.age"
    assert words[words.index("--recipient") + 1].startswith("${BACKUP_RECIPIENT:?")


def test_the_backup_is_made_by_the_user_whose_data_folder_it_is() -> None:
    """Nobody else may read that folder; the key of the seal is root's, and comes the same way; files go elsewhere."""
    house = UNITS / "backupflow.service"
    for name in ("User", "Group", "LoadCredential"):
        assert values(BACKUP, name) == values(house, name), name
    words, folder = backup_words(BACKUP), values(house, "StateDirectory")[0]
    assert words[words.index("--data-dir") + 1] == f"/var/lib/{folder}"
    assert words[words.index("--seal-key") + 1] == f"$CREDENTIALS_DIRECTORY/{SEAL_KEY}"
    assert values(BACKUP, "StateDirectory") != [folder]


def test_the_backup_sees_that_the_install_runs() -> None:
    """By the folder of its process, which `invisible` hides from the same user in another namespace of users."""
    assert values(BACKUP, "ProtectProc") == ["noaccess"]
    assert [values(UNITS / unit, "ProtectProc") for unit in BOTH] == [["invisible"]] * len(BOTH)


def test_the_backup_of_servers_of_your_own_is_shown_the_logins_that_it_needs() -> None:
    """Of the room with everything, and no login of an admin; the list of the other way is taken away first."""
    names = ("migrator.postgres", "operator.postgres", "operator.openbao", *KEPT_SECRETS)
    room = "/etc/backupflow/rooms/install"
    assert values(OWN_SERVERS, "LoadCredential") == ["", *(f"{name}:{room}/{name}" for name in names)]
    assert values(OWN_SERVERS, "ExecStart")[0] == ""
    assert values(OWN_SERVERS, "DynamicUser") == ["yes"]


def test_the_backup_is_made_each_night_and_once_more_if_it_was_refused() -> None:
    """A machine that was off makes it later; old files go only after a new one is whole."""
    timer = UNITS / "backupflow-backup.timer"
    assert values(timer, "Persistent") == ["yes"]
    assert values(timer, "WantedBy") == ["timers.target"]
    assert values(BACKUP, "Restart") == ["on-failure"]
    assert values(BACKUP, "ExecStartPost")[0].startswith("/usr/bin/find ${STATE_DIRECTORY} ")
    assert not values(BACKUP, "ExecStartPre")
