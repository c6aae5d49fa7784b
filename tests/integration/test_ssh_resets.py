"""A connection that ends at each step of a session: bounded, and called what it is.

Each step is ended in both ways, by the orderly end of TCP and by its reset. Each ends one session, with one error.
"""

from __future__ import annotations

import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import paramiko
import pytest
from paramiko.common import cMSG_CHANNEL_CLOSE, cMSG_CHANNEL_EOF, cMSG_DISCONNECT
from paramiko.message import Message

from backupflow.adapters.ssh import SshCollector
from backupflow.errors import (
    AuthenticationFailed,
    BackupflowError,
    DeviceUnreachable,
    HostKeyMismatch,
    OutputTruncated,
    Verdict,
)
from tests.integration.ssh_strangers import (
    ECDSA,
    SECRET,
    Answer,
    Server,
    collect,
    hang_up,
    listening,
    login,
    pin,
    serving,
    target,
    tell,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.model import HostKey

LEFT = DeviceUnreachable
BANNER = b"SSH-2.0-ROSSSH\r\n"
# The length of a packet, that of its padding, SSH_MSG_KEXINIT and half of its cookie (RFC 4253, sections 6 and 7.1).
HALF_A_PACKET = struct.pack(">IBB", 1020, 6, 20) + bytes(8)


@dataclass(frozen=True)
class Step:
    """Where a connection ends, and what that is: `sent` says whether the server has heard the password by then."""

    ends: str
    kind: type[BackupflowError]
    says: str
    sent: bool = False


RAW = {
    b"": Step("before the banner", LEFT, "nothing that speaks SSH"),
    b"SSH-2.": Step("in the banner", LEFT, "nothing that speaks SSH"),
    BANNER: Step("after the banner", LEFT, "key exchange"),
    BANNER + HALF_A_PACKET: Step("in the key exchange's first packet", LEFT, "key exchange"),
}
STEPS = [
    Step("key exchange init", LEFT, "key exchange"),
    Step("new keys", LEFT, "during the (key exchange|login)"),  # whichever thread was quicker
    Step("login methods", LEFT, "login"),
    Step("password", AuthenticationFailed, "hung up on the login", sent=True),
    Step("channel open", OutputTruncated, "the connection broke", sent=True),
    Step("exec", OutputTruncated, "the connection broke", sent=True),
    Step("first byte", OutputTruncated, "the connection broke", sent=True),
    Step("mid-export", OutputTruncated, "the connection broke", sent=True),
    Step("last byte", OutputTruncated, "the connection broke", sent=True),
]


def as_step(step: Step) -> str:
    """Its name in the list of tests."""
    return step.ends


@pytest.mark.parametrize("resets", [False, True], ids=["end", "reset"])
@pytest.mark.parametrize(("said", "step"), RAW.items(), ids=lambda value: value.ends if isinstance(value, Step) else "")
def test_a_connection_that_ends_before_the_keys_is_unreachable(said: bytes, step: Step, *, resets: bool) -> None:
    """Nothing was sent, and the device's world may heal."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(said)
        connection.recv(4096)  # the client's banner: what was said has arrived, else a reset would drop it
        hang_up(connection, reset=resets)

    with listening(serve) as port, pytest.raises(step.kind, match=step.says) as failure:
        collect(port)
    assert failure.value.verdict is Verdict.RETRY


def ends_in_the_answer(step: str, *, resets: bool) -> Answer:
    """Begin an export, and leave."""

    def answer(transport: paramiko.Transport, channel: paramiko.Channel) -> None:
        if step in {"mid-export", "last byte"}:
            channel.sendall(b"/ip dns\r\nset servers=10.0.0.1" + b"\r\n" * (step == "last byte"))
        connection = transport.sock
        assert isinstance(connection, socket.socket)
        if step in {"first byte", "mid-export", "last byte"}:
            hang_up(connection, reset=resets)

    return answer


@pytest.mark.parametrize("resets", [False, True], ids=["end", "reset"])
@pytest.mark.parametrize("step", STEPS, ids=as_step)
def test_a_connection_that_ends_at_a_step_is_called_what_it_is(step: Step, *, resets: bool) -> None:
    """The password was sent once at most; a hang-up on it is a refusal, since the device may have counted one."""
    server = Server(ends_in_the_answer(step.ends, resets=resets))
    server.after, server.resets = step.ends, resets
    with serving(server) as port, pytest.raises(step.kind, match=step.says):
        collect(port)
    assert server.heard == [SECRET] * step.sent
    assert not [thread for thread in threading.enumerate() if type(thread).__name__ == "Transport"]


@pytest.mark.parametrize("resets", [False, True], ids=["end", "reset"])
def test_a_first_key_is_admitted_before_a_connection_that_ends_at_the_login(*, resets: bool) -> None:
    """What was seen of the key is told, also if nothing comes after it."""
    server = Server(lambda *_: None)
    server.after, server.resets = "login methods", resets
    seen: list[HostKey] = []
    with (
        serving(server) as port,
        pytest.raises(DeviceUnreachable),
        SshCollector().session(target(port), seen.append, login),
    ):
        pass
    assert seen == [pin(ECDSA)]
    assert server.heard == []


@pytest.mark.parametrize("closes", [False, True], ids=["end of file", "and close"])
def test_a_connection_that_ends_after_the_end_of_the_export_is_a_whole_one(*, closes: bool) -> None:
    """The server said that all was sent; only its exit status is missing, and said to be."""

    def answer(transport: paramiko.Transport, channel: paramiko.Channel) -> None:
        channel.sendall(b"/ip dns\r\n")
        tell(transport, cMSG_CHANNEL_EOF, channel)
        if closes:
            tell(transport, cMSG_CHANNEL_CLOSE, channel)
        connection = transport.sock
        assert isinstance(connection, socket.socket)
        hang_up(connection)

    with serving(Server(answer)) as port:
        reply = collect(port)
    assert (reply.stdout, reply.exit_status) == (b"/ip dns\r\n", None)


def test_a_wrong_signature_is_no_broken_connection() -> None:
    """Unlike all the ends above, this one blocks: it is what somebody in between would look like."""

    class Forged(paramiko.ECDSAKey):
        """Signs something else."""

        def sign_ssh_data(self, data: bytes, algorithm: str | None = None) -> paramiko.Message:
            return super().sign_ssh_data(data + b"x", algorithm)

    server = Server(lambda *_: None)
    server.keys = [Forged(vals=(ECDSA.signing_key, ECDSA.verifying_key))]
    refuse: Callable[[HostKey], None] = lambda _: pytest.fail("it was taken for proven")  # noqa: E731
    with (
        serving(server) as port,
        pytest.raises(HostKeyMismatch, match="prove"),
        SshCollector().session(target(port), refuse, login),
    ):
        pass
    assert server.heard == []


class SaysGoodbye(Server):
    """Ends the connection with a message of its own, at the query for methods or at the password."""

    at = "none"

    def goodbye(self) -> None:
        """Say that there are too many sessions (RFC 4253, section 11.1)."""
        assert self.transport is not None
        message = Message()
        message.add_byte(cMSG_DISCONNECT)
        message.add_int(12)
        message.add_string("too many connections")
        message.add_string("")
        self.transport._send_message(message)  # type: ignore[attr-defined]
        self.transport.close()

    def check_auth_none(self, username: str) -> int:
        """Leave here, or go on."""
        if self.at == "none":
            self.goodbye()
        return super().check_auth_none(username)

    def check_auth_password(self, username: str, password: str) -> int:
        """Leave here."""
        self.heard.append(password)
        self.goodbye()
        return self.verdict


@pytest.mark.parametrize(("at", "kind"), [("none", DeviceUnreachable), ("password", AuthenticationFailed)])
def test_a_goodbye_is_a_refusal_only_once_a_secret_was_sent(at: str, kind: type[BackupflowError]) -> None:
    """A router with too many sessions says so before it has heard a password: that must block nobody (I7)."""
    server = SaysGoodbye(lambda *_: None)
    server.at = at
    with serving(server) as port, pytest.raises(kind):
        collect(port)
    assert server.heard == [SECRET] * (at == "password")
