"""Whether a whole export may become the current one: (what is known of the router, what it says now) -> verdict.

An export can be whole by its text and still not be the configuration: cut between two items, given by a router that
lost half of it, or by another router. Such a one is kept aside, and believed when the next collection says the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupflow.core.model import ContentHash, Secrets

if TYPE_CHECKING:
    from backupflow.core.driver import Facts


@dataclass(frozen=True, slots=True)
class Observed:
    """One observation as far as a later one is compared with it. Hashes are keyed with the tenant's pepper."""

    content_hash: ContentHash
    normalization_version: int
    shape_hash: bytes  # of the paths and how many items each has
    masked_hash: bytes  # of the normal form without its secrets
    sections: int
    size: int  # bytes of the normal form
    secret_count: int
    secrets: Secrets
    facts: Facts


@dataclass(frozen=True, slots=True)
class Accepted:
    """It may become the current one."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """To be kept aside and collected again; `why` holds figures and menu names, nothing else of the export."""

    why: str


@dataclass(frozen=True, slots=True)
class OtherRouter:
    """Another serial number than before, behind the same host key."""

    why: str


def judge(before: Observed | None, aside: Observed | None, now: Observed) -> Accepted | Suspect | OtherRouter:
    """Compare with the last accepted observation of this router, and with what was kept aside since then."""
    if before is None:
        return Accepted()
    was, serial = before.facts.serial, now.facts.serial
    if was and serial and was != serial:
        return OtherRouter(f"serial number {serial}, it was {was}")
    doubts = _doubts(before, now)
    if not doubts or (aside is not None and _says_the_same(aside, now)):
        return Accepted()
    return Suspect("; ".join(doubts))


def _doubts(before: Observed, now: Observed) -> list[str]:
    doubts = []
    if now.sections * 2 <= before.sections:
        doubts.append(f"{now.sections} sections, it had {before.sections}")
    if now.size * 2 <= before.size:
        doubts.append(f"{now.size} bytes, it had {before.size}")
    new = sorted(set(now.facts.markers) - set(before.facts.markers))
    if new:
        more = f" and {len(new) - 1} more" if len(new) > 1 else ""
        doubts.append(f"new: {new[0]}{more}")
    return doubts


def _says_the_same(aside: Observed, now: Observed) -> bool:
    """The same text, or at least the same items: a note with the time of day in it is never the same text twice."""
    if aside.normalization_version != now.normalization_version or aside.facts.markers != now.facts.markers:
        return False
    return now.content_hash == aside.content_hash or now.shape_hash == aside.shape_hash


def visibility(before: Observed | None, now: Observed) -> Secrets:
    """What is to be made of an export without a secret in it.

    RouterOS 6 leaves secrets out without a word if the user may not see them. Where there were some, and the rest is
    as it was or there were many, they are hidden; the last one may as well have been deleted.
    """
    if now.secrets is not Secrets.NONE or before is None:
        return now.secrets
    if before.secrets is Secrets.HIDDEN:
        return Secrets.HIDDEN
    same_rest = now.normalization_version == before.normalization_version and now.masked_hash == before.masked_hash
    hidden = before.secret_count > 1 or (before.secret_count == 1 and same_rest)
    return Secrets.HIDDEN if hidden else Secrets.NONE
