"""The fuzzer itself: each target holds for a few hundred inputs, and what is planted is found."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backupflow.core import envelope, message
from backupflow.core.model import Seq
from backupflow.errors import DeviceTimeout
from tools.fuzz import mutation, routeros, ssh
from tools.fuzz.harness import HANG, Target, Watch, shrink
from tools.fuzz.targets import MODULES, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backupflow.core.model import HostKey, Login

ROOT = Path(__file__).resolve().parents[2]
EXECUTIONS = {"ssh": 80, "pump": 16}
MOST = 400


def fuzzed(target: Target, executions: int, hang: float = 10.0) -> Watch:
    """Run a target over its seeds first, then over changed ones: always the same."""
    watch = Watch(target, slowdown=4, hang=hang)
    mutation.run(watch, random.Random(1), lambda done: done < executions)
    return watch


@pytest.mark.parametrize("name", MODULES)
def test_a_target_holds_for_its_seeds_and_some_changes(name: str) -> None:
    """What the fuzzer runs for minutes runs here for a moment: no input fails, and none is left out."""
    watch = fuzzed(load(name), EXECUTIONS.get(name, MOST))
    assert watch.findings.failures == {}, watch.findings.traces
    assert watch.findings.executions == EXECUTIONS.get(name, MOST)


@pytest.mark.parametrize("name", MODULES)
def test_a_seed_is_no_longer_than_an_input_may_be(name: str) -> None:
    """A seed that is cut off begins nowhere near where its author thought."""
    target = load(name)
    assert len(set(target.seeds)) > 20
    assert [seed[:40] for seed in target.seeds if len(seed) > target.longest] == []


def planted(check: Callable[[bytes], None], **bounds: float) -> Target:
    """A target with one fault in it."""
    return Target("planted", check, (b"", b"/ip address\nadd address=x\n"), (b"[ find", b"\xff", b"="), **bounds)  # type: ignore[arg-type]


def test_a_planted_crash_is_found_named_and_shortened() -> None:
    """An exception that nobody declared is a finding, and its shortest input what a test is written of."""

    def check(data: bytes) -> None:
        if b"\xff" in data and b"[" in data:
            raise KeyError(data)

    watch = fuzzed(planted(check), 2000)
    ((name, data),) = watch.findings.failures.items()
    assert name.startswith("KeyError in check")
    assert "KeyError" in watch.findings.traces[name]
    assert sorted(shrink(watch, data, name)) == sorted(b"\xff[")


def test_a_planted_hang_is_stopped_and_ends_the_run() -> None:
    """A loop that never ends is stopped by the processor time that it took."""

    def check(data: bytes) -> None:
        while b"\xff" in data:
            pass

    watch = fuzzed(planted(check), 2000, hang=0.05)
    assert watch.findings.failures.keys() == {HANG}
    assert watch.findings.executions < 2000
    assert "check" in watch.findings.traces[HANG]


def test_a_hang_is_stopped_through_code_that_catches_everything() -> None:
    """A parser that swallows exceptions would swallow a time-out that is one."""

    def check(_data: bytes) -> None:
        while True:
            try:
                sum(range(1000))
            except Exception:  # noqa: BLE001, S112 - as planted
                continue

    assert fuzzed(planted(check), 1, hang=0.05).findings.failures == {HANG: b""}


def test_a_planted_slow_input_is_found() -> None:
    """An input may take so much time for its size, and no more."""

    def check(data: bytes) -> None:
        if b"\xff" in data:
            sum(range(100_000))

    watch = fuzzed(planted(check, seconds=0.0002, seconds_per_byte=0), 60)
    assert watch.findings.failures.keys() == {"slow"}
    assert b"\xff" in watch.findings.slowest


def test_work_that_grows_faster_than_the_text_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small inputs hide that: a part of each is repeated, and the times, which are given here, are compared."""
    steep = {routeros._judge: 2, routeros._normalize: 1}
    monkeypatch.setattr(routeros, "_seconds", lambda work, text: (len(text) / 1000) ** steep[work])
    watch = fuzzed(load("pump"), 3)
    assert watch.findings.failures.keys() == {"law broken: judge takes linear time"}


