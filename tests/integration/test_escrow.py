"""The escrow: every current configuration in one file that age and tar open, and whatever keeps it from being whole."""

# ruff: noqa: ANN401, S608 - parts of the world have arguments of any type; the statements are of our own constants

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from shutil import which
from subprocess import run
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyrage
import pytest

from backupflow.adapters.copies.escrow import AgeFolder
from backupflow.cli.exits import Exit
from backupflow.core.escrow import ESCROW
from backupflow.core.inventory import NewDevice
from backupflow.core.model import DeviceId, Login, TenantId
from backupflow.errors import TransitKeyMissing, VaultUnavailable
from backupflow.flows import enroll, maintain
from backupflow.flows.escrow import AGAIN_AFTER, Watching, write_due
from tests.integration.scene import export_text

if TYPE_CHECKING:
    from tests.integration.scene import Ran, Scene

IDENTITY = pyrage.x25519.Identity.generate()
OTHER = pyrage.x25519.Identity.generate()
PUBLIC = str(IDENTITY.to_public())
FLIP = "overlay(sealed PLACING CASE substr(sealed, 40, 1) WHEN 'A' THEN 'B' ELSE 'A' END FROM 40)"  # one character
ALARMS = "SELECT scope, detail FROM alarm WHERE code = 'escrow_failed' AND cleared_at IS NULL ORDER BY scope"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the files go."""
    made = tmp_path / "escrow"
    made.mkdir(0o700)
    return made


def enable(scene: Scene, folder: Path, *more: str) -> Ran:
    """For the tenant `default`."""
    return scene.run("escrow", "enable", "--recipient", PUBLIC, "--to", str(folder), *more)


def files(folder: Path) -> list[Path]:
    """All that is there, hidden or not."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def opened(file: Path, identity: pyrage.x25519.Identity = IDENTITY) -> dict[str, bytes]:
    """What is in a file, by name, with nothing of ours: by age and tar themselves, where they are."""
    if which("age") is None:
        plain = pyrage.decrypt(file.read_bytes(), [identity])
    else:
        key = file.parent.parent / "key.txt"
        key.write_text(str(identity))
        plain = run(["age", "-d", "-i", str(key), str(file)], capture_output=True, check=True).stdout
        key.unlink()
    with TemporaryDirectory() as name:
        run(["tar", "-x", "-C", name], input=plain, check=True)
        files = [path for path in Path(name).rglob("*") if path.is_file()]
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
        return {str(path.relative_to(name)): path.read_bytes() for path in files}


def listed(content: dict[str, bytes]) -> dict[str, dict[str, str]]:
    """The inventory, by device."""
    return {row["device"]: row for row in csv.DictReader(io.StringIO(content["inventory.csv"].decode()))}


def job(scene: Scene, **other: Any) -> maintain.Ran:
    """The job, as a maintain worker does it when a day has gone by; `other` parts of the world instead of the usual."""
    scene.write("operator", "UPDATE job SET finished_at = NULL WHERE name = 'escrow'")
    scene.write("operator", "UPDATE escrow SET written_at = written_at - interval '1 day'")
    wiring = scene.install.wiring
    ports = replace(wiring.escrow_ports("job"), **other)
    return maintain.run(ESCROW, wiring.house, {ESCROW: lambda: write_due(ports, Watching())})


def alarms(scene: Scene) -> list[str]:
    """What stands, in words."""
    return [row.detail for row in scene.rows(ALARMS)]


def test_every_current_configuration_is_in_one_file_byte_for_byte(scene: Scene, folder: Path) -> None:
    """Whoever has the key and nothing else has each router's bytes (I16), and finds where the router is."""
    first, second = scene.add("core-1"), scene.add("=1+2 ..ü", "192.0.2.2")
    never = scene.add("new-1", "192.0.2.3")
    scene.observe(first, export_text("old"))
    scene.observe(first, export_text("new"))
    scene.observe(second, export_text("other\x1b[2J"))
    assert enable(scene, folder).code == Exit.OK
    assert job(scene).counts == {"written": 1, "devices": 2, "lacking": 0, "failed": 0}
    (file,) = files(folder)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    content = opened(file)
    rows = listed(content)
    assert content[rows["core-1"]["file"]] == export_text("new")
    assert [one for name, one in content.items() if str(second) in name] == [export_text("other\x1b[2J")]
    assert sorted(name.partition("/")[0] for name in content) == [
        "README.txt",
        *["configurations"] * 2,
        "inventory.csv",
    ]
    assert rows["new-1"] | {"id": str(never), "file": "", "not_here_because": "none was collected yet"} == rows["new-1"]
    assert (rows["core-1"]["address"], rows["core-1"]["username"]) == ("192.0.2.1", "backup")
    assert b"s3cret" not in content["inventory.csv"]
    assert b"age -d -i escrow-key.txt" in content["README.txt"]
    assert b"flash/FILE.rsc" in content["README.txt"]


