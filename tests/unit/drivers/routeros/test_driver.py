"""How a RouterOS device is asked for its export."""

from __future__ import annotations

import pytest

from backupflow.core.driver import Reply
from backupflow.drivers import DRIVERS, driver
from backupflow.errors import InputInvalid

ROS = driver("routeros")
SENSITIVE, PLAIN = "/export show-sensitive", "/export"
SIX = b"# sep/29/2022 10:00:00 by RouterOS 6.49.7\r\n/ip dns\r\nset a=b\r\n"
SEVEN = b"# 2025-06-10 18:46:11 by RouterOS 7.19.1\r\n/ip dns\r\nset a=b\r\n"


def reply(command: str, stdout: bytes, stderr: bytes = b"") -> Reply:
    """An answer that ended well."""
    return Reply(command, stdout, stderr, 0)


def test_the_registry_gives_each_driver_by_its_name() -> None:
    """A name that there is not is the caller's mistake, told with those that there are."""
    assert [driver(name).name for name in DRIVERS] == list(DRIVERS)
    with pytest.raises(InputInvalid, match="routeros"):
        driver("no such")


@pytest.mark.parametrize(
    ("remembered", "commands"),
    [
        (None, (SENSITIVE, PLAIN)),
        (SENSITIVE, (SENSITIVE, PLAIN)),
        (PLAIN, (PLAIN, SENSITIVE)),
        ("x", (SENSITIVE, PLAIN)),
    ],
)
def test_what_worked_last_time_is_tried_first(remembered: str | None, commands: tuple[str, ...]) -> None:
    """One session, one refused command at most, and never one that the driver does not know."""
    assert ROS.commands(remembered) == commands


@pytest.mark.parametrize(
    "answer",
    [
        b"expected end of command (line 1 column 9)\r\n",
        b"\r\nexpected end of command (line 1 column 9)\r\n",
        b"syntax error (line 1 column 9)\n",
        b"bad command name show-sensitive (line 1 column 9)\n",
    ],
)
def test_a_word_that_the_router_does_not_know_is_a_refusal(answer: bytes) -> None:
    """RouterOS 6 says so on stdout, with exit status 0; others may on stderr."""
    assert ROS.refused(reply(SENSITIVE, answer))
    assert ROS.refused(reply(SENSITIVE, b"", answer))


@pytest.mark.parametrize("answer", [SIX, SEVEN, b"not enough permissions (9)\n", b"", SEVEN + b"syntax error\n"])
def test_anything_else_is_an_answer(answer: bytes) -> None:
    """Missing rights above all: a plain export would hide the secrets in silence."""
    assert not ROS.refused(reply(SENSITIVE, answer))


def test_a_router_that_was_upgraded_is_asked_for_its_secrets_again() -> None:
    """Plain worked on RouterOS 6; on 7 the same command leaves the secrets out."""
    assert not ROS.refused(reply(PLAIN, SIX))
    assert ROS.refused(reply(PLAIN, SEVEN))


@pytest.mark.parametrize("answer", [b"", SIX[:-9], b"not enough permissions (9)\n", b"<html>"])
def test_a_broken_plain_answer_keeps_its_own_reason(answer: bytes) -> None:
    """Another command would only hide why this one failed."""
    assert not ROS.refused(reply(PLAIN, answer))


def test_secret_properties_are_known_by_name() -> None:
    """The keys that hold passwords and keys, without their prefix."""
    assert {"password", "secret", "private-key", "wpa2-pre-shared-key", "passphrase"} <= ROS.secret_keys
    assert "name" not in ROS.secret_keys
