"""The cells of a table of devices: how each column is read, and what is said of a cell that cannot be.

What is said never holds the value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backupflow.core.inventory import checked_fingerprint, checked_host, checked_name, checked_username
from backupflow.core.scope import checked
from backupflow.core.scopes import ScopeKind, checked_scope_name
from backupflow.core.timetable import read_cron

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = (
    "name", "host", "port", "profile", "group", "site", "jump", "fingerprint", "legacy_ssh", "tenant", "interval",
    "cron",
)  # fmt: skip
SECRET_COLUMNS = ("username", "password")
_PORT = re.compile(r"[0-9]{1,5}")
_SPAN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(s|m|min|h|d)?")
_SHORTEST_INTERVAL = 60.0  # seconds
_SECONDS = {None: 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_SWITCH = {"yes": True, "true": True, "1": True, "on": True, "no": False, "false": False, "0": False, "off": False}


@dataclass(frozen=True, slots=True)
class Cell:
    """How a column is read; `wrong` is said of what cannot be."""

    read: Callable[[str], Any]
    wrong: str


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= 65535:  # noqa: PLR2004 - RFC 9293
        raise ValueError
    return int(text)


def _interval(text: str) -> float:
    found = _SPAN.fullmatch(text.lower())
    if not found or found[2] is None:  # a bare 2 is no more two hours than two seconds
        raise ValueError
    seconds = float(found[1]) * _SECONDS[found[2]]
    if seconds < _SHORTEST_INTERVAL:
        raise ValueError
    return float(checked({"interval_seconds": seconds})["interval_seconds"])


def _password(text: str) -> str:
    if not text.strip("\r\n") or "\0" in text:
        raise ValueError
    return text


def _scope_name(text: str) -> str:
    return checked_scope_name(ScopeKind.GROUP, text)


_SCOPE = Cell(_scope_name, "not a name: 1 to 100 characters, no control character, no - before it")
CELLS = {
    "name": Cell(checked_name, "not a name: 1 to 100 characters, no control character, no slash, no - before it"),
    "host": Cell(checked_host, "not a host name or address"),
    "port": Cell(_port, "not a port"),
    "profile": _SCOPE,
    "group": _SCOPE,
    "site": _SCOPE,
    "jump": _SCOPE,
    "fingerprint": Cell(checked_fingerprint, "not a fingerprint such as SHA256:… of 43 letters"),
    "legacy_ssh": Cell(lambda text: _SWITCH[text.lower()], "neither yes nor no"),
    "tenant": _SCOPE,
    "interval": Cell(_interval, "not a span with its unit, such as 15m, 6h or 1d, from 1m to 3660d"),
    "cron": Cell(lambda text: str(read_cron(text)), "not a cron expression such as 0 2 * * * Europe/Berlin"),
    "username": Cell(checked_username, "not a login name"),
    "password": Cell(_password, "not a password"),
}
