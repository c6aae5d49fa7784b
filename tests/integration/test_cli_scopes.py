"""Logins, groups, sites, tenants and jump hosts by command: what they print, what they write, what follows."""

# ruff: noqa: ANN401 - what a command shows has values of any type

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from backupflow.cli.exits import Exit
from backupflow.core.inventory import NewDevice, Placement
from backupflow.core.model import DeviceId, HostKey, Login, SealedSecret
from backupflow.core.scopes import HopRecord, NewScope, ScopeKind
from backupflow.flows import enroll, scopes

if TYPE_CHECKING:
    from uuid import UUID

    from backupflow.core.inventory import DeviceRecord
    from backupflow.core.model import TenantId
    from tests.integration.scene import Ran, Scene

PASSWORD = b"pr0file-s3cret"
KEY = HostKey("ssh-ed25519", b"the key of the hop")


def ok(scene: Scene, *arguments: str, stdin: bytes = b"") -> Ran:
    """A command that must work."""
    ran = scene.run(*arguments, stdin=stdin)
    assert ran.code == Exit.OK, ran.err
    return ran


def shown(scene: Scene, *arguments: str) -> Any:
    """What a command shows as JSON."""
    return json.loads(ok(scene, *arguments, "--json").out)


def profile(scene: Scene) -> None:
    """A shared password."""
    new = NewScope(ScopeKind.PROFILE, tenant(scene), uuid4(), "routers", {})
    scopes.add(scene.install.wiring.scope_ports("test"), new, Login("backup", password=PASSWORD.decode()))


def hop(scene: Scene, name: str = "hop-1", host: str = "203.0.113.7") -> UUID:
    """A jump host with that login."""
    new = NewScope(ScopeKind.JUMP_HOST, tenant(scene), uuid4(), name, {}, "routers", host=host)
    return scopes.add(scene.install.wiring.scope_ports("test"), new).record.scope_id


def place(scene: Scene, kind: ScopeKind, name: str, jump: str | None = None) -> None:
    """A group or a site of that login."""
    new = NewScope(kind, tenant(scene), uuid4(), name, {}, "routers", jump)
    scopes.add(scene.install.wiring.scope_ports("test"), new)


def placed(scene: Scene, name: str, host: str, **placement: str) -> DeviceId:
    """A device without a login of its own."""
    new = NewDevice(tenant(scene), DeviceId(uuid4()), name, host, 22, "routeros", {}, placement=Placement(**placement))
    return enroll.add(scene.install.wiring.enroll_ports("test"), new, None).device.device_id


def tenant(scene: Scene) -> TenantId:
    """The one that every install has."""
    return scene.install.wiring.devices("enroller").tenant("default")


def device(scene: Scene, name: str = "r-1") -> DeviceRecord:
    """As it stands."""
    return scene.install.wiring.devices("enroller").find(tenant(scene), name)


def hop_record(scene: Scene, name: str = "hop-1") -> HopRecord:
    """As it stands."""
    found = scene.install.wiring.scopes("enroller").find(ScopeKind.JUMP_HOST, tenant(scene), name)
    assert isinstance(found, HopRecord)
    return found


def audited(scene: Scene, *, since: int = 0) -> list[str]:
    """The acts on record."""
    return [row.action for row in scene.rows("SELECT action FROM audit WHERE id > :id ORDER BY id", id=since)]


def test_a_profile_is_sealed_for_itself_and_never_shown(scene: Scene) -> None:
    """The collector opens it in its own place; no output has a word of it."""
    add = ("credential", "add", "routers", "--username", "backup", "--password-stdin", "--trust", "manual")
    ok(scene, *add, stdin=PASSWORD)
    with scene.install.wiring.engine("collector").begin() as tx:
        row = tx.execute(text("SELECT id, tenant_id, sealed, settings FROM credential_profile")).one()
    opened = scene.install.wiring.vault("collector").open_login(row.tenant_id, row.id, SealedSecret(row.sealed))
    assert PASSWORD in opened
    assert row.settings == {"trust": "manual"}
    for arguments in (("show", "routers"), ("list",), ("show", "routers", "--json")):
        out = ok(scene, "credential", *arguments).out
        assert PASSWORD not in out
        assert b"vault:" not in out
        assert b"backup" in out
    assert audited(scene) == ["credential_profile_added"]


