"""What a person is told to do about one device."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backupflow.core.model import LoginOn
from backupflow.core.next_step import (
    _MANY,
    _SHARED,
    _STEPS,
    Refused,
    Turn,
    after_refusal,
    hindered,
    next_step,
    step_for_many,
)
from tests.unit.test_pages import complaint, spans


@pytest.mark.parametrize("code", _STEPS)
def test_each_command_of_a_step_can_be_typed(code: str) -> None:
    """Whoever copies it at night must not find that it is none of ours; a name with a blank is quoted."""
    step = next_step(code, "core 1")
    assert step
    commands = [span for span in spans(step) if not span.startswith("/")]
    assert commands
    assert [why for line in commands if (why := complaint(line))] == []
    assert all("'core 1'" in line for line in commands)


def test_a_fall_back_to_sha1_is_no_matter_of_another_key() -> None:
    """None was seen: there is none to accept; and for another key, SHA-1 must not be allowed by mistake."""
    fell_back, other_key = (next_step(code, "core-1") for code in ("ssh_downgraded", "host_key_mismatch"))
    assert fell_back
    assert other_key
    assert "hostkey accept" not in fell_back
    assert "`device edit core-1 --legacy-ssh`" in fell_back
    assert "`device replaced core-1`" in fell_back
    assert "--legacy-ssh" not in other_key


def test_what_is_in_doubt_is_looked_at_before_it_is_believed() -> None:
    """An operator's word for an export that nobody has seen would be worth nothing."""
    step = next_step("export_suspect", "core-1")
    assert step
    looks = (step.index("`snapshots core-1 --aside`"), step.index("`export core-1 --aside`"))
    assert max(looks) < step.index("`device believe core-1`")


def test_a_code_of_nobodys_has_no_step() -> None:
    """Its own message says what to do."""
    assert next_step("device_timeout", "core-1") is None
    assert next_step(None, "core-1") is None


@pytest.mark.parametrize("by_key", [False, True])
@pytest.mark.parametrize("code", _SHARED)
def test_what_mends_a_shared_login_is_said_of_the_profile(code: str, *, by_key: bool) -> None:
    """A login of its own for each of forty devices is not what anybody wants."""
    step = next_step(code, "core 1", "old routers", by_key=by_key)
    assert step
    assert "'old routers'" in step
    assert "device edit" not in step
    assert [why for line in spans(step) if (why := complaint(line))] == []
    assert ("--key-file" in step) is ((by_key and "credential edit" in step) or code == "login_unusable")


@pytest.mark.parametrize("code", _MANY)
def test_what_mends_many_can_be_typed(code: str) -> None:
    """In one go, not one by one."""
    step = step_for_many(code, "old routers")
    assert step
    assert [why for line in spans(step) if (why := complaint(line))] == []
    assert ("credential edit 'old routers'" in step) is (code == "authentication_failed")


@pytest.mark.parametrize(
    ("reason", "profile", "says"),
    [
        ("blocked: host_key_mismatch", "p", "hostkey show core-1"),
        ("blocked: authentication_failed", "p", "credential edit p"),
        ("blocked: authentication_failed", None, "device edit core-1"),
        ("blocked: something_new", None, "device unblock core-1"),
        ("login suspended", "p", "credential resume p"),
        ("login suspended", None, "device edit core-1"),
        ("login suspended: its keys were lost; set it with device edit", "p", "credential edit p"),
        ("jump host down: hop west", None, "jump show 'hop west'"),
        ("jump host blocked: hop-1", None, "jump show hop-1"),
        ("paused", None, "device resume core-1"),
        ("no login", None, "device edit core-1"),
    ],
)
def test_what_is_in_the_way_has_a_way_out(reason: str, profile: str | None, says: str) -> None:
    """Whatever a request is refused for, what to type next stands beside it."""
    step = hindered(reason, "core-1", profile)
    assert step
    assert f"`{says}" in step
    assert [why for line in spans(step) if (why := complaint(line))] == []


def test_what_nothing_can_be_done_about_has_no_step() -> None:
    """A removed tenant."""
    assert hindered("tenant removed", "core-1", None) is None


@pytest.mark.parametrize("many", [False, True])
def test_a_login_that_others_take_is_not_to_be_edited(many: bool) -> None:
    """Another secret for all would end the backups that work: the router is what has to be changed."""
    code = "authentication_failed"
    step = step_for_many(code, "fleet", taken=True) if many else next_step(code, "r-1", "fleet", taken=True)
    assert step
    assert "credential edit" not in step
    assert step.index("change it on") < step.index("`device unblock")
    assert [why for line in spans(step) if (why := complaint(line))] == []


REFUSED = Refused("core 1", "fleet")
TURN = Turn(LoginOn.NEXT, datetime(2026, 11, 22, 20, 1, 2, tzinfo=UTC))


@pytest.mark.parametrize(
    ("known", "says"),
    [
        (Refused("core 1"), "`device edit 'core 1' --ask-password`, or mend it there"),
        (REFUSED, "`credential edit fleet --ask-password` for all that use it"),
        (replace(REFUSED, by_key=True), "`credential edit fleet --key-file FILE` for all that use it"),
        (replace(REFUSED, taken=True), "other devices take it: change it on 'core 1', then `device unblock 'core 1'`"),
        (replace(REFUSED, suspended=True, tried=True), "the login is suspended: `credential show fleet` says when"),
        (replace(REFUSED, suspended=True), "the login is suspended: `credential show fleet` says why"),
        (replace(REFUSED, suspended=True, turn=TURN), "the login is suspended: `credential show fleet` says why"),
        (replace(REFUSED, suspended=True, blocked=True), "`credential edit fleet --ask-password` for all that use it"),
        (
            replace(REFUSED, taken=True, turn=TURN),
            "nothing is to be done: the new login is sent by itself at 2026-11-22 20:01:02Z, see `device show 'core",
        ),
        (replace(REFUSED, turn=replace(TURN, on=LoginOn.CURRENT)), "nothing is to be done: the old login is sent"),
        (
            replace(REFUSED, turn=Turn(LoginOn.NEXT)),
            "nothing is to be done about its login: the new one is sent when it is collected next",
        ),
        (replace(REFUSED, taken=True, turn=TURN, blocked=True), "other devices take it: change it on 'core 1'"),
    ],
)
def test_what_follows_a_refusal_is_told_by_what_is_known(known: Refused, says: str) -> None:
    """A stranger does what he is told, on 1,800 routers: while another login has its turn that is nothing."""
    told = after_refusal(known)
    assert told.startswith(says)
    assert [why for line in spans(told) if (why := complaint(line))] == []
    if told.startswith("nothing"):
        assert not any(word in told for word in ("unblock", "edit", "change it"))
