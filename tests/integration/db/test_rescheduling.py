"""What another timetable means for devices that wait for their turn, whatever act gave it to them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import event

from backupflow.adapters.db.fleet import FleetDesk
from backupflow.adapters.db.scopes import Scopes
from backupflow.core import scope_acts
from backupflow.core.enrolment import Edit, edited
from backupflow.core.fleet import Act, Orders
from backupflow.core.inventory import Placement
from backupflow.core.ledger import Limits
from backupflow.core.rescheduling import LONGEST_SPREAD, Rescheduled
from backupflow.core.scopes import Changes, NewScope, ScopeKind, ScopeRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from backupflow.core.model import DeviceId
    from backupflow.core.scopes import Acted, Record, ScopeUpdate
    from tests.integration.db.fleet import Fleet

HOUR = timedelta(hours=1)
Editing = "Callable[[Fleet, DeviceId, dict[str, Any]], object]"


@pytest.fixture
def north(fleet: Fleet) -> Fleet:
    """Every six hours, at a site."""
    make(fleet, ScopeKind.SITE, "north", interval_seconds=6 * 3600)
    return fleet


def make(fleet: Fleet, kind: ScopeKind, name: str, **settings: Any) -> None:  # noqa: ANN401 - of any setting
    """A scope of the tenant."""
    scopes(fleet).add(NewScope(kind, fleet.tenant, uuid4(), name, settings), "me")


def scopes(fleet: Fleet) -> Scopes:
    """The enroller."""
    return Scopes(fleet.engine("enroller"), fleet.policy)


def waiting(fleet: Fleet, *, attempted: timedelta = 2 * HOUR, due: timedelta = 4 * HOUR, **columns: Any) -> DeviceId:  # noqa: ANN401
    """A device at the site whose last collection began that long ago, and that is due in so long."""
    site = fleet.value("SELECT id FROM site WHERE name = 'north'")
    device = fleet.device(due=due, site_id=site, **columns)
    fleet.sql(
        "INSERT INTO collection (tenant_id, device_id, seq, trigger, lane, state, claimed_at, started_at, ended_at) "
        "SELECT tenant_id, id, 1, 'schedule', 'collect', 'failed', now() - :ago, now() - :ago, now() - :ago "
        "FROM device WHERE id = :d",
        d=device,
        ago=attempted,
    )
    fleet.sql("UPDATE device SET last_seq = 1 WHERE id = :d", d=device)
    return device


def due(fleet: Fleet, device: DeviceId) -> timedelta:
    """In how long, to the quarter of a minute: what the test itself takes is no part of it."""
    left = fleet.value("SELECT next_due_at - now() FROM device WHERE id = :d", d=device)
    return timedelta(seconds=15 * round(left.total_seconds() / 15))


def site_says(fleet: Fleet, unset: tuple[str, ...] = (), **settings: Any) -> Acted:  # noqa: ANN401
    """Another word of the site's."""

    def decide(record: Record) -> ScopeUpdate | None:
        assert isinstance(record, ScopeRecord)
        return scope_acts.scope_edited(record, Changes(settings=settings or None, unset=unset))

    return scopes(fleet).change(ScopeKind.SITE, fleet.tenant, "north", decide, "me")


def by_itself(fleet: Fleet, device: DeviceId, settings: dict[str, Any]) -> None:
    """The device says so."""
    fleet.act(device, lambda record: edited(record, Edit(settings=settings), None))


def by_its_site(fleet: Fleet, device: DeviceId, settings: dict[str, Any]) -> None:
    """Its site does."""
    assert site_says(fleet, **settings).rescheduled is not None


def by_a_move(fleet: Fleet, device: DeviceId, settings: dict[str, Any]) -> None:
    """It comes to a group that does."""
    make(fleet, ScopeKind.GROUP, "often", **settings)
    fleet.act(device, lambda record: edited(record, Edit(placement=Placement(group="often")), None))


def with_many(fleet: Fleet, device: DeviceId, settings: dict[str, Any]) -> None:
    """It is one of many that are edited."""
    assert edit_all(fleet, Edit(settings=settings))


def moved_with_many(fleet: Fleet, device: DeviceId, settings: dict[str, Any]) -> None:
    """It is one of many that come to another site."""
    make(fleet, ScopeKind.SITE, "south", **settings)
    assert edit_all(fleet, Edit(placement=Placement(site="south")))


