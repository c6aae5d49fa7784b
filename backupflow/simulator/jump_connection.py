"""The connections of a simulated jump host: of its clients, and to the devices that they name."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import asyncssh

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from backupflow.simulator.jump import JumpHost


class Mute(asyncio.Protocol):
    """A connection that is told nothing."""

    def __init__(self, jump_host: JumpHost, session: int) -> None:
        self._jump_host = jump_host
        self._session = session

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it."""
        self._transport = transport
        self._jump_host.connected(transport, self._session)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client gave up."""
        self._jump_host.disconnected(self._transport, self._session)


class JumpServer(asyncssh.SSHServer):
    """The login and the channels of one connection."""

    def __init__(self, jump_host: JumpHost, session: int) -> None:
        self._jump_host = jump_host
        self._session = session

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Count it."""
        self._transport = cast("asyncio.BaseTransport", conn._transport)  # noqa: SLF001 - asyncssh gives it nowhere else
        self._jump_host.connected(self._transport, self._session)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, whoever ended it."""
        self._jump_host.disconnected(self._transport, self._session)

    def begin_auth(self, username: str) -> bool:
        """Every login needs proof."""
        return True

    def auth_completed(self) -> None:
        """Count the login."""
        self._jump_host.counts.logins += 1
        self._jump_host.log("logged_in", self._session)

    def password_auth_supported(self) -> bool:
        """It takes passwords."""
        return True

    def validate_password(self, username: str, password: str) -> bool:
        """Compare and log the offered password."""
        known = any((login.username, login.password) == (username, password) for login in self._jump_host.spec.logins)
        accepted = known and not self._jump_host.behaviour.refuse_login
        self._jump_host.log("login_offered", self._session, username=username, offered=password, accepted=accepted)
        return accepted

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> Awaitable[asyncssh.SSHTCPSession[bytes]]:
        """Let a client through to a device."""
        passage = self._jump_host.passage(self._session, dest_host, dest_port)
        return cast("Awaitable[asyncssh.SSHTCPSession[bytes]]", passage)  # as asyncssh takes it from itself
