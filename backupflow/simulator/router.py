"""One simulated router: its port, its key, its configuration, and the counts of its sessions.

Everything here runs in the event loop of the fleet.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from backupflow.simulator.configuration import Edit, EditKind, Rendered, at_revision, edit_kind, rendered
from backupflow.simulator.edit_log import KEPT, Made, edit_log
from backupflow.simulator.extent import Extent
from backupflow.simulator.keyring import KeyRing
from backupflow.simulator.port import Port

if TYPE_CHECKING:
    from backupflow.simulator.history import History
    from backupflow.simulator.keys import SimulatedHostKey
    from backupflow.simulator.spec import HostKeyType, Login, RouterSpec


@dataclass(slots=True)
class Counts:
    """Sessions are counted from the TCP accept to the close; `logins` are those that were accepted."""

    open: int = 0
    most_at_once: int = 0
    sessions: int = 0
    logins: int = 0
    exports: int = 0


ProtocolOfSession = Callable[["Router", int], asyncio.Protocol]


class Router:
    """The state of one router. Configurations are made when they are asked for and kept only as the last text."""

    def __init__(self, spec: RouterSpec, history: History, protocol: ProtocolOfSession) -> None:
        self.spec = spec
        self.behaviour = spec.behaviour
        self.counts = Counts()
        self.keys = KeyRing(spec)
        self.kinds: tuple[EditKind, ...] = ()
        self._port = Port(spec.host, spec.port, self._serve)
        self._history = history
        self._protocol = protocol
        self._made: deque[Made] = deque(maxlen=KEPT)
        self._texts: dict[Extent, Rendered] = {}
        self._transports: set[asyncio.BaseTransport] = set()

    @property
    def as_it_is(self) -> RouterSpec:
        """The specification, with what the behaviour says is another one now."""
        serial = self.behaviour.serial
        return self.spec if serial is None else replace(self.spec, serial=serial)

    @property
    def legacy(self) -> bool:
        """Whether it speaks only SHA-1 now."""
        return self.spec.legacy if self.behaviour.legacy is None else self.behaviour.legacy

    def log(self, kind: str, session: int | None = None, **facts: object) -> None:
        """Append to the true history."""
        self._history.add(self.spec.name, kind, session, **facts)

    # -- the port

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port.number

    def open(self) -> None:
        """Bind the port and listen, unless the behaviour says that connections are refused."""
        self._port.open(listening=self.behaviour.listening)

    def _serve(self, peer: tuple[str, int]) -> Callable[[], asyncio.Protocol]:
        session = self._opened(peer)
        return lambda: self._protocol(self, session)

    def close(self) -> None:
        """Stop listening and drop every connection."""
        self._port.close()
        for transport in list(self._transports):
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()

    # -- sessions

    def _opened(self, peer: tuple[str, int]) -> int:
        self.counts.sessions += 1
        self.counts.open += 1
        self.counts.most_at_once = max(self.counts.most_at_once, self.counts.open)
        self.log("session_opened", self.counts.sessions, peer=f"{peer[0]}:{peer[1]}")
        return self.counts.sessions

    def connected(self, transport: asyncio.BaseTransport) -> None:
        """A connection has its transport: it is dropped when the router ends."""
        self._transports.add(transport)

    def closed(self, transport: asyncio.BaseTransport, session: int) -> None:
        """A connection is gone."""
        self._transports.discard(transport)
        self.counts.open -= 1
        self.log("session_closed", session)

    # -- what may be done to it

    def behave(self, changes: Mapping[str, object]) -> None:
        """Change the behaviour; raises InputInvalid."""
        was, self.behaviour = self.behaviour, self.behaviour.changed(changes)
        self._texts.clear()
        self.log("behaviour_changed", fields=sorted(changes))
        if was.listening != self.behaviour.listening:
            self.open()

    def edit(self, kind: str | None = None, by: str = "admin") -> Edit:
        """Let somebody make one real change; raises InputInvalid for a kind that does not exist."""
        chosen = edit_kind(self.spec, len(self.kinds) + 1, kind)
        _, edits = at_revision(self.spec, (*self.kinds, chosen))
        self.kinds = (*self.kinds, chosen)
        edit = edits[-1]
        self._made.append(Made(edit, by, datetime.now(UTC)))
        lines = {"before": edit.before, "after": edit.after}
        self._history.add(
            self.spec.name, "edited", None, revision=edit.revision, edit=edit.kind, section=edit.section, by=by, **lines
        )
        return edit

    def edit_log(self) -> bytes:
        """What its own log says of its edits."""
        return edit_log(self.as_it_is, tuple(self._made))

    def change_key(self, key_type: HostKeyType | None = None) -> str:
        """Another host key on the same port, of the same or of another type; returns its fingerprint."""
        return self._told("key_changed", self.keys.change(key_type))

    def add_key(self, key_type: HostKeyType) -> str:
        """One more host key, of a type that it has not yet; returns its fingerprint. Raises InputInvalid."""
        return self._told("key_added", self.keys.add(key_type))

    def take_logins(self, logins: tuple[Login, ...]) -> None:
        """Other users and passwords from now on, in place of those it has."""
        self.spec = replace(self.spec, logins=logins)
        self.log("logins_changed", users=[login.username for login in logins])

    def drop_key(self, key_type: HostKeyType) -> None:
        """Have no host key of that type any more; raises InputInvalid if it has none, or no other."""
        self.keys.drop(key_type)
        self.log("key_dropped", key_type=key_type)

    def _told(self, what: str, key: SimulatedHostKey) -> str:
        self.log(what, key_type=key.key_type, generation=key.generation, fingerprint=key.fingerprint)
        return key.fingerprint

    def text(self, revision: int | None = None, *, sensitive: bool = True, menu: str = "") -> Rendered:
        """What it exports of the present revision, which is kept, or of an earlier one, which is made anew."""
        behaviour, spec = self.behaviour, self.as_it_is
        extent = Extent(sensitive, menu, behaviour.shrunk, behaviour.unexportable)
        if revision is not None and revision != len(self.kinds):
            return rendered(spec, self.kinds[:revision], extent)
        text = self._texts.get(extent)
        if text is None or text.revision != len(self.kinds):  # made in another thread, it may come after an edit
            text = rendered(spec, self.kinds, extent)
            if behaviour is self.behaviour:
                self._texts[extent] = text
        return text

    def stats(self) -> Counts:
        """The counts now."""
        return replace(self.counts)