def edit_all(fleet: Fleet, wanted: Edit) -> Rescheduled | None:
    """Edit all devices there are."""
    ids = [row.id for row in fleet.sql("SELECT id FROM device ORDER BY id")]
    acts = tuple(Act(device, lambda record: edited(record, wanted, None)) for device in ids)
    desk = FleetDesk(fleet.engine("enroller"), fleet.policy)
    return desk.carry_out(["main"], ids, lambda _: Orders("", {}, acts=acts), "me", lambda _: None).rescheduled


ACTS = [by_itself, by_its_site, by_a_move, with_many, moved_with_many]


@pytest.mark.parametrize("act", ACTS)
def test_a_shorter_interval_reckons_from_the_last_attempt(north: Fleet, act: Callable[..., None]) -> None:
    """Collected two hours ago and every three hours from now on: due in one, and every three from then."""
    device = waiting(north)
    act(north, device, {"interval_seconds": 3 * 3600})
    assert due(north, device) == HOUR
    row = north.row("device", device)
    assert row.anchor_at == row.next_due_at


@pytest.mark.parametrize("act", ACTS)
def test_a_longer_interval_leaves_the_next_turn(north: Fleet, act: Callable[..., None]) -> None:
    """What is due in four hours is not put off for a day."""
    device = waiting(north)
    act(north, device, {"interval_seconds": 86400})
    assert due(north, device) == 4 * HOUR


@pytest.mark.parametrize("act", ACTS)
def test_a_cron_expression_takes_effect_at_its_next_time(north: Fleet, act: Callable[..., None]) -> None:
    """Who names hours wants no other ones: neither what was due before nor what the expression missed in the past."""
    soon, owed, new = waiting(north), waiting(north, due=-HOUR), north.device(due=timedelta(minutes=2))
    now = north.value("SELECT now()")
    north.sql("UPDATE device SET site_id = (SELECT id FROM site WHERE name = 'north')")
    for device in [soon] if act in {by_itself, by_a_move} else [soon, owed, new]:
        act(north, device, {"cron": "0 3 1 1 *"})
        if act not in {by_itself, by_a_move}:
            break
    at = north.row("device", soon).next_due_at
    assert timedelta(0) <= at - at.replace(year=at.year, month=1, day=1, hour=3, minute=0, second=0, microsecond=0)
    assert (at.month, at.day, at.hour) == (1, 1, 3)
    assert now < at
    assert (due(north, owed), due(north, new)) == (-HOUR, timedelta(minutes=2))


def test_who_is_late_by_the_new_interval_is_spread(north: Fleet) -> None:
    """A site that was collected twice a day is from now on every hour: not all of it in one second."""
    devices = [waiting(north) for _ in range(6)]
    owed, early = waiting(north, due=timedelta(minutes=-1)), waiting(north, attempted=timedelta(minutes=30))
    done = site_says(north, interval_seconds=3600).rescheduled
    assert done == Rescheduled(8, 7, LONGEST_SPREAD)
    dues = sorted(due(north, device) for device in devices)
    assert dues == [timedelta(minutes=5) * n for n in range(6)]
    assert (due(north, owed), due(north, early)) == (timedelta(minutes=-1), timedelta(minutes=30))


def test_the_spread_is_no_longer_than_the_interval(north: Fleet) -> None:
    """Every minute means within the next one."""
    devices = [waiting(north) for _ in range(4)]
    assert site_says(north, interval_seconds=60).rescheduled == Rescheduled(4, 4, timedelta(minutes=1))
    assert max(due(north, device) for device in devices) == timedelta(seconds=45)


@pytest.mark.parametrize("settings", [{"interval_seconds": 60}, {"cron": "* * * * *"}])
def test_what_waits_for_a_reason_waits_on(north: Fleet, settings: dict[str, Any]) -> None:
    """Backing off, refused by one of two logins, after losses, blocked, paused: no act on intervals calls it sooner."""
    kept = [
        waiting(north, due=HOUR, failures=2),
        waiting(north, due=timedelta(minutes=6), refused_on="current"),
        waiting(north, due=timedelta(minutes=5), losses=3),
        waiting(north, blocked_code="authentication_failed"),
    ]
    paused = north.device(due=None, status="paused", site_id=north.value("SELECT id FROM site"))
    before = [due(north, device) for device in kept]
    done = site_says(north, **settings).rescheduled
    assert done is not None
    assert (done.devices, done.now) == (5, 0)
    assert [due(north, device) for device in kept] == before
    assert north.row("device", paused).next_due_at is None


