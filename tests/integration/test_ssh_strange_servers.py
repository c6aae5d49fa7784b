"""Servers that no router should be: hostile bytes before the login, and ends of a channel that are none."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import threading
import traceback
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import paramiko
import pytest
from paramiko.common import (
    AUTH_FAILED,
    AUTH_PARTIALLY_SUCCESSFUL,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
)
from paramiko.message import Message

from backupflow.adapters.ssh import SshCollector, reading
from backupflow.adapters.ssh.wire import Wire
from backupflow.core.model import HostKey, Login, Target, Timeouts
from backupflow.errors import (
    AlgorithmsIncompatible,
    AuthenticationFailed,
    BackupflowError,
    CommandRejected,
    DeviceTimeout,
    DeviceUnreachable,
    HostKeyMismatch,
    OutputTruncated,
)
from tests.integration.ssh_strangers import (
    ECDSA,
    SECRET,
    Server,
    collect,
    listening,
    say,
    serving,
    until_gone,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramiko.server import InteractiveQuery


SHORT = timedelta(seconds=0.4)
HOSTILE = b"\x1b]0;owned\x07 <script>"


def all_words(failure: BaseException | None) -> str:
    """Everything that a log could show of a failure of ours: not of the foreign one that caused it."""
    return f"{failure!s} {failure!r} {failure.args if failure else ''}"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 400 " + HOSTILE + b"\r\n\r\n",
        b"SSH-2.0-old" + HOSTILE + b"\r\n" + bytes(64),
        (HOSTILE + b"\r\n") * 200,
    ],
    ids=["nothing", "HTTP", "garbage", "lines without end"],
)
def test_what_does_not_speak_ssh_is_unreachable_and_is_not_quoted(said: bytes) -> None:
    """Text of a stranger gets into no error: it could draw on a terminal, or carry a secret back."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        until_gone(connection)

    with listening(serve) as port, pytest.raises(DeviceUnreachable) as failure:
        collect(port)
    assert "owned" not in all_words(failure.value)
    assert "\x1b" not in "".join(traceback.format_exception(failure.value))


def test_another_version_of_the_protocol_is_incompatible() -> None:
    """SSH 1 will not become SSH 2 by waiting."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"SSH-1.5-" + HOSTILE + b"\r\n")
        until_gone(connection)

    with listening(serve) as port, pytest.raises(AlgorithmsIncompatible, match="version") as failure:
        collect(port)
    assert "\x1b" not in "".join(traceback.format_exception(failure.value))


def test_a_line_without_end_is_cut_off() -> None:
    """Before a login nobody may fill the memory: what is read is bounded."""
    sent = 0

    def serve(connection: socket.socket) -> None:
        nonlocal sent
        while True:
            sent += connection.send(b"x" * 65536)

    with listening(serve) as port, pytest.raises(DeviceUnreachable):
        collect(port)
    assert sent < 64 * 1024 * 1024


def test_a_flood_after_the_banner_is_cut_off() -> None:
    """Packets that mean nothing (SSH_MSG_IGNORE; RFC 4253, section 11.2), without end, in place of a key exchange."""
    ignore = struct.pack(">IBBI", 16_380, 4, 2, 16_370) + bytes(16_374)
    sent = 0

    def serve(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"SSH-2.0-x\r\n")
        while True:
            sent += connection.send(ignore)

    with listening(serve) as port, pytest.raises(DeviceUnreachable, match="key exchange") as failure:
        collect(port)
    assert isinstance(failure.value.__cause__, OSError)
    assert failure.value.__cause__.errno == errno.EMSGSIZE
    assert sent < 64 * 1024 * 1024


def test_a_packet_that_claims_to_be_huge_is_not_waited_for() -> None:
    """The length of the first packet is what a stranger says it is: up to 4 GiB."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-x\r\n" + struct.pack(">I", 0xFFFFFFFC) + bytes(4))
        until_gone(connection)

    with listening(serve) as port, pytest.raises(DeviceUnreachable):
        collect(port)


def test_a_banner_that_drips_is_timed_out() -> None:
    """Its bytes come one by one, each within any read time-out."""

    def serve(connection: socket.socket) -> None:
        connection.settimeout(0.05)
        while True:
            connection.sendall(b"S")
            with contextlib.suppress(TimeoutError):
                if not connection.recv(100):
                    return

    with listening(serve) as port, pytest.raises(DeviceTimeout, match="banner"):
        collect(port, banner=SHORT)


