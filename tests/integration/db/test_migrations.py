"""From one revision to the next with data in it, and back: nothing that was there is lost or altered."""
# ruff: noqa: S608 - the statements are put together of our own constants

from __future__ import annotations

import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest
from alembic import command
from alembic.runtime.migration import MigrationContext
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from backupflow.adapters.db import migrate, schema
from backupflow.adapters.db.roles import ROLES, make_roles
from backupflow.core.ledger import Assignment
from backupflow.core.model import CollectionId, DeviceId
from backupflow.errors import Conflict, SchemaOutdated
from backupflow.wiring import shipped
from tests.integration.db.fleet import KEY, Fleet, message, published, seen
from tests.integration.db.invariants import check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from backupflow.embedded import Servers

HASH = b"h" * 32
NEW = {
    "device": [
        "router_since_seq",
        "end_mark",
        "believe_seq",
        "modern_ssh_at",
        "unreadable_to_seq",
        "unhashed_to_seq",
        "history_verified_at",
        "jump_direct",
        "via_id",
        "source",
        "paused_reason",
        "maintenance_until",
        "answered_at",
        "unreachable_since",
        "probed_at",
        "offline_since",
        "met_at",
        "hold_until",
        "wary_until",
        "login_on",
        "refused_on",
        "refused_at",
        "login_since",
        "compacted_to_seq",
        "compacted_at",
        "flapping_since",
    ],
    "tenant": ["credential_profile_id", "jump_host_id", "maintenance_until", "shredded_at"],
    "site": ["maintenance_until", "down_since", "probe_at", "probes"],
    "device_group": ["jump_direct", "maintenance_until"],
    "credential_profile": [
        "settings",
        "next_username",
        "next_method",
        "next_sealed",
        "next_changed_at",
        "trial_at",
        "trials",
        "proved_at",
    ],
    "host_key": ["trusted_how", "trusted_by", "trusted_at"],
    "request": ["kind", "forced"],
    "collection": [
        "shape_hash",
        "masked_hash",
        "report",
        "login_id",
        "login_on",
        "login_sent_at",
        "via_id",
        "compacted",
        "interpret_tries",
        "interpret_until",
        "log_sealed",
    ],
    "process": ["queues", "worked_at"],
    "transit_key": ["marked_at", "oldest_version"],
    "content": ["verified_at", "next_version", "next_hash", "next_shape_hash", "next_masked_hash"],
    "event": ["device_id", "sealed"],
    "job": ["completed_at", "created_at"],
    "outbox": ["key", "alarm_id", "due_at", "event_id", "device_id", "sealed"],
    "quarantine": ["device_id", "released_at", "released_by"],
}
NEW_TABLES = {
    "alembic_version", "aside", "queue_canary", "job", "expected_key", "event", "interpretation", "ignore_rule",
    "system_backup", "escrow",
}  # fmt: skip
NEWEST = "0007"
WAITS = """
    SELECT EXISTS (SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
        WHERE NOT granted AND mode = 'AccessExclusiveLock' AND datname = current_database())"""


def to(fleet: Fleet, revision: str) -> None:
    """Migrate to a revision, as the migrator."""
    with fleet.engine("migrator").begin() as tx:
        config = migrate._config(shipped("alembic"), tx)
        there = MigrationContext.configure(tx).get_current_revision() or ""
        (command.upgrade if there < revision else command.downgrade)(config, revision)


