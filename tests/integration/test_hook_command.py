"""A command as a hook: real processes that take an event, fail, hang, print without end, and leave others behind."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import psutil
import pytest

from backupflow.adapters.hook import CommandHook
from backupflow.core.event_body import trial_body
from tests.acceptance.install import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from backupflow.core.delivery import Answer

EVENT = UUID(int=1)
BODY = trial_body(EVENT, datetime(2026, 11, 22, 8, tzinfo=UTC))
DOCUMENTED = {
    "BACKUPFLOW_EVENT_VERSION",
    "BACKUPFLOW_EVENT_ID",
    "BACKUPFLOW_EVENT_KIND",
    "BACKUPFLOW_EVENT_CODE",
    "BACKUPFLOW_EVENT_SEVERITY",
    "BACKUPFLOW_EVENT_AT",
    "BACKUPFLOW_EVENT_SINCE",
    "BACKUPFLOW_EVENT_TENANT",
    "BACKUPFLOW_EVENT_SITE",
    "BACKUPFLOW_EVENT_DEVICES",
    "BACKUPFLOW_EVENT_DEVICE_COUNT",
    "BACKUPFLOW_EVENT_TEXT",
    "BACKUPFLOW_EVENT_REMEDY",
    "BACKUPFLOW_EVENT_SEQ",
    "BACKUPFLOW_EVENT_AFTER_SEQ",
    "BACKUPFLOW_EVENT_CHANGE_COUNT",
    "BACKUPFLOW_EVENT_COMPONENTS",
}


def run(script: str, *words: str, seconds: float = 30.0, body: str = BODY) -> Answer:
    """A hook that is this Python, with a script; nothing else of the machine is needed."""
    return CommandHook([sys.executable, "-S", "-c", script, *words], seconds).deliver(EVENT, body)


def test_a_command_is_told_by_its_input_and_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The JSON byte for byte, the fields as variables, and nothing of ours beside PATH, HOME and LANG."""
    monkeypatch.setenv("CONFIG_SECRETS_DIR", "/somewhere")
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("LANG", "C")
    told = tmp_path / "told"
    script = (
        "import json, os, sys; text = sys.stdin.read(); "
        "json.dump([text, dict(os.environ), os.getcwd(), sys.argv[2:]], open(sys.argv[1], 'w'))"
    )
    assert run(script, str(told), "a $HOME; b").delivered
    text, environment, folder, words = json.loads(told.read_text())
    assert text == BODY
    assert set(environment) - {"LC_CTYPE"} == {"PATH", "HOME", "LANG", *DOCUMENTED}  # Python adds LC_CTYPE itself
    assert environment["BACKUPFLOW_EVENT_ID"] == "evt_00000000000000000000000000000001"
    assert environment["BACKUPFLOW_EVENT_KIND"] == "test"
    assert environment["BACKUPFLOW_EVENT_SITE"] == ""
    assert (folder, words) == ("/", ["a $HOME; b"])


def test_devices_are_a_line_each(tmp_path: Path) -> None:
    """A loop of a shell reads them; the number is that of all."""
    body = json.dumps(json.loads(BODY) | {"devices": ["a b", "c"], "device_count": 40})
    told = tmp_path / "told"
    script = "import os, sys; open(sys.argv[1], 'w').write(os.environ['BACKUPFLOW_EVENT_DEVICES'])"
    assert run(script, str(told), body=body).delivered
    assert told.read_text() == "a b\nc"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("import sys; print('no such channel'); sys.exit(3)", "it ended with 3: no such channel"),
        ("import os; os.kill(os.getpid(), 15)", "it was ended by signal 15"),
        ("import sys; sys.stderr.write('a\\x1b[31m\\nb'); sys.exit(1)", "it ended with 1: a [31m b"),
        ("import sys; print('token=hunter2 x'); sys.exit(1)", "it ended with 1: token=… x"),
    ],
)
def test_a_command_that_fails_says_how(script: str, says: str) -> None:
    """Its status or signal, and what it printed first, on one line, masked."""
    answer = run(script)
    assert (answer.delivered, answer.whole, answer.says) == (False, says, says.partition(": ")[0])


@pytest.mark.parametrize("words", [["/no/such/program"], ["/etc/passwd"], ["a\0b"]])
def test_a_command_that_cannot_be_started_is_a_failure(words: list[str]) -> None:
    """Not found, not a program, or no name at all."""
    answer = CommandHook(words).deliver(EVENT, BODY)
    assert not answer.delivered
    assert answer.says.startswith("it cannot be started: ")


def test_a_command_that_reads_nothing_is_told_all_the_same() -> None:
    """Its input may be longer than a pipe holds."""
    long = json.dumps(json.loads(BODY) | {"text": ""}) + " " * 1_000_000
    assert run("import sys; sys.exit(0)", body=long).delivered
    assert run("import sys; sys.exit(len(sys.stdin.read()) < 1_000_000)", body=long).delivered


def test_a_command_that_prints_without_end_is_read_and_bounded() -> None:
    """Neither does it wait for a reader, nor does what it prints stay anywhere."""
    answer = run("import sys; [sys.stdout.write('x' * 1000) for _ in range(20_000)]; sys.exit(1)")
    assert not answer.delivered
    assert len(answer.whole) < 250


def test_a_command_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    """Its whole process group: what it started and left is gone too, and so is what a quick one leaves behind."""
    started = tmp_path / "started"
    script = 'sleep 600 & echo $$ $! >"$1"; sleep "$2"'
    answer = CommandHook(["/bin/sh", "-c", script, "hook", str(started), "600"], 2.0).deliver(EVENT, BODY)
    assert (answer.delivered, answer.says) == (False, "it did not end within 2 s and was killed")
    gone(started)
    assert CommandHook(["/bin/sh", "-c", script, "hook", str(started), "0"]).deliver(EVENT, BODY).delivered
    gone(started)


def test_a_command_that_gives_its_output_away_is_not_waited_for() -> None:
    """A child that holds the pipe open does not make a hook of a moment last for a minute."""
    began = time.monotonic()
    script = "import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])"
    assert run(script).delivered
    assert time.monotonic() - began < 50


def test_nothing_of_it_is_left() -> None:
    """No zombie, no descriptor: a hook is run for years."""
    run("pass")
    me = psutil.Process()
    before = me.num_fds()
    for _ in range(5):
        run("pass")
    assert me.num_fds() == before
    assert [child for child in me.children() if child.status() == psutil.STATUS_ZOMBIE] == []


def gone(started: Path) -> None:
    """Wait until the processes that a script wrote down are no more."""
    for pid in map(int, started.read_text().split()):
        wait_for(lambda pid=pid: not psutil.pid_exists(pid) or _is_dead(pid), f"the end of {pid}", 60)  # type: ignore[misc]


def _is_dead(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE  # of a parent that reaps nobody
    except psutil.NoSuchProcess:
        return True
