"""`snapshots` and `export`: byte for byte, audited, never by accident, never what is damaged."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from backupflow.cli.backup import says
from backupflow.cli.exits import Exit
from backupflow.core.model import RawConfig, Secrets
from tests.integration.scene import export_text

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.scene import Scene

FIRST, AGAIN = export_text("one", "2026-11-20 10:00:00"), export_text("one", "2026-11-20 16:00:00")
OTHER = export_text("two", "2026-11-20 22:00:00")


@pytest.fixture
def told(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Collect a text, the same again, and another one; commands run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    device_id = scene.add()
    for raw in (FIRST, AGAIN, OTHER):
        scene.observe(device_id, raw)
    return scene


def test_snapshots_are_runs_of_equal_texts(told: Scene) -> None:
    """Two collections of one text are one line, seen twice; the newest comes first."""
    shown = json.loads(told.run("snapshots", "core-1", "--json").out)["snapshots"]
    assert [(s["snapshot"], s["last_snapshot"], s["observations"], s["current"]) for s in shown] == [
        (3, 3, 1, True),
        (1, 2, 2, False),
    ]
    assert len(told.run("snapshots", "core-1").out.splitlines()) == 3
    assert len(json.loads(told.run("snapshots", "core-1", "--json", "--limit", "1").out)["snapshots"]) == 1


def test_an_export_is_the_routers_bytes_in_a_private_file(told: Scene, tmp_path: Path) -> None:
    """Nothing is added or lost, the file is its owner's alone, and its name tells device and time."""
    assert told.run("export", "core-1").code == Exit.OK
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("router-core-1-2")
    assert file.suffix == ".rsc"
    assert file.read_bytes() == OTHER
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_is_given_is_the_first_with_that_text_and_it_says_so(told: Scene) -> None:
    """A later collection of the same text gives the first one's bytes, and stderr says when that was (I16)."""
    done = told.run("export", "core-1", "--at", "2", "-o", "-")
    assert (done.code, done.out) == (Exit.OK, FIRST)
    assert "snapshot 1 of core-1" in done.err
    assert "this text was first given" in done.err
    assert "this text was first given" not in told.run("export", "core-1", "--at", "1", "-o", "-").err


