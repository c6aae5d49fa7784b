"""A round of the status task: who is knocked at, and what an answer makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from backupflow.core.firewall import FIRST
from backupflow.core.knocking import APART, LONGEST, SOONEST_WORTH, Knock, due_after, wait_for
from backupflow.core.model import DeviceId
from backupflow.flows.status import Looked, StatusPorts, look

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


@dataclass
class Town:
    """Plays KnockStore and Knocker."""

    knocks: list[Knock] = field(default_factory=list)
    at_home: set[DeviceId] = field(default_factory=set)
    late: set[DeviceId] = field(default_factory=set)  # who was collected meanwhile
    told: dict[DeviceId, timedelta] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def take(self) -> Sequence[Knock]:
        """Those who are to be knocked at."""
        self.calls.append("take")
        return self.knocks

    def answering(self, knocks: Sequence[Knock]) -> Collection[DeviceId]:
        """Who opens."""
        self.calls.append("knock")
        return [knock.device_id for knock in knocks if knock.device_id in self.at_home]

    def answered(self, devices: Mapping[DeviceId, timedelta]) -> int:
        """Note it."""
        self.calls.append("tell")
        self.told.update(devices)
        return len(set(devices) - self.late)


def door() -> Knock:
    """One to knock at."""
    return Knock(DeviceId(uuid4()), "r", 22, LONGEST)


def test_who_answers_is_due_some_minutes_later() -> None:
    """Those alone, each at a time of its own; the count tells which were due sooner by it."""
    first, second, third = door(), door(), door()
    town = Town([first, second, third], {first.device_id, third.device_id}, {third.device_id})
    numbers = iter((0.0, 0.5))
    assert look(StatusPorts(town, town, lambda: next(numbers))) == Looked(3, 2, 1)
    assert town.told == {first.device_id: due_after(0.0), third.device_id: due_after(0.5)}
    assert town.calls == ["take", "knock", "tell"]


def test_nobody_is_told_of_nothing() -> None:
    """Where all answer, or none do, there is nothing more to do."""
    assert look(StatusPorts(town := Town(), town, lambda: 0.0)) == Looked(0, 0, 0)
    assert town.calls == ["take"]
    assert look(StatusPorts(town := Town([door()]), town, lambda: 0.0)) == Looked(1, 0, 0)
    assert town.calls == ["take", "knock"]


def test_what_follows_a_knock_is_off_a_routers_list() -> None:
    """Its own firewall counts the knock: the next connection comes when that is forgotten, never before 6 min."""
    assert timedelta(minutes=6) < due_after(0.0) < due_after(0.999) < SOONEST_WORTH
    assert due_after(0.0) == APART * 1.05 > FIRST


def test_a_knock_waits_as_long_as_a_session_would_and_no_longer() -> None:
    """Bounded by some seconds, so that a round ends."""
    assert wait_for(timedelta(seconds=2)) == timedelta(seconds=2)
    assert wait_for(timedelta(minutes=1)) == LONGEST <= timedelta(seconds=10)
