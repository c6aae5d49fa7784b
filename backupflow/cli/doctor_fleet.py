"""What `backupflow doctor` says of the fleet: its logins, whose key is whose, the ways to it, what it exported."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from backupflow.cli import key_view, output
from backupflow.cli.check import Check
from backupflow.cli.output import counted
from backupflow.cli.standing_lines import alarm_lines, jump_host_lines, suspect_lines, suspended_lines
from backupflow.cli.status import SHOWN
from backupflow.core.jump import JUMP_HOST_BLOCKED, JUMP_HOST_DOWN, scope_of
from backupflow.core.model import JumpHostId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.key_owners import Twin
    from backupflow.wiring import Wiring


def logins_of_devices(found: Wiring) -> Check:
    """How many share a password, and what their first keys were worth: a key proves a login and gives nothing away."""
    count = found.key_desk("reader").count()
    shared = counted(count.sharing, "device") + f" share {counted(count.passwords, 'password')}"
    own = counted(count.own, "device") + (" has" if count.own == 1 else " have") + " a login of their own"
    trusted = f"{count.on_first_use:,} of {counted(count.pinned, 'key')} were trusted on first use"
    unsettled = tuple(
        f"profile {name}: nobody has said what first keys of its devices are worth: "
        f"`credential edit {shlex.quote(name)} --trust manual`, or tofu"
        for name in count.unsettled
    )
    still = suspended_lines(found.statuses.overview())
    remedy = "a suspended login is sent nowhere until it is resumed" if still else ""
    return Check("logins of devices", f"{shared}; {own}; {trusted}", remedy, (*still, *unsettled))


def identities(found: Wiring) -> Check:
    """Whether two devices are one: the same key, or the same serial number. A warning only."""
    keys, serials = found.key_desk("reader").twins()
    if not keys and not serials:
        return Check("identities", "no two devices have one key or one serial number")
    lines = [
        *_lines(keys, "have the same host key", "one router on several ports, or copies of one system"),
        *_lines(serials, "have the same serial number", "one router under several names, or copies of one system"),
    ]
    kinds = ((len(keys), "host key"), (len(serials), "serial number"))
    what = [counted(count, kind) for count, kind in kinds if count]
    return Check("identities", f"{' and '.join(what)} of more than one device", each=tuple(lines))


def jump_hosts(found: Wiring) -> Check:
    """Those that cannot be passed; each has its alarm, which says what to do."""
    overview = found.statuses.overview()
    lines = jump_host_lines(overview)
    if not lines:
        count = len(overview.jump_hosts)
        return Check("jump hosts", f"{count:,} can be passed" if count else "none")
    says = f"{len(lines)} of {len(overview.jump_hosts)} cannot be passed; nobody behind them is to blame"
    blocked = any(hop.blocked_code for hop in overview.jump_hosts)
    down = any(hop.down_since and not hop.blocked_code for hop in overview.jump_hosts)
    codes = [code for code, there in ((JUMP_HOST_BLOCKED, blocked), (JUMP_HOST_DOWN, down)) if there]
    pages = " and ".join(f"docs/runbook/{code}.md" for code in codes)
    return Check("jump hosts", says, "; ".join(filter(None, ("see `jump list`", pages))), tuple(lines))


def exports(found: Wiring) -> Check:
    """Whether the last of each device is believed."""
    suspect = suspect_lines(found.statuses.overview())
    if not suspect:
        return Check("exports", "the last of each device is believed")
    says = f"{len(suspect)} not believed yet: the last good ones stay current"
    more = [f"… and {len(suspect) - SHOWN:,} more"] if len(suspect) > SHOWN else []
    return Check("exports", says, each=(*suspect[:SHOWN], *more))  # an alarm, if it does not go away by itself


def alarms(found: Wiring) -> Check:
    """Those that stand, but for those of jump hosts, which stand above."""
    overview = found.statuses.overview()
    hops = {scope_of(JumpHostId(hop.jump_host_id)) for hop in overview.jump_hosts if hop.in_trouble}
    standing = tuple(alarm for alarm in overview.alarms if alarm.scope not in hops)  # those are told of above
    if not standing:
        return Check("alarms", "none stands" if not overview.alarms else "none stands but those of jump hosts")
    newest = output.told(f"{standing[0].code} {standing[0].detail}", output.LONGEST_DETAIL)
    says = f"{len(standing):,} stand{'s' if len(standing) == 1 else ''}, the newest: {newest}"
    lines = alarm_lines(standing, overview)
    more = [f"… and {len(lines) - SHOWN:,} more: `alarm list`"] if len(lines) > SHOWN else []
    return Check("alarms", says, "see `alarm list`; each code has a page in docs/runbook", (*lines[:SHOWN], *more))


def _lines(twins: Sequence[Twin], what: str, why: str) -> list[str]:
    lines = [f"{key_view.named(one.names)} {what}, {output.told(one.value, 60)}: {why}" for one in twins[:SHOWN]]
    return lines + ([f"and {len(twins) - SHOWN} more that {what}"] if len(twins) > SHOWN else [])
