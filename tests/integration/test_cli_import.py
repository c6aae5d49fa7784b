"""`device import`: a fleet from one file, or nothing of it; and no secret of it anywhere."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from backupflow.cli.exits import Exit
from backupflow.core.importing import Asked, Wanted
from backupflow.core.keys import KEYS_LOST
from backupflow.core.model import SealedSecret
from backupflow.core.table import read_table
from backupflow.core.table_cells import COLUMNS
from backupflow.errors import Conflict
from backupflow.flows import importing

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.scene import Ran, Scene

PRINT = "SHA256:" + "a" * 43
TABLES = (
    "device", "device_group", "site", "tenant", "jump_host", "credential_profile", "expected_key", "host_key", "alarm",
    "audit", "request",
)  # fmt: skip
FLEET = f"""\
# The fleet of an operator.
name;host;port;profile;group;site;jump;fingerprint;legacy_ssh;tenant;interval

core-1;192.0.2.1;;routers;core;north;;{PRINT};;;15m
core-2;192.0.2.2;2222;routers;core;north;hop-1;;yes;;
"edge; 1";192.0.2.2;2222;routers;access;;direct;;no;default;
"""


@pytest.fixture
def fleet(scene: Scene) -> Scene:
    """An install with two profiles, two jump hosts, a group and a site."""
    profile = (
        "INSERT INTO credential_profile (tenant_id, name, username, method, sealed) "
        "SELECT id, :name, 'u', :method, 'vault:v1:YQ==' FROM tenant"
    )
    scene.write("enroller", profile, name="routers", method="key")
    scene.write("enroller", profile, name="shared", method="password")
    for name in ("hop-1", "hop-2"):
        scene.write("enroller", "INSERT INTO jump_host (tenant_id, name, host) SELECT id, :n, :n FROM tenant", n=name)
    scene.write("enroller", "INSERT INTO device_group (tenant_id, name) SELECT id, 'core' FROM tenant")
    scene.write("enroller", "INSERT INTO site (tenant_id, name) SELECT id, 'north' FROM tenant")
    return scene


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that nobody else may read."""
    path = tmp_path / "fleet.csv"
    path.touch(0o600)
    return path


def take(scene: Scene, file: Path, content: str, *options: str) -> Ran:
    """Import it."""
    file.write_text(content, "utf-8")
    return scene.run("device", "import", str(file), *options)


def state(scene: Scene) -> dict[str, list[str]]:
    """All that an import could touch, row by row."""
    with scene.install.wiring.engine("migrator").begin() as tx:
        return {name: sorted(map(str, tx.execute(text(f"TABLE {name}")))) for name in TABLES}


def devices(scene: Scene) -> dict[str, Any]:
    """As `device show` shows each."""
    names = [row.name for row in scene.rows("SELECT name FROM device WHERE status <> 'removed' ORDER BY name")]
    return {name: json.loads(scene.run("device", "show", name, "--json").out) for name in names}


