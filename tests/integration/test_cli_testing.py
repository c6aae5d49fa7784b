"""`device test` and `hostkey scan` as commands: whom they ask for, and how they show what was found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from backupflow.cli import scan, testing
from backupflow.cli.exits import Exit
from backupflow.core.model import HostKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.integration.scene import Scene

KEY = HostKey("ssh-ed25519", b"the key of a test")
HOSTILE = "\x1b[2J\u202eevil"
# Beat and worker in one: what was told of a device before is what its test finds.
ANSWER = """
    CREATE FUNCTION answered() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$ BEGIN
        IF EXISTS (SELECT 1 FROM told WHERE device_id = NEW.device_id) THEN
            UPDATE device SET last_seq = last_seq + 1 WHERE id = NEW.device_id;
            INSERT INTO collection (tenant_id, device_id, seq, trigger, lane, state, code, detail, report, started_at,
                ended_at)
            SELECT d.tenant_id, d.id, d.last_seq, NEW.kind, 'collect.now', 'tested', t.code, t.detail, t.report,
                now() - interval '2.5 s', now()
            FROM device d JOIN told t ON t.device_id = d.id WHERE d.id = NEW.device_id
            RETURNING id INTO NEW.collection_id;
            NEW.answered_at := now(); NEW.answer := 'claimed';
        END IF;
        RETURN NEW; END $$"""


def step(name: str, well: bool | None, says: str = "", code: str = "", **facts: str | int) -> dict[str, Any]:
    """A step as it is kept."""
    return {"name": name, "well": well, "says": says, "code": code, "facts": facts}


def of_key(standing: str) -> dict[str, Any]:
    """The step that tells of the key."""
    code = "host_key_mismatch" if standing == "changed" else ""
    says = f"{KEY.key_type} {KEY.fingerprint}: it is {standing}"
    facts = {"key_type": KEY.key_type, "fingerprint": KEY.fingerprint, "standing": standing}
    return step("key", standing != "changed", says, code, **facts)


WELL = [
    of_key("pinned"),
    step("version", True, "RouterOS", vendor="MikroTik", version="7.14", model=HOSTILE),
    step("secrets", True, "shown", secrets="shown"),
    step("size", True, "6,000 bytes", bytes=6000),
]
REFUSED = [of_key("pinned"), step("login", False, "password", "authentication_failed"), step("rights", None)]
HIDDEN = [step("secrets", False, f"add `sensitive` {HOSTILE}", "secrets_hidden", secrets="hidden")]


@pytest.fixture
def told(scene: Scene) -> Mapping[str, Any]:
    """Three devices, with what a worker would find at each."""
    scene.write("migrator", "GRANT CREATE ON SCHEMA public TO backupflow_migrator")
    scene.write("migrator", "CREATE TABLE told (device_id uuid, code text, detail text, report jsonb)")
    scene.write("migrator", ANSWER)
    scene.write("migrator", "CREATE TRIGGER beat BEFORE INSERT ON request FOR EACH ROW EXECUTE FUNCTION answered()")
    devices: dict[str, Any] = {}
    for number, name in enumerate(("well", "refused", "hidden"), 1):
        devices[name] = scene.add(name, f"192.0.2.{number}")
    tell(scene, devices["well"], "", "", WELL)
    tell(scene, devices["refused"], "authentication_failed", "password", REFUSED)
    tell(scene, devices["hidden"], "secrets_hidden", HIDDEN[0]["says"], HIDDEN)
    return devices


def tell(scene: Scene, device_id: object, code: str, detail: str, report: list[dict[str, Any]]) -> None:
    """What the next test of a device finds."""
    scene.write("migrator", "DELETE FROM told WHERE device_id = :device", device=device_id)
    scene.write(
        "migrator",
        "INSERT INTO told VALUES (:device, :code, :detail, CAST(:report AS jsonb))",
        device=device_id,
        code=code,
        detail=detail,
        report=json.dumps(report),
    )


def test_what_is_not_well_comes_first_with_its_step_and_what_to_do(scene: Scene, told: Mapping[str, Any]) -> None:
    """A line for each, the counts below; a router's words cannot harm a terminal."""
    ran = scene.run("device", "test", *told)
    assert ran.code == Exit.WRONG
    lines = ran.out.decode().splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [["hidden", "secrets"], ["refused", "login"], ["well", "well"]]
    assert "`device unblock refused`" in lines[2]
    assert "MikroTik 7.14" in lines[3]
    assert "1 well, 1 authentication_failed, 1 secrets_hidden" in lines or (
        "1 well, 1 secrets_hidden, 1 authentication_failed" in lines
    )
    assert "\x1b" not in ran.out.decode()
    assert "\\x1b[2J\\u202eevil" in ran.out.decode()
    assert {"well: well", "refused: authentication_failed", "hidden: secrets_hidden"} <= set(ran.err.splitlines())