def test_a_failure_that_waits_for_a_week_is_called_after_the_longest_wait(north: Fleet) -> None:
    """One that is due at its long interval again, since waiting would not help it, does follow a shorter one."""
    device = waiting(north, due=timedelta(days=6), failures=1)
    site_says(north, interval_seconds=60)
    assert due(north, device) == timedelta(minutes=75)


def test_what_says_the_same_moves_nothing(north: Fleet) -> None:
    """Another setting, or one that the device overrules: nobody's turn is touched."""
    device = waiting(north, settings={"interval_seconds": 6 * 3600})
    before = north.row("device", device)
    assert site_says(north, concurrency=2).rescheduled is None
    assert site_says(north, interval_seconds=60).rescheduled is None
    assert site_says(north, unset=("interval_seconds",)).rescheduled is None
    after = north.row("device", device)
    assert (after.next_due_at, after.anchor_at) == (before.next_due_at, before.anchor_at)


def test_many_devices_take_as_many_statements_as_few(north: Fleet) -> None:
    """Their locks are held for a fraction of a second, however many there are."""
    engine = north.engine("enroller")
    counted: list[int] = []
    for _ in range(2):
        for _ in range(5):
            waiting(north)
        with statements(engine) as seen:
            site_says(north, interval_seconds=3600 + len(counted))
        counted.append(len(seen))
    assert counted[0] == counted[1]


def statements(engine: Any) -> Any:  # noqa: ANN401 - a context manager
    """What is sent meanwhile."""
    from contextlib import contextmanager

    @contextmanager
    def listening() -> Iterator[list[str]]:
        seen: list[str] = []

        def hear(*args: Any) -> None:  # noqa: ANN401 - of SQLAlchemy
            seen.append(args[2])

        event.listen(engine, "before_cursor_execute", hear)
        try:
            yield seen
        finally:
            event.remove(engine, "before_cursor_execute", hear)

    return listening()


def test_claimed_it_is_due_at_the_next_time_of_its_expression(north: Fleet) -> None:
    """Within the spread of the expression, each device at its own moment of it, and never twice at one time."""
    site_says(north, cron="0 2 * * *")
    for _ in range(5):
        waiting(north, due=-HOUR)
    north.workers(collect=10)
    now: datetime = north.value("SELECT now()")
    north.claims.claim(Limits())
    dues = [row.next_due_at for row in north.sql("SELECT next_due_at FROM device ORDER BY next_due_at")]
    assert len(set(dues)) == len(dues)
    times = [at.replace(hour=2, minute=0, second=0, microsecond=0) for at in dues]
    assert all(timedelta(0) <= at - time < timedelta(minutes=5) for at, time in zip(dues, times, strict=True))
    assert all(now < at <= now + timedelta(days=1, minutes=5) for at in dues)


def test_what_is_due_later_than_an_expression_says_is_drawn_nearer(north: Fleet) -> None:
    """A clock that stood ahead leaves nothing behind, nor does an anchor of that time; a turn of it stays."""
    site_says(north, cron="0 2 * * *")
    late, turn = waiting(north), waiting(north)
    north.sql("UPDATE device SET next_due_at = now() + interval '9 years'")
    north.claims.claim(Limits())
    assert due(north, late) <= timedelta(days=1, minutes=5)
    before = north.row("device", turn).next_due_at
    north.sql("UPDATE job SET due_at = now()")
    north.claims.claim(Limits())
    assert north.row("device", turn).next_due_at == before
    site_says(north, interval_seconds=3600)
    north.sql("UPDATE device SET next_due_at = now() + interval '9 years', anchor_at = now() + interval '9 years'")
    north.sql("UPDATE job SET due_at = now()")
    north.claims.claim(Limits())
    assert timedelta(0) < due(north, late) <= HOUR


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(("seconds", "held"), [(240, False), (300, True)])
def test_a_router_that_is_met_more_often_from_now_on_holds_nobody(
    north: Fleet, act: Callable[..., None], seconds: int, *, held: bool
) -> None:
    """Its firewall has no such rules: what was counted by the interval of before keeps nobody away."""
    device = waiting(north)
    north.sql(
        "UPDATE device SET met_at = now(), hold_until = now() + interval '1 hour', "
        "wary_until = now() + interval '1 hour'"
    )
    act(north, device, {"interval_seconds": seconds})
    row = north.row("device", device)
    assert [row.met_at is not None, row.hold_until is not None] == [held, held]
