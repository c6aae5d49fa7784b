"""`device` and `hostkey`: what they refuse, what they write, and that no secret shows anywhere."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from backupflow.cli import output
from backupflow.cli.exits import Exit
from backupflow.core.driver import Facts
from backupflow.core.model import Secrets
from tests.integration.scene import export_text

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.scene import Ran, Scene


def add(scene: Scene, *more: str, name: str = "core-1", host: str = "192.0.2.1", stdin: bytes = b"s3cret\n") -> Ran:
    """`device add` with the password from stdin."""
    return scene.run("device", "add", name, host, "--password-stdin", *more, stdin=stdin)


def test_a_device_is_added_and_shown(scene: Scene) -> None:
    """What was given is what is shown, as JSON with stable names, and the secret is nowhere in it."""
    added = add(scene, "--port", "2222", "--interval", "15m", "--legacy-ssh", "--trust", "manual")
    assert added.code == Exit.OK, added.err
    shown = scene.run("device", "show", "core-1", "--json")
    device = json.loads(shown.out)
    assert (device["host"], device["port"], device["username"], device["method"]) == (
        "192.0.2.1", 2222, "backup", "password",
    )  # fmt: skip
    assert device["settings"] == {"legacy_ssh": True, "interval_seconds": 900.0, "trust": "manual"}
    assert device["interval_seconds"] == 900
    assert b"s3cret" not in added.out + shown.out
    listed = json.loads(scene.run("device", "list", "--json").out)
    assert [(d["name"], d["standing"]) for d in listed["devices"]] == [("core-1", "waiting")]


def test_who_a_poller_says_is_away_is_shown_as_that(scene: Scene) -> None:
    """Why it is not collected though it is due, and since when; of another one nothing is said."""
    add(scene)
    assert b"offline" not in scene.run("device", "show", "core-1").out
    scene.write("scheduler", "UPDATE device SET offline_since = '2026-01-02 03:04:05 UTC'")
    assert b"a poller says so, since 2026-01-02 03:04:05" in scene.run("device", "show", "core-1").out
    shown = json.loads(scene.run("device", "show", "core-1", "--json").out)
    assert shown["offline_since"].startswith("2026-01-02T03:04:05")


def test_who_is_kept_away_from_says_until_when_and_how_to_come_all_the_same(scene: Scene) -> None:
    """By `device show`, as JSON too, and by the act that would have it tried at once; none of it when that is over."""
    device = scene.add()
    scene.write(
        "operator", "UPDATE device SET next_due_at = now() - interval '1 hour', hold_until = now() + interval '1 hour'"
    )
    scene.write("operator", "UPDATE device SET met_at = now(), wary_until = hold_until")
    shown = scene.run("device", "show", "core-1").out.decode()
    until = json.loads(scene.run("device", "show", "core-1", "--json").out)["held_until"][:19].replace("T", " ")
    assert f"until {until}Z: 3 connections lately" in shown
    assert "`backup core-1 --force` insists" in shown
    assert re.search(rf"next due +{until}Z", shown)
    scene.block(device, "authentication_failed")
    unblocked = scene.run("device", "unblock", "core-1").out.decode()
    assert unblocked.startswith(f"core-1 unblocked; tried at {until}Z, not before: ")
    scene.write("operator", "UPDATE device SET wary_until = NULL")
    shown = scene.run("device", "show", "core-1").out.decode()
    assert "2 connections lately" in shown
    assert "`backup core-1 --wait` insists" in shown
    scene.write("operator", "UPDATE device SET hold_until = now() - interval '1 second'")
    assert b"connections lately" not in scene.run("device", "show", "core-1").out


def test_whose_site_is_down_says_so(scene: Scene) -> None:
    """Since when; of another one nothing is said."""
    scene.run("site", "add", "north")
    add(scene, "--site", "north")
    assert b"site down" not in scene.run("device", "show", "core-1").out
    scene.write("operator", "UPDATE site SET down_since = '2026-01-02 03:04:05 UTC', probe_at = now()")
    shown = scene.run("device", "show", "core-1").out
    assert b"north since 2026-01-02 03:04:05Z; it waits until one of them answers" in shown


def test_secrets_and_end_mark_are_settings_of_a_device(scene: Scene) -> None:
    """Said when it is added, said anew when it is edited; what is not named stays as it was."""
    assert add(scene, "--secrets", "omit", "--no-end-mark").code == Exit.OK
    settings = json.loads(scene.run("device", "show", "core-1", "--json").out)["settings"]
    assert settings == {"secrets": "omit", "end_mark": False}
    scene.run("device", "edit", "core-1", "--secrets", "collect")
    settings = json.loads(scene.run("device", "show", "core-1", "--json").out)["settings"]
    assert settings == {"secrets": "collect", "end_mark": False}
    assert scene.run("device", "edit", "core-1", "--secrets", "hide").code == Exit.USAGE


def test_the_next_export_is_believed_by_an_audited_word(scene: Scene) -> None:
    """Once something is in doubt, and not before; `device show` says the way until then."""
    device_id = scene.add()
    scene.observe(device_id, export_text("x"))
    refused = scene.run("device", "believe", "core-1")
    assert refused.code == Exit.REFUSED
    assert "no export of core-1 is in doubt" in refused.err
    scene.doubt(device_id, export_text("y"))
    scene.write("operator", "UPDATE device SET next_due_at = now() + interval '1 hour', hold_until = NULL")
    shown_before = scene.run("device", "show", "core-1").out
    assert b"`device believe core-1`" in shown_before
    assert b"will be believed" not in shown_before
    said = scene.run("device", "believe", "core-1")
    assert said.out.startswith(b"core-1 will be believed with its next export; due in 0")
    shown = json.loads(scene.run("device", "show", "core-1", "--json").out)
    assert (shown["in_doubt"], shown["believes_next"]) == (True, True)
    shown_then = scene.run("device", "show", "core-1").out
    assert b"device believe" not in shown_then
    assert b"the next export will be believed" in shown_then
    assert scene.run("device", "believe", "core-1").out == b"core-1: nothing to do\n"
    (act,) = scene.rows("SELECT actor, detail FROM audit WHERE action = 'export_believed'")
    assert act.detail == {"after_seq": 2}
    assert scene.run("device", "edit", "core-1", "--port", "2222").code == Exit.OK
    assert b"will be believed" not in scene.run("device", "show", "core-1").out
    scene.write("collector", "UPDATE device SET blocked_code = 'identity_changed', blocked_at = now()")
    refused = scene.run("device", "believe", "core-1")
    assert (refused.code, b"core-1 is blocked" in refused.err.encode()) == (Exit.REFUSED, True)


HOSTILE = "\x1b]0;owned\x07\x1b[2J\nok  \u202egnp.exe\u2066 <script>alert(1)</script>[bold]" + "x" * 400


@pytest.fixture
def evil(scene: Scene) -> Scene:
    """Collect from a router whose every word about itself is an attack on who reads it."""
    said = Facts("routeros", HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, markers=(HOSTILE,))
    device_id = scene.add()
    scene.observe(device_id, export_text("x"), facts=said)
    scene.doubt(device_id, export_text("y"), facts=said)
    detail = f"core-1: serial number {HOSTILE}, it was {HOSTILE}"
    scene.install.wiring.alarms("scheduler").alarm("identity_changed", f"device {device_id}", detail)
    says = "UPDATE collection SET detail = :detail WHERE state = 'suspect'"
    scene.write("collector", says, detail=HOSTILE)
    return scene


SHOWS = (
    ("device", "list"),
    ("device", "show", "core-1"),
    ("status",),
    ("doctor",),
    ("alarm", "list"),
    ("snapshots", "core-1"),
    ("snapshots", "core-1", "--aside"),
)


@pytest.mark.parametrize("command", SHOWS, ids=" ".join)
def test_nothing_that_a_router_says_of_itself_can_act_on_a_terminal(
    evil: Scene, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No escape, no bell, no direction mark, no line of its own; on a terminal as in a pipe, and never endless."""
    monkeypatch.setenv("COLUMNS", "400")  # nothing is folded
    piped = evil.run(*command).out.decode()
    _, screen = at_a_terminal(b"", *command)
    colours = re.compile(r"\x1b\[[0-9;]*m")  # our own, by rich
    for shown in (piped, colours.sub("", screen.replace("\r\n", "\n"))):
        assert r"\x1b]0;owned" in shown
        assert all(c.isprintable() or c == "\n" for c in shown)
    assert not [line for line in piped.splitlines() if line.startswith("ok ")]
    assert "x" * output.LONGEST_DETAIL not in piped