def test_a_fleet_is_imported_from_one_file(fleet: Scene, file: Path) -> None:
    """Every column has its meaning; groups are made when that is asked for; each device has its audit row."""
    done = take(fleet, file, "\ufeff" + FLEET, "--make-groups")
    assert (done.code, done.err) == (Exit.OK, "")
    assert done.out == b"3 added, 0 changed, 0 unchanged, 0 missing\n"
    rows = fleet.rows(
        "SELECT d.name, d.host, d.port, d.settings, d.source, g.name AS g, s.name AS s, p.name AS p, h.name AS via, "
        "d.jump_direct, d.next_due_at - d.created_at AS due, d.anchor_at = d.next_due_at AS anchored FROM device d "
        "LEFT JOIN device_group g ON g.id = device_group_id LEFT JOIN site s ON s.id = site_id "
        "LEFT JOIN credential_profile p ON p.id = d.credential_profile_id LEFT JOIN jump_host h ON h.id = via_id "
        "ORDER BY 1"
    )
    assert [tuple(row[:10]) for row in rows] == [
        ("core-1", "192.0.2.1", 22, {"interval_seconds": 900.0}, "import", "core", "north", "routers", None, False),
        ("core-2", "192.0.2.2", 2222, {"legacy_ssh": True}, "import", "core", "north", "routers", "hop-1", False),
        ("edge; 1", "192.0.2.2", 2222, {"legacy_ssh": False}, "import", "access", None, "routers", None, True),
    ]
    assert all(row.anchored and timedelta(seconds=30) <= row.due <= timedelta(seconds=301) for row in rows)
    expected = fleet.rows("SELECT d.name, e.fingerprint, e.how FROM expected_key e JOIN device d ON d.id = device_id")
    assert [tuple(row) for row in expected] == [("core-1", PRINT, "import")]
    with fleet.install.wiring.engine("migrator").begin() as tx:
        acts = tx.execute(
            text("SELECT action, count(*), max(detail ->> 'sha256') FROM audit GROUP BY 1 ORDER BY 1")
        ).all()
    assert [tuple(act[:2]) for act in acts] == [("device_added", 3), ("devices_imported", 1), ("group_added", 1)]
    assert re.fullmatch("[0-9a-f]{64}", acts[1][2])


def test_the_same_file_once_more_changes_nothing(fleet: Scene, file: Path) -> None:
    """Not a row of any table is another: devices are known by their names."""
    take(fleet, file, FLEET, "--make-groups")
    before = state(fleet)
    for options in ((), ("--update",), ("--update", "--make-groups"), ("--dry-run",)):
        again = take(fleet, file, FLEET.replace(";", "\t").replace('"edge\t 1"', "edge; 1"), *options)
        assert again.code == Exit.OK, again.err
        assert again.out.startswith(b"0 added, 0 changed, 3 unchanged, 0 missing")
        assert state(fleet) == before


def test_what_differs_is_left_or_changed_as_asked(fleet: Scene, file: Path) -> None:
    """Told field by field; without --update nothing happens to who is here, and who is new is taken in."""
    take(fleet, file, FLEET, "--make-groups")
    other = FLEET.replace("core-1;192.0.2.1;;", "core-1;192.0.2.9;;").replace("15m", "1h").replace("edge; 1", "edge-2")
    other = other.replace("192.0.2.2;2222;routers;access", "192.0.2.3;2222;routers;access")
    before = state(fleet)
    told = take(fleet, file, other, "--dry-run", "--update").out.decode().splitlines()
    assert state(fleet) == before
    assert told == [
        "added     edge-2  192.0.2.3, port 2222, profile routers, group access, jump direct, legacy_ssh no",
        "changed   core-1  host 192.0.2.1 → 192.0.2.9; interval 900s → 3600s",
        "missing   edge; 1  192.0.2.2",
        "1 added, 1 changed, 1 unchanged, 1 missing; nothing was done (--dry-run)",
    ]
    left = take(fleet, file, other)
    assert left.out == b"1 added, 0 changed, 1 differ (left: --update changes them), 1 unchanged, 1 missing\n"
    assert devices(fleet)["core-1"]["host"] == "192.0.2.1"
    assert take(fleet, file, other, "--update").out == b"0 added, 1 changed, 2 unchanged, 1 missing\n"
    assert (devices(fleet)["core-1"]["host"], devices(fleet)["core-1"]["interval_seconds"]) == ("192.0.2.9", 3600)


