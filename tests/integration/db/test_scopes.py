"""Acts on scopes beside all that works on their devices: nobody deadlocks, and the way to a device is never stale."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from sqlalchemy import text

from backupflow.adapters.db.fleet import FleetDesk
from backupflow.adapters.db.scopes import Scopes
from backupflow.core import scope_acts
from backupflow.core.enrolment import Edit, edited
from backupflow.core.fleet import Act, Orders
from backupflow.core.inventory import DeviceLogin, Placement
from backupflow.core.model import SealedSecret
from backupflow.core.scopes import Changes, HopRecord, NewScope, ProfileRecord, ScopeKind, ScopeRecord
from backupflow.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from backupflow.core.scopes import Record, ScopeUpdate
    from tests.integration.db.fleet import Fleet

ROUNDS = 20
LOGIN = DeviceLogin("backup", "password", SealedSecret("vault:v1:YW5vdGhlcg=="))
_STALE = """
    SELECT d.name FROM device d JOIN tenant t ON t.id = d.tenant_id
    LEFT JOIN device_group g ON g.id = d.device_group_id LEFT JOIN site s ON s.id = d.site_id
    WHERE d.via_id IS DISTINCT FROM CASE
        WHEN d.jump_direct THEN NULL WHEN d.jump_host_id IS NOT NULL THEN d.jump_host_id WHEN g.jump_direct THEN NULL
        ELSE coalesce(g.jump_host_id, s.jump_host_id, t.jump_host_id) END"""

_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


def scopes(fleet: Fleet) -> Scopes:
    """The enroller."""
    return Scopes(fleet.engine("enroller"))


def make(fleet: Fleet, kind: ScopeKind, name: str, **fields: str) -> UUID:
    """A scope of the tenant."""
    new = NewScope(kind, fleet.tenant, uuid4(), name, {}, **fields)  # type: ignore[arg-type]
    return scopes(fleet).add(new, "me").scope_id


def edit(fleet: Fleet, kind: ScopeKind, name: str, **wanted: str) -> bool:
    """Whether an edit of a group, a site or the tenant changed anything."""

    def decide(record: Record) -> ScopeUpdate | None:
        assert isinstance(record, ScopeRecord)
        return scope_acts.scope_edited(record, Changes(**wanted))  # type: ignore[arg-type]

    return scopes(fleet).change(kind, fleet.tenant, name, decide, "me")[1]


def new_secret(fleet: Fleet) -> bool:
    """Another password for all."""

    def decide(record: Record) -> ScopeUpdate | None:
        assert isinstance(record, ProfileRecord)
        return scope_acts.profile_edited(record, Changes(), LOGIN)

    return scopes(fleet).change(ScopeKind.PROFILE, fleet.tenant, "p", decide, "me")[1]


def edit_many(fleet: Fleet, wanted: Edit) -> int:
    """How many of all devices an import or a bulk edit changed."""
    ids = [row.id for row in fleet.sql("SELECT id FROM device")]
    acts = tuple(Act(device, lambda record: edited(record, wanted, None)) for device in ids)
    desk = FleetDesk(fleet.engine("enroller"), fleet.policy)
    return len(desk.carry_out(["main"], ids, lambda _: Orders("", {}, acts=acts), "me", lambda _: None).changed)


@pytest.fixture
def placed(fleet: Fleet) -> Fleet:
    """Six devices at two sites, two jump hosts, one login."""
    fleet.login(name="p")
    for name, host in (("hop-1", "203.0.113.1"), ("hop-2", "203.0.113.2")):
        make(fleet, ScopeKind.JUMP_HOST, name, profile="p", host=host)
    for name in ("north", "south"):
        site = make(fleet, ScopeKind.SITE, name, profile="p", jump="hop-1")
        for number in range(3):
            fleet.device(login=False, name=f"{name}-{number}", site_id=site)
    return fleet


def test_nobody_waits_for_each_other_for_ever(placed: Fleet) -> None:
    """Scopes are edited while devices are moved, secrets changed, and collectors end what they are at."""

    def collector(number: int) -> None:
        device = f"{('north', 'south')[number % 2]}-{number % 3}"
        with placed.engine("collector").begin() as tx:
            tx.execute(text("SELECT 1 FROM device WHERE name = :name FOR NO KEY UPDATE"), {"name": device})
            tx.execute(
                text("UPDATE jump_host SET failures = 0 WHERE id = (SELECT via_id FROM device WHERE name = :name)"),
                {"name": device},
            )

    def mover(number: int) -> None:
        wanted = Edit(placement=Placement(site=("south", "north")[number % 2], jump=("", "direct")[number // 2 % 2]))
        placed.devices.change(placed.tenant, f"north-{number % 3}", lambda record: edited(record, wanted, None), "me")

    kinds: tuple[Callable[[int], object], ...] = (
        lambda number: edit(placed, ScopeKind.SITE, "north", jump=("hop-1", "hop-2", "")[number % 3]),
        lambda number: edit(placed, ScopeKind.SITE, "south", jump=("hop-2", "", "hop-1")[number % 3]),
        lambda number: edit(placed, ScopeKind.TENANT, "main", jump=("hop-2", "")[number % 2]),
        lambda _: new_secret(placed),
        mover,
        collector,
        lambda number: edit_many(placed, Edit(settings={"interval_seconds": 3600.0 + number})),
    )

    def rounds(act: Callable[[int], object]) -> None:
        for number in range(ROUNDS):
            act(number)

    with ThreadPoolExecutor(len(kinds)) as pool:
        for done in [pool.submit(rounds, act) for act in kinds]:
            done.result()
    assert placed.sql(_STALE) == []


def test_many_devices_are_locked_before_their_scopes(placed: Fleet) -> None:
    """As whoever edits a scope does it: an import that waits for a device holds no scope that others are after."""
    with placed.admin.begin() as tx, ThreadPoolExecutor(1) as pool:
        tx.execute(text("SELECT 1 FROM device WHERE name = 'north-2' FOR NO KEY UPDATE"))
        done = pool.submit(edit_many, placed, Edit(settings={"interval_seconds": 3600.0}))
        while not placed.value(_WAITING):
            pass
        for table in ("tenant", "site"):
            assert tx.execute(text(f"SELECT 1 FROM {table} FOR NO KEY UPDATE NOWAIT")).all()  # noqa: S608 - of these
        tx.commit()
        assert done.result() == 6


def test_a_device_that_is_placed_meanwhile_follows_too(placed: Fleet) -> None:
    """It is inserted under the old jump host while the site gets another one: it waits, and has the new one."""
    with placed.admin.begin() as tx, ThreadPoolExecutor(1) as pool:
        site = tx.execute(text("UPDATE site SET jump_host_id = NULL WHERE name = 'north' RETURNING id")).scalar_one()
        made = pool.submit(placed.device, login=False, name="late", site_id=site)
        while not placed.value(_WAITING):
            pass
        tx.execute(text("UPDATE site SET jump_host_id = (SELECT id FROM jump_host WHERE name = 'hop-2') WHERE id = :s"),
                   {"s": site})  # fmt: skip
        tx.commit()
        made.result()
    assert (
        placed.value("SELECT h.name FROM device d JOIN jump_host h ON h.id = d.via_id WHERE d.name = 'late'") == "hop-2"
    )
    assert placed.sql(_STALE) == []


def test_what_came_to_be_used_at_this_moment_is_not_removed(placed: Fleet) -> None:
    """Whoever places a device there is waited for."""
    make(placed, ScopeKind.JUMP_HOST, "hop-3", profile="p", host="203.0.113.3")

    def decide(record: Record) -> ScopeUpdate:
        assert isinstance(record, HopRecord)
        assert record.named_by == ()
        placed.sql("UPDATE device SET jump_host_id = :hop WHERE name = 'north-0'", hop=record.jump_host_id)
        return scope_acts.hop_removed(record)

    with pytest.raises(Conflict, match="at this moment"):
        scopes(placed).change(ScopeKind.JUMP_HOST, placed.tenant, "hop-3", decide, "me")
    assert placed.value("SELECT count(*) FROM jump_host") == 3
