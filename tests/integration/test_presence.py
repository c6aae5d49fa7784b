"""The keys of a poller on a real server: what counts; and with whatever is wrong nobody is away, and nobody waits."""

from __future__ import annotations

import contextlib
import secrets
import threading
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import redis

from backupflow.adapters.broker import POLLER, acl_text
from backupflow.adapters.presence import LOOK_AGAIN, NOT_AGAIN_FOR, REMEMBERED, WITHIN, RedisPresence
from backupflow.core.model import DeviceId
from backupflow.core.presence import key
from tests.integration.tasks.gate import Gate

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from backupflow.embedded import Servers

DB = 9
HERE = "presence-"  # begins the names of users: others' tests share the server
MINUTE = 60_000  # milliseconds


class Clock:
    """Seconds that only go forward when a test says so, so that nothing depends on how fast the machine is."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


class Place:
    """A server with the two logins, a poller on it, and a presence that asks through a gate."""

    def __init__(self, admin: redis.Redis, poller: redis.Redis, gate: Gate, url: str) -> None:
        self.admin, self.poller, self.gate, self.url = admin, poller, gate, url
        self.clock = Clock()
        self.presence = RedisPresence(url, self.clock)
        self.devices: list[DeviceId] = []

    def device(self, said: object = None, milliseconds: int | None = MINUTE) -> DeviceId:
        """One more device, of which the poller says this."""
        device = DeviceId(uuid4())
        self.devices.append(device)
        if said is not None:
            self.say(device, said, milliseconds)
        return device

    def say(self, device: DeviceId, said: object, milliseconds: int | None = MINUTE) -> None:
        """Let the poller say this of it."""
        self.poller.set(key(device), str(said) if not isinstance(said, bytes) else said, px=milliseconds)

    def users(self, *words: str) -> None:
        """Change who may do what."""
        self.admin.execute_command("ACL", *words)  # type: ignore[no-untyped-call]

    def offline(self) -> set[DeviceId]:
        """Who is away."""
        return set(self.presence.offline(self.devices))


@pytest.fixture(scope="module")
def logins(servers: Servers) -> dict[str, str]:
    """The users of the scheduler and of the poller, with the rights of any install, under names of this test's own."""
    return {role: secrets.token_urlsafe(16) for role in ("scheduler", POLLER)}


@pytest.fixture
def place(servers: Servers, logins: dict[str, str]) -> Iterator[Place]:
    """The scene."""
    at = servers.addresses.redis
    assert at
    secret = servers.secret_path("admin.redis").read_text(encoding="utf-8").strip()
    with (
        redis.Redis(at.host, at.port, DB, username="admin", password=secret) as admin,
        redis.Redis(at.host, at.port, DB, username=f"{HERE}{POLLER}", password=logins[POLLER]) as poller,
        Gate(at.host, at.port) as gate,
    ):
        admin.flushdb()
        made = Place(admin, poller, gate, f"redis://{HERE}scheduler:{logins['scheduler']}@127.0.0.1:{gate.port}/{DB}")
        for line in acl_text(logins, db=DB).splitlines():
            _, name, *rules = line.split()
            made.users("SETUSER", HERE + name, "reset", *rules)
        yield made
        made.presence.close()
        admin.flushdb()
        for name in logins:
            made.users("DELUSER", HERE + name)


def test_who_is_said_to_be_anything_but_online_is_away(place: Place) -> None:
    """A missing key says nothing, `online` that it is there, and all else, an empty value too, that it is not."""
    place.device()
    place.device("online")
    away = {place.device(said) for said in ("offline", "", "ONLINE", "online-ish", "down", b"\xff\xfe", "on")}
    assert place.offline() == away


def test_a_word_that_has_run_out_says_nothing(place: Place) -> None:
    """A poller that has ended keeps no device from being collected."""
    device = place.device("offline", 1)
    while place.admin.exists(key(device)):
        pass
    assert place.offline() == set()


def test_a_key_that_lasts_for_ever_is_ignored_and_told(place: Place) -> None:
    """Whoever forgets the TTL would keep a device away for good; it is told until the key has one or is gone."""
    mended, gone = place.device("offline", None), place.device("online", None)
    assert place.offline() == set()
    assert set(place.presence.without_ttl()) == {mended, gone}
    place.say(mended, "offline")
    place.admin.delete(key(gone))
    assert set(place.presence.without_ttl()) == {mended, gone}
    place.clock.now += LOOK_AGAIN
    assert place.presence.without_ttl() == ()
    assert place.offline() == {mended}


