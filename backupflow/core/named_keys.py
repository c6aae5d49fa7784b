"""The host key that a person means by its fingerprint, of a device as of a jump host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from backupflow.core.inventory import checked_fingerprint
from backupflow.core.model import ExpectedKey, TrustedHow
from backupflow.errors import Conflict

if TYPE_CHECKING:
    from backupflow.core.inventory import SeenKey


class Owner(Protocol):
    """Who has host keys."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def pinned(self) -> SeenKey | None:
        """The key that is trusted."""

    @property
    def offered(self) -> tuple[SeenKey, ...]:
        """The keys that were offered instead, the newest first."""

    @property
    def expected(self) -> tuple[ExpectedKey, ...]:
        """The only keys that may be pinned at first sight, if there are any."""


def on_offer(owner: Owner, fingerprint: str) -> SeenKey:
    """The offered key of that fingerprint; Conflict if it is not on offer (any more)."""
    chosen = next((seen for seen in owner.offered if seen.key.fingerprint == fingerprint), None)
    if chosen is None:
        offered = ", ".join(seen.key.fingerprint for seen in owner.offered) or "none"
        raise Conflict(f"{owner.name} does not offer {fingerprint}; offered: {offered}")
    return chosen


def expected_instead(
    owner: Owner, fingerprint: str | None, *, another: bool, remedy: str
) -> tuple[ExpectedKey, ...] | None:
    """The one key that a person named, in place of all that was expected; None: as it was.

    `another`: another machine stands there, so that neither its pin nor what was expected counts. Conflict, with the
    remedy, if another key is pinned.
    """
    if fingerprint is None:
        return () if another and owner.expected else None
    fingerprint, pinned = checked_fingerprint(fingerprint), owner.pinned
    if pinned is not None and not another:
        if pinned.key.fingerprint != fingerprint:
            raise Conflict(
                f"{owner.name} has another host key pinned: {pinned.key.fingerprint}; if it is to be this one: {remedy}"
            )
        return None
    expects = (ExpectedKey(fingerprint, TrustedHow.IMPORT),)
    return None if expects == owner.expected else expects
