"""Which observations are changes, and which one is current, whatever the order in which they arrive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backupflow.core.model import ContentHash, Seq


@dataclass(frozen=True, slots=True)
class Observation:
    """One stored reading of a device, in the order of reading."""

    seq: Seq
    content_hash: ContentHash
    normalization_version: int


@dataclass(frozen=True, slots=True)
class Reconsidered:
    """An observation that was compared with an older one than it has before it now."""

    seq: Seq
    is_change: bool | None


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an observation goes, and what that makes of the history around it."""

    is_change: bool | None
    successor: Reconsidered | None  # what was interpreted of it is void
    is_current: bool


def is_change(previous: Observation | None, present: Observation) -> bool | None:
    """A change differs from the observation just before it, not from any older one: A, B, A is two changes.

    None: undecided, since hashes compare only within one normalization version; both texts must be opened to tell,
    and until then nothing is shown as a change.
    """
    if previous is None:
        return True
    if previous.normalization_version != present.normalization_version:
        return None
    return previous.content_hash != present.content_hash


def place(here: Observation, stored: Iterable[Observation], current_seq: Seq) -> Placed:
    """Put an observation among those that are stored of its device, of which `current_seq` is the current one.

    `stored` holds at least the one just before and the one just after it, in any order, and not the observation itself.
    """
    others = tuple(stored)
    before = max((one for one in others if one.seq < here.seq), key=lambda one: one.seq, default=None)
    after = min((one for one in others if one.seq > here.seq), key=lambda one: one.seq, default=None)
    return Placed(
        is_change(before, here),
        Reconsidered(after.seq, is_change(here, after)) if after else None,
        here.seq > current_seq,
    )