def test_what_does_not_open_is_named_and_takes_no_whole_files_place(scene: Scene, folder: Path) -> None:
    """The others are in it all the same; when it is mended, so is the file of that day."""
    devices = [scene.add(f"core-{n}", f"192.0.2.{n}") for n in (1, 2, 3)]
    for device in devices:
        scene.observe(device, export_text("good"))
    enable(scene, folder)
    job(scene)
    (whole,) = files(folder)
    before = whole.read_bytes()
    sealed = {row.id: row.sealed for row in scene.rows("SELECT id, sealed FROM content")}
    scene.write("migrator", f"UPDATE content SET sealed = {FLIP} WHERE device_id = :d", d=devices[1])
    ran = job(scene)
    assert (ran.counts["lacking"], ran.counts["devices"], ran.again_in) == (1, 2, None)
    (lacking,) = set(files(folder)) - {whole}
    assert (whole.read_bytes(), ".incomplete." in lacking.name) == (before, True)
    content = opened(lacking)
    assert b"core-2" in content["MISSING.txt"]
    assert "altered" in listed(content)["core-2"]["not_here_because"]
    assert len([name for name in content if name.startswith("configurations/")]) == 2
    (says,) = alarms(scene)
    assert "lacks 1 of 3: core-2 (" in says
    scene.write("migrator", f"UPDATE content SET sealed = {FLIP} WHERE device_id <> :d", d=devices[1])
    assert job(scene).counts == {"written": 0, "devices": 0, "lacking": 0, "failed": 1}  # one of nothing is none
    assert any("not one configuration opens, for example core-" in one for one in alarms(scene))
    assert files(folder) == sorted([whole, lacking])
    scene.write("operator", "UPDATE escrow SET written_at = now() - interval '9 days'")  # one is written each day
    (shown,) = json.loads(scene.run("escrow", "status", "--json").out)
    assert not shown["late"]  # what it lacks is an alarm of its own
    for number, text in sealed.items():
        scene.write("migrator", "UPDATE content SET sealed = :s WHERE id = :i", s=text, i=number)
    assert job(scene).counts["lacking"] == 0
    (again,) = set(files(folder)) - {whole}  # the incomplete one is gone, the first of the day as it was
    assert (whole.read_bytes(), ".incomplete." in again.name, alarms(scene)) == (before, False, [])


class Opener:
    """core.ports.ConfigOpener: fails at the last of so many."""

    def __init__(self, scene: Scene, good: int, failure: Exception) -> None:
        self.vault = scene.install.wiring.vault("reader")
        self.good = good
        self.failure = failure

    def open_config(self, *asked: Any) -> bytes:
        """As the vault, until it fails."""
        self.good -= 1
        if self.good < 0:
            raise self.failure
        return self.vault.open_config(*asked)

    def open_configs(self, *asked: Any) -> Any:
        """Never asked for here."""
        raise NotImplementedError