def test_a_device_of_a_profile_asks_for_no_password(scene: Scene) -> None:
    """Neither one that names it nor one that inherits it; one that would have none is asked for it."""
    profile(scene)
    ok(scene, "site", "add", "north", "--profile", "routers")
    ok(scene, "device", "add", "r-1", "192.0.2.1", "--profile", "routers")
    ok(scene, "device", "add", "r-2", "192.0.2.2", "--site", "north")
    assert device(scene).effective["profile"] == ("routers", "device")
    inherits = device(scene, "r-2")
    assert (inherits.effective["profile"], inherits.username) == (("routers", "site north"), "backup")
    refused = scene.run("device", "add", "r-3", "192.0.2.3")
    assert (refused.code, "--password-stdin" in refused.err) == (Exit.USAGE, True)
    assert shown(scene, "credential", "show", "routers")["devices_by"] == {"device": 1, "site": 1}


def test_a_placement_that_is_missing_is_named(scene: Scene) -> None:
    """Nothing is written, and the line says what is not there and where to look."""
    for what, see in (("profile", "credential"), ("group", "group"), ("site", "site"), ("jump", "jump")):
        refused = scene.run("device", "add", "r-1", "192.0.2.1", f"--{what}", "nowhere")
        assert refused.code == Exit.NOT_FOUND
        assert f"'nowhere'; see `{see} list`" in refused.err
    both = scene.run("device", "add", "r-1", "192.0.2.1", "--profile", "x", "--password-stdin", stdin=b"x")
    assert both.code == Exit.USAGE
    assert scene.rows("SELECT 1 FROM device") == []


def test_settings_say_where_they_come_from(scene: Scene) -> None:
    """The nearest scope that says something wins, and what is unset comes from above again."""
    profile(scene)
    ok(scene, "tenant", "edit", "default", "--interval", "2h", "--secrets", "omit", "--profile", "routers")
    ok(scene, "site", "add", "north", "--interval", "1h", "--concurrency", "4")
    ok(scene, "group", "add", "core", "--command-timeout", "2m", "--concurrency", "2")
    placed(scene, "r-1", "192.0.2.1", site="north", group="core")
    effective = device(scene).effective
    assert effective["interval_seconds"] == (3600, "site north")
    assert effective["command_timeout_seconds"] == (120, "group core")
    assert effective["secrets"] == ("omit", "tenant default")
    assert effective["legacy_ssh"] == (False, "global")
    assert effective["concurrency"] == (2, "group core")
    assert device(scene).interval == timedelta(hours=1)
    ok(scene, "device", "edit", "r-1", "--interval", "30m")
    assert shown(scene, "device", "show", "r-1")["effective"]["interval_seconds"] == {"value": 1800, "from": "device"}
    ok(scene, "device", "edit", "r-1", "--unset", "interval")
    assert b"(site north)" in ok(scene, "device", "show", "r-1").out


def test_a_wrong_place_for_a_setting_is_refused(scene: Scene) -> None:
    """A profile speaks of trust only, a device of no limit for many."""
    profile(scene)
    assert scene.run("device", "edit", "r-1", "--unset", "colour").code == Exit.USAGE
    assert scene.run("credential", "edit", "routers", "--unset", "trust").code == Exit.OK
    assert scene.run("site", "add", "north", "--jump", "direct").code == Exit.DATA
    assert scene.run("jump", "add", "direct", "203.0.113.7", "--profile", "routers").code == Exit.DATA
    assert audited(scene) == ["credential_profile_added"]


