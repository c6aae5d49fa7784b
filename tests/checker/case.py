"""All of one moment, a case a device, and the terms on which it is judged."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from backupflow.core.scope import Policy
from tests.checker.routers import Router
from tests.checker.values import Content, HostKey, Row

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from tests.checker.routers import Session
    from tests.checker.values import Act, Alarm, Aside, Device, Interpretation, Opened, Owned

Thing = TypeVar("Thing", Row, Content, HostKey)


@dataclass(frozen=True)
class Evidence:
    """All of one moment: everything that the database says at `now`, and what the routers say of the time before."""

    now: datetime
    devices: tuple[Device, ...]
    rows: tuple[Row, ...]
    contents: tuple[Content, ...] = ()
    asides: tuple[Aside, ...] = ()
    interpretations: tuple[Interpretation, ...] = ()
    host_keys: tuple[HostKey, ...] = ()
    acts: tuple[Act, ...] = ()
    owned: tuple[Owned, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    requests: tuple[int, ...] = ()
    opened: Mapping[int, Opened] = field(default_factory=dict)  # by the content's id
    opened_asides: Mapping[int, Opened] = field(default_factory=dict)  # by the collection's id
    opened_interpretations: Mapping[int, str] = field(default_factory=dict)  # what is wrong, by the collection's id
    routers: Mapping[str, Router] = field(default_factory=dict)

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """A case a device, in the order of their names."""
        rows = _by_device(self.rows)
        contents, keys = _by_device(self.contents), _by_device(self.host_keys)
        acts: dict[UUID | None, list[Act]] = defaultdict(list)
        for act in self.acts:
            acts[act.device_id].append(act)
        return tuple(
            Case(
                device,
                tuple(sorted(rows[device.id], key=lambda row: row.seq)),
                tuple(contents[device.id]),
                tuple(keys[device.id]),
                tuple(acts[device.id]),
                self._router(device),
                device.name in self.routers,
            )
            for device in sorted(self.devices, key=lambda device: (device.name, device.created_at))
        )

    def _router(self, device: Device) -> Router:
        """The part of its router's story that is this device's: a name may be given again."""
        story = self.routers.get(device.name, Router())
        until = device.removed_at or self.now
        own = tuple(session for session in story.sessions if device.created_at <= session.opened_at <= until)
        return Router(own, story.revision, story.keys)


@dataclass(frozen=True)
class Case:
    """One device with all that is known of it; `simulated`: its router has written down its story."""

    device: Device
    rows: tuple[Row, ...]
    contents: tuple[Content, ...]
    host_keys: tuple[HostKey, ...]
    acts: tuple[Act, ...]
    router: Router
    simulated: bool

    @cached_property
    def stored(self) -> tuple[Row, ...]:
        """Its history, in the order of reading."""
        return tuple(row for row in self.rows if row.state == "stored")

    @cached_property
    def started(self) -> tuple[Row, ...]:
        """What was ever begun, in the order of its beginning."""
        return tuple(sorted((row for row in self.rows if row.started_at), key=lambda row: (row.started_at, row.seq)))

    def row_of(self, session: Session) -> Row | None:
        """The row that a session belongs to: the last that was begun before it."""
        before = [row for row in self.started if row.started_at and row.started_at <= session.opened_at]
        return before[-1] if before else None

    def begun_before(self, seq: int) -> datetime:
        """When the collection before this one was begun: what woke up late may still be of that one."""
        times = [row.started_at for row in self.started if row.started_at and row.seq < seq]
        return times[-1] if times else self.device.created_at

    @cached_property
    def sessions(self) -> Mapping[int, tuple[Session, ...]]:
        """The sessions of each row, by the row's number in its device."""
        found: dict[int, tuple[Session, ...]] = defaultdict(tuple)
        for session in self.router.sessions:
            if row := self.row_of(session):
                found[row.seq] += (session,)
        return found

    def says(self, promise: str, what: str) -> str:
        """One broken promise, in words."""
        return f"{promise}: device {self.device.name}: {what}"


@dataclass(frozen=True)
class Terms:
    """What the run was like, and what is asked of it beside what always holds.

    `settled`: routers whose newest configuration has to be the current one by now. `revisions`: what has to be in the
    history, by router. `fingerprints`: the host key that a router had at its start. `stopped`: when a process that
    collects stood still (SIGSTOP), so that its sessions may overlap. `alarms`: the codes that may stand, None: any.
    `interpreted`: all that is stored has to be interpreted by now. `at_work`: whether everything runs at this moment,
    so that nothing may lie about for long.
    """

    settled: Collection[str] = ()
    revisions: Mapping[str, Collection[int]] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    stopped: Sequence[tuple[datetime, datetime]] = ()
    alarms: Collection[str] | None = None
    at_work: bool = True
    interpreted: bool = False
    policy: Policy = field(default_factory=Policy)
    overdue: timedelta | None = None  # beyond its due time; None: 15 minutes or a tenth of its interval
    emit_again_after: timedelta = timedelta(seconds=60)
    lost_after: timedelta = timedelta(seconds=60)
    grace: timedelta = timedelta(seconds=15)  # for whoever takes up what is due, on a loaded machine
    slack: timedelta = timedelta(milliseconds=700)  # a router hears of the end of a session a moment late

    def stood_still(self, since: datetime, until: datetime) -> bool:
        """Whether a process stood still at any time between."""
        return any(begin <= until and end >= since for begin, end in self.stopped)


def _by_device(things: Iterable[Thing]) -> dict[UUID, list[Thing]]:
    found: dict[UUID, list[Thing]] = defaultdict(list)
    for thing in things:
        found[thing.device_id].append(thing)
    return found