def test_silence_in_the_key_exchange_is_timed_out() -> None:
    """The banner came in time; the rest has the time of a login."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-mute\r\n")
        until_gone(connection)

    with listening(serve) as port, pytest.raises(DeviceTimeout, match="key exchange"):
        collect(port, login=SHORT)


# --- servers that speak SSH ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        (("eof", "status", "close"), 3),
        (("status", "eof", "close"), 3),
        (("status", "close"), 3),
        (("eof", "close"), None),
    ],
    ids=str,
)
def test_an_orderly_end_is_an_end_in_each_order(parts: tuple[str, ...], status: int | None) -> None:
    """OpenSSH sends the end first, others the status; some send no status, some no end of file before the close."""
    with serving(Server(say(*parts))) as port:
        reply = collect(port)
    assert (reply.stdout, reply.exit_status) == (b"/ip dns\r\n", status)


def test_a_server_that_never_closes_the_channel_has_ended_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both streams ended: the export is whole, and the status is not worth the rest of the deadline."""
    monkeypatch.setattr(reading, "_STATUS_SECONDS", 0.2)
    with serving(Server(say("eof"))) as port:
        reply = collect(port)
    assert (reply.stdout, reply.exit_status) == (b"/ip dns\r\n", None)


@pytest.mark.parametrize("parts", [("close",), ("signal", "eof", "close"), ("status", "cut")], ids=str)
def test_an_end_that_is_none_is_a_truncated_output(parts: tuple[str, ...]) -> None:
    """A channel closed in mid-line, or a command that was killed, reads as success elsewhere.

    A status says that the command is over, not that all it wrote has come.
    """
    with serving(Server(say(*parts))) as port, pytest.raises(OutputTruncated):
        collect(port)


@pytest.mark.parametrize("field", ["opens", "runs"])
def test_a_server_that_runs_nothing_rejects_the_command(field: str) -> None:
    """The user may log in but has no right to a session, or to exec."""
    server = Server(say())
    setattr(server, field, OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED if field == "opens" else False)
    with serving(server) as port, pytest.raises(CommandRejected):
        collect(port)


@pytest.mark.parametrize(
    "prompts", [(("Password: ", True),), (("Password: ", False), ("Code: ", False))], ids=["echoed", "two"]
)
def test_a_password_answers_only_the_question_for_one(prompts: tuple[tuple[str, bool], ...]) -> None:
    """One prompt that does not echo; whatever else is asked is not told a secret."""
    server = Server(say())
    server.methods, server.prompts = "keyboard-interactive", prompts
    with serving(server) as port, pytest.raises(AuthenticationFailed, match="something else"):
        collect(port)
    assert server.heard == []


def test_a_question_asked_again_is_not_answered_again() -> None:
    """The second answer would be a second attempt."""

    class Twice(Server):
        """Asks anew after each answer."""

        def check_auth_interactive_response(self, responses: list[str]) -> int:
            self.heard.extend(responses)
            answer: Any = self.check_auth_interactive("", "")
            return answer  # type: ignore[no-any-return] # the stubs know only verdicts here

    server = Twice(say())
    server.methods, server.prompts = "keyboard-interactive", (("Password: ", False),)
    with serving(server) as port, pytest.raises(AuthenticationFailed):
        collect(port)
    assert server.heard == [SECRET]


def test_a_second_factor_is_a_login_that_failed() -> None:
    """The password was right and is not enough."""
    server = Server(say())
    server.verdict = AUTH_PARTIALLY_SUCCESSFUL
    with serving(server) as port, pytest.raises(AuthenticationFailed, match="second factor"):
        collect(port)


def test_an_account_without_a_password_is_not_sent_one() -> None:
    """The query for the methods is a login there."""
    server = Server(say("eof", "status", "close"))
    server.none_verdict = AUTH_SUCCESSFUL
    with serving(server) as port:
        assert collect(port).exit_status == 3
    assert server.heard == []


def test_a_server_that_refuses_and_hangs_up_has_refused() -> None:
    """The verdict was given: that the connection is gone before anybody looked does not make it a network failure."""

    class Curt(Server):
        """Says no and goes."""

        def check_auth_password(self, username: str, password: str) -> int:
            transport = self.transport
            assert transport is not None
            send: Callable[[Message], None] = transport._send_message  # type: ignore[attr-defined]

            def send_and_go(message: Message) -> None:
                send(message)
                transport.sock.shutdown(socket.SHUT_RDWR)

            transport._send_message = send_and_go  # type: ignore[attr-defined]
            return AUTH_FAILED

    with serving(Curt(say())) as port, pytest.raises(AuthenticationFailed):
        collect(port)


