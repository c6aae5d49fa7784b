"""`device test` and `hostkey scan` through a whole install: what they say of each router, and what they leave alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from backupflow.cli.exits import Exit
from backupflow.core.inventory import NewDevice, Placement
from backupflow.core.ledger import Kind
from backupflow.core.model import DeviceId, Login
from backupflow.core.scopes import NewScope, ScopeKind
from backupflow.flows import enroll, rotation, scopes
from backupflow.simulator import Fleet, JumpSpec, RouterSpec
from backupflow.simulator import Login as RouterLogin
from tests.acceptance.install import PATIENT, Install, enrol, wait_for
from tests.checker.case import Terms
from tests.checker.check import Subject, check

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from backupflow.core.overview import Asked
    from backupflow.simulator import Event

pytestmark = PATIENT

SECONDS = 60.0
SPEC = RouterSpec("", version="7.14")
ROUTERS = {
    "good": SPEC,
    "wrong": SPEC,
    "mute": SPEC,
    "hides": SPEC,
    "legacy": replace(SPEC, legacy=True, version="6.49.7"),
    "allowed": replace(SPEC, legacy=True, version="6.49.7"),
    "paused": SPEC,
    "seen": SPEC,
    "turned": SPEC,
    "behind": SPEC,
    "beyond": SPEC,
    "rotates": replace(SPEC, logins=(RouterLogin("backup", "the next one"),)),
}
HOPS = {"behind": "open-hop", "beyond": "shut-hop"}
SETTINGS: dict[str, dict[str, Any]] = {
    "allowed": {"legacy_ssh": True},
    "mute": {"banner_timeout_seconds": 5, "login_timeout_seconds": 2},
}
ASKED = "device_test_requested"  # in the audit
# Everything of a device that a collection would move; what is tested must find it as it was.
STANDING = """
    SELECT name, next_due_at, failures, losses, lane, current_seq, remembered_command, modern_ssh_at, end_mark
    FROM device ORDER BY name"""


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """A router for each story."""
    routers = [replace(spec, name=name) for name, spec in ROUTERS.items()]
    hops = [JumpSpec("open-hop"), JumpSpec("shut-hop", logins=(RouterLogin("jump", "another"),))]
    with Fleet(routers, jump_hosts=hops) as running:
        yield running


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory, fleet: Fleet) -> Iterator[Install]:
    """An install in which nothing is due for hours; at the end every promise is looked at."""
    settings = {"CONFIG_BACKUP_INTERVAL": 36_000, "CONFIG_BACKUP_SPREAD_FROM": 7200, "CONFIG_BACKUP_SPREAD_TO": 9000}
    it = Install(tmp_path_factory.mktemp("test"), **settings)
    it.start()
    try:
        ports, spot = it.wiring.scope_ports("test"), NewScope(ScopeKind.PROFILE, it.tenant_id, uuid4(), "jumps", {})
        scopes.add(ports, spot, Login("jump", "jump"))
        for name, hop in fleet.jump_hosts.items():
            new = NewScope(ScopeKind.JUMP_HOST, it.tenant_id, uuid4(), name, {}, "jumps", host=hop.host, port=hop.port)
            scopes.add(ports, new)
        scopes.add(ports, NewScope(ScopeKind.PROFILE, it.tenant_id, uuid4(), "turning", {}), Login("backup", "backup"))
        for name, router in fleet.items():
            if name == "rotates":
                place = Placement(profile="turning")
                made = NewDevice(it.tenant_id, DeviceId(uuid4()), name, "127.0.0.1", router.port, "routeros", {}, place)
                enrol(it.wiring, made, None)
                continue
            password = "another" if name == "wrong" else "backup"
            it.add(name, router.port, Login("backup", password), SETTINGS.get(name), Placement(jump=HOPS.get(name)))
        yield it
        reader, terms = it.wiring.engine("reader"), Terms(policy=it.wiring.policy)
        assert check(Subject(reader, it.wiring.vault("reader"), fleet.history, terms)) == []
    finally:
        it.stop()


def told(install: Install, exit_code: int, *argv: str) -> dict[str, Any]:
    """The document of a command, by device, and its summary."""
    install.forget_meetings()
    done = install.command(*argv, "--json", check=False)
    assert done.returncode == exit_code, done.stderr.decode()
    document = json.loads(done.stdout)
    found = {one["device"]: one for one in document.get("tests", document.get("scans"))}
    return found | {"summary": document["summary"]}


def ask(install: Install, kind: Kind, name: str) -> Asked:
    """The same by the code of the commands, which costs a process less."""
    requests = install.wiring.requests
    install.forget_meetings()
    numbers = requests.ask(install.tenant_id, [name], "test", kind)
    wait_for(lambda: all(one.ended for one in requests.asked(numbers)), f"{kind} of {name}", SECONDS)
    return requests.asked(numbers, reports=True)[0]


def key(asked: Asked) -> Mapping[str, str | int]:
    """What is said of the key."""
    return next(step.facts for step in asked.report if step.name == "key")


def wells(test: dict[str, Any]) -> dict[str, bool | None]:
    """Of each step whether it is well."""
    return {step["step"]: step["well"] for step in test["steps"]}


def offers(fleet: Fleet, name: str, after: int = 0) -> list[Event]:
    """Each authentication that a router was offered: also what only asks which ones there are."""
    return [event for event in fleet[name].history if event.kind == "login_offered" and event.number > after]


def test_a_test_says_of_each_what_a_collection_would_meet_and_moves_nothing(install: Install, fleet: Fleet) -> None:
    """One attempt with a wrong password, which blocks; no snapshot, no failure, no other due time."""
    names = ("good", "wrong", "mute", "hides", "legacy", "allowed", "paused")
    fleet["mute"].behave(mute="handshake")
    fleet["hides"].behave(sensitive=False)
    enroll.pause(install.wiring.enroll_ports("test"), install.tenant_id, "paused")
    before = install.rows(STANDING)
    tests = told(install, Exit.WRONG, "device", "test", *names)
    assert {name: tests[name]["code"] for name in names} == {
        "good": None,
        "wrong": "authentication_failed",
        "mute": "device_timeout",
        "hides": "secrets_hidden",
        "legacy": "algorithms_incompatible",
        "allowed": None,
        "paused": None,
    }
    assert tests["summary"]["well"] == 3
    assert set(wells(tests["good"]).values()) == {True}
    assert next(name for name, well in wells(tests["wrong"]).items() if well is None) == "rights"
    assert wells(tests["mute"])["login"] is False
    assert wells(tests["legacy"])["key"] is False
    facts = {step["step"]: step.get("facts") for step in tests["good"]["steps"]}
    assert facts["version"]["version"] == "7.14"
    assert facts["secrets"] == {"secrets": "shown"}
    assert facts["key"]["trusted_how"] == "first_use"
    assert facts["key"]["fingerprint"] == fleet["good"].fingerprint
    assert facts["size"]["bytes"] > 1000
    assert tests["good"]["seconds"] > 0

    assert install.rows(STANDING) == before
    assert not install.rows("SELECT 1 FROM content UNION ALL SELECT 1 FROM aside")
    assert not install.rows(
        "SELECT 1 FROM collection WHERE trigger = 'test' AND (state <> 'tested' OR digest IS NOT NULL)"
    )
    blocked = install.rows("SELECT name, blocked_code FROM device WHERE blocked_code IS NOT NULL")
    assert {row.name: row.blocked_code for row in blocked if row.name in names} == {
        "legacy": "algorithms_incompatible",
        "wrong": "authentication_failed",
    }
    asked = install.rows(
        "SELECT d.name FROM audit a JOIN device d ON d.id = a.device_id WHERE action = :act", act=ASKED
    )
    assert {row.name for row in asked} >= set(names)

    again = ask(install, Kind.TEST, "wrong")
    assert again.answer == "refused: blocked: authentication_failed"
    assert len([event for event in offers(fleet, "wrong") if event.facts["method"] != "none"]) == 1


def test_what_is_wrong_with_a_jump_host_is_told_as_its_own(install: Install, fleet: Fleet) -> None:
    """Through one that is well the device is tested; behind one that refuses its login none is blocked for it."""
    scan = ask(install, Kind.SCAN, "behind")
    assert (scan.succeeded, key(scan)["fingerprint"]) == (True, fleet["behind"].fingerprint)
    assert offers(fleet, "behind") == []
    assert ask(install, Kind.TEST, "behind").succeeded
    failed = ask(install, Kind.TEST, "beyond")
    assert failed.code == "jump_host_blocked"
    assert [(step.name, step.well) for step in failed.report if step.well is not None] == [("jump", False)]
    assert "shut-hop: authentication_failed" in (failed.detail or "")
    assert not [event for event in fleet["beyond"].history if event.kind == "session_opened"]
    device, hop = (
        "SELECT blocked_code FROM device WHERE name = 'beyond'",
        "SELECT blocked_code FROM jump_host WHERE name = 'shut-hop'",
    )
    assert (install.rows(device)[0].blocked_code, install.rows(hop)[0].blocked_code) == (None, "authentication_failed")


def test_a_scan_shakes_hands_and_never_logs_in(install: Install, fleet: Fleet) -> None:
    """The router's own log has no authentication; what was seen is on record, and trusted by nobody."""
    scan = ask(install, Kind.SCAN, "seen")
    assert scan.succeeded
    assert (key(scan)["standing"], key(scan)["fingerprint"]) == ("first", fleet["seen"].fingerprint)
    assert [event.kind for event in fleet["seen"].history if event.kind in {"session_opened", "login_offered"}] == [
        "session_opened"
    ]
    keys = "SELECT k.status FROM host_key k JOIN device d ON d.id = k.device_id WHERE d.name = 'seen'"
    assert [row.status for row in install.rows(keys)] == ["offered"]
    assert install.rows("SELECT 1 FROM audit WHERE action = 'host_key_scan_requested'")


