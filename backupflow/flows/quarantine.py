"""Where a message comes from, and where it may go: the bus, or the quarantine that an operator released it from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, TypeVar

from backupflow.core.ledger import Stored
from backupflow.core.ports import Delivery

if TYPE_CHECKING:
    from backupflow.core.ports import Inbox, QuarantineStore
    from backupflow.core.quarantine import Released, SetAside

AGAIN_IN = timedelta(seconds=10)

D = TypeVar("D", bound=Delivery)
D_contra = TypeVar("D_contra", bound=Delivery, contravariant=True)


class Origin(Protocol[D_contra]):
    """The three ways that a message can go from here, and which outcomes are the first of them."""

    def accepts(self, outcome: Stored) -> bool:
        """Whether nothing more is to be done with it."""
        ...

    def done(self, delivery: D_contra) -> None:
        """It is stored, or nothing is to be done with it."""
        ...

    def refused(self, delivery: D_contra, reason: str) -> SetAside:
        """It is kept in quarantine; only when it is there, it is done with here."""
        ...

    def later(self, delivery: D_contra) -> None:
        """Neither can be done now: it comes again, and not at once."""
        ...


@dataclass(frozen=True, slots=True)
class FromBus:
    """Messages as the stream delivers them."""

    inbox: Inbox
    quarantine: QuarantineStore

    def accepts(self, outcome: Stored) -> bool:
        """Origin."""
        return outcome.acceptable

    def done(self, delivery: Delivery) -> None:
        """Origin."""
        self.inbox.acknowledge(delivery)

    def refused(self, delivery: Delivery, reason: str) -> SetAside:
        """Origin."""
        aside = self.quarantine.set_aside(delivery, reason)
        self.inbox.acknowledge(delivery)  # never before: this is the last that anybody has of it
        return aside

    def later(self, delivery: Delivery) -> None:
        """Origin."""
        self.inbox.later(delivery, AGAIN_IN)


@dataclass(frozen=True, slots=True)
class FromQuarantine:
    """Messages that an operator gave back: they stay in quarantine until they are stored."""

    quarantine: QuarantineStore

    def accepts(self, outcome: Stored) -> bool:
        """Origin. Nobody else has what is expired by now: a person deletes it, on record, or nobody does."""
        return outcome.acceptable and outcome is not Stored.EXPIRED

    def done(self, delivery: Released) -> None:
        """Origin."""
        self.quarantine.taken(delivery)

    def refused(self, delivery: Released, reason: str) -> SetAside:
        """Origin."""
        return self.quarantine.put_back(delivery, reason)

    def later(self, delivery: Released) -> None:
        """Origin; it is still released: the next drain takes it up."""
