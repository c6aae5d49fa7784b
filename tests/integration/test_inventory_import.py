"""`inventory import`: what Oxidized and RANCID have comes in whole, and a repeated sync does only what differs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from backupflow.cli.exits import Exit
from backupflow.core.importing import gone_from

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlalchemy import Row

    from tests.integration.scene import Ran, Scene

CONFIG = """\
---
username: everywhere
password: pw-of-all
model: routeros
interval: 3600
groups:
  north:
    username: northern
    password: pw-of-north
    vars:
      ssh_port: 2222
source:
  default: csv
  csv:
    file: "~/.config/oxidized/router.db"
    delimiter: !ruby/regexp /:/
    map: {name: 0, ip: 1, model: 2, group: 3, username: 4, password: 5}
    vars_map: {enable: 6, ssh_proxy: 7}
model_map:
  mikrotik: routeros
"""
NODES = {
    "core-1": "core-1:192.0.2.1:routeros:north",
    "core-2": "core-2:192.0.2.2:mikrotik",
    "core-3": "core-3:192.0.2.3:routeros::admin:pw-of-3:enable-pw",
    "core-4": "core-4:192.0.2.4:routeros::admin:pw-of-4",
    "core-5": "core-5:192.0.2.5:routeros::admin:pw-of-4",
    "cat-1": "cat-1:192.0.2.9:ios",
}
_LOGIN = """
    SELECT d.name, p.name AS profile, p.id, p.tenant_id, p.sealed, p.username FROM device d
    JOIN credential_profile p ON p.id = d.credential_profile_id WHERE d.status <> 'removed' ORDER BY d.name"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder of Oxidized."""
    (tmp_path / "config").write_text(CONFIG)
    (tmp_path / "config").chmod(0o600)
    write(tmp_path, *NODES)
    return tmp_path


def write(folder: Path, *names: str, **others: str) -> None:
    """Write router.db with these nodes; `others` are lines of their own."""
    lines = [*(NODES[name] for name in names), *others.values()]
    (folder / "router.db").write_text("# devices\n" + "\n".join(lines) + "\n")
    (folder / "router.db").chmod(0o600)


def sync(scene: Scene, folder: Path, *more: str, tool: str = "oxidized") -> Ran:
    """Run it, as JSON."""
    return scene.run("inventory", "import", tool, str(folder), "--json", *more)


def document(ran: Ran) -> dict[str, Any]:
    """What it says, of one that went well."""
    assert ran.code == Exit.OK, (ran.err, ran.out)
    found: dict[str, Any] = json.loads(ran.out)
    return found


def logins(scene: Scene) -> dict[str, tuple[str, str, str]]:
    """Of each device its profile, its user and the password that is sealed in it, opened as the collector opens it."""
    found = {}
    for row in sealed(scene):
        found[row.name] = (row.profile, row.username, opened(scene, row))
    return found


def sealed(scene: Scene) -> Sequence[Row[Any]]:
    """The profiles of all devices, as the collector sees them: the reader sees no ciphertext."""
    with scene.install.wiring.engine("collector").begin() as tx:
        return tx.execute(text(_LOGIN)).all()


def opened(scene: Scene, row: Row[Any]) -> str:
    """The password of a profile."""
    from backupflow.core.model import SealedSecret, TenantId

    vault = scene.install.wiring.vault("collector")
    secret = vault.open_login(TenantId(row.tenant_id), row.id, SealedSecret(row.sealed))
    return str(json.loads(secret)["password"])


def devices(scene: Scene) -> dict[str, dict[str, Any]]:
    """All devices as they are shown."""
    rows = scene.rows("""
        SELECT d.name, d.host, d.port, d.status, d.paused_reason, d.source, g.name AS group
        FROM device d LEFT JOIN device_group g ON g.id = d.device_group_id WHERE d.status <> 'removed'""")
    return {row.name: dict(row._mapping) for row in rows}


