"""What does not stand as it should, each in a line: since when, and what to do about it."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING

from backupflow.cli import key_view, output
from backupflow.cli.output import LONGEST_DETAIL, counted
from backupflow.core.events import KINDS
from backupflow.core.jump import JUMP_HOST_BLOCKED, JUMP_HOST_DOWN, scope_of
from backupflow.core.keys import KEYS_LOST
from backupflow.core.model import JumpHostId, LoginOn, State
from backupflow.core.next_step import next_step, step_for_many
from backupflow.core.overview import Standing
from backupflow.core.refusals import LOGIN_REFUSED
from backupflow.errors import AuthenticationFailed, ExportSuspect, LoginSuspended, LoginUnusable, of_code

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from backupflow.core.overview import Alarm, DeviceState, JumpHostState, LastCollection, LoginState, Overview

EACH = 3  # of one code that have a line of their own
_SET_ANEW = (
    "set each with `credential edit PROFILE --ask-password` or `device edit NAME --ask-password` (a key: "
    "--key-file FILE)"
)
_STILL = {Standing.SUSPENDED, Standing.REFUSED}
_OF_LOGINS = {AuthenticationFailed.code, LoginUnusable.code, KEYS_LOST}


def alarm_lines(alarms: Sequence[Alarm], overview: Overview) -> list[str]:
    """What is wrong, since when, and what to do about it; of more than some of one code a line for each cause of them.

    That is the shared login, if they have one, where the login was refused; else the site.
    """
    return [line for _, line in alarm_problems(alarms, overview)]


def alarm_problems(alarms: Sequence[Alarm], overview: Overview) -> list[tuple[int, str]]:
    """The same with how many devices each line is about."""
    devices = {_scope(device): device for device in overview.devices}
    of_code = Counter(alarm.code for alarm in alarms if alarm.scope in devices)
    many: dict[tuple[str, str, str | None], list[Alarm]] = {}
    lines = []
    for alarm in alarms:
        device = devices.get(alarm.scope)
        if device is None or of_code[alarm.code] <= EACH:
            lines.append((1, alarm_line(alarm, device, _taken(device, overview))))
        else:
            many.setdefault((alarm.code, *_cause(alarm.code, device)), []).append(alarm)
    return [
        (len(found), _many(code, what, name, found, overview)) for (code, what, name), found in many.items()
    ] + lines


def _taken(device: DeviceState | None, overview: Overview) -> bool:
    """Whether others took the login that it shares, as it is now."""
    return device is not None and any(login.taken and login.name == device.profile for login in overview.logins)


def alarm_line(alarm: Alarm, device: DeviceState | None, taken: bool = False) -> str:
    """One, of this device if it is of one that is still there; `taken`: others take the login that it shares."""
    says = output.told(alarm.detail or alarm.scope, LONGEST_DETAIL)
    line = f"ALARM {alarm.number}  {alarm.code}  since {output.in_words(alarm.since)}  {says}"
    step = next_step(alarm.code, device.name, device.profile, by_key=device.by_key, taken=taken) if device else None
    return f"{line} – {to_do(step, alarm.code)}"


def runbook(code: str) -> str:
    """The page that says more; as events have it."""
    return f"docs/runbook/{code}.md"


def to_do(step: str | None, code: str | None) -> str:
    """How a line ends: with the command, if there is one, then with the page, if the code has one."""
    page = runbook(code) if code and (code in KINDS or of_code(code)) else None
    return " – ".join(filter(None, (step, page)))


def _cause(code: str, device: DeviceState) -> tuple[str, str | None]:
    if code in _OF_LOGINS:
        return ("profile", device.profile) if device.profile else ("login of their own", None)
    return ("site", device.site) if device.site else ("", None)


def _many(code: str, what: str, name: str | None, alarms: Sequence[Alarm], overview: Overview) -> str:
    devices = {_scope(device): device for device in overview.devices}
    found = sorted((devices[alarm.scope] for alarm in alarms), key=lambda device: device.name)
    if len(found) == 1:
        return alarm_line(alarms[0], found[0], _taken(found[0], overview))
    where = f" {'at' if what == 'site' else 'with'} {what}" + (f" {name}" if name else "") if what else ""
    since = output.in_words(min(alarm.since for alarm in alarms))
    names = key_view.named([device.name for device in found])
    line = f"ALARMS  {code}  since {since}  {len(found):,} devices{where}: {names}"
    step = step_for_many(
        code, name if what == "profile" else None, by_key=found[0].by_key, taken=_taken(found[0], overview)
    )
    return f"{line} – {to_do(step, code)}"


def jump_host_lines(overview: Overview) -> list[str]:
    """A line for each jump host that cannot be passed, and for how many devices that is so."""
    says = {alarm.scope: alarm.detail for alarm in overview.alarms}
    return [
        f"JUMP HOST  {_trouble(hop, overview.now, says.get(scope_of(JumpHostId(hop.jump_host_id))))}"
        f": {_waiting(hop.waiting)} – {to_do(f'`jump show {shlex.quote(hop.name)}`', _code_of(hop))}"
        for hop in overview.jump_hosts
        if hop.in_trouble
    ]


def _code_of(hop: JumpHostState) -> str | None:
    """The code whose page says more; of a login that waits its own line does."""
    if hop.hindrance is not None:
        return None
    return JUMP_HOST_DOWN if hop.blocked_code is None else JUMP_HOST_BLOCKED


def _waiting(count: int) -> str:
    return "1 device waits" if count == 1 else f"{count:,} devices wait"


def _trouble(hop: JumpHostState, now: datetime, alarm: str | None) -> str:
    if hop.hindrance is not None:
        return f"{hop.name}: {hop.hindrance}"
    since = output.in_words(hop.down_since) if hop.down_since else "now"
    if hop.blocked_code is not None:
        says = output.told(without_name(hop.name, hop.blocked_detail or ""), LONGEST_DETAIL)
        return f"{hop.name} blocked since {since}, {hop.blocked_code}" + (f": {says}" if says else "")
    again = f"in {output.span(hop.retry_at - now)}" if hop.retry_at and hop.retry_at > now else "by the next of them"
    says = output.told(without_name(hop.name, alarm or ""), LONGEST_DETAIL)
    return f"{hop.name} down since {since}{f' ({says})' if says else ''}, tried again {again}"


def without_name(name: str, says: str) -> str:
    """What a jump host's trouble says, without its name before it, however often."""
    while says.startswith(f"{name}: "):
        says = says.removeprefix(f"{name}: ")
    return says


