"""`hostkey` over a fleet: what waits, what a file says of it, and how each key came to be trusted."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from backupflow.cli.exits import Exit
from backupflow.core.driver import Facts
from backupflow.core.model import DeviceId, HostKey
from tests.integration.scene import export_text

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.scene import Scene

A_SITE = """
    INSERT INTO site (tenant_id, name) SELECT id, 'north' FROM tenant WHERE name = 'default'"""
EXPECT = """
    INSERT INTO expected_key (tenant_id, device_id, fingerprint, how, added_by)
    SELECT tenant_id, id, :fingerprint, 'import', 'cli:me' FROM device WHERE id = :device"""


def real(what: bytes, key_type: str = "ssh-ed25519") -> HostKey:
    """A key as its type has it; an ed25519 one has 32 bytes."""
    name = key_type.encode()
    body = what.ljust(32, b".")
    return HostKey(key_type, len(name).to_bytes(4, "big") + name + len(body).to_bytes(4, "big") + body)


A, B, C = real(b"a"), real(b"b"), real(b"c")


def waiting(scene: Scene, *options: str) -> dict[str, str]:
    """What `pending` says of each."""
    found = json.loads(scene.run("hostkey", "pending", "--json", *options).out)
    return {key["name"]: key["waiting"] for key in found["pending"]}


def acts(scene: Scene, like: str = "host_key%") -> list[str]:
    """What the audit says, the oldest first."""
    rows = scene.rows("SELECT action FROM audit WHERE action LIKE :like ORDER BY id", like=like)
    return [row.action for row in rows]


def fleet(scene: Scene) -> dict[str, DeviceId]:
    """A first key, a changed one, one in place of an expected one, one that is well, one that was never contacted."""
    names = ("first", "changed", "unexpected", "well", "never")
    ids = {name: scene.add(name, f"192.0.2.{number}") for number, name in enumerate(names, 1)}
    scene.offer(ids["first"], A.blob)
    scene.offer(ids["changed"], A.blob, "pinned")
    scene.offer(ids["changed"], B.blob)
    scene.write("enroller", EXPECT, device=ids["unexpected"], fingerprint=A.fingerprint)
    scene.offer(ids["unexpected"], B.blob)
    scene.offer(ids["well"], B.blob)
    scene.offer(ids["well"], C.blob, "pinned")
    for name, code in (("first", "unapproved"), ("changed", "mismatch"), ("unexpected", "mismatch")):
        scene.block(ids[name], f"host_key_{code}")
    return ids


def file_of(folder: Path, **keys: HostKey) -> str:
    """What somebody compared."""
    path = folder / "compared.csv"
    path.write_text("".join(f"{name},{key.fingerprint}\n" for name, key in keys.items()))
    return str(path)


def test_what_waits_is_told_by_what_it_is(scene: Scene) -> None:
    """A device that has shown its pinned key since is no question any more."""
    fleet(scene)
    everything = {"first": "first", "changed": "changed", "unexpected": "not the expected one"}
    assert waiting(scene) == everything
    assert waiting(scene, "--first") == {"first": "first"}
    assert set(waiting(scene, "--changed")) == {"changed", "unexpected"}
    assert waiting(scene, "--since", "1h") == everything
    assert waiting(scene, "--since", "0s") == {}
    shown = scene.run("hostkey", "pending").out.decode()
    old, new = HostKey("ssh-ed25519", A.blob).fingerprint, HostKey("ssh-ed25519", B.blob).fingerprint
    assert f"ssh-ed25519 {old}\n      →  ssh-ed25519 {new}" in shown
    assert "1 first, 1 changed, 1 not the expected one" in shown
    scene.run("device", "remove", "first", "--yes")
    assert set(waiting(scene)) == {"changed", "unexpected"}


def test_a_site_is_asked_for_by_its_name_and_half_of_it_is_a_pattern(scene: Scene) -> None:
    """Two of two changed within an hour: somebody should look before anything is accepted."""
    ids = fleet(scene)
    scene.write("enroller", A_SITE)
    for name in ("changed", "unexpected"):
        scene.write(
            "enroller", "UPDATE device SET site_id = (SELECT id FROM site) WHERE id = :device", device=ids[name]
        )
    assert set(waiting(scene, "--site", "north")) == {"changed", "unexpected"}
    assert scene.run("hostkey", "pending", "--site", "south").code == Exit.NOT_FOUND
    assert scene.run("hostkey", "pending", "--group", "access").code == Exit.NOT_FOUND
    for options in ((), ("--site", "north"), ("--first",)):
        shown = scene.run("hostkey", "pending", *options).out.decode()
        assert "2 of 2 at site north since " in shown
        assert "maintenance, or interception" in shown.splitlines()[0]
    assert "interception" in scene.run("hostkey", "pending", "--csv").err


def test_what_is_printed_for_a_file_can_be_given_back(scene: Scene, tmp_path: Path) -> None:
    """First keys and changed ones each by their own command; nothing is left over."""
    fleet(scene)
    first = scene.run("hostkey", "pending", "--first", "--csv").out
    approved = scene.run("hostkey", "approve", "--file", "-", "--yes", "--json", stdin=first)
    assert (approved.code, json.loads(approved.out)["pinned"]) == (Exit.OK, ["first"]), approved.err
    compared = tmp_path / "compared.csv"
    compared.write_bytes(scene.run("hostkey", "pending", "--changed", "--csv").out)
    rows = [row for row in csv.reader(compared.read_text().splitlines()) if not row[0].startswith("#")]
    assert [row[0] for row in rows] == ["changed", "unexpected"]
    accepted = scene.run("hostkey", "accept", "--file", str(compared), "--yes")
    assert accepted.code == Exit.OK, accepted.err
    assert accepted.out.decode() == "accept: 2 pinned\n"
    assert waiting(scene) == {}
    assert acts(scene) == ["host_key_approved", "host_key_accepted", "host_key_accepted"]
    assert scene.rows("SELECT 1 FROM device WHERE blocked_code IS NOT NULL") == []
    assert scene.rows("SELECT 1 FROM alarm WHERE cleared_at IS NULL AND code LIKE 'host_key%'") == []
    hows = scene.rows("SELECT trusted_how, trusted_by FROM host_key WHERE trusted_at IS NOT NULL ORDER BY id")
    assert [row.trusted_how for row in hows] == ["approved", "accepted", "accepted"]
    assert all(row.trusted_by.startswith("cli:") for row in hows)


def test_only_what_matches_exactly_is_taken_of_a_file(scene: Scene, tmp_path: Path) -> None:
    """The others are listed with their lines, and stay as they are; a device that was never seen will have that key."""
    fleet(scene)
    file = file_of(tmp_path, first=A, changed=B, unexpected=C, well=C, never=C, nowhere=A)
    done = scene.run("hostkey", "approve", "--file", file, "--yes", "--json")
    told = json.loads(done.out)
    assert done.code == Exit.WRONG
    assert (told["pinned"], told["expected"]) == (["first", "well"], ["never"])
    assert {entry["device"]: entry["line"] for entry in told["not_taken"]} == {
        "changed": 2, "unexpected": 3, "nowhere": 6,
    }  # fmt: skip
    assert "takes `hostkey accept`" in told["not_taken"][0]["why"]
    assert acts(scene) == ["host_key_approved", "host_key_vouched", "host_key_expected"]
    done = scene.run("hostkey", "accept", "--file", file, "--yes")
    assert done.code == Exit.WRONG
    text = done.out.decode()
    assert "line 1: first: first does not offer" in text
    assert "line 3: unexpected: unexpected does not offer" in text
    assert "accept: 1 pinned, 5 not taken" in text


def test_nothing_is_taken_of_a_file_with_a_malformed_line(scene: Scene, tmp_path: Path) -> None:
    """Each is named by its number, and not repeated; nor is a file taken that is none."""
    fleet(scene)
    path = tmp_path / "compared.csv"
    path.write_text(f"first,{A.fingerprint}\n# well\nchanged\nfirst,{B.fingerprint}\n")
    done = scene.run("hostkey", "approve", "--file", str(path), "--yes")
    assert done.code == Exit.DATA
    assert f"{path}:3: 1 column, not" in done.err
    assert f"{path}:4: this device is in line 1 already" in done.err
    path.write_bytes(b"\xff\xfe\x00")
    assert scene.run("hostkey", "approve", "--file", str(path), "--yes").code == Exit.DATA
    path.write_text("# nothing yet\n")
    assert scene.run("hostkey", "approve", "--file", str(path), "--yes").code == Exit.DATA
    assert scene.run("hostkey", "approve", "--file", str(tmp_path / "none"), "--yes").code == Exit.NOT_FOUND
    assert scene.run("hostkey", "approve", "--file", file_of(tmp_path, first=A)).code == Exit.REFUSED  # nobody to ask
    assert scene.run("hostkey", "approve", "first", "--file", str(path)).code == Exit.USAGE
    assert scene.run("hostkey", "approve").code == Exit.USAGE
    assert acts(scene) == []


def test_each_command_names_the_other(scene: Scene) -> None:
    """A first key is not accepted, a changed one not approved, and a device that showed nothing says how to go on."""
    fleet(scene)
    accepted = scene.run("hostkey", "accept", "first", "--yes", "--fingerprint", A.fingerprint)
    assert (accepted.code, "takes `hostkey approve`" in accepted.err) == (Exit.REFUSED, True)
    approved = scene.run("hostkey", "approve", "changed", "--yes", "--fingerprint", B.fingerprint)
    assert (approved.code, "takes `hostkey accept`" in approved.err) == (Exit.REFUSED, True)
    never = scene.run("hostkey", "approve", "never")
    assert (never.code, "`hostkey scan never`" in never.err) == (Exit.NOT_FOUND, True)
    written = scene.run("hostkey", "approve", "never", "--yes", "--fingerprint", C.fingerprint)
    assert (written.code, "the only key that may be pinned" in written.out.decode()) == (Exit.OK, True)
    assert "expected" in scene.run("hostkey", "show", "never").out.decode()
    assert acts(scene) == ["host_key_expected"]


def test_who_accepts_a_key_is_told_when_the_router_is_collected_by_it(scene: Scene) -> None:
    """At once, or when its firewall counts us no more."""
    ids = fleet(scene)
    one = scene.run("hostkey", "accept", "changed", "--yes", "--fingerprint", B.fingerprint).out.decode()
    assert " is pinned now; due in " in one
    held = "UPDATE device SET met_at = now(), hold_until = now() + interval '15 min' WHERE id = :device"
    scene.write("enroller", held, device=ids["unexpected"])
    other = scene.run("hostkey", "accept", "unexpected", "--yes", "--fingerprint", B.fingerprint).out.decode()
    assert "not before: its firewall might ban us" in other


def test_how_a_key_came_to_be_trusted_is_shown(scene: Scene) -> None:
    """And who has the same."""
    one, two = scene.add("one", "192.0.2.1"), scene.add("two", "192.0.2.2")
    scene.offer(one, A.blob)
    scene.offer(two, A.blob, "pinned")
    done = scene.run("hostkey", "approve", "one", "--yes", "--fingerprint", A.fingerprint, "--json")
    (key,) = json.loads(done.out)["keys"]
    assert (key["trusted_how"], key["trusted_by"][:4], key["trusted_at"] is not None) == ("approved", "cli:", True)
    shown = scene.run("hostkey", "show", "one").out.decode()
    assert "approved, by cli:" in shown
    assert "same key as two" in shown
    assert json.loads(scene.run("hostkey", "show", "one", "--json").out)["same_key"] == ["two"]
    scene.run("device", "remove", "two", "--yes")
    assert "same key" not in scene.run("hostkey", "show", "one").out.decode()


def known(*lines: tuple[str, HostKey]) -> bytes:
    """A file of OpenSSH."""
    import base64

    return "".join(f"{names} {key.key_type} {base64.b64encode(key.blob).decode()}\n" for names, key in lines).encode()


def learn(scene: Scene, data: bytes, *options: str) -> tuple[int, dict[str, str], dict[str, object]]:
    """What an import of a file says: its exit code, of each device, and all of it."""
    done = scene.run("hostkey", "import", "known_hosts", "-", "--json", *options, stdin=data)
    said = json.loads(done.out)
    return done.code, {one["name"]: one["outcome"] for one in said["found"]}, said


def test_known_hosts_are_learnt(scene: Scene) -> None:
    """Expected where nothing is pinned, vouched for where it is equal, listed where it is not; once."""
    ids = {name: scene.add(name, f"192.0.2.{number}") for number, name in enumerate(("new", "same", "other"), 1)}
    scene.add("unlisted", "192.0.2.9")
    scene.offer(ids["same"], A.blob, "pinned")
    scene.offer(ids["other"], A.blob, "pinned")
    rsa = real(b"r", "ssh-rsa")
    file = known(("192.0.2.1", A), ("192.0.2.1", rsa), ("192.0.2.2,nobody", A), ("192.0.2.3", B))
    found = {"new": "expected", "same": "vouched", "other": "contradicts"}
    code, outcomes, said = learn(scene, file, "--dry-run")
    assert (code, outcomes, said["dry_run"]) == (Exit.WRONG, found, True)
    assert acts(scene) == []
    code, outcomes, _ = learn(scene, file)
    assert (code, outcomes) == (Exit.WRONG, found)
    assert acts(scene) == ["host_key_expected", "host_key_vouched"]
    keys = scene.rows("SELECT fingerprint, key_type, how FROM expected_key ORDER BY id")
    assert [tuple(row) for row in keys] == [
        (A.fingerprint, "ssh-ed25519", "known_hosts"), (rsa.fingerprint, "ssh-rsa", "known_hosts"),
    ]  # fmt: skip
    assert learn(scene, file)[1] == {"new": "nothing", "same": "nothing", "other": "contradicts"}
    assert len(acts(scene)) == 2
    text = scene.run("hostkey", "import", "known_hosts", "-", stdin=file).out.decode()
    assert f"other: the file has another key (pinned is ssh-ed25519 {A.fingerprint}" in text


def test_only_what_is_reached_as_the_file_is_meant_is_learnt(scene: Scene) -> None:
    """An address behind a jump host is another network's, until somebody says whose file it is."""
    scene.add("direct", "192.0.2.1")
    behind = scene.add("behind", "192.0.2.2")
    scene.write(
        "enroller",
        "WITH hop AS (INSERT INTO jump_host (tenant_id, name, host) SELECT tenant_id, 'hop', '198.51.100.1' "
        "FROM device LIMIT 1 RETURNING id) UPDATE device SET jump_host_id = hop.id FROM hop WHERE device.id = :device",
        device=behind,
    )
    file = known(("192.0.2.1", A), ("192.0.2.2", B), ("198.51.100.1", C))
    code, outcomes, said = learn(scene, file)
    assert (code, outcomes) == (Exit.OK, {"hop": "expected", "direct": "expected"})
    assert said["passed_over"] == [{"name": "behind", "kind": "device", "via": "hop"}]
    code, outcomes, said = learn(scene, file, "--jump", "hop")
    assert (code, outcomes) == (Exit.OK, {"behind": "expected"})
    assert acts(scene, "%key_expected") == ["jump_host_key_expected", "host_key_expected", "host_key_expected"]
    done = scene.run("hostkey", "import", "known_hosts", "-", "--jump", "nowhere", stdin=file)
    assert done.code == Exit.NOT_FOUND


