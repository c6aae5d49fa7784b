"""Who is due: one claim transaction a tick, and whether there is any sense in claiming at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from backupflow.core.ports import Canary
from backupflow.errors import BackupflowError, BusUnavailable, VaultUnavailable
from backupflow.flows.ingest import check_marks

if TYPE_CHECKING:
    from backupflow.core.ledger import Claimed, Limits
    from backupflow.core.ports import Broker, BusGauge, ClaimStore, KeyLedger

# Seconds between two questions for the marks of all keys.
MARKS_IN_TROUBLE = 15.0
MARKS_WHILE_CLAIMING = 60.0
MARKS_AT_REST = 300.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether what is collected now could be sealed, published and stored; `code` and `detail` say why not."""

    code: str = ""
    detail: str = ""

    @property
    def may_claim(self) -> bool:
        """Claim only while everything behind the collectors works."""
        return not self.code


NOT_LOOKED = Readiness("starting", "the vault and the bus have not been looked at yet")


@dataclass(frozen=True, slots=True)
class Ticked:
    """What one tick did; `claimed` is None while another beat is the one that claims."""

    claimed: Claimed | None
    emitted: int


class Health(Protocol):
    """What a vault says of itself to anybody; equal as long as nothing about it changed."""

    @property
    def initialised(self) -> bool:
        """Whether it was ever set up."""
        ...

    @property
    def sealed(self) -> bool:
        """Whether it can open anything."""
        ...


class Vault(Canary, Protocol):
    """What is asked of the vault: often how it is, which leaves no trace there; seldom for a mark, which does."""

    def status(self) -> Health:
        """How it is, without a login; VaultUnavailable if nobody answers."""
        ...


@dataclass(frozen=True, slots=True)
class Watched:
    """What claiming depends on, and how many bytes the stream must have room for."""

    ledger: KeyLedger
    vault: Vault
    bus: BusGauge
    room_needed: int


@dataclass(slots=True)
class Seen:
    """What one look leaves to the next."""

    health: Health | None = None
    asked_at: float | None = None  # for the marks, in seconds of a clock that only goes forward; None: ask at once
    trouble: BackupflowError | None = None  # what came of it
    claimed: bool = False  # whether anything was claimed since; whoever claims sets it


def look(watched: Watched, seen: Seen, now: float) -> Readiness:
    """Look at vault, marks, bus and stream room; never raises one of our errors, it says them.

    The marks are asked for at once when the vault has changed in any way, else seldom, and most seldom while nothing is
    claimed: each is two entries in the vault's audit log, and every 2 s that was 489 MB a day for one tenant.
    Nothing depends on them alone: the collector cannot seal without a key, and the ingester asks before it stores.
    """
    try:
        _check_vault(watched.vault, seen)
        room = watched.bus.room()
        if room < watched.room_needed:
            raise BusUnavailable(f"the stream has room for {room} bytes, {watched.room_needed} are needed")
        wait = MARKS_IN_TROUBLE if seen.trouble else MARKS_WHILE_CLAIMING if seen.claimed else MARKS_AT_REST
        if seen.asked_at is None or now - seen.asked_at >= wait:
            _check_marks(watched, seen, now)
    except BackupflowError as exc:
        return Readiness(exc.code, exc.detail)
    return Readiness(seen.trouble.code, seen.trouble.detail) if seen.trouble else Readiness()


def _check_vault(vault: Vault, seen: Seen) -> None:
    before, seen.health = seen.health, None
    health = vault.status()
    if health.sealed or not health.initialised:
        raise VaultUnavailable("it is sealed" if health.initialised else "it was never set up")
    if health != before:  # it was away, or is another one
        seen.asked_at = None
    seen.health = health


def _check_marks(watched: Watched, seen: Seen, now: float) -> None:
    expected = watched.ledger.all_marks()
    seen.asked_at, seen.trouble, seen.claimed = now, None, False
    try:
        check_marks(watched.vault, expected, watched.ledger.all_marks)
    except BackupflowError as exc:
        seen.trouble = exc
        raise


def tick(store: ClaimStore, broker: Broker, readiness: Readiness, limits: Limits) -> Ticked:
    """Claim and commit, then send: what was not sent, or was lost on the way, is sent again from the same row."""
    claimed = store.claim(replace(limits, may_claim=readiness.may_claim))
    if claimed is None:
        return Ticked(None, 0)
    return Ticked(claimed, broker.emit((*claimed.new, *claimed.again)))
