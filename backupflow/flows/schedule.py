"""Who is due: one claim transaction a tick, and whether there is any sense in claiming at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backupflow.errors import BackupflowError, BusUnavailable
from backupflow.flows.ingest import check_marks

if TYPE_CHECKING:
    from backupflow.core.ledger import Claimed, Limits
    from backupflow.core.ports import Broker, BusGauge, Canary, ClaimStore, KeyLedger


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


def look(ledger: KeyLedger, canary: Canary, bus: BusGauge, room_needed: int) -> Readiness:
    """Look at vault, canary, bus and stream room; never raises one of our errors, it says them."""
    try:
        check_marks(canary, ledger.all_marks())
        room = bus.room()
        if room < room_needed:
            raise BusUnavailable(f"the stream has room for {room} bytes, {room_needed} are needed")
    except BackupflowError as exc:
        return Readiness(exc.code, exc.detail)
    return Readiness()


def tick(store: ClaimStore, broker: Broker, readiness: Readiness, limits: Limits) -> Ticked:
    """Claim and commit, then send: what was not sent, or was lost on the way, is sent again from the same row."""
    claimed = store.claim(replace(limits, may_claim=readiness.may_claim))
    if claimed is None:
        return Ticked(None, 0)
    return Ticked(claimed, broker.emit((*claimed.new, *claimed.again)))
