"""What a collect task needs of the world, how its row is ended, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from backupflow.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.driver import Driver
    from backupflow.core.ledger import Assignment, Ending
    from backupflow.core.ports import CollectionStore, Collector, Publisher, Reader, Sealer, SecretOpener


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a collect task ended: `what` is a state, or why nothing was done; `code` the failure, if one."""

    what: str
    code: str = ""
    detail: str = ""
    device: str = ""
    seq: int = 0


@dataclass(frozen=True, slots=True)
class CollectPorts:
    """What collecting needs of the world."""

    store: CollectionStore
    collector: Collector
    secrets: SecretOpener
    sealer: Sealer
    publisher: Publisher
    reader: Reader
    driver: Callable[[str], Driver]
    dice: Callable[[], float]
    nonce: Callable[[], str]
    jump_host_retry: timedelta = timedelta(minutes=5)  # how long a jump host that was down is left alone


def end(ports: CollectPorts, assignment: Assignment, ending: Ending) -> Outcome:
    """End the row; where the database is away its lease does. What is told is what was written."""
    try:
        written = ports.store.end(assignment, ending)
    except StoreUnavailable as away:
        return told(assignment, "unfinished", away.code, away.detail)
    if written is None:
        return told(assignment, "dropped", ending.code, ending.detail)
    return told(assignment, written.state, written.code, written.detail)


def told(assignment: Assignment, what: str, code: str = "", detail: str = "") -> Outcome:
    """The outcome of this assignment."""
    return Outcome(what, code, detail, assignment.device_name, assignment.seq)
