"""`status`, `backup`, `alarm`, `doctor` and finding the install."""

from __future__ import annotations

import json
import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backupflow.cli.exits import Exit
from backupflow.core.liveness import deaf
from tests.integration.scene import export_text

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.scene import Scene

CLAIM = "SELECT id FROM collection ORDER BY id DESC LIMIT 1"


def standings(scene: Scene) -> dict[str, str]:
    """How each device stands."""
    return {device["name"]: device["standing"] for device in json.loads(scene.run("status", "--json").out)["devices"]}


def test_each_device_stands_as_it_is(scene: Scene) -> None:
    """Waiting, ok, blocked, paused, overdue and failing are told apart."""
    names = ("waiting", "ok", "blocked", "paused", "overdue", "failing", "no-login")
    ids = {name: scene.add(name, f"192.0.2.{number}") for number, name in enumerate(names, 1)}
    scene.observe(ids["ok"], export_text("x"))
    scene.block(ids["blocked"], "authentication_failed")
    scene.run("device", "pause", "paused")
    late = "UPDATE device SET next_due_at = now() - interval '37 minutes' WHERE id = :id"
    scene.write("scheduler", late, id=ids["overdue"])
    early = "UPDATE device SET next_due_at = now() - interval '35 minutes' WHERE id = :id"
    scene.write("scheduler", early, id=ids["waiting"])
    assignment = scene.claim(ids["failing"])
    failed = "UPDATE collection SET state = 'failed', code = 'device_timeout', ended_at = now() WHERE id = :id"
    scene.write("collector", failed, id=assignment.collection_id)
    scene.write("enroller", "DELETE FROM credential_profile WHERE device_id = :id", id=ids["no-login"])
    wanted = {name: name for name in names} | {"no-login": "no login"}
    assert standings(scene) == wanted
    shown = scene.run("status").out.decode()
    assert "device_timeout" in shown
    assert "ALARM" in shown


def test_a_claim_that_nobody_starts_is_overdue(scene: Scene) -> None:
    """The due time moved on when it was claimed; the claim itself must not hide that nothing happens (I9)."""
    device_id = scene.add()
    claim = """INSERT INTO collection (tenant_id, device_id, seq, trigger, lane, claimed_at)
        SELECT tenant_id, id, 1, 'schedule', 'collect', now() - interval '40 minutes' FROM device WHERE id = :id"""
    scene.write("scheduler", claim, id=device_id)
    assert standings(scene) == {"core-1": "overdue"}


def test_backup_writes_a_request_for_each(scene: Scene) -> None:
    """Beat takes it from there; each is audited; a name that is not there asks for nothing at all."""
    for number, name in enumerate(("a", "b", "c"), 1):
        scene.add(name, f"192.0.2.{number}")
    asked = json.loads(scene.run("backup", "a", "b", "a", "--json").out)["requests"]
    assert [(one["device"], one["ended"]) for one in asked] == [("a", False), ("b", False)]
    acts = scene.rows("SELECT actor FROM audit WHERE action = 'config_backup_manual_trigger'")
    assert len(acts) == 2
    assert scene.run("backup", "c", "nowhere").code == Exit.NOT_FOUND
    assert len(scene.rows("SELECT 1 FROM request")) == 2
    assert scene.run("backup").code == Exit.USAGE
    assert scene.run("backup", "a", "--all").code == Exit.USAGE


def test_backup_of_all_leaves_blocked_and_paused_ones_out(scene: Scene) -> None:
    """They would only be refused."""
    scene.add("a", "192.0.2.1")
    scene.block(scene.add("b", "192.0.2.2"), "authentication_failed")
    scene.add("c", "192.0.2.3")
    scene.run("device", "pause", "c")
    asked = json.loads(scene.run("backup", "--all", "--json").out)["requests"]
    assert [one["device"] for one in asked] == ["a"]


def test_backup_says_when_no_beat_ticks(scene: Scene) -> None:
    """Whoever waits learns that nobody takes the request up, and can stop waiting."""
    scene.add()
    waited = scene.run("backup", "core-1", "--wait", "--timeout", "1s")
    assert waited.code == Exit.WRONG
    assert "no beat has ticked" in waited.err
    beat = "INSERT INTO process (id, role, host, pid) VALUES (gen_random_uuid(), 'scheduler', 'h', 1)"
    scene.write("scheduler", beat)
    assert "no beat" not in scene.run("backup", "core-1").err


