"""`ignore`: what is hidden from the timeline and what not, and which rules are suggested for what never rests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from backupflow.adapters.db.interpretations import Interpretations
from backupflow.cli.exits import Exit
from backupflow.core.flapping import Quota
from backupflow.core.model import RawConfig
from tests.integration.interpreted import Desk

if TYPE_CHECKING:
    from tests.integration.scene import Scene

HEAD = "# 2026-11-20 10:00:00 by RouterOS 7.14\r\n# software id = ABCD-EFGH\r\n#\r\n"
NOTE = "system/note:note"


def router(note: int, address: int = 1) -> RawConfig:
    """An export whose note is written by a script, and whose address is not."""
    body = ["/ip address", f"add address=10.0.0.{address}/24 interface=ether1", "/system note", f"set note=run-{note}"]
    return RawConfig((HEAD + "\r\n".join([*body, ""])).encode())


def told(scene: Scene, name: str = "core-1") -> list[tuple[int, int, int]]:
    """(snapshot, changes, ignored) of each change in the timeline, the newest first."""
    entries = json.loads(scene.run("history", name, "--json").out)["changes"]
    return [(one["snapshot"], len(one["changes"]), one["ignored"]) for one in entries]


@pytest.fixture
def noisy(scene: Scene) -> Scene:
    """A device whose note differs in each of eleven runs, and whose address did once; another one that is quiet."""
    first, second = scene.add(), scene.add("core-2", "192.0.2.2")
    for number in range(11):
        scene.observe(first, router(number, address=1 if number < 10 else 2))
        scene.observe(second, router(number // 5))
    Desk.of(scene).run()
    return scene


def test_what_a_rule_hides_stays_in_the_snapshots_and_is_told_again_without_it(noisy: Scene) -> None:
    """Of what was told before and of what comes; an edit beside the noise is told; events are not told of noise."""
    assert told(noisy)[0] == (11, 2, 0)
    assert (
        noisy.run("ignore", "add", "--device", "core-1", NOTE).out.decode().startswith(f"{NOTE}: ignored from now on")
    )
    assert noisy.run("ignore", "add", "--device", "core-1", NOTE).out.decode().startswith(f"{NOTE}: ignored already")
    assert told(noisy)[:2] == [(11, 1, 1), (10, 0, 1)]
    assert "+1 ignored" in noisy.run("history", "core-1").out.decode()
    assert told(noisy, "core-2")[0][1:] == (1, 0)
    outbox = "SELECT count(*) AS n FROM outbox WHERE kind = 'changed'"
    before = noisy.rows(outbox)[0].n
    device = noisy.rows("SELECT id FROM device WHERE name = 'core-1'")[0].id
    noisy.observe(device, router(99, address=2))
    Desk.of(noisy).run()
    assert told(noisy)[0] == (12, 0, 1)
    assert noisy.rows(outbox)[0].n == before
    assert len(json.loads(noisy.run("snapshots", "core-1", "--json").out)["snapshots"]) == 12
    assert b"run-99" in noisy.run("export", "core-1", "-o", "-").out
    assert noisy.run("ignore", "remove", "--device", "core-1", NOTE).code == Exit.OK
    assert told(noisy)[:2] == [(12, 1, 0), (11, 2, 0)]


def test_rules_are_listed_audited_and_refused_where_they_make_no_sense(scene: Scene) -> None:
    """Each with whom it is for and who added it; the way out is named."""
    scene.add()
    assert "ignore suggest" in scene.run("ignore", "list").out.decode()
    assert scene.run("ignore", "add", f"/{NOTE}").code == Exit.OK
    assert scene.run("ignore", "add", "--device", "core-1", "interface/ethernet:comment, ether*").code == Exit.OK
    listed = json.loads(scene.run("ignore", "list", "--json").out)["rules"]
    assert [(one["rule"], one["device"], one["group"]) for one in listed] == [
        (NOTE, None, None),
        ("interface/ethernet:comment, ether*", "core-1", None),
    ]
    assert "interface/ethernet:comment, ether*  device core-1" in scene.run("ignore", "list").out.decode()
    for arguments, code, says in (
        (("add", "system/note"), Exit.DATA, "component:property"),
        (("add", "--device", "nope", NOTE), Exit.NOT_FOUND, "device list"),
        (("add", "--group", "nope", NOTE), Exit.NOT_FOUND, "group list"),
        (("add", "--group", "a", "--device", "b", NOTE), Exit.USAGE, "--device or --group"),
        (("remove", "--device", "core-1", NOTE), Exit.NOT_FOUND, "ignore list"),
    ):
        done = scene.run("ignore", *arguments)
        assert (done.code, says in done.err) == (code, True), done.err
    acts = scene.rows(
        "SELECT action, detail, actor LIKE 'cli:%' AS by FROM audit WHERE action LIKE 'ignore%' ORDER BY id"
    )
    assert [(row.action, row.detail["rule"], row.by) for row in acts] == [
        ("ignore_added", NOTE, True),
        ("ignore_added", "interface/ethernet:comment, ether*", True),
    ]


def test_what_changes_nearly_every_time_is_suggested_until_it_is_ignored(noisy: Scene) -> None:
    """Only the noise, of the device that makes it, with the command; nothing in clear at rest says what it is."""
    said = json.loads(noisy.run("ignore", "suggest", "--json").out)
    assert said["suggestions"] == [{"rule": NOTE, "devices": ["core-1"]}]
    shown = noisy.run("ignore", "suggest", "--device", "core-1").out.decode()
    assert f"backupflow ignore add --device core-1 {NOTE}" in shown
    assert noisy.run("ignore", "suggest", "--device", "core-2").out == b"nothing changes nearly every time\n"
    kept = json.dumps([row.touched for row in noisy.rows("SELECT touched FROM interpretation")])
    assert len(kept) > 100
    assert "note" not in kept
    typo = noisy.run("ignore", "add", "system/notes:note")
    assert (typo.code, "did you mean system/note?" in typo.err) == (Exit.OK, True), typo.err
    assert noisy.run("ignore", "add", NOTE).err == ""
    assert b"--device" not in noisy.run("ignore", "list", "--help").out
    assert json.loads(noisy.run("ignore", "suggest", "--json").out)["suggestions"] == []


def test_who_interprets_marks_what_changes_without_end(scene: Scene) -> None:
    """In the transaction of the change that was one too many; status and history say it, and let_go ends it."""
    device = scene.add()
    store = Interpretations(scene.install.wiring.engine("interpreter"), Quota(changes=3))
    for number in range(5):
        scene.observe(device, router(number))
        Desk.of(scene).run(store=store)
        flaps = scene.rows("SELECT flapping_since FROM device")[0].flapping_since
        assert (flaps is not None) == (number == 4)
        assert ("flapping" in scene.run("device", "list").out.decode()) == (number == 4)
        assert ("ignore suggest" in scene.run("device", "show", "core-1").out.decode()) == (number == 4)
    assert "flapping" in scene.run("status").out.decode()
    assert json.loads(scene.run("device", "show", "core-1", "--json").out)["flapping_since"]
    assert json.loads(scene.run("device", "list", "--json").out)["devices"][0]["flapping_since"]
    assert json.loads(scene.run("history", "core-1", "--json").out)["flapping_since"]
    scene.write("interpreter", "UPDATE device SET flapping_since = now() - interval '25 hours'")
    Desk.of(scene).run(store=store)
    assert scene.rows("SELECT flapping_since FROM device")[0].flapping_since is not None
    Desk.of(scene).run(store=Interpretations(scene.install.wiring.engine("interpreter"), Quota(changes=4)))
    assert scene.rows("SELECT flapping_since FROM device")[0].flapping_since is None
    assert scene.rows("SELECT 1 FROM alarm WHERE code = 'flapping' AND cleared_at IS NULL") == []
