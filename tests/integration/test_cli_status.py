"""`status`, `backup`, `alarm`, `doctor` and finding the install."""

from __future__ import annotations

import json
import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from backupflow.cli.exits import Exit
from backupflow.core.liveness import deaf
from tests.integration.scene import export_text

if TYPE_CHECKING:
    from pathlib import Path

    from backupflow.core.model import DeviceId
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
    (step,) = re.findall(r"what next +(.+)", scene.run("device", "show", "failing").out.decode())
    assert "by itself" in step
    assert step.endswith("at once with `backup failing --wait` – docs/runbook/device_timeout.md")


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


def test_why_it_is_paused_is_told_wherever_that_is_in_the_way(scene: Scene) -> None:
    """By a check of it, by the list of all, and by a backup that is refused for it."""
    why = "the site is being rebuilt until the end of May"
    scene.add()
    scene.run("device", "pause", "core-1", "--reason", why)
    assert why in scene.run("check", "--device", "core-1").out.decode()
    assert f"paused: {why}" in scene.run("status", "--all").out.decode()
    refuses = """CREATE FUNCTION refuses() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.answered_at := now(); NEW.answer := 'refused: paused'; RETURN NEW; END $$"""
    scene.write("migrator", "GRANT CREATE ON SCHEMA public TO backupflow_migrator")
    scene.write("migrator", refuses)
    scene.write("migrator", "CREATE TRIGGER beat BEFORE INSERT ON request FOR EACH ROW EXECUTE FUNCTION refuses()")
    said = scene.run("backup", "core-1", "--wait").out.decode()
    assert f"locked – paused: {why}; `device resume core-1`" in said


def test_who_is_kept_away_from_is_named_and_due_at_the_end_of_it(scene: Scene) -> None:
    """It is neither overdue nor stale meanwhile, and a check of it says why it is as old as it is."""
    scene.observe(scene.add(), export_text("x"))
    scene.write("migrator", "UPDATE collection SET collected_at = now() - interval '3 days'")
    held = "UPDATE device SET hold_until = now() + interval '50 minutes', next_due_at = now() - interval '1 hour'"
    scene.write("operator", held)
    shown = scene.run("status", "--all").out.decode()
    assert re.search(r"fear of their firewalls: 1 device, the last until [-0-9: ]+Z: core-1\n", shown)
    assert re.search(r"core-1 .+ 49 min \d+ s\n", shown)
    assert ("STALE" in shown, "OVERDUE" in shown, "1 held" in shown) == (False, False, True)
    checked = scene.run("check", "--device", "core-1")
    assert (checked.code, b"core-1 held, nobody comes by himself before" in checked.out) == (0, True)


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
    assert listed.out.endswith(b" docs/runbook/quarantine.md\n")
    number = json.loads(scene.run("alarm", "list", "--json").out)["alarms"][0]["number"]
    assert scene.run("alarm", "clear", str(number)).code == Exit.OK
    assert scene.run("alarm", "clear", str(number)).code == Exit.NOT_FOUND
    assert json.loads(scene.run("alarm", "list", "--json").out)["alarms"] == []
    assert len(scene.rows("SELECT 1 FROM audit WHERE action = 'alarm_cleared'")) == 1


def test_the_jobs_say_when_all_of_them_was_done(scene: Scene) -> None:
    """And how they ended last; one that is late is wrong, until it is done."""
    assert (
        "done completely: compact not yet, escrow not yet, reconcile not yet, renormalize not yet, retain not yet, "
        "verify not yet, watch not yet" in scene.run("status", "--all").out.decode()
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
        "events",
    }
    assert "REDIS_URL" in checks["broker"]["remedy"]
    assert "NATS_URL" in checks["NATS"]["remedy"]
    assert "a collect worker" in checks["processes"]["remedy"]


def test_doctor_takes_nobody_for_a_collect_worker_who_only_looks(scene: Scene) -> None:
    """The process that looks whether devices answer has a collector's logins, and collects nothing."""
    wiring = scene.install.wiring
    wiring.processes("collector").beat({}, ["status"])
    checks = {check["part"]: check for check in json.loads(scene.run("doctor", "--json").out)["checks"]}
    assert "1 status" in checks["processes"]["finding"]
    assert "a collect worker" in checks["processes"]["remedy"]
    wiring.processes("collector").beat({"collect": 2}, ["collect", "collect.now"])
    checks = {check["part"]: check for check in json.loads(scene.run("doctor", "--json").out)["checks"]}
    assert "a collect worker" not in checks["processes"]["remedy"]


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


LIVING = """INSERT INTO process (id, role, host, pid, slots) SELECT gen_random_uuid(), role, 'h', 1,
    CASE role WHEN 'collector' THEN '{"collect": 10}'::jsonb ELSE '{}'::jsonb END
    FROM unnest(ARRAY['scheduler', 'collector', 'ingester', 'operator']) role"""
SITE = "INSERT INTO site (tenant_id, name) SELECT id, :name FROM tenant"
AT_SITE = "UPDATE device SET site_id = (SELECT id FROM site WHERE name = :name) WHERE id = :id"


