"""What a vendor's driver declares; the contract between the collect flow and `backupflow.drivers`.

A driver is pure: it is shown what a router answered and says what that is. It does no I/O and never raises on what a
router sends, which is hostile by assumption: every verdict is a value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from backupflow.core.edits import Edit
    from backupflow.core.model import NormalConfig, RawConfig, Secrets, SecretsPolicy
    from backupflow.core.tree import Parsed, Tree


@dataclass(frozen=True, slots=True)
class Reply:
    """What one exec command answered, both streams read to EOF."""

    command: str
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)
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
    identity: str | None = None
    """The name that the router was given; printable and bounded, as all of this."""
    markers: tuple[str, ...] = ()
    """The menus that the router itself says it could not export, one line each, sorted, without repeats."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How one session asks for an export."""

    secrets: SecretsPolicy
    remembered: str | None
    """The command that worked last time for this device; one that the driver does not know is ignored."""
    end_mark: str | None = None
    """A nonce that this router is to repeat after its export; None: none is asked for."""


@dataclass(frozen=True, slots=True)
class Outline:
    """What can be compared of two exports without either text; sizes in bytes, digests are SHA-256."""

    sections: int  # different paths with items
    size: int  # of the normal form
    secrets: int  # properties that hold one
    shape: bytes = field(repr=False)  # digest over the paths and how many items each has, in their order
    masked: bytes = field(repr=False)  # digest of the normal form without its secrets


@dataclass(frozen=True, slots=True)
class Reading:
    """A whole export, as it came off the wire."""

    raw: RawConfig = field(repr=False)  # byte for byte, without the end mark
    normal: NormalConfig = field(repr=False)
    facts: Facts
    outline: Outline
    secrets: Secrets
    command: str  # that gave it, without the end mark
    remember: str  # the command to begin with next time
    exit_status: int | None
    marked: bool  # it was given to a command with an end mark
    ended: bool  # the end mark came; without one no more is known than that the text is whole
    may_hide: bool  # a router of this version leaves secrets out without a word if the user may not see them


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


class Grammar(Protocol):
    """How one vendor's normal form is read: as a tree of components and items, and as what a person would call them.

    Texts come from a router, so all of it is total (it never raises on them) and linear in time.
    """

    def tree(self, normal: NormalConfig) -> Tree:
        """Split a normal form into components; those of one path are one."""

    def parsed(self, component: str, text: str) -> Parsed:
        """Read an item; one that is not made of tokens has no verb, and its whole text as a property without a name."""

    def is_menu(self, component: str) -> bool:
        """Tell whether a component may be named in clear: it is the path of a menu, and nothing that somebody typed."""

    def is_ordered(self, component: str) -> bool:
        """Tell whether the order of a component's items has a meaning."""

    def lineage(self, component: str) -> str:
        """Give the name that a component has in the newest version; most were never renamed."""

    def adjusts(self, component: str, item: Parsed) -> bool:
        """Tell whether the item only adjusts what is there anyway: without it the default holds."""

    def identity(self, component: str, item: Parsed) -> tuple[str, ...] | None:
        """Give what tells this item from the others of its component, whatever else of it changes; None: nothing."""

    def alias(self, component: str, item: Parsed) -> tuple[str, ...] | None:
        """Give what else an item is known by, if its identity is another now: the address *of this interface*."""

    def name(self, component: str, item: Parsed, *, brief: bool = False) -> str:
        """Call an item as a person would, without secrets; `brief`: its properties are told beside the name.

        Empty for a menu itself; of a line of the header, what the line is about.
        """

    def named_by(self, component: str, item: Parsed) -> frozenset[str]:
        """Give the properties that the brief name says already."""

    def shown(self, value: str) -> str:
        """Write a value, masked or not, as a person reads it: with letters for escapes."""

    def is_secret(self, component: str, name: str) -> bool:
        """Tell whether the property of this name holds a secret."""

    def masked_value(self, component: str, name: str, value: str) -> str:
        """Give a property's value for those who may not see secrets."""

    def masked_names(self, component: str, items: Sequence[Parsed]) -> Mapping[str, str]:
        """Give the properties of these items whose names may be secrets (words without a value), as they are shown."""

    def masked_line(self, component: str, text: str) -> str:
        """Give an item, or a header line, for those who may not see secrets."""

    def masked(self, normal: NormalConfig) -> str:
        """Give a whole text for those who may not see secrets; it has the same lines."""


class Driver(Protocol):
    """One vendor's exports: how to ask for them, and what is one."""

    name: str
    secret_keys: frozenset[str]
    """Names of the properties whose values are secrets."""
    grammar: Grammar
    """How its normal form is read and shown."""

    def next_command(self, asking: Asking, replies: Sequence[Reply]) -> str | None:
        """Give the next command of this session, None when nothing more is worth asking; at most six in all."""

    def read(self, asking: Asking, replies: Sequence[Reply]) -> Reading | Incomplete:
        """Judge what a session answered, and reduce it; `replies` are those to `next_command`, in order."""

    def probe(self, nonce: str) -> str:
        """Give a short command that shows whether this router repeats an end mark."""

    def repeats(self, reply: Reply, nonce: str) -> bool:
        """Tell whether the answer to `probe` ends in the end mark."""

    def who_command(self) -> str | None:
        """Give the command that shows the router's own log of edits; None: there is none."""

    def edits(self, text: bytes) -> tuple[Edit, ...]:
        """Read what it answered; of bounded number, and nothing of what is no such log. Linear in time."""

    def clock(self, raw: RawConfig) -> datetime | None:
        """Tell what the router's clock, which has no zone, showed when it gave this export; None: it does not say."""

    def judge_file(self, raw: bytes) -> Completeness:
        """Judge an export from a file: an editor may have dropped its final newline."""

    def normalize(self, raw: RawConfig) -> NormalConfig:
        """Reduce an export to what its owner configured; total over all bytes, idempotent, linear in time."""

    def outline(self, normal: NormalConfig) -> Outline:
        """Outline a normal form, as `read` does."""
