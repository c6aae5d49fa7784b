"""The rights of every NATS user, asked of the real server: what it may publish and hear, and nothing else."""

from __future__ import annotations

import json
import secrets
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from backupflow.adapters.bus import Bus, BusLogin
from backupflow.adapters.bus_roles import ROLES, users_config
from backupflow.core.message import SnapshotMessage, decode
from backupflow.core.model import CollectionId, ContentHash, DeviceId, SealedConfig, Seq, TenantId
from backupflow.embedded import Server, ServerOptions, open_folder, start_servers
from backupflow.errors import BusUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAM = "CONFIG_SNAPSHOTS"
ALL_ROLES = (*ROLES, "reader")


@dataclass
class Place:
    """A server with these users."""

    url: str
    passwords: dict[str, str]

    def bus(self, role: str) -> Bus:
        """A bus under a role's login; impatient, since refusals are waited for."""
        return Bus(self.url, BusLogin(role, self.passwords[role]), timeout=timedelta(seconds=1))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Run a NATS server that includes the text under test."""
    passwords = {role: secrets.token_urlsafe(24) for role in ALL_ROLES}
    options = ServerOptions(
        leave_out=frozenset(Server) - {Server.NATS}, nats_users=users_config(passwords), fsync=False
    )
    with open_folder(tmp_path_factory.mktemp("bus") / "data") as folder, start_servers(folder, options) as servers:
        yield Place(f"nats://{servers.addresses.nats}", passwords)


def message() -> SnapshotMessage:
    """One observation of some device."""
    sealed = SealedConfig("vault:v1:" + "A" * 100)
    ids = (TenantId(uuid4()), DeviceId(uuid4()), CollectionId(1), Seq(1))
    return SnapshotMessage(*ids, 1, ContentHash(b"h" * 32), sealed)


def refused(place: Place, role: str, request: str) -> bool:
    """Whether the server answers a request in its own protocol with a permissions violation."""
    login = {"user": role, "pass": place.passwords[role], "verbose": False, "headers": True}
    host, port = place.url.removeprefix("nats://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection, connection.makefile("rb") as lines:
        connection.sendall(f"CONNECT {json.dumps(login)}\r\n{request}PING\r\n".encode())
        answers = list(iter(lines.readline, b"PONG\r\n"))
    return any(b"Permissions Violation" in answer for answer in answers)


PUBLISH = {
    "config.snapshot.create.0e7cb0d2": "collector",
    "config.snapshot.create": "",
    "config.snapshot.delete.0e7cb0d2": "",
    "anything.else": "",
    f"$JS.API.STREAM.INFO.{STREAM}": "scheduler ingester operator",
    f"$JS.API.STREAM.CREATE.{STREAM}": "ingester",
    f"$JS.API.STREAM.UPDATE.{STREAM}": "",
    f"$JS.API.STREAM.DELETE.{STREAM}": "",
    f"$JS.API.STREAM.PURGE.{STREAM}": "",
    f"$JS.API.STREAM.MSG.GET.{STREAM}": "",
    f"$JS.API.STREAM.MSG.DELETE.{STREAM}": "",
    f"$JS.API.DIRECT.GET.{STREAM}": "",
    f"$JS.API.STREAM.SNAPSHOT.{STREAM}": "",
    "$JS.API.STREAM.CREATE.OTHER": "",
    "$JS.API.STREAM.LIST": "",
    "$JS.API.INFO": "",
    f"$JS.API.CONSUMER.INFO.{STREAM}.ingest": "ingester operator",
    f"$JS.API.CONSUMER.DURABLE.CREATE.{STREAM}.ingest": "ingester",
    f"$JS.API.CONSUMER.DURABLE.CREATE.{STREAM}.other": "",
    f"$JS.API.CONSUMER.CREATE.{STREAM}.other.config.snapshot.create.x": "",
    f"$JS.API.CONSUMER.CREATE.{STREAM}": "",
    f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.ingest": "ingester",
    f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.other": "",
    f"$JS.API.CONSUMER.DELETE.{STREAM}.ingest": "",
    f"$JS.ACK.{STREAM}.ingest.1.1.1.1.0": "ingester",
    f"$JS.ACK.{STREAM}.other.1.1.1.1.0": "",
    "$SYS.REQ.SERVER.PING": "",
    "_INBOX_collector.forged": "",
}
SUBSCRIBE = {
    **{f"_INBOX_{role}.>": role for role in ROLES},
    "_INBOX_reader.>": "",
    "_INBOX.>": "",
    ">": "",
    "config.>": "",
    "config.snapshot.create.*": "",
    "$JS.>": "",
    "$SYS.>": "",
}


@pytest.mark.parametrize("subject", PUBLISH)
def test_each_role_publishes_only_what_it_is_for(place: Place, subject: str) -> None:
    """Exactly the listed roles may publish to a subject."""
    who = {role for role in ALL_ROLES if not refused(place, role, f"PUB {subject} 0\r\n\r\n")}
    assert who == set(PUBLISH[subject].split())


@pytest.mark.parametrize("subject", SUBSCRIBE)
def test_each_role_hears_only_its_own_answers(place: Place, subject: str) -> None:
    """Exactly the listed role may subscribe to a subject."""
    who = {role for role in ALL_ROLES if not refused(place, role, f"SUB {subject} 1\r\n")}
    assert who == set(SUBSCRIBE[subject].split())


def test_the_roles_are_enough_for_the_whole_way(place: Place) -> None:
    """Under their own users ingester, collector and scheduler do all that the pipeline asks of the bus."""
    ingester, collector, scheduler = place.bus("ingester"), place.bus("collector"), place.bus("scheduler")
    try:
        assert ingester.make_sure()
        assert scheduler.room() > 0
        sent = message()
        assert collector.publish(sent)
        (delivery,) = ingester.fetch()
        assert decode(delivery.payload) == sent
        ingester.later(delivery, timedelta(milliseconds=1))
        (delivery,) = ingester.fetch()
        assert not ingester.drained()
        ingester.acknowledge(delivery)
        assert ingester.drained()
    finally:
        for bus in (ingester, collector, scheduler):
            bus.close()


def test_a_refused_publish_is_certainly_not_stored(place: Place) -> None:
    """A role that may not publish is told so at once: that is a definite refusal, not an unknown outcome."""
    scheduler = place.bus("scheduler")
    try:
        with pytest.raises(BusUnavailable, match=r"(?i)permissions violation"):
            scheduler.publish(message())
    finally:
        scheduler.close()


@pytest.mark.parametrize("login", [{}, {"user": "collector", "pass": "wrong"}, {"user": "", "pass": ""}])
def test_nobody_gets_in_without_a_login(place: Place, login: dict[str, str]) -> None:
    """There is no anonymous user, and a wrong password is refused."""
    host, port = place.url.removeprefix("nats://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection, connection.makefile("rb") as lines:
        connection.sendall(f"CONNECT {json.dumps(login)}\r\nPING\r\n".encode())
        assert b"Authorization Violation" in lines.read()