HERE = "name,host,profile\nhere,192.0.2.1,routers\nother,192.0.2.2,routers\n"
NO_LOGIN = "column profile: no login: name a profile, or give its group, site or tenant one"
TAKEN = "column host: the same address and port as a device that is here, and the same way there"
TWICE = "column host: the same address and port as in line 2, and the same way there"
NO_PROFILE = "column profile: no such profile; make it with `credential add`"
NO_GROUP = "column group: no such group; make it with `group add`, or say --make-groups"
NO_SITE = "column site: no such site; make it with `site add`, or say --make-groups"
NO_JUMP = "column jump: no such jump host; make it with `jump add`, or say `direct`"
UNASKED = "column password: a file with logins needs --passwords-in-file; nothing below it was read"
NO_HEADER = "no column `name`: the first line must say what each column is"
NO_HOST, NO_PORT = "column host: not a host name or address", "column port: not a port"
REFUSED = [
    ("name,host,profile\na,192.0.2.9,Zq\n", [f"line 2, {NO_PROFILE}"]),
    ("name,host,profile,group\na,192.0.2.9,routers,Zq\n", [f"line 2, {NO_GROUP}"]),
    ("name,host,profile,site\na,192.0.2.9,routers,Zq\n", [f"line 2, {NO_SITE}"]),
    ("name,host,profile,jump\na,192.0.2.9,routers,Zq\n", [f"line 2, {NO_JUMP}"]),
    ("name,host,profile,tenant\na,192.0.2.9,routers,Zq\n", ["line 2, column tenant: no such tenant"]),
    ("name,host\na,192.0.2.9\n", [f"line 2, {NO_LOGIN}"]),
    ("name,profile\na,routers\n", ["line 2, column host: missing; a new device needs one"]),
    ("name,host,profile\na,192.0.2.1,routers\n", [f"line 2, {TAKEN}"]),
    ("name,host\nhere,192.0.2.2\n", [f"line 2, {TAKEN}"]),
    (
        "name,host,profile\na,192.0.2.9,routers\na,192.0.2.8,routers\n",
        ["line 3, column name: the same name as in line 2"],
    ),
    ("name,host,profile\na,192.0.2.9,routers\nb,192.0.2.9,routers\n", [f"line 3, {TWICE}"]),
    (
        "name,host,profile,port\na,192.0.2.9,routers,22\nb,Zq:2,Zq,Zq\n\nc,192.0.2.8,Zq,22\n",
        [f"line 3, {NO_HOST}", f"line 3, {NO_PORT}", f"line 5, {NO_PROFILE}"],
    ),
    ("name,host,password\na,192.0.2.9,Zq\n", [f"line 1, {UNASKED}"]),
    ("name,secret word\na,Zq\n", [f"line 1, column secret_word: unknown; there are {', '.join(COLUMNS)}"]),
    ("a,192.0.2.9,Zq\n", [f"line 1: {NO_HEADER}"]),
    ("", ["line 1: there is nothing in it"]),
]


def test_nothing_of_a_bad_file_is_taken(fleet: Scene, file: Path) -> None:
    """All that is wrong is told with line and column, never a value, and not a row of any table is another."""
    take(fleet, file, HERE)
    before = state(fleet)
    for content, messages in REFUSED:
        refused = take(fleet, file, content, "--update")
        count = f"{len(messages)} error{'s' if len(messages) > 1 else ''}"
        rest = ", or take the rest of it with --partial" if read_table(content)[0] else ""
        end = f"backupflow: {count}; nothing was taken. Correct the file{rest}"
        assert (refused.code, refused.out, refused.err.splitlines()) == (Exit.DATA, b"", [*messages, end])
        assert "Zq" not in refused.err
        assert state(fleet) == before


def test_a_file_that_is_no_text_is_refused_by_its_name(fleet: Scene, file: Path) -> None:
    """And one that is not there; stdin is called so."""
    file.write_bytes("name,host\n".encode("utf-16"))
    refused = fleet.run("device", "import", str(file))
    says = "this is UTF-16 text: save it as CSV in UTF-8; nothing was taken\n"
    assert (refused.code, refused.err) == (Exit.DATA, f"backupflow: {file}: {says}")
    assert fleet.run("device", "import", "-", stdin="name".encode("utf-16")).err == f"backupflow: stdin: {says}"
    assert fleet.run("device", "import", f"{file}.not").code == Exit.NOT_FOUND


