"""The client's side of a connection whose server opens TCP connections for it: direct-tcpip (RFC 4254, section 7.2).

It lives long and carries many channels, for which paramiko's own transport is not made: a refusal of one channel is
given to whichever thread asks first, and a message that its own thread has to send during a key exchange waits for
that exchange, which only this thread could go on with (measured with 4.0: both ends wait for ever).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import paramiko
from paramiko.common import cMSG_CHANNEL_OPEN, cMSG_GLOBAL_REQUEST
from paramiko.message import Message

from backupflow.adapters.ssh.internals import ChannelInside, TransportInside
from backupflow.adapters.ssh.transport import PACKET, Handle, Transport

if TYPE_CHECKING:
    from collections.abc import Callable

# Bytes that a hop may send ahead of the reader, and so the memory that a channel may take. An export that waits in a
# router behind a jump host waits in TCP, which loses nothing: here the window need not be larger than an export.
WINDOW = 4 * 1024 * 1024
EXCHANGE_SECONDS = 20.0  # nobody who has something to send waits longer for the end of a key exchange
_POLL = 0.2  # seconds: a connection that is ended from here wakes nobody who waits for a channel
_LONGEST_WORDS = 200
_MOST_UNANSWERED = 200  # channels that were asked for, and given up
_KEEPALIVE = "keepalive@openssh.com"  # nobody knows it: each server has to answer that (RFC 4254, section 4)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a channel was not opened: a number (RFC 4254, section 5.1), and hostile words."""

    reason: int
    words: str


class Forwarded(ChannelInside):
    """A channel to a TCP connection of the server's."""

    refusal: Refusal | None = None
    ended = False  # by the server's word, not because its connection broke

    def _feed(self, m: Message | bytes) -> None:
        super()._feed(m)
        if len(self.in_buffer) > WINDOW:
            raise paramiko.SSHException("more was sent than there was room for")

    def _feed_extended(self, m: Message) -> None:
        """A TCP connection has no second stream."""

    def _handle_eof(self, m: Message) -> None:
        self.ended = True
        super()._handle_eof(m)

    def _handle_close(self, m: Message) -> None:
        self.ended = True
        super()._handle_close(m)


def _of_the_channel(table: dict[int, Handle]) -> dict[int, Handle]:
    """The same handlers, as the channel's own class has them."""
    return {kind: _by_name(handle.__name__) for kind, handle in table.items()}


def _by_name(name: str) -> Handle:
    def handle(channel: paramiko.Channel, message: Message) -> None:
        getattr(channel, name)(message)

    return handle


class ForwardingTransport(Transport):
    """Opens channels to other hosts; its own thread never waits for itself."""

    _channel_handler_table = _of_the_channel(TransportInside._channel_handler_table)  # noqa: SLF001 - as paramiko does

    def __init__(self, *given: Any) -> None:  # noqa: ANN401 - as the base takes them
        super().__init__(*given)
        self.clear_to_send_timeout = EXCHANGE_SECONDS
        self._given_up: dict[int, Forwarded] = {}
        self._later: list[Message] = []
        self.on_end: Callable[[], None] = lambda: None

    @property
    def overfull(self) -> bool:
        """Whether too many channels were asked for that were never answered: it is time for another connection."""
        return len(self._given_up) >= _MOST_UNANSWERED

    def open_to(self, host: str, port: int, seconds: float) -> Forwarded | None:
        """Ask for a channel, and wait so long for the answer; None if there was none. Raises BROKEN.

        The answer is looked at by the caller: the channel may have been refused.
        """
        with self.lock:
            number = self._next_channel()
            channel = Forwarded(number)
            self._channels.put(number, channel)
            self.channels_seen[number] = True
            self.channel_events[number] = answered = threading.Event()
            channel._set_transport(self)  # noqa: SLF001 - paramiko's channel knows no other way
            channel._set_window(WINDOW, PACKET)  # noqa: SLF001
        self._send_user_message(_opening(number, host, port))
        ends = time.monotonic() + seconds
        while not answered.wait(min(_POLL, max(0.0, ends - time.monotonic()))):
            if not self.is_active():
                raise EOFError
            if time.monotonic() >= ends:
                with self.lock:
                    if not answered.is_set():
                        self._given_up[number] = channel
                        return None
        if not self.is_active() and channel.refusal is None:
            raise EOFError
        return channel

    def ask(self) -> bool:
        """Send something that must be answered; from its own thread. False if that has to wait for a key exchange."""
        if not self.clear_to_send.is_set():
            return False
        message = Message()
        message.add_byte(cMSG_GLOBAL_REQUEST)
        message.add_string(_KEEPALIVE)
        message.add_boolean(True)  # noqa: FBT003 - an answer is wanted
        self._send_message(message)
        return True

    def run(self) -> None:
        """Live, and say that it has ended."""
        try:
            super().run()
        finally:
            self.on_end()

    def _parse_channel_open_success(self, m: Message) -> None:
        number = m.get_int()
        m.rewind()
        super()._parse_channel_open_success(m)
        late = self._given_up.pop(number, None)  # afterwards: the base has told who waits, under the lock
        if late is not None:
            late.close()

    def _parse_channel_open_failure(self, m: Message) -> None:
        number, reason, words = m.get_int(), m.get_int(), m.get_binary()[:_LONGEST_WORDS]
        with self.lock:
            self._given_up.pop(number, None)
            channel, answered = self._channels.get(number), self.channel_events.pop(number, None)
            if channel is not None and answered is not None:
                channel.refusal = Refusal(reason, words.decode("ascii", "replace"))
                self._channels.delete(number)
                answered.set()

    def _send_user_message(self, data: Message) -> None:
        if threading.current_thread() is self and not self.clear_to_send.is_set():
            self._later.append(data)
        else:
            super()._send_user_message(data)

    def _parse_newkeys(self, m: Message) -> None:
        super()._parse_newkeys(m)
        later, self._later = self._later, []
        for message in later:
            self._send_message(message)


def _opening(number: int, host: str, port: int) -> Message:
    message = Message()
    message.add_byte(cMSG_CHANNEL_OPEN)
    message.add_string("direct-tcpip")
    message.add_int(number)
    message.add_int(WINDOW)
    message.add_int(PACKET)
    message.add_string(host)
    message.add_int(port)
    message.add_string("127.0.0.1")  # whose connection it is said to be: nobody's address is told to the jump host
    message.add_int(0)
    return message
