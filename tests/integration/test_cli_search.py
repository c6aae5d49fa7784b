"""`search`: what is found where, what is masked, what the audit has of it, and that nothing damaged ends it."""
# ruff: noqa: S608 - the statements are put together of our own constants

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from backupflow.adapters.db import searching
from backupflow.cli.exits import Exit
from backupflow.core.model import RawConfig
from backupflow.core.searching import Candidate, Cursor, Extent, Pattern, Search
from backupflow.flows import rewrapping
from backupflow.flows import search as flow
from backupflow.flows.keys import rotate
from backupflow.flows.search import Hit, LookedFor, Watching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from uuid import UUID

    from backupflow.core.model import DeviceId
    from backupflow.core.ports import SearchStore
    from tests.integration.scene import Ran, Scene

MARKER = "Xy9-MARKER-zq"  # a secret of every device
HEAD = "# 2026-11-20 10:00:00 by RouterOS 7.14\r\n# software id = ABCD-EFGH\r\n#\r\n"
FLIP = "overlay(sealed PLACING CASE substr(sealed, 40, 1) WHEN 'A' THEN 'B' ELSE 'A' END FROM 40)"


def router(number: int, word: str) -> RawConfig:
    """An export with an address, a user with a secret, and a note."""
    body = [
        "/ip address",
        f"add address=10.0.{number}.1/24 comment={word} interface=ether1",
        "/ppp secret",
        f"add name=user{number} password={MARKER}{number}",
        "/system note",
        f'set note="the note of {word}"',
    ]
    return RawConfig((HEAD + "\r\n".join([*body, ""])).encode())


@pytest.fixture
def told(scene: Scene) -> Scene:
    """Three devices: the first has changed once and back, the second is in a group, the third is removed."""
    for number, name in enumerate(("core-1", "edge-1", "gone-1"), start=1):
        device_id = scene.add(name, f"192.0.2.{number}")
        for word in ("old", "new", "old") if number == 1 else ("new",):
            scene.observe(device_id, router(number, word))
    wiring = scene.install.wiring
    tenant = wiring.devices("reader").tenant("default")
    scene.write(
        "enroller",
        "WITH g AS (INSERT INTO device_group (tenant_id, name) VALUES (:tenant, 'edge') RETURNING id) "
        "UPDATE device SET device_group_id = (SELECT id FROM g) WHERE name = 'edge-1'",
        tenant=tenant,
    )
    scene.write("enroller", "UPDATE device SET status = 'removed', removed_at = now() WHERE name = 'gone-1'")
    return scene


def scene_tells_of_a_note(scene: Scene) -> None:
    """What an interpreter writes of a change in one menu."""
    scene.write(
        "interpreter",
        "INSERT INTO interpretation (tenant_id, device_id, collection_id, seq, after_seq, normalization_version, kind, "
        "components) SELECT tenant_id, device_id, id, seq, 0, 1, 'first', '[\"system/note\"]' "
        "FROM collection WHERE seq = 1",
    )


def hits(done: Ran) -> list[tuple[str, int, str, str]]:
    """Device, snapshot, menu and line of each hit."""
    found = json.loads(done.out)["hits"]
    return [(hit["device"], hit["snapshot"], hit["component"], hit["text"]) for hit in found]


def acts(scene: Scene) -> list[dict[str, Any]]:
    """What the audit says of searches, in its order."""
    rows = scene.rows("SELECT actor, action, detail FROM audit WHERE action LIKE 'config_search%' ORDER BY id")
    return [{"actor": row.actor, "action": row.action, **row.detail} for row in rows]


