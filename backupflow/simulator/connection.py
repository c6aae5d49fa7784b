"""One connection to a simulated router: before the banner, the login, and the answer to a command."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncssh

from backupflow.simulator.commands import ExportWanted, answers
from backupflow.simulator.configuration import export
from backupflow.simulator.router import ignore_gone
from backupflow.simulator.spec import Login

if TYPE_CHECKING:
    from backupflow.simulator.router import Router

_PIECE = 32_768  # bytes handed to SSH at once
_FILLER = b"# fill " + b"." * 91 + b"\r\n"


class Waiting(asyncio.Protocol):
    """A connection before its banner: holds what the client says until SSH takes over, or for ever if mute."""

    def __init__(self, router: Router, session: int) -> None:
        self._router = router
        self._session = session
        self._heard: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start SSH now, later or never."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._router.connected(transport)
        behaviour = self._router.behaviour
        if behaviour.mute != "banner":
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(behaviour.banner_delay.total_seconds(), self._start_ssh)

    def data_received(self, data: bytes) -> None:
        """Keep it for SSH; a client sends its own banner without waiting."""
        if sum(map(len, self._heard)) < _PIECE:
            self._heard.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client gave up before the banner."""
        if self._timer is not None:
            self._timer.cancel()
        self._router.closed(self._transport, self._session)

    def _start_ssh(self) -> None:
        if self._transport.is_closing():
            return
        options = self._router.key.options
        options.protocol_factory = lambda: Server(self._router, self._session, self._transport)
        ssh = asyncssh.SSHServerConnection(asyncio.get_running_loop(), options)
        self._transport.set_protocol(ssh)
        ssh.connection_made(self._transport)
        for data in self._heard:
            ssh.data_received(data)


