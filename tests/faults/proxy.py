"""A TCP proxy that does to connections what networks do: cuts, silence, delay, a thin line, an answer that never comes.

One event-loop thread carries all proxies of a `ProxyLoop`. Each byte goes through `_Link._write`, where the mode of
that moment decides; what was in flight when a mode changes keeps its delay.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

HOST = "127.0.0.1"
LINGER = 0.3  # seconds from the first swallowed answer to the cut, so that the server has done what was asked
_CHUNK = 65_536
_IN_FLIGHT = 64  # chunks a direction
_SLICES = 20  # of a second, in which a thin line passes its bytes
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST (socket(7), tcp(7))
UP, DOWN = "up", "down"


def _socket(address: tuple[str, int]) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setblocking(False)
    made.bind(address)
    return made


@dataclass(frozen=True)
class _Mode:
    """How a proxy treats what goes through it."""

    delay: float = 0.0  # seconds, each way
    rate: int | None = None  # bytes a second each way, of all connections together
    hole: bool = False
    swallows: tuple[bytes, ...] | None = None  # answers of a connection that has sent these, in this order
    times: int | None = None  # so many connections; None: all


@dataclass
class _Trigger:
    left: dict[str, int]
    act: Callable[[], None]


class ProxyLoop:
    """The thread of all proxies; as a context it ends with all of them closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxies", daemon=True)
        self._proxies: list[Proxy] = []

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Reset every connection and end the thread."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)

    def open(self, host: str, port: int) -> Proxy:
        """A proxy in front of that address, on a free port of loopback."""
        proxy = Proxy(self, (host, port))
        self._proxies.append(proxy)
        proxy.pass_through()
        return proxy

    def call(self, work: Callable[[], None]) -> None:
        """Do it in the loop's thread, and wait; at once if this is that thread."""
        if threading.current_thread() is self._thread:
            work()
            return

        async def do() -> None:
            work()

        asyncio.run_coroutine_threadsafe(do(), self._loop).result(30)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    async def _end(self) -> None:
        for proxy in self._proxies:
            proxy.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*rest, return_exceptions=True)
        await asyncio.sleep(0)  # the aborted transports close their sockets