@pytest.fixture
def first(servers: Servers, postgres_roles: Path) -> Iterator[Fleet]:
    """A database at the first revision."""
    name, address = f"old_{secrets.token_hex(4)}", servers.addresses.postgres
    assert address
    password = servers.secret_path("admin.postgres").read_text(encoding="utf-8").strip()
    login = psycopg.conninfo.make_conninfo(host=address.host, port=address.port, dbname="postgres", user="admin")
    passwords = {role: (postgres_roles / f"{role}.postgres").read_text(encoding="utf-8") for role in ROLES}
    with psycopg.connect(login, password=password, autocommit=True) as admin:
        make_roles(admin, name, passwords)
        made = Fleet(f"postgresql://{address}/{name}", postgres_roles, password)
        try:
            to(made, "0001")
            yield made
        finally:
            made.close()
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def fill(fleet: Fleet) -> UUID:
    """A device as the first revision knew it: a history, a claim, a pinned key, a login, an alarm, an act."""
    device = fleet.device(remembered_command="/export", last_seq=4, due=None)
    ids: dict[str, Any] = {"t": fleet.tenant, "d": device}
    fleet.sql(
        "INSERT INTO host_key (tenant_id, device_id, status, key_type, blob, fingerprint) "
        "VALUES (:t, :d, 'pinned', :type, :blob, :fingerprint)",
        **ids, type=KEY.key_type, blob=KEY.blob, fingerprint=KEY.fingerprint,
    )  # fmt: skip
    content = fleet.value(
        "INSERT INTO content (tenant_id, device_id, normalization_version, content_hash, sealed, raw_bytes, first_seq) "
        "VALUES (:t, :d, 0, :h, 'vault:v1:AAAA', 7, 1) RETURNING id", **ids, h=HASH,
    )  # fmt: skip
    rows = {"stored": 1, "suspect": 2, "published": 3, "claimed": 4}
    for state, seq in rows.items():
        fleet.sql(
            "INSERT INTO collection (tenant_id, device_id, seq, trigger, lane, state, collected_at, content_hash, "
            "digest, normalization_version, raw_bytes, facts, content_id, is_change) VALUES (:t, :d, :seq, 'schedule', "
            "'collect', :state, now(), :h, :h, 0, 7, CAST(:facts AS jsonb), :content, :change)",
            **ids, seq=seq, state=state, h=HASH, facts=json.dumps({"version": "6.49", "serial": "S1"}),
            content=content if state == "stored" else None, change=True if state == "stored" else None,
        )  # fmt: skip
    fleet.sql("UPDATE device SET current_seq = 1, current_collection_id = (SELECT id FROM collection WHERE seq = 1)")
    fleet.sql("INSERT INTO alarm (tenant_id, code, scope) VALUES (:t, 'unexpected', 'x')", t=fleet.tenant)
    fleet.sql("INSERT INTO audit (tenant_id, actor, action) VALUES (:t, 'me', 'device_added')", t=fleet.tenant)
    return device


def everything(fleet: Fleet) -> dict[str, list[Any]]:
    """All rows of all tables that the first revision had, without what was added since."""
    tables = fleet.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
    return {
        row.tablename: [
            {name: value for name, value in found[0].items() if name not in NEW.get(row.tablename, ())}
            for found in fleet.sql(f"SELECT to_jsonb(x) FROM {row.tablename} x ORDER BY to_jsonb(x)::text")
        ]
        for row in tables
        if row.tablename
        not in {"alembic_version", "aside", "queue_canary", "job", "expected_key", "event", *NEW_TABLES}
    }


def test_nothing_is_lost_on_the_way_up_and_down(first: Fleet) -> None:
    """Every row of before is there as it was, after the upgrade, after going back, and after the next upgrade."""
    fill(first)
    before = everything(first)
    assert {name for name, rows in before.items() if rows} >= {"device", "collection", "content", "host_key", "audit"}
    for revision in (NEWEST, "0006", "0005", "0004", "0003", "0002", "0001", NEWEST):
        to(first, revision)
        there = everything(first)
        order = {name: sorted(map(str, rows)) for name, rows in there.items()}
        assert order == {name: sorted(map(str, rows)) for name, rows in before.items()}, revision
    migrate.check(first.engine("migrator"), shipped("alembic"))
    assert schema.require_current(first.engine("reader"), shipped("alembic")) == NEWEST


def test_a_device_of_before_is_collected_on(first: Fleet) -> None:
    """The claim of before is started, compared by its serial number, believed; from the next one on all is compared."""
    device = DeviceId(fill(first))
    to(first, NEWEST)
    claim = CollectionId(first.value("SELECT id FROM collection WHERE state = 'claimed'"))
    started = first.collections.start(claim, f"h-{uuid4()}")
    assert isinstance(started, Assignment)
    assert started.known.before is not None
    assert (started.known.before.known_serial, started.known.before.size) == ("S1", 0)
    assert (started.known.aside, started.known.believes, started.end_mark) == (None, False, "untried")
    assert started.target.spoke_modern is False
    assert first.collections.publish(started, published("A"))
    assert [one.acceptable for one in first.observations.store([message(started, "A")])] == [True]
    assert first.running(device).known.before == seen("A")
    first.sql("UPDATE collection SET state = 'lost' WHERE state = 'published'")
    rows = {row.seq: row for row in first.sql("SELECT * FROM collection")}
    assert (rows[1].is_change, rows[4].is_change, first.row("device", device).current_seq) == (True, None, 4)


