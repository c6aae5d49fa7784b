"""The checker over an install of the stack, wherever it runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from tests.checker.case import Terms
from tests.checker.check import judge, verdict
from tests.checker.reading import gather, read_events
from tests.checker.routers import routers_of
from tests.stack.waiting import NotInTimeError, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy import Row

    from backupflow.simulator.history import Event
    from backupflow.wiring import Wiring

PATIENCE = 120


class StoryError(Exception):
    """The stack did not do what it promises."""


class Place(Protocol):
    """An install: in containers, or in a folder of this machine."""

    @property
    def wiring(self) -> Wiring:
        """This process's way to its servers."""
        ...

    def rows(self, statement: str, **values: object) -> list[Row[Any]]:
        """What a query by the reader gives."""
        ...


def judged(place: Place, events: Callable[[], Path | Sequence[Event]], settled: Collection[str]) -> list[str]:
    """Wait until every promise holds: what was stored just now is still to be interpreted. Gives what is to be told."""
    wiring = place.wiring
    collecting = wiring.settings.collecting
    terms = Terms(
        settled=frozenset(settled), policy=wiring.policy, interpreted=True,
        emit_again_after=collecting.emit_again_after, lost_after=collecting.lost_after,
    )  # fmt: skip
    engine, vault = wiring.engine("reader"), wiring.vault("reader")
    looks: list[list[str]] = []
    last = ""

    def all_holds() -> bool:
        nonlocal last
        found = gather(engine, vault, ())
        told = [event for event in read_events(events()) if event.at <= found.now]  # read last: the story goes on
        evidence = replace(found, routers=routers_of(told))
        looks.append(judge(evidence, terms))
        last = verdict(evidence, looks[-1])
        return not looks[-1]

    try:
        wait_for(all_holds, "every promise to hold", PATIENCE)
    except NotInTimeError as exc:
        raise StoryError("\n".join([*looks[-1][:20], last])) from exc
    return [last, *(f"(not yet at the first look: {finding})" for finding in looks[0][:1])]


def without(events: Sequence[Event], spans: Sequence[tuple[datetime, datetime]]) -> list[Event]:
    """The story without the sessions that were opened in these spans.

    What an install collects after it was copied is in no copy. What a router does by itself stays in its story.
    """
    gone: set[tuple[str, int]] = set()
    kept: list[Event] = []
    for event in events:
        session = None if event.session is None else (event.router, event.session)
        if session and event.kind == "session_opened" and any(begin < event.at <= end for begin, end in spans):
            gone.add(session)
        if session not in gone:
            kept.append(event)
    return kept
