"""Whether a whole export may become the current one: (what is known of the router, what it says now) -> verdict.

An export can be whole by its text and still not be the configuration: cut between two items, given by a router that
lost half of it, or by another router. Such a one is kept aside, and believed when the next collection says the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backupflow.core.model import ContentHash, Secrets

if TYPE_CHECKING:
    from backupflow.core.driver import Facts


@dataclass(frozen=True, slots=True)
class Observed:
    """One observation as far as a later one is compared with it. Hashes are keyed with the tenant's pepper."""

    content_hash: ContentHash
    normalization_version: int
    shape_hash: bytes  # of the paths and how many items each has; empty: a row of old, which knows no markers either
    masked_hash: bytes  # of the normal form without its secrets
    sections: int
    size: int  # bytes of the normal form
    secret_count: int
    secrets: Secrets
    facts: Facts
    known_serial: str | None = None  # the last that this router named, in this export or before it


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


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a router when it gives an export."""

    before: Observed | None = None  # the last accepted observation
    aside: Observed | None = None  # the newest suspect one since then
    believes: bool = False  # an operator has said since then that the next one is to be believed


NOTHING = Known()


def completed(before: Observed | None, now: Observed, *, may_hide: bool) -> Observed:
    """Add what only the observation before can tell: the serial number, and whether secrets are hidden."""
    serial = now.facts.serial or (before.known_serial if before else None)
    return replace(now, known_serial=serial, secrets=_visibility(before, now, may_hide=may_hide))


def judge(known: Known, now: Observed, *, cut: str = "") -> Accepted | Suspect | OtherRouter:
    """Compare with what is known of this router; `cut` says why the text alone may not be trusted, if so."""
    before, aside = known.before, known.aside
    was, serial = before.known_serial if before else None, now.facts.serial
    if was and serial and was != serial:
        return OtherRouter(f"serial number {serial}, it was {was}")
    doubts = (_doubts(before, now) if before else []) + ([cut] if cut else [])
    menus = _new_markers(before, now) if before and before.shape_hash else []
    if known.believes or not (doubts or menus):
        return Accepted()
    if aside is not None and aside.facts.markers == now.facts.markers and (not doubts or _says_the_same(aside, now)):
        return Accepted()
    return Suspect("; ".join(doubts + menus))


def _doubts(before: Observed, now: Observed) -> list[str]:
    doubts = []
    if now.sections * 2 <= before.sections:
        doubts.append(f"{now.sections} sections, it had {before.sections}")
    if now.size * 2 <= before.size:
        doubts.append(f"{now.size} bytes, it had {before.size}")
    if before.facts.serial and not now.facts.serial:
        doubts.append(f"no serial number, it was {before.facts.serial}")
    return doubts


def _new_markers(before: Observed, now: Observed) -> list[str]:
    new = sorted(set(now.facts.markers) - set(before.facts.markers))
    more = f" and {len(new) - 1} more" if len(new) > 1 else ""
    return [f"new: {new[0]}{more}"] if new else []


def _says_the_same(aside: Observed, now: Observed) -> bool:
    """The same text, or at least the same items: a note with the time of day in it is never the same text twice."""
    if (aside.normalization_version, aside.facts.serial) != (now.normalization_version, now.facts.serial):
        return False
    return now.content_hash == aside.content_hash or now.shape_hash == aside.shape_hash


def _visibility(before: Observed | None, now: Observed, *, may_hide: bool) -> Secrets:
    """What is to be made of an export without a secret in it.

    RouterOS 6 leaves secrets out without a word if the user may not see them. Where there were some, and the rest is
    as it was or there were many, they are hidden; the last one may as well have been deleted.
    """
    if now.secrets is not Secrets.NONE or before is None or not may_hide:
        return now.secrets
    if before.secrets is Secrets.HIDDEN:
        return Secrets.HIDDEN
    same_rest = now.normalization_version == before.normalization_version and (
        now.masked_hash == before.masked_hash or now.shape_hash == before.shape_hash
    )
    hidden = before.secret_count > 1 or (before.secret_count == 1 and same_rest)
    return Secrets.HIDDEN if hidden else Secrets.NONE
