"""A fleet whose password is changed router by router, over a death of everything: two logins, and no router locked."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from backupflow.adapters.db.scopes import Scopes
from backupflow.core.enrolment import unblocked
from backupflow.core.inventory import DeviceLogin
from backupflow.core.model import SealedSecret
from backupflow.core.rotation import Act, Tally
from backupflow.core.rotation_acts import rotation_begun, rotation_ended
from backupflow.core.scopes import ProfileRecord, ScopeKind
from backupflow.errors import Conflict
from tests.faults.simulated_day import Day, Router
from tests.integration.db.fleet import Fleet, migrated
from tests.integration.db.invariants import check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from backupflow.core.scopes import Record, ScopeUpdate
    from backupflow.embedded import Servers
    from tests.conftest import Size

MINUTE = timedelta(minutes=1)
OLD, NEW = "the old password", "the new password"
ROUTERS = {"small": 7, "soak": 120}


@pytest.fixture
def fleet(servers: Servers, postgres_roles: Path) -> Iterator[Fleet]:
    """A database of its own: its time is another one."""
    with migrated(servers, postgres_roles) as made:
        yield made


def act(fleet: Fleet, decide: Callable[[ProfileRecord], ScopeUpdate]) -> ProfileRecord:
    """What a person does to the login; the profile as it is then."""

    def decided(record: Record) -> ScopeUpdate:
        assert isinstance(record, ProfileRecord)
        return decide(record)

    found = Scopes(fleet.engine("enroller")).change(ScopeKind.PROFILE, fleet.tenant, "fleet", decided, "me")[0]
    assert isinstance(found, ProfileRecord)
    return found


def tally(fleet: Fleet) -> Tally:
    """How far it is."""
    found = Scopes(fleet.engine("reader")).find(ScopeKind.PROFILE, fleet.tenant, "fleet")
    assert isinstance(found, ProfileRecord)
    assert found.rotation is not None
    return found.rotation.tally


def restart(day: Day) -> None:
    """All processes die: sessions are cut off where they are, and nobody knows of them but PostgreSQL."""
    day.dies = 1.0
    day.run_until(day.time.now + 8 * MINUTE)
    assert day.fleet.value("SELECT count(*) FROM collection WHERE state = 'running'")
    day.fleet.close()
    day.dies = 0.0


def refused(router: Router, since: datetime) -> list[datetime]:
    """When a router refused a login."""
    return [at for at, _, taken in router.logins if at >= since and not taken]


def test_a_rotation_half_done_goes_on_over_a_restart(fleet: Fleet, size: Size) -> None:
    """Some have the new password before it is known, most get it later, one never, and one has a third one.

    Nobody is sent a login that it refused before the other had its turn, six minutes later; who is sent what is known
    after the restart as before it; only who refuses both is blocked; and the count at the end is what there is.
    """
    day = Day(fleet, 7)
    fleet.workers(collect=10, collect_slow=3)
    profile = day.profile("fleet", OLD)
    seconds = {"interval_seconds": 1800}
    names = [f"r{number:03}" for number in range(ROUTERS[size])]
    for name in names:
        day.router(name, OLD, credential_profile_id=profile, settings=seconds)
    early, never, third, *later = names
    day.run_until(day.time.now + 6 * MINUTE)
    day.routers[early].password = NEW
    day.run_until(day.time.now + 32 * MINUTE)
    assert blocked(fleet) == [early]

    began = day.time.now
    act(fleet, lambda record: rotation_begun(record, DeviceLogin("backup", "password", SealedSecret(day.secret(NEW)))))
    assert blocked(fleet) == []
    day.routers[third].password = "a third password"
    half = len(later) // 2
    for number, name in enumerate(later):
        when = began + (5 + number % 20) * MINUTE if number < half else began + (100 + number % 30) * MINUTE
        day.at(when, lambda one=day.routers[name]: setattr(one, "password", NEW))  # type: ignore[misc]
    day.run_until(began + 80 * MINUTE)
    assert tally(fleet) == Tally(new=1 + half, old=1 + len(later) - half, neither=1)
    assert blocked(fleet) == [third]

    before = standing(fleet)
    restart(day)
    assert standing(fleet) == before
    day.run_until(began + 180 * MINUTE)
    assert tally(fleet) == Tally(new=1 + len(later), old=1, neither=1)
    assert blocked(fleet) == [third]
    for name in (early, never, *later):
        router = day.routers[name]
        assert len(refused(router, began)) <= 1, name
        assert router.firewall.banned == []
        for at in refused(router, began):
            after = min(when for when in router.connections if when > at)
            assert after - at >= 6 * MINUTE
    assert refused(day.routers[early], began) == refused(day.routers[never], began) == []
    assert [password for at, password, _ in day.routers[third].logins if at >= began] == [OLD, NEW]
    assert day.behind_the_times() == []

    with pytest.raises(Conflict, match=r"2 devices are not known .* \(1 on old, 1 have refused both\)"):
        act(fleet, lambda record: rotation_ended(record, Act.FINISH, None))
    day.routers[never].password = day.routers[third].password = NEW
    fleet.act(fleet.value("SELECT id FROM device WHERE name = :n", n=third), unblocked)
    day.run_until(day.time.now + 45 * MINUTE)
    assert tally(fleet) == Tally(new=len(names))
    assert act(fleet, lambda record: rotation_ended(record, Act.FINISH, None)).rotation is None
    ended = day.time.now
    for router in day.routers.values():
        router.revision += 1
    day.run_until(ended + 35 * MINUTE)
    assert [refused(router, ended) for router in day.routers.values() if refused(router, ended)] == []
    assert day.behind_the_times() == []
    assert day.fleet.value("SELECT sealed FROM credential_profile") == day.secret(NEW)
    check(fleet)


def blocked(fleet: Fleet) -> list[str]:
    """Who is, by name."""
    return [row.name for row in fleet.sql("SELECT name FROM device WHERE blocked_code <> '' ORDER BY name")]


def standing(fleet: Fleet) -> dict[str, tuple[str, str | None]]:
    """What each is sent next, and what it has refused."""
    return {row.name: (row.login_on, row.refused_on) for row in fleet.sql("SELECT * FROM device")}
