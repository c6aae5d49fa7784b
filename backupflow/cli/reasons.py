"""Why messages are put into quarantine, in words, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from backupflow.core.quarantine import UNEXPECTED, WRONG_SUBJECT


@dataclass(frozen=True, slots=True)
class Explained:
    """A reason in words."""

    means: str
    remedy: str


def explain(reason: str) -> Explained:
    """A reason in words, and what to do about it; the part after its colon says more of the same."""
    kind = reason.partition(":")[0]
    if reason.endswith("unknown schema version"):
        kind = "schema"
    return _REASONS.get(kind, _OTHER)


_SOMEBODY = "somebody else writes to the bus: renew the NATS logins, and look for who held them; then `quarantine drop`"
_OTHER = Explained("it could not be stored", "see the log of the ingester; then `quarantine release`, or `drop`")
_REASONS = {
    "schema": Explained(
        "another version of backupflow wrote it",
        "bring ingesters and collectors to one version, then `quarantine release`",
    ),
    "message_malformed": Explained("it is not a message in the form that a collector writes", _SOMEBODY),
    WRONG_SUBJECT: Explained("it came under the subject of another device than the one that it names", _SOMEBODY),
    "unknown_collection": Explained(
        "there is no such collection or no such device",
        "expected once after a database was restored from a backup, or when two installs share one NATS server: "
        "separate them; else " + _SOMEBODY,
    ),
    "other_owner": Explained("tenant, device or seq are not those of the collection that it names", _SOMEBODY),
    "other_digest": Explained(
        "its sealed text, hash or version is not the one that the collector of this collection wrote down", _SOMEBODY
    ),
    "wrong_state": Explained("the collection that it names never passed the fence, or ended without it", _SOMEBODY),
    "expired": Explained(
        "it was released, and its device or tenant keeps nothing of that time any more: it was not stored",
        "`quarantine drop`, which is written down",
    ),
    "retired_key_version": Explained(
        "it is sealed under a version of the key that was retired: its worker stood still for long before it sent it",
        "its configuration was collected again meanwhile: `quarantine drop`; docs/keys.md says how it could be opened",
    ),
    UNEXPECTED: Explained(
        "the database refused to store it, though nothing is wrong with the message itself",
        "see the log of the ingester for the place; mend the cause, then `quarantine release`",
    ),
}