def test_new_credentials_end_what_was_refused_to_all_that_use_it(scene: Scene) -> None:
    """Devices and jump hosts alike, at once; nothing else that is blocked."""
    profile(scene)
    device_ids: dict[int, DeviceId] = {}
    for number, code in enumerate(["authentication_failed", "authentication_failed", "host_key_mismatch"]):
        device_ids[number] = placed(scene, f"r-{number}", f"192.0.2.{number}", profile="routers")
        scene.block(device_ids[number], code)
    hop_id = hop(scene)
    block_hop(scene, hop_id, "authentication_failed")
    since = scene.rows("SELECT max(id) AS id FROM audit")[0].id
    assert b"2 refused" in ok(scene, "credential", "list").out
    ok(scene, "credential", "edit", "routers", "--password-stdin", stdin=b"another")
    rows = scene.rows("SELECT name, blocked_code, failures, next_due_at <= now() AS due FROM device ORDER BY name")
    assert [tuple(row) for row in rows] == [
        ("r-0", None, 0, True),
        ("r-1", None, 0, True),
        ("r-2", "host_key_mismatch", 3, False),
    ]
    assert hop_record(scene).blocked_code is None
    alarms = scene.rows("SELECT code, scope FROM alarm WHERE cleared_at IS NULL")
    assert [tuple(row) for row in alarms] == [("host_key_mismatch", f"device {device_ids[2]}")]
    assert audited(scene, since=since) == ["credential_profile_edited"]


def test_another_login_is_tried_soon_on_all_that_use_it_and_the_command_says_when(scene: Scene) -> None:
    """Whoever has set a lost login anew waits for its first configuration, and not for the interval's end."""
    profile(scene)
    scopes.add(
        scene.install.wiring.scope_ports("test"),
        NewScope(ScopeKind.PROFILE, tenant(scene), uuid4(), "others", {}),
        Login("backup", password="x"),
    )
    for number in range(4):
        placed(scene, f"r-{number}", f"192.0.2.{number}", profile="routers" if number < 3 else "others")
    ok(scene, "device", "pause", "r-0")
    scene.write("enroller", "UPDATE device SET next_due_at = now() + interval '5 hours' WHERE status = 'active'")
    hold = "UPDATE device SET hold_until = now() + interval '50 minutes' WHERE name = 'r-1'"
    scene.write("collector", hold)
    said = ok(scene, "credential", "edit", "routers", "--password-stdin", stdin=b"another").out.decode()
    assert re.search(r"edited; 1 device due within \d s, 1 device tried by 20[-0-9]+ [:0-9]+Z, not before", said)
    near = "SELECT name, next_due_at < now() + interval '1 minute' AS near FROM device ORDER BY name"
    assert [tuple(row) for row in scene.rows(near)] == [("r-0", None), ("r-1", True), ("r-2", True), ("r-3", False)]
    scene.write("enroller", "UPDATE device SET next_due_at = now() + interval '5 hours' WHERE status = 'active'")
    assert b"due within" not in ok(scene, "credential", "edit", "routers", "--name", "fleet").out
    assert [row.near for row in scene.rows(near)] == [None, False, False, False]


def block_hop(scene: Scene, hop_id: UUID, code: str) -> None:
    """A jump host as the collector leaves it that may not pass it."""
    scene.write(
        "collector",
        "UPDATE jump_host SET blocked_code = :code, blocked_at = now(), blocked_detail = 'it said no', failures = 1, "
        "down_since = now() WHERE id = :id",
        code=code,
        id=hop_id,
    )
    scene.install.wiring.alarms("scheduler").alarm("jump_host_blocked", f"jump host {hop_id}", "blocked")


def offer(scene: Scene, hop_id: UUID, key: HostKey = KEY, status: str = "offered") -> None:
    """A key of a jump host as the collector records it."""
    scene.write(
        "collector",
        "INSERT INTO host_key (tenant_id, jump_host_id, status, key_type, blob, fingerprint) "
        "SELECT tenant_id, id, :status, :type, :blob, :fingerprint FROM jump_host WHERE id = :id",
        status=status,
        type=key.key_type,
        blob=key.blob,
        fingerprint=key.fingerprint,
        id=hop_id,
    )