def test_a_broken_law_of_each_kind_of_target_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target whose promise is not looked at would be a target for show."""
    ticks = count(1)
    monkeypatch.setattr(routeros, "normalize", lambda raw: raw.upper() + b"!")
    monkeypatch.setattr(routeros, "decode", lambda inner: inner.replace(b"\\\\", b"\\"))
    monkeypatch.setattr(envelope, "unpack", lambda _plaintext, _most: (None, bytes(70_000)))
    as_written = message.decode
    monkeypatch.setattr(message, "decode", lambda payload: replace(as_written(payload), seq=Seq(next(ticks))))
    for name in ("normalizer", "lexer", "envelope", "message", "read"):
        assert fuzzed(load(name), 200).findings.failures, name


class Collector:
    """A client with a fault: what `session` does in it."""

    fault: Callable[[], bool]  # whether it lets anybody in

    @contextmanager
    def session(
        self, _target: object, _admit: Callable[[HostKey], None], _login: Callable[[], Login], via: object = None
    ) -> Iterator[Any]:
        """Meet the fault instead of a router."""
        if type(self).fault():
            yield
        raise DeviceTimeout


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Put a faulty client into the target; what the fault waits for is set at the end."""
    monkeypatch.setattr(ssh, "SshCollector", Collector)
    monkeypatch.setattr(ssh, "_LATEST", 0.5)
    event = threading.Event()
    yield event
    event.set()


def test_a_session_that_outlives_its_deadline_is_found(
    release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that waits for ever holds a thread of a collector for ever."""
    monkeypatch.setattr(Collector, "fault", staticmethod(lambda: release.wait(30) and False), raising=False)
    assert fuzzed(ssh.TARGETS[0], 1).findings.failures.keys() == {HANG}


def test_a_foreign_error_of_a_session_is_found(release: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not ours has no verdict: nobody would know what to do next."""

    def fault() -> bool:
        raise ValueError

    monkeypatch.setattr(Collector, "fault", staticmethod(fault), raising=False)
    (name,) = fuzzed(ssh.TARGETS[0], 1).findings.failures
    assert name.startswith("ValueError in fault")
    assert not release.is_set()


def test_a_thread_that_a_session_leaves_behind_is_found(
    release: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand failed sessions would be a thousand threads."""

    def fault() -> bool:
        threading.Thread(target=release.wait, args=(30,)).start()
        return False

    monkeypatch.setattr(Collector, "fault", staticmethod(fault), raising=False)
    found = fuzzed(ssh.TARGETS[0], 1).findings.failures.keys()
    assert found == {"law broken: threads and descriptors are at their baseline"}


def test_the_ssh_seeds_reach_every_step_of_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fuzzer that never gets past the key exchange tests nothing behind it."""
    seen: set[str] = set()
    judged = ssh._is_ours

    def note(failure: BaseException | None) -> None:
        seen.add(type(failure).__name__)
        judged(failure)

    monkeypatch.setattr(ssh, "_is_ours", note)
    steps = {
        "NoneType",
        "AlgorithmsIncompatible",
        "AuthenticationFailed",
        "CommandRejected",
        "DeviceUnreachable",
        "HostKeyMismatch",
        "OutputTruncated",
    }
    for _ in range(3):  # on a busy machine a step of a session may take longer than it may
        fuzzed(ssh.TARGETS[0], EXECUTIONS["ssh"])
        if seen >= steps:
            break
    assert seen >= steps


def test_the_program_says_what_it_ran(tmp_path: Path) -> None:
    """One line a target, and success if nothing failed."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tools.fuzz",
            "message",
            "--unguided",
            "--seconds",
            "1",
            "--keep",
            str(tmp_path / "work"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timedelta(minutes=1).total_seconds(),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "message" in done.stdout
    assert "0 failures" in done.stdout


def test_the_program_fails_if_a_target_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was found must not scroll by: the exit status tells, and the input is kept."""
    program = __import__("tools.fuzz.__main__", fromlist=["main"])
    kept = tmp_path / "kept"
    (kept / "message").mkdir(parents=True)
    found = {
        "name": "message",
        "executions": 1,
        "seconds": 1.0,
        "coverage": [],
        "failures": {"ValueError in x": b"{}"},
        "traces": {"ValueError in x": "Traceback"},
        "slowest": "",
        "slowest_seconds": 0.0,
    }
    monkeypatch.setattr(program, "fuzz", lambda *_, **__: found)
    monkeypatch.setattr(sys, "argv", ["fuzz", "message", "--keep", str(kept)])
    assert program.main() == 1
    assert (kept / "message" / "failure-0").read_bytes() == b"{}"