def test_what_was_kept_aside_goes_with_its_table(first: Fleet) -> None:
    """Back at the first revision its row says what it was; up again there is room for others."""
    to(first, NEWEST)
    first.doubted("A")
    to(first, "0001")
    assert [row.state for row in first.sql("SELECT state FROM collection")] == ["suspect"]
    to(first, NEWEST)
    assert first.value("SELECT count(*) FROM aside") == 0
    first.doubted("B")
    assert first.value("SELECT count(*) FROM aside") == 1
    first.sql("UPDATE collection SET facts = NULL WHERE shape_hash IS NULL")
    check(first)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        (
            "INSERT INTO expected_key (tenant_id, device_id, fingerprint, how, added_by) "  # noqa: ISC004 - of a pair
            "VALUES (:t, :d, 'SHA256:x', 'import', 'me')",
            "host keys are expected",
        ),
        ('UPDATE credential_profile SET settings = \'{"trust": "manual"}\'', "credential profiles have settings"),
        ("UPDATE device SET jump_direct = true", "devices are reached without"),
        ("INSERT INTO request (tenant_id, device_id, kind, requested_by) VALUES (:t, :d, 'scan', 'me')", "asked for"),
        ("UPDATE collection SET trigger = 'test' WHERE state = 'claimed'", "tests and scans run"),
        ("UPDATE collection SET trigger = 'trial' WHERE state = 'claimed'", "probes, trials and forced"),
        ("UPDATE credential_profile SET suspended_at = now(), trial_at = now()", "many devices refused"),
        ('UPDATE device SET settings = \'{"cron": "0 2 * * *"}\'', "a device has a timetable"),
        ("UPDATE tenant SET maintenance_until = now() + interval '1 hour'", "a tenant is in maintenance"),
        (
            "INSERT INTO ignore_rule (tenant_id, component, property, added_by) "  # noqa: ISC004 - of a pair
            "VALUES (:t, 'system/note', 'note', 'me')",
            "rules of what is ignored",
        ),
        ("UPDATE tenant SET settings = '{\"who\": true}'", "who changed them"),
    ],
)
def test_nobody_goes_back_from_what_the_version_before_cannot_say(first: Fleet, statement: str, says: str) -> None:
    """A key that was not to be trusted would be pinned there: all stays as it is, with a word."""
    device = fill(first)
    to(first, NEWEST)
    ids = {name: value for name, value in {"t": first.tenant, "d": device}.items() if f":{name}," in statement}
    first.sql(statement, **ids)
    with pytest.raises(DBAPIError, match=says):
        to(first, "0003")
    assert schema.require_current(first.engine("reader"), shipped("alembic")) == NEWEST


def test_what_is_over_keeps_nobody_from_going_back(first: Fleet) -> None:
    """Requests that were refused once, or a maintenance that is over, would else keep everybody here for good."""
    device = fill(first)
    to(first, NEWEST)
    for kind, forced in (("backup", True), ("test", False)):
        first.sql(
            "INSERT INTO request (tenant_id, device_id, kind, forced, requested_by, answered_at, answer) "
            "VALUES (:t, :d, :kind, :forced, 'me', now(), 'refused: paused')",
            t=first.tenant, d=device, kind=kind, forced=forced,
        )  # fmt: skip
    first.sql("UPDATE tenant SET maintenance_until = now() - interval '1 hour'")
    first.sql(
        "UPDATE device SET status = 'removed', next_due_at = NULL, maintenance_until = now() + interval '1 hour', "
        'settings = \'{"cron": "0 2 * * *"}\''
    )
    to(first, "0003")


@contextmanager
def at_work(fleet: Fleet) -> Iterator[Connection]:
    """A process of the version before that is about to end a session: it has the device, and will want its tenant."""
    with fleet.engine("collector").begin() as tx:
        tx.execute(text("UPDATE device SET failures = failures + 1"))
        yield tx


def wants_more(tx: Connection) -> None:
    """The tenant, by a foreign key, and a table that comes before the device."""
    tx.execute(text("INSERT INTO alarm (tenant_id, code, scope) SELECT id, 'unexpected', 'y' FROM tenant"))


def test_who_is_at_work_is_waited_for_and_never_ended(first: Fleet) -> None:
    """Who altered table by table would hold the tenant and wait for the device: one of both would be ended for it."""
    fill(first)
    to(first, "0004")
    with ThreadPoolExecutor(1) as pool, at_work(first) as tx:
        migration = pool.submit(migrate.upgrade, first.engine("migrator"), shipped("alembic"))
        end = time.monotonic() + 60
        while not first.value(WAITS) and time.monotonic() < end:
            time.sleep(0.02)
        wants_more(tx)
        tx.commit()
        assert migration.result(60) == NEWEST
    assert first.value("SELECT failures FROM device") == 1
    assert first.alarms() == [("unexpected", "x"), ("unexpected", "y")]


def test_who_stays_at_work_leaves_the_schema_as_it_is(first: Fleet) -> None:
    """One line says what to do, and nothing is half done."""
    fill(first)
    to(first, "0004")
    with at_work(first) as tx:
        with pytest.raises(Conflict, match="stop them, and run `migrate` again"):
            migrate.upgrade(first.engine("migrator"), shipped("alembic"), timedelta(0))
        wants_more(tx)
    with pytest.raises(SchemaOutdated, match="database 0004"):
        schema.require_current(first.engine("reader"), shipped("alembic"))
    assert migrate.upgrade(first.engine("migrator"), shipped("alembic")) == NEWEST
    with at_work(first):  # what is there already needs no locks
        assert migrate.upgrade(first.engine("migrator"), shipped("alembic"), timedelta(0)) == NEWEST
