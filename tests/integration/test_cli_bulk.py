"""`device edit`, `pause`, `resume` and `unblock` of many devices: all that are chosen, or none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from backupflow.cli.exits import Exit
from backupflow.core.driver import Facts
from tests.integration.scene import export_text

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.scene import Scene

FLEET = """name,host,profile,group,site,jump
core-1,10.0.0.1,routers,core,north,
core-2,10.0.0.2,routers,core,north,hop
edge-1,10.0.0.2,routers,edge,north,
edge-2,10.0.0.4,routers,edge,south,
"""


@pytest.fixture
def fleet(scene: Scene, tmp_path: Path) -> Scene:
    """Four devices in two groups, at two sites."""
    profile = (
        "INSERT INTO credential_profile (tenant_id, name, username, method, sealed) "
        "SELECT id, 'routers', 'u', 'key', 'vault:v1:YQ==' FROM tenant"
    )
    scene.write("enroller", profile)
    hop = (
        "INSERT INTO jump_host (tenant_id, name, host, credential_profile_id) "
        "SELECT tenant_id, 'hop', 'hop', id FROM credential_profile"
    )
    scene.write("enroller", hop)
    file = tmp_path / "fleet.csv"
    file.write_text(FLEET)
    assert scene.run("device", "import", str(file), "--make-groups").code == Exit.OK
    return scene


def standing(scene: Scene, column: str = "status") -> dict[str, object]:
    """One column of each device."""
    rows = scene.rows(f"SELECT name, {column} AS said FROM device ORDER BY name")  # noqa: S608 - of this module
    return {row.name: row.said for row in rows}


def acts(scene: Scene, action: str) -> int:
    """How many the audit has."""
    with scene.install.wiring.engine("migrator").begin() as tx:
        return int(tx.execute(text("SELECT count(*) FROM audit WHERE action = :a"), {"a": action}).scalar_one())


def test_a_site_is_paused_with_a_reason_and_resumed(fleet: Scene) -> None:
    """Nobody else, after a question that says how many; each has its audit row, and who is so already none."""
    asked = fleet.run("device", "pause", "--site", "north")
    assert asked.code == Exit.REFUSED
    assert "Pause 3 devices (core-1, core-2, edge-1)?" in asked.err
    assert set(standing(fleet).values()) == {"active"}
    paused = fleet.run("device", "pause", "--site", "north", "--reason", "rebuilt", "--yes")
    assert (paused.code, paused.out) == (Exit.OK, b"3 paused\n")
    assert standing(fleet, "paused_reason") == {
        "core-1": "rebuilt",
        "core-2": "rebuilt",
        "edge-1": "rebuilt",
        "edge-2": None,
    }
    for command in (("device", "list"), ("status", "--all"), ("device", "show", "core-1")):
        said = fleet.run(*command).out.decode()
        assert ("paused" in said, "rebuilt" in said) == (True, True), command
    listed = json.loads(fleet.run("device", "list", "--json").out)["devices"]
    assert {device["name"]: device["paused_reason"] for device in listed} == standing(fleet, "paused_reason")
    fleet.block(fleet.rows("SELECT id FROM device WHERE name = 'core-1'")[0].id, "host_key_mismatch")
    shown = fleet.run("device", "show", "core-1").out.decode()
    assert "blocked: host_key_mismatch; paused: rebuilt" in shown
    fleet.write("enroller", "UPDATE device SET blocked_code = NULL, blocked_at = NULL")
    again = fleet.run("device", "pause", "--group", "edge", "--yes")
    assert again.out == b"1 paused; 1 were so already\n"
    assert acts(fleet, "device_paused") == 4
    told = json.loads(fleet.run("device", "resume", "--where", "status=paused", "--yes", "--json").out)
    assert (told["chosen"], told["changed"]) == (4, 4)
    assert standing(fleet, "coalesce(status || paused_reason, status)") == dict.fromkeys(standing(fleet), "active")


def test_those_of_one_version_that_are_blocked_for_one_reason_are_tried_again(fleet: Scene) -> None:
    """Conditions must all hold; what blocks the others stays."""
    ids = {row.name: row.id for row in fleet.rows("SELECT id, name FROM device")}
    for name, version in (("core-1", "7.14"), ("core-2", "6.49"), ("edge-1", "7.14")):
        fleet.observe(ids[name], export_text(name), facts=Facts("routeros", version=version))
    for name, code in (
        ("core-1", "authentication_failed"),
        ("core-2", "authentication_failed"),
        ("edge-1", "device_x"),
    ):
        fleet.block(ids[name], code)
    done = fleet.run("device", "unblock", "--where", "blocked=authentication_failed", "--where", "version~7.1", "--yes")
    assert done.out == b"1 unblocked\n"
    assert standing(fleet, "blocked_code") == {
        "core-1": None, "core-2": "authentication_failed", "edge-1": "device_x", "edge-2": None,
    }  # fmt: skip


def test_many_are_edited_at_once_or_none(fleet: Scene) -> None:
    """Settings and places of all that are chosen; if one cannot be as asked, nobody is, and its name is told."""
    edited = fleet.run("device", "edit", "--in-site", "north", "--interval", "1h", "--group", "edge", "--yes")
    assert (edited.code, edited.out) == (
        Exit.OK, b"3 edited; 3 devices; nobody knows yet how long they take\n",
    )  # fmt: skip
    assert standing(fleet, "settings ->> 'interval_seconds'") == {
        "core-1": "3600.0", "core-2": "3600.0", "edge-1": "3600.0", "edge-2": None,
    }  # fmt: skip
    assert acts(fleet, "device_edited") == 3
    before = standing(fleet, "device::text")
    taken = fleet.run("device", "edit", "--in-site", "north", "--jump", "direct", "--legacy-ssh", "--yes")
    assert taken.code == Exit.REFUSED
    assert "edge-1" in taken.err
    assert standing(fleet, "device::text") == before
    assert acts(fleet, "device_edited") == 3


REFUSED = [
    (["pause"], Exit.USAGE, "name one device, or choose many with --group, --site and --where"),
    (["pause", "core-1", "--site", "north"], Exit.USAGE, "name one device, or choose many"),
    (["edit", "core-1", "--where", "name=core-1"], Exit.USAGE, "--in-group, --in-site and --where"),
    (["pause", "--site", "west"], Exit.NOT_FOUND, "site 'west'; see `site list`"),
    (["pause", "--group", "west"], Exit.NOT_FOUND, "group 'west'; see `group list`"),
    (["pause", "--tenant", "acme", "--where", "name~c"], Exit.NOT_FOUND, "tenant 'acme'"),
    (["pause", "--where", "name=nobody"], Exit.NOT_FOUND, "no device is like that"),
    (["pause", "--where", "colour=red"], Exit.DATA, "no field 'colour' to choose by"),
    (["pause", "core-1", "--reason", "a\ab"], Exit.DATA, "a reason has 1 to 200 characters"),
    (["edit", "--in-site", "north", "--host", "r1", "--yes"], Exit.DATA, "name one device"),
    (["edit", "--in-site", "north", "--name", "r1", "--yes"], Exit.DATA, "name one device"),
    (["edit", "--in-site", "north", "--password-stdin", "--yes"], Exit.USAGE, "--profile"),
]


def test_what_is_not_understood_is_done_to_nobody(fleet: Scene) -> None:
    """A clear word, and everything stays."""
    for arguments, code, says in REFUSED:
        refused = fleet.run("device", *arguments)
        assert (refused.code, says in " ".join(refused.err.split())) == (code, True), (arguments, refused.err)
    assert set(standing(fleet).values()) == {"active"}
