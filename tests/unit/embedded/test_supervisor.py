"""The supervisor: order, readiness, revival, and nobody left behind. The programs are real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from backupflow.embedded import Program, Restart, State, Supervisor, launch
from backupflow.errors import ServerUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENV = {"PATH": os.defpath}


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    """Stop whatever a test started, also if it failed."""
    with Supervisor() as running:
        yield running


def shell(
    place: Path,
    name: str,
    script: str,
    *,
    ready: Callable[[], bool] | None = None,
    patience: float = 10,
    stop: float = 10,
) -> Program:
    """Run a small program: a shell script in `place`."""
    return Program(
        name=name,
        argv=["/bin/sh", "-c", script],
        cwd=place,
        log=place / f"{name}.log",
        env=ENV,
        ready=ready,
        ready_timeout=timedelta(seconds=patience),
        stop_timeout=timedelta(seconds=stop),
    )


def eventually(what: Callable[[], bool], seconds: float = 15) -> bool:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if what():
            return True
        time.sleep(0.02)
    return what()


def test_each_starts_when_the_one_before_is_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    """The second program must find what the first one made before it was ready."""
    first = shell(tmp_path, "first", "sleep 0.2; touch made; exec sleep 60", ready=(tmp_path / "made").exists)
    second = shell(tmp_path, "second", "test -e made && touch found; exec sleep 60", ready=(tmp_path / "found").exists)
    supervisor.start(first)
    supervisor.start(second)
    assert [(s.name, s.state) for s in supervisor.status()] == [("first", State.RUNNING), ("second", State.RUNNING)]


def test_they_stop_in_reverse_order(tmp_path: Path) -> None:
    """What was started last ends before what it stands on."""
    script = "trap 'echo {0} >> order; exit' TERM; touch {0}; while :; do sleep 0.05; done"
    with Supervisor() as supervisor:
        for name in ("one", "two", "three"):
            supervisor.start(shell(tmp_path, name, script.format(name), ready=(tmp_path / name).exists))
    assert (tmp_path / "order").read_text(encoding="utf-8").split() == ["three", "two", "one"]


def test_a_program_that_ends_before_it_is_ready_is_told_with_its_last_words(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    """The error is one line, and says what the program said."""
    with pytest.raises(ServerUnusable, match="broken: ended: no room on the disk") as caught:
        supervisor.start(shell(tmp_path, "broken", "echo no room on the disk; exit 3", ready=lambda: False))
    assert "\n" not in str(caught.value)


def test_a_program_that_is_never_ready_is_ended(supervisor: Supervisor, tmp_path: Path) -> None:
    """Waiting for readiness has an end, and leaves no process."""
    slow = shell(tmp_path, "slow", "echo $$ > pid; exec sleep 60", ready=lambda: False, patience=0.3)
    with pytest.raises(ServerUnusable, match="not ready in time"):
        supervisor.start(slow)
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text(encoding="utf-8")))


def test_a_program_that_cannot_be_run_is_told(supervisor: Supervisor, tmp_path: Path) -> None:
    """A missing program is an error that names it."""
    program = Program(
        name="none", argv=["/nowhere/none"], cwd=tmp_path, log=tmp_path / "log", env=ENV, ready=lambda: False
    )
    with pytest.raises(ServerUnusable, match="/nowhere/none: No such file"):
        supervisor.start(program)


def test_a_dead_program_is_started_again_after_a_growing_wait(tmp_path: Path) -> None:
    """Each death is told, the wait doubles, and nobody gives up."""
    told: list[Restart] = []
    with Supervisor(on_restart=told.append) as supervisor:
        supervisor.start(shell(tmp_path, "mortal", "echo >> starts; exit 7"))
        assert eventually(lambda: len(told) >= 2)
        assert eventually(lambda: (tmp_path / "starts").read_text(encoding="utf-8").count("\n") >= 2)
        assert supervisor.status()[0].restarts >= 1
    assert [(r.name, r.exit_code, r.deaths, r.wait) for r in told[:2]] == [
        ("mortal", 7, 1, timedelta(seconds=1)),
        ("mortal", 7, 2, timedelta(seconds=2)),
    ]


def test_a_listener_that_fails_does_not_end_the_watch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The thread that watches must outlive its callback: its end would kill every program."""

    def fail(restart: Restart) -> None:
        raise RuntimeError(restart.name)

    with Supervisor(on_restart=fail) as supervisor:
        supervisor.start(shell(tmp_path, "mortal", "echo >> starts; exit 7"))
        assert eventually(lambda: supervisor.status()[0].restarts >= 1)
    assert "RuntimeError: mortal" in capsys.readouterr().err


def test_a_restart_that_fails_is_tried_again(supervisor: Supervisor, tmp_path: Path) -> None:
    """What could not be started at once must not stay away for good."""
    place = tmp_path / "place"
    place.mkdir()
    supervisor.start(replace(shell(place, "one", "exec sleep 60"), log=tmp_path / "one.log"))
    place.rename(tmp_path / "elsewhere")
    with pytest.raises(ServerUnusable):
        supervisor.restart("one")
    (tmp_path / "elsewhere").rename(place)
    assert eventually(lambda: supervisor.status()[0].pid is not None)
    assert supervisor.status()[0].state is State.RUNNING


