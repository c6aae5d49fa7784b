"""What a newer normalizer makes of what is kept: values of the job that goes over the past."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backupflow.core.history import SealedSnapshot
    from backupflow.core.model import ContentHash


@dataclass(frozen=True, slots=True)
class Old:
    """A content whose hash is of an older normalization."""

    number: int
    snapshot: SealedSnapshot


@dataclass(frozen=True, slots=True)
class Rehashed:
    """The same content by the newer normalizer; keyed hashes."""

    number: int
    content_hash: ContentHash = field(repr=False)
    shape_hash: bytes = field(repr=False)
    masked_hash: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What became of one device, in one transaction."""

    texts: int  # that have hashes of the newer normalizer now
    merged: int  # that turned out to be one with an earlier text, whose export stays
    unchanged: int  # observations that are no change any more
    anew: int  # changes that are to be interpreted anew
