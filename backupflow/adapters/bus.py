"""JetStream through nats-py: publish, bounded fetch, gauge. Owns the one event-loop thread of its process.

Measured on NATS 2.15 and read in nats-py 2.16:

1. One loop thread serves every thread of a pool: `asyncio.run` for each publish is some ten times slower.
2. A publish that timed out may still arrive: the next try carries the same Nats-Msg-Id, which the stream stores once.
3. `pending_size=0` makes nats-py refuse to publish while it is disconnected, instead of keeping the message for later.
4. A refused login while reconnecting closes the client for good, so a closed one is replaced.
5. nats-py's own fetch has no limit in bytes; the server's pull request has one, so it is written here.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import threading
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.js import api
from nats.js.errors import APIError, NotFoundError

from backupflow.core.message import SUBJECT_PREFIX, encode
from backupflow.errors import BusUnavailable

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription
    from nats.js.client import JetStreamContext

    from backupflow.core.message import SnapshotMessage
    from backupflow.core.ports import Delivery

STREAM = "CONFIG_SNAPSHOTS"
CONSUMER = "ingest"
SUBJECTS = f"{SUBJECT_PREFIX}.>"
MIB = 1024 * 1024
MAX_MESSAGE_BYTES = 8 * MIB
BATCH_MESSAGES = 100
BATCH_BYTES = 64 * MIB
ACK_WAIT = timedelta(seconds=60)
MAX_ACK_PENDING = 1000
PUBLISH_TRIES = 3
_HEADER_BYTES = (
    512  # more than ours take; the server counts them, nats-py does not, and a violation closes the connection
)
_POLL_SECONDS = 0.02
_NOBODY = "nobody answers at its address"
_SLACK_SECONDS = 5.0  # every coroutine ends by its own bounds; this one is for a loop that is gone

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BusLogin:
    """A role's login; the role is the user's name, and its inbox is `_INBOX_<role>`."""

    role: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class StreamDelivery:
    """A message as the stream delivered it, not yet trusted."""

    payload: bytes = field(repr=False)
    subject: str
    stream_seq: int
    deliveries: int  # 1: the first time
    reply: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BusStatus:
    """What `doctor` shows."""

    version: str
    messages: int
    used: int  # bytes
    room: int  # bytes that the stream still takes


class Bus:
    """Publisher, Inbox and BusGauge: the role's permissions decide which.

    `timeout` bounds each wait for the server (a publish has three of them), `wait` how long a fetch waits for a first
    message, `max_bytes` is the size of a stream that is made here, `ca` a file with the authority of a tls:// address.
    The connection is opened by the first call, and again after a fork.
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
        self._timeout = timeout.total_seconds()
        self._wait = wait.total_seconds()
        self._max_bytes = max_bytes
        self._options: dict[str, Any] = {
            "servers": [url],
            "user": login.role,
            "password": login.password,
            "name": f"backupflow {login.role}",
            "inbox_prefix": f"_INBOX_{login.role}",
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": 1,
            "connect_timeout": self._timeout,
            "ping_interval": 10,
            "pending_size": 0,
            "error_cb": self._note,
        }
        if ca:
            self._options["tls"] = ssl.create_default_context(cafile=ca)
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: Client | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._inbox: Subscription | None = None
        self._requests = 0
        self._trouble = _NOBODY
        self._violation = ""

    # --- the ports ---------------------------------------------------------------------------------------------

    def publish(self, message: SnapshotMessage) -> bool:
        """True: the stream has it. False: nobody knows. BusUnavailable: it certainly has not."""
        return self._run(self._publish(message), tries=PUBLISH_TRIES)

    def fetch(self) -> Sequence[StreamDelivery]:
        """At most 100 messages and 64 MiB; empty if nothing came within `wait`."""
        return [_delivery(msg) for msg in self._run(self._fetch())]

    def acknowledge(self, delivery: Delivery) -> None:
        """Done with it, for good; returns when the server has said so."""
        self._run(self._answer(delivery, b"+ACK"))

    def later(self, delivery: Delivery, wait: timedelta) -> None:
        """Deliver it again, not before `wait` is over: a refusal without delay would come back at once, for ever."""
        delay = max(int(wait.total_seconds() * 1e9), 1)
        self._run(self._answer(delivery, b"-NAK " + json.dumps({"delay": delay}).encode()))

    def drained(self) -> bool:
        """Whether the consumer says that nothing is pending and nothing unacknowledged."""
        info = self._run(self._consumer())
        return not info.num_pending and not info.num_ack_pending

    def make_sure(self) -> bool:
        """Make stream and consumer if they are missing; True if one had to be made."""
        return self._run(self._make_sure(), tries=4)

    def room(self) -> int:
        """Bytes that the stream still takes."""
        return self.status().room

    def status(self) -> BusStatus:
        """Version and fill; BusUnavailable if the server or the stream does not answer."""
        return self._run(self._status())

    def close(self) -> None:
        """Close the connection and end the loop thread; the next call would start both anew."""
        with self._lock:
            loop, thread, ours = self._loop, self._thread, self._pid == os.getpid()
            if loop is None or thread is None or not ours:
                return
            asyncio.run_coroutine_threadsafe(self._end(), loop).result(self._timeout + _SLACK_SECONDS)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
            self._forget()

    # --- on the loop -------------------------------------------------------------------------------------------

    async def _publish(self, message: SnapshotMessage) -> bool:
        payload = encode(message)
        client = await self._connected()
        if len(payload) + _HEADER_BYTES > min(client.max_payload, MAX_MESSAGE_BYTES):
            raise BusUnavailable(f"a message of {len(payload)} bytes is more than it takes at once")
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
            await jetstream.add_stream(_stream(self._max_bytes))
            made = True
        else:
            if (config.retention, config.discard) != (api.RetentionPolicy.WORK_QUEUE, api.DiscardPolicy.NEW):
                raise BusUnavailable(f"its stream {STREAM} was made by others: it may drop what was not read")
        try:
            await jetstream.consumer_info(STREAM, CONSUMER)
        except NotFoundError:
            await jetstream.add_consumer(STREAM, _consumer())
            made = True
        return made

    async def _jetstream(self) -> JetStreamContext:
        return (await self._connected()).jetstream(timeout=self._timeout)

    async def _connected(self) -> Client:
        """The client, waited for while it connects; nats-py itself tries for ever."""
        if self._client is None or (
            self._client.is_closed and self._connecting is not None and self._connecting.done()
        ):
            self._client, self._inbox = Client(), None
            self._connecting = asyncio.create_task(self._client.connect(**self._options))
        client = self._client
        deadline = asyncio.get_running_loop().time() + self._timeout
        while not client.is_connected:
            if asyncio.get_running_loop().time() >= deadline:
                raise BusUnavailable(self._trouble)
            await asyncio.sleep(_POLL_SECONDS)
        self._trouble = _NOBODY
        return client

    async def _end(self) -> None:
        if self._connecting is not None and not self._connecting.done():
            self._connecting.cancel()
        if self._client is not None:
            await self._client.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _note(self, exc: Exception) -> None:
        trouble = str(exc) or type(exc).__name__
        if "permissions violation" in trouble.lower():  # the server answers nothing else to what is not allowed
            self._violation = trouble
        if "authorization violation" not in self._trouble.lower():  # a reset follows it, and says less
            self._trouble = trouble

    # --- the thread --------------------------------------------------------------------------------------------

    def _run(self, work: Coroutine[Any, Any, T], tries: int = 2) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._started())
        try:
            return future.result(self._timeout * (tries + 1) + _SLACK_SECONDS)
        except (FutureTimeout, nats.errors.TimeoutError) as exc:
            future.cancel()
            raise BusUnavailable(self._violation or "it did not answer in time") from exc
        except APIError as exc:
            raise BusUnavailable(exc.description or type(exc).__name__) from exc
        except (nats.errors.Error, OSError) as exc:
            raise BusUnavailable(type(exc).__name__) from exc

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                self._forget()
                self._pid = os.getpid()
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="bus", daemon=True)
                self._thread.start()
            return self._loop


def _delivery(msg: Msg) -> StreamDelivery:
    about = msg.metadata
    return StreamDelivery(msg.data, msg.subject, about.sequence.stream, about.num_delivered, msg.reply)


def _stream(max_bytes: int) -> api.StreamConfig:
    """Refuses new messages when it is full, and drops none that was not read."""
    return api.StreamConfig(
        name=STREAM,
        subjects=[SUBJECTS],
        storage=api.StorageType.FILE,
        retention=api.RetentionPolicy.WORK_QUEUE,
        discard=api.DiscardPolicy.NEW,
        max_bytes=max_bytes,
        max_msg_size=MAX_MESSAGE_BYTES,
        max_age=0,
    )


def _consumer() -> api.ConsumerConfig:
    return api.ConsumerConfig(
        durable_name=CONSUMER,
        filter_subject=SUBJECTS,
        ack_policy=api.AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT.total_seconds(),
        max_deliver=-1,
        max_ack_pending=MAX_ACK_PENDING,
    )
