"""When devices run, by command: cron expressions, maintenance, and what an act makes of the turns of many."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from backupflow.cli.exits import Exit
from backupflow.core.scopes import ScopeKind
from tests.integration.scene import export_text
from tests.integration.test_cli_scopes import audited, device, ok, place, placed, profile, shown

if TYPE_CHECKING:
    from tests.integration.scene import Scene

BERLIN = "0 2 * * * Europe/Berlin"


@pytest.fixture
def north(scene: Scene) -> Scene:
    """Three devices at a site."""
    profile(scene)
    place(scene, ScopeKind.SITE, "north")
    for number in range(1, 4):
        placed(scene, f"r-{number}", f"192.0.2.{number}", site="north")
    return scene


def now(scene: Scene) -> datetime:
    """PostgreSQL's time."""
    at: datetime = scene.rows("SELECT now() AS now")[0].now
    return at


def test_the_nearest_scope_says_when(north: Scene) -> None:
    """An expression stands over a wider interval, an interval over a wider expression; unset, what is above holds."""
    ok(north, "tenant", "edit", "default", "--interval", "2h")
    said = ok(north, "site", "edit", "north", "--cron", f" {BERLIN} ").out.decode()
    assert "3 devices" in said
    assert "nobody knows yet how long they take" in said
    times = said.splitlines()[1]
    assert times.startswith("times: ")
    assert times.count(" 02:00 CE") == 3
    assert shown(north, "device", "show", "r-1")["effective"]["cron"] == {"value": BERLIN, "from": "site north"}
    assert "interval_seconds" not in device(north).effective
    assert f"{BERLIN} (site north)" in ok(north, "device", "show", "r-1").out.decode()
    assert device(north).interval == timedelta(days=1)
    ok(north, "device", "edit", "r-1", "--interval", "30m")
    assert (device(north).cron, device(north).interval) == (None, timedelta(minutes=30))
    ok(north, "device", "edit", "r-1", "--cron", "0 3 * * *")
    assert device(north).settings == {"cron": "0 3 * * *"}
    ok(north, "device", "edit", "r-1", "--unset", "cron")
    assert str(device(north).cron) == BERLIN
    ok(north, "site", "edit", "north", "--interval", "4h")
    assert device(north).interval == timedelta(hours=4)
    ok(north, "site", "edit", "north", "--unset", "interval")
    assert device(north).interval == timedelta(hours=2)


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--cron", "0 25 * * *"), Exit.DATA, "'25' is no hour (0-23)"),
        (("--cron", "0 2 * * * Berlin"), Exit.DATA, "'Berlin' is none such as Europe/Berlin"),
        (("--cron", "hourly"), Exit.DATA, "five words are wanted"),
        (("--cron", "0 0 30 2 *"), Exit.DATA, "day '30' never comes in month '2'"),
        (("--cron", "0 2 * * *", "--interval", "1h"), Exit.USAGE, "--interval or --cron, not both"),
        (("--cron", ""), Exit.USAGE, "--unset cron"),
        (("--maintenance", "never"), Exit.DATA, "no window such as sat,sun 01:00-05:00"),
        (("--maintenance", "xyz 01:00-02:00"), Exit.DATA, "'xyz' is no day"),
    ],
)
def test_what_is_no_timetable_is_refused_by_its_place(
    north: Scene, options: tuple[str, ...], code: Exit, says: str
) -> None:
    """One line names the word that is wrong, and nothing is written."""
    before = audited(north)
    for command in (("device", "edit", "r-1"), ("site", "edit", "north"), ("tenant", "edit", "default")):
        refused = north.run(*command, *options)
        assert (refused.code, says in " ".join(refused.err.split()).replace("│ ", "")) == (code, True), refused.err
    assert audited(north) == before


def test_many_are_told_with_what_they_ask_of_the_workers(north: Scene) -> None:
    """How many follow, how many of them at once, and whether the slots suffice; the same as JSON."""
    north.observe(device(north).device_id, export_text("a"))
    north.write("collector", "UPDATE collection SET started_at = now() - interval '5 hours'")
    north.write("enroller", "UPDATE device SET next_due_at = now() + interval '1 hour'")
    said = shown(north, "device", "edit", "--in-site", "north", "--interval", "1h", "--yes")
    told = {"devices": 3, "due_now": 1, "within_seconds": 1800, "needs_slots": 15, "slots": 0}
    assert (said["changed"], said["rescheduled"]) == (3, told)
    words = ok(north, "site", "edit", "north", "--interval", "2h").out.decode()
    assert words == "site north edited\n"  # each of them says so itself
    words = ok(north, "device", "edit", "--in-site", "north", "--unset", "interval", "--yes").out.decode()
    assert words == "3 edited; 3 devices; 1 due now; needs 8 of 0 slots\n"
    again = shown(north, "device", "edit", "--in-site", "north", "--interval", "2h", "--yes")
    assert "rescheduled" not in again