def test_many_errors_are_counted_and_some_are_shown(fleet: Scene, file: Path) -> None:
    """The first fifty, and how many more there are; as JSON all of them."""
    bad = "name,port\n" + "".join(f"a{number},x\n" for number in range(60))
    lines = take(fleet, file, bad).err.splitlines()
    assert lines[49:] == [
        "line 51, column port: not a port", "… and 10 errors more",
        "backupflow: 60 errors; nothing was taken. Correct the file",
    ]  # fmt: skip
    assert len(json.loads(take(fleet, file, bad, "--json").out)["problems"]) == 60


def test_what_is_right_is_taken_if_that_is_asked_for(fleet: Scene, file: Path) -> None:
    """The rest is listed, and the exit says that something is wrong; nothing is taken of what cannot be understood."""
    partial = take(fleet, file, "name,host,profile\na,192.0.2.9,routers\nb,x y,routers\nc,192.0.2.8,Zq\n", "--partial")
    assert (partial.code, partial.out) == (Exit.WRONG, b"1 added, 0 changed, 0 unchanged, 0 missing\n")
    assert partial.err.splitlines() == [
        "line 3, column host: not a host name or address",
        "line 4, column profile: no such profile; make it with `credential add`",
    ]
    before = state(fleet)
    assert take(fleet, file, 'name,host,profile\nd,192.0.2.7,routers\ne,"x,routers\n', "--partial").code == Exit.DATA
    assert take(fleet, file, HERE, "--partial", "--prune").code == Exit.USAGE
    unknown = take(fleet, file, HERE, "--tenant", "Zq")
    assert (unknown.code, unknown.err.count("\n")) == (Exit.NOT_FOUND, 1)
    assert state(fleet) == before


def test_devices_that_are_not_in_the_file_go_if_that_is_asked_for(fleet: Scene, file: Path) -> None:
    """After a question; more than half of a tenant's only at a terminal, whatever the command line says."""
    many = "name,host,profile\n" + "".join(f"d{n},192.0.2.{n},routers\n" for n in range(1, 6))
    take(fleet, file, many)
    fewer = "\n".join(many.splitlines()[:4])
    before = state(fleet)
    asked = take(fleet, file, fewer, "--prune")
    assert asked.code == Exit.REFUSED
    assert "2 of 5 devices of the tenant default are not in the file. Remove them?" in asked.err
    most = take(fleet, file, "\n".join(many.splitlines()[:3]), "--prune", "--yes")
    assert most.code == Exit.REFUSED
    assert "These are more than half: that is done at a terminal only" in most.err
    assert take(fleet, file, "name,host,profile\n", "--prune", "--yes").code == Exit.OK
    assert state(fleet) == before
    gone = take(fleet, file, fewer, "--prune", "--yes")
    assert gone.out == b"0 added, 0 changed, 3 unchanged, 0 missing, 2 removed\n"
    assert list(devices(fleet)) == ["d1", "d2", "d3"]
    assert take(fleet, file, many).out.startswith(b"2 added")


def test_equal_addresses_stand_behind_different_jump_hosts(fleet: Scene, file: Path) -> None:
    """As many as there are ways; a second one by the same way is refused, also if a scope says the way."""
    header = "name,host,profile,jump,site\n"
    four = header + "".join(
        f"{way}{at},10.0.0.1,routers,{way},\n" for way, at in (("hop-1", 1), ("hop-2", 1), ("direct", 1))
    )
    assert take(fleet, file, four).code == Exit.OK
    fleet.write("enroller", "UPDATE site SET jump_host_id = (SELECT id FROM jump_host WHERE name = 'hop-2')")
    refused = take(fleet, file, header + "a,10.0.0.1,routers,hop-1,\nb,10.0.0.1,routers,,north\nc,10.0.0.1,routers,,\n")
    assert refused.err.splitlines()[:-1] == [f"line 2, {TAKEN}", f"line 3, {TAKEN}", f"line 4, {TAKEN}"]


