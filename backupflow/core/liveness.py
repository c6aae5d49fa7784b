"""Who lives but no longer hears: alive by its heartbeat, while work waits for it and it begins none.

Each queue is asked by a canary, a tiny task that waits in it behind the work. Whoever takes it answers, so a question
that stays open is work that waits. What a process had to do is told by `worked_at`, which its heartbeat writes: when it
last began a task, or had no thread free because of work that may take so long, or found its database again.

Not seen by this: one that is deaf while others of its queue take all work. Nothing waits then, so nothing is late;
what it keeps is room in the window of its lane. And one that begins tasks, and never ends them: that is told by leases.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from backupflow.core.overview import ALIVE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

PROCESS_DEAF = "process_deaf"  # code of an alarm
DEAF_AFTER = timedelta(minutes=2)
RESTART_AGAIN_AFTER = timedelta(minutes=10)
_QUESTIONS = 4  # so many are sent while one that nobody answers is waited for


def ask_every(deaf_after: timedelta) -> timedelta:
    """How often a queue is asked, and an open question sent again: the broker may have been emptied meanwhile."""
    return deaf_after / _QUESTIONS


@dataclass(frozen=True, slots=True)
class Canary:
    """A question to whoever listens to a queue; it is open until it is answered."""

    queue: str
    asked_at: datetime
    emitted_at: datetime  # the last time
    answered_at: datetime | None


@dataclass(frozen=True, slots=True)
class Listener:
    """A process as its heartbeats tell of it; one without queues is a beat, whose work is its ticks."""

    process_id: UUID
    role: str
    host: str
    pid: int
    queues: Sequence[str]
    started_at: datetime
    heartbeat_at: datetime
    worked_at: datetime | None

    @property
    def name(self) -> str:
        """What it is, and where."""
        what = f"the worker of {', '.join(self.queues)}" if self.queues else "beat"
        return f"{what} (pid {self.pid} on {self.host})"


@dataclass(frozen=True, slots=True)
class Hearing:
    """All that is judged, of one moment: PostgreSQL's `now`."""

    now: datetime
    listeners: tuple[Listener, ...]
    canaries: tuple[Canary, ...]


@dataclass(frozen=True, slots=True)
class Silence:
    """How long a heartbeat has been the last of its process, in the time of who watches it."""

    listener: Listener
    lasted: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Deaf:
    """A process that lives and does not hear; `queues` are those in which work waits. `mute`: its heart stopped too."""

    listener: Listener
    since: datetime
    queues: tuple[str, ...] = ()
    mute: bool = False

    @property
    def scope(self) -> str:
        """Of its alarm."""
        return f"process {self.listener.process_id}"

    @property
    def says(self) -> str:
        """In one line: which, since when, and what to do."""
        why = f"begins nothing though work waits in {', '.join(self.queues)}" if self.queues else "does not tick"
        why = "its heartbeat is missing" if self.mute else why
        at = f"{self.since:%Y-%m-%d %H:%M:%S} UTC"
        return f"{self.listener.name} lives, but {why}, since {at}: restart it (`up` does that by itself)"


def deaf(hearing: Hearing, after: timedelta = DEAF_AFTER) -> tuple[Deaf, ...]:
    """Who is deaf: for longer than `after` work waited, and it began nothing.

    A time that lies in the future was written by a clock that stood ahead, and says nothing.
    """
    found = []
    for listener in hearing.listeners:
        if abs(hearing.now - listener.heartbeat_at) >= ALIVE:
            continue
        late = _late(hearing, listener, after)
        if late:
            found.append(Deaf(listener, min(late.values()), tuple(sorted(queue for queue in late if queue))))
    return tuple(found)


def _late(hearing: Hearing, listener: Listener, after: timedelta) -> dict[str, datetime]:
    """Since when it has begun nothing of what waits, by queue; of a beat, whose work is always there, under ""."""
    began = [at for at in (listener.started_at, listener.worked_at) if at and at <= hearing.now]
    waits = {
        canary.queue: max([canary.asked_at, *began])
        for canary in hearing.canaries
        if canary.queue in listener.queues and _is_open(canary, hearing.now, after)
    }
    # Every beat says at its first heartbeat that it works, but for one of a version that never says it.
    if not listener.queues and began and listener.worked_at:
        waits[""] = max(began)
    return {queue: since for queue, since in waits.items() if hearing.now - since > after}


def _is_open(canary: Canary, now: datetime, after: timedelta) -> bool:
    """Unanswered, and still being asked: where no beat asks, what is lost on the way is not sent again."""
    return canary.answered_at is None and now - 2 * ask_every(after) <= canary.emitted_at <= now


def listen(
    before: Mapping[str, Silence], hearing: Hearing, programs: Mapping[int, str], host: str, passed: timedelta
) -> dict[str, Silence]:
    """The silence of each program of this machine, by name, when so much time `passed` for the watcher since `before`.

    Another heartbeat than before ends it, whatever its time says: a machine that was suspended, or whose clock was
    set, makes the rows of all look old at once. Of rows with the same process id the newest counts: numbers come again.
    """
    in_order = sorted(hearing.listeners, key=lambda one: one.started_at)
    heard = {programs[one.pid]: one for one in in_order if _is_here(one, programs, host)}
    return {name: Silence(one, _lasted(before.get(name), one, passed)) for name, one in heard.items()}


def _lasted(before: Silence | None, listener: Listener, passed: timedelta) -> timedelta:
    same = before and (before.listener.process_id, before.listener.heartbeat_at)
    return before.lasted + passed if before and same == (listener.process_id, listener.heartbeat_at) else timedelta(0)


def mute(silences: Iterable[Silence], after: timedelta = DEAF_AFTER) -> tuple[Deaf, ...]:
    """Which of the programs, that run as their supervisor knows, were silent for longer than `after`.

    Such a one waits for a connection that never answers, say.
    """
    late = [one.listener for one in silences if one.lasted > after]
    return tuple(Deaf(one, one.heartbeat_at, mute=True) for one in late)


def to_restart(
    found: Iterable[Deaf], programs: Mapping[int, str], host: str, restarted: Mapping[str, timedelta]
) -> dict[str, Deaf]:
    """Which programs of this machine a supervisor should restart, by name.

    `programs` are its processes now, `restarted` how long ago it restarted one for this reason: not again soon, where
    that did not help the cause lies elsewhere.
    """
    ours = {programs[one.listener.pid]: one for one in found if _is_here(one.listener, programs, host)}
    never = RESTART_AGAIN_AFTER
    return {name: one for name, one in ours.items() if restarted.get(name, never) >= RESTART_AGAIN_AFTER}


def _is_here(listener: Listener, programs: Mapping[int, str], host: str) -> bool:
    return listener.host == host and listener.pid in programs