def test_each_node_keeps_its_name_address_port_group_and_login(scene: Scene, folder: Path) -> None:
    """Nothing that has a meaning here is lost, and each sealed login opens to what stood in the files."""
    said = document(sync(scene, folder))
    assert said["counts"]["added"] == 5
    assert logins(scene) == {
        "core-1": ("oxidized-north", "northern", "pw-of-north"),
        "core-2": ("oxidized", "everywhere", "pw-of-all"),
        "core-3": ("oxidized-admin", "admin", "pw-of-3"),
        "core-4": ("oxidized-admin-2", "admin", "pw-of-4"),
        "core-5": ("oxidized-admin-2", "admin", "pw-of-4"),
    }
    there = devices(scene)
    assert (there["core-1"]["host"], there["core-1"]["port"], there["core-1"]["group"]) == ("192.0.2.1", 2222, "north")
    assert (there["core-2"]["port"], there["core-2"]["group"]) == (22, None)
    assert {device["source"] for device in there.values()} == {"oxidized"}
    left = " ".join(each["says"] for each in said["left_out"])
    assert "1 of model ios" in left
    assert "variable enable" in left
    assert "--interval 3600s" in left
    assert said["files_with_logins"] == [str(folder / "config"), str(folder / "router.db")]


def test_no_password_is_shown(scene: Scene, folder: Path) -> None:
    """Neither for a person nor as JSON, neither dry nor done, nor in the audit."""
    runs = [sync(scene, folder, "--dry-run"), scene.run("inventory", "import", "oxidized", str(folder), "--verbose")]
    runs.append(sync(scene, folder, "--update-logins"))
    audit = str(scene.rows("SELECT detail FROM audit"))
    for secret in ("pw-of-all", "pw-of-north", "pw-of-3", "pw-of-4", "enable-pw"):
        assert secret not in audit
        for ran in runs:
            assert ran.code == Exit.OK, ran.err
            assert secret.encode() not in ran.out
            assert secret not in ran.err


def test_a_dry_run_does_nothing(scene: Scene, folder: Path) -> None:
    """It says what would be done, and no row is another."""
    said = document(sync(scene, folder, "--dry-run"))
    assert len(said["added"]) == 5
    assert devices(scene) == {}
    assert scene.rows("SELECT 1 FROM credential_profile") == []
    assert scene.rows("SELECT 1 FROM device_group") == []


def test_a_second_sync_changes_nothing(scene: Scene, folder: Path) -> None:
    """All is as it was, also the ciphertext of each login; and its lines may stand in another order."""
    document(sync(scene, folder))
    before = sealed(scene)
    write(folder, *reversed(NODES))
    said = document(sync(scene, folder))
    assert said["counts"] | {"missing": 0} == said["counts"]
    assert (said["counts"]["added"], said["counts"]["changed"], said["counts"]["unchanged"]) == (0, 0, 5)
    assert said["made"] == []
    assert sealed(scene) == before


def test_one_that_is_gone_is_paused_and_resumed_when_it_is_back(scene: Scene, folder: Path) -> None:
    """Never removed; and one that an operator has paused stays paused."""
    document(sync(scene, folder))
    assert scene.run("device", "pause", "core-4").code == Exit.OK
    write(folder, *(name for name in NODES if name not in {"core-2", "core-4"}))
    assert document(sync(scene, folder))["paused"] == ["core-2"]
    gone = devices(scene)["core-2"]
    assert (gone["status"], gone["paused_reason"]) == ("paused", gone_from("oxidized"))
    assert document(sync(scene, folder))["paused"] == []
    write(folder, *NODES)
    assert document(sync(scene, folder))["resumed"] == ["core-2"]
    there = devices(scene)
    assert (there["core-2"]["status"], there["core-2"]["paused_reason"]) == ("active", None)
    assert there["core-4"]["status"] == "paused"


def test_an_inventory_that_lost_most_of_its_devices_pauses_none_without_a_word(scene: Scene, folder: Path) -> None:
    """An empty table is most likely a broken one; --yes says that it is not."""
    document(sync(scene, folder))
    for names in ((), ("core-1", "core-2")):
        write(folder, *names)
        refused = sync(scene, folder)
        assert refused.code == Exit.REFUSED, refused.err
        assert f"{5 - len(names)} of the 5 that came from it are gone" in refused.err
        assert {device["status"] for device in devices(scene).values()} == {"active"}
    assert len(document(sync(scene, folder, "--yes"))["paused"]) == 3


