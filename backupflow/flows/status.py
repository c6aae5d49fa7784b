"""Knock at devices that did not answer, and let those that do be collected soon; apart from all that backups use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupflow.core.knocking import due_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from backupflow.core.ports import Knocker, KnockStore


@dataclass(frozen=True, slots=True)
class StatusPorts:
    """What a look needs."""

    store: KnockStore
    knocker: Knocker
    dice: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Looked:
    """What came of it; `sooner`: are due sooner than they were."""

    knocked: int
    answered: int
    sooner: int


def look(ports: StatusPorts) -> Looked:
    """One round."""
    knocks = ports.store.take()
    answering = ports.knocker.answering(knocks) if knocks else ()
    sooner = ports.store.answered({device: due_after(ports.dice()) for device in answering}) if answering else 0
    return Looked(len(knocks), len(answering), sooner)
