"""The verdict: each device is counted once, and what makes it is what docs/status.md says."""

# ruff: noqa: ANN401 - changes have values of any type

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.escrow import Escrow
from backupflow.core.model import DeviceId, LoginOn, State, TenantId
from backupflow.core.overview import (
    Alarm,
    Copies,
    DeviceState,
    LastCollection,
    LivingProcess,
    LoginState,
    Overview,
    Standing,
)
from backupflow.core.verdict import (
    CRITICAL_ALARMS,
    LOUD_ALARMS,
    NEEDED,
    SERVERS,
    Count,
    Level,
    Limits,
    Tally,
    counted_as,
    judge,
    judge_one,
    missing,
    of_devices,
    tally,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
STORED = LastCollection(3, State.STORED, None, "", NOW)
FAILED = replace(STORED, state=State.FAILED, code="device_timeout")
DEVICE = DeviceState(
    TenantId(UUID(int=1)), DeviceId(UUID(int=2)), "core-1", "192.0.2.1", 22, "active", None, None, 0, HOUR,
    NOW + HOUR, None, STORED, NOW - HOUR, 1, profile="radius",
)  # fmt: skip
NEVER: dict[str, Any] = {"last": None, "current_at": None}
OLD = NOW - 3 * HOUR
MINUTE = timedelta(minutes=1)
TURN: dict[str, Any] = {"last": replace(FAILED, code="authentication_failed"), "other_login_next": True}


def living(*without: str) -> tuple[LivingProcess, ...]:
    """One process of each role that is needed, but for some."""
    return tuple(
        LivingProcess(UUID(int=n), role, "host", n, {"collect": 10} if role == "collector" else {}, NOW, NOW)
        for n, role in enumerate(NEEDED)
        if role not in without
    )


def seen(*devices: DeviceState, **other: Any) -> Overview:
    """An install in which all else is well."""
    return Overview(NOW, devices, **{"alarms": (), "processes": living(), **other})


def copies(installed: timedelta, *escrows: Escrow, backup: timedelta | None = None) -> Copies:
    """So long ago."""
    return Copies(NOW, NOW - installed, None if backup is None else NOW - backup, escrows)


def escrow(written: timedelta | None, enabled: timedelta = 3 * DAY) -> Escrow:
    """Enabled and written so long ago."""
    at = None if written is None else NOW - written
    return Escrow(TenantId(UUID(int=1)), "default", ("age1",), None, "test", NOW - enabled, NOW, at, filed_at=at)


def alarm(code: str, scope: str = "claiming") -> Alarm:
    """One that stands."""
    return Alarm(1, code, scope, "", NOW, None)


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, Count.FRESH),
        ({"current_at": NOW - timedelta(minutes=75)}, Count.FRESH),  # its period, and what is no delay yet
        ({"current_at": NOW - timedelta(minutes=76)}, Count.STALE),
        ({"unreadable": True}, Count.UNREADABLE),  # as young as it may be
        ({"unreadable": True, "last": FAILED, "current_at": OLD}, Count.UNREADABLE),
        ({"unreadable": True, "hold_until": NOW + HOUR}, Count.UNREADABLE),  # that it will come is no copy yet
        ({"unreadable": True, "unreachable_since": NOW}, Count.OFFLINE),
        ({"last": FAILED}, Count.FRESH),  # one failure is nothing that somebody has to know
        ({"last": FAILED, "current_at": OLD}, Count.FAILING),
        ({"last": FAILED, "current_at": None}, Count.FAILING),
        (NEVER, Count.WAITING),
        (NEVER | {"last": replace(STORED, state=State.PUBLISHED)}, Count.WAITING),
        (NEVER | {"last": replace(STORED, state=State.PUBLISHED, at=OLD)}, Count.STALE),  # nobody stores it
        ({"last": replace(STORED, state=State.PUBLISHED), "current_at": OLD}, Count.STALE),
        ({"next_due_at": OLD}, Count.OVERDUE),
        ({"next_due_at": OLD, "maintenance_until": NOW + HOUR}, Count.MAINTENANCE),
        ({"next_due_at": OLD, "hold_until": NOW + HOUR}, Count.FRESH),  # kept away from for a while, on purpose
        ({"next_due_at": OLD, "hold_until": NOW + 3 * HOUR}, Count.OVERDUE),  # of a clock that stood wrong
        ({"current_at": OLD, "next_due_at": OLD, "hold_until": NOW + HOUR}, Count.HELD),
        ({"current_at": OLD, "next_due_at": OLD, "hold_until": NOW - 15 * MINUTE}, Count.HELD),  # what is no delay yet
        ({"current_at": OLD, "next_due_at": OLD, "hold_until": NOW - 16 * MINUTE}, Count.OVERDUE),
        ({"current_at": OLD, "hold_until": NOW - 16 * MINUTE}, Count.STALE),
        ({"current_at": OLD, "next_due_at": OLD, "hold_until": NOW + 3 * HOUR}, Count.OVERDUE),
        ({"last": FAILED, "current_at": OLD, "hold_until": NOW + HOUR}, Count.FAILING),
        (NEVER | {"next_due_at": OLD, "hold_until": NOW + HOUR}, Count.WAITING),
        (TURN, Count.FRESH),
        (TURN | {"current_at": OLD}, Count.FAILING),  # it was not well before, either
        (TURN | {"current_at": None}, Count.WAITING),
        (TURN | {"other_login_next": False, "current_at": None}, Count.FAILING),
        ({"unreachable_since": NOW}, Count.OFFLINE),
        ({"offline_since": NOW}, Count.OFFLINE),
        ({"site_down_since": NOW, "hindrance": "site down: north"}, Count.OFFLINE),
        ({"unreachable_since": NOW, "maintenance_until": NOW + HOUR, "hindrance": "maintenance"}, Count.MAINTENANCE),
        ({"maintenance_until": NOW}, Count.FRESH),  # it is over
        ({"waits_for": UUID(int=9), "next_due_at": NOW}, Count.BEHIND),
        ({"hindrance": "login refused: radius"}, Count.LOGIN),
        ({"hindrance": "login suspended", "unreachable_since": NOW}, Count.LOGIN),
        ({"hindrance": "no login"}, Count.NO_LOGIN),
        ({"blocked_code": "host_key_mismatch", "unreachable_since": NOW}, Count.BLOCKED),
        ({"status": "paused", "blocked_code": "host_key_mismatch"}, Count.PAUSED),
    ],
)
def test_a_device_is_counted_as_the_first_that_holds(changes: dict[str, Any], count: Count) -> None:
    """As docs/status.md has them."""
    assert counted_as(replace(DEVICE, **changes), NOW) is count