def test_restart_gives_a_new_process(supervisor: Supervisor, tmp_path: Path) -> None:
    """An asked-for restart is no death: no wait, no count."""
    supervisor.start(shell(tmp_path, "one", "exec sleep 60"))
    before = supervisor.status()[0].pid
    supervisor.restart("one")
    after = supervisor.status()[0]
    assert before is not None
    assert not psutil.pid_exists(before)
    assert after.pid != before
    assert (after.state, after.restarts) == (State.RUNNING, 0)


def test_who_does_not_stop_when_asked_is_killed_with_his_children(tmp_path: Path) -> None:
    """A deaf program ends all the same, and so does what it started."""
    script = "trap '' TERM; sleep 60 & echo $! > child; echo $$ > .pid; mv .pid pid; while :; do sleep 0.1; done"
    with Supervisor() as supervisor:
        supervisor.start(shell(tmp_path, "deaf", script, ready=(tmp_path / "pid").exists, stop=0.3))
        pids = [int((tmp_path / name).read_text(encoding="utf-8")) for name in ("pid", "child")]
    assert eventually(lambda: not any(_alive(pid) for pid in pids))


def test_children_of_a_program_that_died_are_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    """What is left of a dead program's group would compete with the next one."""
    script = "sleep 60 & echo $! >> children; exit 1"
    supervisor.start(shell(tmp_path, "mortal", script))
    assert eventually(lambda: supervisor.status()[0].restarts >= 1)
    first = int((tmp_path / "children").read_text(encoding="utf-8").split()[0])
    assert eventually(lambda: not _alive(first))


def test_nothing_may_be_started_after_the_stop(tmp_path: Path) -> None:
    """A late start would wait for ever for a thread that has ended."""
    supervisor = Supervisor()
    supervisor.stop()
    with pytest.raises(ValueError, match="late"):
        supervisor.start(shell(tmp_path, "late", "exit"))


_HOST = """
import sys, time
from pathlib import Path
from backupflow.embedded import Program, Supervisor
place = Path(sys.argv[1])
with Supervisor() as supervisor:
    for name in ("one", "two"):
        program = Program(
            name=name, argv=["/bin/sh", "-c", f"echo $$ > .{name}; mv .{name} {name}; exec sleep 60"],
            cwd=place, log=place / "log", env={}, ready=(place / name).exists,
        )
        supervisor.start(program)
    try:
        print("up", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(0.6)  # long enough for a death to be seen
        alive = [status for status in supervisor.status() if status.state == "running" and not status.restarts]
        print("asked", len(alive), flush=True)
print("down", flush=True)
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a supervisor with two programs in a process of its own, and a session of its own as a terminal gives it."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_HOST), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            yield process
        finally:
            process.kill()


def test_no_child_outlives_a_supervisor_that_was_killed(host: subprocess.Popen[str], tmp_path: Path) -> None:
    """After kill -9 nobody is left who could write."""
    pids = [int((tmp_path / name).read_text(encoding="utf-8")) for name in ("one", "two")]
    assert all(_alive(pid) for pid in pids)
    host.kill()
    assert eventually(lambda: not any(_alive(pid) for pid in pids))


def test_an_interrupt_of_the_terminal_reaches_the_supervisor_alone(host: subprocess.Popen[str]) -> None:
    """Ctrl-C goes to the whole foreground group; the programs are stopped in order, not by the terminal."""
    os.killpg(host.pid, signal.SIGINT)
    said, _ = host.communicate(timeout=30)
    assert said == "asked 2\ndown\n"


def test_a_child_whose_supervisor_is_gone_already_does_not_start(tmp_path: Path) -> None:
    """The death signal cannot tell of a death before it was asked for; the launcher looks once more."""
    argv = [sys.executable, "-I", "-S", launch.__file__, "1", "-1", "-1", "/bin/touch", str(tmp_path / "ran")]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert "the supervisor is gone" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_child_leaves_no_core_file_and_no_open_files_to_others(supervisor: Supervisor, tmp_path: Path) -> None:
    """A core file would hold keys; a new file is the owner's alone."""
    script = "ulimit -c > core; touch new done; exec sleep 60"
    supervisor.start(shell(tmp_path, "one", script, ready=(tmp_path / "done").exists))
    assert (tmp_path / "core").read_text(encoding="utf-8") == "0\n"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600


def test_upkeep_is_done_while_a_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The regular chore gets the process id."""
    monkeypatch.setattr("backupflow.embedded.supervisor._UPKEEP_EVERY", 0.0)
    seen: list[int] = []
    done = threading.Event()

    def chore(pid: int) -> None:
        seen.append(pid)
        done.set()

    with Supervisor() as supervisor:
        program = Program(
            name="one", argv=["/bin/sleep", "60"], cwd=tmp_path, log=tmp_path / "log", env=ENV, upkeep=chore
        )
        supervisor.start(program)
        pid = supervisor.status()[0].pid
        assert done.wait(10)
    assert seen[0] == pid


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