def test_of_many_only_those_that_are_not_well_are_shown(
    scene: Scene, told: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the others how many there are; blocked ones are left out, and that is said."""
    monkeypatch.setattr(testing, "SHOWN", 1)
    scene.block(told["hidden"], "authentication_failed")
    shown = scene.run("device", "test", "--all").out.decode()
    assert "refused  login" in shown
    assert "MikroTik" not in shown
    assert "1 well, 1 authentication_failed" in shown
    assert "left out, since they are blocked: 1" in shown
    every = scene.run("device", "test", "--all", "--verbose").out.decode()
    assert "MikroTik" not in every
    assert "6,000 bytes" in every
    assert "not reached" in every


def test_of_one_all_steps_are_shown(scene: Scene, told: Mapping[str, Any]) -> None:
    """With the commands for this device."""
    shown = scene.run("device", "test", "refused")
    assert shown.code == Exit.WRONG
    assert "refused: authentication_failed at login, 2.5 s" in shown.out.decode()
    assert "`device edit refused --ask-password`" in shown.out.decode()
    well = scene.run("device", "test", "well")
    assert well.code == Exit.OK
    assert well.out.decode().startswith("well: well, 2.5 s\n")


def test_tests_are_told_as_json_too(scene: Scene, told: Mapping[str, Any]) -> None:
    """One document, with a summary, and the steps of each."""
    ran = scene.run("device", "test", *told, "--json")
    document = json.loads(ran.out)
    assert document["summary"] == {
        "devices": 3,
        "well": 1,
        "not_well": {"authentication_failed": 1, "secrets_hidden": 1},
    }
    tests = {one["device"]: one for one in document["tests"]}
    assert (tests["well"]["well"], tests["well"]["code"], tests["well"]["seconds"]) == (True, None, 2.5)
    assert tests["refused"]["steps"][1] == {
        "step": "login",
        "well": False,
        "code": "authentication_failed",
        "says": "password",
    }
    assert b"\x1b" not in ran.out


def test_each_request_is_audited_by_its_kind(scene: Scene, told: Mapping[str, Any]) -> None:
    """And a request that names a device that is not there asks for nothing."""
    scene.run("device", "test", "well", "refused")
    scene.run("hostkey", "scan", "well")
    acts = scene.rows("SELECT action FROM audit WHERE action LIKE '%requested' ORDER BY id")
    assert [row.action for row in acts] == ["device_test_requested"] * 2 + ["host_key_scan_requested"]
    assert scene.run("device", "test", "well", "nowhere").code == Exit.NOT_FOUND
    kinds = scene.rows("SELECT kind FROM request ORDER BY id")
    assert [row.kind for row in kinds] == ["test", "test", "scan"]
    del told


def test_a_part_of_the_fleet_is_asked_for_by_group_and_site(scene: Scene, told: Mapping[str, Any]) -> None:
    """Active ones; for a scan the blocked too. A name that is none ends the command, and so does no device."""
    scene.write("enroller", "INSERT INTO site (tenant_id, name) SELECT id, 'north' FROM tenant")
    scene.write("enroller", "INSERT INTO device_group (tenant_id, name) SELECT id, 'access' FROM tenant")
    scene.write("enroller", "UPDATE device SET site_id = (SELECT id FROM site) WHERE name IN ('well', 'hidden')")
    scene.write("enroller", "UPDATE device SET device_group_id = (SELECT id FROM device_group) WHERE name = 'hidden'")

    def asked(*argv: str) -> set[str]:
        document = json.loads(scene.run(*argv, "--json").out)
        return {one["device"] for one in document.get("tests", document.get("scans"))}

    assert asked("device", "test", "--site", "north") == {"well", "hidden"}
    assert asked("device", "test", "--site", "north", "--group", "access") == {"hidden"}
    scene.block(told["well"], "authentication_failed")
    scene.run("device", "pause", "refused")
    assert asked("device", "test", "--all") == {"hidden"}
    assert asked("hostkey", "scan", "--all") == {"well", "hidden"}
    nowhere = scene.run("device", "test", "--site", "nowhere")
    assert (nowhere.code, "site list" in nowhere.err) == (Exit.NOT_FOUND, True)
    scene.block(told["hidden"], "authentication_failed")
    assert scene.run("device", "test", "--all").code == Exit.NOT_FOUND
    for wrong in ([], ["well", "--all"], ["--all", "--site", "north"]):
        assert scene.run("device", "test", *wrong).code == Exit.USAGE


def test_whoever_waits_for_a_test_learns_that_no_beat_ticks(scene: Scene) -> None:
    """What was asked for stays asked for; it has not ended, and is not well."""
    scene.add()
    ran = scene.run("device", "test", "core-1", "--timeout", "1s")
    assert ran.code == Exit.WRONG
    assert "no beat has ticked" in ran.err
    assert "not all have ended" in ran.err
    assert "core-1: waiting" in ran.out.decode()


def test_a_scan_says_how_each_key_stands_and_who_has_the_same(
    scene: Scene, told: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that two devices show is worth a look, also where it is pinned; of many the pinned are only counted."""
    tell(scene, told["well"], "", "", [of_key("pinned")])
    tell(scene, told["refused"], "host_key_mismatch", "x", [of_key("changed")])
    tell(scene, told["hidden"], "device_unreachable", "no answer", [step("reach", False, "", "device_unreachable")])
    first = scene.run("hostkey", "scan", *told)
    assert first.code == Exit.WRONG
    shown = first.out.decode()
    assert f"well: ssh-ed25519\n         {KEY.fingerprint}\n         it is pinned\n" in shown
    assert "it is changed" in shown
    assert "hidden: device_unreachable: The device did not answer" in shown
    assert "hostkey pending" in shown
    monkeypatch.setattr(scan, "SHOWN", 1)
    assert "it is pinned" not in scene.run("hostkey", "scan", *told).out.decode()
    keep = """INSERT INTO host_key (tenant_id, device_id, status, key_type, blob, fingerprint, trusted_how, trusted_at)
        SELECT tenant_id, id, 'pinned', :type, :blob, :fingerprint, 'accepted', now() FROM device
        WHERE name <> 'hidden'"""
    scene.write("enroller", keep, type=KEY.key_type, blob=KEY.blob, fingerprint=KEY.fingerprint)
    again = scene.run("hostkey", "scan", *told, "--json")
    keys = {one["device"]: one["key"] for one in json.loads(again.out)["scans"]}
    assert (keys["well"]["shared_with"], keys["well"]["shared_by"]) == ("refused", 2)
    assert keys["well"]["trusted_how"] == "accepted"
    assert keys["hidden"] is None
    assert "the same key as refused" in scene.run("hostkey", "scan", *told).out.decode()