@dataclass(eq=False)
class Proxy:
    """One proxy; `up` and `down` count bytes that passed, `swallowed` the connections that were robbed of an answer."""

    loop: ProxyLoop
    target: tuple[str, int]
    up: int = 0
    down: int = 0
    accepted: int = 0
    swallowed: int = 0
    mode: _Mode = field(default_factory=_Mode)
    _free_at: dict[str, float] = field(default_factory=lambda: {UP: 0.0, DOWN: 0.0})
    _trigger: _Trigger | None = None
    _links: set[_Link] = field(default_factory=set)
    _listener: socket.socket | None = None

    def __post_init__(self) -> None:
        # It keeps the port while nothing listens: no outgoing connection of another process is given it.
        self._holder = _socket((HOST, 0))
        self.port: int = self._holder.getsockname()[1]

    @property
    def address(self) -> str:
        """Where it listens, as host:port."""
        return f"{HOST}:{self.port}"

    def pass_through(self) -> None:
        """Heal: everything passes. A connection that lost bytes meanwhile is reset, as by a peer that forgot it."""
        self._set(_Mode())

    def cut(self) -> None:
        """Reset all present connections, on both sides; the mode stays as it is."""
        self.loop.call(lambda: self._reset(lambda _: True))

    def refuse(self) -> None:
        """Nobody listens: present connections are reset, new ones refused."""
        self.loop.call(self._refuse)

    def black_hole(self) -> None:
        """Half-open: connections stay and are accepted, not a byte passes, and no end of one side reaches the other."""
        self._set(_Mode(hole=True))

    def latency(self, seconds: float) -> None:
        """Everything takes so much longer, each way."""
        self._set(_Mode(delay=seconds))

    def limit(self, bytes_per_second: int) -> None:
        """A thin line, each way, that all connections share."""
        self._set(_Mode(rate=bytes_per_second))

    def swallow_answers(self, *sent: bytes, times: int | None = None) -> None:
        """Let requests through and drop what is answered, then reset the connection: the outcome stays unknown.

        Of connections that from now on have sent these bytes, one after the other, and of `times` of them; else of all.
        """
        self._set(_Mode(swallows=sent, times=times))

    def after(self, act: Callable[[], None], *, bytes_up: int | None = None, bytes_down: int | None = None) -> None:
        """Do `act`, one of these methods, when exactly so many bytes more have passed."""
        wanted = {UP: bytes_up, DOWN: bytes_down}
        self._trigger = _Trigger({way: count for way, count in wanted.items() if count is not None}, act)

    def close(self) -> None:
        """Reset everything and free the port; in the loop's thread."""
        self._refuse()
        self._holder.close()

    def _set(self, mode: _Mode) -> None:
        def do() -> None:
            self.mode = mode
            if not mode.hole:
                self._reset(lambda link: link.tainted)
            for link in self._links:
                link.progress = 0
            self._listen()

        self.loop.call(do)

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = _socket((HOST, self.port))
            self._listener.listen(128)
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _refuse(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        self._reset(lambda _: True)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept() if self._listener else (None, None)
        except OSError:  # it gave up meanwhile
            return
        if client is not None:
            self.accepted += 1
            link = _Link(self, client)
            self._links.add(link)
            link.task.add_done_callback(lambda _: self._over(link))

    def _over(self, link: _Link) -> None:
        link.close()
        self._links.discard(link)

    def _reset(self, which: Callable[[_Link], bool]) -> None:
        for link in [link for link in self._links if which(link)]:
            link.reset()

    def may_pass(self, way: str, wanted: int) -> int:
        """How many of these bytes go before something happens."""
        left = self._trigger.left.get(way, wanted) if self._trigger else wanted
        piece = max(self.mode.rate // _SLICES, 1) if self.mode.rate else wanted
        return min(left, piece, wanted)

    def passed(self, way: str, count: int) -> None:
        """Count, and do what was to be done after that many."""
        setattr(self, way, getattr(self, way) + count)
        trigger = self._trigger
        if trigger and way in trigger.left:
            trigger.left[way] -= count
            if trigger.left[way] <= 0:
                self._trigger = None
                trigger.act()

    async def line(self, way: str, count: int) -> None:
        """Wait for a place on the thin line."""
        if self.mode.rate:
            now = asyncio.get_running_loop().time()
            self._free_at[way] = max(self._free_at[way], now) + count / self.mode.rate
            await asyncio.sleep(self._free_at[way] - now)

    def may_swallow(self) -> bool:
        """Whether one more connection loses its answers from now on."""
        if self.mode.times is not None:
            if not self.mode.times:
                return False
            self.mode = replace(self.mode, times=self.mode.times - 1)
        self.swallowed += 1
        return True


class _Link:
    """One connection, with both its sides."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        client.setblocking(False)
        self.tainted = False  # it lost bytes: what followed would not be what was sent
        self.progress = 0  # of the bytes that it has to send before its answers are swallowed
        self._losing = False
        self._tail = b""
        self._proxy = proxy
        self._client = client
        self._writers: list[asyncio.StreamWriter] = []
        self.task = asyncio.get_running_loop().create_task(self._run())

    def reset(self) -> None:
        """Send RST to both sides, and end."""
        for side in (self._client, *(writer.get_extra_info("socket") for writer in self._writers)):
            with suppress(OSError):  # closed by now
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        for writer in self._writers:
            writer.transport.abort()
        self.task.cancel()

    async def _run(self) -> None:
        try:
            await self._carry()
        except OSError:
            self.reset()

    def close(self) -> None:
        """When it is over, also before it began."""
        for writer in self._writers:
            writer.close()
        if not self._writers:
            self._client.close()

    async def _carry(self) -> None:
        from_client, to_client = await self._open(asyncio.open_connection(sock=self._client))
        if self._proxy.mode.hole:
            self.tainted = True
            while await from_client.read(_CHUNK):
                pass
            await asyncio.Event().wait()
        from_server, to_server = await self._open(asyncio.open_connection(*self._proxy.target))
        ways = (self._way(UP, from_client, to_server), self._way(DOWN, from_server, to_client))
        tasks = [asyncio.ensure_future(way) for way in ways]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(
        self, opening: Coroutine[object, object, tuple[asyncio.StreamReader, asyncio.StreamWriter]]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a side; one that is there in the moment of a reset has nobody who would close it, so it is done here."""
        side = asyncio.ensure_future(opening)
        try:
            streams = await asyncio.shield(side)
        except asyncio.CancelledError:
            side.add_done_callback(_abort)
            raise
        self._writers.append(streams[1])
        return streams

    async def _way(self, way: str, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        flight: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue(_IN_FLIGHT)
        reading = asyncio.ensure_future(self._read(source, flight))
        try:
            await self._write(way, flight, sink)
            await reading
        finally:
            reading.cancel()

    async def _read(self, source: asyncio.StreamReader, flight: asyncio.Queue[tuple[float, bytes | None]]) -> None:
        clock = asyncio.get_running_loop().time
        data: bytes | None = b"-"
        while data:
            try:
                data = await source.read(_CHUNK)
            except OSError:
                data = None  # reset
            await flight.put((clock() + self._proxy.mode.delay, data))

    async def _write(
        self, way: str, flight: asyncio.Queue[tuple[float, bytes | None]], sink: asyncio.StreamWriter
    ) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due, data = await flight.get()
            await asyncio.sleep(max(due - clock(), 0))
            if self._proxy.mode.hole:
                self.tainted = True
                if not data:  # the other side is not told
                    await asyncio.Event().wait()
            elif data:
                await self._pass(way, data, sink)
            elif data is None:
                raise ConnectionResetError
            else:
                sink.write_eof()
                return

    async def _pass(self, way: str, data: bytes, sink: asyncio.StreamWriter) -> None:
        while data:
            if self._proxy.mode.hole:
                self.tainted = True
                return
            if way == DOWN and self._loses_answer():
                return
            count = self._proxy.may_pass(way, len(data))
            await self._proxy.line(way, count)
            sink.write(data[:count])
            if way == UP:
                self._look(data[:count])
            self._proxy.passed(way, count)
            await sink.drain()
            data = data[count:]

    def _look(self, sent: bytes) -> None:
        """See how much of what its answers are swallowed after was sent by now."""
        awaited = self._proxy.mode.swallows or ()
        self._tail += sent
        while self.progress < len(awaited) and awaited[self.progress] in self._tail:
            _, _, self._tail = self._tail.partition(awaited[self.progress])
            self.progress += 1
        longest = max((len(one) for one in awaited), default=1)
        self._tail = self._tail[max(len(self._tail) - longest + 1, 0) :]

    def _loses_answer(self) -> bool:
        if not self._losing:
            awaited = self._proxy.mode.swallows
            if awaited is None or self.progress < len(awaited) or not self._proxy.may_swallow():
                return False
            self._losing = True
            asyncio.get_running_loop().call_later(LINGER, self.reset)
        return True


def _abort(side: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
    if not side.cancelled() and side.exception() is None:
        side.result()[1].transport.abort()
