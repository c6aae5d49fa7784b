"""When devices that do not answer are one event: the judgement over a site, who is asked meanwhile, and one device's.

A site goes down when there is a moment since which at least five of its devices went away, and those are at least 80 %
of all that were heard from or went away since then: nobody has to wait for 160 of 200, and what has been dead for long
takes no part. The last that was seen of the site must be that a device went away: whoever answers after that speaks
against it, so that one judgement that proves to be false is not repeated over the same devices.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from backupflow.core.model import State
from backupflow.errors import (
    AlgorithmsIncompatible,
    AuthenticationFailed,
    CommandRejected,
    ConnectionRefused,
    DeviceTimeout,
    DeviceUnreachable,
    ExportSuspect,
    HostKeyMismatch,
    HostKeyUnapproved,
    IdentityChanged,
    NotAConfiguration,
    OutputTooLarge,
    OutputTruncated,
    SshDowngraded,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from backupflow.core.ledger import Ending
    from backupflow.core.model import DeviceId

SITE_DOWN = "site_down"  # code of an alarm, of scope `site ID`
DEVICE_DOWN = "device_down"  # the same of scope `device ID`
AT_LEAST = 5  # devices
SHARE = 0.8  # of those that were heard from, or went away
TOGETHER = timedelta(hours=25)  # who went away before that is dead by itself; devices that run once a day are seen
PROBE_EVERY = timedelta(minutes=5)
TURNS = 24  # probes until the next two devices take their turns: two hours
SPREAD = timedelta(minutes=5)  # over which all that wait are due when a site is up again
DOWN_AFTER = 3  # failures in a row make an alarm of one device
# What is only known of a router that said something, if only that nobody is let in.
ANSWERS = frozenset(
    failure.code
    for failure in (
        ConnectionRefused, DeviceTimeout, OutputTruncated, ExportSuspect, AuthenticationFailed, HostKeyMismatch,
        HostKeyUnapproved, AlgorithmsIncompatible, SshDowngraded, IdentityChanged, CommandRejected, NotAConfiguration,
        OutputTooLarge,
    )
)  # fmt: skip


def site_scope(site_id: UUID) -> str:
    """Of the alarm of a site."""
    return f"site {site_id}"


def device_scope(device_id: DeviceId) -> str:
    """Of the alarms of a device."""
    return f"device {device_id}"


def answered(ending: Ending) -> bool | None:
    """Whether the router was heard at all in a session that ended so; None: nobody can tell."""
    if ending.jump_trouble is not None:
        return None
    if ending.code == DeviceUnreachable.code:
        return False
    heard = ending.code in ANSWERS or ending.offered is not None or ending.scanned is not None
    return True if heard or (ending.state is State.TESTED and not ending.code) else None


def site_is_down(away: Sequence[datetime], heard: Sequence[datetime], now: datetime) -> bool:
    """Judge a site; see `away_since`."""
    return away_since(away, heard, now) is not None


def away_since(away: Sequence[datetime], heard: Sequence[datetime], now: datetime) -> datetime | None:
    """Since when the devices of a site went away together, the earliest such moment; None: it is not down.

    `away`: since when each active, unblocked device of it does not answer; `heard`: when each of its other devices was
    heard last. Times that a clock left in the future mean nothing.
    """
    gone = sorted((at for at in away if now - TOGETHER <= at <= now), reverse=True)
    there = [at for at in heard if at <= now]
    if not gone or max(there, default=gone[0]) > gone[0]:
        return None
    # Of each moment only those matter at which a device went away: the latest first, so many have gone since then.
    together = [
        since
        for count, since in enumerate(gone, 1)
        if count >= AT_LEAST and count >= SHARE * (count + sum(at >= since for at in there))
    ]
    return min(together, default=None)


def whose_turn(probes: int, devices: int) -> int:
    """Which of so many devices is tried when a site is down, after so many probes; they are in order of preference.

    Two take turns, so that none is connected to more often than every ten minutes; after two hours the next two.
    """
    return (2 * (probes // TURNS) + probes % 2) % devices if devices else 0


def device_is_down(ending: Ending, failures: int) -> bool:
    """Whether a device alone is worth an alarm; `failures`: in a row, with this one."""
    retried = ending.counts and not ending.blocks and ending.again_in is not None and ending.state is State.FAILED
    return retried and not ending.alarm and failures >= DOWN_AFTER
