"""How host keys are shown: which, since when, how they came to be trusted, and what they have to do with others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backupflow.cli import output

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from backupflow.core.inventory import SeenKey
    from backupflow.core.model import ExpectedKey
    from backupflow.core.pending import Outbreak

_TRUSTED = {
    "first_use": "trusted on first use; nobody has compared it",
    "approved": "approved",
    "accepted": "accepted in place of another",
    "import": "expected since an import",
    "known_hosts": "listed in a known_hosts file",
}
KNOWN_BY = ("identity", "model", "serial")
_SHOWN = 6  # names of devices with the same key


def lines(key: SeenKey) -> Iterator[str]:
    """One key, for a person; of ECDSA the first line just fits 80 columns."""
    yield f"{key.status:<8} {key.key.key_type} {key.key.fingerprint}"
    yield f"         first seen {output.in_words(key.first_seen_at)}, last seen {output.in_words(key.last_seen_at)}"
    if key.last_verified_at:
        yield f"         last verified {output.in_words(key.last_verified_at)}"
    if trusted := how_trusted(key):
        yield f"         {trusted}"


def known_as(facts: Mapping[str, Any]) -> str:
    """The router by its last export: what to compare on its label and its console before its key is trusted."""
    known = [f"{name} {output.told(facts[name])}" for name in KNOWN_BY if facts.get(name)]
    return ", ".join(known) or "nothing was ever collected of it"


def how_trusted(key: SeenKey) -> str:
    """In words; empty for what was never trusted, or before that was written down."""
    if key.trusted_how is None:
        return ""
    words = _TRUSTED[key.trusted_how]
    by = f", by {key.trusted_by}" if key.trusted_by else ""
    return f"{words}{by}, {output.in_words(key.trusted_at)}" if by else words


def expected_lines(expected: Sequence[ExpectedKey]) -> Iterator[str]:
    """The keys that may be pinned at first sight."""
    for key in expected:
        yield f"expected {key.key_type + ' ' if key.key_type else ''}{key.fingerprint}"
        yield f"         {_TRUSTED[key.how]}"


def alike(keys: Sequence[str], serials: Sequence[str]) -> Iterator[str]:
    """Which other devices have the same key or serial number."""
    if keys:
        yield f"same key as {named(keys)}: one router on several ports, or copies of one system"
    if serials:
        yield f"same serial number as {named(serials)}"


def named(names: Sequence[str]) -> str:
    """Some names, and how many more."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def outbreak_line(outbreak: Outbreak) -> str:
    """How many of a site changed, and what half of it at once may be."""
    where = f"at site {outbreak.site}" if outbreak.site else "without a site"
    since = f"{outbreak.since:%Y-%m-%d %H:%MZ}"
    what = ": maintenance, or interception" if outbreak.together else ": changed"
    return f"{outbreak.changed:,} of {outbreak.devices:,} {where} since {since}{what}"


def document(key: SeenKey) -> dict[str, Any]:
    """A key as JSON."""
    return {
        "status": key.status,
        "key_type": key.key.key_type,
        "fingerprint": key.key.fingerprint,
        "first_seen_at": key.first_seen_at,
        "last_seen_at": key.last_seen_at,
        "last_verified_at": key.last_verified_at,
        "trusted_how": key.trusted_how,
        "trusted_by": key.trusted_by,
        "trusted_at": key.trusted_at,
    }
