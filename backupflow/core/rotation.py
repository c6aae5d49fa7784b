"""A login that is being changed on a whole fleet: two are known. Policy only, no clock, no dice.

Which of them a device takes is found out device by device.
What a device refused is never sent to it twice in a row, nor are both sent in one connection: a router counts failed
logins, and MikroTik's example firewall the connections within minutes. So the other login has its turn in a new
connection, later, and only a device that has refused both since one of them last worked is refused for good.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from backupflow.core.backoff import JITTER
from backupflow.core.model import LoginOn
from backupflow.errors import Conflict

if TYPE_CHECKING:
    from datetime import datetime

# Beyond the shortest window of MikroTik's example firewall, 5 min; 5-25 % longer, as all waits.
OTHER_AFTER = timedelta(minutes=6)


@dataclass(frozen=True, slots=True)
class Standing:
    """What one device is known to take: `login_on` is sent next, `refused_on` was refused since one last worked."""

    login_on: LoginOn = LoginOn.CURRENT
    refused_on: LoginOn | None = None

    @property
    def worked_on(self) -> LoginOn:
        """What worked last, as far as is known: a login that was refused does not count as one before it worked."""
        return self.refused_on or self.login_on

    @property
    def refused_both(self) -> bool:
        """Nothing is left to be tried."""
        return self.refused_on is self.login_on


@dataclass(frozen=True, slots=True)
class TryOther:
    """The device blocks not, and nothing counts against it: the other login is sent to it after `again_in`."""

    standing: Standing
    again_in: timedelta


@dataclass(frozen=True, slots=True)
class RefusedBoth:
    """Or the only one there is: what follows is what follows a refused login. `standing` says what worked last."""

    standing: Standing


def after_refusal(on: LoginOn, standing: Standing, *, has_next: bool, dice: float) -> TryOther | RefusedBoth:
    """Decide what follows when a device has refused the login `on`; `dice` lies in [0, 1).

    `standing` is what was known before. A session that began before a rotation did may refuse once more what is known
    to be refused by now: that does not take the other one's turn away.
    """
    if not has_next:
        return RefusedBoth(Standing())
    if standing.refused_on is None or (standing.refused_on is on and not standing.refused_both):
        low, high = JITTER
        return TryOther(Standing(on.other, on), OTHER_AFTER * (1 + low + (high - low) * dice))
    return RefusedBoth(Standing(standing.refused_on, standing.refused_on))


def after_success(on: LoginOn) -> Standing:
    """What worked is what is sent from now on, and nothing is held against the other one."""
    return Standing(on)


def told_turn(standing: Standing, detail: str) -> str:
    """What is said of a session whose login was refused, and the other one has its turn."""
    names = {LoginOn.CURRENT: "the old login", LoginOn.NEXT: "the new login"}
    refused, other = names[standing.login_on.other], names[standing.login_on]
    return f"{refused} was refused, {other} has its turn in a later connection{f' ({detail})' if detail else ''}"


def begun_anew(standing: Standing) -> Standing:
    """Unblocked by a person, or forgiven since many refused both: first what worked last, then the other."""
    return Standing(standing.worked_on)


class Act(StrEnum):
    """How a rotation ends."""

    FINISH = "finish"  # the next login takes the place of the current one, which is destroyed
    CANCEL = "cancel"  # the next login is destroyed


@dataclass(frozen=True, slots=True)
class Tally:
    """How many devices of a profile stand where, each counted once."""

    new: int = 0  # the next login was accepted last
    old: int = 0  # the current one was, since the rotation began
    unseen: int = 0  # none was accepted since then: perhaps they were not reached
    waiting: int = 0  # one was refused, the other one has its turn
    neither: int = 0  # both were refused

    def left_behind(self, act: Act) -> int:
        """How many are not known to take the login that is left; whoever has refused one last is among them."""
        return self.waiting + self.neither + (self.old + self.unseen if act is Act.FINISH else self.new)

    @property
    def devices(self) -> int:
        """All of them."""
        return self.new + self.old + self.unseen + self.waiting + self.neither


@dataclass(frozen=True, slots=True)
class Rotation:
    """The login that is to take the place of a profile's own one, and how far that has come."""

    username: str
    method: str  # password or key
    begun_at: datetime
    tally: Tally
    others: tuple[str, ...] = ()  # the names of those that are not known to be on the new one
    ahead: tuple[str, ...] = ()  # of those that are on the new one, or have refused one since

    def left_behind(self, act: Act) -> tuple[str, ...]:
        """The names of those that are not known to take the login that is left; as many as the tally says."""
        return self.others if act is Act.FINISH else self.ahead


def told(tally: Tally) -> str:
    """`1,742 on new, 58 on old`, and what else there is."""
    parts = [f"{tally.new:,} on new", f"{tally.old:,} on old"]
    parts += [
        f"{count:,} {what}"
        for count, what in (
            (tally.unseen, "not seen since it began"),
            (tally.waiting, "refused one, the other has its turn"),
            (tally.neither, "refused both"),
        )
        if count
    ]
    return ", ".join(parts)


def confirmed(act: Act, tally: Tally, typed: int | None) -> None:
    """Conflict unless nobody is left behind, or a person has typed how many are: that number, neither more nor less."""
    left = tally.left_behind(act)
    if left and typed != left:
        raise Conflict(f"{told_left(act, tally)}; nothing was changed: look at `credential show` and give that number")


def told_left(act: Act, tally: Tally) -> str:
    """Whom the act would leave with a login that they are not known to take, in words."""
    kept = "new" if act is Act.FINISH else "old"
    there = {
        "on old": tally.old if act is Act.FINISH else 0,
        "not seen since it began": tally.unseen if act is Act.FINISH else 0,
        "on new": tally.new if act is Act.CANCEL else 0,
        "have refused one": tally.waiting,
        "have refused both": tally.neither,
    }
    parts = ", ".join(f"{count:,} {what}" for what, count in there.items() if count)
    left = tally.left_behind(act)
    whom = "1 device is" if left == 1 else f"{left:,} devices are"
    return f"{whom} not known to take the {kept} login ({parts})"
