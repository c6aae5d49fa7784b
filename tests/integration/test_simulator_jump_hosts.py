"""Simulated jump hosts of a simulator that is a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import pytest

from backupflow.adapters.ssh import SshCollector, jump
from backupflow.adapters.ssh.jump import ways_of_process
from backupflow.core.model import Login, Target, Timeouts
from backupflow.errors import ConnectionRefused, JumpHostUnreachable
from backupflow.simulator import Fleet, RouterSpec
from tests.acceptance.install import wait_for
from tests.integration.jumping import EXPORT, TO_ROUTER, Way, collect, pinned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def simulator(*arguments: str) -> Iterator[tuple[IO[str], IO[str]]]:
    """The program, with its commands and answers; it ends with its standard input."""
    argv = [sys.executable, "-m", "backupflow.simulator", *arguments]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield process.stdin, process.stdout
        finally:
            ways_of_process().close()
            process.stdin.close()
            process.wait(30)


def test_jump_hosts_are_announced_and_can_be_stopped_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with a login and a key of its own; it comes back on the port that it had."""
    monkeypatch.setattr(jump, "SAME_MOMENT_SECONDS", 0.0)
    routers, hops = tmp_path / "routers", tmp_path / "hops"
    with simulator("--count=1", "--jump-hosts=2", f"--announce={routers}", f"--announce-jump-hosts={hops}") as (
        commands,
        answers,
    ):

        def told(**command: object) -> dict[str, Any]:
            commands.write(json.dumps(command) + "\n")
            commands.flush()
            return dict(json.loads(answers.readline()))

        wait_for(routers.exists, "the announcement", 60)
        (router,) = map(json.loads, routers.read_text().splitlines())
        first, second = map(json.loads, hops.read_text().splitlines())
        assert first["fingerprint"] != second["fingerprint"]
        target = Target(router["host"], router["port"], None, legacy_ssh=False, timeouts=Timeouts())
        at = Target(first["host"], first["port"], None, legacy_ssh=False, timeouts=Timeouts())
        way, login = Way(at, Login(first["username"], first["password"])), Login(router["username"], router["password"])
        assert collect(target, way, login).exit_status == 0
        assert [key.fingerprint for key in way.admitted] == [first["fingerprint"]]
        assert told(jump="j1", do="stop") == {"ok": True}
        with pytest.raises(JumpHostUnreachable) as failure:
            collect(target, way, login)
        assert isinstance(failure.value.__cause__, ConnectionRefused)
        assert told(jump="j1", do="resume") == {"ok": True}
        assert collect(target, way, login).exit_status == 0
        assert told(jump="j1", do="stats")["logins"] == 2
        assert told(jump="j1", behave={"listening": "no"})["ok"] is False
        assert told(jump="j3", do="stop")["ok"] is False


def test_many_routers_may_share_few_addresses() -> None:
    """Any address of loopback, and any port of it."""
    specs = [RouterSpec(f"r{number}", host=f"127.0.0.{2 + number % 2}") for number in range(4)]
    with Fleet(specs) as fleet:
        assert sorted({router.host for router in fleet.values()}) == ["127.0.0.2", "127.0.0.3"]
        assert len({(router.host, router.port) for router in fleet.values()}) == 4
        with SshCollector().session(pinned(fleet["r3"]), lambda _: None, lambda: TO_ROUTER) as session:
            assert session.run(EXPORT).exit_status == 0
        assert fleet["r3"].wait_idle()
        assert [router.stats.exports for router in fleet.values()] == [0, 0, 0, 1]