@pytest.mark.parametrize(
    ("state", "code", "exit_code", "words"),
    [("stored", None, Exit.OK, "changed"), ("failed", "device_timeout", Exit.WRONG, "did not finish in time")],
)
def test_waiting_tells_how_it_ended(scene: Scene, state: str, code: str | None, exit_code: Exit, words: str) -> None:
    """The exit code is the outcome, and a failure comes with what to do."""
    device_id = scene.add()
    scene.observe(device_id, export_text("x"))
    if code:
        assignment = scene.claim(device_id)
        ended = "UPDATE collection SET state = :state, code = :code, ended_at = now() WHERE id = :id"
        scene.write("collector", ended, id=assignment.collection_id, state=state, code=code)
    answered = """CREATE FUNCTION answered() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.answered_at := now(); NEW.answer := 'claimed';
        NEW.collection_id := (SELECT max(id) FROM public.collection); RETURN NEW; END $$"""
    scene.write("migrator", "GRANT CREATE ON SCHEMA public TO backupflow_migrator")
    scene.write("migrator", answered)
    scene.write("migrator", "CREATE TRIGGER beat BEFORE INSERT ON request FOR EACH ROW EXECUTE FUNCTION answered()")
    waited = scene.run("backup", "core-1", "--wait")
    assert waited.code == exit_code
    assert words in waited.out.decode()


def test_alarms_are_listed_and_cleared_once(scene: Scene) -> None:
    """Clearing is audited; an alarm that does not stand cannot be cleared; its text cannot harm a terminal."""
    scene.install.wiring.alarms("operator").alarm("quarantine", "x", "evil \x1b[2J text")
    listed = scene.run("alarm", "list")
    assert b"\x1b" not in listed.out
    assert rb"\x1b[2J" in listed.out
    number = json.loads(scene.run("alarm", "list", "--json").out)["alarms"][0]["number"]
    assert scene.run("alarm", "clear", str(number)).code == Exit.OK
    assert scene.run("alarm", "clear", str(number)).code == Exit.NOT_FOUND
    assert json.loads(scene.run("alarm", "list", "--json").out)["alarms"] == []
    assert len(scene.rows("SELECT 1 FROM audit WHERE action = 'alarm_cleared'")) == 1


def test_the_jobs_say_when_all_of_them_was_done(scene: Scene) -> None:
    """And how they ended last; one that is late is wrong, until it is done."""
    assert (
        "done completely: compact not yet, reconcile not yet, verify not yet, watch not yet"
        in scene.run("status", "--all").out.decode()
    )
    house = scene.install.wiring.house
    house.finished("reconcile", "nothing to do")
    house.finished("verify", "ended by vault_unavailable", timedelta(minutes=1))
    jobs = {job["name"]: job for job in json.loads(scene.run("status", "--json").out)["jobs"]}
    assert (jobs["verify"]["completed_at"], jobs["reconcile"]["completed_at"] is not None) == (None, True)
    scene.install.wiring.alarms("scheduler").alarm("job_late", "job verify", "late")
    checks = {check["part"]: check for check in json.loads(scene.run("doctor", "--json").out)["checks"]}
    assert checks["jobs"]["remedy"] == "docs/runbook/job_late.md"
    assert any("verify: ended by vault_unavailable" in line for line in checks["jobs"]["each"])


def test_doctor_finds_what_is_wrong_and_goes_on(scene: Scene) -> None:
    """Each part is looked at though others fail; exit code 1, and a remedy for each that is wrong."""
    looked = scene.run("doctor", "--json")
    assert looked.code == Exit.WRONG
    checks = {check["part"]: check for check in json.loads(looked.out)["checks"]}
    well = {part for part, check in checks.items() if check["well"]}
    assert well == {
        "PostgreSQL",
        "schema",
        "clock",
        "OpenBao",
        "keys",
        "logins",
        "exports",
        "quarantine",
        "alarms",
        "jobs",
        "logins of devices",
        "identities",
        "jump hosts",
    }
    assert "REDIS_URL" in checks["broker"]["remedy"]
    assert "NATS_URL" in checks["NATS"]["remedy"]
    assert "a collect worker" in checks["processes"]["remedy"]


def test_doctor_sees_another_key_than_before(scene: Scene) -> None:
    """A vault that was started anew with other keys answers well, and is found by its canary."""
    scene.write("operator", "UPDATE transit_key SET mark = 'vault:v1:other' WHERE purpose = 'data'")
    checks = {check["part"]: check for check in json.loads(scene.run("doctor", "--json").out)["checks"]}
    assert checks["OpenBao"]["well"]
    assert not checks["keys"]["well"]


