"""The true history: what the routers were asked and what they really sent, in the order in which it happened."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the history; `number` counts over all routers, `session` per router (None: not in a session).

    Kinds and their facts: `session_opened` (peer), `client_seen` (version), `login_offered` (method, username, offered,
    accepted), `logged_in` (username), `command` (text), `export_served` (revision, digest, menu, sensitive,
    secrets, exact, complete, bytes_sent, bytes_total, sent_digest), `channel_closed` (clean), `session_closed`,
    `edited` (revision, edit, section, by, before, after), `key_changed` and `key_added` (key_type, generation,
    fingerprint), `key_dropped` (key_type), `behaviour_changed` (fields).

    In `export_served`, `digest` is the SHA-256 of the canonical text (no header date, no device comments, no markers),
    `menu` is "" for all of them, `secrets` the number of secrets in that text, `exact` says that it was to be sent as
    it is, `complete` that all bytes were handed to the client's window.
    `offered` is the password itself, or the fingerprint of a public key.
    """

    at: datetime
    number: int
    router: str
    kind: str
    session: int | None
    facts: Mapping[str, Any]

    def as_json(self) -> str:
        """The event as one line."""
        head = {"at": self.at.isoformat(), "number": self.number, "router": self.router, "event": self.kind}
        return json.dumps({**head, "session": self.session, **self.facts})


class History:
    """Keeps the events of all routers and appends them to a JSON-lines file (0600) if there is one. Thread-safe."""

    def __init__(self, path: Path | None = None) -> None:
        self._grown = threading.Condition()
        self._events: list[Event] = []
        self._by_router: dict[str, list[Event]] = {}
        self._file: TextIO | None = None
        if path is not None:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._file = os.fdopen(descriptor, "w", encoding="utf-8", buffering=1)

    def add(self, router: str, kind: str, session: int | None = None, **facts: object) -> Event:
        """Append one event with the time now."""
        with self._grown:
            event = Event(datetime.now(UTC), len(self._events) + 1, router, kind, session, facts)
            self._events.append(event)
            self._by_router.setdefault(router, []).append(event)
            if self._file is not None:
                self._file.write(event.as_json() + "\n")
            self._grown.notify_all()
        return event

    def events(self, router: str | None = None) -> tuple[Event, ...]:
        """All events so far, of one router or of all."""
        with self._grown:
            return tuple(self._events if router is None else self._by_router.get(router, ()))

    def wait_until(self, holds: Callable[[], bool], timeout: float) -> bool:
        """Wait until something holds that only an event can make true; False if not within `timeout` seconds."""
        with self._grown:
            return self._grown.wait_for(holds, timeout)

    def close(self) -> None:
        """Close the file; the events stay."""
        with self._grown:
            if self._file is not None:
                self._file.close()
                self._file = None