def test_a_line_is_found_in_what_was_asked_for_with_its_device_snapshot_and_menu(told: Scene) -> None:
    """In current ones, of a device, a group or a menu, or in all that is kept: each text once, of the removed too."""
    line = "add address=10.0.1.1/24 comment=old interface=ether1"
    assert hits(told.run("search", "10.0.", "--json")) == [
        ("core-1", 3, "ip/address", line),
        ("edge-1", 1, "ip/address", line.replace("10.0.1", "10.0.2").replace("old", "new")),
    ]
    done = told.run("search", "comment=old")
    assert done.out.decode() == f"core-1 #3 ip/address: {line}\n"
    assert "1 line of 1 device; 2 of 2 configurations searched; secrets were masked" in done.err
    assert told.run("search", "nowhere").code == Exit.OK
    assert [hit[0] for hit in hits(told.run("search", "ether1", "--device", "edge-1", "--json"))] == ["edge-1"]
    assert [hit[0] for hit in hits(told.run("search", "ether1", "--group", "edge", "--json"))] == ["edge-1"]
    assert [hit[:2] for hit in hits(told.run("search", "ether1", "--all", "--json"))] == [
        ("core-1", 3), ("core-1", 2), ("edge-1", 1), ("gone-1", 1),
    ]  # fmt: skip
    for option in ("--component", "--section"):
        assert [hit[2] for hit in hits(told.run("search", "old", option, "/system", "--json"))] == ["system/note"]
    assert "did you mean" not in told.run("search", "nowhere", "--component", "sistem").err
    scene_tells_of_a_note(told)
    assert "did you mean system?" in told.run("search", "nowhere", "--component", "sistem").err
    assert b"--section" not in told.run("search", "--help").out
    assert [hit[0] for hit in hits(told.run("search", "ether1", "--device", "gone-1", "--json"))] == ["gone-1"]
    for option, name in (("--device", "nope"), ("--group", "nope"), ("--site", "nope"), ("--tenant", "nope")):
        done = told.run("search", "ether1", option, name)
        assert (done.code, "nope" in done.err) == (Exit.NOT_FOUND, True)


def test_secrets_are_masked_first_and_the_audit_never_has_what_was_looked_for(told: Scene) -> None:
    """Neither text nor pattern finds a secret without --reveal; who searched where is written, and how much came."""
    for pattern in ((MARKER,), ("--regexp", "password=X"), ("-e", "^.*password=[^•]")):
        done = told.run("search", *pattern)
        assert (done.code, done.out) == (Exit.OK, b"")
    masked = told.run("search", "password=")
    assert masked.out.decode().count("password=•••") == 2
    assert MARKER not in masked.out.decode() + masked.err
    shown = told.run("search", MARKER, "--reveal")
    assert shown.out.decode().count(MARKER) == 2
    assert [act["revealed"] for act in acts(told) if act["action"] == "config_searched"] == [False] * 4 + [True]
    told.run("search", "--pattern-file", "-", "--reveal", "--group", "edge", stdin=f"{MARKER}2\n".encode())
    told.run("search", "nowhere-to-be-found", "--all")
    first, first_end, second, second_end = acts(told)[-4:]
    assert first["actor"].startswith("cli:")
    assert first["search"] == first_end["search"] != second["search"] == second_end["search"]
    assert {name: first[name] for name in ("action", "group", "all", "revealed", "devices", "snapshots")} == {
        "action": "config_searched", "group": "edge", "all": False, "revealed": True, "devices": 1, "snapshots": 1,
    }  # fmt: skip
    assert {name: first_end[name] for name in ("action", "hits", "devices_with_hits", "searched", "complete")} == {
        "action": "config_search_ended", "hits": 1, "devices_with_hits": 1, "searched": 1, "complete": True,
    }  # fmt: skip
    assert (second["devices"], second["snapshots"], second_end["hits"]) == (3, 4, 0)
    written = json.dumps(acts(told))
    assert MARKER not in written
    assert "nowhere-to-be-found" not in written