def fleet(scene: Scene, count: int, name: str = "north") -> list[DeviceId]:
    """So many devices at a site, of which one observation is stored; all processes live."""
    scene.write("scheduler", LIVING)
    scene.write("enroller", SITE, name=name)
    ids = [scene.add(f"core-{number}", f"192.0.2.{number}") for number in range(count)]
    for device_id in ids:
        scene.write("enroller", AT_SITE, name=name, id=device_id)
        scene.observe(device_id, export_text("x"))
    return ids


def went_away(scene: Scene, device_id: DeviceId) -> None:
    """It did not answer, three times."""
    away = "UPDATE device SET unreachable_since = now() - interval '1 hour', failures = 3 WHERE id = :id"
    scene.write("collector", away, id=device_id)


def test_the_first_line_is_the_verdict_and_so_is_the_exit_code(scene: Scene) -> None:
    """Well: one line and nothing else; then what is wrong, and 1; without a beat 2."""
    ids = fleet(scene, 4)
    scene.write("migrator", "INSERT INTO system_backup (made_by, revision, bytes) VALUES ('test', '0007', 1)")
    well = scene.run("status")
    (line,) = well.out.decode().splitlines()
    assert well.code == 0
    start = "OK 4 of 4 fresh · 0 offline · 0 blocked · 0 paused · 0 overdue · round "
    assert re.fullmatch(rf"{start}.+, 1 of 10 slots · vault bus broker db ok", line)
    went_away(scene, ids[0])
    ill = scene.run("status")
    first, *problems = ill.out.decode().splitlines()
    assert ill.code == 1
    assert first.startswith("WARNING: 25 % not fresh · 3 of 4 fresh · 1 offline · 0 blocked")
    (problem,) = problems
    assert re.fullmatch(r"OFFLINE  since \S+ \S+  core-0 at site north – `device show core-0`.*", problem)
    scene.write("scheduler", "DELETE FROM process WHERE role = 'scheduler'")
    dead = scene.run("status", "--json")
    assert dead.code == 2
    summary = json.loads(dead.out)["summary"]
    assert (summary["verdict"], summary["exit_code"], summary["line"][:8]) == ("critical", 2, "CRITICAL")
    assert summary["servers"] == {"vault": "unknown", "bus": "unknown", "broker": "unknown", "db": "ok"}
    assert (summary["counted"]["fresh"], summary["counted"]["offline"], summary["total"]) == (3, 1, 4)


def test_what_is_wrong_is_told_by_reason_and_site_the_largest_first(scene: Scene) -> None:
    """A site that is down, a login that waits, and a limit that holds everything back have a line each."""
    ids = fleet(scene, 5)
    scene.write("migrator", "INSERT INTO system_backup (made_by, revision, bytes) VALUES ('test', '0007', 1)")
    alone = scene.add("alone", "192.0.2.100")
    scene.write("migrator", "UPDATE site SET down_since = now() - interval '3 days', probe_at = now()")
    went_away(scene, alone)
    scene.install.wiring.alarms("scheduler").alarm("device_down", f"device {alone}", "alone: no answer")
    shown = scene.run("status").out.decode().splitlines()
    assert "5 offline (north down 3 d: 5)" not in shown[0]
    assert "6 offline (north down 3 d: 5)" in shown[0]
    assert re.fullmatch(
        r"SITE DOWN  north since \S+ \S+: 5 devices wait, one of them is asked again now – "
        r"`backup core-\d --wait` tries one now, `device list --site north` – docs/runbook/site_down\.md",
        shown[1],
    )
    assert [line.split("  ")[0] for line in shown[1:]] == ["SITE DOWN", "OFFLINE"]
    assert re.search(r"  alone, alarm \d+ device_down – `device show alone`", shown[2])
    busy = "UPDATE collection SET started_at = collected_at - interval '1 hour'"
    scene.write("collector", busy)
    scene.write("enroller", "UPDATE site SET settings = jsonb_build_object('concurrency', 1, 'interval_seconds', 600)")
    lines = scene.run("status").out.decode().splitlines()
    assert lines[1].startswith("CAPACITY  needs 31 of 10 slots: raise CONFIG_BACKUP_MAX_CONCURRENT")
    assert lines[2].startswith(
        "CAPACITY  site north needs 30.0 sessions at a time, its concurrency allows 1 – `site edit"
    )
    assert scene.run("status", "--all").out.decode().count("core-") >= len(ids)


def test_a_check_is_one_line_with_figures(scene: Scene) -> None:
    """As the guidelines of monitoring plugins have it: every device in one of the figures, and their sum is all."""
    ids = fleet(scene, 4)
    well = scene.run("check")
    assert (well.code, well.err) == (0, "")
    text, figures = plugin(well.out)
    assert text.startswith("BACKUPFLOW OK - 4 of 4 fresh, 0 offline, 0 blocked, 0 paused, 0 overdue, round ")
    assert figures["fresh"] == "4;;;0;4"
    assert figures["not_fresh"] == "0.00%;10;50;0;100"
    went_away(scene, ids[0])
    text, figures = plugin((ill := scene.run("check", "-w", "20", "-c", "24.5")).out)
    assert ill.code == 2
    assert text.startswith("BACKUPFLOW CRITICAL - 25 % not fresh, 3 of 4 fresh, 1 offline")
    assert figures["not_fresh"] == "25.00%;20;24.5;0;100"
    assert sum(int(value.partition(";")[0]) for label, value in figures.items() if label != "not_fresh") == 4
    assert scene.run("check", "-w", "25").code == 0


