"""Somebody's poller says that a device is offline: what follows for one that is due. Policy only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

    from backupflow.core.model import DeviceId

PRESENCE_WITHOUT_TTL: Final = "presence_without_ttl"  # code of an alarm
LOOK_AGAIN: Final = timedelta(seconds=60)  # so soon after it is back a device is collected


def key(device_id: DeviceId) -> str:
    """Where a poller says it, in the broker's database."""
    return f"device:{device_id}:status"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A due device that is not claimed: nothing is tried, nothing is recorded as a run."""

    since: datetime
    due_at: datetime  # when it is looked at again


def may_ask(offline_since: datetime | None, period: timedelta, now: datetime) -> bool:
    """Whether a poller's word counts: for one period only, then the device is tried whatever it says (I9).

    A time that lies in the future is of a clock that stood ahead, and says nothing.
    """
    return offline_since is None or offline_since > now or now - offline_since < period


def skipped(offline_since: datetime | None, period: timedelta, now: datetime) -> Skipped:
    """Since when such a device is kept back, and till when."""
    since = now if offline_since is None or offline_since > now else offline_since
    return Skipped(since, min(now + LOOK_AGAIN, since + period))
