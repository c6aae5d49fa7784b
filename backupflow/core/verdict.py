"""Is all well, in one word: how many devices stand how, what everything hangs on, and what of that calls somebody.

A tenth of a fleet is always down, slow or misconfigured, so no single device changes the word; docs/status.md has the
table of what does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING

from backupflow.core.jump import JUMP_HOST_BLOCKED
from backupflow.core.model import Lane, State
from backupflow.core.overview import OPEN, Standing
from backupflow.core.verification import DAMAGED
from backupflow.errors import BusUnavailable, HostKeyMismatch, StoreUnavailable, TransitKeyMissing, VaultUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from uuid import UUID

    from backupflow.core.overview import Alarm, DeviceState, LivingProcess, Overview


class Level(IntEnum):
    """The word, and the exit code that says it."""

    OK = 0
    WARNING = 1
    CRITICAL = 2


class Count(StrEnum):
    """What a device is counted as: one of these, of several the first that holds."""

    PAUSED = "paused"
    BLOCKED = "blocked"
    NO_LOGIN = "without a login"
    LOGIN = "waiting for a login"  # that many refused, or that was suspended
    MAINTENANCE = "in maintenance"
    OFFLINE = "offline"  # it does not answer, is said to be off, or its site is down
    BEHIND = "behind a jump host in trouble"
    OVERDUE = "overdue"
    UNREADABLE = "unreadable"  # nobody can open what there is of it: its keys were lost, or it is damaged
    FRESH = "fresh"
    FAILING = "failing"
    WAITING = "new"  # not collected yet, and not late
    HELD = "held"  # its router's firewall might ban us: nobody comes by himself before a known time
    STALE = "stale"  # what there is of it is too old, and nobody has said why


# Of which nobody expects a fresh observation.
AT_REST = frozenset({Count.PAUSED, Count.MAINTENANCE, Count.WAITING, Count.HELD})
_OF_STANDING = {
    Standing.PAUSED: Count.PAUSED,
    Standing.BLOCKED: Count.BLOCKED,
    Standing.NO_LOGIN: Count.NO_LOGIN,
    Standing.SUSPENDED: Count.LOGIN,
    Standing.REFUSED: Count.LOGIN,
    Standing.MAINTENANCE: Count.MAINTENANCE,
    Standing.OFFLINE: Count.OFFLINE,
    Standing.AT_JUMP_HOST: Count.BEHIND,
    Standing.OVERDUE: Count.OVERDUE,
}
MANY_KEYS, AT_ONCE = 5, timedelta(hours=1)  # so many of one site in so short a time
WARN_ABOVE, CRITICAL_ABOVE = 10.0, 50.0  # per cent of those that should be fresh
VAULT, BUS, BROKER, DATABASE = "vault", "bus", "broker", "db"
SERVERS = (VAULT, BUS, BROKER, DATABASE)
SERVER_OF = {
    VaultUnavailable.code: VAULT,
    TransitKeyMissing.code: VAULT,
    BusUnavailable.code: BUS,
    "broker_unavailable": BROKER,
    StoreUnavailable.code: DATABASE,
}
# Nothing, or nothing of a lane or a tenant, is collected or stored; and then, what is kept cannot be trusted.
HOUSE_DOWN = frozenset({*SERVER_OF, "look_hangs", "unexpected", "lane_without_workers"})
CRITICAL_ALARMS = HOUSE_DOWN | {DAMAGED}
# Of one device, site, login or jump host; the others of these are counted with the devices.
OWN_SCOPES = ("device ", "site ", "login ", "jump host ")
LOUD_ALARMS = frozenset({DAMAGED, "wrong_current", JUMP_HOST_BLOCKED})
NEEDED = {
    "scheduler": "beat",
    "collector": "collect worker",
    "ingester": "ingest worker",
    "operator": "maintain worker",
}
_COLLECTOR = "collector"
_MAINTAIN = "operator"  # without it nothing is mended and nobody is told; collecting goes on


@dataclass(frozen=True, slots=True)
class Tally:
    """How many devices are counted as what; each as one, so that the sum is all of them."""

    counts: Mapping[Count, int]

    def __getitem__(self, what: Count) -> int:
        """How many there are of one kind."""
        return self.counts.get(what, 0)

    @property
    def total(self) -> int:
        """All devices that were not removed."""
        return sum(self.counts.values())

    @property
    def wanted(self) -> int:
        """Of how many a fresh observation is expected."""
        return self.total - sum(self[what] for what in AT_REST)

    @property
    def missing(self) -> float:
        """Of how many of them there is none, in per cent."""
        return 100 * (self.wanted - self[Count.FRESH]) / self.wanted if self.wanted else 0.0


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the word is not OK, in a few words."""

    level: Level
    says: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The word, why it is not OK, the figures, and what is wrong with each server, empty if it is well."""

    reasons: tuple[Reason, ...]
    tally: Tally
    servers: Mapping[str, str]

    @property
    def level(self) -> Level:
        """The gravest of the reasons."""
        return max((reason.level for reason in self.reasons), default=Level.OK)


def counted_as(device: DeviceState, now: datetime) -> Count:
    """What a device is counted as; it was not removed."""
    standing = device.standing(now)
    if standing in _OF_STANDING:
        return _OF_STANDING[standing]
    if device.unreadable:
        return Count.UNREADABLE
    if device.fresh(now):
        return Count.FRESH
    if standing is Standing.FAILING or (device.has_turn and device.current_at):
        return Count.FAILING
    if device.current_at is None and _under_way(device, now):
        return Count.WAITING
    return Count.HELD if device.kept_away(now) else Count.STALE


def _under_way(device: DeviceState, now: datetime) -> bool:
    """Whether a first collection may still bring something, if there is none yet."""
    last = device.last
    if last is None or device.has_turn:
        return True
    return last.state in OPEN | {State.WITHDRAWN} and now - last.at <= device.tolerance


def tally(devices: Iterable[DeviceState], now: datetime) -> Tally:
    """Each device counted once; removed ones are no devices any more."""
    return Tally(Counter(counted_as(one, now) for one in devices if one.status != Standing.REMOVED))


@dataclass(frozen=True, slots=True)
class Limits:
    """Above how many per cent of those that should be fresh it is which word."""

    warn: float = WARN_ABOVE
    critical: float = CRITICAL_ABOVE


USUAL = Limits()


def judge(overview: Overview, limits: Limits = USUAL) -> Verdict:
    """Over everything at one moment, which its database has just told: it is well."""
    counted = tally(overview.devices, overview.now)
    found = [*_of_processes(overview), *_of_alarms(overview), *_of_logins(overview), *of_devices(counted, limits)]
    found += [*_of_keys(overview.devices), *_of_copies(overview)]
    return Verdict(tuple(sorted(found, key=lambda one: -one.level)), counted, _servers(overview))


def judge_part(overview: Overview, limits: Limits = USUAL) -> Verdict:
    """Over some devices alone: what all of them hang on is somebody else's question."""
    counted = tally(overview.devices, overview.now)
    return Verdict(tuple(sorted(of_devices(counted, limits), key=lambda one: -one.level)), counted, {})


