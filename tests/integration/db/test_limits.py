"""`concurrency` of a group, a site or a tenant: so many sessions at a time with its devices, kept by not claiming."""
# ruff: noqa: S608 - the statements are put together of our own constants

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from tests.integration.db.fleet import LIMITS, Fleet

if TYPE_CHECKING:
    from backupflow.core.model import CollectionId

HOUR = timedelta(hours=1)


def scope(fleet: Fleet, table: str, concurrency: int | None) -> dict[str, Any]:
    """A scope with such a limit; the columns of a device that belongs to it."""
    settings = f'{{"concurrency": {concurrency}}}' if concurrency else "{}"
    if table == "tenant":
        fleet.sql("UPDATE tenant SET settings = CAST(:s AS jsonb) WHERE id = :t", s=settings, t=fleet.tenant)
        return {}
    made: UUID = fleet.value(
        f"INSERT INTO {table} (tenant_id, name, settings) VALUES (:t, :n, CAST(:s AS jsonb)) RETURNING id",
        t=fleet.tenant,
        n=str(uuid4()),
        s=settings,
    )
    return {f"{table}_id": made}


def claimed(fleet: Fleet) -> list[CollectionId]:
    """What one tick claims."""
    done = fleet.claims.claim(LIMITS)
    assert done is not None
    return [claim.collection_id for claim in done.new]


@pytest.mark.parametrize("table", ["device_group", "site", "tenant"])
def test_no_more_sessions_than_a_scope_allows(fleet: Fleet, table: str) -> None:
    """Over all lanes, whether they wait or run, due or asked for; as one ends, the next is claimed."""
    fleet.workers(collect=40, collect_slow=40)
    within = scope(fleet, table, 3)
    for number in range(4):
        fleet.device(lane="collect.slow" if number % 2 else "collect", **within)
    for number in range(4):
        fleet.request(fleet.device(due=HOUR, **within), "test" if number % 2 else "backup")
    first = claimed(fleet)
    assert (len(first), claimed(fleet)) == (3, [])
    fleet.sql(
        "UPDATE collection SET state = 'running', holder = 'x', lease_until = now() + interval '1 h' "
        "WHERE state = 'claimed'"
    )
    assert claimed(fleet) == []
    fleet.sql("UPDATE collection SET state = 'failed', code = 'x', ended_at = now() WHERE id = :c", c=first[0])
    assert len(claimed(fleet)) == 1


@pytest.mark.parametrize("limit", ["concurrency", "jump host"])
def test_a_lane_that_nobody_works_on_holds_no_place(fleet: Fleet, limit: str) -> None:
    """What it has claimed is withdrawn and owed, so that the other lane goes on; once it lives it has its turn (I9)."""
    within = scope(fleet, "site", 1) if limit == "concurrency" else {"jump_host_id": fleet.jump_host(reached_at=None)}
    process = fleet.workers(collect_slow=40)
    slow = fleet.device(lane="collect.slow", **within)
    free = fleet.device(lane="collect.slow")
    assert len(claimed(fleet)) == 2
    fleet.workers(collect=40)
    other = fleet.device(**within)
    assert claimed(fleet) == []
    fleet.sql("UPDATE process SET heartbeat_at = now() - interval '1 hour' WHERE id = :p", p=process)
    (now,) = claimed(fleet)
    assert fleet.row("collection", now).device_id == other
    states = {
        row.device_id: (row.state, row.detail) for row in fleet.sql("SELECT * FROM collection WHERE id <> :n", n=now)
    }
    assert states == {slow: ("withdrawn", "nobody works on its lane: collect.slow"), free: ("claimed", None)}
    assert fleet.value("SELECT next_due_at <= now() FROM device WHERE id = :d", d=slow)
    fleet.sql("UPDATE collection SET state = 'failed', code = 'x', ended_at = now() WHERE id = :c", c=now)
    fleet.sql("UPDATE process SET heartbeat_at = now()")
    assert fleet.row("collection", claimed(fleet)[0]).device_id == slow


def test_the_narrowest_of_all_limits_holds(fleet: Fleet) -> None:
    """A device counts in each of its scopes, and in its jump host."""
    fleet.workers(collect=40)
    site, group = scope(fleet, "site", 4), scope(fleet, "device_group", 2)
    for _ in range(5):
        fleet.device(**site, **group, jump_host_id=None)
        fleet.device(**site)
    assert len(claimed(fleet)) == 4
    groups = "SELECT count(*) FROM collection c JOIN device d ON d.id = c.device_id WHERE d.device_group_id = :g"
    assert fleet.value(groups, g=group["device_group_id"]) <= 2


def test_a_full_scope_hides_nobody(fleet: Fleet) -> None:
    """Its devices wait longest, and are more than fit into the window."""
    fleet.workers(collect=4)
    slow = scope(fleet, "site", 1)
    for _ in range(40):
        fleet.device(due=-3 * HOUR, **slow)
    others = [fleet.device(**scope(fleet, "site", 1)) for _ in range(6)]
    assert len(claimed(fleet)) == 1 + len(others)


def test_a_limit_that_is_gone_or_makes_no_sense_holds_nobody(fleet: Fleet) -> None:
    """What is no number is none, and less than one is one: a scope that nobody can be claimed of would be silent."""
    fleet.workers(collect=40)
    site = scope(fleet, "site", 1)
    for _ in range(6):
        fleet.device(**site)
    for settings, count in (('{"concurrency": -2e15}', 1), ('{"concurrency": 1.9}', 1), ('{"concurrency": "many"}', 4)):
        fleet.sql("UPDATE site SET settings = CAST(:s AS jsonb)", s=settings)
        assert len(claimed(fleet)) == count
    fleet.sql("UPDATE site SET settings = CAST(:s AS jsonb)", s='{"concurrency": 1e15}')
    fleet.device(**site)
    assert len(claimed(fleet)) == 1