def test_a_suspended_profile_is_resumed_by_a_person_or_a_new_secret(scene: Scene) -> None:
    """Why it is suspended is shown; another user's name alone does not bring it back."""
    profile(scene)
    placed(scene, "r-1", "192.0.2.1", profile="routers")
    said = ok(scene, "credential", "suspend", "routers", "--reason", "RADIUS is rebuilt").out
    assert b"; 1 device is not collected any more; `credential resume routers` ends that" in said
    assert b"SUSPENDED  login routers: 1 device not collected" in scene.run("status").out
    assert "credential resume routers" in scene.run("doctor").out.decode()
    assert b"suspended: RADIUS is rebuilt" in ok(scene, "credential", "list").out
    ok(scene, "credential", "edit", "routers", "--username", "other")
    assert shown(scene, "credential", "show", "routers")["suspended_reason"] == "RADIUS is rebuilt"
    ok(scene, "credential", "resume", "routers")
    assert not shown(scene, "credential", "show", "routers")["suspended_at"]
    ok(scene, "credential", "suspend", "routers", "--reason", "again")
    ok(scene, "credential", "edit", "routers", "--password-stdin", stdin=b"x")
    assert not shown(scene, "credential", "show", "routers")["suspended_at"]
    scene.write("operator", "UPDATE credential_profile SET suspended_at = now(), suspended_reason = 'keys_lost'")
    assert scene.run("credential", "resume", "routers").code == Exit.REFUSED
    acts = [act for act in audited(scene) if act.startswith("credential_profile_")]
    assert acts == [
        f"credential_profile_{act}" for act in ("added", "suspended", "edited", "resumed", "suspended", "edited")
    ]


def test_what_is_used_is_not_removed(scene: Scene) -> None:
    """The refusal says by what; when nothing uses it any more it goes, a removed device's memory of it too."""
    profile(scene)
    hop(scene)
    place(scene, ScopeKind.SITE, "north", "hop-1")
    placed(scene, "r-1", "192.0.2.1", site="north", profile="routers", jump="hop-1")
    for noun, name, by in (
        ("credential", "routers", "site north, 1 device, jump host hop-1"),
        ("jump", "hop-1", "site north, 1 device"),
        ("site", "north", "1 device belongs to site north"),
    ):
        assert "Nobody can be asked" not in scene.run(noun, "remove", name).err  # nobody is asked what cannot be
        refused = scene.run(noun, "remove", name, "--yes")
        assert (refused.code, by in refused.err) == (Exit.REFUSED, True), refused.err
    ok(scene, "device", "remove", "r-1", "--yes")
    ok(scene, "site", "remove", "north", "--yes")
    ok(scene, "jump", "remove", "hop-1", "--yes")
    ok(scene, "credential", "remove", "routers", "--yes")
    left = scene.rows("SELECT site_id, jump_host_id, via_id, credential_profile_id FROM device")
    assert [tuple(row) for row in left] == [(None, None, None, None)]
    assert audited(scene)[-4:] == [
        "device_removed",
        "site_removed",
        "jump_host_removed",
        "credential_profile_removed",
    ]


def test_a_name_is_given_once(scene: Scene) -> None:
    """Of each kind, also by renaming."""
    profile(scene)
    again = scene.run("credential", "add", "routers", "--username", "x", "--password-stdin", stdin=b"x")
    assert (again.code, "routers is there already" in again.err) == (Exit.REFUSED, True)
    place(scene, ScopeKind.SITE, "north")
    place(scene, ScopeKind.SITE, "south")
    assert scene.run("site", "add", "north").code == Exit.REFUSED
    assert scene.run("site", "edit", "south", "--name", "north").code == Exit.REFUSED
    assert scene.run("tenant", "add", "default").code == Exit.REFUSED