def test_a_pattern_comes_from_the_command_line_a_file_or_stdin(told: Scene, tmp_path: Path) -> None:
    """One line; what is wrong with it is said, without it, before anything is searched. Shown is what was asked for."""
    file = tmp_path / "pattern"
    file.write_text("comment=old\r\n")
    assert len(hits(told.run("search", "--pattern-file", str(file), "--json"))) == 1
    assert len(hits(told.run("search", "--pattern-file", "-", "--json", stdin=b"comment=(old|new)"))) == 0
    assert len(hits(told.run("search", "-e", "--pattern-file", "-", "--json", stdin=b"comment=(old|new)"))) == 2
    searched = len(acts(told))
    file.write_text("one\ntwo\n")
    for arguments, stdin, code, says in (
        ((), b"", Exit.USAGE, "PATTERN or --pattern-file"),
        (("x", "--pattern-file", "-"), b"x", Exit.USAGE, "PATTERN or --pattern-file"),
        (("--pattern-file", "-"), b"", Exit.DATA, "empty"),
        (("--pattern-file", "-"), b"\xff\xfe", Exit.DATA, "UTF-8"),
        (("--pattern-file", str(file)), b"", Exit.DATA, "more than one line"),
        (("--pattern-file", str(tmp_path / "none")), b"", Exit.NOT_FOUND, "No such file"),
        (("-e", "--pattern-file", "-"), f"{MARKER}(".encode(), Exit.DATA, "a ( is not closed, at character 14"),
        (("x", "--count", "--devices"), b"", Exit.USAGE, "--count or --devices"),
        (("x", "--component", "/"), b"", Exit.DATA, "component"),
    ):
        done = told.run("search", *arguments, stdin=stdin)
        assert (done.code, says in done.err, MARKER in done.err) == (code, True, False), (arguments, done.err)
    assert len(acts(told)) == searched
    assert told.run("search", "e", "--devices").out == b"core-1\nedge-1\n"
    assert json.loads(told.run("search", "e", "--devices", "--json").out)["names"] == ["core-1", "edge-1"]
    assert told.run("search", "address=10", "--count").out == b"2 lines of 2 devices\n"
    counted = json.loads(told.run("search", "address=10", "--count", "--json").out)
    assert (counted["lines"], counted["devices"], "hits" in counted) == (2, 2, False)
    limited = told.run("search", "e", "--limit", "3")
    assert len(limited.out.splitlines()) == 3
    assert "stopped at --limit" in limited.err
    ended = [act["complete"] for act in acts(told) if act["action"] == "config_search_ended"]
    assert (ended[-5:], set(ended[:-1])) == ([True] * 4 + [False], {True})


def test_what_is_damaged_or_given_up_is_named_and_ends_nothing(told: Scene) -> None:
    """Two rows of a device that were swapped name each another collection; what was given up does not open."""
    core, gone = (ids(told, name) for name in ("core-1", "gone-1"))
    swapped = "UPDATE content a SET sealed = b.sealed FROM content b WHERE a.device_id = b.device_id AND a.id <> b.id"
    told.write("operator", f"{swapped} AND a.device_id = :device", device=core)
    told.write("operator", "UPDATE device SET unreadable_to_seq = 1 WHERE id = :device", device=gone)
    told.write("operator", f"UPDATE content SET sealed = {FLIP} WHERE device_id = :device", device=gone)
    done = told.run("search", "ether1", "--all", "--json")
    said = json.loads(done.out)
    assert done.code == Exit.WRONG
    assert [hit["device"] for hit in said["hits"]] == ["edge-1"]
    assert [(one["device"], one["snapshot"]) for one in said["damaged"]] == [("core-1", 1), ("core-1", 2)]
    assert [(one["device"], one["snapshot"]) for one in said["given_up"]] == [("gone-1", 1)]
    assert all("names another" in one["why"] for one in said["damaged"])
    assert (said["configurations"], said["searched"]) == (4, 1)
    alarms = told.rows("SELECT scope FROM alarm WHERE code = 'snapshot_damaged' ORDER BY scope")
    assert [row.scope for row in alarms] == [f"device {core} seq 1", f"device {core} seq 2"]
    shown = told.run("search", "ether1", "--all").err
    assert "not searched: core-1 #2: DAMAGED" in shown
    assert "not searched: gone-1 #1: sealed with keys that were given up" in shown
    assert (acts(told)[1]["damaged"], acts(told)[1]["given_up"]) == (2, 1)


def test_without_its_keys_a_tenant_is_not_searched(told: Scene) -> None:
    """Nothing would be found, which would be no answer: the command fails, and the audit says that it was cut off."""
    tenant = told.install.wiring.devices("reader").tenant("default")
    told.install.wiring.vault("provisioner").delete_keys(tenant)
    done = told.run("search", "ether1")
    assert (done.code, done.out) == (Exit.UNAVAILABLE, b"")
    assert [act.get("complete") for act in acts(told)] == [None, False]


