"""What was tried of a device, as `runs` and `run show` tell it: stretches, all of one, and quickly of very many."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from backupflow.adapters.db import attempts
from backupflow.adapters.db.attempts import Attempts
from backupflow.core.ledger import Ending
from backupflow.core.model import CollectionId, State, TenantId
from backupflow.errors import NotFound
from tests.integration.db.fleet import KEY, LIMITS, Fleet, hashed, message, published
from tests.integration.db.test_compacting import History, build, compact

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from backupflow.core.attempts import Stretch
    from backupflow.core.model import DeviceId

MANY = 20_000
MANY_ROWS = """
    INSERT INTO collection (tenant_id, device_id, seq, trigger, lane, state, code, is_change, content_id, content_hash,
        digest, claimed_at, started_at, collected_at, ended_at, stored_at, facts, raw_bytes)
    SELECT d.tenant_id, d.id, n, 'schedule', 'collect', 'stored', NULL, n % 10 = 1, c.id, c.content_hash, '\\x00', at,
        at, at, at, at, CAST(:facts AS jsonb), 100
    FROM device d JOIN content c ON c.device_id = d.id CROSS JOIN generate_series(2, :n) n,
        LATERAL (SELECT now() - (:n - n) * interval '6 hours' AS at) t WHERE d.id = :d"""


def told(fleet: Fleet, device: DeviceId, limit: int = 50, since: datetime | None = None) -> Sequence[Stretch]:
    """What `runs` tells."""
    name = fleet.row("device", device).name
    return Attempts(fleet.engine("reader")).stretches(fleet.tenant, name, since, limit)


def shown(stretches: Sequence[Stretch]) -> list[tuple[str, int]]:
    """Results and how often, the oldest first."""
    return [(one.code or one.result, one.count) for one in reversed(stretches)]


def test_what_ended_alike_in_a_row_is_one_line(fleet: Fleet) -> None:
    """Unchanged runs of one content, failures of one kind; a change stands alone, and so does what is not settled."""
    (one,) = build(fleet, [History("AAAAffgABBPtt", 0)])
    stretches = told(fleet, one.device)
    assert shown(stretches) == [
        ("changed", 1), ("unchanged", 3), ("device_timeout", 2), ("device_unreachable", 1), ("unchanged", 1),
        ("changed", 1), ("unchanged", 1), ("published", 1), ("tested", 2),
    ]  # fmt: skip
    unchanged = stretches[-2]
    assert (unchanged.seq, unchanged.content_hash, unchanged.triggers) == (4, hashed("A"), ("schedule",))
    assert unchanged.first_at < unchanged.at
    assert unchanged.first_number < unchanged.number
    assert shown(told(fleet, one.device, limit=2)) == [("published", 1), ("tested", 2)]
    later = fleet.value("SELECT claimed_at FROM collection WHERE device_id = :d AND seq = 3", d=one.device)
    assert shown(told(fleet, one.device, since=later))[:2] == [("unchanged", 2), ("device_timeout", 2)]


def test_lines_say_the_same_after_old_runs_were_taken_away(fleet: Fleet) -> None:
    """How many, from when until when, and what came of them; also cut in the midst of what is gone."""
    histories = [History("AAAAAAfffffABBBBBwwwwtttt", 25), History("AAAAAAAAAA", 7, frozenset({4}))]
    made = build(fleet, histories)
    before = [told(fleet, one.device) for one in made]
    assert compact(fleet) > 0
    assert [told(fleet, one.device) for one in made] == before
    since = fleet.value("SELECT claimed_at FROM collection WHERE device_id = :d AND seq = 6", d=made[0].device)
    assert shown(told(fleet, made[0].device, since=since))[0] == ("unchanged", 1)


@pytest.mark.parametrize("forced", [False, True])
def test_one_attempt_is_told_with_all_that_is_known(fleet: Fleet, *, forced: bool) -> None:
    """Who asked, how long it waited, by which way, with whose login, and what came of it."""
    fleet.workers(collect=2)
    hop = fleet.jump_host(name="hop-1")
    device = fleet.device(due=timedelta(hours=1), jump_host_id=hop)
    for _ in range(2):
        fleet.sql(
            "INSERT INTO request (tenant_id, device_id, forced, requested_by) VALUES (:t, :d, :f, 'cli:me')",
            t=fleet.tenant, d=device, f=forced,
        )  # fmt: skip
    claimed = fleet.claims.claim(LIMITS)
    assert claimed
    running: Any = fleet.collections.start(claimed.new[0].collection_id, "holder")
    fleet.collections.pin(running, KEY)
    assert fleet.collections.login_allowed(running, KEY)
    assert fleet.collections.publish(running, published("A"))
    fleet.observations.store([message(running, "A")])
    one = Attempts(fleet.engine("reader")).attempt(fleet.tenant, running.collection_id)
    assert (one.trigger, one.result, one.content_hash) == ("forced" if forced else "manual", "changed", hashed("A"))
    assert (one.jump_host, one.login, one.login_on, one.emits) == ("hop-1", "its own", "current", 1)
    assert one.login_sent_at is not None
    assert None not in (one.waited, one.session)
    assert (one.raw_bytes, one.command, one.exit_status, one.end_mark) == (100, "/export", 0, "untried")
    assert [(wish.by, wish.answer, wish.forced) for wish in one.wishes] == [
        ("cli:me", "claimed", forced), ("cli:me", "attached", forced),
    ]  # fmt: skip


def test_a_failure_is_told_with_its_reason(fleet: Fleet) -> None:
    """And what never was has no time, no login and no way."""
    running = fleet.running()
    assert fleet.collections.end(running, Ending(State.FAILED, "device_timeout", "after 60 s"))
    one = Attempts(fleet.engine("reader")).attempt(fleet.tenant, running.collection_id)
    assert (one.result, one.code, one.detail, one.login, one.jump_host, one.wishes) == (
        "failed", "device_timeout", "after 60 s", None, None, (),
    )  # fmt: skip


def test_nobody_sees_what_another_tenant_tried(fleet: Fleet) -> None:
    """Not by its number either (I11)."""
    running = fleet.running()
    store = Attempts(fleet.engine("reader"))
    for tenant, number in ((TenantId(uuid4()), running.collection_id), (fleet.tenant, CollectionId(0))):
        with pytest.raises(NotFound):
            store.attempt(tenant, number)
    with pytest.raises(NotFound):
        store.stretches(TenantId(uuid4()), fleet.row("device", running.device_id).name, None, 5)


def test_many_revisions_of_one_device_are_found_by_their_index(fleet: Fleet) -> None:
    """20,000 of one: what is read is what is of this device, once for all lines."""
    (one,) = build(fleet, [History("A", 0)])
    fleet.sql(MANY_ROWS, d=one.device, n=MANY, facts=json.dumps({"markers": ["x" * 200], "secrets": "shown"}))
    fleet.sql("ANALYZE collection")
    assert len(told(fleet, one.device)) == 50
    assert sum(stretch.count for stretch in told(fleet, one.device, 100_000)) == MANY
    with fleet.engine("reader").begin() as tx:
        tx.execute(text("SET LOCAL enable_seqscan = off"))  # or it reads the whole of a table that is of one device
        explain = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {attempts.STRETCHES.text}")
        values: dict[str, Any] = {"device": one.device, "since": None, "limit": 50, "routers": []}
        plan = json.dumps(tx.execute(explain, values).scalar())
    assert plan.count('"Index Name": "uq_collection_device_id_seq"') >= 2
    assert '"Seq Scan"' not in plan