def test_what_moved_is_changed(scene: Scene, folder: Path) -> None:
    """Another address, and a login of its own instead of its group's."""
    document(sync(scene, folder))
    write(folder, *(n for n in NODES if n != "core-1"), core="core-1:192.0.2.77:routeros:north:admin:pw-of-3")
    said = document(sync(scene, folder))
    assert [each["name"] for each in said["changed"]] == ["core-1"]
    assert devices(scene)["core-1"]["host"] == "192.0.2.77"
    assert logins(scene)["core-1"] == ("oxidized-admin", "admin", "pw-of-3")


def test_whose_timetable_becomes_another_is_counted_against_the_workers(scene: Scene, folder: Path) -> None:
    """A device that comes into a group of another interval: as where an interval is edited; nothing where none is."""
    assert "slot" not in sync(scene, folder).err
    assert scene.run("group", "add", "often", "--interval", "60s").code == Exit.OK
    write(folder, *(name for name in NODES if name != "core-2"), moved="core-2:192.0.2.2:mikrotik:often")
    ran = sync(scene, folder)
    assert [each["name"] for each in document(ran)["changed"]] == ["core-2"]
    assert "1 device; nobody knows yet how long they take" in ran.err


def test_two_logins_of_one_user_keep_their_names_whatever_the_order(scene: Scene, folder: Path) -> None:
    """A profile that is there is not sealed anew, so its name must never come to mean another password."""
    document(sync(scene, folder))
    write(folder, "core-4", "core-5", "core-3", "core-1", "core-2")
    document(sync(scene, folder))
    assert logins(scene)["core-3"] == ("oxidized-admin", "admin", "pw-of-3")
    assert logins(scene)["core-4"] == ("oxidized-admin-2", "admin", "pw-of-4")
    new = "core-6:192.0.2.6:routeros::admin:pw-of-6"
    (folder / "router.db").write_text(f"{new}\n" + (folder / "router.db").read_text())
    document(sync(scene, folder))
    assert logins(scene)["core-6"] == ("oxidized-admin-3", "admin", "pw-of-6")
    assert logins(scene)["core-3"] == ("oxidized-admin", "admin", "pw-of-3")


def test_a_login_that_is_there_is_sealed_anew_only_when_it_is_asked_for(scene: Scene, folder: Path) -> None:
    """An operator may have changed it here; --update-logins says that the other system knows better."""
    document(sync(scene, folder))
    (folder / "config").write_text(CONFIG.replace("pw-of-north", "pw-of-north-2"))
    assert "oxidized-north" in document(sync(scene, folder))["logins_kept"]
    assert logins(scene)["core-1"][2] == "pw-of-north"
    assert "oxidized-north" in document(sync(scene, folder, "--update-logins"))["logins_sealed_anew"]
    assert logins(scene)["core-1"][2] == "pw-of-north-2"


def test_a_login_that_is_sealed_anew_ends_no_block_and_no_suspension(scene: Scene, folder: Path) -> None:
    """A sync runs by a clock: a password that is refused is not sent again each time, and who waits is told."""
    document(sync(scene, folder))
    device = scene.rows("SELECT id FROM device WHERE name = 'core-1'")[0].id
    scene.block(device, "authentication_failed")
    assert scene.run("credential", "suspend", "oxidized-north", "--reason", "it is being locked").code == Exit.OK
    said = document(sync(scene, folder, "--update-logins"))
    assert "oxidized-north" in said["logins_sealed_anew"]
    assert (said["stay_blocked"], said["stay_suspended"]) == (1, ["oxidized-north"])
    (row,) = scene.rows("SELECT blocked_code, next_due_at > now() AS later FROM device WHERE name = 'core-1'")
    assert (row.blocked_code, row.later) == ("authentication_failed", True)
    (row,) = scene.rows("SELECT suspended_reason FROM credential_profile WHERE name = 'oxidized-north'")
    assert row.suspended_reason == "it is being locked"
    told = scene.run("inventory", "import", "oxidized", str(folder), "--update-logins").err
    assert "`device unblock --where blocked=authentication_failed`" in told
    assert "`credential resume oxidized-north`" in told


