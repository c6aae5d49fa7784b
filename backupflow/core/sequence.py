"""Which observations are changes, whatever the order in which they arrive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backupflow.core.model import ContentHash, Seq


@dataclass(frozen=True, slots=True)
class Observation:
    """One stored reading of a device, in the order of reading."""

    seq: Seq
    content_hash: ContentHash
    normalization_version: int


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
