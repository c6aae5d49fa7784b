"""The install in figures, on a real PostgreSQL as the role `scheduler`: the same numbers that `status` gives."""
# ruff: noqa: S608 - the statements are put together of our own constants

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from backupflow.adapters.db.gauges import Gauges
from backupflow.adapters.db.status import Statuses
from backupflow.core.figures import LaneFigures
from backupflow.core.model import Lane
from backupflow.core.verdict import Count, Level, tally
from backupflow.errors import StoreUnavailable
from tests.integration.db.fleet import LIMITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.figures import Figures
    from backupflow.core.verdict import Tally
    from tests.conftest import Size
    from tests.integration.db.fleet import Fleet

MANY = {"small": 400, "soak": 5_000}


def look(fleet: Fleet, *, devices: bool = False) -> Figures:
    """As beat does it."""
    return Gauges(fleet.engine("scheduler"), fleet.policy, LIMITS).look(devices=devices)


def told(fleet: Fleet) -> Tally:
    """As `status` counts."""
    overview = Statuses(fleet.engine("reader"), fleet.policy).overview()
    return tally(overview.devices, overview.now)


def around(dice: random.Random, *, likely: float) -> str:
    """SQL: a time near a border of what is late, fresh or held; null as a rule."""
    if dice.random() > likely:
        return "NULL"
    return f"now() + interval '{dice.choice((-500, -390, -365, -100, -40, -20, -5, 1, 30, 119, 200))} minutes'"


def one_of(ids: Sequence[str], dice: random.Random, *, likely: float) -> str:
    """SQL: one of these, or null."""
    return f"'{dice.choice(ids)}'" if dice.random() < likely else "NULL"


def scopes(fleet: Fleet) -> dict[str, list[str]]:
    """Sites, groups, logins, jump hosts and tenants as they come."""
    other = fleet.value("INSERT INTO tenant (name) VALUES ('keyless') RETURNING id")
    sites = fleet.sql(
        """
        INSERT INTO site (tenant_id, name, down_since, maintenance_until, settings) VALUES (:t, 'a', NULL, NULL, '{}'),
        (:t, 'down', now(), NULL, '{"interval_seconds": 1200}'),
        (:t, 'worked on', NULL, now() + interval '1 h', '{}'),
        (:t, 'was worked on', NULL, now() - interval '30 min', '{"cron": "0 */3 * * *"}') RETURNING id""",
        t=fleet.tenant,
    )
    suspended, refused, rotated = (fleet.login(name=name) for name in ("suspended", "refused", "rotated"))
    fleet.sql("UPDATE credential_profile SET suspended_at = now(), suspended_reason = 'x' WHERE id = :p", p=suspended)
    fleet.sql("UPDATE credential_profile SET suspended_at = now(), trial_at = now() WHERE id = :p", p=refused)
    fleet.sql(
        "UPDATE credential_profile SET next_username = 'u', next_method = 'password', next_sealed = sealed, "
        "next_changed_at = now() WHERE id = :p",
        p=rotated,
    )
    hops = [
        fleet.jump_host(),
        fleet.jump_host(failures=3, down_since="yesterday", retry_at="tomorrow"),
        fleet.jump_host(blocked_code="host_key_mismatch"),
        fleet.jump_host(login=False),
        fleet.jump_host(retry_at="now"),
    ]
    return {
        "site": [str(row.id) for row in sites],
        "login": [str(fleet.login(name="good")), str(suspended), str(refused), str(rotated)],
        "hop": [str(hop) for hop in hops],
        "tenant": [str(fleet.tenant), str(other)],
    }


def scatter(fleet: Fleet, count: int, dice: random.Random) -> None:
    """Devices of every kind, most of them with something that a verdict depends on."""
    at = scopes(fleet)
    for number in range(count):
        keyless = dice.random() < 0.02
        tenant = at["tenant"][keyless]
        columns: dict[str, Any] = {
            "name": f"'r-{number}'",
            "host": f"'h-{number}'",
            "tenant_id": f"'{tenant}'",
            "status": "'" + dice.choice(["active"] * 18 + ["paused", "removed"]) + "'",
            "blocked_code": dice.choice(["NULL"] * 18 + ["'host_key_mismatch'", "'authentication_failed'"]),
            "site_id": one_of(at["site"], dice, likely=0 if keyless else 0.4),
            "credential_profile_id": one_of(at["login"], dice, likely=0 if keyless else 0.93),
            "jump_host_id": one_of(at["hop"], dice, likely=0 if keyless else 0.3),
            "settings": dice.choice(
                ["'{}'"] * 4 + ["""'{"interval_seconds": 86400}'""", """'{"cron": "*/30 * * * *", "max_bytes": 9}'"""]
            ),
            "next_due_at": around(dice, likely=0.9),
            "maintenance_until": around(dice, likely=0.1),
            "unreachable_since": around(dice, likely=0.1),
            "offline_since": around(dice, likely=0.05),
            "hold_until": around(dice, likely=0.3),
            "refused_on": dice.choice(["NULL", "NULL", "'current'", "'next'"]),
            "login_on": dice.choice(["'current'", "'next'"]),
            "last_seq": "3",
            "unreadable_to_seq": dice.choice(["0"] * 9 + ["1"]),
        }
        columns["via_id"] = columns["jump_host_id"]
        names, values = ", ".join(columns), ", ".join(columns.values())
        device = fleet.value(f"INSERT INTO device ({names}) VALUES ({values}) RETURNING id")
        history(fleet, device, tenant, dice)


