"""The file that a backup of the system is: age around a tar, streamed both ways."""

from __future__ import annotations

from backupflow.adapters.system_backup.age_file import (
    Identities,
    Lock,
    Passphrase,
    Recipients,
    check,
    opened,
    sealed_by_passphrase,
    sealed_chunks,
)
from backupflow.adapters.system_backup.tar import members_of, tar_of
from backupflow.adapters.system_backup.whole_file import Written, require_free, require_lasting, write_whole

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
