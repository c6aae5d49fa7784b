"""A day of a fleet in which everything goes wrong: nobody is banned, locked out or forgotten."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.faults.simulated_day import Day, ExampleFirewall
from tests.integration.db.fleet import Fleet, migrated
from tests.integration.db.invariants import check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backupflow.embedded import Servers
    from tests.conftest import Size

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
OLD, NEW = "the old password", "the new password"
ROUTERS = {"small": 8, "soak": 64}
EVERY = (
    0.25,
    0.25,
    1,
    0.25,
    0.25,
    1,
    0.25,
    6,
)  # hours; a refusal that is the login's is seen by five devices in 15 minutes


@pytest.fixture
def fleet(servers: Servers, postgres_roles: Path) -> Iterator[Fleet]:
    """A database of its own: its time is another one."""
    with migrated(servers, postgres_roles) as made:
        yield made


def _day(fleet: Fleet, routers: int, seed: int) -> Day:
    day = Day(fleet, seed)
    fleet.workers(collect=10, collect_slow=3)
    hop = fleet.jump_host(name="hop")
    profile = day.profile("fleet", OLD)
    site = fleet.value("INSERT INTO site (tenant_id, name) VALUES (:t, 'valley') RETURNING id", t=fleet.tenant)
    for number in range(routers):
        place = {"site_id": site} if number % 4 else {}
        seconds = {"interval_seconds": EVERY[number % len(EVERY)] * 3600}
        behind = hop if number % 5 == 4 else None
        day.router(f"r{number:02}", OLD, behind=behind, credential_profile_id=profile, settings=seconds, **place)
    return day


def _trouble(day: Day) -> None:
    """What goes wrong when; a quarter of it is diced."""
    start, dice, routers = day.time.now, day.dice, list(day.routers.values())

    def later(hours: float, act: object, *given: object) -> None:
        day.at(start + hours * HOUR, lambda: act(*given))  # type: ignore[operator]

    for router in routers:
        for _ in range(3):
            off = dice.uniform(0.2, 22)
            later(off, setattr, router, "up", False)
            later(off + dice.uniform(0.05, 1.5), setattr, router, "up", True)
        for trouble in ("mute", "cut"):
            on = dice.uniform(0.2, 22)
            later(on, setattr, router, "trouble", trouble)
            later(on + dice.uniform(0.05, 1), setattr, router, "trouble", "")
        for _ in range(4):
            later(dice.uniform(0.2, 23), lambda one: setattr(one, "revision", one.revision + 1), router)
        for _ in range(3):  # somebody is impatient
            asked = dice.uniform(0.2, 23)
            for again in range(dice.randint(1, 5)):
                later(asked + again * dice.uniform(0.01, 0.1), day.ask, router.name)
    valley = [router for number, router in enumerate(routers) if number % 4]
    for what, on, off, value in (("dies", 2, 3, 0.3), ("vault_up", 5, 6, False), ("hop_up", 12, 14, False)):
        before = getattr(day, what)
        later(on, setattr, day, what, value)
        later(off, setattr, day, what, before)
    for router in valley:
        later(16.5, setattr, router, "up", False)
        later(18, setattr, router, "up", True)
    later(14.5, setattr, day, "radius_up", False)
    later(14.9, setattr, day, "radius_up", True)


def _rotation(day: Day) -> None:
    """The routers get another password one by one; it is known as the next one from the beginning on."""
    start = day.time.now
    sealed = day.secret(NEW)
    begin = """UPDATE credential_profile SET next_username = username, next_method = method, next_sealed = :sealed,
        next_changed_at = now() WHERE name = 'fleet'"""
    day.at(start + 8 * HOUR, lambda: day.fleet.sql(begin, sealed=sealed))
    for router in day.routers.values():
        when = start + day.dice.uniform(8, 11) * HOUR
        day.at(when, lambda one=router: setattr(one, "password", NEW))  # type: ignore[misc]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1])
def test_a_day_of_trouble_bans_and_locks_out_nobody(fleet: Fleet, size: Size, seed: int) -> None:
    """Outages, dying workers, a lost vault and hop, a rotation and impatient people: all are collected in the end."""
    day = _day(fleet, ROUTERS[size], seed)
    _trouble(day)
    _rotation(day)
    began = day.time.now
    day.run_until(began + 24 * HOUR)
    for router in day.routers.values():
        router.up, router.trouble = True, ""
    day.run_until(began + 26 * HOUR)
    assert {name: router.firewall.banned for name, router in day.routers.items() if router.firewall.banned} == {}
    assert [(row.name, row.blocked_code) for row in fleet.sql("SELECT * FROM device WHERE blocked_code <> ''")] == []
    day.run_until(began + 29 * HOUR)  # the longest interval, and what waits after a failure
    assert day.behind_the_times() == []
    assert fleet.sql("SELECT * FROM credential_profile WHERE suspended_at IS NOT NULL") == []
    raised = [row.code for row in fleet.sql("SELECT code FROM alarm")]
    assert (raised.count("login_refused"), raised.count("jump_host_unreachable")) == (1, 1)
    assert raised.count("site_down") <= 1  # with so few devices the dice decide whether five went away together
    assert fleet.alarms() == []
    for name, router in day.routers.items():
        refused = [at for at, _, taken in router.logins if not taken]
        assert len(refused) <= 6, (name, refused)
    check(fleet)


def test_the_example_bans_who_comes_back_at_once() -> None:
    """The control: four connections within some minutes are too many, and four that keep their distance are not."""
    from datetime import UTC, datetime

    begin = datetime(2026, 1, 1, tzinfo=UTC)
    hasty, patient = ExampleFirewall(), ExampleFirewall()
    assert [hasty.admits("ours", begin + number * MINUTE) for number in range(4)] == [True, True, True, False]
    assert all(patient.admits("ours", begin + number * 6 * MINUTE) for number in range(20))
