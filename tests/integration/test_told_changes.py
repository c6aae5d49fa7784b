"""What a hook is told of a change: sealed by the real vault until a real command gets it."""
# ruff: noqa: ANN401, S608 - documents have values of any type; the statements are put together of our own constants

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from backupflow.adapters.db.told_changes import tell_change
from backupflow.core.told_change import ToldChange, pack_lines
from backupflow.flows.telling import Told, tell
from backupflow.settings import Settings
from backupflow.wiring import Wiring, kill_points
from tests.integration.scene import export_text

if TYPE_CHECKING:
    from pathlib import Path

    from backupflow.core.model import Seq
    from tests.integration.scene import Scene

MARKER = "Hy5-planted-marker"
LINE = f'ip/firewall/filter: accept rule "{MARKER}": src-address 10.0.0.0/8 → 10.1.0.0/16'
# Appends what it is told, by its input and by its environment, a line each.
HOOK = "import json, os, sys; print(json.dumps([sys.stdin.read(), dict(os.environ)]), file=open(sys.argv[1], 'a'))"
SEND = "from backupflow.wiring import wiring; from backupflow.flows.telling import tell; "
SEND += "tell(wiring().tell_ports, lambda: False)"


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the hook was told is written there."""
    told, script = tmp_path / "told", tmp_path / "hook.py"
    script.write_text(HOOK)
    monkeypatch.setenv("CONFIG_ON_EVENT", f"{sys.executable} -S {script} {told}")
    return told


def changed(scene: Scene) -> Seq:
    """A device whose second configuration was just interpreted; its number."""
    device = scene.add()
    first = scene.observe(device, export_text("one"))
    seq = scene.observe(device, export_text("two"))
    wiring = scene.install.wiring
    tenant = wiring.devices("reader").tenant("default")
    sealed = wiring.vault("interpreter").seal_config(tenant, device, pack_lines((tenant, device, seq), [LINE]))
    told = ToldChange("change", seq, first, 1, components=("ip/firewall/filter",))
    with wiring.engine("interpreter").begin() as tx:
        assert tell_change(tx, (tenant, device), told, sealed)
    return seq


def send() -> Told:
    """One round, as the task does it."""
    sender = Wiring(Settings())
    try:
        return tell(sender.tell_ports, lambda: False)
    finally:
        sender.close()


def told_to(heard: Path) -> list[tuple[str, dict[str, str]]]:
    """Bodies and environments."""
    return [tuple(json.loads(line)) for line in heard.read_text().splitlines()]


def everything(scene: Scene) -> str:
    """All rows there are, in clear text."""
    wiring = scene.install.wiring
    with wiring.engine("migrator").begin() as tx:
        names = tx.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all()
        return "\n".join(str(row) for name in names for row in tx.execute(text(f"SELECT x::text FROM {name} x")))


def run(scene: Scene, *words: str) -> Any:
    """A command with --json; its document."""
    ran = scene.run(*words, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_the_hook_gets_what_lies_nowhere_in_clear(scene: Scene, heard: Path) -> None:
    """A command reads the lines in its input, not its environment; before and after, no row and no list says them."""
    seq = changed(scene)
    assert MARKER not in everything(scene)
    assert send() == Told(made=1, delivered=1)
    [(body, environment)] = told_to(heard)
    said = json.loads(body)
    assert (said["kind"], said["changes"], said["devices"], said["seq"]) == ("changed", [LINE], ["core-1"], seq)
    assert MARKER not in str(environment)
    assert environment["BACKUPFLOW_EVENT_KIND"] == "changed"
    [listed] = run(scene, "event", "list")["events"]
    assert (listed["event"]["changes"], listed["event"]["change_count"]) == ([], 1)
    assert b"core-1: 1 change in ip/firewall/filter" in scene.run("event", "list").out
    assert MARKER not in everything(scene)


def test_who_dies_after_it_was_sent_sends_the_same_again(scene: Scene, heard: Path) -> None:
    """Killed between the answer and its mark: the same bytes, opened anew; nothing of them is in what it prints."""
    changed(scene)
    environment = dict(os.environ) | {kill_points.VARIABLE: "Hook.deliver:after:1"}
    died = subprocess.run([sys.executable, "-c", SEND], capture_output=True, timeout=100, check=False, env=environment)
    assert died.returncode == kill_points.STATUS, died.stderr
    assert MARKER.encode() not in died.stdout + died.stderr
    assert send() == Told(delivered=1)
    (first, _), (second, _) = told_to(heard)
    assert first == second
    assert MARKER in first


def test_a_rotation_of_the_keys_takes_what_waits_along(scene: Scene, heard: Path) -> None:
    """What is to be told is sealed anew with everything else, and told as it was."""
    changed(scene)
    run(scene, "keys", "rotate")
    run(scene, "keys", "rewrap")
    with scene.install.wiring.engine("operator").begin() as tx:
        [sealed] = tx.scalars(text("SELECT sealed FROM outbox WHERE sealed IS NOT NULL")).all()
    assert sealed.startswith("vault:v2:")
    assert send() == Told(made=1, delivered=1)
    assert json.loads(told_to(heard)[0][0])["changes"] == [LINE]
