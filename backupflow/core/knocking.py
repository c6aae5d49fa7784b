"""Who is knocked at: devices that did not answer, to find out that they do again. Policy only.

A knock is a TCP connection and nothing more. A router's own firewall counts it like any other (core.firewall), so
knocks lie far apart, and what follows one keeps its distance: no address is banned over them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from backupflow.core.backoff import JITTER

if TYPE_CHECKING:
    from backupflow.core.model import DeviceId

EACH: Final = timedelta(minutes=10)  # at most so often at one device
APART: Final = timedelta(minutes=6)  # between a connection and the next, so that we are off a router's 5-minute list
# What is due before that is tried anyway before long: to knock as well would be one connection more for nothing.
_LOW, _HIGH = JITTER
SOONEST_WORTH: Final = APART * (1 + _HIGH)
LONGEST: Final = timedelta(seconds=5)  # a knock waits as long as a session would for its connection, and no longer
MOST: Final = 200  # in one round


@dataclass(frozen=True, slots=True)
class Knock:
    """Where to knock, and how long to wait."""

    device_id: DeviceId
    host: str
    port: int
    timeout: timedelta


def due_after(dice: float) -> timedelta:
    """How long after a knock that was answered a device is due; `dice` lies in [0, 1)."""
    return APART * (1 + _LOW + (_HIGH - _LOW) * dice)


def wait_for(connect_timeout: timedelta) -> timedelta:
    """How long to wait at a device of this connect time-out."""
    return min(connect_timeout, LONGEST)
