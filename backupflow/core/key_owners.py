"""Whose host keys are whose: devices and jump hosts held against a known_hosts file, and those with one key."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from backupflow.core.known_hosts import KnownHosts
    from backupflow.core.model import HostKey


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """A device or a jump host; `via` is the jump host that it is reached through, by name.

    `keys`: those that are pinned or on offer, and which of both; `expected`: fingerprints.
    """

    name: str
    jump_host: bool
    host: str
    port: int
    via: str | None = None
    keys: tuple[tuple[str, HostKey], ...] = ()
    expected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who has a key that a file revokes: `pinned`, `offered` or `expected`."""

    owner: KeyOwner
    standing: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Listed:
    """What a file says of an install: who is in it, who would be but is in another network, who has what it revokes."""

    owners: tuple[tuple[KeyOwner, tuple[HostKey, ...]], ...] = ()
    elsewhere: tuple[KeyOwner, ...] = ()
    bearers: tuple[Bearer, ...] = ()


class Outcome(StrEnum):
    """What became of what a file says of one."""

    EXPECTED = "expected from now on"
    VOUCHED = "the pinned key is in the file"
    NOTHING = "nothing new"
    OTHER_TYPE = "the file has no key of the pinned type"
    CONTRADICTS = "the file has another key"

    @property
    def well(self) -> bool:
        """Whether nobody has to look at it."""
        return self not in {Outcome.OTHER_TYPE, Outcome.CONTRADICTS}


@dataclass(frozen=True, slots=True)
class Learnt:
    """What became of one of them; `says` is empty where that says it all."""

    owner: KeyOwner
    outcome: Outcome
    says: str = ""


@dataclass(frozen=True, slots=True)
class Twin:
    """A key or a serial number that several devices of one tenant have."""

    value: str  # a fingerprint, or a serial number as a router says it
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrustCount:
    """How logins and keys stand in numbers, over all tenants."""

    sharing: int  # devices that log in with a password that others use too
    passwords: int  # how many these are
    own: int  # devices with a login of their own
    pinned: int
    on_first_use: int
    unsettled: tuple[str, ...]  # profiles whose passwords many share, and that say nothing of first keys
    counted_at: datetime


def listed(known: KnownHosts, owners: Iterable[KeyOwner], via: str | None, looked_at: Callable[[int], None]) -> Listed:
    """Hold a file against devices and jump hosts; it is the file of a machine that reaches them through `via`.

    An address means nothing in another network: whoever is reached in another way is passed over, and told if the file
    has its address. Jump hosts are reached from where the workers are. `looked_at` is told of each.
    """
    found: list[tuple[KeyOwner, tuple[HostKey, ...]]] = []
    elsewhere: list[KeyOwner] = []
    bearers: list[Bearer] = []
    for owner in owners:
        bearers += _bearers(known, owner)
        keys = known.keys_of(owner.host, owner.port)
        if keys and owner.via == via and not (via and owner.jump_host):
            found.append((owner, keys))
        elif keys:
            elsewhere.append(owner)
        looked_at(1)
    return Listed(tuple(found), tuple(elsewhere), tuple(bearers))


def _bearers(known: KnownHosts, owner: KeyOwner) -> list[Bearer]:
    """A revoked key is nobody's, whatever names stand beside it."""
    revoked = {key.fingerprint for key in known.revoked}
    has = [*((standing, key.fingerprint) for standing, key in owner.keys), *(("expected", f) for f in owner.expected)]
    return [Bearer(owner, standing, fingerprint) for standing, fingerprint in has if fingerprint in revoked]
