"""What a router may do to a connection beside answering: reset it at some step, or talk without end."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

import asyncssh

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asyncssh.packet import SSHPacketLogger

    from backupflow.simulator.behaviour import Step

# Numbers of messages (RFC 4250, section 4.1.2); a step is over when this one was sent.
_LAST_OF: Mapping[int, Step] = {20: "kex", 21: "newkeys", 91: "channel", 99: "command"}
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset and drops what was not sent
_BREATH = 0.002  # seconds between two pieces of what never ends
_FULL = 65_536  # bytes that wait for the client: more of them would only fill our memory
SAYING = "Authorised use only. " * 40


def reset(transport: asyncio.BaseTransport) -> None:
    """End a connection with a TCP reset."""
    connection = transport.get_extra_info("socket")
    if connection is not None and isinstance(transport, asyncio.WriteTransport) and not transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        transport.abort()


async def babble(transport: asyncio.Transport, speed: int | None, say: Callable[[str], None]) -> None:
    """Say the same again and again until the client leaves; `speed` in bytes per second, None: as fast as it reads."""
    while not transport.is_closing():
        say(SAYING)
        await asyncio.sleep(len(SAYING) / speed if speed else _BREATH)
        while transport.get_write_buffer_size() > _FULL:  # noqa: ASYNC110 - a transport tells nobody but its protocol
            await asyncio.sleep(_BREATH)


class ServerConnection(asyncssh.SSHServerConnection):
    """An SSH connection that is reset after a step of its own; the steps of a login are those of its `SSHServer`."""

    def __init__(self, options: asyncssh.SSHServerConnectionOptions, reset_at: Callable[[], Step]) -> None:
        super().__init__(asyncio.get_running_loop(), options)
        self._reset_at = reset_at

    def _send_version(self) -> None:
        super()._send_version()
        self._over("banner")

    def send_packet(self, pkttype: int, *args: bytes, handler: SSHPacketLogger | None = None) -> None:
        """Send, and reset if that was the end of the step."""
        super().send_packet(pkttype, *args, handler=handler)
        if (step := _LAST_OF.get(pkttype)) is not None:
            self._over(step)

    def _over(self, step: Step) -> None:
        if step == self._reset_at() and self._transport is not None:
            reset(self._transport)
