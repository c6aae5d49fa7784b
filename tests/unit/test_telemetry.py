"""What a process writes into its log, through the whole chain: no secret, and nothing that a library quotes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

LOGS = """
import logging
from backupflow import telemetry
from backupflow.errors import DeviceTimeout
telemetry.set_up_logs()
log = telemetry.logger()
log.info("one", password="marker-1", sealed_login="marker-2", anything=b"marker-3", device="core-1")
log.info("seven", login_without_owner=3, key_share=0.5, key=True, token="7", secret=["8"], pepper=None)
try:
    raise ValueError("the library quotes marker-4")
except ValueError:
    log.exception("two")
try:
    raise DeviceTimeout("in the command")
except DeviceTimeout:
    log.exception("three")
log.info("four", says="\\x1b[2Jcleared")
logging.getLogger("library").warning("five")
try:
    raise ValueError("the library quotes marker-5")
except ValueError:
    logging.getLogger("library").exception("six")
"""


@pytest.fixture(scope="module")
def lines() -> dict[str, dict[str, Any]]:
    """What a process logs, by event."""
    done = subprocess.run([sys.executable, "-c", LOGS], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return {line["event"]: line for line in map(json.loads, done.stderr.splitlines())}


def test_what_is_secret_by_its_name_is_not_logged(lines: dict[str, dict[str, Any]]) -> None:
    """A field that is called a password, or bytes of whatever, is blanked; the rest is there (I5)."""
    one = lines["one"]
    assert {one[name] for name in ("password", "sealed_login", "anything")} == {"[hidden]"}
    assert one["device"] == "core-1"


def test_a_number_is_no_secret_whatever_it_counts(lines: dict[str, dict[str, Any]]) -> None:
    """How many logins a job mended is what an operator asks for; a text in the same place stays hidden (I5)."""
    seven = lines["seven"]
    assert (seven["login_without_owner"], seven["key_share"], seven["key"]) == (3, 0.5, True)
    assert {seven[name] for name in ("token", "secret", "pepper")} == {"[hidden]"}


def test_what_a_foreign_exception_says_is_not_logged(lines: dict[str, dict[str, Any]]) -> None:
    """It may quote what a router sent or a row holds: its class and its place are told, whoever logs it (I5)."""
    for event in ("two", "six"):
        assert lines[event]["error"] == "ValueError"
        assert lines[event]["at"]
    assert "marker" not in json.dumps(lines)


def test_what_our_own_failures_say_is_logged(lines: dict[str, dict[str, Any]]) -> None:
    """They are written to be read, and carry no secrets."""
    assert lines["three"]["code"] == "device_timeout"
    assert "in the command" in lines["three"]["says"]


def test_nothing_in_a_log_acts_on_a_terminal(lines: dict[str, dict[str, Any]]) -> None:
    """What a router calls itself stands there in signs that can be seen."""
    assert lines["four"]["says"] == "\\x1b[2Jcleared"
    assert lines["five"]["level"] == "warning"
