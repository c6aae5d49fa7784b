"""The escrow: every current configuration in one file that age and tar open, and whatever keeps it from being whole."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from typing import TYPE_CHECKING

import pyrage
import pytest

from backupflow.cli.exits import Exit
from backupflow.core.escrow import ESCROW
from backupflow.errors import EscrowFailed
from backupflow.flows import maintain
from backupflow.flows.escrow import Watching, write_due
from tests.integration.scene import export_text

if TYPE_CHECKING:
    from pathlib import Path

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


def opened(file: Path, identity: object = IDENTITY) -> dict[str, bytes]:
    """What is in a file, by name."""
    with tarfile.open(fileobj=io.BytesIO(pyrage.decrypt(file.read_bytes(), [identity]))) as tar:
        found = {info.name: tar.extractfile(info) for info in tar if info.isreg()}
        return {name: content.read() for name, content in found.items() if content}


def listed(content: dict[str, bytes]) -> dict[str, dict[str, str]]:
    """The inventory, by device."""
    return {row["device"]: row for row in csv.DictReader(io.StringIO(content["inventory.csv"].decode()))}


def job(scene: Scene) -> maintain.Ran:
    """The job, as a maintain worker does it."""
    wiring = scene.install.wiring
    return maintain.run(ESCROW, wiring.house, {ESCROW: lambda: write_due(wiring.escrow_ports("job"), Watching())})


def test_every_current_configuration_is_in_one_file_byte_for_byte(scene: Scene, folder: Path) -> None:
    """Whoever has the key and nothing else has each router's bytes (I16), and finds where the router is."""
    first, second = scene.add("core-1"), scene.add("=1+2 ..ü", "192.0.2.2")
    never = scene.add("new-1", "192.0.2.3")
    scene.observe(first, export_text("old"))
    scene.observe(first, export_text("new"))
    scene.observe(second, export_text("other\x1b[2J"))
    assert enable(scene, folder).code == Exit.OK
    ran = job(scene)
    assert not scene.rows(ALARMS)
    assert ran.counts == {"written": 1, "devices": 2, "lacking": 0, "failed": 0}
    (file,) = files(folder)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    content = opened(file)
    rows = listed(content)
    assert content[rows["core-1"]["file"]] == export_text("new")
    assert [one for name, one in content.items() if str(second) in name] == [export_text("other\x1b[2J")]
    assert sorted(name.partition("/")[0] for name in content) == ["README.txt", *["configurations"] * 2, "inventory.csv"]
    assert rows["new-1"] | {"id": str(never), "file": "", "not_here_because": "none was collected yet"} == rows["new-1"]
    assert (rows["core-1"]["address"], rows["core-1"]["username"]) == ("192.0.2.1", "backup")
    assert b"s3cret" not in content["inventory.csv"]
