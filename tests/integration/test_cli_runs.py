"""`runs` and `run show`: what was tried of a device, as a person and a program are told it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from backupflow.cli.exits import Exit
from tests.integration.scene import export_text

if TYPE_CHECKING:
    from tests.integration.scene import Scene

FAILED = """
    UPDATE collection SET state = 'failed', code = 'device_timeout', detail = :said, ended_at = now() WHERE id = :id"""


def test_runs_are_told_in_lines_of_those_that_ended_alike(scene: Scene) -> None:
    """The newest first; what a router said of itself cannot harm a terminal."""
    device_id = scene.add()
    assert "nothing of core-1 was tried yet" in scene.run("runs", "core-1").out.decode()
    for name in ("one", "one", "one", "two"):
        scene.observe(device_id, export_text(name))
    for _ in range(2):
        scene.write("collector", FAILED, id=scene.claim(device_id).collection_id, said="evil \x1b[2J")
    lines = scene.run("runs", "core-1").out.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["run", "6", "4", "3", "1"]
    assert "device_timeout" in lines[1]
    assert "\x1b" not in "".join(lines)
    told = json.loads(scene.run("runs", "core-1", "--json", "--limit", "3").out)["runs"]
    assert [(one["result"], one["runs"], one["first_run"], one["run"]) for one in told] == [
        ("failed", 2, 5, 6), ("changed", 1, 4, 4), ("unchanged", 2, 2, 3),
    ]  # fmt: skip
    kept = json.loads(scene.run("snapshots", "core-1", "--json").out)["snapshots"]
    assert told[1]["hash"] == kept[0]["hash"]
    assert kept[0]["hash"][:8] in scene.run("snapshots", "core-1").out.decode()
    assert len(json.loads(scene.run("runs", "core-1", "--json", "--since", "1h").out)["runs"]) == 4
    assert json.loads(scene.run("runs", "core-1", "--json", "--since", "2126-11-20T06:00").out)["runs"] == []
    assert scene.run("runs", "core-1", "--since", "yesterday").code == Exit.USAGE
    assert scene.run("runs", "nowhere").code == Exit.NOT_FOUND


def test_one_run_is_told_with_why_it_ended(scene: Scene) -> None:
    """In words, and the same as JSON; there is none of another number."""
    device_id = scene.add()
    scene.observe(device_id, export_text("one"))
    scene.write("collector", FAILED, id=scene.claim(device_id).collection_id, said="after 60 s")
    shown = scene.run("run", "show", "2").out.decode()
    assert "device_timeout: The device connected but did not finish in time" in shown
    assert "(after 60 s)" not in shown
    assert "after 60 s" in shown
    told = json.loads(scene.run("run", "show", "1", "--json").out)
    assert (told["device"], told["result"], told["seq"], told["requests"]) == ("core-1", "changed", 1, [])
    assert told["end_mark"] == "untried"
    assert "/export" in scene.run("run", "show", "1").out.decode()
    missing = scene.run("run", "show", "7")
    assert (missing.code, "`runs DEVICE`" in missing.err) == (Exit.NOT_FOUND, True)


def test_another_router_has_a_line_between_what_was_before_and_what_came_after(scene: Scene) -> None:
    """Its first export may equal the last of the one before (restored): they are two lines all the same."""
    device_id = scene.add()
    for name in ("one", "one"):
        scene.observe(device_id, export_text(name))
    assert scene.run("device", "replaced", "core-1", "--yes").code == Exit.OK
    assert "another router since" in scene.run("runs", "core-1").out.decode().splitlines()[1]
    for _ in range(2):
        scene.observe(device_id, export_text("one"))
    for command, seqs in (("runs", ["4", "", "2", "1"]), ("snapshots", ["3", "", "1"])):
        lines = scene.run(command, "core-1").out.decode().splitlines()[1:]
        assert ["" if line.startswith(" ") else line.split()[0] for line in lines] == seqs
        assert "another router since 20" in lines[1]
        told = json.loads(scene.run(command, "core-1", "--json").out)
        assert [one["after_snapshot"] for one in told["another_router"]] == [2]
    assert "2026-11-20" in scene.run("runs", "core-1", "--since", "yesterday").err