def judge_one(device: DeviceState, now: datetime) -> Level:
    """One device: whether it is collected, and if not, whether what there is of it is fresh yet."""
    what = counted_as(device, now)
    if what in AT_REST | {Count.FRESH}:
        return Level.OK
    return Level.WARNING if device.fresh(now) else Level.CRITICAL


def of_devices(counted: Tally, limits: Limits = USUAL) -> Iterator[Reason]:
    """By their numbers alone."""
    overdue = 100 * counted[Count.OVERDUE]
    if overdue:
        level = Level.CRITICAL if overdue > limits.critical * counted.wanted else Level.WARNING
        yield Reason(level, f"{counted[Count.OVERDUE]:,} overdue")
    if counted.missing > min(limits.warn, limits.critical):
        level = Level.CRITICAL if counted.missing > limits.critical else Level.WARNING
        yield Reason(level, f"{counted.missing:.0f} % not fresh")


def missing(processes: Iterable[LivingProcess], now: datetime) -> tuple[str, ...]:
    """The roles of NEEDED that nobody fills.

    A collector counts by its slots of the normal lane: whoever only takes slow devices, or looks whether devices
    answer, has the same role and collects next to nothing.
    """
    filled = {
        one.role for one in processes if one.alive(now) and (one.role != _COLLECTOR or one.slots.get(Lane.NORMAL))
    }
    return tuple(role for role in NEEDED if role not in filled)