def test_a_revoked_key_is_told_wherever_it_is(scene: Scene) -> None:
    """Pinned, offered or expected; and it is not taken from another line of the same file."""
    ids = {name: scene.add(name, f"192.0.2.{number}") for number, name in enumerate(("new", "pins", "expects"), 1)}
    scene.offer(ids["pins"], A.blob, "pinned")
    scene.write("enroller", EXPECT, device=ids["expects"], fingerprint=A.fingerprint)
    code, outcomes, said = learn(scene, known(("192.0.2.1", A), ("@revoked elsewhere", A)))
    assert (code, outcomes) == (Exit.WRONG, {})
    bearers = said["revoked"]
    assert isinstance(bearers, list)
    assert [(one["name"], one["standing"]) for one in bearers] == [("expects", "expected"), ("pins", "pinned")]
    assert acts(scene) == []


@pytest.mark.parametrize("port", [22, 2222])
def test_names_that_openssh_has_hashed_are_found(scene: Scene, tmp_path: Path, port: int) -> None:
    """By the real `ssh-keygen -H`, with a real key and the port as OpenSSH writes it."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    key_type, blob, *_ = (tmp_path / "key.pub").read_text().split()
    file = tmp_path / "known_hosts"
    name = "Router.Example" if port == 22 else f"[router.example]:{port}"
    file.write_text(f"{name} {key_type} {blob}\nother {key_type} {blob}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    assert "example" not in file.read_text()
    scene.add("r1", "router.example")
    if port != 22:
        assert learn(scene, file.read_bytes())[1] == {}
        assert scene.run("device", "edit", "r1", "--port", str(port)).code == Exit.OK
    code, outcomes, _ = learn(scene, file.read_bytes())
    assert (code, outcomes) == (Exit.OK, {"r1": "expected"})
    printed = subprocess.run(["ssh-keygen", "-lf", tmp_path / "key.pub"], check=True, capture_output=True, text=True)
    assert printed.stdout.split()[1] == scene.rows("SELECT fingerprint FROM expected_key")[0].fingerprint


def test_a_hostile_file_is_told_and_does_nothing(scene: Scene, tmp_path: Path) -> None:
    """Binary, control characters, halves of lines, and one that is larger than any."""
    scene.add("r1", "192.0.2.1")
    data = b"\x1b]0;owned\x07 ssh-rsa AAAA\n" + os.urandom(2000) + b"\n|1|\n@\n" + known(("192.0.2.1", A))
    done = scene.run("hostkey", "import", "known_hosts", "-", stdin=data)
    assert done.code == Exit.OK
    assert b"\x1b" not in done.out + done.err.encode()
    assert b"passed over" in done.out
    assert b"expected from now on: 1" in done.out
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(5 * 1024 * 1024)
    assert scene.run("hostkey", "import", "known_hosts", str(huge)).code == Exit.DATA


def test_doctor_counts_logins_and_tells_twins(scene: Scene) -> None:
    """Who shares what, what was trusted on first use, and which devices may be one."""
    ids = [scene.add(f"r{number}", f"192.0.2.{number}") for number in range(4)]
    for device in ids[:2]:
        scene.offer(device, A.blob, "pinned")
    scene.offer(ids[2], B.blob)
    scene.write("migrator", "UPDATE host_key SET trusted_how = 'first_use' WHERE status = 'pinned'")
    assert scene.run("hostkey", "approve", "r2", "--yes", "--fingerprint", B.fingerprint).code == Exit.OK
    checks = {check["part"]: check for check in json.loads(scene.run("doctor", "--json").out)["checks"]}
    assert checks["identities"]["finding"] == "1 host key of more than one device"
    assert checks["identities"]["each"][0].startswith("r0, r1 have the same host key, SHA256:")
    assert checks["identities"]["well"]
    assert checks["logins of devices"]["finding"] == (
        "0 devices share 0 passwords; 4 devices have a login of their own; 2 of 3 keys were trusted on first use"
    )
    shared = """
        WITH p AS (INSERT INTO credential_profile (tenant_id, name, username, method, sealed)
            SELECT tenant_id, 'edge', 'backup', 'password', 'vault:v1:x' FROM device LIMIT 1 RETURNING id, tenant_id),
        gone AS (DELETE FROM credential_profile WHERE device_id IS NOT NULL RETURNING id),
        more AS (INSERT INTO device (tenant_id, name, host, credential_profile_id)
            SELECT tenant_id, 'x' || n, 'x' || n, p.id FROM p, generate_series(1, 21) AS n RETURNING id)
        UPDATE device SET credential_profile_id = p.id FROM p"""
    scene.write("enroller", shared)
    for device in ids[2:]:
        scene.observe(device, export_text("same"), facts=Facts("routeros", version="7.14", serial="HD1234"))
    checks = {check["part"]: check for check in json.loads(scene.run("doctor", "--json").out)["checks"]}
    assert checks["logins of devices"]["finding"].startswith("25 devices share 1 password; 0 devices have a login")
    assert "profile edge: nobody has said" in checks["logins of devices"]["each"][0]
    assert "r2, r3 have the same serial number, HD1234" in "".join(checks["identities"]["each"])
    assert "same serial number as r3" in scene.run("hostkey", "show", "r2").out.decode()


def test_a_router_is_named_as_it_was_known_before_its_key_is_trusted(scene: Scene) -> None:
    """Who compares stands before a router with a label: its serial number says whether it is the right one."""
    device_id = scene.add("changed", "192.0.2.2")
    facts = Facts("mikrotik", serial="HC1234", model="CCR2004", identity="gw-berlin")
    scene.observe(device_id, export_text("one"), facts=facts)
    scene.offer(device_id, A.blob, "pinned")
    scene.offer(device_id, B.blob)
    scene.offer(scene.add("first"), A.blob)
    asked = scene.run("hostkey", "accept", "changed")
    says = "identity gw-berlin, model CCR2004, serial HC1234"
    assert f"changed:  {says}, at 192.0.2.2" in asked.err
    assert "nothing was ever collected of it" in scene.run("hostkey", "approve", "first").err
    assert scene.run("hostkey", "pending").out.decode().count(says) == 1
    assert scene.run("hostkey", "pending", "--csv").out.decode().count(says) == 1
    told = json.loads(scene.run("hostkey", "pending", "--json").out)["pending"]
    assert {one["name"]: one["known_as"]["serial"] for one in told}["changed"] == "HC1234"