def test_a_device_that_came_from_elsewhere_is_left_unless_it_is_to_be_taken_over(scene: Scene, folder: Path) -> None:
    """It is listed, with where it came from; --adopt makes it one of this inventory."""
    scene.add("core-1", "198.51.100.1")
    ran = sync(scene, folder)
    assert ran.code == Exit.WRONG, ran.err
    assert json.loads(ran.out)["from_elsewhere"] == [{"name": "core-1", "source": None}]
    assert devices(scene)["core-1"]["host"] == "198.51.100.1"
    assert document(sync(scene, folder, "--adopt"))["from_elsewhere"] == []
    there = devices(scene)["core-1"]
    assert (there["host"], there["source"]) == ("192.0.2.1", "oxidized")
    assert logins(scene)["core-1"] == ("oxidized-north", "northern", "pw-of-north")
    assert document(sync(scene, folder))["counts"]["unchanged"] == 5


def test_a_node_behind_a_proxy_waits_for_its_jump_host(scene: Scene, folder: Path) -> None:
    """It is not dialled without it, where somebody else has its address; and the command that helps is told."""
    write(folder, "core-2", far="far-1:10.0.0.1:routeros:::::user@gate-1")
    ran = scene.run("inventory", "import", "oxidized", str(folder))
    assert ran.code == Exit.WRONG
    assert "`backupflow jump add gate-1 gate-1 --profile NAME`" in ran.err
    assert set(devices(scene)) == {"core-2"}
    assert scene.run("credential", "add", "gate", "--username", "u", "--password-stdin", stdin=b"p\n").code == Exit.OK
    made = scene.run("jump", "add", "gate-1", "192.0.2.200", "--profile", "gate")
    assert made.code == Exit.OK, made.err
    assert [each["name"] for each in document(sync(scene, folder))["added"]] == ["far-1"]
    row = scene.rows("SELECT j.name FROM device d JOIN jump_host j ON j.id = d.via_id WHERE d.name = 'far-1'")
    assert [each.name for each in row] == ["gate-1"]