TIMES = st.none() | st.timedeltas(-5 * HOUR, 5 * HOUR).map(lambda span: NOW + span)
DEVICES = st.builds(
    replace,
    st.just(DEVICE),
    status=st.sampled_from(["active", "paused", "removed"]),
    hindrance=st.sampled_from(
        [None, "no login", "login refused: radius", "login suspended", "maintenance", "site down: north", "no keys"]
    ),
    blocked_code=st.none() | st.just("host_key_mismatch"),
    next_due_at=TIMES,
    claimed_at=TIMES,
    current_at=TIMES,
    last=st.none() | st.builds(replace, st.just(STORED), state=st.sampled_from(State), at=TIMES.filter(bool)),
    waits_for=st.none() | st.just(UUID(int=9)),
    site_down_since=TIMES,
    unreachable_since=TIMES,
    offline_since=TIMES,
    maintenance_until=TIMES,
    hold_until=TIMES,
    other_login_next=st.booleans(),
    unreadable=st.booleans(),
)


@given(st.lists(DEVICES))
def test_every_device_is_counted_once(devices: list[DeviceState]) -> None:
    """The sum is all that were not removed; what is fresh is so by its age, and nothing is in its way."""
    counted = tally(devices, NOW)
    there = [device for device in devices if device.status != "removed"]
    assert counted.total == sum(counted[count] for count in Count) == len(there)
    assert 0 <= counted.missing <= 100
    for device in there:
        if counted_as(device, NOW) is Count.FRESH:
            assert device.fresh(NOW)
            assert device.standing(NOW) in {Standing.OK, Standing.FAILING}


def test_a_login_that_has_its_turn_is_no_failure() -> None:
    """One of two was refused once, and the other one is sent within minutes: both are, before it fails."""
    turned = replace(DEVICE, **TURN)
    assert (turned.standing(NOW), turned.stands(NOW)) == (Standing.OK, "ok: the old login has its turn")
    on_next = replace(turned, login_on=LoginOn.NEXT, current_at=None)
    assert on_next.stands(NOW) == "waiting: the new login has its turn"
    assert replace(turned, last=FAILED).standing(NOW) is Standing.FAILING  # it has another trouble since


