"""What is wrong, and nothing else: by reason and site, the largest first, each with the command that mends it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from backupflow.cli import output
from backupflow.cli.capacity_lines import capacity_lines
from backupflow.cli.copy_lines import copy_lines
from backupflow.cli.device_groups import device_groups
from backupflow.cli.standing_lines import (
    alarm_problems,
    backlog_lines,
    given_up_lines,
    jump_host_lines,
    login_problems,
    suspect_lines,
    to_do,
)
from backupflow.cli.verdict_line import down
from backupflow.core.jump import scope_of
from backupflow.core.model import JumpHostId
from backupflow.core.outages import DEVICE_DOWN, SITE_DOWN
from backupflow.core.refusals import LOGIN_REFUSED
from backupflow.core.verdict import NEEDED, OWN_SCOPES, missing
from backupflow.core.watching import CAPACITY, OVERDUE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.core.overview import Overview, SiteState

Problem = tuple[int, str]  # so many devices, and its line
_ALL = 10**9  # what concerns everything comes first
# These have a line of their own here, which says more than the alarm.
_TOLD = {DEVICE_DOWN, SITE_DOWN, LOGIN_REFUSED, OVERDUE, CAPACITY}


def problems(overview: Overview, max_total: int = 0) -> list[str]:
    """Each in a line. `max_total`: how many sessions the settings allow in all, 0: as many as there are slots."""
    found = [
        *((2 * _ALL, line) for line in _dead(overview)),
        *((_ALL, line) for line in capacity_lines(overview, max_total)),
        *_alarms(overview),
        *_jump_hosts(overview),
        *login_problems(overview),
        *_sites(overview),
        *device_groups(overview),
        *((1, line) for line in suspect_lines(overview)),
        *((0, line) for line in given_up_lines(overview)),
        *((0, line) for line in backlog_lines(overview)),
        *((-1, line) for line in _rests(overview)),
        *((-2, line) for line in copy_lines(overview)),
    ]
    return [line for _, line in sorted(found, key=lambda one: -one[0])]


def _rests(overview: Overview) -> Iterator[str]:
    """No trouble, but why nothing comes from there."""
    for site in overview.sites:
        if site.maintenance_until is not None and site.maintenance_until > overview.now:
            yield f"maintenance: site {site.name} until {output.in_words(site.maintenance_until)}"


def _dead(overview: Overview) -> Iterator[str]:
    """Nothing goes on without these, whatever else stands here."""
    for role in missing(overview.processes, overview.now):
        yield f"NOT ALIVE  no {NEEDED[role]} lives – start `backupflow up`, or see `doctor`"


def _alarms(overview: Overview) -> Iterator[Problem]:
    """But for those that are told by the lines below."""
    hops = {scope_of(JumpHostId(hop.jump_host_id)) for hop in overview.jump_hosts if hop.in_trouble}
    shown = [alarm for alarm in overview.alarms if alarm.scope not in hops and alarm.code not in _TOLD]
    house = [alarm for alarm in shown if not alarm.scope.startswith(OWN_SCOPES)]
    yield from ((_ALL, line) for _, line in alarm_problems(house, overview))
    yield from alarm_problems([alarm for alarm in shown if alarm.scope.startswith(OWN_SCOPES)], overview)


def _jump_hosts(overview: Overview) -> Iterator[Problem]:
    waiting = [hop.waiting for hop in overview.jump_hosts if hop.in_trouble]
    yield from zip(waiting, jump_host_lines(overview), strict=True)


def _sites(overview: Overview) -> Iterator[Problem]:
    for site, count in down(overview):
        yield count, _site_line(site, count, overview)


def _site_line(site: SiteState, count: int, overview: Overview) -> str:
    asked = site.probe_at
    again = f"in {output.span(asked - overview.now)}" if asked and asked > overview.now else "now"
    return (
        f"SITE DOWN  {site.name} since {output.in_words(site.down_since)}: {output.counted(count, 'device')} "
        f"{'waits' if count == 1 else 'wait'}, one of them is asked again {again} – "
        + to_do(f"{_try_now(site, overview)}`device list --site {shlex.quote(site.name)}`", SITE_DOWN)
    )


def _try_now(site: SiteState, overview: Overview) -> str:
    """The one that answered last is the likeliest to."""
    there = [one for one in overview.devices if one.site_id == site.site_id and one.status == "active"]
    there = [one for one in there if one.blocked_code is None]
    if not there:
        return ""
    last = max(there, key=lambda one: (one.answered_at is not None, one.answered_at or overview.now, one.name))
    return f"`backup {shlex.quote(last.name)} --wait` tries one now, "