@pytest.mark.parametrize("command", SHOWS, ids=" ".join)
def test_what_a_router_says_of_itself_is_whole_in_json(evil: Scene, command: tuple[str, ...]) -> None:
    """One valid document in ASCII: programs get what was said, terminals get nothing to act on."""
    out = evil.run(*command, "--json").out
    assert out.isascii()
    assert b"\x1b" not in out
    told = json.loads(out)
    if command == ("device", "show", "core-1"):
        assert told["router"]["identity"] == HOSTILE
        assert told["router"]["markers"] == [HOSTILE]


def test_what_a_router_says_of_itself_is_listed(scene: Scene) -> None:
    """Which router it is stands beside the name that we gave it."""
    said = Facts("routeros", "7.14", "RB4011iGS+", "ABC123", None, "edge-berlin", markers=("/ip ssh (timeout)",))
    scene.observe(scene.add(), export_text("x"), facts=said, secrets=Secrets.HIDDEN)
    listed = scene.run("device", "list").out.decode().splitlines()[1]
    assert listed.split() == [
        "core-1", "ok", "192.0.2.1", "–", "–", "edge-berlin", "RB4011iGS+", "7.14", "ABC123", "hidden",
    ]  # fmt: skip
    shown = scene.run("device", "show", "core-1").out.decode()
    words = ("edge-berlin", "RB4011iGS+", "7.14", "ABC123", "hidden", "/ip ssh (timeout)")
    assert all(word in shown for word in words)
    (router,) = [device["router"] for device in json.loads(scene.run("device", "list", "--json").out)["devices"]]
    assert router["serial"] == "ABC123"
    assert router["secrets"] == "hidden"


