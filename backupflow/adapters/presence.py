"""What somebody's poller says of devices in Redis: the keys `device:<id>:status`, `online` or anything else.

The claim transaction waits for the answer, with its locks on the devices that are due: so all questions of a second
take 0.3 s together at the most, in a thread that may be left behind (a resolver knows no time-out, and a server that
drips keeps none that redis-py has), and after a failure nobody asks for 10 s. Without an answer nobody is offline.

1. A value is a stranger's, of up to 512 MB: no more than its beginning is fetched, and it is only compared.
2. A key without a TTL is ignored: a poller that has ended would keep its devices from being collected.
3. A key that is something else (a list, say) is ignored: the answer to it is an error of its own.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from backupflow.core.presence import key
from backupflow.core.tls import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from backupflow.core.model import DeviceId

WITHIN: Final = 0.3  # seconds of each second
NOT_AGAIN_FOR: Final = 10.0  # seconds after a failure
REMEMBERED: Final = 100  # devices whose key has no TTL: enough to say that there are some, and to see that none is left
LOOK_AGAIN: Final = 30.0  # seconds between two looks at those
_ONLINE: Final = b"online"
_ENOUGH: Final = 2 * len(_ONLINE)  # bytes of a value that are fetched
_SECOND: Final = 1.0


class _Said(Enum):
    """What counts of what is there; of all else a device is perhaps online."""

    OFFLINE = auto()
    WITHOUT_TTL = auto()


class RedisPresence:
    """core.ports.Presence. `url` has the login of a role that may read these keys in it, and is never shown.

    `options` are those of redis-py that say how the server is trusted.
    """

    def __init__(
        self, url: str, clock: Callable[[], float] = time.monotonic, *, options: Mapping[str, Any] | None = None
    ) -> None:
        self._url = url
        self._options = options or {}
        self._clock = clock
        self._client: redis.Redis | None = None
        self._asking: threading.Thread | None = None
        self._closed_until = clock()
        self._second, self._spent = clock(), 0.0  # when it began, and what it took so far
        self._without_ttl: dict[DeviceId, None] = {}
        self._looked = clock()
        self._failure = ""

    def offline(self, devices: Sequence[DeviceId]) -> Collection[DeviceId]:
        """Those of them that are offline by the word of a poller; never raises."""
        said = self._within(devices) if devices else None
        if said is None:
            return ()
        for device in devices:
            if said.get(device) is not _Said.WITHOUT_TTL:
                self._without_ttl.pop(device, None)
            elif len(self._without_ttl) < REMEMBERED:
                self._without_ttl[device] = None
        return frozenset(device for device, one in said.items() if one is _Said.OFFLINE)

    def without_ttl(self) -> Sequence[DeviceId]:
        """Some of those whose key has no TTL, each looked at again by and by."""
        now = self._clock()
        if now - self._looked >= LOOK_AGAIN:
            self._looked = now
            self.offline(list(self._without_ttl))
        return tuple(self._without_ttl)

    def failure(self) -> str:
        """Why nobody asks at the moment, by the name of an error; empty: somebody does."""
        return self._failure

    def close(self) -> None:
        """Let go of the connection."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(redis.RedisError, OSError):
                client.close()

    def _within(self, devices: Sequence[DeviceId]) -> Mapping[DeviceId, _Said] | None:
        """The answer, if there is one in time."""
        began = self._clock()
        if began < self._closed_until:
            return None
        if began - self._second >= _SECOND:
            self._second, self._spent = began, 0.0
        said: list[Mapping[DeviceId, _Said]] = []
        why: list[str] = []
        left = WITHIN - self._spent
        if left > 0 and not (self._asking and self._asking.is_alive()):  # else one is left behind, and ends first
            asked = (self._connected(), tuple(devices), said, why)
            self._asking = threading.Thread(target=_ask, args=asked, name="presence", daemon=True)
            self._asking.start()
            self._asking.join(left)
            self._spent += self._clock() - began
        if said:
            self._failure = ""
            return said[0]
        self._failure = why[0] if why else TimeoutError.__name__
        self._closed_until = self._clock() + NOT_AGAIN_FOR
        self.close()  # whoever still waits for an answer is woken by that
        return None

    def _connected(self) -> redis.Redis:
        if self._client is None:
            self._client = redis.Redis.from_url(
                self._url,
                protocol=2,
                socket_connect_timeout=WITHIN,
                socket_timeout=WITHIN,
                retry=Retry(NoBackoff(), 0),
                retry_on_error=[],
                **self._options,
            )
        return self._client


def _ask(
    client: redis.Redis, devices: Sequence[DeviceId], said: list[Mapping[DeviceId, _Said]], why: list[str]
) -> None:
    """In one round trip; what came of it is in one of the two lists."""
    try:
        with client.pipeline(transaction=False) as asked:
            for device in devices:
                asked.getrange(key(device), 0, _ENOUGH - 1)
                asked.pttl(key(device))
            answers = asked.execute(raise_on_error=False)
        said.append(dict(_judged(devices, answers)))
    except (redis.RedisError, OSError, ValueError) as exc:
        why.append(refusal(str(exc)) or type(exc).__name__)


def _judged(devices: Sequence[DeviceId], answers: Sequence[object]) -> Iterator[tuple[DeviceId, _Said]]:
    """Of each device a beginning of the value and the milliseconds that it has (-1: no end, -2: there is no such key).

    Raises NoPermissionError if this login may not read them: nothing is known then.
    """
    for device, value, left in zip(devices, answers[::2], answers[1::2], strict=True):
        for answer in (value, left):
            if isinstance(answer, redis.exceptions.NoPermissionError):
                raise answer
        if not isinstance(value, bytes) or not isinstance(left, int):
            continue
        if left == -1:
            yield device, _Said.WITHOUT_TTL
        elif left >= 0 and value != _ONLINE:
            yield device, _Said.OFFLINE
