"""The whole install in figures, of one moment: what monitoring is given, and asks again and again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backupflow.core.overview import Alarm
from backupflow.core.verdict import AT_REST, SERVER_OF, SERVERS, level_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from backupflow.core.capacity import Load
    from backupflow.core.model import Lane
    from backupflow.core.verdict import Count, Level


@dataclass(frozen=True, slots=True)
class StandingAlarms:
    """So many alarms of a code stand; `kind`: of one device, site, login or jump host, empty of anything else."""

    code: str
    kind: str
    count: int

    def level(self, now: datetime) -> Level:
        """What they make of the verdict."""
        return level_of(Alarm(0, self.code, self.kind, "", now, None))


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A process that says that it lives, or did within a day; `kind` as core.overview.LivingProcess has it."""

    kind: str
    host: str
    pid: int
    age: timedelta
    alive: bool


@dataclass(frozen=True, slots=True)
class LaneFigures:
    """What the workers of a lane hold: sessions at a time, rows that may be claimed beside, and both as they are."""

    slots: int = 0
    window: int = 0
    claimed: int = 0
    running: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many wait, and for how long the first of them has."""

    count: int = 0
    oldest: timedelta | None = None


@dataclass(frozen=True, slots=True)
class JobFigures:
    """How long ago all of a job was done (None: never yet), and how often that is to be."""

    done_ago: timedelta | None
    every: timedelta


@dataclass(frozen=True, slots=True)
class DeviceFigures:
    """One device, as far as monitoring is told of single ones."""

    device: str
    site: str
    tenant: str
    counted: Count
    current_at: datetime | None  # when its newest observation was made, changed or not
    failures: int


@dataclass(frozen=True, slots=True)
class Figures:
    """All of them; `now` is PostgreSQL's. `devices` only if they are asked for."""

    now: datetime
    counted: Mapping[Count, int]
    blocked: Mapping[str, int]  # by code
    alarms: tuple[StandingAlarms, ...]
    processes: tuple[Heartbeat, ...]
    lanes: Mapping[Lane, LaneFigures]
    load: Load
    logins_refused: int
    logins_suspended: int
    sites_down: int
    jump_hosts_in_trouble: int
    published: Waiting  # read and sealed, and not stored yet
    uninterpreted: Waiting
    untold: Waiting  # rows of the outbox of which nothing was made yet
    unsent: int  # events
    jobs: Mapping[str, JobFigures]
    backup_ago: timedelta | None  # the newest backup of the system; None: there is none
    installed_ago: timedelta  # since the first tenant was made
    escrow_ago: timedelta | None  # the oldest of those that are on; None: none is
    escrow_tenants: int
    devices: tuple[DeviceFigures, ...] = field(default=())

    @property
    def wanted(self) -> int:
        """Of how many devices a fresh observation is expected."""
        return sum(count for what, count in self.counted.items() if what not in AT_REST)

    @property
    def servers(self) -> dict[str, bool]:
        """Whether each server is well, as far as an alarm would say if it is not."""
        troubled = {SERVER_OF[one.code] for one in self.alarms if one.code in SERVER_OF}
        return {server: server not in troubled for server in SERVERS}