def test_only_so_many_of_those_are_remembered(place: Place) -> None:
    """A poller that never gives a TTL makes no list of the whole fleet."""
    for _ in range(REMEMBERED + 50):
        place.device("offline", None)
    assert place.offline() == set()
    assert len(place.presence.without_ttl()) == REMEMBERED


def test_what_is_no_text_is_ignored_and_the_rest_counts(place: Place) -> None:
    """A list, a hash, a set or a counter under the name of a key: the answers about the others are not lost over it."""
    names = [key(place.device()) for _ in range(4)]
    place.admin.rpush(names[0], "offline")
    place.admin.hset(names[1], "status", "offline")
    place.admin.sadd(names[2], "offline")
    place.admin.xadd(names[3], {"status": "offline"})
    for name in names:
        place.admin.expire(name, 60)
    away = {place.device("offline")}
    assert place.offline() == away


def test_a_monstrous_value_is_compared_by_its_beginning(place: Place) -> None:
    """Of 64 MB the server sends a dozen bytes: neither time nor memory is spent on a stranger's text."""
    place.admin.set(key(place.device()), b"online" + b"x" * 64_000_000, px=10 * MINUTE)
    place.admin.config_resetstat()
    assert place.offline() == set(place.devices)
    assert int(place.admin.info("stats")["total_net_output_bytes"]) < 100_000


def test_nobody_is_away_while_the_server_is(place: Place) -> None:
    """And nobody asks again for a while; when it is back, what is said counts again."""
    away = {place.device("offline")}
    assert place.offline() == away
    place.gate.shut()
    assert place.offline() == set()
    assert place.presence.failure() == "ConnectionError"
    place.gate.open()
    assert place.offline() == set()
    place.clock.now += NOT_AGAIN_FOR
    assert place.offline() == away
    assert not place.presence.failure()


def test_a_server_that_never_answers_costs_one_wait(place: Place) -> None:
    """The claim waits once, for as long as is allowed; the next ones do not even connect."""
    place.device("offline")
    place.gate.open(mute=True)
    assert place.offline() == set()
    assert place.presence.failure() in {"TimeoutError", "ConnectionError"}
    connections = len(place.gate._links)
    for _ in range(8):
        place.clock.now += NOT_AGAIN_FOR / 10
        assert place.offline() == set()
    assert len(place.gate._links) == connections


class Dripping(Gate):
    """Answers a byte at a time, more often than the time-out of a single read would notice."""

    def _join(self, one: socket.socket) -> None:
        self._go(lambda: self._drip(one))

    def _drip(self, one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not self._ended.wait(0.05):
                one.sendall(b"+")

    def shut(self) -> None:
        """No more of it."""
        self._ended = threading.Event()
        super().shut()


def test_a_server_that_drips_is_left_behind(place: Place) -> None:
    """What bounds the wait is the whole of it, not a read; the thread that was left behind ends with its connection."""
    device = place.device("offline")
    with Dripping("127.0.0.1", 1) as drip:
        presence = RedisPresence(f"redis://scheduler:any@127.0.0.1:{drip.port}/{DB}", place.clock)
        assert presence.offline([device]) == ()
        assert presence.failure() == "TimeoutError"
        left_behind = presence._asking
        assert left_behind is not None
        left_behind.join(20)
        assert not left_behind.is_alive()


def test_all_of_a_second_is_bounded_together(place: Place) -> None:
    """A server that answers each time just in time would make a claim wait for each of its many questions."""
    device = place.device("offline")
    presence = place.presence

    def slow() -> float:
        place.clock.now += WITHIN / 3  # each look at the clock finds that so much has passed
        return place.clock.now

    presence._clock = slow
    assert set(presence.offline([device])) == {device}
    for _ in range(10):
        presence.offline([device])
    assert presence.failure()
    asked = presence._asking
    presence.offline([device])
    assert presence._asking is asked


def test_a_login_that_may_not_read_knows_nothing(place: Place) -> None:
    """An install whose users were made before, or others' keys: nobody is away, and it is said why."""
    place.device("offline")
    place.users("SETUSER", f"{HERE}scheduler", "clearselectors")
    assert place.offline() == set()
    assert place.presence.failure() == "NoPermissionError"


def test_neither_value_nor_login_is_shown(place: Place) -> None:
    """What is told of a failure is the name of an error; the object says nothing of its address."""
    place.device("offline")
    presence = RedisPresence(f"redis://{HERE}scheduler:wrong@127.0.0.1:{place.gate.port}/{DB}", place.clock)
    assert presence.offline(place.devices) == ()
    assert presence.failure() == "AuthenticationError"
    assert "scheduler" not in repr(presence)
