"""The connections of a simulated jump host: of its clients, and to the devices that they name."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import asyncssh

from backupflow.simulator.keys import admits

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

    def public_key_auth_supported(self) -> bool:
        """It takes keys, where a user has some."""
        return any(login.public_keys for login in self._jump_host.spec.logins)

    def validate_password(self, username: str, password: str) -> bool:
        """Compare and log the offered password."""
        logins = self._jump_host.spec.logins
        return self._verdict(
            username, password, (username, password) in [(one.username, one.password) for one in logins]
        )

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Compare and log the offered key; asked twice per login, before and with the signature."""
        known = any(login.username == username and admits(login, key) for login in self._jump_host.spec.logins)
        return self._verdict(username, key.get_fingerprint(), known)

    def _verdict(self, username: str, offered: str, known: bool) -> bool:  # noqa: FBT001 - said once, above
        accepted = known and not self._jump_host.behaviour.refuse_login
        self._jump_host.log("login_offered", self._session, username=username, offered=offered, accepted=accepted)
        return accepted

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> Awaitable[asyncssh.SSHTCPSession[bytes]]:
        """Let a client through to a device."""
        passage = self._jump_host.passage(self._session, dest_host, dest_port)
        return cast("Awaitable[asyncssh.SSHTCPSession[bytes]]", passage)  # as asyncssh takes it from itself
