"""The demo: it shows what is so, and says so when it is not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import backupflow

TREE = Path(backupflow.__file__).parents[1]
SECONDS = 400.0
# What is switched off, and the line of the story that must fail then.
SAYS = {"pin check": "to be blocked", "dedup": "unchanged routers have", "deadline": "to time out"}
# How: file, the line as it is, the line as it then is. The pin is checked twice, and either would do.
SWITCHED_OFF = {
    "pin check": (
        ("core/trust.py", "return Trusted() if same else Mismatch(pinned, offered)", "return Trusted()"),
        ("adapters/ssh/connection.py", "if target.pinned not in {None, offered}:", "if False:"),
    ),
    "dedup": (("core/sequence.py", "return previous.content_hash != present.content_hash", "return True"),),
    "deadline": (
        (
            "adapters/ssh/watchdog.py",
            "    def _end_overdue(self, now: float) -> None:\n",
            "    def _end_overdue(self, now: float) -> None:\n        return\n",
        ),
    ),
}


def run_demo(tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the demo of a tree, as its workers do, from a folder that is not the tree."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CONFIG_", "BACKUPFLOW_"))}
    return subprocess.run(
        [sys.executable, "-m", "backupflow", "demo", *options],
        cwd=tree.parent,
        env=environment | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def without(folder: Path, *switches: str) -> Path:
    """A copy of the tree in which something is switched off; what is compiled of the rest goes along."""
    tree = folder / "tree"
    for part in ("backupflow", "alembic"):
        shutil.copytree(TREE / part, tree / part)
    shutil.copy(TREE / "celeryconfig.py", tree)
    for file, as_is, off in [line for switch in switches for line in SWITCHED_OFF[switch]]:
        text = (tree / "backupflow" / file).read_text("utf-8")
        assert text.count(as_is) == 1, f"{file} is not as this test knows it"
        (tree / "backupflow" / file).write_text(text.replace(as_is, off), "utf-8")
    return tree


@pytest.mark.timeout(SECONDS)
def test_every_line_of_the_story_holds(tmp_path: Path) -> None:
    """The demo ends well, each of its lines told from rows, with the export of a router at the end."""
    done = run_demo(without(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("  ok  ") == 7
    (told,) = re.findall(r"ip/firewall/address-list: .*address (\S+) → (\S+)\n", done.stdout)
    diff = [line.partition("| ")[2] for line in done.stdout.splitlines() if "| " in line]
    for mark, address in zip("-+", told, strict=True):
        assert any(line[:1] == mark and f"address={address}" in line for line in diff), done.stdout
    assert "by RouterOS" in done.stdout
    assert "Traceback" not in done.stderr
    (folder,) = re.findall(r"setting up real servers in (\S+)", done.stdout)
    assert f"{folder} was taken away again" in done.stdout.splitlines()[-1]
    assert not Path(folder).exists()


@pytest.mark.timeout(SECONDS * 3)
def test_the_demo_fails_when_a_promise_is_broken(tmp_path: Path, size: str) -> None:
    """Without the pin check, the dedup or the deadline its line fails, and so does the demo; in a soak one by one."""
    runs = [tuple(SWITCHED_OFF)] if size == "small" else [(switch,) for switch in SWITCHED_OFF]
    for number, switches in enumerate(runs):
        done = run_demo(without(tmp_path / str(number), *switches), "--patience", "18")
        assert done.returncode == 1, done.stdout + done.stderr
        for switch in SWITCHED_OFF:
            failed = any("FAILED" in line and SAYS[switch] in line for line in done.stdout.splitlines())
            assert failed == (switch in switches), done.stdout