def test_devices_may_exchange_their_addresses_and_leave_them_to_others(fleet: Scene, file: Path) -> None:
    """In a ring, by another way, with one that is removed and one that is new: it is right when all is done."""
    header = "name,profile,host,jump\n"
    take(fleet, file, header + "".join(f"{name},routers,10.0.0.{n},\n" for n, name in enumerate("abcde", 1)))
    fleet.write("collector", "UPDATE device SET next_due_at = now() + interval '5 hours'")
    places = {"a": "2,", "b": "1,", "c": "3,hop-1", "d": "5,", "new": "3,"}
    wanted = header + "".join(f"{name},routers,10.0.0.{place}\n" for name, place in places.items())
    done = take(fleet, file, wanted, "--update", "--prune", "--yes")
    assert (done.code, done.out) == (Exit.OK, b"1 added, 4 changed, 0 unchanged, 0 missing, 1 removed\n"), done.err
    rows = fleet.rows(
        "SELECT d.name, d.host, h.name, d.next_due_at < now() + interval '1 hour' FROM device d "
        "LEFT JOIN jump_host h ON h.id = d.via_id WHERE d.status = 'active' ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [
        ("a", "10.0.0.2", None, True), ("b", "10.0.0.1", None, True), ("c", "10.0.0.3", "hop-1", True),
        ("d", "10.0.0.5", None, True), ("new", "10.0.0.3", None, True),
    ]  # fmt: skip


LOGINS = "name,host,username,password\na,192.0.2.1,backup,hush-1\nb,192.0.2.2,backup, hush 2 \n"


