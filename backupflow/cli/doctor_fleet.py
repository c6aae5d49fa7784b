"""What `backupflow doctor` says of the fleet: its logins, whose key is whose, the ways to it, what it exported."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from backupflow.cli import key_view, output
from backupflow.cli.check import Check
from backupflow.cli.status import SHOWN, jump_host_lines, suspect_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.key_owners import Twin
    from backupflow.wiring import Wiring


def logins_of_devices(found: Wiring) -> Check:
    """How many share a password, and what their first keys were worth: a key proves a login and gives nothing away."""
    count = found.key_desk("reader").count()
    shared = _some(count.sharing, "device") + f" share {_some(count.passwords, 'password')}"
    own = _some(count.own, "device") + (" has" if count.own == 1 else " have") + " a login of their own"
    trusted = f"{count.on_first_use:,} of {_some(count.pinned, 'key')} were trusted on first use"
    unsettled = tuple(
        f"profile {name}: nobody has said what first keys of its devices are worth: "
        f"`credential edit {shlex.quote(name)} --trust manual`, or tofu"
        for name in count.unsettled
    )
    return Check("logins of devices", f"{shared}; {own}; {trusted}", each=unsettled)


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
    what = [_some(count, kind) for count, kind in kinds if count]
    return Check("identities", f"{' and '.join(what)} of more than one device", each=tuple(lines))


def jump_hosts(found: Wiring) -> Check:
    """Those that cannot be passed; each has its alarm, which says what to do."""
    overview = found.statuses.overview()
    lines = jump_host_lines(overview)
    if not lines:
        count = len(overview.jump_hosts)
        return Check("jump hosts", f"{count} can be passed" if count else "none")
    says = f"{len(lines)} of {len(overview.jump_hosts)} cannot be passed; nobody behind them is to blame"
    return Check("jump hosts", says, "see `jump list`; docs/runbook/jump_host_unreachable.md", tuple(lines))


def exports(found: Wiring) -> Check:
    """Whether the last of each device is believed."""
    suspect = suspect_lines(found.statuses.overview())
    if not suspect:
        return Check("exports", "the last of each device is believed")
    says = f"{len(suspect)} not believed yet: the last good ones stay current"
    return Check("exports", says, each=tuple(suspect[:SHOWN]))  # an alarm, if it does not go away by itself


def _lines(twins: Sequence[Twin], what: str, why: str) -> list[str]:
    lines = [f"{key_view.named(one.names)} {what}, {output.told(one.value, 60)}: {why}" for one in twins[:SHOWN]]
    return lines + ([f"and {len(twins) - SHOWN} more that {what}"] if len(twins) > SHOWN else [])


def _some(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
