"""What a vendor's driver declares; the contract between the collect flow and `backupflow.drivers`.

A driver is pure: it is shown what a router answered and says what that is. It does no I/O and never raises on what a
router sends, which is hostile by assumption: every verdict is a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backupflow.core.model import NormalConfig, RawConfig


@dataclass(frozen=True, slots=True)
class Reply:
    """What one exec command answered, both streams read to EOF."""

    command: str
    stdout: bytes
    stderr: bytes
    exit_status: int | None
    """None: the server sent none before it closed the channel."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an export says about the router that gave it; None is "the export does not say"."""

    vendor: str
    version: str | None = None
    model: str | None = None
    serial: str | None = None
    system_id: str | None = None
    markers: tuple[str, ...] = ()
    """The menus that the router itself says it could not export, one line each, sorted, without repeats."""


class Reason(StrEnum):
    """Why an answer is no complete configuration: stable words, for code, logs and exit texts."""

    TRUNCATED = "truncated"  # it began as a configuration and broke off
    INTERRUPTED = "interrupted"  # the router itself says that it broke off
    REJECTED = "rejected"  # the router refused the command: rights, or syntax that it does not know
    NOT_A_CONFIGURATION = "not_a_configuration"  # something else, or a configuration with something else in it


@dataclass(frozen=True, slots=True)
class Complete:
    """A whole configuration, as far as its text can show it."""

    facts: Facts


@dataclass(frozen=True, slots=True)
class Incomplete:
    """Not to be stored; `detail` says where or what in our own words, never with content of the answer."""

    reason: Reason
    detail: str


Completeness = Complete | Incomplete


class Driver(Protocol):
    """One vendor's exports: how to ask for them, and what is one."""

    name: str
    secret_keys: frozenset[str]
    """Names of the properties whose values are secrets."""

    def commands(self, remembered: str | None) -> tuple[str, ...]:
        """Give the export commands in the order to try them in one session.

        `remembered` is the command that worked last time for this device; one that the driver does not know is ignored.
        """

    def refused(self, reply: Reply) -> bool:
        """Tell whether the router does not know this command, so that the next one is worth a try."""

    def judge(self, reply: Reply) -> Completeness:
        """Judge an answer off the wire."""

    def judge_file(self, raw: bytes) -> Completeness:
        """Judge an export from a file: an editor may have dropped its final newline."""

    def normalize(self, raw: RawConfig) -> NormalConfig:
        """Reduce an export to what its owner configured; total over all bytes, idempotent, linear in time."""