def test_a_changed_key_is_told_by_a_scan_and_blocks_in_a_test(install: Install, fleet: Fleet) -> None:
    """A look blocks nobody; the next test sends nothing to the new key, and blocks; a blocked one can be scanned."""
    assert ask(install, Kind.TEST, "turned").succeeded
    assert key(ask(install, Kind.SCAN, "turned"))["standing"] == "pinned"
    fleet["turned"].change_key()
    changed = next(event.number for event in reversed(fleet["turned"].history) if event.kind == "key_changed")
    blocked = "SELECT blocked_code FROM device WHERE name = 'turned'"
    scan = told(install, Exit.WRONG, "hostkey", "scan", "turned")["turned"]
    assert (scan["code"], scan["key"]["standing"]) == ("host_key_mismatch", "changed")
    assert install.rows(blocked)[0].blocked_code is None
    offered = """SELECT fingerprint FROM host_key WHERE status = 'offered'
        AND device_id = (SELECT id FROM device WHERE name = 'turned')"""
    assert [row.fingerprint for row in install.rows(offered)] == [fleet["turned"].fingerprint]

    assert ask(install, Kind.TEST, "turned").code == "host_key_mismatch"
    assert install.rows(blocked)[0].blocked_code == "host_key_mismatch"
    assert key(ask(install, Kind.SCAN, "turned"))["standing"] == "changed"
    assert offers(fleet, "turned", after=changed) == []


def test_a_test_tries_one_of_two_logins_and_the_next_one_the_other(install: Install, fleet: Fleet) -> None:
    """A router that has its new password already: one attempt each, in a connection of its own, and no block."""
    rotation.begin(install.wiring.scope_ports("test"), install.tenant_id, "turning", Login("backup", "the next one"))
    first = ask(install, Kind.TEST, "rotates")
    says = "the old login was refused, the new login has its turn in a later connection"
    assert first.code == "authentication_failed"
    assert next(step.says for step in first.report if step.name == "login").startswith(says)
    second = ask(install, Kind.TEST, "rotates")
    assert second.succeeded
    assert next(step for step in second.report if step.name == "login").says == "as backup, the new login"
    sent = [event.facts["offered"] for event in offers(fleet, "rotates") if event.facts["method"] != "none"]
    assert sent == ["backup", "the next one"]
    assert [event.kind for event in fleet["rotates"].history].count("session_opened") == 2
    row = install.rows("SELECT login_on, refused_on, blocked_code FROM device WHERE name = 'rotates'")[0]
    assert tuple(row) == ("next", None, None)
