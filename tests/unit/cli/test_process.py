"""`backupflow process NAME`: waits for its logins, says so, and becomes the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from backupflow.cli import main
from backupflow.cli import process as door
from backupflow.cli.processes import processes
from backupflow.errors import InputInvalid
from backupflow.wiring.rooms import logins

if TYPE_CHECKING:
    from pathlib import Path

ADDRESSES = {
    "DATABASE_URL": "postgresql://127.0.0.1:1/backupflow",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "NATS_URL": "nats://127.0.0.1:1",
    "OPENBAO_ADDR": "http://127.0.0.1:1",
}


def test_its_help_names_every_process(capsys: pytest.CaptureFixture[str]) -> None:
    """An ellipsis is no name that could be typed."""
    with pytest.raises(SystemExit):
        main(["process", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    names = sorted(process.name for process in processes(1, status=True, flower=True))
    assert f"{', '.join(names[:-1])} or {names[-1]}." in shown


def test_it_becomes_the_process_with_the_role_in_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command line as under `up`, in the same process, so that signals reach it."""
    became: list[tuple[str, tuple[str, ...], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda *given: became.append(given))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv("CONFIG_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("CONFIG_BACKUP_MAX_CONCURRENT", "7")
    for name in logins("collector"):
        (tmp_path / name).write_text("a", "utf-8")
    for name, value in ADDRESSES.items():
        monkeypatch.setenv(name, value)
    door.process("collect")
    ((program, argv, environment),) = became
    assert program == sys.executable
    assert argv[argv.index("-Q") + 1] == "collect.now,collect"
    assert argv[argv.index("-c") + 1] == "7"
    assert environment["CONFIG_ROLE"] == "collector"


@pytest.fixture
def addressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """All logins are there, and an address of each server; that it becomes the process would be wrong."""
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("it became the process"))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for variable, value in {**ADDRESSES, "CONFIG_SECRETS_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(variable, value)
    for process in processes(1, status=True, flower=True):
        for login in logins(process.role):
            (tmp_path / login).write_text("a", "utf-8")
    return monkeypatch


@pytest.mark.parametrize(
    ("name", "wrong", "says"),
    [
        ("beat", ("CONFIG_SERVERS_CA", "/nowhere/ca.pem"), "CONFIG_SERVERS_CA: /nowhere/ca.pem is no file"),
        ("ingest", ("REDIS_URL", "redis://a:b@127.0.0.1:1/0"), "REDIS_URL must not hold a login"),
        ("collect", ("OPENBAO_ADDR", ""), "OPENBAO_ADDR is not set"),
        ("interpret", ("DATABASE_URL", "db"), "DATABASE_URL is not an address"),
        ("flower", ("REDIS_URL", ""), "REDIS_URL is not set"),
    ],
)
def test_a_wrong_address_is_one_line_before_celery_begins(
    name: str,
    wrong: tuple[str, str],
    says: str,
    addressed: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Within it, it would be a traceback, every few seconds, in a journal."""
    addressed.setenv(*wrong)
    with pytest.raises(SystemExit) as ended:
        main(["process", name])
    told = capsys.readouterr().err
    assert (ended.value.code, told.count("\n")) == (78, 1)
    assert told.startswith("backupflow: ")
    assert says in told


def test_a_name_that_there_is_not_is_answered_with_those_that_there_are() -> None:
    """One line, before anything is waited for."""
    with pytest.raises(InputInvalid, match="no process 'colect'; there are beat, collect, collect-slow"):
        door.process("colect")


def test_it_says_what_it_waits_for_and_ends_at_sigterm(tmp_path: Path) -> None:
    """The first process of a container ignores SIGTERM unless it says otherwise: it would be killed a minute later."""
    environment = {**os.environ, "CONFIG_SECRETS_DIR": str(tmp_path)}
    waiting = subprocess.Popen(
        [sys.executable, "-m", "backupflow", "process", "flower"], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert waiting.stderr
        said = waiting.stderr.readline()
        assert said.startswith(f"waiting for flower.redis, flower.web in CONFIG_SECRETS_DIR={tmp_path}: ")
        assert "docs/how-to/scale-out.md" in said
        waiting.send_signal(signal.SIGTERM)
        assert waiting.wait(60) == 128 + signal.SIGTERM
    finally:
        waiting.kill()
        waiting.communicate()
