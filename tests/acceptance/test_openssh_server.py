"""Against Debian's real sshd: what it sends arrives byte for byte, however one logs in."""

from __future__ import annotations

import threading

import pytest

from backupflow.adapters.ssh import SshCollector
from backupflow.core.model import HostKey, Login, Target, Timeouts
from backupflow.errors import AuthenticationFailed, HostKeyMismatch
from tests.acceptance.openssh import WAYS, Dialect, OpenSshServer

COMMANDS: dict[Dialect, str] = {"v6": "/export", "v7": "/export show-sensitive"}


def target(server: OpenSshServer) -> Target:
    """The server, with its key pinned."""
    return Target("127.0.0.1", server.port, HostKey(*server.host_key), legacy_ssh=False, timeouts=Timeouts())


def login(server: OpenSshServer, way: str, *, wrong: bool = False) -> Login:
    """A login that the server takes, or one that it refuses."""
    if way == "publickey":
        key = server.key_path if not wrong else server.folder / "host_key"
        return Login(server.user, private_key=key.read_text("ascii"), passphrase=None if wrong else server.passphrase)
    return Login(server.user, password="wrong" if wrong else server.password)


def trust(key: HostKey) -> None:
    """Whatever key it is."""


@pytest.mark.parametrize("dialect", ["v6", "v7"])
@pytest.mark.parametrize("way", WAYS)
def test_an_export_arrives_byte_for_byte(
    openssh_server: OpenSshServer, way: str, dialect: Dialect, telling_exports: dict[str, bytes]
) -> None:
    """CRLF, raw 8-bit bytes, no final newline, 2.4 MB and real exports come back as they were given, by each login."""
    openssh_server.start(methods=(way,))
    with SshCollector().session(target(openssh_server), trust, lambda: login(openssh_server, way)) as session:
        for name, export in telling_exports.items():
            openssh_server.set_answer(export, dialect)
            reply = session.run(COMMANDS[dialect])
            assert reply.stdout == export, name
            assert (reply.stderr, reply.exit_status) == (b"", 0)


def test_a_command_that_is_not_known_can_be_followed_by_another_in_the_same_session(
    openssh_server: OpenSshServer, exports: dict[str, bytes]
) -> None:
    """RouterOS 6 answers an error to show-sensitive; the plain export follows on the same connection."""
    openssh_server.set_answer(exports["made: CRLF"], "v6")
    way = WAYS[0]
    with SshCollector().session(target(openssh_server), trust, lambda: login(openssh_server, way)) as session:
        assert session.run("/export show-sensitive").stdout == b"expected end of command (line 1 column 9)\r\n"
        assert session.run("/export").stdout == exports["made: CRLF"]
    assert openssh_server.log.count("Connection from") == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_login_is_one_attempt(openssh_server: OpenSshServer, way: str) -> None:
    """A server that hangs up at the first failure lets a good login in without one, and counts a bad one once."""
    openssh_server.start(methods=(way,))
    with SshCollector().session(target(openssh_server), trust, lambda: login(openssh_server, way)):
        assert "Failed" not in openssh_server.log
    with (
        pytest.raises(AuthenticationFailed),
        SshCollector().session(target(openssh_server), trust, lambda: login(openssh_server, way, wrong=True)),
    ):
        pass
    assert openssh_server.logs("Too many authentication failures")
    failures = [line for line in openssh_server.log.splitlines() if line.startswith("Failed ")]
    assert len(failures) == 1
    assert failures[0].startswith(f"Failed {way}")


def test_a_login_of_a_kind_that_is_not_taken_is_refused_without_sending_it(openssh_server: OpenSshServer) -> None:
    """Where only keys are taken, a password is not sent at all."""
    openssh_server.start(methods=("publickey",))
    with (
        pytest.raises(AuthenticationFailed, match="offered: publickey"),
        SshCollector().session(target(openssh_server), trust, lambda: Login(openssh_server.user, "never sent")),
    ):
        pass
    assert openssh_server.logs("Connection closed by")
    assert "Failed password" not in openssh_server.log


def test_a_key_of_another_type_ends_before_the_login(openssh_server: OpenSshServer) -> None:
    """A server that lacks the pinned type shows the key that it has, to be recorded; nobody logs in to it."""
    asked: list[str] = []
    pinned = HostKey("ssh-rsa", b"of another time")
    other = Target("127.0.0.1", openssh_server.port, pinned, legacy_ssh=False, timeouts=Timeouts())

    def never() -> Login:
        asked.append("login")
        return Login(openssh_server.user)

    with pytest.raises(HostKeyMismatch), SshCollector().session(other, lambda _: asked.append("admit"), never):
        pass
    assert asked == ["admit"]


def test_many_sessions_at_once_keep_their_answers_apart(openssh_server: OpenSshServer) -> None:
    """One collector serves many threads; each gets the answer to its own question."""
    collector, way = SshCollector(), WAYS[0]
    answers: dict[int, bytes] = {}

    def collect(number: int) -> None:
        with collector.session(target(openssh_server), trust, lambda: login(openssh_server, way)) as session:
            answers[number] = session.run(f"question-{number}").stdout

    threads = [threading.Thread(target=collect, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {
        number: f"bad command name question-{number} (line 1 column 1)\r\n".encode() for number in range(8)
    }