def suspended_lines(overview: Overview) -> list[str]:
    """A line for each shared login that is sent nowhere: so many devices stand still."""
    return [line for _, line in login_problems(overview)]


def login_problems(overview: Overview) -> list[tuple[int, str]]:
    """The same with how many devices each line is about; none for a login that nobody waits for."""
    still = Counter(device.profile for device in overview.devices if device.standing(overview.now) in _STILL)
    return [
        (still[login.name], _login_line(login, still[login.name], overview.now))
        for login in overview.logins
        if login.suspended_at is not None and still[login.name]
    ]


def _login_line(login: LoginState, count: int, now: datetime) -> str:
    many = counted(count, "device")
    if login.trial_at is None:
        return f"SUSPENDED  login {login.name}: {many} not collected – {_login_step(LoginSuspended.code, login)}"
    again = f"in {output.span(login.trial_at - now)}" if login.trial_at > now else "now"
    return (
        f"LOGIN REFUSED  {login.name} since {output.in_words(login.suspended_at)}, {login.suspended_reason}: "
        f"{many} {'waits' if count == 1 else 'wait'}, one tries it again {again} – "
        f"{_login_step(LOGIN_REFUSED, login)}"
    )


def _login_step(code: str, login: LoginState) -> str:
    if login.suspended_reason == KEYS_LOST:  # to resume it would be refused
        code = KEYS_LOST
    return to_do(next_step(code, "", login.name, by_key=login.by_key), code)


def suspect_lines(overview: Overview) -> list[str]:
    """A line for each device whose last export is not believed (yet), unless an alarm says so already."""
    told = {alarm.scope for alarm in overview.alarms if alarm.code == ExportSuspect.code}
    suspects = [
        (device, device.last)
        for device in overview.devices
        if device.last and device.last.state is State.SUSPECT and _scope(device) not in told
    ]
    return [_suspect_line(device, last, overview.now) for device, last in suspects]


def rotation_lines(overview: Overview) -> list[str]:
    """A line for each shared login that is being rotated: how many devices have taken which of the two."""
    lines = []
    for login in overview.logins:
        if login.next_changed_at is not None:
            on = Counter(one.login_on for one in overview.devices if one.profile == login.name)
            lines.append(
                f"login {login.name} is being rotated since {output.in_words(login.next_changed_at)}: "
                f"{on[LoginOn.NEXT]:,} on the new one, {on[LoginOn.CURRENT]:,} on the old one"
            )
    return lines


def jobs_line(overview: Overview) -> str:
    """When each periodic job was done completely for the last time."""
    done = [
        f"{job.name} {output.span(overview.now - job.completed_at)} ago" if job.completed_at else f"{job.name} not yet"
        for job in overview.jobs
    ]
    return f"done completely: {', '.join(done)}"


def given_up_lines(overview: Overview) -> list[str]:
    """What was given up with its keys: no alarm, nothing can be done about it, but for the logins."""
    lines = []
    for one in overview.given_up:
        says = [f"snapshots of {counted(one.devices, 'device')} are {output.given_up(one.at)}"] if one.devices else []
        what = "login is suspended, its keys" if one.logins == 1 else "logins are suspended, their keys"
        logins = f"{one.logins:,} {what} were lost: {_SET_ANEW}"
        lines.append("KEYS  " + "; ".join([*says, *([logins] if one.logins else [])]))
    return lines


def backlog_lines(overview: Overview) -> list[str]:
    """What is stored is safe; but nobody is told of it."""
    late = overview.backlog
    if late is None:
        return []
    wait = f"{counted(late.changes, 'change')} {'is' if late.changes == 1 else 'are'} not interpreted yet"
    since = f"stored up to {output.span(overview.now - late.oldest_at)} ago"
    return [f"INTERPRETING LATE  {wait}, {since}: nothing is lost, but nobody is told of it – `alarm list`, `doctor`"]


def _suspect_line(device: DeviceState, last: LastCollection, now: datetime) -> str:
    due = device.next_due_at
    again = f"asked again in {output.span(due - now)}" if due and due > now else "about to be asked again"
    step = next_step(last.code, device.name)
    says = f"SUSPECT  {device.name}: {output.told(last.detail, LONGEST_DETAIL)}; kept aside, {again}"
    return f"{says} – {to_do(step, last.code)}"


def _scope(device: DeviceState) -> str:
    """Of the alarms of a device."""
    return f"device {device.device_id}"
