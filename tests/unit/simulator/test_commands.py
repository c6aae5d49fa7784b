"""The simulated console answers what RouterOS answers."""

from __future__ import annotations

import pytest

from backupflow.simulator.commands import Answer, ExportWanted, answers
from backupflow.simulator.spec import RouterSpec

SIX, SEVEN = RouterSpec("r1", version="6.49.7", identity="Attic router"), RouterSpec("r1", serial="HF1")
SHOWN, HIDDEN = ExportWanted(sensitive=True), ExportWanted(sensitive=False)
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
        ("quit", [b"interrupted\r\n"], [b"interrupted\r\n"]),
        ("", [], []),
    ],
)
def test_a_command_is_answered_as_by_its_version(command: str, six: list[Answer], seven: list[Answer]) -> None:
    """Secrets, unknown words and errors follow the version; an error is the whole answer."""
    assert answers(SIX, command) == six
    assert answers(SEVEN, command) == seven