def test_a_check_of_a_part_judges_that_alone(scene: Scene) -> None:
    """Of a site, and of one device: a warning as long as what there is of it is fresh, then worse."""
    ids = fleet(scene, 2)
    scene.write("enroller", SITE, name="south")
    scene.write("scheduler", "DELETE FROM process")
    assert [scene.run("check", *part).code for part in ((), ("--site", "north"), ("--site", "south"))] == [2, 0, 0]
    assert scene.run("check", "--device", "core-0").code == 0
    went_away(scene, ids[0])
    text, figures = plugin((away := scene.run("check", "--device", "core-0")).out)
    assert (away.code, text.startswith("BACKUPFLOW WARNING - core-0 offline, newest ")) == (1, True)
    assert re.fullmatch(r"\d+s;;23760;0", figures["age"])  # six hours and a tenth
    scene.write("collector", "UPDATE collection SET collected_at = now() - interval '7 hours'")
    assert scene.run("check", "--device", "core-0").code == 2
    assert scene.run("check", "--device", "core-1").code == 2  # nothing is in its way, and nobody has collected it
    assert scene.run("check", "--site", "north").code == 2


def plugin(out: bytes) -> tuple[str, dict[str, str]]:
    """The text and the figures of a plugin's one line."""
    (line,) = out.decode().splitlines()
    text, bar, figures = line.partition(" | ")
    assert bar
    assert "|" not in figures
    parsed = [re.fullmatch(r"([a-z_]{1,19})=((-?[0-9.]+)(s|%)?(;[0-9.]*){0,4})", one) for one in figures.split(" ")]
    assert None not in parsed
    return text, {found[1]: found[2] for found in parsed if found}


def test_a_name_cannot_forge_the_line_of_a_check(scene: Scene) -> None:
    """No bar, no line of its own, nothing that a terminal obeys."""
    device_id = fleet(scene, 1)[0]
    hostile = "x | fresh=9999\n\x1b]0;owned\x07BACKUPFLOW OK"
    scene.write("enroller", "UPDATE device SET name = :name WHERE id = :id", name=hostile, id=device_id)
    scene.write("enroller", "UPDATE site SET name = :name", name=hostile)
    went_away(scene, device_id)
    scene.write("migrator", "UPDATE site SET down_since = now()")
    for words in (("check",), ("check", "--device", hostile), ("check", "--site", hostile)):
        said = scene.run(*words).out
        text, figures = plugin(said)
        assert figures.get("fresh", "0;;;0;1") == "0;;;0;1"
        assert all(c.isprintable() for c in text)
        assert text.count("BACKUPFLOW") <= 2
        assert not text.startswith("BACKUPFLOW OK")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--device", "nobody"), "nobody"),
        (("--site", "nowhere"), "nowhere"),
        (("--device", "a", "--site", "b"), "one of --device, --site and --group"),
        (("--nonsense",), "--nonsense"),
        (("-w", "many"), "--warning"),
    ],
)
def test_a_check_that_cannot_tell_is_unknown(scene: Scene, words: tuple[str, ...], says: str) -> None:
    """Code 3 and one line on stdout, whatever was wrong: any other code would be a state of the service."""
    ran = scene.run("check", *words)
    assert (ran.code, ran.err) == (3, "")
    (line,) = ran.out.decode().splitlines()
    assert line.startswith("BACKUPFLOW UNKNOWN - ")
    assert says in line


def test_a_check_without_its_database_is_unknown(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one whose defect nobody foresaw; neither ends in a traceback."""
    with monkeypatch.context() as changed:
        changed.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/none")
        away = scene.run("check")
    assert (away.code, away.out[:21], away.out.count(b"\n"), away.err) == (3, b"BACKUPFLOW UNKNOWN - ", 1, "")
    monkeypatch.setattr("backupflow.cli.nagios.judge", lambda *_: 1 // 0)
    defect = scene.run("check")
    assert (defect.code, defect.out) == (3, b"BACKUPFLOW UNKNOWN - unexpected: ZeroDivisionError\n")


def test_a_check_that_hangs_says_so_in_time(scene: Scene) -> None:
    """Somebody holds what it wants to read: it gives up by itself, before it is killed and says nothing."""
    with scene.install.wiring.engine("migrator").begin() as tx:
        tx.execute(text("LOCK TABLE device"))
        ran = scene.run("check", "-t", "1")
    assert (ran.code, ran.out) == (3, b"BACKUPFLOW UNKNOWN - no answer within 1 s\n")


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
    assert lost.code == Exit.UNAVAILABLE
    assert "backupflow up" in lost.err
    assert "DATABASE_URL" in lost.err
    assert lost.err.count("\n") == 1
