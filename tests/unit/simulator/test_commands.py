"""The simulated console answers what RouterOS answers."""

from __future__ import annotations

import pytest

from backupflow.simulator.behaviour import Behaviour
from backupflow.simulator.commands import Answer, ExportWanted, answers
from backupflow.simulator.spec import RouterSpec

SIX, SEVEN = RouterSpec("r1", version="6.49.7", identity="Attic router"), RouterSpec("r1", serial="HF1")
SHOWN, HIDDEN = ExportWanted(sensitive=True), ExportWanted(sensitive=False)
BLIND, ALONE = Behaviour(sensitive=False), Behaviour(end_mark=False)
NO_RIGHT = b"not enough permissions (9)\r\n"
END = b"expected end of command (line 1 column 9)\r\n"


@pytest.mark.parametrize(
    ("command", "six", "seven"),
    [
        ("/export", [SHOWN], [HIDDEN]),
        ("export", [SHOWN], [HIDDEN]),
        ("/export hide-sensitive", [HIDDEN], [HIDDEN]),
        ("/export show-sensitive", [END], [SHOWN]),
        ("/export nonsense", [END], [END]),
        ('/export; :put "done;now"', [SHOWN, b"done;now\r\n"], [HIDDEN, b"done;now\r\n"]),
        ("/export show-sensitive; :put x", [END], [SHOWN, b"x\r\n"]),
        (":put ready", [b"ready\r\n"], [b"ready\r\n"]),
        (
            ":put x; /frob",
            [b"bad command name frob (line 1 column 10)\r\n"],
            [b"bad command name frob (line 1 column 10)\r\n"],
        ),
        ("bash -s", [b"bad command name bash (line 1 column 1)\r\n"], [b"bad command name bash (line 1 column 1)\r\n"]),
        ("/system identity print", [b"  name: Attic router\r\n\r\n"], [b"  name: r1\r\n\r\n"]),
        (
            "/system identity export",
            [ExportWanted(True, "/system identity")],
            [ExportWanted(False, "/system identity")],
        ),
        (
            "/system/identity/export",
            [ExportWanted(True, "/system identity")],
            [ExportWanted(False, "/system identity")],
        ),
        (
            "/ip firewall export hide-sensitive",
            [ExportWanted(False, "/ip firewall")],
            [ExportWanted(False, "/ip firewall")],
        ),
        (
            "/bash export",
            [b"bad command name bash (line 1 column 2)\r\n"],
            [b"bad command name bash (line 1 column 2)\r\n"],
        ),
        ("quit", [b"interrupted\r\n"], [b"interrupted\r\n"]),
        ("", [], []),
    ],
)
def test_a_command_is_answered_as_by_its_version(command: str, six: list[Answer], seven: list[Answer]) -> None:
    """Secrets, unknown words and errors follow the version; an error is the whole answer."""
    assert answers(SIX, command) == six
    assert answers(SEVEN, command) == seven


@pytest.mark.parametrize(
    ("command", "six", "seven"),
    [
        ("/export", [HIDDEN], [HIDDEN]),
        ("/export hide-sensitive", [HIDDEN], [HIDDEN]),
        ("/export show-sensitive", [END], [NO_RIGHT]),
        (":put a; /export show-sensitive; :put b", [END.replace(b"9", b"17")], [b"a\r\n", NO_RIGHT]),
    ],
)
def test_a_user_without_the_policy_sees_no_secrets(command: str, six: list[Answer], seven: list[Answer]) -> None:
    """RouterOS 7 refuses the command that asks for them, and what follows it; 6 leaves them out without a word."""
    assert answers(SIX, command, BLIND) == six
    assert answers(SEVEN, command, BLIND) == seven


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("/export; :put x", [b"syntax error (line 1 column 8)\r\n"]),
        (':put "a;b"', [b"a;b\r\n"]),
        ("/export", [HIDDEN]),
    ],
)
def test_a_parser_may_refuse_a_second_statement(command: str, answer: list[Answer]) -> None:
    """The whole line is refused, and a semicolon in a string is none."""
    assert answers(SEVEN, command, ALONE) == answer