def test_two_folders_of_one_kind_are_told_apart(
    scene: Scene, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each pauses its own only, and a login of one is never taken for that of the other."""
    document(sync(scene, folder))
    other = tmp_path_factory.mktemp("other")
    (other / "config").write_text(CONFIG.replace("pw-of-all", "pw-of-the-lab"))
    write(other, lab="lab-1:198.51.100.7:routeros")
    said = document(sync(scene, other, "--source", "lab"))
    assert said["source"] == "oxidized lab"
    assert said["paused"] == []
    assert logins(scene)["lab-1"] == ("oxidized:lab", "everywhere", "pw-of-the-lab")
    assert logins(scene)["core-2"] == ("oxidized", "everywhere", "pw-of-all")
    assert document(sync(scene, folder))["paused"] == []
    assert document(sync(scene, other, "--source", "lab"))["counts"]["unchanged"] == 1
    assert sync(scene, other, "--source", "../lab").code == Exit.DATA


def test_no_device_is_sent_the_password_of_another_folder(
    scene: Scene, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also where somebody forgot to tell the folders apart: the second one's login is one of its own."""
    document(sync(scene, folder))
    other = tmp_path_factory.mktemp("other")
    (other / "config").write_text(CONFIG.replace("pw-of-all", "pw-of-other").replace("~/.config/oxidized", str(other)))
    write(other, lab="lab-1:198.51.100.1:routeros")
    for _ in range(2):
        document(sync(scene, other, "--yes"))
        assert logins(scene)["lab-1"] == ("oxidized-2", "everywhere", "pw-of-other")
    document(sync(scene, other, "--yes", "--update-logins"))
    assert logins(scene)["core-2"] == ("oxidized", "everywhere", "pw-of-all")


def test_logins_alone_come_where_the_devices_are_elsewhere(scene: Scene, folder: Path) -> None:
    """Oxidized that is fed by LibreNMS has the logins; no device counts as gone by that."""
    document(sync(scene, folder))
    config = CONFIG.replace("default: csv", "default: http") + "  south: 1\n"
    (folder / "config").write_text(config.replace("  south: 1\n", ""))
    said = document(sync(scene, folder))
    assert (said["counts"]["added"], said["paused"]) == (0, [])
    assert "inventory import librenms" in str(said["left_out"])
    assert set(said["logins_kept"]) == {"oxidized", "oxidized-north"}


def test_a_folder_of_rancid_comes_in_with_its_logins(scene: Scene, tmp_path: Path) -> None:
    """The groups, what is up in them, and what `.cloginrc` says of each name: the first that matches."""
    (tmp_path / "rancid.conf").write_text('LIST_OF_GROUPS="edge core"\n')
    for group, lines in {
        "edge": "r1.example.net;mikrotik;up\nr2;cisco;up\n",
        "core": "c1:mikrotik:up\nc2:mikrotik:down\n",
    }.items():
        (tmp_path / group).mkdir()
        (tmp_path / group / "router.db").write_text(lines)
    rc = tmp_path / ".cloginrc"
    rc.write_text(
        "add user c1 {chief}\nadd password c1 {pw\\}1} {enable}\nadd method c1 {ssh:2200}\n"
        "add user * {backup}\nadd password *.example.net {pw-2}\n"
    )
    rc.chmod(0o640)
    said = document(sync(scene, tmp_path, tool="rancid"))
    assert logins(scene) == {
        "c1": ("rancid-c1", "chief", "pw}1"),
        "r1.example.net": ("rancid-example.net", "backup", "pw-2"),
    }
    there = devices(scene)
    assert (there["c1"]["port"], there["c1"]["group"]) == (2200, "core")
    assert there["r1.example.net"]["host"] == "r1.example.net"
    assert said["files_that_others_may_read"] == [str(rc)]
    left = " ".join(each["says"] for each in said["left_out"])
    assert "1 of type cisco" in left
    assert "1 of state down" in left
    (tmp_path / "core" / "router.db").write_text("c1:mikrotik:down\n")
    assert document(sync(scene, tmp_path, tool="rancid"))["paused"] == ["c1"]


def test_a_password_of_many_devices_asks_what_first_keys_are_worth(scene: Scene, folder: Path) -> None:
    """Without a terminal the answer is manual: it stands on the profile that is made, and what to do next is told."""
    many = {f"n{number}": f"edge-{number}:192.0.2.{number}:routeros" for number in range(1, 23)}
    write(folder, "core-1", **many)
    ran = sync(scene, folder)
    assert len(document(ran)["added"]) == 23
    assert "22 devices share the password of the profile oxidized" in ran.err
    rows = scene.rows("SELECT name, settings FROM credential_profile ORDER BY name")
    assert {row.name: row.settings for row in rows} == {"oxidized": {"trust": "manual"}, "oxidized-north": {}}


def test_a_name_that_would_write_on_a_terminal_is_left_out(scene: Scene, folder: Path) -> None:
    """Names of other systems are hostile: no control character of theirs reaches anybody."""
    write(folder, "core-2", bad="evil\x1b]0;x\x07:192.0.2.66:routeros", model="m:192.0.2.67:\x1b[2Jios")
    ran = scene.run("inventory", "import", "oxidized", str(folder), "--verbose")
    assert ran.code == Exit.OK, ran.err
    assert "its name cannot be one here" in ran.err
    assert "\x1b" not in ran.err + ran.out.decode()
    assert set(devices(scene)) == {"core-2"}


def test_each_act_is_in_the_audit(scene: Scene, folder: Path) -> None:
    """One row a device, a group and a login that was made, and one for the sync itself with its source."""
    document(sync(scene, folder))
    rows = scene.rows("SELECT action, count(*) AS rows FROM audit GROUP BY action")
    counted = {str(row.action): int(row.rows) for row in rows}
    assert (counted["device_added"], counted["credential_added"], counted["group_added"]) == (5, 4, 1)
    (row,) = scene.rows("SELECT detail FROM audit WHERE action = 'devices_imported'")
    assert row.detail["source"] == "oxidized"
