"""What a history must be, said as shortly as it can be; the store rule over a dict; and every order of delivery."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from itertools import groupby, permutations, product
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from backupflow.core.ledger import Stored
from backupflow.core.message import SnapshotMessage
from backupflow.core.model import CollectionId, ContentHash, DeviceId, SealedConfig, Seq, State, TenantId
from backupflow.core.sequence import place
from backupflow.core.storing import Fenced, Holder, Standing, content_key, judge, observation_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LETTERS = "ABC"
CASES = 31_287  # sum over n = 1..5 of 3^n * n!
TENANT, DEVICE = TenantId(UUID(int=1)), DeviceId(UUID(int=2))
NOTHING_STORED = Holder(TENANT, tenant_removed=False, kept_from_seq=Seq(0), current_seq=Seq(0))


# --- the model ---------------------------------------------------------------------------------------------------


class History(NamedTuple):
    """What can be seen of a device: the changes (seq, content), the current seq, and how many contents are kept."""

    changes: list[tuple[int, str]]
    current: int
    contents: int


def model(observed: Mapping[int, str]) -> History:
    """The run-length of what was observed, in the order of seq."""
    ordered = sorted(observed.items())
    runs = [next(run) for _, run in groupby(ordered, lambda one: one[1])]
    return History(runs, max(observed, default=0), len(set(observed.values())))


# --- the store rule over a dict ----------------------------------------------------------------------------------


@dataclass
class Shelf:
    """One device's rows, all of which have passed the fence; stores by the rule of the core and nothing else."""

    rows: dict[int, Standing]
    device: Holder = NOTHING_STORED
    observed: dict[int, SnapshotMessage] = field(default_factory=dict)
    is_change: dict[int, bool | None] = field(default_factory=dict)
    contents: dict[object, SealedConfig] = field(default_factory=dict)

    def store(self, message: SnapshotMessage) -> Stored:
        """What the adapter does in SQL."""
        row = self.rows.get(message.collection_id)
        outcome = judge(message, row, self.device)
        if outcome is not Stored.STORED or row is None:
            return outcome
        placed = place(observation_of(message), map(observation_of, self.observed.values()), self.device.current_seq)
        self.contents.setdefault(content_key(message), message.sealed)
        self.rows[message.collection_id] = Standing(TENANT, DEVICE, message.seq, State.STORED, row.fenced)
        self.observed[message.seq] = message
        self.is_change[message.seq] = placed.is_change
        if placed.successor:
            self.is_change[placed.successor.seq] = placed.successor.is_change
        if placed.is_current:
            self.device = replace(self.device, current_seq=message.seq)
        return outcome

    def history(self) -> History:
        """What can be seen of it."""
        changes = [(seq, letter_of(self.observed[seq])) for seq in sorted(self.observed) if self.is_change[seq]]
        return History(changes, self.device.current_seq, len(self.contents))


def shelf(messages: tuple[SnapshotMessage, ...], state: State = State.PUBLISHED) -> Shelf:
    """The rows as their collectors left them."""
    return Shelf({m.collection_id: Standing(TENANT, DEVICE, m.seq, state, fence_of(m)) for m in messages})


def fence_of(message: SnapshotMessage) -> Fenced:
    """What the collector of this message wrote."""
    return Fenced(message.sealed.digest, message.content_hash, message.normalization_version)


def sent(letters: str) -> tuple[SnapshotMessage, ...]:
    """An observation a letter, each sealed anew."""
    return tuple(
        SnapshotMessage(TENANT, DEVICE, CollectionId(n + 100), Seq(n), 1, hash_of(letter), sealed(f"{letter}{n}"))
        for n, letter in enumerate(letters, 1)
    )


def sealed(what: str) -> SealedConfig:
    """A sealed text of its own for each word."""
    return SealedConfig("vault:v1:" + hashlib.sha256(what.encode()).hexdigest())


def hash_of(letter: str) -> ContentHash:
    """The hash of a content that is a letter; it can be read back."""
    return ContentHash(letter.encode() * 32)


def letter_of(message: SnapshotMessage) -> str:
    """The content of a message."""
    return chr(message.content_hash[0])


# --- every order of delivery -------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A history, and in which order its messages (from 0) arrive; one of them twice, chosen by the case's number."""

    letters: str
    order: tuple[int, ...]


def cases() -> Iterator[Case]:
    """All orders of up to five observations over three contents."""
    number = 0
    for length in range(1, 6):
        for letters in map("".join, product(LETTERS, repeat=length)):
            for order in permutations(range(length)):
                mixed = number * 2_654_435_761 >> 8  # Knuth's multiplier: neighbours differ
                twice = mixed % length
                first = order.index(twice)
                again = first + 1 + mixed // length % (length - first)
                yield Case(letters, (*order[:again], twice, *order[again:]))
                number += 1
