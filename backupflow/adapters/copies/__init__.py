"""The files that outlive an install (docs/adr/0013): sealed by age, streamed both ways, there whole or not at all."""

from __future__ import annotations

from backupflow.adapters.copies.age_file import (
    Identities,
    Lock,
    Passphrase,
    Recipients,
    check,
    opened,
    sealed_by_passphrase,
    sealed_chunks,
)
from backupflow.adapters.copies.tar import members_of, tar_of
from backupflow.adapters.copies.whole_file import Written, require_free, require_lasting, write_whole

__all__ = [
    "Identities",
    "Lock",
    "Passphrase",
    "Recipients",
    "Written",
    "check",
    "members_of",
    "opened",
    "require_free",
    "require_lasting",
    "sealed_by_passphrase",
    "sealed_chunks",
    "tar_of",
    "write_whole",
]
