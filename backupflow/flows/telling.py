"""What happened is told to others: gathered into events, each sent until it was taken or given up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from backupflow.core.delivery import after_failure
from backupflow.core.event_body import body
from backupflow.core.gathering import gather

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.ports import EventStore, Hook

# A hook that is set later is told of no more; a process that was started without it costs nobody an event.
KEPT_WITHOUT_HOOK: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class TellPorts:
    """What telling needs of the world; without a hook nothing is told."""

    store: EventStore
    hook: Hook | None
    dice: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Told:
    """What one round did; `failed`: what came of the attempt that ended it. `alarm`: that is new."""

    made: int = 0
    delivered: int = 0
    dropped: int = 0
    failed: str = ""
    alarm: bool = False


def tell(ports: TellPorts, enough: Callable[[], bool]) -> Told:
    """Gather, then send one event after the other, until there is none left, one failed, or there was enough.

    It was sent before it is marked as sent: whoever dies between the two sends it once more, under the same id.
    """
    with ports.store.turn() as mine:
        if not mine:
            return Told()
        if ports.hook is None:
            return Told(dropped=ports.store.forget(KEPT_WITHOUT_HOOK))
        made, delivered = ports.store.gather(gather, body), 0
        while not enough() and (due := ports.store.next_due()):
            event, now = due
            answer = ports.hook.deliver(event.event_id, event.body)
            if not answer.delivered:
                failed = after_failure(event, answer, now, ports.dice())
                new = ports.store.failed(event, answer.says, failed)
                return Told(made, delivered, failed=answer.says, alarm=new)
            ports.store.delivered(event, answer.says)
            delivered += 1
        return Told(made, delivered)
