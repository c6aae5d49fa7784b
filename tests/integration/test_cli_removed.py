"""What was removed comes back, or goes for good: `device restore`, `purge` and `tenant remove`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from backupflow.cli.exits import Exit
from tests.integration.scene import export_text

if TYPE_CHECKING:
    from tests.integration.scene import Ran, Scene


def restore(scene: Scene, *more: str, stdin: bytes = b"") -> Ran:
    """`device restore core-1`."""
    return scene.run("device", "restore", "core-1", *more, stdin=stdin)


def test_a_removed_device_comes_back_with_its_history_and_its_key(scene: Scene) -> None:
    """Its own login was destroyed at once: another one is given, and it is due."""
    device = scene.add()
    first = scene.observe(device, export_text("one"))
    pinned = scene.rows("SELECT fingerprint FROM host_key WHERE status = 'pinned'")
    assert scene.run("device", "remove", "core-1", "--yes").code == Exit.OK
    assert scene.rows("SELECT 1 FROM credential_profile") == []
    refused = restore(scene)
    assert refused.code != Exit.OK
    assert "password" in refused.err
    back = restore(scene, "--password-stdin", stdin=b"an0ther\n")
    assert back.code == Exit.OK, back.err
    assert b"restored; due in" in back.out
    listed = json.loads(scene.run("snapshots", "core-1", "--json").out)
    assert [one["snapshot"] for one in listed["snapshots"]] == [first]
    assert scene.rows("SELECT fingerprint FROM host_key WHERE status = 'pinned'") == pinned
    acts = [row.action for row in scene.rows("SELECT action FROM audit WHERE action LIKE 'device_re%' ORDER BY id")]
    assert acts == ["device_removed", "device_restored"]
    assert restore(scene, "--password-stdin", stdin=b"x\n").code == Exit.NOT_FOUND


def test_it_comes_back_to_a_profile(scene: Scene) -> None:
    """No login is asked for."""
    assert scene.run("credential", "add", "routers", "--username", "backup", "--password-stdin", stdin=b"x").code == 0
    added = scene.run("device", "add", "core-1", "192.0.2.1", "--profile", "routers", "--trust", "tofu")
    assert added.code == Exit.OK, added.err
    assert scene.run("device", "remove", "core-1", "--yes").code == Exit.OK
    back = restore(scene)
    assert back.code == Exit.OK, back.err
    assert json.loads(scene.run("device", "show", "core-1", "--json").out)["status"] == "active"


def test_it_does_not_come_back_where_another_one_is(scene: Scene) -> None:
    """Its name or its address is another device's by now: which one is said, and nothing is changed."""
    scene.add()
    assert scene.run("device", "remove", "core-1", "--yes").code == Exit.OK
    scene.add("core-2")
    taken = restore(scene, "--password-stdin", stdin=b"x\n")
    assert (taken.code, "core-2 has 192.0.2.1" in taken.err) == (Exit.REFUSED, True), taken.err
    scene.add("core-1", "192.0.2.7")
    assert "core-1" in restore(scene, "--password-stdin", stdin=b"x\n").err
    assert len(scene.rows("SELECT 1 FROM device WHERE status = 'removed'")) == 1
    assert len(scene.rows("SELECT 1 FROM credential_profile")) == 2
