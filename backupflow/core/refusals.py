"""A login that devices share, and that some of them refuse: is it the device, or the login? Policy only, no clock.

One device that refuses it is blocked: its own password is another. When many do at once, a server that knows the
password is down, or the password was changed: the login is suspended, nobody is blocked for it, and one device tries it
again from time to time. What one of them takes, all are sent again; who refuses it after that is blocked by itself,
unless so many do at once and nobody else has taken it: then it was proved for a moment only, and is suspended again.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from backupflow.core.model import State
from backupflow.core.report import Stage
from backupflow.errors import (
    CommandRejected,
    ExportSuspect,
    IdentityChanged,
    LoginUnusable,
    NotAConfiguration,
    OutputTooLarge,
    OutputTruncated,
)

if TYPE_CHECKING:
    from datetime import datetime

    from backupflow.core.ledger import Ending

LOGIN_REFUSED = "login_refused"  # code of an alarm
WINDOW = timedelta(minutes=15)  # in which refusals are counted together
AT_LEAST = 5  # devices
ONE_IN = 10  # of those that were sent it
MOST_TIMES = 4  # that one device refuses it between two that it takes, trials apart, until it is blocked by itself
# After the suspension; then hourly. Without jitter: it is another device each time.
FIRST_TRIALS = (timedelta(minutes=15), timedelta(minutes=45), timedelta(minutes=75))
LATER_TRIALS = timedelta(hours=1)
SHORTEST_WAIT = timedelta(minutes=5)  # between two trials, also where one was late
SPREAD = timedelta(minutes=10)  # over which all are sent it again, at the most
SPREAD_EACH = timedelta(seconds=3)
# A router says none of this to somebody whom it has not let in.
AFTER_LOGIN = frozenset(
    error.code
    for error in (CommandRejected, OutputTruncated, NotAConfiguration, OutputTooLarge, ExportSuspect, IdentityChanged)
)


class Meaning(StrEnum):
    """What a refusal means."""

    BLOCKS = "blocks"  # the device
    WAITS = "waits"  # the device is not to blame: it waits until the login is proved
    SUSPENDS = "suspends"  # the login, and the device waits as the others do


@dataclass(frozen=True, slots=True)
class Refused:
    """A device that has refused a shared login that was sent to it at `sent_at`.

    `refused_at` is an earlier refusal that did not block it, `proved_at` when some other device took the login again
    after the last suspension. `others_took`: and by now one more did. `times`: so often it has refused it by now.
    """

    sent_at: datetime
    refused_at: datetime | None = None
    proved_at: datetime | None = None
    suspended: bool = False
    others_took: bool = True
    times: int = 1

    @property
    def again(self) -> bool:
        """Whether it was not to blame for an earlier one, and the login was proved since."""
        return self.proved_at is not None and self.refused_at is not None and self.refused_at < self.proved_at

    @property
    def meaning(self) -> Meaning | None:
        """What it means whatever others say; None: that depends on how many of them refuse it."""
        if self.again and (self.others_took or self.times >= MOST_TIMES):
            return Meaning.BLOCKS
        outdated = self.proved_at is not None and self.sent_at < self.proved_at
        return Meaning.WAITS if self.suspended or outdated else None


def judge(refused: int, tried: int) -> Meaning:
    """What one more refusal means, if so many devices of those that answered lately refuse it, this one included."""
    return Meaning.SUSPENDS if refused >= AT_LEAST and refused * ONE_IN >= tried else Meaning.BLOCKS


def counted_since(now: datetime, *since: datetime | None) -> datetime:
    """From when on refusals are counted together: the window, or since it became another login, or was proved.

    What lies ahead is of a clock that was set right, and means nothing.
    """
    return max([now - WINDOW, *(one for one in since if one is not None and one <= now)])


def next_trial(suspended_at: datetime, now: datetime) -> datetime:
    """When one device tries it again: 15, 45 and 75 min after the suspension, then hourly; never within 5 min.

    A suspension that lies ahead is of a clock that was set right: it is as if it were now.
    """
    suspended_at = min(suspended_at, now)
    least = max(now + SHORTEST_WAIT - suspended_at, timedelta(0))
    for after in FIRST_TRIALS:
        if after >= least:
            return suspended_at + after
    return suspended_at + FIRST_TRIALS[-1] + LATER_TRIALS * math.ceil((least - FIRST_TRIALS[-1]) / LATER_TRIALS)


def forgiven(ending: Ending) -> Ending:
    """The same ending where the device is not to blame: it neither blocks nor counts, and its run is still owed."""
    state = State.FAILED if ending.state is State.BLOCKED else ending.state
    return replace(ending, state=state, counts=False, blocks=False, again_in=timedelta(0), alarm="")


def proves_login(ending: Ending) -> bool:
    """Whether a collection, or a test, that ended like this was let in."""
    return ending.code in AFTER_LOGIN or any(step.name == Stage.LOGIN and step.well for step in ending.report)


def was_sent(ending: Ending) -> bool:
    """Whether a login that is on record as sent was sent in truth: it may be that nobody could open it."""
    return not ending.pauses and ending.code != LoginUnusable.code


def in_words(name: str, refused: int, tried: int) -> tuple[str, str]:
    """Why it is suspended, and what the alarm says of it."""
    reason = f"{refused:,} of {tried:,} devices refused it"
    says = (
        f"login {name}: {reason}; one device tries it again after 15, 45 and 75 min, then hourly, the others wait "
        f"until one takes it; `credential show {shlex.quote(name)}`"
    )
    return reason, says