def test_another_way_to_its_devices_is_like_another_address(scene: Scene) -> None:
    """All that inherit it are tried anew at once, with their pins; who has a way of its own is left alone."""
    profile(scene)
    hop(scene)
    place(scene, ScopeKind.SITE, "north")
    for name, way in (("r-1", {}), ("r-2", {"jump": "direct"})):
        device_id = placed(scene, name, f"192.0.2.{name[-1]}", site="north", **way)
        scene.offer(device_id, b"known", "pinned")
        scene.write("collector", "UPDATE device SET failures = 2 WHERE id = :id", id=device_id)
        scene.write("enroller", "UPDATE device SET believe_seq = 7 WHERE id = :id", id=device_id)
    ok(scene, "site", "edit", "north", "--jump", "hop-1")
    rows = scene.rows(
        "SELECT name, failures, believe_seq, next_due_at <= now() AS due, via_id IS NULL AS direct FROM device "
        "ORDER BY name"
    )
    assert [tuple(row) for row in rows] == [("r-1", 0, 0, True, False), ("r-2", 2, 7, False, True)]
    assert scene.rows("SELECT count(*) AS n FROM host_key WHERE status = 'pinned'")[0].n == 2
    assert b"through hop-1 (site north)" in ok(scene, "device", "show", "r-1").out
    assert b"direct (device)" in ok(scene, "device", "show", "r-2").out
    assert (hop_record(scene).behind, hop_record(scene).waiting) == (1, 1)


def test_one_address_behind_two_hops_is_normal_and_behind_one_is_refused(scene: Scene) -> None:
    """The refusal names both devices, for one device and for a whole scope; nothing is changed."""
    profile(scene)
    hop(scene)
    hop(scene, "hop-2", "203.0.113.8")
    place(scene, ScopeKind.SITE, "north", "hop-1")
    place(scene, ScopeKind.SITE, "south", "hop-2")
    placed(scene, "r-1", "10.0.0.1", site="north")
    placed(scene, "r-2", "10.0.0.1", site="south")
    refused = scene.run("device", "add", "r-3", "10.0.0.1", "--site", "south")
    assert (refused.code, "device r-2 has 10.0.0.1 port 22 behind hop-2 already" in refused.err) == (Exit.REFUSED, True)
    refused = scene.run("device", "edit", "r-2", "--jump", "hop-1")
    assert (refused.code, "device r-1 has 10.0.0.1" in refused.err) == (Exit.REFUSED, True)
    refused = scene.run("site", "edit", "south", "--jump", "hop-1")
    assert refused.code == Exit.REFUSED
    assert "devices r-1 and r-2 would both have 10.0.0.1 port 22 behind hop-1" in refused.err
    assert device(scene, "r-2").via == "hop-2"
    assert audited(scene)[-1] == "device_added"


def test_who_would_have_no_login_is_named(scene: Scene) -> None:
    """A profile is not taken away from under devices that have no other."""
    profile(scene)
    place(scene, ScopeKind.GROUP, "core")
    placed(scene, "r-1", "192.0.2.1", group="core")
    for arguments in (("group", "edit", "core", "--profile", ""), ("device", "edit", "r-1", "--group", "")):
        refused = scene.run(*arguments)
        assert (refused.code in {Exit.REFUSED, Exit.DATA}, "r-1" in refused.err) == (True, True), refused.err
    assert device(scene).effective["profile"] == ("routers", "group core")


def test_a_profile_takes_the_place_of_a_login_of_its_own(scene: Scene) -> None:
    """The old secret goes, and with it the block over it."""
    profile(scene)
    device_id = scene.add("r-1")
    scene.block(device_id, "authentication_failed")
    ok(scene, "device", "edit", "r-1", "--profile", "routers")
    now = device(scene)
    assert (now.effective["profile"], now.blocked_code) == (("routers", "device"), None)
    assert scene.rows("SELECT count(*) AS n FROM credential_profile")[0].n == 1
    both = scene.run("device", "edit", "r-1", "--profile", "routers", "--password-stdin", stdin=b"x")
    assert both.code == Exit.USAGE


