"""How often, and to what, a password is given: once, to one hidden question, after the key was admitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from paramiko.common import AUTH_SUCCESSFUL, cMSG_SERVICE_ACCEPT
from paramiko.message import Message
from paramiko.server import InteractiveQuery

from backupflow.adapters.ssh import SshCollector
from backupflow.errors import AuthenticationFailed, DeviceUnreachable, HostKeyMismatch
from tests.integration.ssh_strangers import ECDSA, SECRET, Server, collect, pin, say, serving, target
from tests.integration.ssh_strangers import login as the_login

if TYPE_CHECKING:
    from typing import Any

    from backupflow.core.model import HostKey, Login

Prompts = list[tuple[str, bool]]  # with whether the answer is shown

HIDDEN: Prompts = [("Password: ", False)]
ECHOED: Prompts = [("Code: ", True)]
TWO: Prompts = [("Password: ", False), ("Again: ", False)]
NOTHING: Prompts = []


class Rounds(Server):
    """Asks one round of questions after another, each time whatever the answers were."""

    methods = "keyboard-interactive"

    def __init__(self, *rounds: Prompts) -> None:
        super().__init__(say("eof", "status", "close"))
        self.left = list(rounds)
        self.events: list[str] = []

    def check_auth_none(self, username: str) -> int:
        """The first that is heard of a login."""
        self.events.append("asked for the methods")
        return super().check_auth_none(username)

    def check_auth_interactive(self, username: str, submethods: str) -> InteractiveQuery:
        """Ask the first round."""
        self.events.append("asked to be questioned")
        return self.next_round()

    def next_round(self) -> InteractiveQuery:
        """The question of a round."""
        query = InteractiveQuery("", "")
        for prompt, echo in self.left.pop(0):
            query.add_prompt(prompt, echo)
        return query

    def check_auth_interactive_response(self, responses: list[str]) -> int:
        """Ask the next round; let in after the last."""
        self.heard.extend(responses)
        self.events.extend("answered" for _ in responses)
        further: Any = self.next_round() if self.left else AUTH_SUCCESSFUL
        return further  # type: ignore[no-any-return] # the stubs know only verdicts here


@pytest.mark.parametrize(
    "rounds",
    [[HIDDEN], [HIDDEN, NOTHING], [NOTHING, HIDDEN], [NOTHING, NOTHING, HIDDEN, NOTHING]],
    ids=["one question", "a notice after it", "a notice before it", "notices around it"],
)
def test_one_hidden_question_is_answered_once(rounds: list[Prompts]) -> None:
    """Rounds without a question are notices: they are acknowledged with nothing."""
    server = Rounds(*rounds)
    with serving(server) as port:
        assert collect(port).exit_status == 3
    assert server.heard == [SECRET]


@pytest.mark.parametrize("further", [HIDDEN, ECHOED, TWO], ids=["hidden", "echoed", "two"])
def test_whatever_is_asked_after_the_answer_is_not_answered(further: Prompts) -> None:
    """A second prompt is a second factor, or a second attempt: the login ends there."""
    server = Rounds(HIDDEN, further, NOTHING)
    with serving(server) as port, pytest.raises(AuthenticationFailed, match="something else than one password"):
        collect(port)
    assert server.heard == [SECRET]
    assert server.left == [NOTHING]  # the client has left at the second question


@pytest.mark.parametrize("first", [ECHOED, TWO], ids=["echoed", "two"])
def test_another_question_than_for_one_hidden_answer_is_told_nothing(first: Prompts) -> None:
    """Nor is a right one that would follow."""
    server = Rounds(first, HIDDEN)
    with serving(server) as port, pytest.raises(AuthenticationFailed, match="something else than one password"):
        collect(port)
    assert server.heard == []
    assert server.left == [HIDDEN]


def test_the_question_is_answered_after_the_key_was_admitted() -> None:
    """In this order, whatever asks: the key, the login's release, the methods, the question, the answer."""
    server = Rounds(HIDDEN)

    def admit(_: HostKey) -> None:
        server.events.append("admit")

    def login() -> Login:
        server.events.append("login")
        return the_login()

    with serving(server) as port, SshCollector().session(target(port, ECDSA), admit, login) as session:
        session.run("/export")
    assert server.events == ["admit", "login", "asked for the methods", "asked to be questioned", "answered"]


def test_a_question_of_a_server_with_another_key_is_not_even_heard() -> None:
    """The connection ends before anything is said of a login."""
    server = Rounds(HIDDEN)
    server.keys = [type(ECDSA).generate()]

    def refuse(key: HostKey) -> None:
        assert key == pin(server.keys[0])
        raise HostKeyMismatch

    with (
        serving(server) as port,
        pytest.raises(HostKeyMismatch),
        SshCollector().session(target(port, ECDSA), refuse, lambda: pytest.fail("the login was asked for")),
    ):
        pass
    assert (server.events, server.heard) == ([], [])


def test_a_question_that_was_not_asked_for_is_not_answered() -> None:
    """One that comes in place of the list of methods: nothing has been chosen yet, least of all to tell a secret."""

    class Forward(Rounds):
        """Questions whoever wants to know the methods."""

        def check_auth_none(self, username: str) -> int:
            question = Message()
            question.add_byte(bytes([60]))  # SSH_MSG_USERAUTH_INFO_REQUEST (RFC 4256)
            for text in ("", "", ""):
                question.add_string(text)
            question.add_int(1)
            question.add_string("Password: ")
            question.add_boolean(False)
            assert self.transport is not None
            self.transport._send_message(question)  # type: ignore[attr-defined]
            return super().check_auth_none(username)

    server = Forward(HIDDEN)
    with serving(server) as port, pytest.raises(DeviceUnreachable, match="login"):
        collect(port)
    assert server.heard == []


@pytest.mark.parametrize("methods", ["password", "keyboard-interactive"])
def test_a_service_that_is_accepted_again_is_not_sent_the_login_again(methods: str) -> None:
    """Each repetition could be counted as an attempt."""

    class Again(Rounds):
        """Accepts the service once more after each step."""

        def accept(self) -> None:
            accepted = Message()
            accepted.add_byte(cMSG_SERVICE_ACCEPT)
            accepted.add_string("ssh-userauth")
            assert self.transport is not None
            self.transport._send_message(accepted)  # type: ignore[attr-defined]

        def check_auth_none(self, username: str) -> int:
            self.accept()
            return super().check_auth_none(username)

        def check_auth_password(self, username: str, password: str) -> int:
            self.accept()
            return super().check_auth_password(username, password)

        def check_auth_interactive(self, username: str, submethods: str) -> InteractiveQuery:
            self.accept()
            return super().check_auth_interactive(username, submethods)

    server = Again(HIDDEN)
    server.methods = methods
    with serving(server) as port:
        assert collect(port).exit_status == 3
    assert server.heard == [SECRET]