class Server(asyncssh.SSHServer):
    """The login of one connection."""

    def __init__(self, router: Router, session: int, transport: asyncio.Transport) -> None:
        self._router = router
        self._session = session
        self._transport = transport
        self._username = ""
        self._keys_seen: set[tuple[str, bool]] = set()

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Keep the connection to ask it for the client's version."""
        self._conn = conn

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        self._router.closed(self._transport, self._session)

    async def begin_auth(self, username: str) -> bool:
        """Every login needs proof; a router that is mute after the handshake never answers."""
        self._username = username
        self._router.log("client_seen", self._session, version=str(self._conn.get_extra_info("client_version")))
        if self._router.behaviour.mute == "handshake":
            await asyncio.Event().wait()
        return True

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

    async def validate_kbdint_response(self, username: str, responses: list[str]) -> bool:
        """Compare and log the answer."""
        return await self._verdict("keyboard-interactive", username, "".join(responses))

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Compare the offered key; asked twice per login, before and with the signature."""
        return await self._verdict("publickey", username, key.get_fingerprint(), key)

    async def _verdict(self, method: str, username: str, offered: str, key: asyncssh.SSHKey | None = None) -> bool:
        await asyncio.sleep(self._router.behaviour.login_delay.total_seconds())
        accepted = not self._router.behaviour.refuse_login and any(
            login.username == username and (_admits(login, key) if key else login.password == offered)
            for login in self._router.spec.logins
        )
        if key is None or (offered, accepted) not in self._keys_seen:
            self._keys_seen.add((offered, accepted))
            facts = {"method": method, "username": username, "offered": offered, "accepted": accepted}
            self._router.log("login_offered", self._session, **facts)
        return accepted

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        """One channel; a router has no limit to them here."""
        return Console(self._router, self._session, self._transport)


def _admits(login: Login, key: asyncssh.SSHKey) -> bool:
    return any(asyncssh.import_public_key(text).public_data == key.public_data for text in login.public_keys)


class Console(asyncssh.SSHServerSession[bytes]):
    """Answers one exec request as the RouterOS console does, broken off or slowed as the behaviour says."""

    def __init__(self, router: Router, session: int, transport: asyncio.Transport) -> None:
        self._router = router
        self._session = session
        self._transport = transport
        self._command = ""
        self._task: asyncio.Task[None] | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._gone: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """Writing pauses as soon as the client's window is full, so that what was sent is known."""
        self._chan = chan
        chan.set_write_buffer_limits(high=0, low=0)

    def exec_requested(self, command: str) -> bool:
        """Take any command; what is unknown is answered on stdout."""
        self._command = command
        self._router.log("command", self._session, text=command)
        return True

    def session_started(self) -> None:
        """Answer, unless mute."""
        if self._router.behaviour.mute != "command":
            self._task = asyncio.get_running_loop().create_task(self._run())

    def pause_writing(self) -> None:
        """The client's window is full."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """All that was written is on its way."""
        self._may_write.set()

    def eof_received(self) -> bool:
        """A client that ends its input still wants the answer."""
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed: by both sides (no exception) or with the connection."""
        if not self._gone.done():
            self._gone.set_result(exc is None)
        if self._task is not None and exc is not None:
            self._task.cancel()

    async def _run(self) -> None:
        await asyncio.sleep(self._router.behaviour.answer_delay.total_seconds())
        with ignore_gone():
            going = True
            for answer in answers(self._router.spec, self._command):
                going = await (self._send_export(answer) if isinstance(answer, ExportWanted) else self._send(answer))
                if not going:
                    return
            await self._end()

    async def _end(self) -> None:
        behaviour = self._router.behaviour
        if behaviour.stderr:
            self._chan.write_stderr(behaviour.stderr)
        await self._may_write.wait()
        if behaviour.exit_status is None:
            self._chan.write_eof()
            self._chan.close()
        else:
            self._chan.exit(behaviour.exit_status)

    async def _send_export(self, wanted: ExportWanted) -> bool:
        """Send an export and log what was really sent of it. False: it broke off and nothing may follow."""
        router, behaviour = self._router, self._router.behaviour
        text = router.text(sensitive=wanted.sensitive)
        router.counts.exports += 1
        whole = behaviour.raw_export
        if whole is None:
            whole = export(router.spec, text, datetime.now(UTC), router.counts.exports, behaviour.flapping)
        total = behaviour.export_size if behaviour.export_size is not None else len(whole)
        sent = 0
        digest = hashlib.sha256()
        going = True
        try:
            for piece in _pieces(whole, total):
                room = min(
                    (limit - sent for limit in (behaviour.cut_after, behaviour.stall_after) if limit is not None),
                    default=len(piece),
                )
                part = piece[:room]
                await self._send(part)
                digest.update(part)
                sent += len(part)
                if room < len(piece) or sent in (behaviour.cut_after, behaviour.stall_after):
                    going = False
                    break
        finally:
            exact = behaviour.raw_export is None and behaviour.export_size is None
            router.log(
                "export_served",
                self._session,
                revision=text.revision,
                digest=text.digest,
                sensitive=wanted.sensitive,
                exact=exact,
                bytes_sent=sent,
                bytes_total=total,
                sent_digest=digest.hexdigest(),
                complete=sent == total,
            )
        if not going:
            await self._break_off()
        return going

    async def _break_off(self) -> None:
        behaviour = self._router.behaviour
        if behaviour.cut_after is None:
            return  # stalled: the connection stays, nothing comes
        if behaviour.cut_manner == "channel":
            await self._end()
            return
        while self._transport.get_write_buffer_size():
            await asyncio.sleep(0.005)
        self._transport.abort()

    async def _send(self, data: bytes) -> bool:
        """Hand bytes to SSH at the wanted speed; returns when they are in the client's window."""
        speed = self._router.behaviour.bytes_per_second
        step = max(1, min(_PIECE, speed // 10)) if speed else _PIECE
        for start in range(0, len(data), step):
            self._chan.write(data[start : start + step])
            await self._may_write.wait()
            if speed:
                await asyncio.sleep(step / speed)
        return True


def _pieces(whole: bytes, total: int) -> Iterator[bytes]:
    """The export in pieces, cut off at `total` bytes or filled up to it; a great one is never held in memory."""
    for start in range(0, min(len(whole), total), _PIECE):
        yield whole[start : min(start + _PIECE, total)]
    missing = total - len(whole)
    block = _FILLER * (_PIECE // len(_FILLER))
    while missing > 0:
        yield block[:missing]
        missing -= len(block)