def test_a_fingerprint_is_expected_before_the_first_contact(scene: Scene) -> None:
    """It stands where no key is pinned; where another one is, it contradicts it."""
    profile(scene)
    fingerprint = KEY.fingerprint
    ok(scene, "device", "add", "r-1", "192.0.2.1", "--profile", "routers", "--fingerprint", fingerprint)
    assert [key.fingerprint for key in device(scene).expected] == [fingerprint]
    assert scene.run("device", "edit", "r-1", "--fingerprint", "SHA256:short").code == Exit.DATA
    scene.offer(device(scene).device_id, b"another", "pinned")
    refused = scene.run("device", "edit", "r-1", "--fingerprint", fingerprint)
    assert (refused.code, "another host key pinned" in refused.err) == (Exit.REFUSED, True)


def test_a_jump_host_in_trouble_says_so_and_is_tried_again(scene: Scene) -> None:
    """State, reason, keys and what waits are shown; an act of a person clears it with its alarm."""
    profile(scene)
    hop_id = hop(scene)
    assert b"untried" in ok(scene, "jump", "list").out
    block_hop(scene, hop_id, "host_key_mismatch")
    offer(scene, hop_id, HostKey("ssh-ed25519", b"old"), "pinned")
    offer(scene, hop_id)
    out = ok(scene, "jump", "show", "hop-1").out.decode()
    assert "blocked: host_key_mismatch" in out
    assert f"offered         ssh-ed25519 {KEY.fingerprint}" in out
    assert scene.run("jump", "accept-key", "hop-1", "--yes").code == Exit.USAGE
    ok(scene, "jump", "accept-key", "hop-1", "--yes", "--fingerprint", KEY.fingerprint)
    found = hop_record(scene)
    assert (found.blocked_code, found.pinned and found.pinned.key) == (None, KEY)
    assert scene.rows("SELECT 1 FROM alarm WHERE cleared_at IS NULL") == []
    row = scene.rows("SELECT trusted_how, trusted_by FROM host_key WHERE status = 'pinned'")[0]
    assert (row.trusted_how, row.trusted_by.startswith("cli:")) == ("accepted", True)
    block_hop(scene, hop_id, "authentication_failed")
    ok(scene, "jump", "unblock", "hop-1")
    assert b"nothing to do" in ok(scene, "jump", "unblock", "hop-1").out
    block_hop(scene, hop_id, "authentication_failed")
    ok(scene, "jump", "reset-key", "hop-1", "--yes")
    assert hop_record(scene).blocked_code == "authentication_failed"
    ok(scene, "jump", "edit", "hop-1", "--host", "203.0.113.9")
    assert shown(scene, "jump", "show", "hop-1")["state"] == "up"
    went_down = "UPDATE jump_host SET failures = 2, down_since = now() - interval '2 hours', retry_at = now() + :wait"
    scene.write("collector", went_down, wait=timedelta(minutes=3))
    says = "hop-1: hop-1: it is off"
    scene.install.wiring.alarms("scheduler").alarm("jump_host_unreachable", f"jump host {hop_id}", says)
    out = ok(scene, "jump", "show", "hop-1").out.decode()
    assert "jump_host_unreachable: it is off\n" in out
    assert "tried again     in 2 min" in out
    ok(scene, "jump", "unblock", "hop-1")
    out = ok(scene, "jump", "show", "hop-1").out.decode()
    assert "down for 2 h" in out
    assert "tried again     by the next device behind it that is due" in out


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("keys_lost", "`credential edit routers --ask-password` for all that use it"),
        ("RADIUS is rebuilt", "`credential resume routers` ends it"),
    ],
)
def test_a_jump_host_whose_login_is_sent_nowhere_is_not_up(scene: Scene, reason: str, says: str) -> None:
    """What the login waits for stands there, and what next, as `status` has it; one that is on trial is sent."""
    profile(scene)
    hop(scene)
    others = ("credential", "add", "others", "--username", "backup", "--trust", "tofu", "--password-stdin")
    ok(scene, *others, stdin=PASSWORD)
    placed(scene, "due", "192.0.2.1", profile="others", jump="hop-1")
    scene.write("collector", "UPDATE jump_host SET reached_at = now()")
    scene.write("scheduler", "UPDATE device SET next_due_at = now() - interval '1 minute'")
    stops = "UPDATE credential_profile SET suspended_at = now(), suspended_reason = :reason WHERE name = 'routers'"
    scene.write("enroller", stops, reason=reason)
    listed = " ".join(ok(scene, "jump", "list").out.decode().split())
    assert f"suspended: {reason} 1 1 routers" in listed
    page = " ".join(ok(scene, "jump", "show", "hop-1").out.decode().split())
    assert f"state suspended: {reason} why its login routers is sent nowhere: {reason} what next" in page
    assert says in page
    document = shown(scene, "jump", "show", "hop-1")
    assert (document["state"], document["login_suspended_reason"], document["devices_waiting"]) == (
        "suspended", reason, 1,
    )  # fmt: skip
    scene.write("collector", "UPDATE credential_profile SET trial_at = now() WHERE name = 'routers'")
    assert shown(scene, "jump", "show", "hop-1")["state"] == "up"
    assert " up " in ok(scene, "jump", "list").out.decode()


