"""Devices that stand alike for one reason, by site, each group in a line."""

from __future__ import annotations

import shlex
from collections import defaultdict
from typing import TYPE_CHECKING

from backupflow.cli import key_view, output
from backupflow.cli.standing_lines import to_do
from backupflow.core.next_step import Turn, its_turn, next_step, step_for_many
from backupflow.core.outages import DEVICE_DOWN, device_scope
from backupflow.core.verdict import Count, counted_as
from backupflow.core.watching import OVERDUE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from backupflow.core.overview import DeviceState, Overview

_FAILURES = 3  # in a row: before that it is asked again soon, and most often answers
_GROUPED = {
    Count.OFFLINE: "offline",
    Count.OVERDUE: "overdue",
    Count.FAILING: "failing",
    Count.STALE: "",
    Count.UNREADABLE: "",
    Count.NO_LOGIN: "no login",
    Count.LOGIN: "suspended",
    Count.BLOCKED: "blocked",
}


def device_groups(overview: Overview) -> Iterator[tuple[int, str]]:
    """What no alarm and no line of a site or a login tells of, by reason and site, with how many they are."""
    told = {alarm.scope for alarm in overview.alarms if alarm.code != DEVICE_DOWN}
    shared = {login.name for login in overview.logins if login.suspended_at is not None}
    taken = {login.name for login in overview.logins if login.taken}
    groups: dict[tuple[Count, str, str | None], list[DeviceState]] = defaultdict(list)
    for device in overview.devices:
        what = _told_as(device, overview)
        if what is None or (what is Count.BLOCKED and f"device {device.device_id}" in told):
            continue
        if what is Count.LOGIN and device.profile in shared:
            continue
        if what is Count.UNREADABLE and any(scope.startswith(f"device {device.device_id} ") for scope in told):
            continue  # it is damaged
        groups[what, _reason(device, what), device.site].append(device)
    for (what, reason, site), found in groups.items():
        step = _step(what, reason, site, found, taken=found[0].profile in taken)
        by_itself = _by_itself(what, found, overview.now)
        ends = by_itself or to_do(step, _page(what, found[0]))
        yield len(found), f"{_group_line(what, reason, site, found, _alarms(found, overview))} – {ends}"


def _told_as(device: DeviceState, overview: Overview) -> Count | None:
    """As what it is told of; None if it needs nobody, or its site has a line."""
    if device.status == "removed" or (device.site_down_since and not device.blocked_code):
        return None
    what = counted_as(device, overview.now)
    if what is Count.FRESH and device.failures >= _FAILURES:
        what = Count.FAILING
    return what if what in _GROUPED else None


def _reason(device: DeviceState, what: Count) -> str:
    match what:
        case Count.BLOCKED:
            return device.blocked_code or ""
        case Count.FAILING:
            code = (device.last.code or device.last.state) if device.last else ""
            return f"{code}, {device.has_turn}" if device.has_turn else code
        case Count.OFFLINE:
            return "a poller says so" if device.offline_since else (device.last and device.last.code) or ""
        case Count.LOGIN:
            return device.hindrance or ""
        case Count.STALE:
            return "nothing was stored in time"
        case Count.UNREADABLE:
            return "nobody can open the newest configuration"
        case _:
            return ""


def _by_itself(what: Count, found: Sequence[DeviceState], now: datetime) -> str | None:
    """What happens without anybody; None if somebody has to act."""
    if what is Count.UNREADABLE:
        return _anew(found, now)
    return _turn(found, now) if found[0].has_turn else None


def _anew(found: Sequence[DeviceState], now: datetime) -> str:
    """Of devices of which nothing can be opened: until when all are collected anew, and how that is seen."""
    last = _last_due(found, now)
    when = "collected anew" + (f" by {output.in_words(last)}" if last and last > now else "")
    return f"{when}, `backup {shlex.quote(found[0].name)} --wait` does it now; `keys show` says whether keys are lost"


def _turn(found: Sequence[DeviceState], now: datetime) -> str:
    """Of devices for which another login has its turn: until when all were sent it."""
    last = _last_due(found, now)
    if len(found) == 1:
        return its_turn(Turn(found[0].login_on, last), found[0].name)
    return "nothing is to be done: it is sent to each by itself" + (
        f", the last at {output.in_words(last)}" * bool(last)
    )


def _last_due(found: Sequence[DeviceState], now: datetime) -> datetime | None:
    """When the last of them is collected next by itself; None if none is."""
    return max(filter(None, (device.due_at(now) for device in found)), default=None)


def _alarms(found: Sequence[DeviceState], overview: Overview) -> str:
    """That some of them, or all, are an alarm too, which has no line of its own."""
    scopes = {device_scope(device.device_id) for device in found}
    down = [alarm for alarm in overview.alarms if alarm.code == DEVICE_DOWN and alarm.scope in scopes]
    if len(found) == 1:
        return "".join(f", alarm {alarm.number} {DEVICE_DOWN}" for alarm in down)
    return f", {output.counted(len(down), 'alarm')} {DEVICE_DOWN}" if down else ""


def _page(what: Count, device: DeviceState) -> str | None:
    """The code whose page says more of all that stand alike."""
    match what:
        case Count.BLOCKED:
            return device.blocked_code
        case Count.OVERDUE:
            return OVERDUE
        case Count.FAILING | Count.OFFLINE if device.last and not device.offline_since:
            return device.last.code
        case _:
            return None


def _group_line(what: Count, reason: str, site: str | None, found: Sequence[DeviceState], alarms: str) -> str:
    found = sorted(found, key=lambda device: device.name)
    where = f" at site {site}" if site else ""
    names = key_view.named([device.name for device in found])
    many = f"{len(found):,} devices{where}{alarms}: {names}" if len(found) > 1 else f"{names}{where}{alarms}"
    since = _since(what, found)
    words = [what.upper(), output.told(reason, output.LONGEST_DETAIL) or "", since, many]
    return "  ".join(filter(None, words))


def _since(what: Count, found: Sequence[DeviceState]) -> str:
    match what:
        case Count.OFFLINE:
            times = [device.away_since for device in found]
        case Count.OVERDUE:
            times = [device.claimed_at or device.next_due_at for device in found]
        case Count.FAILING | Count.STALE:
            times = [device.current_at for device in found]
        case _:
            times = []
    since = min(filter(None, times), default=None)
    word = "last good" if what in {Count.FAILING, Count.STALE} else "since"
    return f"{word} {output.in_words(since)}" if since else ""


def _step(what: Count, reason: str, site: str | None, found: Sequence[DeviceState], *, taken: bool) -> str:
    first = found[0]
    if what is Count.STALE:
        return "`doctor`: does anybody store what is collected?"
    if len(found) == 1:
        known = next_step(reason, first.name, first.profile, by_key=first.by_key, taken=taken)
        return known or f"`device show {shlex.quote(first.name)}`"
    known = step_for_many(reason, None, by_key=first.by_key)
    at = f" --site {shlex.quote(site)}" if site else ""
    return known or f"`device list --status {shlex.quote(_GROUPED[what])}{at}`"
