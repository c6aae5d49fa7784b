"""The checker over a real install: it finds nothing where nothing is wrong, and each row that was altered."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import backupflow
from backupflow.core.model import Login
from backupflow.simulator import Fleet, RouterSpec
from tests.acceptance.install import wait_for
from tests.checker.case import Terms
from tests.checker.check import Subject, check
from tests.faults.aftermath import OWED
from tests.faults.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUTERS = 3
SECONDS = 120.0
# A row altered in each of the ways in which a defect, or somebody with the rights of a superuser, might; and the word
# of the checker on it. Triggers and references are off meanwhile: they would refuse most of it.
ALTERED = {
    "I1: device r0: seq 1 as the first has is_change False": """
        UPDATE collection c SET is_change = false FROM device d
        WHERE d.id = c.device_id AND d.name = 'r0' AND c.seq = (SELECT min(seq) FROM collection
            WHERE device_id = d.id AND state = 'stored')""",
    "I1: device r2: seq 2 is interpreted against seq 0": """
        UPDATE collection SET interpreted_after_seq = 0 WHERE seq = 2
          AND device_id = (SELECT id FROM device WHERE name = 'r2')""",
    "I2: device r0: what is told of seq 2": """
        UPDATE interpretation SET diff_sealed = changes_sealed
        WHERE seq = 2 AND device_id = (SELECT id FROM device WHERE name = 'r0')""",
    "I2: device r1: content": """
        UPDATE content SET sealed = other.sealed FROM content other
        WHERE content.device_id = (SELECT id FROM device WHERE name = 'r1')
          AND other.device_id = (SELECT id FROM device WHERE name = 'r2')""",
    "I3: device r2: current seq is 0": "UPDATE device SET current_seq = 0 WHERE name = 'r2'",
    "I6: device r0: a login was offered": """
        UPDATE host_key SET first_seen_at = first_seen_at + interval '1 hour', last_verified_at = NULL
        WHERE device_id = (SELECT id FROM device WHERE name = 'r0')""",
    "I8: device r1: the rows of seq 2 are gone": """
        DELETE FROM collection WHERE seq = 2 AND device_id = (SELECT id FROM device WHERE name = 'r1')""",
    "I10: device r2: seq 2 is stored with the reason": """
        UPDATE collection SET code = 'altered' WHERE seq = 2
          AND device_id = (SELECT id FROM device WHERE name = 'r2')""",
    "I12: act 2 (device_added) is not what was written down": "UPDATE audit SET actor = 'nobody' WHERE id = 2",
}


@dataclass(frozen=True)
class Scene:
    """An install whose processes are stopped, with a history that is true."""

    stack: Stack
    fleet: Fleet
    history: Path

    def findings(self) -> list[str]:
        """What the checker says, of what was loaded in this process."""
        wiring = self.stack.wiring
        settled = Terms(settled=list(self.fleet), policy=wiring.policy, at_work=False, interpreted=True)
        return check(Subject(wiring.engine("reader"), wiring.vault("reader"), self.fleet.history, settled))

    def command(self) -> subprocess.CompletedProcess[str]:
        """What it says as a program, from the simulator's file."""
        tree = str(Path(backupflow.__file__).parents[1])
        program = [sys.executable, "-m", "tests.checker", "--data-dir", str(self.stack.data)]
        given = [*program, "--history", str(self.history), "--settled", "--interpreted"]
        environment = os.environ | {"PYTHONPATH": tree}
        return subprocess.run(given, capture_output=True, text=True, cwd=tree, env=environment, check=False)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Collect each router, edit it, and collect it again."""
    root = tmp_path_factory.mktemp("checked")
    history = root / "history"
    specs = [RouterSpec(f"r{number}", seed=number) for number in range(ROUTERS)]
    with Fleet(specs, log_path=history) as fleet, Stack(root) as stack:
        stack.start_all()
        for name in fleet:
            stack.add(name, fleet[name].port, Login("backup", "backup"))
        stack.await_rounds(fleet, 1, SECONDS)
        for name in fleet:
            fleet[name].edit()
        stack.await_rounds(fleet, 1, SECONDS)
        wait_for(lambda: not stack.rows(OWED), "every change to be interpreted", SECONDS)
        for worker in reversed(stack.workers):  # beat first, so that the others have done what it gave them
            worker.stop()
        yield Scene(stack, fleet, history)


@pytest.mark.timeout(600)
def test_what_was_altered_is_found_in_a_real_install(scene: Scene) -> None:
    """True histories are believed, and of each altered row it is said which promise that broke."""
    said = scene.command()
    assert said.returncode == 0, said.stdout + said.stderr
    assert f"every promise holds: {ROUTERS} devices" in said.stdout
    for statement in ALTERED.values():
        scene.stack.admin(f"SET LOCAL session_replication_role = replica; {statement}")
    found = scene.findings()
    missed = [wanted for wanted in ALTERED if not any(one.startswith(wanted) for one in found)]
    assert missed == [], found
    said = scene.command()
    assert said.returncode == 1
    assert said.stdout.splitlines()[-1].endswith("promises are broken")