def test_what_waits_for_a_jump_host_is_told_alike_everywhere(scene: Scene) -> None:
    """Those that are due, with nothing of their own in the way; the others stand as ever until they are due."""
    profile(scene)
    hop_id = hop(scene)
    names = ("due", "later", "paused", "blocked")
    for number, name in enumerate(names, 1):
        placed(scene, name, f"192.0.2.{number}", profile="routers", jump="hop-1")
    due = "UPDATE device SET next_due_at = now() + CASE WHEN name = 'later' THEN :later ELSE -:late END"
    scene.write("scheduler", due, later=timedelta(minutes=14), late=timedelta(minutes=1))
    scene.write("enroller", "UPDATE device SET status = 'paused' WHERE name = 'paused'")
    scene.write("collector", "UPDATE device SET blocked_code = 'identity_changed' WHERE name = 'blocked'")
    went_down = "UPDATE jump_host SET failures = 1, down_since = now(), retry_at = now() + :wait WHERE id = :id"
    scene.write("collector", went_down, wait=timedelta(minutes=3), id=hop_id)
    status = json.loads(scene.run("status", "--json").out)
    stands = {device["name"]: device["standing"] for device in status["devices"]}
    assert stands == {
        "due": "waiting for jump host", "later": "waiting", "paused": "paused", "blocked": "blocked",
    }  # fmt: skip
    listed = shown(scene, "jump", "list")["jump_hosts"][0]["devices_waiting"]
    assert (listed, shown(scene, "jump", "show", "hop-1")["devices_waiting"], status["jump_hosts"][0]["waiting"]) == (
        1,
    ) * 3
    assert "its way" in ok(scene, "device", "show", "later").out.decode()
    chosen = ok(scene, "device", "list", "--status", "waiting for jump host", "--where", "jump=hop-1").out.decode()
    assert [line.split()[0] for line in chosen.splitlines()[1:]] == ["due"]


def test_another_address_of_a_jump_host_keeps_its_pin_unless_it_is_another(scene: Scene) -> None:
    """Only `--new-host` forgets its key."""
    profile(scene)
    hop_id = hop(scene)
    offer(scene, hop_id, KEY, "pinned")
    ok(scene, "jump", "edit", "hop-1", "--host", "203.0.113.9", "--port", "2222")
    assert hop_record(scene).pinned
    ok(scene, "jump", "edit", "hop-1", "--new-host")
    assert hop_record(scene).keys[0].status == "retired"


