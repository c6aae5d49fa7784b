"""How often a router may be connected to before its own firewall bans our address for a day.

MikroTik's manual (RouterOS, "Bruteforce prevention", help.mikrotik.com/docs/display/ROS/Bruteforce+prevention) gives
an example that many have copied. Every new connection to port 22, one with a good login too, passes these rules:

1. whoever is on the third list is banned for a day
2. whoever is on the second list is put on the third, for an hour
3. whoever is on the first list is put on the second, for 15 minutes
4. everybody is put on the first, for 5 minutes

Whoever is put on a list again stays on it for its time from then on. So what comes by itself connects only while we are
on neither of the upper two lists: that leads to the second one at the most. A person may go one farther, onto the third
list, and then has to wait until we are off it; only whoever insists is banned.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

LISTS = (timedelta(minutes=5), timedelta(minutes=15), timedelta(hours=1))  # how long an address stays on each
# Our spans are longer: a connection comes some seconds after it was written down, and clocks do not run alike.
SLACK = 1.05
FIRST, SECOND, THIRD = (span * SLACK for span in LISTS)
# A clock that stood ahead and was set right leaves times that lie farther in the future than any list reaches.
LONGEST = timedelta(hours=2)
# A device that is collected more often than this would ban us each hour: its router has no such rules.
SHORTEST_INTERVAL = LISTS[0]


@dataclass(frozen=True, slots=True)
class Met:
    """What is known of our place on a router's lists; all None: it was never met."""

    met_at: datetime | None = None  # the last connection
    hold_until: datetime | None = None  # until then on the second or the third list
    wary_until: datetime | None = None  # until then on the third: one more connection, and we are banned

    def held(self, now: datetime) -> bool:
        """Whether nothing that comes by itself may connect now."""
        return _ahead(self.hold_until, now)

    def wary(self, now: datetime) -> bool:
        """Whether nobody may connect now who does not insist."""
        return _ahead(self.wary_until, now)


def met(before: Met, now: datetime) -> Met:
    """Our place on the lists after one more connection, which is made now."""
    third = now + THIRD if before.held(now) else None
    second = now + SECOND if before.met_at is not None and _ahead(before.met_at + FIRST, now) else None
    wary_until = third or (before.wary_until if before.wary(now) else None)
    still = before.hold_until if before.held(now) else None
    until = [at for at in (still, second, wary_until) if at is not None]
    return Met(now, max(until) if until else None, wary_until)


def _ahead(at: datetime | None, now: datetime) -> bool:
    """Whether a time is still to come, and not too far away to mean anything."""
    return at is not None and now < at <= now + LONGEST
