"""The routers' events as sessions: what each was asked, offered and sent."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from backupflow.simulator.history import Event


@dataclass(frozen=True)
class Export:
    """One whole configuration that a router sent, as far as it went."""

    at: datetime
    revision: int
    text: str  # SHA-256 of the canonical text, or of what was sent where that was not to be sent as it is
    sent: str  # SHA-256 of the bytes that went
    complete: bool


@dataclass(frozen=True)
class Offer:
    """A login that was offered to a router."""

    at: datetime
    method: str
    accepted: bool


@dataclass(frozen=True)
class Session:
    """One connection to a router, as the router saw it."""

    number: int
    opened_at: datetime
    closed_at: datetime | None = None
    offers: tuple[Offer, ...] = ()
    exports: tuple[Export, ...] = ()


@dataclass(frozen=True)
class Router:
    """A router's own story: its sessions, its newest revision, and when which host key took the place of its first."""

    sessions: tuple[Session, ...] = ()
    revision: int = 0
    keys: tuple[tuple[datetime, str], ...] = ()


def routers_of(events: Iterable[Event]) -> Mapping[str, Router]:
    """Each router's story. One that was started anew counts its sessions from one again."""
    own: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        own[event.router].append(event)
    return {name: _story(told) for name, told in own.items()}


def _story(told: list[Event]) -> Router:
    sessions: list[Session] = []
    place: dict[int, int] = {}  # of the session that has a number now
    keys: list[tuple[datetime, str]] = []
    revision = 0
    for event in told:
        if event.kind == "session_opened" and event.session is not None:
            place[event.session] = len(sessions)
            sessions.append(Session(event.session, event.at))
        elif event.session is not None and event.session in place:
            at = place[event.session]
            sessions[at] = _grown(sessions[at], event)
        elif event.kind == "edited":
            revision = int(event.facts["revision"])
        elif event.kind == "key_changed":
            keys.append((event.at, str(event.facts["fingerprint"])))
    return Router(tuple(sessions), revision, tuple(keys))


def _grown(session: Session, event: Event) -> Session:
    facts = event.facts
    match event.kind:
        case "session_closed":
            return replace(session, closed_at=event.at)
        case "login_offered":
            offer = Offer(event.at, str(facts["method"]), bool(facts["accepted"]))
            return replace(session, offers=(*session.offers, offer))
        case "export_served" if not facts["menu"]:
            text = str(facts["digest"] if facts["exact"] else facts["sent_digest"])
            sent, whole = str(facts["sent_digest"]), bool(facts["complete"])
            export = Export(event.at, int(facts["revision"]), text, sent, whole)
            return replace(session, exports=(*session.exports, export))
        case _:
            return session