def test_a_changed_interval_holds_from_the_act_on(scene: Scene) -> None:
    """Turns are drawn nearer in its transaction, of the site's devices and of nobody else's."""
    profile(scene)
    place(scene, ScopeKind.SITE, "north")
    placed(scene, "r-1", "192.0.2.1", site="north")
    placed(scene, "r-2", "192.0.2.2", profile="routers")
    scene.write("enroller", "UPDATE device SET next_due_at = now() + interval '5 hours'")
    near = "SELECT next_due_at < now() + interval '1 hour' AS near FROM device ORDER BY name"
    ok(scene, "site", "edit", "north", "--secrets", "omit")
    assert [row.near for row in scene.rows(near)] == [False, False]
    ok(scene, "site", "edit", "north", "--interval", "10m")
    assert [row.near for row in scene.rows(near)] == [True, False]


def test_a_tenant_comes_with_keys_of_its_own(scene: Scene) -> None:
    """Its devices are nobody else's, also where names and addresses are the same."""
    ok(scene, "tenant", "add", "other", "--interval", "12h")
    assert scene.run("tenant", "add", "other").code == Exit.REFUSED
    add = ("credential", "add", "routers", "--username", "backup", "--password-stdin")
    ok(scene, *add, "--tenant", "other", stdin=PASSWORD)
    assert scene.run("credential", "show", "routers").code == Exit.NOT_FOUND
    scene.add("r-1")
    ok(scene, "tenant", "edit", "other", "--profile", "routers")
    ok(scene, "device", "add", "r-1", "192.0.2.1", "--tenant", "other")
    names = [tenant["name"] for tenant in shown(scene, "tenant", "list")["tenants"]]
    assert names == ["default", "other"]
    assert shown(scene, "tenant", "show", "other")["devices"] == 1


def test_a_tenant_whose_keys_were_not_made_gets_them(scene: Scene) -> None:
    """What was cut off after the first half is done by saying it once more."""
    scene.write("enroller", "INSERT INTO tenant (name) VALUES ('cut') RETURNING 1")
    ok(scene, "tenant", "add", "cut")
    assert scene.install.wiring.keys("operator").records(scene.install.wiring.devices("reader").tenant("cut"))


def test_devices_are_listed_by_group_and_site(scene: Scene) -> None:
    """Both together narrow it down; one that does not exist is named."""
    profile(scene)
    for kind, name in ((ScopeKind.GROUP, "core"), (ScopeKind.SITE, "north")):
        place(scene, kind, name)
    placed(scene, "r-1", "192.0.2.1", group="core", site="north")
    placed(scene, "r-2", "192.0.2.2", group="core")
    placed(scene, "r-3", "192.0.2.3", site="north")

    def listed(*where: str) -> list[str]:
        return [device["name"] for device in shown(scene, "device", "list", *where)["devices"]]

    assert listed("--group", "core") == ["r-1", "r-2"]
    assert listed("--site", "north") == ["r-1", "r-3"]
    assert listed("--group", "core", "--site", "north") == ["r-1"]
    assert scene.run("device", "list", "--site", "nowhere").code == Exit.NOT_FOUND


def test_those_of_a_group_or_a_site_are_backed_up(scene: Scene) -> None:
    """All of both that are active and not blocked; a name that nobody has is told."""
    profile(scene)
    for kind, name in ((ScopeKind.GROUP, "core"), (ScopeKind.SITE, "north")):
        place(scene, kind, name)
    placed(scene, "r-1", "192.0.2.1", group="core", site="north")
    blocked = placed(scene, "r-2", "192.0.2.2", group="core")
    placed(scene, "r-3", "192.0.2.3", site="north")
    scene.block(blocked, "host_key_mismatch")

    def asked(*where: str) -> list[str]:
        return [one["device"] for one in shown(scene, "backup", *where)["requests"]]

    assert asked("--group", "core") == ["r-1"]
    assert asked("--site", "north") == ["r-1", "r-3"]
    assert asked("--site", "north", "--group", "core") == ["r-1"]
    assert scene.run("backup", "--site", "nowhere").code == Exit.NOT_FOUND
    for wrong in ((), ("r-1", "--all"), ("--all", "--site", "north"), ("--site", "north", "--force")):
        assert scene.run("backup", *wrong).code == Exit.USAGE