def test_logins_come_from_a_private_file_only(
    fleet: Scene, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of mode 0600, one's own, a regular file, and only if that is said; the passwords are refused unread otherwise."""
    before = state(fleet)
    assert take(fleet, file, LOGINS).code == Exit.DATA
    file.chmod(0o640)
    open_to_others = take(fleet, file, LOGINS, "--passwords-in-file")
    assert (open_to_others.code, f"chmod 600 {file}" in open_to_others.err) == (Exit.REFUSED, True)
    file.chmod(0o600)
    stdin = fleet.run("device", "import", "-", "--passwords-in-file", stdin=LOGINS.encode())
    assert (stdin.code, "not read from stdin" in stdin.err) == (Exit.REFUSED, True)
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "is not a file" in fleet.run("device", "import", str(tmp_path / "pipe"), "--passwords-in-file").err
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        foreign = take(fleet, file, LOGINS, "--passwords-in-file")
    assert (foreign.code, "belongs to somebody else" in foreign.err) == (Exit.REFUSED, True)
    assert state(fleet) == before


def test_each_login_is_sealed_for_its_device(fleet: Scene, file: Path) -> None:
    """It opens for its device alone and is what the file says; the file is spoken of at the end; no output has it."""
    done = take(fleet, file, LOGINS, "--passwords-in-file", "--verbose")
    assert done.code == Exit.OK
    assert done.err == f"{file} still holds 2 passwords: delete it, or keep it where nobody reads it\n"
    assert b"a login of its own" in done.out
    with fleet.install.wiring.engine("collector").begin() as tx:
        rows = tx.execute(text(
            "SELECT d.tenant_id, d.id, d.name, p.username, p.method, p.sealed FROM device d "
            "JOIN credential_profile p ON p.device_id = d.id ORDER BY d.name"
        )).all()  # fmt: skip
    vault = fleet.install.wiring.vault("collector")
    opened = [json.loads(vault.open_login(row.tenant_id, row.id, SealedSecret(row.sealed))) for row in rows]
    assert opened == [{"password": "hush-1"}, {"password": " hush 2 "}]
    assert [(row.username, row.method) for row in rows] == [("backup", "password")] * 2
    again = take(fleet, file, LOGINS, "--passwords-in-file")
    assert again.out.startswith(b"0 added, 0 changed, 2 differ")
    told = take(fleet, file, LOGINS, "--passwords-in-file", "--update", "--verbose")
    assert told.out.splitlines()[0] == b"changed   a  login set anew"
    shown = done.out + told.out + (done.err + told.err + str(state(fleet))).encode()
    assert b"hush" not in shown


def test_an_import_ends_no_block_and_no_suspension(fleet: Scene, file: Path) -> None:
    """It may be repeated by a clock: who was refused is not sent the same password again, and is told of at the end."""
    take(fleet, file, LOGINS, "--passwords-in-file")
    refused, other = (row.id for row in fleet.rows("SELECT id FROM device ORDER BY name"))
    fleet.block(refused, "authentication_failed")
    suspend = "UPDATE credential_profile SET suspended_at = now(), suspended_reason = :why WHERE device_id = :device"
    fleet.write("enroller", suspend, why="a person", device=refused)
    fleet.write("enroller", suspend, why=KEYS_LOST, device=other)
    before = fleet.rows("SELECT blocked_code, failures, next_due_at FROM device ORDER BY name")
    done = take(fleet, file, LOGINS, "--passwords-in-file", "--update")
    assert done.out.startswith(b"0 added, 2 changed")
    assert fleet.rows("SELECT blocked_code, failures, next_due_at FROM device ORDER BY name") == before
    assert fleet.rows("SELECT 1 FROM alarm WHERE code = 'authentication_failed' AND cleared_at IS NULL")
    reasons = "SELECT suspended_reason AS r FROM credential_profile p JOIN device d ON d.id = device_id ORDER BY d.name"
    assert [row.r for row in fleet.rows(reasons)] == ["a person", None]
    assert "1 of the devices whose login is written stay blocked" in done.err
    assert "`device unblock --where blocked=authentication_failed`" in done.err


def test_another_profile_in_a_file_ends_no_block_either(fleet: Scene, file: Path) -> None:
    """What an import writes as login is tried when a person says so; another jump host still is another way."""
    take(fleet, file, "name,host,profile\na,192.0.2.1,routers\n")
    fleet.block(fleet.rows("SELECT id FROM device")[0].id, "authentication_failed")
    due = fleet.rows("SELECT next_due_at FROM device")
    again = take(fleet, file, "name,host,profile\na,192.0.2.1,shared\n", "--update", "--json")
    assert (json.loads(again.out)["counts"]["changed"], json.loads(again.out)["stay_blocked"]) == (1, 1)
    [row] = fleet.rows("SELECT blocked_code, next_due_at FROM device")
    assert (row.blocked_code, [(row.next_due_at,)]) == ("authentication_failed", due)


def test_many_devices_with_one_password_are_asked_about_first(fleet: Scene, file: Path) -> None:
    """Without anybody to ask, each first key waits for approval; it stands on the profile, however it is inherited."""
    fleet.write(
        "enroller", "UPDATE site SET credential_profile_id = (SELECT id FROM credential_profile WHERE name = 'shared')"
    )
    many = "name,host,site\n" + "".join(f"d{n},192.0.2.{n},north\n" for n in range(1, 23))
    done = take(fleet, file, many)
    assert done.code == Exit.OK
    assert "22 devices share the password of the profile shared, and nobody can be asked here" in done.err
    assert fleet.rows("SELECT settings FROM credential_profile WHERE name = 'shared'")[0].settings == {
        "trust": "manual"
    }


def test_a_fleet_that_changed_meanwhile_is_left_alone(fleet: Scene) -> None:
    """What a person agreed to is done, or nothing: not what would follow by then."""
    ports = fleet.install.wiring.import_ports("test")
    rows = [Wanted("a", "192.0.2.1", profile="routers", line=2), Wanted("b", "192.0.2.2", profile="routers", line=3)]
    given = importing.Import(rows, Asked(update=True))
    agreed = importing.look(ports, given)
    fleet.add("b", "192.0.2.9")
    before = state(fleet)
    with pytest.raises(Conflict, match="changed meanwhile"):
        importing.take(ports, given, agreed)
    assert state(fleet) == before
    assert importing.take(ports, given, importing.look(ports, given)).added == 1


def test_a_large_fleet_comes_over_more_than_the_usual_time(
    fleet: Scene, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that workers can follow; within a device's interval, since it would be called sooner anyway."""
    monkeypatch.setattr(importing, "EACH", 50 * importing.EACH)  # 80 are as 4,000: 30 s and 1,000 s
    rows = "".join(f"d{n},10.0.0.{n},routers,{'2m' if n % 2 else ''}\n" for n in range(80))
    assert take(fleet, file, "name,host,profile,interval\n" + rows).code == Exit.OK
    late = fleet.rows(
        "SELECT max(next_due_at - created_at) AS due, min(next_due_at - created_at) AS first FROM device "
        "GROUP BY settings ->> 'interval_seconds' ORDER BY 1"
    )
    assert timedelta(seconds=60) < late[0].due <= timedelta(seconds=121)
    assert timedelta(seconds=600) < late[1].due <= timedelta(seconds=1031)
    assert min(row.first for row in late) >= timedelta(seconds=30)


@pytest.mark.parametrize(
    "held",
    [
        "SELECT 1 FROM tenant FOR UPDATE",  # it has read and sealed, and written nothing
        "SELECT pg_advisory_xact_lock(hashtext('backupflow audit'))",  # it has written all but the audit
    ],
)
def test_a_killed_import_leaves_nothing(fleet: Scene, file: Path, held: str) -> None:
    """kill -9 wherever it is: what it had begun is undone, and the same file is taken as if nothing had been."""
    file.write_text("name,host,username,password\n" + "".join(f"d{n},192.0.2.{n},u,w\n" for n in range(1, 200)))
    before = state(fleet)
    argv = [sys.executable, "-m", "backupflow", "device", "import", str(file), "--passwords-in-file", "--make-groups"]
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with fleet.install.wiring.engine("migrator").connect() as holder:
        holder.execute(text(held))
        with subprocess.Popen(argv, env={**os.environ, "NO_COLOR": "1"}, stderr=subprocess.PIPE) as process:
            until = time.monotonic() + 60
            while process.poll() is None and not holder.scalar(waiting):
                assert time.monotonic() < until
                time.sleep(0.05)
            process.kill()
            assert (process.wait(), process.communicate()[1]) == (-signal.SIGKILL, b"")
        holder.rollback()
    assert state(fleet) == before
    assert take(fleet, file, file.read_text(), "--passwords-in-file").out.startswith(b"199 added")


def test_an_import_tells_all_of_it_as_json(fleet: Scene, file: Path) -> None:
    """With stable names, and nothing of a login."""
    told = json.loads(take(fleet, file, LOGINS, "--passwords-in-file", "--json", "--dry-run").out)
    assert told["counts"] == {
        "added": 2, "changed": 0, "differing": 0, "unchanged": 0, "missing": 0, "gone": 0, "back": 0,
    }  # fmt: skip
    assert told["added"][0] == {"tenant": "default", "name": "a", "line": 2}
    assert (told["dry_run"], told["problems"], told["sha256"]) == (True, [], None)


def test_nothing_confirms_a_guess_of_a_password(fleet: Scene, file: Path) -> None:
    """A digest of a file with logins is in no audit row and no answer, also where the logins were refused."""
    done = take(fleet, file, LOGINS, "--passwords-in-file", "--json")
    refused = take(fleet, file, LOGINS, "--json", "--dry-run")
    assert (done.code, refused.code) == (Exit.OK, Exit.DATA)
    assert [json.loads(ran.out)["sha256"] for ran in (done, refused)] == [None, None]
    digest = hashlib.sha256(LOGINS.encode()).hexdigest()
    assert digest not in str(state(fleet)) + str((done, refused))
    [act] = fleet.rows("SELECT detail FROM audit WHERE action = 'devices_imported'")
    assert "sha256" not in act.detail
