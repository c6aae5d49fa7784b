"""One connection to a simulated router: before the banner, and the login."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import asyncssh

from backupflow.simulator.console import Console
from backupflow.simulator.keys import admits
from backupflow.simulator.wire import ServerConnection, babble, reset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.simulator.behaviour import Step
    from backupflow.simulator.router import Router

_HEARD_AT_MOST = 32_768  # bytes kept of a client that talks before the banner


class Waiting(asyncio.Protocol):
    """A connection before its banner: holds what the client says until SSH takes over, or for ever if mute."""

    def __init__(self, router: Router, session: int) -> None:
        self._router = router
        self._session = session
        self._heard: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._babble: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start SSH now, later or never."""
        self._transport = cast("asyncio.Transport", transport)
        self._router.connected(self._transport)
        behaviour = self._router.behaviour
        if behaviour.mute != "banner":
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(behaviour.banner_delay.total_seconds(), self._start_ssh)

    def data_received(self, data: bytes) -> None:
        """Keep it for SSH; a client sends its own banner without waiting."""
        if sum(map(len, self._heard)) < _HEARD_AT_MOST:
            self._heard.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client gave up before the banner."""
        for waiting in (self._timer, self._babble):
            if waiting is not None:
                waiting.cancel()
        self._router.closed(self._transport, self._session)

    def _start_ssh(self) -> None:
        if self._transport.is_closing():
            return
        if self._router.behaviour.babble == "banner":
            self._babble = asyncio.get_running_loop().create_task(self._talk())
            return
        options = self._router.keys.options(legacy=self._router.legacy)
        options.protocol_factory = lambda: Server(self._router, self._session, self._transport)
        ssh = ServerConnection(options, lambda: self._router.behaviour.reset_at)
        self._transport.set_protocol(ssh)
        ssh.connection_made(self._transport)
        for data in self._heard:
            ssh.data_received(data)

    async def _talk(self) -> None:
        """Say lines that are no SSH banner: a server may send some before it (RFC 4253, section 4.2)."""
        speed = self._router.behaviour.bytes_per_second
        await babble(self._transport, speed, lambda said: self._transport.write(said.encode("ascii") + b"\r\n"))


class Server(asyncssh.SSHServer):
    """The login of one connection."""

    def __init__(self, router: Router, session: int, transport: asyncio.Transport) -> None:
        self._router = router
        self._session = session
        self._transport = transport
        self._username = ""
        self._gone = asyncio.Event()
        self._keys_seen: set[tuple[str, bool]] = set()

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Keep the connection to ask it for the client's version."""
        self._conn = conn

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        self._gone.set()
        self._router.closed(self._transport, self._session)

    async def begin_auth(self, username: str) -> bool:
        """Every login needs proof; a router may never get to its verdict."""
        self._username = username
        self._router.log("client_seen", self._session, version=str(self._conn.get_extra_info("client_version")))
        self._admit_another_service_request()
        behaviour = self._router.behaviour
        await self._ends_at("login")
        if behaviour.mute == "handshake":
            await self._gone.wait()
        if behaviour.babble == "login":
            await babble(self._transport, behaviour.bytes_per_second, self._conn.send_auth_banner)
        return True

    async def _ends_at(self, step: Step) -> None:
        if self._router.behaviour.reset_at == step:
            reset(self._transport)
            await self._gone.wait()

    def auth_completed(self) -> None:
        """Count the login."""
        self._router.counts.logins += 1
        self._router.log("logged_in", self._session, username=self._username)

    def password_auth_supported(self) -> bool:
        """As the behaviour says."""
        return "password" in self._router.behaviour.login_methods

    def kbdint_auth_supported(self) -> bool:
        """As the behaviour says."""
        return "keyboard-interactive" in self._router.behaviour.login_methods

    def public_key_auth_supported(self) -> bool:
        """As the behaviour says."""
        return "publickey" in self._router.behaviour.login_methods

    async def validate_password(self, username: str, password: str) -> bool:
        """Compare and log the offered password."""
        return await self._verdict("password", username, password)

    def get_kbdint_challenge(
        self, username: str, lang: str, submethods: str
    ) -> tuple[str, str, str, list[tuple[str, bool]]]:
        """One question, without echo."""
        return "", "", "", [("password: ", False)]

    async def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> bool:
        """Compare and log the answer."""
        return await self._verdict("keyboard-interactive", username, "".join(responses))

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Compare the offered key; asked twice per login, before and with the signature."""
        return await self._verdict("publickey", username, key.get_fingerprint(), key)

    async def _verdict(self, method: str, username: str, offered: str, key: asyncssh.SSHKey | None = None) -> bool:
        await asyncio.sleep(self._router.behaviour.login_delay.total_seconds())
        accepted = not self._router.behaviour.refuse_login and any(
            login.username == username and (admits(login, key) if key else login.password == offered)
            for login in self._router.spec.logins
        )
        if key is None or (offered, accepted) not in self._keys_seen:
            self._keys_seen.add((offered, accepted))
            facts = {"method": method, "username": username, "offered": offered, "accepted": accepted}
            self._router.log("login_offered", self._session, **facts)
        await self._ends_at("proof")
        self._admit_another_service_request()
        return accepted

    def _admit_another_service_request(self) -> None:
        """Paramiko asks for the service before each attempt; OpenSSH admits that, asyncssh by itself does not."""
        self._conn._next_service = b"ssh-userauth"  # noqa: SLF001 - it offers no other way

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        """One channel; a router has no limit to them here."""
        return Console(self._router, self._session, self._transport)
