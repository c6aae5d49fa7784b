"""The connection to NATS and the one event-loop thread of its process.

1. One loop thread serves every thread of a pool: `asyncio.run` for each publish is some ten times slower.
2. `pending_size=0` makes nats-py refuse to publish while it is disconnected, instead of keeping the message for later.
3. A refused login while reconnecting closes the client for good, so a closed one is replaced.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import threading
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import nats.errors
from nats.js.errors import APIError

from backupflow.adapters.bus.client import SturdyClient
from backupflow.core.tls import Refusal, refusal
from backupflow.errors import BusUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import timedelta

    from nats.aio.client import Client
    from nats.aio.subscription import Subscription

_POLL_SECONDS = 0.02
_SLACK_SECONDS = 5.0  # every coroutine ends by its own bounds; this one is for a loop that is gone
_NOBODY = "nobody answers at its address"

T = TypeVar("T")


def _matters(record: logging.LogRecord) -> bool:
    # asyncio's streams, by which nats-py reads, say this of each TLS connection that the server ends: no matter.
    return not str(record.msg).startswith("returning true from eof_received()")


logging.getLogger("asyncio").addFilter(_matters)


@dataclass(frozen=True, slots=True)
class BusLogin:
    """A role's login; the role is the user's name, and its inbox is `_INBOX_<role>`."""

    role: str
    password: str = field(repr=False)


class BusConnection:
    """Opened by the first call, and again after a fork; every wait for the server is bounded by `timeout`."""

    def __init__(self, url: str, login: BusLogin, timeout: timedelta, ca: str | None) -> None:
        self._timeout = timeout.total_seconds()
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
        self.noted: Callable[[str], None] = lambda _code: None  # told after each call what failed; empty: nothing
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

    async def _connected(self) -> Client:
        """The client, waited for while it connects; nats-py itself tries for ever."""
        if self._client is None or (
            self._client.is_closed and self._connecting is not None and self._connecting.done()
        ):
            self._client, self._inbox = SturdyClient(), None
            self._connecting = asyncio.create_task(self._client.connect(**self._options))
        client = self._client
        deadline = asyncio.get_running_loop().time() + self._timeout
        while not client.is_connected:
            # A certificate is not worth waiting for; it is tried again meanwhile.
            if isinstance(self._trouble, Refusal) or asyncio.get_running_loop().time() >= deadline:
                raise BusUnavailable(self._trouble)
            await asyncio.sleep(_POLL_SECONDS)
        self._trouble = _NOBODY
        return client

    async def _end(self) -> None:
        if self._connecting is not None and not self._connecting.done():
            self._connecting.cancel()
        if self._client is not None:
            # A task of its own: closed while it reconnects it may end as cancelled, which must not end this one.
            await asyncio.wait({asyncio.create_task(self._client.close())}, timeout=self._timeout)
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _note(self, exc: Exception) -> None:
        trouble = refusal(str(exc)) or str(exc) or type(exc).__name__
        if "permissions violation" in trouble.lower():  # the server answers nothing else to what is not allowed
            self._violation = trouble
        if "authorization violation" not in self._trouble.lower():  # a reset follows it, and says less
            self._trouble = trouble

    def _run(self, work: Coroutine[Any, Any, T], tries: int = 2) -> T:
        try:
            done = self._wait_for(work, tries)
        except BusUnavailable as exc:
            self.noted(exc.code)
            raise
        self.noted("")
        return done

    def _wait_for(self, work: Coroutine[Any, Any, T], tries: int) -> T:
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
