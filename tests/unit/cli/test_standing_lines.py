"""What does not stand as it should, in lines: one for each, or one for many that have the same cause."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from backupflow.cli.asking import next_of
from backupflow.cli.standing_lines import EACH, alarm_lines, jump_host_lines, rotation_lines, suspended_lines
from backupflow.core.model import DeviceId, LoginOn, State, TenantId
from backupflow.core.overview import Alarm, Asked, DeviceState, JumpHostState, LoginState, Overview

NOW = datetime(2026, 11, 22, 2, 10, tzinfo=UTC)


def device(number: int, profile: str | None = "old", site: str | None = "north") -> DeviceState:
    """One of many."""
    return DeviceState(
        TenantId(UUID(int=1)), DeviceId(UUID(int=number)), f"core-{number}", "192.0.2.1", 22, "active", None, None, 0,
        timedelta(hours=1), NOW, None, None, NOW, 1, site=site, profile=profile,
    )  # fmt: skip


def alarm(number: int, code: str = "authentication_failed", scope: str | None = None) -> Alarm:
    """One of a device, or of something else."""
    whose = scope or f"device {UUID(int=number)}"
    return Alarm(number, code, whose, f"core-{number}: no", NOW - timedelta(minutes=number), None)


def seen(alarms: list[Alarm], devices: list[DeviceState]) -> list[str]:
    """The lines."""
    return alarm_lines(alarms, Overview(NOW, tuple(devices), tuple(alarms), ()))


def test_few_alarms_of_a_code_have_a_line_each() -> None:
    """With what mends each, at the profile."""
    numbers = range(1, EACH + 1)
    lines = seen([alarm(n) for n in numbers], [device(n) for n in numbers])
    assert len(lines) == EACH
    assert all("`credential edit old --ask-password`" in line for line in lines)
    assert all(line.endswith(" – docs/runbook/authentication_failed.md") for line in lines)


def test_many_of_a_code_have_a_line_for_each_cause() -> None:
    """Refused logins by profile; nothing of the others is lost in the crowd."""
    devices = [device(n) for n in range(1, 41)] + [device(n, None) for n in (50, 51)]
    alarms = [alarm(n) for n in (*range(1, 41), 50, 51)] + [alarm(60, "job_late", "job purge")]
    lines = seen(alarms, devices)
    shared, own, other = lines
    assert shared.startswith("ALARMS  authentication_failed  since 2026-11-22 01:30:00Z  40 devices with profile old: ")
    assert "and 34 more" in shared
    assert "`credential edit old --ask-password`" in shared
    assert "2 devices with login of their own" in own
    assert "credential edit" not in own
    assert other.startswith("ALARM 60  job_late")


def test_many_changed_keys_are_told_by_site() -> None:
    """A whole site at once is something else than one router here and there; a single one keeps its own line."""
    devices = [*(device(n) for n in range(1, 5)), device(5, site="south")]
    lines = seen([alarm(n, "host_key_mismatch") for n in range(1, 6)], devices)
    assert "4 devices at site north: core-1, core-2, core-3, core-4 – `hostkey pending --changed`" in lines[0]
    assert lines[1].startswith("ALARM 5  host_key_mismatch")
    assert len(lines) == 2


def test_a_suspended_login_says_how_much_stands_still_and_the_way_out() -> None:
    """One line for each profile."""
    still = [replace(device(n), hindrance="login suspended") for n in (1, 2)]
    old, new = (
        LoginState(UUID(int=7), "old", NOW, "by hand", None, 0, None),
        LoginState(UUID(int=8), "new", NOW, "by hand", None, 0, None),
    )
    lines = suspended_lines(Overview(NOW, (*still, device(3)), (), (), logins=(old, new)))
    assert len(lines) == 1
    assert lines[0].startswith("SUSPENDED  login old: 2 devices not collected")
    assert lines[0].endswith("`credential resume old` ends it – docs/runbook/suspended.md")


def test_a_jump_host_that_is_down_says_why_once() -> None:
    """Its name stands before what it says already."""
    hop = JumpHostState(UUID(int=9), "hop-1", None, NOW, NOW + timedelta(minutes=3), None, None, None, 4)
    raised = Alarm(1, "jump_host_unreachable", f"jump host {UUID(int=9)}", "hop-1: hop-1: no answer", NOW, None)
    assert jump_host_lines(Overview(NOW, (), (raised,), (), jump_hosts=(hop,))) == [
        (
            "JUMP HOST  hop-1 down since 2026-11-22 02:10:00Z (no answer), tried again in 3 min: 4 devices wait – "
            "`jump show hop-1` – docs/runbook/jump_host_unreachable.md"
        )
    ]


def test_a_login_that_is_rotated_says_how_far_it_is() -> None:
    """By what each device has taken last; of one that is not, nothing."""
    rotated = LoginState(UUID(int=7), "old", None, None, None, 0, NOW)
    devices = (*(replace(device(n), login_on=LoginOn.NEXT) for n in (1, 2)), device(3), device(4, "other"))
    lines = rotation_lines(Overview(NOW, devices, (), (), logins=(rotated, replace(rotated, next_changed_at=None))))
    assert lines == ["login old is being rotated since 2026-11-22 02:10:00Z: 2 on the new one, 1 on the old one"]


def test_devices_left_behind_by_a_login_that_works_do_not_cost_the_others_theirs() -> None:
    """One or many of them: what is told is to change them, not the login."""
    login = LoginState(UUID(int=7), "old", None, None, None, 0, None, taken=True)
    for count in (1, EACH + 1):
        numbers = range(1, count + 1)
        alarms = tuple(alarm(n) for n in numbers)
        lines = alarm_lines(alarms, Overview(NOW, tuple(device(n) for n in numbers), alarms, (), logins=(login,)))
        assert len(lines) == 1
        assert "credential edit" not in lines[0]
        assert "other devices take it: change it on" in lines[0]


def test_a_refused_try_of_a_suspended_login_names_the_login() -> None:
    """The device is not blocked: to unblock it would do nothing."""
    one = Asked(
        1, "r15", "taken", State.FAILED, "authentication_failed", None, None, 3, profile="old", suspended=True,
        tried=True,
    )  # fmt: skip
    step = next_of(one)
    assert step
    assert "unblock" not in step
    assert "`credential resume old`" in step
    by_hand = next_of(replace(one, tried=False))
    assert by_hand
    assert "`credential show old`" in by_hand
    assert "unblock" in (next_of(replace(one, blocked="authentication_failed")) or "")
