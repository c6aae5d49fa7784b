"""Why the vault gave no answer, and which of our failures that is."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from hvac.exceptions import Forbidden, InvalidPath, VaultDown

from backupflow.core.tls import Refusal, refusal
from backupflow.errors import (
    BackupflowError,
    MessageMalformed,
    NotFound,
    OutputTooLarge,
    TransitKeyMissing,
    VaultUnavailable,
)

if TYPE_CHECKING:
    from hvac.exceptions import VaultError


class Trouble(StrEnum):
    """Why there is no answer; the value is what an operator reads."""

    REFUSED = "it refuses this role what it asked for (403)"
    LOGIN = "it knows no such role or secret id: run the set-up again"
    STARTING = "its node is not active yet"
    SEALED = "it is sealed or not ready (503)"
    SLOW = "it did not answer in time"
    UNREACHABLE = "nobody answers at its address"
    ANOTHER_NAME = Refusal.ANOTHER_NAME.value
    EXPIRED = Refusal.EXPIRED.value
    UNTRUSTED = Refusal.UNTRUSTED.value
    IN_CLEAR = Refusal.IN_CLEAR.value
    KEY = "no such key"
    VERSION = "the key has no such version: it is older than its ciphertexts"
    RETIRED = "that version of the key is retired: if the database is older than the vault, `keys reopen`"
    ALTERED = "sealed for another place, or altered"
    TOO_LARGE = "more than the vault takes at once"
    ABSENT = "nothing at that path"
    OTHER = "it answered what is not understood"


_SAYS = {
    "encryption key not found": Trouble.KEY,
    "no existing key named": Trouble.KEY,
    "could not delete key; not found": Trouble.KEY,
    "version is too new": Trouble.VERSION,
    "key version does not exist": Trouble.VERSION,
    "no such key version": Trouble.RETIRED,
    "disallowed by policy (too old)": Trouble.RETIRED,
    "message authentication failed": Trouble.ALTERED,
    "invalid ciphertext": Trouble.ALTERED,
    "invalid role or secret ID": Trouble.LOGIN,
    "No secret engine mount at": Trouble.ABSENT,
    "No auth engine at": Trouble.ABSENT,
    "node not active": Trouble.STARTING,
    "is sealed": Trouble.SEALED,
    "request body too large": Trouble.TOO_LARGE,
}
_ERRORS: dict[Trouble, type[BackupflowError]] = {
    Trouble.KEY: TransitKeyMissing,
    Trouble.VERSION: TransitKeyMissing,
    Trouble.RETIRED: TransitKeyMissing,
    Trouble.ALTERED: MessageMalformed,
    Trouble.TOO_LARGE: OutputTooLarge,
    Trouble.ABSENT: NotFound,
}


def failure(trouble: Trouble) -> BackupflowError:
    """What a trouble means; whatever is not known to be something else means that the vault is unavailable."""
    return _ERRORS.get(trouble, VaultUnavailable)(trouble.value)


def trouble_of(exc: VaultError) -> Trouble:
    """What the server refused with; its own words are looked at and not passed on."""
    known = trouble_in(" ".join(map(str, exc.errors or [])) or str(exc.text or ""))
    if known is not Trouble.OTHER:
        return known
    if isinstance(exc, Forbidden):
        return Trouble.REFUSED
    if isinstance(exc, VaultDown):
        return Trouble.SEALED
    return Trouble.ABSENT if isinstance(exc, InvalidPath) and exc.json is not None else Trouble.OTHER


def trouble_of_connection(says: str) -> Trouble:
    """What it means that there is no connection, by the words of the library."""
    refused = refusal(says)
    return Trouble(refused.value) if refused else Trouble.UNREACHABLE


def trouble_in(says: str) -> Trouble:
    """What the server means by these words; OTHER if they are not known."""
    return next((trouble for text, trouble in _SAYS.items() if text in says), Trouble.OTHER)