def test_a_held_device_is_due_when_it_is_not_held_any_more() -> None:
    """And at its own time, where that is later or nothing holds it."""
    for hold, due in ((HOUR, NOW + HOUR), (-HOUR, OLD), (3 * HOUR, OLD)):
        assert replace(DEVICE, next_due_at=OLD, hold_until=NOW + hold).due_at(NOW) == due
    assert replace(DEVICE, next_due_at=NOW + 2 * HOUR, hold_until=NOW + HOUR).due_at(NOW) == NOW + 2 * HOUR
    assert replace(DEVICE, next_due_at=None, hold_until=NOW + HOUR).due_at(NOW) is None


def test_a_held_device_is_no_trouble() -> None:
    """Neither for whoever asks about it alone nor among others: there is a time at which it is over."""
    held = replace(DEVICE, current_at=OLD, next_due_at=OLD, hold_until=NOW + HOUR)
    assert judge_one(held, NOW) is Level.OK
    assert judge(seen(held, DEVICE)).level is Level.OK
    assert judge_one(replace(held, hold_until=None), NOW) is Level.CRITICAL


@pytest.mark.parametrize(
    ("found", "level"),
    [
        (copies(7 * DAY), Level.OK),  # there was no time yet
        (copies(7 * DAY + MINUTE), Level.WARNING),
        (copies(90 * DAY, backup=7 * DAY), Level.OK),
        (copies(90 * DAY, backup=7 * DAY + MINUTE), Level.WARNING),
        (copies(90 * DAY, backup=-DAY), Level.OK),  # by a clock that stood ahead
        (copies(DAY, escrow(2 * DAY)), Level.OK),
        (copies(DAY, escrow(2 * DAY + MINUTE)), Level.WARNING),
        (copies(DAY, escrow(None, enabled=2 * DAY)), Level.OK),
        (copies(DAY, escrow(None, enabled=3 * DAY)), Level.WARNING),
        (copies(DAY, escrow(None), escrow(DAY), escrow(None)), Level.WARNING),
    ],
)
def test_what_would_be_missed_some_day_is_told_in_time(found: Copies, level: Level) -> None:
    """A backup of the system once a week, an escrow every other day: else a warning, with no device in trouble."""
    verdict = judge(seen(DEVICE, copies=found))
    assert (verdict.level, len(verdict.reasons)) == (level, int(level))


def documented() -> dict[str, str]:
    """What is found, and the verdict, from the table of the page."""
    page = (Path(__file__).resolve().parents[3] / "docs/status.md").read_text(encoding="utf-8")
    section = page.partition("## What makes which verdict")[2].partition("\n## ")[0]
    return dict(re.findall(r"(?m)^\| (.+?) \| (OK|WARNING|CRITICAL) \|$", section))


def of_a_hundred(count: int, **changes: Any) -> Overview:
    """So many of a hundred devices are as `changes` has them; of those that rest there are more, which do not count."""
    resting = [
        replace(DEVICE, status="paused"),
        replace(DEVICE, maintenance_until=NOW + HOUR),
        replace(DEVICE, **NEVER),
    ]
    bad, good = replace(DEVICE, **changes), DEVICE
    return seen(*resting * 10, *[bad] * count, *[good] * (100 - count))


REFUSED = LoginState(UUID(int=7), "radius", NOW, "30 of 40 devices refused it", NOW, 0, None)
GONE = {"unreachable_since": NOW}
SITUATIONS: Mapping[str, Overview] = {
    **{f"no {name} lives": seen(DEVICE, processes=living(role)) for role, name in NEEDED.items()},
    **{f"alarm `{code}`": seen(DEVICE, alarms=(alarm(code),)) for code in CRITICAL_ALARMS},
    **{f"alarm `{code}`": seen(DEVICE, alarms=(alarm(code, "device x"),)) for code in LOUD_ALARMS},
    "any other alarm of a device, a site, a login or a jump host": seen(
        DEVICE,
        alarms=tuple(alarm("any", f"{what} x") for what in ("device", "site", "login", "jump host")),
    ),
    "any other alarm": seen(DEVICE, alarms=(alarm("job_late", "job verify"),)),
    "a login that devices share is refused by many, or suspended": replace(
        of_a_hundred(1, hindrance="login refused: radius"), logins=(REFUSED,)
    ),
    "5 devices of a site are blocked within an hour since their host keys changed": of_a_hundred(
        5, blocked_code="host_key_mismatch", site="north", site_id=UUID(int=5)
    ),
    "one device is overdue": of_a_hundred(1, next_due_at=OLD),
    "the install is older than 7 days, and no backup of the system is younger": seen(DEVICE, copies=copies(8 * DAY)),
    "an escrow is enabled, and no file was written for 2 days": seen(DEVICE, copies=copies(DAY, escrow(3 * DAY))),
    "more than 50 % are overdue": of_a_hundred(51, next_due_at=OLD),
    "more than 10 % are not fresh": of_a_hundred(11, **GONE),
    "more than 50 % are not fresh": of_a_hundred(51, **GONE),
    "a site is down, and no more than 10 % are not fresh": of_a_hundred(10, site_down_since=NOW),
}