def test_a_snapshot_has_the_number_that_is_listed_wherever_it_is_told(told: Scene) -> None:
    """Else whoever types it finds no such line: each later collection of a text is one of its stretch."""
    device_id = told.rows("SELECT id FROM device")[0].id
    for raw in (OTHER, FIRST, AGAIN):  # 4 belongs to 3, 5 is the text of 1 again, 6 belongs to 5
        told.observe(device_id, raw)
    listed = [one["snapshot"] for one in json.loads(told.run("snapshots", "core-1", "--json").out)["snapshots"]]
    assert listed == [5, 3, 1]
    for seq, number in ((1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (6, 5)):
        for words in (("export", "core-1", str(seq), "-o", "-"), ("show", "core-1", str(seq))):
            assert f"snapshot {number} of core-1," in told.run(*words).err
    newest = told.run("export", "core-1", "-o", "-")
    assert "snapshot 5 of core-1" in newest.err
    assert "(snapshot 1), as its header may say" in newest.err
    assert told.run("export", "core-1", "5", "--at", "3").code == Exit.USAGE
    store, tenant_id = told.install.wiring.requests, told.rows("SELECT tenant_id FROM device")[0].tenant_id
    (number,) = store.ask(tenant_id, ["core-1"], "tester")
    told.write(
        "scheduler",
        "UPDATE request SET answered_at = now(), answer = 'claimed', "
        "collection_id = (SELECT id FROM collection WHERE seq = 6) WHERE id = :number",
        number=number,
    )
    assert "unchanged, snapshot 5," in says(store.asked([number])[0])


def test_an_export_by_time_is_what_was_current_then(told: Scene) -> None:
    """Before the first collection there is none; in the future it is the last."""
    assert told.run("export", "core-1", "--at", "2001-01-01", "-o", "-").code == Exit.NOT_FOUND
    assert told.run("export", "core-1", "--at", "2999-01-01T00:00:00+02:00", "-o", "-").out == OTHER
    assert told.run("export", "core-1", "--at", "yesterday", "-o", "-").code == Exit.USAGE


def test_nothing_is_overwritten_unless_forced(told: Scene, tmp_path: Path) -> None:
    """A file that is there stays as it is, and nothing is read, so nothing is audited."""
    file = tmp_path / "kept.rsc"
    file.write_text("mine")
    refused = told.run("export", "core-1", "-o", str(file))
    assert (refused.code, file.read_text()) == (Exit.WOULD_OVERWRITE, "mine")
    assert told.rows("SELECT 1 FROM audit WHERE action = 'config_exported'") == []
    assert told.run("export", "core-1", "-o", str(file), "--force").code == Exit.OK
    assert file.read_bytes() == OTHER
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["kept.rsc"]


def test_reading_is_audited(told: Scene) -> None:
    """Each read is one row with who and what."""
    told.run("export", "core-1", "--at", "2", "-o", "-")
    (act,) = told.rows("SELECT actor, detail FROM audit WHERE action = 'config_exported'")
    assert act.actor.startswith("cli:")
    assert act.detail == {"seq": 2, "first_seq": 1}


def test_nothing_is_shown_that_cannot_be_audited(told: Scene, tmp_path: Path) -> None:
    """If the read cannot be written down, nothing comes out."""
    told.write("migrator", "REVOKE INSERT ON audit FROM backupflow_reader")
    with pytest.raises(Exception, match="permission denied"):
        told.run("export", "core-1")
    assert list(tmp_path.iterdir()) == []


def test_swapped_ciphertexts_are_found(told: Scene, tmp_path: Path) -> None:
    """A sealed text that was put in another's place is refused loudly, with an alarm, and nothing is written (I2)."""
    other = told.add("core-2", "192.0.2.2")
    told.observe(other, export_text("of another device"))
    swap = "UPDATE content a SET sealed = b.sealed FROM content b WHERE a.device_id = :a AND b.device_id = :b"
    first = told.rows("SELECT id FROM device WHERE name = 'core-1'")[0].id
    told.write("operator", swap, a=first, b=other)
    refused = told.run("export", "core-1")
    assert (refused.code, refused.out) == (Exit.DATA, b"")
    assert "DAMAGED" in refused.err
    assert list(tmp_path.iterdir()) == []
    assert [row.code for row in told.rows("SELECT code FROM alarm WHERE cleared_at IS NULL")] == ["snapshot_damaged"]


def test_a_text_under_anothers_hash_is_found(told: Scene) -> None:
    """Two contents of one device that changed places open well, and are refused all the same."""
    swap = """UPDATE content a SET sealed = b.sealed FROM content b
        WHERE a.device_id = b.device_id AND a.first_seq = 3 AND b.first_seq = 1"""
    told.write("operator", swap)
    refused = told.run("export", "core-1", "-o", "-")
    assert (refused.code, refused.out) == (Exit.DATA, b"")


def test_a_text_that_does_not_have_its_hash_is_found(told: Scene) -> None:
    """The keyed hash of what was opened is compared with the stored one."""
    told.write("migrator", "UPDATE content SET content_hash = sha256(content_hash) WHERE first_seq = 3")
    refused = told.run("export", "core-1", "-o", "-")
    assert (refused.code, refused.out) == (Exit.DATA, b"")
    assert "hash" in refused.err


def test_a_run_says_what_of_its_secrets_is_to_be_known(scene: Scene) -> None:
    """Hidden ones are named; a run that differs from the one before in nothing else says exactly that."""
    device_id = scene.add()
    masked = {"masked_hash": b"the rest of it"}
    scene.observe(device_id, export_text("s3cret"), secrets=Secrets.SHOWN, secret_count=1, **masked)
    scene.observe(device_id, export_text(""), secrets=Secrets.HIDDEN, **masked)
    scene.observe(device_id, export_text("s3cret"), secrets=Secrets.SHOWN, secret_count=1, **masked)
    scene.observe(device_id, export_text("other"), secrets=Secrets.SHOWN, secret_count=1)
    lines = scene.run("snapshots", "core-1").out.decode().splitlines()
    assert lines[0].endswith("secrets")
    assert [line.partition("7.14")[2].strip() for line in lines[1:5]] == [
        "",
        "shown *",
        "hidden *",
        "",
    ]
    assert lines[5:] == ["* only the visibility of its secrets changed"]
    runs = json.loads(scene.run("snapshots", "core-1", "--json").out)["snapshots"]
    assert [(run["secrets"], run["only_visibility_of_secrets_changed"]) for run in runs] == [
        ("shown", False),
        ("shown", True),
        ("hidden", True),
        ("shown", False),
    ]


@pytest.fixture
def doubted(told: Scene) -> Scene:
    """Keep two exports of the same device aside."""
    (device,) = told.rows("SELECT id FROM device")
    told.doubt(device.id, ASIDE)
    told.doubt(device.id, ASIDE_TOO)
    return told


ASIDE, ASIDE_TOO = export_text("cut"), export_text("cut again")


def test_what_was_kept_aside_is_listed_apart(doubted: Scene) -> None:
    """It is no snapshot; its own list says why, the newest first."""
    assert [s["snapshot"] for s in json.loads(doubted.run("snapshots", "core-1", "--json").out)["snapshots"]] == [3, 1]
    assert "kept aside: 2; see `snapshots core-1 --aside`" in doubted.run("snapshots", "core-1").out.decode()
    listed = json.loads(doubted.run("snapshots", "core-1", "--aside", "--json").out)["aside"]
    assert [(a["collection"], a["state"], a["code"], a["detail"]) for a in listed] == [
        (5, "suspect", "export_suspect", "1 sections, it had 2"),
        (4, "suspect", "export_suspect", "1 sections, it had 2"),
    ]
    lines = doubted.run("snapshots", "core-1", "--aside").out.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["collection", "5", "4", "none"]
    (device,) = doubted.rows("SELECT id FROM device")
    doubted.observe(device.id, ASIDE)
    assert "kept aside" not in doubted.run("snapshots", "core-1").out.decode()  # what came after it was believed
    assert len(json.loads(doubted.run("snapshots", "core-1", "--aside", "--json").out)["aside"]) == 2


def test_what_was_kept_aside_comes_byte_for_byte_and_says_so(doubted: Scene, tmp_path: Path) -> None:
    """stdout has the router's bytes alone; stderr says that they were never current, and why; the read is audited."""
    newest = doubted.run("export", "core-1", "--aside", "-o", "-")
    assert (newest.code, newest.out) == (Exit.OK, ASIDE_TOO)
    assert newest.err.startswith("KEPT ASIDE, never current: collection 5 of core-1, 2")
    assert newest.err.endswith("export_suspect: 1 sections, it had 2\n")
    assert doubted.run("export", "core-1", "--aside", "--at", "4", "-o", "-").out == ASIDE
    assert doubted.run("export", "core-1", "-o", "-").out == OTHER
    told = doubted.run("export", "core-1", "--aside", "--json")
    (file,) = tmp_path.iterdir()
    assert file.name.endswith("Z-aside.rsc")
    assert json.loads(told.out)["file"] == file.name
    assert json.loads(told.out)["aside"] == {"code": "export_suspect", "detail": "1 sections, it had 2"}
    acts = [row.action for row in doubted.rows("SELECT action FROM audit WHERE action LIKE '%exported' ORDER BY id")]
    assert acts == ["aside_exported", "aside_exported", "config_exported", "aside_exported"]


def test_what_was_not_kept_aside_is_not_found(doubted: Scene) -> None:
    """A snapshot is none, a time names none, and nothing is audited for it."""
    assert doubted.run("export", "core-1", "--aside", "--at", "3", "-o", "-").code == Exit.NOT_FOUND
    assert doubted.run("export", "core-1", "--at", "4", "-o", "-").code == Exit.NOT_FOUND
    assert doubted.run("export", "core-1", "--aside", "--at", "2999-01-01", "-o", "-").code == Exit.USAGE
    doubted.add("core-2", "192.0.2.2")
    nothing = doubted.run("export", "core-2", "--aside", "-o", "-")
    assert (nothing.code, nothing.out) == (Exit.NOT_FOUND, b"")
    assert doubted.run("snapshots", "core-2", "--aside").out == b"nothing of core-2 was kept aside\n"
    assert doubted.rows("SELECT 1 FROM audit WHERE action LIKE '%exported'") == []


def on_a_terminal(*arguments: str) -> tuple[int, bytes]:
    """Run a command with its stdout on a terminal; its exit code and what the terminal got."""
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "backupflow", *arguments]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.DEVNULL)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # EIO: the other side is closed
        while chunk := os.read(ours, 65536):
            shown += chunk
    os.close(ours)
    return process.wait(), shown


def test_a_terminal_sees_nothing_unless_revealed(scene: Scene) -> None:
    """Secrets do not scroll by unasked; revealed, an escape sequence of the router does nothing to the terminal."""
    evil = RawConfig(export_text("x").replace(b'"x"', b'"\x1b]0;owned\x07 \xff"'))
    scene.observe(scene.add(), evil)
    code, shown = on_a_terminal("export", "core-1", "-o", "-")
    assert (code, shown) == (Exit.REFUSED, b"")
    code, shown = on_a_terminal("export", "core-1", "-o", "-", "--reveal")
    assert code == Exit.OK
    assert rb"\x1b]0;owned\x07 \xff" in shown
    assert b"\x1b" not in shown