def test_a_device_begins_with_its_expression(north: Scene) -> None:
    """It is met soon after it was added, as any other; its next turns are those of the expression."""
    out = ok(north, "device", "add", "r-9", "192.0.2.9", "--profile", "routers", "--cron", BERLIN).out.decode()
    assert "times: " in out
    found = device(north, "r-9")
    assert found.next_due_at is not None
    assert found.next_due_at - found.now <= timedelta(minutes=5)


@pytest.mark.parametrize("kind", ["device", "site", "group", "tenant"])
def test_maintenance_by_hand_is_audited_and_ends(north: Scene, kind: str) -> None:
    """Till a time, for a while, and over; each one act on record."""
    ok(north, "group", "add", "core")
    ok(north, "device", "edit", "r-1", "--group", "core")
    name = {"device": "r-1", "site": "north", "group": "core", "tenant": "default"}[kind]
    before = len(audited(north))
    said = ok(north, kind, "maintenance", name, "--for", "2h").out.decode()
    assert "is in maintenance until" in said
    until = device(north).maintenance_until
    assert until is not None
    assert timedelta(minutes=119) < until - now(north) <= timedelta(hours=2)
    assert "in maintenance" in ok(north, kind, "show", name).out.decode()
    ok(north, kind, "maintenance", name, "--until", "05:00 Europe/Berlin")
    until = device(north).maintenance_until
    assert until is not None
    assert until.astimezone(UTC).minute == 0
    assert "not in maintenance any more" in ok(north, kind, "maintenance", name, "--end").out.decode()
    assert device(north).maintenance_until is None
    assert "nothing to do" in ok(north, kind, "maintenance", name, "--end").out.decode()
    assert audited(north)[before:] == [f"{kind}_maintenance"] * 3


@pytest.mark.parametrize(
    "options", [(), ("--for", "2h", "--end"), ("--for", "32d"), ("--until", "2020-01-01T00:00Z"), ("--until", "soon")]
)
def test_a_maintenance_without_an_end_is_refused(north: Scene, options: tuple[str, ...]) -> None:
    """What rests for longer than a month is paused, and has a reason."""
    assert north.run("site", "maintenance", "north", *options).code in {Exit.USAGE, Exit.DATA}
    assert device(north).maintenance_until is None


def test_a_device_does_not_end_what_its_site_began(north: Scene) -> None:
    """The line says who did."""
    ok(north, "site", "maintenance", "north", "--for", "2h")
    refused = north.run("device", "maintenance", "r-1", "--end")
    assert (refused.code, "its group, site or tenant" in refused.err) == (Exit.REFUSED, True)


def test_windows_are_a_setting_of_every_scope(north: Scene) -> None:
    """They add up, and go with --unset."""
    ok(
        north,
        "site",
        "edit",
        "north",
        "--maintenance",
        "sat,sun 01:00-05:00 Europe/Berlin",
        "--maintenance",
        "mon 3:00-4:00",
    )
    ok(north, "device", "edit", "r-1", "--maintenance", "daily 23:00-01:00")
    value, origin = device(north).effective["maintenance"]
    assert value == ["sat,sun 01:00-05:00 Europe/Berlin", "mon 3:00-4:00", "daily 23:00-01:00"]
    assert origin == "site north, device"
    assert "daily 23:00-01:00" in ok(north, "device", "show", "r-1").out.decode()
    ok(north, "site", "edit", "north", "--unset", "maintenance")
    assert device(north).effective["maintenance"] == (["daily 23:00-01:00"], "device")


def test_an_import_sets_expressions(north: Scene, tmp_path: Any) -> None:  # noqa: ANN401
    """The column `cron`; in place of an interval that was said before, and unchanged when it is imported again."""
    ok(north, "device", "edit", "r-1", "--interval", "30m")
    file = tmp_path / "fleet.csv"
    file.write_text(f"name,cron\nr-1,{BERLIN}\nr-2,\n", encoding="utf-8")
    done = json.loads(ok(north, "device", "import", str(file), "--update", "--json").out)
    assert [one["name"] for one in done["changed"]] == ["r-1"]
    assert device(north).settings == {"cron": BERLIN}
    again = json.loads(ok(north, "device", "import", str(file), "--update", "--json").out)
    assert again["changed"] == []
