"""`backup` from two terminals at once, by force and without, against a real router: one session, one word each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from backupflow.cli.exits import Exit
from backupflow.simulator import Fleet, RouterSpec
from tests.acceptance.install import wait_for
from tests.integration.worker_path import LIMITS, WorkerPath, own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from backupflow.core.model import DeviceId
    from tests.conftest import Install
    from tests.integration.scene import Ran, Scene

SECONDS = 120.0


class Terminal:
    """One command under way."""

    def __init__(self, install: Install, *argv: str) -> None:
        environment = {**os.environ, **install.environment}
        pipe = subprocess.PIPE
        whole = [sys.executable, "-m", "backupflow", *argv]
        self._process = subprocess.Popen(whole, env=environment, stdout=pipe, stderr=pipe)

    def told(self) -> tuple[int, str]:
        """Its exit code and what it wrote, once it has ended."""
        out, err = self._process.communicate(timeout=SECONDS)
        assert b"Traceback" not in err
        return self._process.returncode, out.decode()

    def kill(self) -> None:
        """Whatever it does."""
        self._process.kill()
        self._process.wait()


class Desk:
    """A router, its device, and terminals that are all closed at the end."""

    def __init__(self, install: Install, fleet: Fleet) -> None:
        self.path = WorkerPath(install)
        self.router = fleet["r1"]
        self.device: DeviceId = self.path.add(self.router.port, own("backup"))
        self.name = self.path.device(self.device).name
        self.path.write("UPDATE device SET next_due_at = now() + interval '1 h'")
        self.terminals: list[Terminal] = []

    def open(self, *options: str) -> Terminal:
        """Ask for it from one more terminal; its request is written down when this returns."""
        asked = self._asked()
        self.terminals.append(Terminal(self.path.install, "backup", self.name, "--wait", *options))
        wait_for(lambda: self._asked() > asked, "the request", SECONDS)
        return self.terminals[-1]

    def block(self) -> None:
        """It has refused the login an hour ago."""
        self.path.write(
            "UPDATE device SET blocked_code = 'authentication_failed', blocked_detail = 'as it was', failures = 1, "
            "blocked_at = date_trunc('hour', now()) WHERE id = :d",
            d=self.device,
        )

    def standing(self) -> tuple[Any, ...]:
        """The block, and what counts."""
        row = self.path.device(self.device)
        return row.blocked_code, row.blocked_detail, row.blocked_at, row.failures

    def logins(self) -> int:
        """How many the router was offered."""
        return sum(event.kind == "login_offered" and event.facts["method"] != "none" for event in self.router.history)

    def _asked(self) -> int:
        return len(self.path.rows("SELECT id FROM request"))


@pytest.fixture
def desk(install: Install) -> Iterator[Desk]:
    """Make one, and close its terminals."""
    with Fleet([RouterSpec("r1")]) as fleet:
        made = Desk(install, fleet)
        yield made
        for terminal in made.terminals:
            terminal.kill()


def test_two_terminals_watch_one_forced_session(desk: Desk) -> None:
    """Both are told success with the hash that `snapshots` shows, and that the block stays: it is as it was."""
    desk.block()
    before = desk.standing()
    first, second = desk.open("--force", "--json"), desk.open("--force")
    assert desk.path.run(desk.device).what == "published"
    (code, document), (also, lines) = first.told(), second.told()
    assert (code, also) == (Exit.OK, Exit.OK)
    (one,) = json.loads(document)["requests"]
    (kept,) = desk.path.install.wiring.snapshots.runs(desk.path.tenant_id, desk.name, 5)
    assert (one["result"], one["is_change"], one["hash"]) == ("success", True, kept.content_hash.hex())
    assert one["blocked"] == "authentication_failed"
    last = lines.splitlines()[-1]
    assert f"{desk.name}: success – changed, snapshot 1, hash {one['hash'][:8]}" in last
    assert f"it stays blocked: authentication_failed, `device unblock {desk.name}` ends that" in last
    assert desk.standing()[:3] == before[:3]
    answers = [row.answer for row in desk.path.rows("SELECT answer FROM request ORDER BY id")]
    assert answers == ["claimed", "attached"]
    acts = desk.path.rows("SELECT detail FROM audit WHERE action = 'config_backup_forced' ORDER BY id")
    assert [act.detail["blocked"] for act in acts] == ["authentication_failed"] * 2
    assert desk.logins() == 1


def test_a_blocked_device_locks_and_a_forced_refusal_fails(desk: Desk, scene: Scene) -> None:
    """Without force nothing is tried, which is told with what mends it; by force one login goes out, and no more."""
    desk.block()
    before = desk.standing()
    locked = while_beat(desk, lambda: scene.run("backup", desk.name, "--wait"))
    said = locked.out.decode()
    assert (locked.code, desk.logins()) == (Exit.LOCKED, 0)
    assert f"{desk.name}: locked – blocked: authentication_failed; `device edit {desk.name} --ask-password`" in said
    assert f"`backup {desk.name} --force --wait`" in said
    desk.router.behave(refuse_login=True)
    failed = while_beat(desk, lambda: scene.run("backup", desk.name, "--wait", "--force", "--json"))
    assert (failed.code, json.loads(failed.out)["requests"][0]["result"]) == (Exit.WRONG, "failed")
    assert (desk.standing(), desk.logins()) == (before, 1)


def while_beat(desk: Desk, command: Callable[[], Ran]) -> Ran:
    """Run a command while beat and a worker do what it asks for."""
    done = threading.Event()

    def work() -> None:
        while not done.wait(0.2):
            desk.path.alive()
            claimed = desk.path.install.wiring.claims.claim(LIMITS)
            for claim in claimed.new if claimed else ():
                desk.path.collect(claim.collection_id)

    beat = threading.Thread(target=work)
    beat.start()
    try:
        return command()
    finally:
        done.set()
        beat.join(SECONDS)


def test_force_is_of_devices_that_are_named(scene: Scene) -> None:
    """A whole fleet by force would lock its account."""
    scene.add()
    assert scene.run("backup", "--all", "--force").code == Exit.USAGE
    assert scene.rows("SELECT 1 FROM request") == []
