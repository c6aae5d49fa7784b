"""Whether a process is alive, and whether it is ready: decisions over what it knows of itself.

Alive: its loops go round. Whoever is not is to be started again; a server that is away is no reason for that.
Ready: it can do its work now. Whoever is not gets time, and a person gets the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# Longer than a loop may lawfully wait for a database that does not answer: a connection, a lock and a statement.
LOOP_SILENT: Final = timedelta(seconds=120)
HEARTBEAT_LATE: Final = timedelta(seconds=30)  # six of them
TICK_LATE: Final = timedelta(seconds=30)
CALL_FRESH: Final = timedelta(seconds=60)  # how long the failure of a call says something of now


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a process knows of itself; spans are those since then.

    `silent`: since each of its loops went round. `waits_for`: what it waits for before it begins. `heartbeat`: since
    the database took one, None: it never did. `ticks`: its work is ticks, as beat's is; `ticked`: since one did its
    work. `failing`: since the last call of a server failed that its work needs and that none succeeded after, by the
    code of the error. `stuck`: how many threads it has, if all are at tasks that take longer than any may. `note`: what
    else is to be said of one that is ready.
    """

    silent: Mapping[str, timedelta] = field(default_factory=dict)
    waits_for: str = ""
    heartbeat: timedelta | None = None
    ticks: bool = False
    ticked: timedelta | None = None
    failing: Mapping[str, timedelta] = field(default_factory=dict)
    has_broker: bool = True
    stuck: int = 0
    ends: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """Yes or no, and why, in one line."""

    well: bool
    says: str


def alive(vitals: Vitals) -> Answer:
    """Whether its loops go round; one that ends has its own time for that."""
    hung = {name: since for name, since in vitals.silent.items() if since > LOOP_SILENT}
    if vitals.ends or not hung:
        return Answer(well=True, says="alive")
    return Answer(well=False, says="; ".join(f"its {name} has not gone round for {_s(hung[name])}" for name in hung))


def ready(vitals: Vitals) -> Answer:
    """Whether it can do its work; the first reason that it cannot."""
    living = alive(vitals)
    failing = sorted(code for code, since in vitals.failing.items() if since <= CALL_FRESH)
    reasons = (
        (vitals.ends, "it is ending"),
        (bool(vitals.waits_for), f"it waits for {vitals.waits_for}"),
        (not living.well, living.says),
        (vitals.heartbeat is None, "its database has taken no heartbeat yet"),
        (_late(vitals.heartbeat, HEARTBEAT_LATE), f"its database took no heartbeat for {_s(vitals.heartbeat)}"),
        (not vitals.has_broker, "it has no connection to the broker"),
        (vitals.ticks and vitals.ticked is None, "no tick has succeeded yet"),
        (_late(vitals.ticked, TICK_LATE), f"no tick succeeded for {_s(vitals.ticked)}"),
        (bool(failing), f"its last call failed: {', '.join(failing)}"),
        (vitals.stuck > 0, f"all of its {vitals.stuck} threads are at tasks that take longer than they may"),
    )
    why = next((says for holds, says in reasons if holds), None)
    if why is not None:
        return Answer(well=False, says=f"not ready: {why}")
    return Answer(well=True, says=f"ready; {vitals.note}" if vitals.note else "ready")


def _late(since: timedelta | None, at_most: timedelta) -> bool:
    return since is not None and since > at_most


def _s(since: timedelta | None) -> str:
    return f"{since.total_seconds():.0f} s" if since is not None else "ever"
