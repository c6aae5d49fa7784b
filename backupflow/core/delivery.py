"""What follows from what came of one attempt to tell an event: it is done, tried again later, or given up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from backupflow.core.model import CollectionId, DeviceId, Seq, TenantId

FIRST_WAIT: Final = timedelta(seconds=10)
LONGEST_WAIT: Final = timedelta(hours=1)
GIVEN_UP_AFTER: Final = timedelta(days=3)  # since the first attempt
TOLD_AFTER: Final = timedelta(hours=1)  # of failing: then it is an alarm, long before anything is lost
SEALED_WAIT: Final = timedelta(minutes=1)  # of what cannot be opened now, since the vault does not answer
LONGEST_PAUSE: Final = timedelta(minutes=5)  # of the hook: then the next event is tried, whatever the last one met
_GROWS = 3
_JITTER = 0.25  # upwards only


@dataclass(frozen=True, slots=True)
class SealedLines:
    """What of a change is told with an event: nobody can read it before it is opened to be sent."""

    tenant_id: TenantId
    device_id: DeviceId
    seq: Seq
    sealed: str


@dataclass(frozen=True, slots=True)
class Event:
    """One that is due: `body` is sent byte for byte, with what is opened of `lines`.

    `code` says of what it is; of a change `collection_id` is the observation that showed it.
    """

    event_id: UUID
    number: int
    body: str
    attempts: int
    failing_since: datetime | None
    lines: SealedLines | None = None
    code: str = ""
    collection_id: CollectionId | None = None


@dataclass(frozen=True, slots=True)
class ListedEvent:
    """One for a person."""

    event_id: UUID
    number: int
    kind: str
    code: str
    body: str
    created_at: datetime
    due_at: datetime
    attempts: int
    tried_at: datetime | None
    answer: str | None
    sent_at: datetime | None
    given_up_at: datetime | None


@dataclass(frozen=True, slots=True)
class HookState:
    """How it stands with what is to be told."""

    sent_at: datetime | None  # the last one
    waiting: int
    failing: int  # of those
    given_up: int
    answer: str | None  # what came of the last attempt at what was not taken


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an attempt; `says` is for a person, in words of ours, and holds no secret."""

    delivered: bool
    says: str
    gone: bool = False  # the receiver wants no more of it: there is no sense in trying again
    wait: timedelta | None = None  # that it asks for
    quoted: str = ""  # what the receiver said, masked: perhaps no more than what it was told

    @property
    def whole(self) -> str:
        """With the receiver's words: to be kept only of what may be kept itself."""
        return f"{self.says}: {self.quoted}" if self.quoted else self.says


@dataclass(frozen=True, slots=True)
class Failed:
    """What follows from a failure. `pause`: nothing else is sent before; `told`: it is an alarm."""

    again_in: timedelta | None  # None: given up
    pause: timedelta
    told: bool


def after_failure(event: Event, answer: Answer, now: datetime, dice: float) -> Failed:
    """10 s, 30 s, 90 s … 1 h, up to a quarter longer, or what the receiver asks for if that is more; for three days.

    `dice`: a number in [0, 1).
    """
    wait = min(FIRST_WAIT * _GROWS ** min(event.attempts, 10), LONGEST_WAIT)
    asked = min(answer.wait or timedelta(0), LONGEST_WAIT)
    wait = max(wait * (1 + _JITTER * dice), asked)
    failing = now - event.failing_since if event.failing_since and event.failing_since <= now else timedelta(0)
    given_up = answer.gone or failing >= GIVEN_UP_AFTER
    pause = timedelta(0) if answer.gone else max(min(wait, LONGEST_PAUSE), asked)
    return Failed(None if given_up else wait, pause, given_up or failing >= TOLD_AFTER)