def _of_processes(overview: Overview) -> Iterator[Reason]:
    for role in missing(overview.processes, overview.now):
        yield Reason(Level.WARNING if role == _MAINTAIN else Level.CRITICAL, f"no {NEEDED[role]} lives")


def _of_alarms(overview: Overview) -> Iterator[Reason]:
    """One reason for all alarms of one code."""
    found = Counter(alarm.code for alarm in overview.alarms if level_of(alarm) is not Level.OK)
    for code, count in found.items():
        level = Level.CRITICAL if code in CRITICAL_ALARMS else Level.WARNING
        yield Reason(level, code if count == 1 else f"{code} ({count:,})")


def level_of(alarm: Alarm) -> Level:
    """What one alarm makes of the word; what stands in no list is no reason to be silent about it."""
    if alarm.cleared_at is not None or (alarm.scope.startswith(OWN_SCOPES) and alarm.code not in LOUD_ALARMS):
        return Level.OK
    return Level.CRITICAL if alarm.code in CRITICAL_ALARMS else Level.WARNING


def _of_logins(overview: Overview) -> Iterator[Reason]:
    """A login that many devices share, and that is sent nowhere."""
    waiting = {one.profile for one in overview.devices if counted_as(one, overview.now) is Count.LOGIN}
    for login in overview.logins:
        if login.suspended_at is not None and login.name in waiting:
            yield Reason(Level.WARNING, f"login {login.name} {'refused' if login.trial_at else 'suspended'}")


def _of_keys(devices: Iterable[DeviceState]) -> Iterator[Reason]:
    """Many routers of one site came with another key at once: somebody works there, or somebody sits in between."""
    changed: dict[UUID, list[DeviceState]] = {}
    for one in devices:
        if one.blocked_code == HostKeyMismatch.code and one.site_id and one.last and one.status != Standing.REMOVED:
            changed.setdefault(one.site_id, []).append(one)
    for found in changed.values():
        times = sorted(one.last.at for one in found if one.last)
        if any(last - first <= AT_ONCE for first, last in zip(times, times[MANY_KEYS - 1 :], strict=False)):
            where = found[0].site or "one site"
            yield Reason(Level.WARNING, f"{len(found):,} changed host keys at {where} (maintenance, or interception)")


def _of_copies(overview: Overview) -> Iterator[Reason]:
    """What would be missed on the day on which this install is gone."""
    copies = overview.copies
    if copies is None:
        return
    if copies.backup_overdue:
        age = f"{(copies.now - copies.backup_at).days} d old" if copies.backup_at else "never made"
        yield Reason(Level.WARNING, f"system backup {age}")
    if late := len(copies.late):
        yield Reason(Level.WARNING, "escrow late" if late == 1 else f"escrow late ({late:,})")


def _servers(overview: Overview) -> dict[str, str]:
    """By the alarms that beat and the workers keep: nobody else looks at them all the time."""
    beat = any(process.role == "scheduler" and process.alive(overview.now) for process in overview.processes)
    found = dict.fromkeys(SERVERS, "" if beat else "unknown") | {DATABASE: ""}
    for alarm in overview.alarms:
        if alarm.cleared_at is None and alarm.code in SERVER_OF:
            found[SERVER_OF[alarm.code]] = alarm.code
    return found
