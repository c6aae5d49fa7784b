"""A router's own log of who edited it: what is kept of one, and what a driver reads in it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from backupflow.errors import MessageMalformed

LONGEST_LOG: Final = 256 * 1024  # bytes that are kept of one; RouterOS has the last hundred edits in it
LONGEST_BY: Final = 64  # characters of a user's name
MOST_EDITS: Final = 200


@dataclass(frozen=True, slots=True)
class Edit:
    """One line of a log. `at` is by the router's clock, which has no zone; what the log does not tell is empty."""

    at: datetime
    by: str
    component: str = ""  # the menu, such as ip/firewall/filter
    words: frozenset[str] = frozenset()  # of its sentence, in place of a menu
    action: str = ""  # added, removed, modified, moved
    values: frozenset[tuple[str, str]] = field(default=frozenset(), repr=False)  # properties that it names


@dataclass(frozen=True, slots=True)
class Log:
    """What a router answered; `clock`: its own, when it gave the export. `text` may hold secrets."""

    text: bytes = field(repr=False)
    clock: datetime | None


@dataclass(frozen=True, slots=True)
class Witness:
    """A log with what is known of when: `read_at` is when the export was read, `since` when the one before was."""

    log: Log
    since: datetime
    read_at: datetime


def pack(log: Log) -> bytes:
    """What is sealed of a log."""
    clock = None if log.clock is None else log.clock.isoformat()
    return json.dumps({"clock": clock}).encode() + b"\n" + log.text


def unpack(body: bytes) -> Log:
    """Give it back; MessageMalformed if it is none."""
    head, _, text = body.partition(b"\n")
    try:
        said: Any = json.loads(head)["clock"]
        clock = None if said is None else datetime.fromisoformat(said)
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise MessageMalformed("the log of a router is damaged") from exc
    if clock is not None and clock.tzinfo is not None:
        raise MessageMalformed("the clock of a router has no zone")
    return Log(text, clock)


def bare(value: str) -> str:
    """A value without its quotes: a log and an export do not always put them at the same places."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