def test_a_file_is_never_of_what_could_be_opened_before_the_vault_went(
    scene: Scene, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alarm stands, it is tried again before long, and the files of before are as they were."""
    for n in (1, 2, 3):
        scene.observe(scene.add(f"core-{n}", f"192.0.2.{n}"), export_text("good"))
    enable(scene, folder)
    job(scene)
    before = [(file, file.read_bytes()) for file in files(folder)]
    ports = scene.install.wiring.escrow_ports("job")
    monkeypatch.setattr("backupflow.flows.escrow.OTHER_VERSIONS", 0)  # so many rows were not altered: it is the vault
    for failure in (VaultUnavailable("it is sealed"), TransitKeyMissing("another key")):
        ran = job(scene, history=replace(ports.history, configs=Opener(scene, 2, failure)))
        assert (ran.counts["failed"], ran.counts["written"], ran.again_in) == (1, 0, AGAIN_AFTER)
        assert [(file, file.read_bytes()) for file in files(folder)] == before
        (says,) = alarms(scene)
        assert "it is sealed" in says
    (due,) = scene.rows("SELECT due_at < now() + interval '31 minutes' AS soon FROM job WHERE name = 'escrow'")
    assert due.soon
    assert job(scene).counts["written"] == 1
    assert alarms(scene) == []


def add_to(scene: Scene, tenant_id: TenantId, name: str, host: str) -> DeviceId:
    """A device of another tenant, with a configuration."""
    new = NewDevice(tenant_id, DeviceId(uuid4()), name, host, 22, "routeros", {})
    device = enroll.add(scene.install.wiring.enroll_ports("test"), new, Login("backup", password="s3cret")).device
    scene.observe(device.device_id, export_text(name))
    return device.device_id


def test_a_tenant_has_files_keys_and_failures_of_its_own(scene: Scene, folder: Path, tmp_path: Path) -> None:
    """Nobody else's devices are in them, and what keeps one from being written keeps no other (I11)."""
    scene.observe(scene.add(), export_text("default"))
    wiring = scene.install.wiring
    other_id = TenantId(wiring.make_tenant("../other"))
    add_to(scene, other_id, "theirs", "192.0.2.1")
    removed = add_to(scene, other_id, "removed", "192.0.2.2")
    assert scene.run("device", "remove", "removed", "--tenant", "../other", "--yes").code == Exit.OK
    enable(scene, folder)
    key = str(OTHER.to_public())
    gone = tmp_path / "gone"
    gone.mkdir()
    for to in (folder, gone):
        enabled = scene.run("escrow", "enable", "-r", key, "--to", str(to), "--tenant", "../other", "--yes")
        assert enabled.code == Exit.OK
    gone.rmdir()
    assert job(scene).counts == {"written": 1, "devices": 1, "lacking": 0, "failed": 1}
    gone.mkdir()
    assert job(scene).counts == {"written": 2, "devices": 2, "lacking": 0, "failed": 0}
    (theirs,) = files(gone)
    content = opened(theirs, OTHER)
    assert list(listed(content)) == ["theirs"]
    assert not [name for name in content if str(removed) in name]
    assert list(listed(opened(files(folder)[0]))) == ["core-1"]
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(theirs.read_bytes(), [IDENTITY])
    assert [one["tenant"] for one in json.loads(scene.run("status", "--json").out)["escrow"]] == ["default"]
    shredded = scene.run("tenant", "remove", "../other", "--shred", "--yes")
    assert (shredded.code, f"open with their own key: {gone}/_other-" in shredded.err) == (Exit.OK, True)
    assert [row.recipients for row in scene.rows("SELECT recipients FROM escrow")] == [[PUBLIC]]
    assert job(scene).counts["written"] == 1


def test_the_commands_say_who_where_and_when(scene: Scene, folder: Path) -> None:
    """Each act is in the audit with its public keys, and with nothing of a configuration (I12)."""
    scene.observe(scene.add(), export_text("s3cret-comment"))
    assert scene.run("escrow", "status").out.startswith(b"none is written")
    assert scene.run("escrow", "run").code == Exit.NOT_FOUND
    assert scene.run("escrow", "enable", "-r", PUBLIC).err.count("CONFIG_ESCROW_DIR") == 1
    assert scene.run("escrow", "enable", "-r", str(IDENTITY), "--to", str(folder)).code == Exit.DATA
    assert not scene.rows("SELECT 1 FROM escrow")
    owners = folder.parent / "owners.txt"
    owners.write_text(f"# two\n{PUBLIC}\n{OTHER.to_public()}\n")
    said = scene.run("escrow", "enable", "-R", str(owners), "--to", str(folder), "--json")
    assert json.loads(said.out)["recipients"] == [PUBLIC, str(OTHER.to_public())]
    (due,) = scene.rows("SELECT due_at <= now() AS now FROM job WHERE name = 'escrow'")
    assert due.now
    asked = enable(scene, folder)  # one of them could open it no more: nobody is there to be asked
    assert (asked.code, "cannot open any more" in asked.err) == (Exit.REFUSED, True)
    ran = scene.run("escrow", "run", "--json")
    (told,) = json.loads(ran.out)
    assert (ran.code, told["devices"], told["lacking"]) == (Exit.OK, 1, [])
    assert [str(file) for file in files(folder)] == [told["file"]]
    assert opened(files(folder)[0], OTHER).keys() == opened(files(folder)[0]).keys()
    (shown,) = json.loads(scene.run("escrow", "status", "--json").out)
    assert (shown["devices"], shown["late"], shown["folder"]) == (1, False, str(files(folder)[0].parent))
    scene.write("operator", "UPDATE escrow SET filed_at = now() - interval '3 days'")
    assert scene.run("escrow", "status").code == Exit.WRONG
    assert "ESCROW LATE  default: no file since " in scene.run("status").out.decode()
    assert scene.run("escrow", "disable", "--yes").code == Exit.OK
    assert scene.run("escrow", "disable", "--yes").out == b"none of default was written: no change\n"
    acts = scene.rows("SELECT action, actor, detail::text AS detail FROM audit WHERE action LIKE 'escrow%' ORDER BY id")
    assert [act.action for act in acts] == ["escrow_enabled", "escrow_begun", "escrow_written", "escrow_disabled"]
    assert all(act.actor.startswith("cli:") and "s3cret" not in act.detail for act in acts)
    assert PUBLIC in acts[1].detail


def test_who_may_not_write_there_asks_the_job(scene: Scene, folder: Path) -> None:
    """As every command in the composed install: no alarm is raised, the job writes although it is not due."""
    scene.observe(scene.add(), export_text("one"))
    scene.monkeypatch.setenv("CONFIG_ESCROW_DIR", str(folder))
    assert scene.run("escrow", "enable", "-r", PUBLIC).code == Exit.OK
    wiring = scene.install.wiring
    ports = replace(wiring.escrow_ports("job"), folder=AgeFolder(folder))
    assert write_due(ports, Watching()).counts["written"] == 1
    assert write_due(ports, Watching()).counts["written"] == 0
    scene.monkeypatch.delenv("CONFIG_ESCROW_DIR")
    scene.write("operator", "UPDATE job SET due_at = now() + interval '1 day' WHERE name = 'escrow'")
    ran = scene.run("escrow", "run")
    assert (ran.code, b"the maintain worker was asked" in ran.out) == (Exit.OK, True)
    assert alarms(scene) == []
    (due,) = scene.rows("SELECT due_at <= now() AS now FROM job WHERE name = 'escrow'")
    assert due.now
    assert write_due(ports, Watching()).counts["written"] == 1
    assert write_due(ports, Watching()).counts["written"] == 0
    assert len(files(folder)) == 2
    assert scene.rows("SELECT actor FROM audit WHERE action = 'escrow_asked'")[0].actor.startswith("cli:")


def test_status_asks_for_a_backup_of_the_system_until_there_is_a_young_one(scene: Scene) -> None:
    """From the first day on; the verdict waits for a week."""
    lines = [scene.run("status").out.decode()]
    scene.write("migrator", "UPDATE tenant SET created_at = now() - interval '8 days'")
    late = json.loads(scene.run("status", "--json").out)
    made = "INSERT INTO system_backup (made_at, made_by, revision, bytes) VALUES (now() - :ago, 'test', '0007', 1)"
    scene.write("migrator", made, ago=timedelta(days=-9))  # of a clock that ran ahead
    for days in (9, 6):
        scene.write("migrator", made, ago=timedelta(days=days))
        lines.append(scene.run("status").out.decode())
    assert ["SYSTEM BACKUP" in one for one in lines] == [True, True, False]
    assert ("there is none" in lines[0], "the newest is 9 d" in lines[1]) == (True, True)
    assert late["system_backup"] == {"newest_at": None, "overdue": True}
    assert "system backup never made" in [reason["says"] for reason in late["summary"]["reasons"]]
    assert "system backup 9 d old" in lines[1].partition("\n")[0]