SLOW = LivingProcess(UUID(int=9), "collector", "host", 9, {"collect.slow": 2}, NOW, NOW, ("collect.slow",))
STATUS = replace(SLOW, slots={}, queues=("status",))
ENDING = replace(SLOW, slots={"collect": 0})


@pytest.mark.parametrize("one", [SLOW, STATUS, ENDING])
def test_a_collector_without_slots_of_the_normal_lane_is_none(one: LivingProcess) -> None:
    """Each install has one for slow devices beside it, with the same role: alone it collects next to nothing."""
    verdict = judge(seen(DEVICE, processes=(*living("collector"), one)))
    assert [(reason.level, reason.says) for reason in verdict.reasons] == [(Level.CRITICAL, "no collect worker lives")]
    assert missing((*living(), one), NOW) == ()


def test_the_page_has_each_situation() -> None:
    """None is left out, and none is described that there is not."""
    assert documented().keys() == SITUATIONS.keys()


@pytest.mark.parametrize("found", SITUATIONS)
def test_the_verdict_is_what_the_page_says(found: str) -> None:
    """For each row of its table; and whatever makes it is told first."""
    verdict = judge(SITUATIONS[found])
    assert verdict.level.name == documented()[found]
    assert [reason.level for reason in verdict.reasons] == sorted((one.level for one in verdict.reasons), reverse=True)


@pytest.mark.parametrize(("count", "level"), [(10, Level.OK), (11, Level.WARNING), (50, Level.WARNING)])
def test_no_single_router_changes_the_verdict(count: int, level: Level) -> None:
    """A tenth of a fleet is always down; those that are paused, in maintenance or new do not dilute it."""
    assert judge(of_a_hundred(count, **GONE)).level is level


def test_thresholds_may_be_others() -> None:
    """A smaller one for critical than for a warning counts too."""
    counted = Tally({Count.FRESH: 80, Count.OFFLINE: 20})
    assert [reason.level for reason in of_devices(counted, Limits(warn=20))] == []
    assert [reason.level for reason in of_devices(counted, Limits(warn=50, critical=19))] == [Level.CRITICAL]


def test_a_login_that_nobody_waits_for_is_no_reason() -> None:
    """It may have been suspended because it is used no more."""
    assert judge(seen(DEVICE, logins=(REFUSED,))).level is Level.OK


def test_what_is_over_is_no_reason() -> None:
    """An alarm that was cleared says nothing of now."""
    over = replace(alarm("vault_unavailable"), cleared_at=NOW)
    assert judge(seen(DEVICE, alarms=(over,))).level is Level.OK


def test_each_server_is_told_by_its_alarm_and_by_nobody_without_beat() -> None:
    """The database has just answered."""
    assert judge(seen()).servers == dict.fromkeys(SERVERS, "")
    sealed = seen(alarms=(alarm("vault_unavailable"), alarm("broker_unavailable", "emitting")))
    assert judge(sealed).servers == {
        "vault": "vault_unavailable", "bus": "", "broker": "broker_unavailable", "db": "",
    }  # fmt: skip
    silent = judge(seen(processes=living("scheduler"))).servers
    assert silent == dict.fromkeys(SERVERS, "unknown") | {"db": ""}


@pytest.mark.parametrize("apart", [False, True])
def test_changed_keys_are_many_only_at_one_site_and_at_once(*, apart: bool) -> None:
    """Four of it, five of five sites, or one a day are routers that somebody exchanged."""
    changed = replace(DEVICE, blocked_code="host_key_mismatch", site="north", site_id=UUID(int=5))
    days = [replace(changed, last=replace(STORED, at=NOW - n * 24 * HOUR)) for n in range(5)]
    sites = [replace(changed, site_id=UUID(int=n)) for n in range(1, 6)]
    assert judge(seen(*[DEVICE] * 100, *(days if apart else sites))).level is Level.OK
    assert judge(seen(*[DEVICE] * 100, *[changed] * 4)).level is Level.OK
    (reason,) = judge(seen(*[DEVICE] * 100, *[changed] * 5)).reasons
    assert reason.says == "5 changed host keys at north (maintenance, or interception)"
