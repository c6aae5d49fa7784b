"""Publish, bounded fetch, gauge: the ports of the bus.

1. A publish that timed out may still arrive: the next try carries the same Nats-Msg-Id, which the stream stores once.
2. nats-py's own fetch has no limit in bytes; the server's pull request has one, so it is written here (ADR-13, ADR-9).
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import nats.errors
from nats.js import api
from nats.js.errors import NotFoundError

from backupflow.adapters.bus.connection import BusConnection, BusLogin
from backupflow.adapters.bus.stream import (
    BATCH_BYTES,
    BATCH_MESSAGES,
    CONSUMER,
    MAX_MESSAGE_BYTES,
    MIB,
    STREAM,
    BusStatus,
    StreamDelivery,
    consumer_config,
    delivery_of,
    stream_config,
)
from backupflow.core.message import encode
from backupflow.errors import BusUnavailable, OutputTooLarge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nats.aio.msg import Msg
    from nats.js.client import JetStreamContext

    from backupflow.core.message import SnapshotMessage
    from backupflow.core.ports import Delivery

PUBLISH_TRIES = 3
_HEADER_BYTES = (
    512  # more than ours take; the server counts them, nats-py does not, and a violation closes the connection
)


class Bus(BusConnection):
    """Publisher, Inbox and BusGauge: the role's permissions decide which.

    `timeout` bounds each wait for the server (a publish has three of them), `wait` how long a fetch waits for a first
    message, `max_bytes` is the size of a stream that is made here, `ca` a file with the authority of a tls:// address.
    """

    def __init__(
        self,
        url: str,
        login: BusLogin,
        *,
        timeout: timedelta = timedelta(seconds=5),
        wait: timedelta = timedelta(milliseconds=500),
        max_bytes: int = 1024 * MIB,
        ca: str | None = None,
    ) -> None:
        super().__init__(url, login, timeout, ca)
        self._wait = wait.total_seconds()
        self._max_bytes = max_bytes

    def publish(self, message: SnapshotMessage) -> bool:
        """True: the stream has it. False: nobody knows. BusUnavailable: it certainly has not."""
        arrived = self._run(self._publish(message), tries=PUBLISH_TRIES)
        if not arrived:
            self.noted(BusUnavailable.code)
        return arrived

    def fetch(self) -> Sequence[StreamDelivery]:
        """At most 100 messages and 64 MiB; empty if nothing came within `wait`."""
        return [delivery_of(msg) for msg in self._run(self._fetch())]

    def acknowledge(self, delivery: Delivery) -> None:
        """Done with it, for good; returns when the server has said so."""
        self._run(self._answer(delivery, b"+ACK"))

    def later(self, delivery: Delivery, wait: timedelta) -> None:
        """Deliver it again, not before `wait` is over: a refusal without delay would come back at once, for ever."""
        delay = max(int(wait.total_seconds() * 1e9), 1)
        self._run(self._answer(delivery, b"-NAK " + json.dumps({"delay": delay}).encode()))

    def newest(self) -> int:
        """The number of the newest message that the stream ever took; 0: none."""
        return self._run(self._newest())

    def drained(self, upto: int | None = None) -> bool:
        """Whether all messages up to that number were acknowledged; None: all that there are."""
        info = self._run(self._consumer())
        if not info.num_pending and not info.num_ack_pending:
            return True
        return upto is not None and info.ack_floor is not None and info.ack_floor.stream_seq >= upto

    def make_sure(self) -> bool:
        """Make stream and consumer if they are missing; True if one had to be made."""
        return self._run(self._make_sure(), tries=4)

    def room(self) -> int:
        """Bytes that the stream still takes."""
        return self.status().room

    def status(self) -> BusStatus:
        """Version and fill; BusUnavailable if the server or the stream does not answer."""
        return self._run(self._status())

    async def _publish(self, message: SnapshotMessage) -> bool:
        payload = encode(message)
        client = await self._connected()
        if len(payload) + _HEADER_BYTES > min(client.max_payload, MAX_MESSAGE_BYTES):
            # Of this export, not of the bus: as back-pressure the device would be due again at once, for ever.
            raise OutputTooLarge(f"a message of {len(payload)} bytes is more than the bus takes at once")
        unknown = False
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._timeout * (PUBLISH_TRIES - 0.5)
        for _ in range(PUBLISH_TRIES):
            patience = min(self._timeout, deadline - clock())
            try:
                headers = {api.Header.MSG_ID.value: message.message_id, api.Header.EXPECTED_STREAM.value: STREAM}
                answer = await client.request(message.subject, payload, timeout=patience, headers=headers)
                refusal = json.loads(answer.data).get("error")
            except nats.errors.TimeoutError:
                if message.subject in self._violation:
                    raise BusUnavailable(self._violation) from None
                unknown = True
                continue
            except nats.errors.NoRespondersError:
                refusal = {"description": "there is no stream"}
            except (nats.errors.Error, OSError) as exc:
                refusal = {"description": type(exc).__name__}
            if refusal is None:
                return True
            if unknown:  # an earlier try may have arrived
                return False
            raise BusUnavailable(str(refusal.get("description", "refused")))
        return False

    async def _fetch(self) -> list[Msg]:
        client = await self._connected()
        if self._inbox is None:
            self._inbox = await client.subscribe(client.new_inbox() + ".*")
        msgs = await self._pull({"batch": BATCH_MESSAGES, "max_bytes": BATCH_BYTES, "no_wait": True}, self._timeout)
        return msgs or await self._pull({"batch": 1, "expires": int(self._wait * 1e9)}, self._wait + 1)

    async def _pull(self, request: dict[str, Any], patience: float) -> list[Msg]:
        """One pull request; it ends with its last message, with a status for its own reply subject, or by time."""
        client, inbox = await self._connected(), self._inbox
        if inbox is None:
            return []
        self._requests += 1
        reply = f"{inbox.subject[:-1]}{self._requests}"
        await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}", json.dumps(request).encode(), reply)
        msgs: list[Msg] = []
        size = 0
        deadline = asyncio.get_running_loop().time() + patience
        while len(msgs) < request["batch"] and size < BATCH_BYTES:
            try:
                msg = await inbox.next_msg(max(deadline - asyncio.get_running_loop().time(), 0.001))
            except nats.errors.TimeoutError:
                break
            if msg.reply:  # a delivery, of this request or late from an earlier one
                msgs.append(msg)
                size += len(msg.data)
            elif msg.subject == reply:
                status = (msg.headers or {}).get(api.Header.STATUS.value)
                if status == "503":
                    raise BusUnavailable("there is no stream or no consumer")
                break
        return msgs

    async def _answer(self, delivery: Delivery, answer: bytes) -> None:
        if not isinstance(delivery, StreamDelivery):
            raise TypeError("not a delivery of this bus")
        client = await self._connected()
        await client.request(delivery.reply, answer, timeout=self._timeout)

    async def _consumer(self) -> api.ConsumerInfo:
        info: api.ConsumerInfo = await (await self._jetstream()).consumer_info(STREAM, CONSUMER)
        return info

    async def _newest(self) -> int:
        return (await (await self._jetstream()).stream_info(STREAM)).state.last_seq

    async def _status(self) -> BusStatus:
        jetstream = await self._jetstream()
        client = await self._connected()
        info = await jetstream.stream_info(STREAM)
        version = str(client.connected_server_version).removeprefix("<nats server v").removesuffix(">")
        limit, used = info.config.max_bytes or 0, info.state.bytes
        return BusStatus(version, info.state.messages, used, max(limit - used, 0))

    async def _make_sure(self) -> bool:
        jetstream = await self._jetstream()
        made = False
        try:
            config = (await jetstream.stream_info(STREAM)).config
        except NotFoundError:
            await jetstream.add_stream(stream_config(self._max_bytes))
            made = True
        else:
            if (config.retention, config.discard) != (api.RetentionPolicy.WORK_QUEUE, api.DiscardPolicy.NEW):
                raise BusUnavailable(f"its stream {STREAM} was made by others: it may drop what was not read")
        try:
            await jetstream.consumer_info(STREAM, CONSUMER)
        except NotFoundError:
            await jetstream.add_consumer(STREAM, consumer_config())
            made = True
        return made

    async def _jetstream(self) -> JetStreamContext:
        return (await self._connected()).jetstream(timeout=self._timeout)
