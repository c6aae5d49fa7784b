"""What is known of one change: what is to be compared, what came of it, and what is written of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

    from backupflow.core.edits import Witness
    from backupflow.core.history import SealedSnapshot
    from backupflow.core.ignoring import Rule
    from backupflow.core.model import CollectionId, ContentHash, Pepper, RawConfig, SealedConfig

TRIES: Final = 3  # then it is marked as unread: whatever it does to who reads it, it does no more often
BACKLOG: Final = "interpreting_late"  # a warning of `status`


class Kind(StrEnum):
    """What one observation is, against the one just before it."""

    FIRST = "first"  # nothing of this router was before it
    CHANGE = "change"
    UPGRADE = "upgrade"  # the router has another version, which writes some of it otherwise
    SECRETS = "secrets"  # nothing but whether secrets are shown
    ORDER = "order"  # nothing but an order that has no meaning
    UNREAD = "unread"  # it could not be interpreted; `detail` says why


@dataclass(frozen=True, slots=True)
class Owed:
    """An observation that is to be interpreted, and what it is compared with: `before` None is nothing.

    `tries` counts this one, and `leased_until` is like no other's: both together say whose it is. `undecided`: nobody
    knows yet whether it is a change, for the two are of different normalizations. `only_secrets`: their masked texts
    are equal, and one of them shows no secrets.
    """

    collection_id: CollectionId
    tries: int
    leased_until: datetime
    collected_at: datetime
    undecided: bool
    only_secrets: bool
    versions: tuple[str, str]  # that the routers said, the earlier first; empty: none
    after: SealedSnapshot
    before: SealedSnapshot | None
    before_is_gone: bool = False  # retention has taken it away
    rules: tuple[Rule, ...] = ()  # of what its owner does not want to be told of
    log: str | None = None  # sealed: what the router itself said of who edited it, see core.edits


@dataclass(frozen=True, slots=True)
class Interpretation:
    """What one change is. What is in clear of it names menus, kinds and counts; the rest is sealed before it is kept.

    `lines` and `changes` are None for what was compared with nothing, or not read.
    """

    kind: Kind
    detail: str = ""
    lines_added: int = 0
    lines_removed: int = 0
    count: int = 0  # of changes, without those that are ignored
    ignored: int = 0
    components: tuple[str, ...] = ()
    touched: tuple[str, ...] = ()  # keyed hashes of its items, in hexadecimal digits
    changes: bytes | None = field(default=None, repr=False)  # core.change_codec
    diff: bytes | None = field(default=None, repr=False)  # core.diff
    summaries: tuple[str, ...] = field(default=(), repr=False)  # as an event tells it: few, masked, nothing ignored


@dataclass(frozen=True, slots=True)
class Enclosed:
    """The sealed parts of an interpretation; `told`: what an event says of it."""

    changes: SealedConfig | None = None
    diff: SealedConfig | None = None
    told: SealedConfig | None = None

    @property
    def oldest_version(self) -> int | None:
        """The oldest version of the key that any of them is sealed under; None: nothing is sealed."""
        parts = (self.changes, self.diff, self.told)
        return min((part.key_version for part in parts if part is not None), default=None)


@dataclass(frozen=True, slots=True)
class Question:
    """Two exports of one router, the earlier None if there is none, and what their rows say of them."""

    driver: str
    before: RawConfig | None = field(repr=False)
    after: RawConfig = field(repr=False)
    pepper: Pepper = field(repr=False)
    versions: tuple[str, str] = ("", "")  # that the routers said, the earlier first
    only_secrets: bool = False
    rules: tuple[Rule, ...] = ()
    witness: Witness | None = None  # of who made it


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it, and the hashes of both texts by this version's normalizer, against which the rows are held.

    Of what was not read, or is not there, there is none.
    """

    hash_before: ContentHash | None
    hash_after: ContentHash | None
    is_same: bool
    interpretation: Interpretation
