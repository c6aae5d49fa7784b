"""What happened is told to others: gathered into events, each sent until it was taken or given up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from backupflow.core.delivery import SEALED_WAIT, after_failure
from backupflow.core.event_body import body, with_changes
from backupflow.core.gathering import gather
from backupflow.core.model import SealedConfig
from backupflow.core.told_change import unpack_lines
from backupflow.errors import BackupflowError, SettingsInvalid, TransitKeyMissing, VaultUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.delivery import Event
    from backupflow.core.ports import ConfigOpener, EventStore, Hook

# A hook that is set later is told of no more; a process that was started without it costs nobody an event.
KEPT_WITHOUT_HOOK: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class TellPorts:
    """What telling needs of the world; without a hook nothing is told. `opener` is asked where it is needed only.

    `told` is told of each attempt, and what came of it, in words of ours.
    """

    store: EventStore
    hook: Hook | None
    dice: Callable[[], float]
    opener: Callable[[], ConfigOpener]
    told: Callable[[Event, bool, str], None] = lambda _event, _delivered, _says: None


@dataclass(frozen=True, slots=True)
class Told:
    """What one round did; `failed`: what came of the attempt that ended it. `alarm`: that is new.

    `closed`: why lines of a change could not be opened; the code of an error.
    """

    made: int = 0
    delivered: int = 0
    dropped: int = 0
    failed: str = ""
    alarm: bool = False
    closed: str = ""


def tell(ports: TellPorts, enough: Callable[[], bool]) -> Told:
    """Gather, then send one event after the other, until there is none left, one failed, or there was enough.

    It was sent before it is marked as sent: whoever dies between the two sends it once more, under the same id.
    """
    with ports.store.turn() as mine:
        if not mine:
            return Told()
        if ports.hook is None:
            return Told(dropped=ports.store.forget(KEPT_WITHOUT_HOOK))
        made, delivered, closed = ports.store.gather(gather, body), 0, ""
        while not enough() and (due := ports.store.next_due()):
            event, now = due
            opened = _opened(ports, event)
            closed = opened.closed or closed
            if opened.body is None:
                continue
            answer = ports.hook.deliver(event.event_id, opened.body)
            ports.told(event, answer.delivered, answer.says)
            # Whoever echoes what it was told would have lines of a configuration kept in clear, and in an alarm.
            says = answer.whole if event.lines is None else answer.says
            if not answer.delivered:
                failed = after_failure(event, answer, now, ports.dice())
                new = ports.store.failed(event, says, failed)
                return Told(made, delivered, failed=says, alarm=new, closed=closed)
            ports.store.delivered(event, says)
            delivered += 1
        return Told(made, delivered, closed=closed)


class _Opened(NamedTuple):
    body: str | None  # None: it is not told now
    closed: str = ""


def _opened(ports: TellPorts, event: Event) -> _Opened:
    """The whole of what it says. While the vault is away it waits; what will never open is told without its lines."""
    if event.lines is None:
        return _Opened(event.body)
    tenant_id, device_id, seq = event.lines.tenant_id, event.lines.device_id, event.lines.seq
    try:
        plain = ports.opener().open_config(tenant_id, device_id, SealedConfig(event.lines.sealed))
        lines = unpack_lines((tenant_id, device_id, seq), plain)
    except TransitKeyMissing as exc:  # it may come back; who gives it up drops what was sealed under it
        ports.store.postpone(tenant_id, SEALED_WAIT)
        return _Opened(None, exc.code)
    except (VaultUnavailable, SettingsInvalid) as exc:
        ports.store.postpone(None, SEALED_WAIT)
        return _Opened(None, exc.code)
    except BackupflowError as exc:
        return _Opened(event.body, exc.code)
    return _Opened(with_changes(event.body, lines))
