"""A simulated jump host: an SSH server that connects its clients to routers of the fleet, and may stop doing so.

Everything here runs in the event loop of the fleet.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import asyncssh
from asyncssh.constants import (
    OPEN_ADMINISTRATIVELY_PROHIBITED,
    OPEN_CONNECT_FAILED,
    OPEN_RESOURCE_SHORTAGE,
)
from asyncssh.forward import SSHForwarder

from backupflow.simulator.keyring import KeyRing
from backupflow.simulator.port import Port
from backupflow.simulator.spec import RouterSpec
from backupflow.simulator.wire import ServerConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from backupflow.simulator.history import History
    from backupflow.simulator.jump_spec import JumpSpec
    from backupflow.simulator.spec import Login

_REFUSALS = {
    "prohibited": (OPEN_ADMINISTRATIVELY_PROHIBITED, "administratively prohibited"),
    "shortage": (OPEN_RESOURCE_SHORTAGE, "too many channels"),
    "nonsense": (4711, "\x1b[2Jbecause"),
}
_LOOPBACK = "127."


@dataclass(slots=True)
class JumpCounts:
    """Of its connections and of the channels through them; `logins` are those that were accepted."""

    connections: int = 0
    open: int = 0
    logins: int = 0
    channels: int = 0
    channels_open: int = 0
    most_channels: int = 0  # at once


class JumpHost:
    """The state of one jump host.

    `where` gives the address of a router by its name, `server` and `mute` make what serves one of its connections.
    """

    def __init__(
        self,
        spec: JumpSpec,
        history: History,
        where: Callable[[str], tuple[str, int]],
        server: Callable[[JumpHost, int], asyncssh.SSHServer],
        mute: Callable[[JumpHost, int], asyncio.Protocol],
    ) -> None:
        self.spec = spec
        self.behaviour = spec.behaviour
        self.counts = JumpCounts()
        self.keys = KeyRing(RouterSpec(spec.name, seed=spec.seed, host_key_type=spec.host_key_type))
        self.port = Port(spec.host, spec.port, self._serve)
        self._history = history
        self._where = where
        self._server = server
        self._mute = mute
        self._transports: dict[asyncio.BaseTransport, int] = {}
        self._passages: set[Passage] = set()
        self._spoken = asyncio.Event()  # its behaviour was changed

    def log(self, kind: str, session: int | None = None, **facts: object) -> None:
        """Append to the true history."""
        self._history.add(self.spec.name, kind, session, **facts)

    def open(self) -> None:
        """Bind the port."""
        self.port.open(listening=self.behaviour.listening)

    def close(self) -> None:
        """Stop listening and drop every connection."""
        self.port.close()
        self.kill()

    def kill(self) -> None:
        """Drop every connection, of clients and to devices."""
        for transport in [*self._transports, *(passage.transport for passage in self._passages)]:
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()

    def behave(self, changes: Mapping[str, object]) -> None:
        """Change the behaviour; raises InputInvalid."""
        was, self.behaviour = self.behaviour, self.behaviour.changed(changes)
        self.log("behaviour_changed", fields=sorted(changes))
        self._spoken.set()
        if was.listening != self.behaviour.listening:
            self.open()
        if was.frozen != self.behaviour.frozen:
            for transport in [*self._transports, *(passage.transport for passage in self._passages)]:
                _freeze(transport, frozen=self.behaviour.frozen)

    def change_key(self) -> str:
        """Another host key; returns its fingerprint."""
        key = self.keys.change(None)
        self.log("key_changed", fingerprint=key.fingerprint)
        return key.fingerprint

    def take_logins(self, logins: tuple[Login, ...]) -> None:
        """Other users from now on, in place of those it has."""
        self.spec = replace(self.spec, logins=logins)
        self.log("logins_changed", users=[login.username for login in logins])

    def stats(self) -> JumpCounts:
        """The counts now."""
        return replace(self.counts)

    # -- connections

    def _serve(self, peer: tuple[str, int]) -> Callable[[], asyncio.Protocol]:
        self.counts.connections += 1
        self.counts.open += 1
        session = self.counts.connections
        self.log("session_opened", session, peer=f"{peer[0]}:{peer[1]}")
        if self.behaviour.mute:
            return lambda: self._mute(self, session)
        options = self.keys.options(legacy=False)
        if self.spec.rekey_bytes is not None:
            options.rekey_bytes = self.spec.rekey_bytes
        options.protocol_factory = lambda: self._server(self, session)
        return lambda: cast("asyncio.Protocol", ServerConnection(options, lambda: ""))

    def connected(self, transport: asyncio.BaseTransport, session: int) -> None:
        """A connection has its transport."""
        self._transports[transport] = session
        _freeze(transport, frozen=self.behaviour.frozen)

    def disconnected(self, transport: asyncio.BaseTransport, session: int) -> None:
        """A connection is gone."""
        self._transports.pop(transport, None)
        for passage in [passage for passage in self._passages if passage.session == session]:
            passage.abort()
        self.counts.open -= 1
        self.log("session_closed", session)

    # -- channels

    async def passage(self, session: int, host: str, port: int) -> SSHForwarder:
        """Connect to the device that a client names; raises ChannelOpenError."""
        self.log("channel_wanted", session, host=host, port=port)
        while self.behaviour.refusing == "silence":
            self._spoken.clear()
            await self._spoken.wait()
        if self.behaviour.refusing:
            raise asyncssh.ChannelOpenError(*_REFUSALS[self.behaviour.refusing])
        loop = asyncio.get_running_loop()
        try:
            _, passage = await loop.create_connection(lambda: Passage(self, session), *self._meant(host, port))
        except ConnectionRefusedError:
            raise self._failed("Connection refused") from None
        except OSError:
            raise self._failed("No route to host") from None
        if session not in self._transports.values():  # the client went while the device was connected to
            passage.abort()
            raise self._failed("too late")
        return SSHForwarder(passage)

    def _meant(self, host: str, port: int) -> tuple[str, int]:
        if (name := self.spec.behind.get((host, port))) is not None:
            return self._where(name)
        if not host.startswith(_LOOPBACK):
            raise self._failed("Name or service not known")
        return host, port

    def _failed(self, truth: str) -> asyncssh.ChannelOpenError:
        return asyncssh.ChannelOpenError(OPEN_CONNECT_FAILED, self.behaviour.words or truth)

    def passed(self, passage: Passage, session: int) -> None:
        """A connection to a device stands."""
        self._passages.add(passage)
        self.counts.channels += 1
        self.counts.channels_open += 1
        self.counts.most_channels = max(self.counts.most_channels, self.counts.channels_open)
        self.log("channel_opened", session)

    def left(self, passage: Passage, session: int) -> None:
        """It is gone."""
        self._passages.discard(passage)
        self.counts.channels_open -= 1
        self.log("channel_closed", session)


def _freeze(transport: asyncio.BaseTransport | None, *, frozen: bool) -> None:
    if isinstance(transport, asyncio.ReadTransport) and not transport.is_closing():
        if frozen:
            transport.pause_reading()
        else:
            transport.resume_reading()


class Passage(SSHForwarder):
    """The device's side of a channel."""

    def __init__(self, jump_host: JumpHost, session: int) -> None:
        super().__init__()
        self._jump_host = jump_host
        self.session = session
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The device has answered."""
        super().connection_made(transport)
        self.transport = cast("asyncio.WriteTransport", transport)
        self._jump_host.passed(self, self.session)

    def connection_lost(self, exc: Exception | None) -> None:
        """The device is gone, or the client."""
        super().connection_lost(exc)
        self._jump_host.left(self, self.session)

    def abort(self) -> None:
        """End it at once."""
        if self.transport is not None:
            self.transport.abort()