def history(fleet: Fleet, device: object, tenant: str, dice: random.Random) -> None:
    """Perhaps a current observation, perhaps something after it, perhaps a test that observes nothing."""
    if dice.random() < 0.7:
        fleet.sql(
            f"""WITH made AS (
                INSERT INTO content (tenant_id, device_id, normalization_version, content_hash, sealed, raw_bytes,
                    first_seq) VALUES (:t, :d, 1, 'x', 'vault:v1:x', 1, 1) RETURNING id),
            seen AS (
                INSERT INTO collection (tenant_id, device_id, seq, trigger, lane, state, started_at, collected_at,
                    digest, content_id, is_change)
                SELECT :t, :d, 1, 'schedule', 'collect', 'stored', at, at, 'd', id, true
                FROM made, (SELECT coalesce({around(dice, likely=0.9)}, now()) AS at) times RETURNING id)
            SELECT id FROM seen""",
            t=tenant,
            d=device,
        )
        fleet.sql(
            "UPDATE device SET current_seq = 1, current_collection_id = "
            "(SELECT id FROM collection WHERE device_id = :d) WHERE id = :d",
            d=device,
        )
    for seq, trigger in ((2, "schedule"), (3, "test")):
        if dice.random() < 0.6:
            state, code = dice.choice(
                [
                    ("claimed", None),
                    ("running", None),
                    ("published", None),
                    ("withdrawn", "paused"),
                    ("lost", "lease_lost"),
                    ("failed", "device_timeout"),
                    ("failed", "jump_host_unreachable"),
                    ("failed", "authentication_failed"),
                    ("blocked", "authentication_failed"),
                    ("suspect", "export_suspect"),
                ]
            )
            state = "tested" if seq == 3 and state in {"claimed", "running"} else state
            fleet.sql(
                "INSERT INTO collection (tenant_id, device_id, seq, trigger, lane, state, code, claimed_at, holder, "
                f"lease_until) VALUES (:t, :d, :s, :trigger, 'collect', :state, :code, "
                f"coalesce({around(dice, likely=0.8)}, now()), 'h', now())",
                t=tenant,
                d=device,
                s=seq,
                trigger=trigger,
                state=state,
                code=code,
            )


def test_devices_are_counted_as_status_counts_them(fleet: Fleet, size: Size) -> None:
    """PostgreSQL counts what core.verdict says of each device, whatever there is about it."""
    scatter(fleet, MANY[size], random.Random(20))
    expected, found = told(fleet), look(fleet, devices=True)
    assert {what: n for what, n in found.counted.items() if n} == {w: n for w, n in expected.counts.items() if n}
    assert (sum(found.counted.values()), found.wanted) == (expected.total, expected.wanted)
    assert min(expected.counts.get(what, 0) for what in Count) > 0, expected.counts
    each = Statuses(fleet.engine("reader"), fleet.policy).overview().devices
    single = {one.device: one.current_at for one in found.devices}
    assert single == {one.name: one.current_at for one in each if one.status != "removed"}
    blocked = [row.blocked_code for row in fleet.sql("SELECT * FROM device WHERE status = 'active'")]
    assert found.blocked == {code: blocked.count(code) for code in sorted({code for code in blocked if code})}
    assert {**look(fleet).counted} == {**found.counted}
    assert look(fleet).blocked == found.blocked
    assert look(fleet).devices == ()


