"""What `status` says of jump hosts: a line for each in trouble, and none for its devices."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import typer

from backupflow.cli.options import interval_seconds
from backupflow.cli.problem_lines import problems
from backupflow.cli.standing_lines import jump_host_lines
from backupflow.cli.status_document import document
from backupflow.cli.status_watch import UNKNOWN, Seen
from backupflow.core.model import DeviceId, LoginOn, State, TenantId
from backupflow.core.overview import (
    Alarm,
    Backlog,
    DeviceState,
    JumpHostState,
    LastCollection,
    LoginState,
    Overview,
    SiteState,
)
from backupflow.errors import StoreUnavailable

NOW = datetime(2026, 11, 22, 2, 10, tzinfo=UTC)
WELL: dict[str, Any] = {
    "jump_host_id": UUID(int=9), "name": "hop-1", "hindrance": None, "down_since": None, "retry_at": None,
    "blocked_code": None, "blocked_detail": None, "reached_at": NOW, "waiting": 450,
}  # fmt: skip
DOWN = {"down_since": NOW - timedelta(minutes=4)}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            DOWN | {"retry_at": NOW + timedelta(minutes=3)},
            "hop-1 down since 2026-11-22 02:06:00Z, tried again in 3 min: 450 devices wait",
        ),
        (
            DOWN | {"retry_at": NOW - timedelta(minutes=1), "waiting": 1},
            "hop-1 down since 2026-11-22 02:06:00Z, tried again by the next of them: 1 device waits",
        ),
        (
            DOWN | {"blocked_code": "authentication_failed", "blocked_detail": "no \x1b[2Jmore"},
            "hop-1 blocked since 2026-11-22 02:06:00Z, authentication_failed: no \\x1b[2Jmore: 450 devices wait",
        ),
        ({"hindrance": "jump host login suspended"}, "hop-1: jump host login suspended: 450 devices wait"),
    ],
)
def test_a_jump_host_in_trouble_has_one_line(changes: dict[str, Any], line: str) -> None:
    """Since when, when it is tried again or why it is not, and for how many devices that is so."""
    code = "jump_host_blocked" if "blocked_code" in changes else "jump_host_unreachable"
    page = "" if "hindrance" in changes else f" – docs/runbook/{code}.md"
    assert jump_host_lines(overview(changes)) == [f"JUMP HOST  {line} – `jump show hop-1`{page}"]


def overview(changes: dict[str, Any]) -> Overview:
    """An install with one jump host."""
    return Overview(NOW, (), (), (), jump_hosts=(JumpHostState(**(WELL | changes)),))


def test_a_jump_host_that_is_well_has_none() -> None:
    """In JSON all of them are there, and for none that is well anything waits."""
    assert jump_host_lines(overview({})) == []
    assert document(overview({}))["jump_hosts"][0]["waiting"] == 0
    assert document(overview(DOWN))["jump_hosts"][0]["waiting"] == 450


def test_changes_that_wait_to_be_interpreted_have_one_line() -> None:
    """How many, and since when: what is stored is safe, but nobody is told of it."""
    late = replace(overview({}), backlog=Backlog(1200, NOW - timedelta(hours=3)))
    (line,) = (one for one in problems(late) if one.startswith("INTERPRETING LATE"))
    assert "1,200 changes are not interpreted yet, stored up to 3 h ago" in line
    assert document(late)["not_interpreted"] == {"changes": 1200, "oldest_stored_at": NOW - timedelta(hours=3)}
    assert not [one for one in problems(overview({})) if one.startswith("INTERPRETING")]
    assert document(overview({}))["not_interpreted"] is None


def test_what_everything_hangs_on_has_the_first_lines() -> None:
    """A verdict that nothing below explains helps nobody: each of its gravest reasons has a line with a way out."""
    site = SiteState(UUID(int=5), "South", NOW - timedelta(hours=1), None, None)
    devices = tuple(
        DeviceState(
            TenantId(UUID(int=1)), DeviceId(UUID(int=n)), f"r {n}", "192.0.2.1", 22, "active", None, None, 0,
            timedelta(hours=1), NOW, None, None, NOW, 1, site="South", site_id=site.site_id, site_down_since=NOW,
            answered_at=NOW - timedelta(hours=n),
        )
        for n in (2, 1, 3)
    )  # fmt: skip
    alarm = Alarm(1, "bus_unavailable", "bus", "gone", NOW, None)
    first, *others, bus, down = problems(Overview(NOW, devices, (alarm,), (), sites=(site,)))
    assert first == "NOT ALIVE  no beat lives – start `backupflow up`, or see `doctor`"
    assert len(others) == 3
    assert bus.endswith("gone – docs/runbook/bus_unavailable.md")
    assert "`backup 'r 1' --wait` tries one now" in down


def test_a_watched_screen_says_of_when_it_is_and_what_is_old() -> None:
    """Where the database is gone, the last look stays and is told from a new one; the exit code is of the last one."""
    times = iter([NOW, NOW, NOW + timedelta(seconds=30)])
    looks = iter([(["WARNING 1", "more"], 1)])

    def look() -> tuple[list[str], int]:
        found = next(looks, None)
        if found is None:
            raise StoreUnavailable
        return found

    seen = Seen(look, lambda: next(times))
    assert seen.now() == ["WARNING 1", "as of 02:10:00Z · q ends", "more"]
    assert seen.code == 1
    unknown, *rest = seen.now()
    assert unknown.startswith("UNKNOWN: ")
    assert rest == ["WARNING 1", "as of 02:10:00Z · OLD, 30 s ago · q ends", "more"]
    assert seen.code == UNKNOWN


def test_no_interval_at_all_is_a_pause() -> None:
    """A unit would not help it."""
    with pytest.raises(typer.BadParameter, match="device pause"):
        interval_seconds("0")


def test_a_site_in_maintenance_has_the_last_line() -> None:
    """As long as it is; it is no trouble."""
    site = SiteState(UUID(int=5), "South", None, None, NOW + timedelta(hours=2))
    over = SiteState(UUID(int=6), "North", None, None, NOW)
    *_, last = found = problems(Overview(NOW, (), (), (), sites=(site, over)))
    assert last == "maintenance: site South until 2026-11-22 04:10:00Z"
    assert len([line for line in found if "maintenance" in line]) == 1


def turned(number: int, due_at: datetime) -> DeviceState:
    """A device that refused the old login a moment ago, and was not well before."""
    last = LastCollection(3, State.FAILED, "authentication_failed", None, NOW)
    return DeviceState(
        TenantId(UUID(int=1)), DeviceId(UUID(int=number)), f"r-{number}", "192.0.2.1", 22, "active", None, None, 0,
        timedelta(hours=6), due_at, None, last, NOW - timedelta(days=1), 1, profile="fleet", other_login_next=True,
        login_on=LoginOn.NEXT,
    )  # fmt: skip


def test_nobody_is_sent_to_a_router_of_which_the_other_login_has_its_turn() -> None:
    """One or many of them: nothing is to be done, and that is said with the time."""
    soon, later = NOW + timedelta(minutes=6), NOW + timedelta(hours=1)
    taken = LoginState(UUID(int=7), "fleet", None, None, None, 0, NOW, taken=True)
    for devices, says in (
        ((turned(1, soon),), "nothing is to be done: the new login is sent by itself at 2026-11-22 02:16:00Z"),
        ((turned(1, soon), turned(2, later)), "sent to each by itself, the last at 2026-11-22 03:10:00Z"),
    ):
        (line,) = (one for one in problems(Overview(NOW, devices, (), (), logins=(taken,))) if "FAILING" in one)
        assert says in line
        assert "unblock" not in line