@pytest.mark.parametrize("verdict", [AUTH_FAILED, AUTH_SUCCESSFUL])
@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_a_server_that_hangs_up_on_a_password_has_refused_it(method: str, verdict: int) -> None:
    """It may have counted a failure: sent again after each wait, the password would lock the account (I7)."""
    server = Server(say())
    server.methods, server.prompts = method, (("Password: ", False),)
    server.hang_up_at_login, server.verdict = True, verdict
    with serving(server) as port, pytest.raises(AuthenticationFailed, match="hung up"):
        collect(port)
    assert server.heard == [SECRET]


@pytest.mark.parametrize("left_out", ["the methods", "the question"])
def test_a_server_that_hangs_up_before_a_password_is_unreachable(left_out: str) -> None:
    """Nothing was sent that it could have counted: such a break must not block a device."""

    class Early(Server):
        """Goes before it has heard a secret."""

        def go(self) -> None:
            assert self.transport is not None
            self.transport.sock.shutdown(socket.SHUT_RDWR)

        def check_auth_none(self, username: str) -> int:
            if left_out == "the methods":
                self.go()
            return super().check_auth_none(username)

        def check_auth_interactive(self, username: str, submethods: str) -> InteractiveQuery:
            self.go()
            return super().check_auth_interactive(username, submethods)

    server = Early(say())
    server.methods, server.prompts = "keyboard-interactive", (("Password: ", False),)
    with serving(server) as port, pytest.raises(DeviceUnreachable, match="login"):
        collect(port)
    assert server.heard == []


def test_a_network_that_goes_away_at_the_login_is_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """This end's kernel gives up: the device has not hung up, and must not be blocked."""
    gone = threading.Event()
    failures = [OSError(errno.ETIMEDOUT, "no answer to what was sent")]
    read = socket.socket.recv

    def recv(end: socket.socket, size: int, flags: int = 0) -> bytes:
        data = read(end, size, flags)
        if not gone.is_set() or not isinstance(end, Wire):
            return data
        if failures:
            raise failures.pop()
        return b""  # a kernel says it once

    class Lost(Server):
        """Its answer does not arrive."""

        def check_auth_password(self, username: str, password: str) -> int:
            gone.set()
            return super().check_auth_password(username, password)

    monkeypatch.setattr(socket.socket, "recv", recv)
    server = Lost(say())
    with serving(server) as port, pytest.raises(DeviceUnreachable, match="login"):
        collect(port)
    assert server.heard == [SECRET]


@pytest.mark.parametrize("also_hangs_up", [False, True])
def test_an_expired_password_is_a_login_that_failed(*, also_hangs_up: bool) -> None:
    """PASSWD_CHANGEREQ (RFC 4252, section 8) waits for a new password: the old one is not sent again and again."""

    class Expired(Server):
        """Asks for a new password."""

        def check_auth_password(self, username: str, password: str) -> int:
            self.heard.append(password)
            transport = self.transport
            assert transport is not None
            send: Callable[[Message], None] = transport._send_message  # type: ignore[attr-defined]

            def ask_for_another(_: Message) -> None:
                wanted = Message()
                wanted.add_byte(bytes([60]))
                wanted.add_string("Change it.")
                wanted.add_string("")
                send(wanted)
                if also_hangs_up:
                    transport.sock.shutdown(socket.SHUT_RDWR)

            transport._send_message = ask_for_another  # type: ignore[attr-defined]
            return AUTH_FAILED

    server = Expired(say())
    with serving(server) as port, pytest.raises(AuthenticationFailed, match="expired"):
        collect(port)
    assert server.heard == [SECRET]


def test_a_server_that_cannot_sign_with_the_key_that_it_shows_is_another() -> None:
    """Anybody can show a public key."""
    shown = paramiko.ECDSAKey.generate()

    class Borrowed(paramiko.ECDSAKey):
        """Shows one key and signs with another."""

        def asbytes(self) -> bytes:
            return shown.asbytes()

    class Asked(Exception):
        """The key was taken for proven."""

    server = Server(say())
    server.keys = [Borrowed(vals=(ECDSA.signing_key, ECDSA.verifying_key))]
    with serving(server) as port:
        target = Target(
            "127.0.0.1", port, HostKey(shown.get_name(), shown.asbytes()), legacy_ssh=False, timeouts=Timeouts()
        )

        def asked(_: HostKey) -> None:
            raise Asked

        with pytest.raises(HostKeyMismatch), SshCollector().session(target, asked, lambda: Login("backup", SECRET)):
            pass


def test_a_password_is_in_no_failure_of_ours() -> None:
    """Not in its words, and not in what it was raised from."""
    server = Server(say())
    server.verdict = AUTH_FAILED
    with serving(server) as port, pytest.raises(BackupflowError) as failure:
        collect(port)
    seen: BaseException | None = failure.value
    while seen is not None:
        assert SECRET not in all_words(seen)
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