def test_a_suspect_export_is_one_line_with_what_to_do(scene: Scene) -> None:
    """It says what is missing, when it is asked again and how to look at it; as an alarm it is not told twice."""
    device_id = scene.add("core 1")
    scene.observe(device_id, export_text("x"))
    scene.doubt(device_id, export_text("y"))
    wait = "UPDATE device SET next_due_at = now() + interval '5 minutes' WHERE id = :id"
    scene.write("scheduler", wait, id=device_id)
    shown = scene.run("status").out.decode()
    (line,) = [line for line in shown.splitlines() if line.startswith("SUSPECT")]
    assert "core 1: 1 sections, it had 2" in line
    assert re.search(r"asked again in 4 min \d+ s", line)
    assert "`snapshots 'core 1' --aside`" in line
    checks = {check["part"]: check for check in json.loads(scene.run("doctor", "--json").out)["checks"]}
    assert checks["exports"]["well"]
    (each,) = checks["exports"]["each"]
    assert each.startswith("SUSPECT  core 1: 1 sections, it had 2; kept aside, asked again in ")
    scene.install.wiring.alarms("scheduler").alarm("export_suspect", f"device {device_id}", "core 1: 1 sections")
    told = scene.run("status").out.decode()
    assert "SUSPECT" not in told
    assert told.count("snapshots 'core 1' --aside") == 1


@pytest.mark.parametrize(
    ("code", "steps"),
    [
        ("identity_changed", ("`device replaced core-1`", "`device edit core-1 --host", "`device unblock core-1`")),
        ("ssh_downgraded", ("`device edit core-1 --legacy-ssh`", "`device replaced core-1`")),
        ("host_key_mismatch", ("`hostkey show core-1`", "`hostkey accept core-1`")),
        ("secrets_hidden", ("`backup core-1 --wait`", "`device edit core-1 --secrets omit`")),
        ("export_suspect", ("`backup core-1 --wait`", "`snapshots core-1 --aside`", "`device believe core-1`")),
        ("wrong_current", ()),
    ],
)
def test_an_alarm_of_a_device_says_what_to_do(scene: Scene, code: str, steps: tuple[str, ...]) -> None:
    """In `status` and in `doctor`, on one line each, with the commands for that very device."""
    device_id = scene.add()
    scene.install.wiring.alarms("scheduler").alarm(code, f"device {device_id}", "core-1: so it is")
    shown = scene.run("status").out.decode() + scene.run("doctor").out.decode()
    lines = [
        line
        for line in shown.splitlines()
        if re.match(rf" *ALARM [0-9]+  {code}  since [-0-9]+ [0-9:]+Z  core-1: so it is", line)
    ]
    assert len(lines) == 2
    assert all(step in line for line in lines for step in steps)


def test_a_deaf_process_is_told_with_what_to_do(scene: Scene) -> None:
    """`status` and `doctor` say in one line which it is, since when and what to do; the JSON has its last work."""
    wiring = scene.install.wiring
    wiring.processes("ingester").beat({}, ["ingest"])
    scene.write("ingester", "UPDATE process SET started_at = now() - interval '3 minutes'")
    canaries = wiring.canaries("scheduler")
    canaries.ask()
    scene.write("scheduler", "UPDATE queue_canary SET asked_at = now() - interval '3 minutes'")
    assert len(canaries.tell(deaf(canaries.hearing()))) == 1
    line = rf"the worker of ingest \(pid {os.getpid()} on .+\) lives, but .+ since [-0-9]+ [0-9:]+ UTC: restart it"
    assert re.search(rf"(?m)^ALARM [0-9]+  process_deaf .+{line}", scene.run("status").out.decode())
    checks = {check["part"]: check for check in json.loads(scene.run("doctor", "--json").out)["checks"]}
    assert "1 deaf" in checks["processes"]["finding"]
    assert re.search(line, checks["processes"]["remedy"])
    shown = json.loads(scene.run("status", "--json").out)["processes"]
    assert [(process["queues"], process["worked_at"]) for process in shown] == [(["ingest"], None)]


def test_a_blocked_device_shows_both_ways_out_of_another_serial_number(scene: Scene) -> None:
    """`device show` of it names what to do if the router was exchanged, and if it is the wrong one."""
    scene.block(scene.add(), "identity_changed")
    shown = scene.run("device", "show", "core-1").out.decode()
    assert "device replaced core-1" in shown
    assert "device edit core-1 --host" in shown


def test_a_database_that_is_away_is_one_line(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback, and an exit code that says a server does not answer."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/none")
    away = scene.run("status")
    assert (away.code, away.out) == (Exit.UNAVAILABLE, b"")
    assert away.err.count("\n") == 1


def test_without_an_install_it_says_what_to_do(scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing runs on the folder and nothing is configured: one line names both ways out."""
    monkeypatch.delenv("DATABASE_URL")
    lost = scene.run("--data-dir", str(tmp_path), "status")
    assert lost.code == Exit.SETTINGS
    assert "backupflow up" in lost.err
    assert "DATABASE_URL" in lost.err
    assert lost.err.count("\n") == 1