def test_an_identity_that_is_the_devices_name_is_not_told_twice(scene: Scene) -> None:
    """What differs stands out; a port of its own stands with the address, also of IPv6."""
    assert add(scene, "--port", "2222", host="2001:db8::1").code == Exit.OK
    (device,) = scene.rows("SELECT id FROM device")
    scene.observe(device.id, export_text("x"), facts=Facts("routeros", "7.14", identity="core-1"))
    listed = scene.run("device", "list").out.decode().splitlines()[1]
    assert listed.split() == ["core-1", "ok", "[2001:db8::1]:2222", "–", "–", "=", "–", "7.14", "–", "none"]


def test_who_acted_is_in_the_audit(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The actor is the user of the process, and who became it; the environment cannot forge the former."""
    monkeypatch.setenv("LOGNAME", "nobody-at-all")
    monkeypatch.setenv("SUDO_USER", "alice")
    add(scene)
    (actor,) = (row.actor for row in scene.rows("SELECT actor FROM audit"))
    assert actor.startswith("cli:")
    assert actor.endswith("(sudo by alice)")
    assert "nobody-at-all" not in actor


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("a\x1b[31mb", "192.0.2.1"),
        ("a/b", "192.0.2.1"),
        ("\u202erouter", "192.0.2.1"),
        ("x" * 101, "192.0.2.1"),
        ("core-1", "192.0.2.1 -oProxyCommand=x"),
        ("core-1", "user@host"),
        ("core-1", "a..b"),
    ],
)
def test_hostile_names_are_refused(scene: Scene, name: str, host: str) -> None:
    """What a terminal, a file name or a page could not bear is not stored, and is not repeated in the clear."""
    refused = add(scene, name=name, host=host)
    assert refused.code == Exit.DATA
    assert refused.err.count("\n") == 1
    assert "\x1b" not in refused.err
    assert scene.rows("SELECT 1 FROM device") == []


def test_a_name_that_is_taken_is_refused(scene: Scene) -> None:
    """One line on stderr, and nothing on stdout."""
    add(scene)
    refused = add(scene, host="192.0.2.2")
    assert (refused.code, refused.out) == (Exit.REFUSED, b"")
    assert "a device named core-1 is there already" in refused.err
    assert refused.err.count("\n") == 1


def test_one_name_in_two_spellings_is_one_device(scene: Scene) -> None:
    """An accent is one character here and two on macOS: whoever types it finds the device, and makes no second one."""
    assert add(scene, name="caf\u00e9").code == Exit.OK
    again = add(scene, name="cafe\u0301", host="192.0.2.2")
    assert (again.code, "is there already" in again.err) == (Exit.REFUSED, True)
    assert json.loads(scene.run("device", "show", "cafe\u0301", "--json").out)["name"] == "caf\u00e9"
    scene.write("migrator", "UPDATE device SET name = :old", old="cafe\u0301")
    assert scene.run("device", "pause", "cafe\u0301").code == Exit.OK


def test_a_secret_file_must_be_private(scene: Scene, tmp_path: Path) -> None:
    """A file that others may read is refused with the command that mends it; then it is taken."""
    file = tmp_path / "password"
    file.write_text("s3cret\n")
    file.chmod(0o640)
    arguments = ("device", "add", "core-1", "192.0.2.1", "--password-file", str(file))
    refused = scene.run(*arguments)
    assert refused.code == Exit.REFUSED
    assert f"chmod 600 {file}" in refused.err
    assert "s3cret" not in refused.err
    file.chmod(0o600)
    assert scene.run(*arguments).code == Exit.OK


def test_no_option_takes_a_secret(scene: Scene) -> None:
    """A password on the command line is no option at all: others could read it there."""
    refused = scene.run("device", "add", "core-1", "192.0.2.1", "--password", "s3cret")
    assert refused.code == Exit.USAGE
    assert scene.rows("SELECT 1 FROM device") == []


def test_without_a_terminal_nobody_is_asked(scene: Scene) -> None:
    """A script that forgot the source of the password is told its options, and does not hang."""
    refused = scene.run("device", "add", "core-1", "192.0.2.1", stdin=b"s3cret\n")
    assert refused.code == Exit.USAGE
    assert "--password-stdin" in refused.err


def test_a_key_with_its_passphrase_is_sealed(scene: Scene, tmp_path: Path) -> None:
    """Both come from private files."""
    lock = serialization.BestAvailableEncryption(b"open sesame")
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, lock)
    key = ed25519.Ed25519PrivateKey.generate().private_bytes(*form).decode()
    for name, content in (("key", key), ("passphrase", "open sesame\n")):
        (tmp_path / name).touch(mode=0o600)
        (tmp_path / name).write_text(content)
    files = ("--key-file", str(tmp_path / "key"), "--passphrase-file", str(tmp_path / "passphrase"))
    assert scene.run("device", "add", "core-1", "192.0.2.1", *files).code == Exit.OK
    assert json.loads(scene.run("device", "show", "core-1", "--json").out)["method"] == "key"


def test_the_life_of_a_device(scene: Scene) -> None:
    """Pause, resume, edit and remove, each told in words and once in the audit; doing it twice changes nothing."""
    add(scene)
    assert scene.run("device", "pause", "core-1").out == b"core-1 paused\n"
    assert scene.run("device", "pause", "core-1").out == b"core-1: nothing to do\n"
    assert scene.run("device", "resume", "core-1").out == b"core-1 resumed; due in 0 s\n"
    assert scene.run("device", "edit", "core-1", "--host", "192.0.2.7", "--name", "core-x").code == Exit.OK
    assert scene.run("device", "remove", "core-x").code == Exit.REFUSED
    assert scene.run("device", "remove", "core-x", "--yes").code == Exit.OK
    assert scene.run("device", "show", "core-x").code == Exit.NOT_FOUND
    acts = [row.action for row in scene.rows("SELECT action FROM audit ORDER BY id")]
    assert acts == ["device_added", "device_paused", "device_resumed", "device_edited", "device_removed"]


def test_a_blocked_device_is_unblocked(scene: Scene) -> None:
    """The block and its alarm end, once."""
    device_id = scene.add()
    scene.block(device_id, "authentication_failed")
    assert json.loads(scene.run("device", "show", "core-1", "--json").out)["blocked"]["code"] == "authentication_failed"
    done = json.loads(scene.run("device", "unblock", "core-1", "--json").out)
    assert (done["changed"], done["device"]["blocked"]) == (True, None)
    assert scene.rows("SELECT 1 FROM alarm WHERE cleared_at IS NULL") == []
    assert json.loads(scene.run("device", "unblock", "core-1", "--json").out)["changed"] is False


@pytest.mark.parametrize(
    "answer",
    [("edit", "core-1", "--legacy-ssh"), ("edit", "core-1", "--new-router"), ("replaced", "core-1", "--yes")],
    ids=lambda words: words[-1],
)
def test_a_fall_back_to_sha1_is_answered(scene: Scene, answer: tuple[str, ...]) -> None:
    """It may be so, though it was allowed before already, or it is another router: the block and its alarm end."""
    device_id = scene.add()
    assert scene.run("device", "edit", "core-1", "--legacy-ssh").code == Exit.OK
    scene.block(device_id, "ssh_downgraded")
    shown = scene.run("device", "show", "core-1").out.decode()
    assert "blocked: ssh_downgraded" in shown
    assert "device edit core-1 --legacy-ssh" in shown
    assert scene.run("device", "edit", "core-1", "--interval", "1h").code == Exit.OK
    assert json.loads(scene.run("device", "show", "core-1", "--json").out)["blocked"]["code"] == "ssh_downgraded"
    assert scene.run("device", *answer).code == Exit.OK
    assert json.loads(scene.run("device", "show", "core-1", "--json").out)["blocked"] is None
    assert scene.rows("SELECT 1 FROM alarm WHERE cleared_at IS NULL") == []


def test_a_host_key_is_accepted_only_by_the_fingerprint_that_was_compared(scene: Scene) -> None:
    """Without a terminal --yes needs the fingerprint, and another one than the offered is refused."""
    device_id = scene.add()
    old = scene.offer(device_id, b"old", "pinned")
    new = scene.offer(device_id, b"new")
    scene.block(device_id, "host_key_mismatch")
    assert scene.run("hostkey", "accept", "core-1").code == Exit.REFUSED
    assert scene.run("hostkey", "accept", "core-1", "--yes").code == Exit.USAGE
    assert scene.run("hostkey", "accept", "core-1", "--yes", "--fingerprint", old.fingerprint).code == Exit.REFUSED
    shown = scene.run("hostkey", "show", "core-1").out.decode()
    assert f"pinned   ssh-ed25519 {old.fingerprint}" in shown
    assert f"offered  ssh-ed25519 {new.fingerprint}" in shown
    done = scene.run("hostkey", "accept", "core-1", "--yes", "--fingerprint", new.fingerprint, "--json")
    keys = {key["fingerprint"]: key["status"] for key in json.loads(done.out)["keys"]}
    assert keys == {old.fingerprint: "retired", new.fingerprint: "pinned"}


def test_a_host_key_is_reset(scene: Scene) -> None:
    """No key is pinned after it; it is asked about unless --yes."""
    scene.offer(scene.add(), b"old", "pinned")
    assert scene.run("hostkey", "reset", "core-1").code == Exit.REFUSED
    assert scene.run("hostkey", "reset", "core-1", "--yes").code == Exit.OK
    assert json.loads(scene.run("device", "show", "core-1", "--json").out)["fingerprint"] is None


def test_an_act_on_no_device_says_where_to_look(scene: Scene) -> None:
    """A name that is not there ends in one line and its own exit code, its control characters visible."""
    missing = scene.run("device", "pause", "nowhere\x07")
    assert missing.code == Exit.NOT_FOUND
    assert "device list" in missing.err
    assert "\x07" not in missing.err


def at_a_terminal(answers: bytes, *arguments: str) -> tuple[int, str]:
    """Run a command as a person does; its exit code and all that the screen showed."""
    screen, theirs = pty.openpty()
    argv = [sys.executable, "-m", "backupflow", *arguments]
    # A session of its own: a prompt goes to the terminal of the session, which may be a developer's.
    process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown = b""
    try:
        with suppress(OSError):  # EIO: the other side is closed
            while chunk := os.read(screen, 65536):
                shown += chunk
                if answers and shown.endswith((b"[y/N]: ", b"Password of backup: ")):
                    os.write(screen, answers)
                    answers = b""
        return process.wait(), shown.decode()
    finally:
        process.kill()
        process.wait()
        os.close(screen)


def test_a_password_that_is_typed_is_not_shown(scene: Scene) -> None:
    """The prompt says whose it is, and echoes nothing."""
    code, screen = at_a_terminal(b"s3cret\n", "device", "add", "core-1", "192.0.2.1")
    assert code == Exit.OK
    assert "Password of backup" in screen
    assert "s3cret" not in screen
    assert "core-1 added" in screen


def test_accepting_a_host_key_shows_both_and_asks(scene: Scene) -> None:
    """Old and new fingerprint stand above the question; `n` changes nothing, `y` pins what was shown."""
    device_id = scene.add()
    old, new = scene.offer(device_id, b"old", "pinned"), scene.offer(device_id, b"new")
    code, screen = at_a_terminal(b"n\n", "hostkey", "accept", "core-1")
    assert code == Exit.REFUSED
    assert f"pinned:  ssh-ed25519  {old.fingerprint}" in screen
    assert f"offered: ssh-ed25519  {new.fingerprint}" in screen
    assert json.loads(scene.run("device", "show", "core-1", "--json").out)["fingerprint"] == old.fingerprint
    code, screen = at_a_terminal(b"y\n", "hostkey", "accept", "core-1")
    assert code == Exit.OK
    assert json.loads(scene.run("device", "show", "core-1", "--json").out)["fingerprint"] == new.fingerprint


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("device", "add", "core-1", "192.0.2.9"), "a device named core-1 is there already"),
        (("device", "add", "core-2", "192.0.2.1"), "core-2: device core-1 has 192.0.2.1 port 22 already"),
        (("device", "add", "core-2", "a b"), "not a host name or address: 'a b'"),
        (("device", "add", "core-2", "192.0.2.9", "--site", "north"), "site 'north'; see `site list`"),
        (("device", "add", "core-2", "192.0.2.9", "--username", "a\tb"), "a login name has 1 to"),
        (("device", "edit", "core-1", "--ask-password", "--host", "a b"), "not a host name or address: 'a b'"),
        (("device", "edit", "core-9", "--ask-password", "--username", "x"), "core-9"),
        (("credential", "add", "routers", "--username", "x"), "a credential profile named routers is there already"),
        (("credential", "add", "a/\n", "--username", "x"), "the name of a credential profile has 1 to"),
    ],
)
def test_what_cannot_be_is_said_before_a_password_is_asked_for(
    scene: Scene, command: tuple[str, ...], says: str
) -> None:
    """Nobody types a password for nothing: here there is no terminal to ask, and that is not what is said."""
    scene.add()
    add = ("credential", "add", "routers", "--username", "x", "--password-stdin")
    assert scene.run(*add, stdin=b"x\n").code == 0
    refused = scene.run(*command)
    assert says in refused.err
    assert "no terminal" not in refused.err
    assert scene.rows("SELECT name FROM device") == [("core-1",)]
