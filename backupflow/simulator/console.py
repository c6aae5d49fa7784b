"""The answer to one command: sent, slowed, broken off or kept back as the router's behaviour says."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncssh

from backupflow.simulator.commands import EditLogWanted, ExportWanted, answers
from backupflow.simulator.configuration import export
from backupflow.simulator.wire import reset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.simulator.behaviour import Behaviour
    from backupflow.simulator.configuration import Rendered
    from backupflow.simulator.router import Router

_PIECE = 32_768  # bytes handed to SSH at once
_STEPS_PER_SECOND = 10  # of a slow answer
_GREAT = 200_000  # bytes of a configuration that is made in another thread, so that the other routers go on
_FILLER = b"# fill " + b"." * 91 + b"\r\n"


class Console(asyncssh.SSHServerSession[bytes]):
    """One channel; answers an exec request as the RouterOS console does."""

    def __init__(self, router: Router, session: int, transport: asyncio.Transport) -> None:
        self._router = router
        self._session = session
        self._transport = transport
        self._command = ""
        self._task: asyncio.Task[None] | None = None
        self._overflowed = False
        self._may_write = asyncio.Event()
        self._may_write.set()

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
        self._router.log("channel_closed", self._session, clean=exc is None)
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        await asyncio.sleep(self._router.behaviour.answer_delay.total_seconds())
        with contextlib.suppress(BrokenPipeError, ConnectionError):  # asyncssh says so of a client that left
            await self._send(self._router.behaviour.preface)
            for answer in answers(self._router.as_it_is, self._command, self._router.behaviour):
                if isinstance(answer, EditLogWanted):
                    await self._send(self._router.edit_log())
                elif not isinstance(answer, ExportWanted):
                    await self._send(answer)
                elif not await self._send_export(answer):
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
        """Send an export as far as it shall go; False if it broke off there and nothing may follow."""
        router, behaviour = self._router, self._router.behaviour
        if router.spec.size > _GREAT:
            text = await asyncio.to_thread(router.text, sensitive=wanted.sensitive, menu=wanted.menu)
        else:
            text = router.text(sensitive=wanted.sensitive, menu=wanted.menu)
        router.counts.exports += 1
        whole = behaviour.raw_export
        if whole is None:
            whole = export(router.as_it_is, text, datetime.now(UTC), router.counts.exports, behaviour.flapping)
        total = len(whole) if behaviour.export_size is None else behaviour.export_size
        breaks = [at for at in (behaviour.cut_after, behaviour.stall_after) if at is not None and at <= total]
        await self._send_counted(wanted, text, whole, total, min(breaks, default=total))
        if breaks:
            await self._break_off(behaviour)
        return not breaks

    async def _send_counted(self, wanted: ExportWanted, text: Rendered, whole: bytes, total: int, limit: int) -> None:
        """Send `limit` bytes, and log what really went: before the end is told, so that the log is never behind."""
        digest, sent = hashlib.sha256(), 0
        behaviour = self._router.behaviour
        try:
            for piece in _pieces(whole, limit):
                arrived = await self._send(piece)
                digest.update(piece[:arrived])
                sent += arrived
        finally:
            self._router.log(
                "export_served",
                self._session,
                revision=text.revision,
                digest=text.digest,
                menu=wanted.menu,
                sensitive=wanted.sensitive,
                secrets=text.body.secrets,
                exact=behaviour.raw_export is None and behaviour.export_size is None,
                complete=sent == total,
                bytes_sent=sent,
                bytes_total=total,
                sent_digest=digest.hexdigest(),
            )

    async def _break_off(self, behaviour: Behaviour) -> None:
        if behaviour.cut_after is None:
            return  # stalled: the connection stays, nothing comes
        if behaviour.cut_manner == "channel":
            await self._end()
            return
        while self._transport.get_write_buffer_size():  # noqa: ASYNC110 - the bytes before the cut do arrive
            await asyncio.sleep(0.005)
        if behaviour.cut_manner == "reset":
            reset(self._transport)
        else:
            self._transport.abort()

    async def _send(self, data: bytes) -> int:
        """Hand bytes to SSH at the wanted speed; gives how many went, when they are in the client's window."""
        behaviour = self._router.behaviour
        if behaviour.loses_beyond_window:
            return self._send_what_fits(data)
        speed = behaviour.bytes_per_second
        step = max(1, min(_PIECE, speed // _STEPS_PER_SECOND)) if speed else _PIECE
        for start in range(0, len(data), step):
            self._chan.write(data[start : start + step])
            await self._may_write.wait()
            if speed:
                await asyncio.sleep(step / speed)
        return len(data)

    def _send_what_fits(self, data: bytes) -> int:
        """Never wait for room: once the window is full, nothing of this answer goes any more."""
        fits = 0 if self._overflowed else min(len(data), self._chan._send_window)  # noqa: SLF001 - told to nobody
        self._overflowed = fits < len(data)
        self._chan.write(data[:fits])
        return fits


def _pieces(whole: bytes, total: int) -> Iterator[bytes]:
    """The export cut off at `total` bytes or filled up to it, in pieces: a great one is never held in memory."""
    for start in range(0, min(len(whole), total), _PIECE):
        yield whole[start : min(start + _PIECE, total)]
    missing = total - len(whole)
    block = _FILLER * (_PIECE // len(_FILLER))
    while missing > 0:
        yield block[:missing]
        missing -= len(block)
