"""The attempts at a device as values to be shown: stretches of those that ended alike, and one of them with all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backupflow.core.model import State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from backupflow.core.model import ContentHash


@dataclass(frozen=True, slots=True)
class Stretch:
    """Attempts in a row that ended alike: nothing changed, or the same failure; `number`: those of the run."""

    first_number: int
    first_at: datetime
    number: int  # of the last one, as are all below
    at: datetime
    count: int  # with those that were taken away since
    state: State
    is_change: bool | None
    code: str | None
    detail: str | None
    triggers: tuple[str, ...]
    seq: int
    session: timedelta | None
    raw_bytes: int | None
    content_hash: ContentHash | None

    @property
    def result(self) -> str:
        """In a word."""
        return _result(self.state, self.is_change)


@dataclass(frozen=True, slots=True)
class Wish:
    """Somebody asked for it."""

    number: int
    by: str
    at: datetime
    kind: str
    forced: bool
    answer: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """All that is known of one."""

    number: int
    device: str
    seq: int
    trigger: str
    lane: str
    state: State
    is_change: bool | None
    code: str | None
    detail: str | None
    claimed_at: datetime
    started_at: datetime | None
    collected_at: datetime | None
    stored_at: datetime | None
    ended_at: datetime | None
    emits: int
    raw_bytes: int | None
    content_hash: ContentHash | None
    command: str | None
    exit_status: int | None
    login: str | None  # the profile's name, or whose own it is
    login_on: str | None  # which of two, while they are rotated
    login_sent_at: datetime | None
    jump_host: str | None
    compacted: int  # how many that ended alike were taken away just before it
    kept_aside: bool
    facts: Mapping[str, Any] = field(default_factory=dict)
    wishes: tuple[Wish, ...] = ()

    @property
    def result(self) -> str:
        """In a word."""
        return _result(self.state, self.is_change)

    @property
    def waited(self) -> timedelta | None:
        """From its claim to its beginning in a worker."""
        return self.started_at - self.claimed_at if self.started_at else None

    @property
    def session(self) -> timedelta | None:
        """From there to its fence, or to its end; None while it runs, or where none began."""
        ended = self.collected_at or self.ended_at
        return ended - self.started_at if self.started_at and ended else None

    @property
    def end_mark(self) -> str | None:
        """What was known of the router's habit to repeat one; None: nothing was read, or before that was kept."""
        return self.facts.get("end_mark")

    @property
    def who(self) -> str | None:
        """What came of asking for the router's log of edits: LOG_KEPT, or why there is none; None: not asked."""
        return self.facts.get("who")


def _result(state: State, is_change: bool | None) -> str:  # noqa: FBT001 - as it is in the row
    if state is State.STORED and is_change is not None:
        return "changed" if is_change else "unchanged"
    return state.value