@dataclass
class Late:
    """core.ports.SearchStore: between reading a page and giving it out something happens, once."""

    store: SearchStore
    happens: Callable[[], object]

    def begin(self, search_id: UUID, wanted: Search, actor: str) -> Extent:
        """As it is."""
        return self.store.begin(search_id, wanted, actor)

    def page(self, wanted: Search, devices: Sequence[DeviceId], after: Cursor | None) -> Sequence[Candidate]:
        """What stood there before that."""
        page = self.store.page(wanted, devices, after)
        if after is None:
            self.happens()
        return page

    def ended(self, search_id: UUID, wanted: Search, actor: str, found: Mapping[str, Any]) -> None:
        """As it is."""
        self.store.ended(search_id, wanted, actor, found)


def test_each_configuration_is_searched_once_however_they_come(told: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """By pages of any size; what is moved to a newer key after it was read, and the old one retired, is read again."""
    whole = hits(told.run("search", "ether1", "--all", "--json"))
    assert len(whole) == 4
    for page, size in ((1, 10**6), (2, 10**6), (100, 1), (100, 900)):
        monkeypatch.setattr(searching, "PAGE", page)
        monkeypatch.setattr(searching, "PAGE_BYTES", size)
        assert hits(told.run("search", "ether1", "--all", "--json")) == whole
    wiring = told.install.wiring
    tenant, keys, ports = (
        wiring.devices("reader").tenant("default"),
        wiring.key_ports("test"),
        wiring.search_ports("me"),
    )

    def move() -> None:
        rotate(keys, tenant)
        assert not rewrapping.rewrap(keys, tenant, retire=True).holds

    late = replace(ports, store=Late(ports.store, move))
    found: list[Hit] = []
    done = flow.search(late, Search(tenant), LookedFor(Pattern("ether1")), Watching(found=found.append))
    assert [hit.candidate.snapshot.device_name for hit in found] == ["core-1", "edge-1"]
    assert (done.searched, done.damaged, done.given_up) == (2, [], [])


def test_on_a_terminal_hostile_text_is_harmless_and_a_bar_shows_how_far_it_is(told: Scene) -> None:
    """Escapes reach no terminal; the bar is on standard error, and gone at the end."""
    device_id = told.add("evil", "192.0.2.9")
    told.observe(device_id, RawConfig(router(9, "x").replace(b"the note of x", rb"\1B[31mred")))
    read, written = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "backupflow", "search", "red"],
        stdout=written, stderr=written, env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    ) as process:  # fmt: skip
        os.close(written)
        shown = b"".join(read_all(read))
        assert process.wait(60) == 0
    assert b"evil #1 system/note" in shown
    assert b"\x1b[31mred" not in shown
    assert b"searching" in shown


def test_ctrl_c_ends_it_cleanly(told: Scene) -> None:
    """Exit code 130, one line, and the audit says that it was cut off."""
    code = (
        "import os, signal, sys\n"
        "from backupflow.flows import search\n"
        "def cut(): os.kill(os.getpid(), signal.SIGINT)\n"
        "look, seen = search._Run._look, []\n"
        "search._Run._look = lambda self, *args: cut() if seen else (seen.append(1), look(self, *args))\n"
        "sys.argv = ['backupflow', 'search', 'ether1']\n"
        "from backupflow.cli import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == Exit.INTERRUPTED
    assert done.stderr.strip().splitlines() == ["backupflow: interrupted; 1 of 2 searched"]
    assert [act.get("complete") for act in acts(told)] == [None, False]


def ids(scene: Scene, name: str) -> DeviceId:
    """The device of that name."""
    return scene.rows("SELECT id FROM device WHERE name = :name", name=name)[0].id  # type: ignore[no-any-return]


def read_all(descriptor: int) -> Iterator[bytes]:
    """What a program writes to a terminal until it ends."""
    with suppress(OSError):  # the other end is closed
        while data := os.read(descriptor, 4096):
            yield data
    os.close(descriptor)