def test_what_waits_works_and_stands_is_told(fleet: Fleet) -> None:
    """Each figure counts its own rows, and not those beside them."""
    fleet.workers(collect=10, collect_slow=2)
    fleet.workers(collect=7, age=timedelta(minutes=1))  # dead
    fleet.workers(collect=7, age=timedelta(days=2))  # and forgotten
    fleet.jump_host(blocked_code="host_key_mismatch")
    profiles = [fleet.login(name=name) for name in "abc"]
    fleet.sql("UPDATE credential_profile SET suspended_at = now() WHERE id = ANY(:p)", p=profiles)
    fleet.sql("UPDATE credential_profile SET trial_at = now() WHERE id = :p", p=profiles[0])
    stored = fleet.passed("a")
    fleet.observations.store([stored])
    fleet.passed("b")
    fleet.running()
    fleet.sql("UPDATE device SET next_due_at = now() + interval '1 hour'")
    fleet.sql("INSERT INTO outbox (kind, key, created_at) VALUES ('changed', 'k', now() - interval '9 s')")
    fleet.sql(
        "INSERT INTO event (id, kind, code, place, body, sent_at) SELECT gen_random_uuid(), 'down', 'x', '', '{}', at "
        "FROM (VALUES (now()), (NULL), (NULL)) AS times (at)"
    )
    fleet.device()
    fleet.claims.claim(LIMITS)
    fleet.sql("INSERT INTO site (tenant_id, name, down_since) VALUES (:t, 'a', now()), (:t, 'b', NULL)", t=fleet.tenant)
    found = look(fleet)
    assert found.lanes == {Lane.NORMAL: LaneFigures(10, 30, 1, 1), Lane.SLOW: LaneFigures(2, 6, 0, 0)}
    assert sorted((one.kind, one.alive) for one in found.processes) == [("collector", False), ("collector", True)]
    assert max(one.age for one in found.processes) >= timedelta(minutes=1)
    assert (found.sites_down, found.jump_hosts_in_trouble, found.logins_refused, found.logins_suspended) == (1, 1, 1, 2)
    assert (found.published.count, found.uninterpreted.count, found.untold.count, found.unsent) == (1, 1, 1, 2)
    assert found.untold.oldest is not None
    assert timedelta(seconds=9) <= found.untold.oldest < timedelta(minutes=5)


def test_alarms_are_told_by_code_and_by_whom_they_are_about(fleet: Fleet) -> None:
    """Thirty routers that are down call nobody; a vault that is, does. What is cleared is no alarm."""
    fleet.sql(
        "INSERT INTO alarm (code, scope, cleared_at) VALUES ('device_down', 'device 1', NULL), "
        "('device_down', 'device 2', NULL), ('device_down', 'device 3', now()), "
        "('vault_unavailable', 'claiming', NULL), ('snapshot_damaged', 'device 2', NULL)"
    )
    found = look(fleet)
    assert {(one.code, one.count, one.level(found.now)) for one in found.alarms} == {
        ("device_down", 2, Level.OK),
        ("vault_unavailable", 1, Level.CRITICAL),
        ("snapshot_damaged", 1, Level.CRITICAL),
    }
    assert found.servers == {"vault": False, "bus": True, "broker": True, "db": True}


def test_what_is_kept_elsewhere_is_told_by_its_age(fleet: Fleet) -> None:
    """The newest backup of the system; of all escrows the one that is furthest behind; nothing where there is none."""
    found = look(fleet)
    assert (found.backup_ago, found.escrow_ago, found.escrow_tenants) == (None, None, 0)
    fleet.sql(
        "INSERT INTO system_backup (made_at, made_by, revision, bytes) VALUES "
        "(now() - interval '9 days', 'me', '1', 1), (now() - interval '2 days', 'me', '1', 1), "
        "(now() + interval '70 years', 'a clock that ran ahead', '1', 1)"
    )
    second = fleet.value("INSERT INTO tenant (name) VALUES ('second') RETURNING id")
    gone = fleet.value("INSERT INTO tenant (name, removed_at) VALUES ('gone', now()) RETURNING id")
    for tenant, ago in ((fleet.tenant, 1), (second, 3), (gone, 9)):
        fleet.sql(
            "INSERT INTO escrow (tenant_id, recipients, enabled_by, enabled_at, filed_at) "
            "VALUES (:t, ARRAY['age1'], 'me', now() - interval '20 days', now() - :ago * interval '1 day')",
            t=tenant,
            ago=ago,
        )
    fleet.sql("UPDATE job SET completed_at = now() - interval '7 minutes'")
    found = look(fleet)
    assert found.backup_ago is not None
    assert found.escrow_ago is not None
    assert (found.backup_ago.days, found.escrow_ago.days, found.escrow_tenants) == (2, 3, 2)
    job = found.jobs["reconcile"]
    assert job.every == timedelta(minutes=5)
    assert job.done_ago is not None
    assert timedelta(minutes=7) <= job.done_ago < timedelta(minutes=9)


def test_it_changes_nothing_and_waits_for_nobody(fleet: Fleet) -> None:
    """A slow question must hold no lock that a claim waits for, and be given up when it takes too long."""
    fleet.device()
    fleet.workers(collect=1)
    with fleet.admin.begin() as tx:
        tx.execute(text("SELECT 1 FROM device FOR UPDATE"))
        assert look(fleet).counted[Count.WAITING] == 1
    with fleet.admin.begin() as tx:
        tx.execute(text("LOCK TABLE device IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(StoreUnavailable):
            Gauges(fleet.engine("scheduler"), fleet.policy, LIMITS, at_most=timedelta(milliseconds=200)).look()
