"""The audit on a real PostgreSQL: nobody takes a row out, changes one, or forks the chain (I12)."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from backupflow.adapters.db.migrate import check
from backupflow.adapters.db.roles import ROLES
from backupflow.wiring import shipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row

    from tests.integration.db.fleet import Fleet

INSERT = """
    INSERT INTO audit (actor, action, tenant_id, device_id, detail)
    VALUES (:actor, :action, :tenant, :device, CAST(:detail AS jsonb))"""
WRITERS = ("enroller", "reader", "operator")
# What a row's digest is made of, apart from the digest of the row before.
TEXTS = """
    SELECT id, actor, previous, digest, jsonb_build_array(
        id, extract(epoch FROM at), tenant_id, actor, action, device_id, detail)::text AS said
    FROM audit ORDER BY id"""


def act(fleet: Fleet, role: str, action: str = "device_paused", detail: str = '{"why": "tëst \\u2028 \\\\"}') -> None:
    """One audited act of a role."""
    values = {"actor": f"me as {role}", "action": action, "tenant": uuid4(), "device": uuid4(), "detail": detail}
    with fleet.engine(role).begin() as tx:
        tx.execute(text(INSERT), values)


def broken(rows: Sequence[Row[Any]]) -> list[int]:
    """The rows whose digest does not follow from the row before and from themselves."""
    wrong, previous = [], b""
    for row in rows:
        digest = hashlib.sha256(previous + row.said.encode()).digest()
        if (bytes(row.previous), bytes(row.digest)) != (previous, digest):
            wrong.append(row.id)
        previous = bytes(row.digest)
    return wrong


def test_each_row_seals_the_one_before(fleet: Fleet) -> None:
    """The chain can be checked by anyone who may read, and begins with nothing."""
    for role in WRITERS * 3:
        act(fleet, role)
    with fleet.engine("reader").begin() as tx:
        rows = tx.execute(text(TEXTS)).all()
    assert len(rows) == 9
    assert broken(rows) == []
    assert [row.actor for row in rows] == [f"me as {role}" for role in WRITERS * 3]


@pytest.mark.parametrize("column", ["id", "at", "previous", "digest"])
def test_nobody_chooses_his_place_in_the_chain(fleet: Fleet, column: str) -> None:
    """Number, time and digests are the database's, whatever an insert says."""
    act(fleet, "operator")
    forged = {"id": "1", "at": "now() - interval '1 year'", "previous": "'x'", "digest": "'x'"}[column]
    override = "OVERRIDING SYSTEM VALUE" if column == "id" else ""
    statement = f"INSERT INTO audit (actor, action, {column}) {override} VALUES ('me', 'forged', {forged})"  # noqa: S608
    with fleet.engine("operator").begin() as tx:
        tx.execute(text(statement))
    act(fleet, "operator")
    rows = fleet.sql(TEXTS)
    assert len(rows) == 3
    assert broken(rows) == []
    assert fleet.value("SELECT count(*) FROM audit WHERE at < now() - interval '1 day'") == 0


@pytest.mark.parametrize("role", [*ROLES, "admin"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'nobody'",
        "UPDATE audit SET digest = digest",
        "DELETE FROM audit",
        "TRUNCATE audit",
    ],
)
def test_nobody_rewrites_the_audit(fleet: Fleet, role: str, statement: str) -> None:
    """By right or by trigger, the table's owner and the superuser too (who must switch the trigger off first)."""
    act(fleet, "operator")
    before = fleet.sql(TEXTS)
    engine = fleet.admin if role == "admin" else fleet.engine(role)
    with pytest.raises(DBAPIError, match=r"append-only|permission denied"), engine.begin() as tx:
        tx.execute(text(statement))
    assert fleet.sql(TEXTS) == before


@pytest.mark.parametrize(
    ("tampering", "found"),
    [
        ("UPDATE audit SET actor = 'nobody' WHERE id = :middle", 1),
        ("UPDATE audit SET at = at - interval '1 microsecond' WHERE id = :middle", 1),
        ("UPDATE audit SET detail = '{}' WHERE id = :middle", 1),
        ("DELETE FROM audit WHERE id = :middle", 1),
        ("DELETE FROM audit WHERE id < :middle", 1),
    ],
    ids=["actor", "time", "detail", "taken-out", "beginning-cut-off"],
)
def test_tampering_breaks_the_chain(fleet: Fleet, tampering: str, found: int) -> None:
    """Whoever can switch triggers off can change rows, but not without it being seen."""
    for _ in range(5):
        act(fleet, "operator")
    rows = fleet.sql(TEXTS)
    with fleet.admin.begin() as tx:
        tx.execute(text("SET LOCAL session_replication_role = replica"))
        tx.execute(text(tampering), {"middle": rows[2].id})
    assert len(broken(fleet.sql(TEXTS))) == found


def test_writers_at_once_keep_one_chain(fleet: Fleet) -> None:
    """Each waits for the one before to commit: no two rows seal the same one."""
    with ThreadPoolExecutor(9) as pool:
        for future in [pool.submit(act, fleet, role) for role in WRITERS * 12]:
            future.result()
    rows = fleet.sql(TEXTS)
    assert len(rows) == 36
    assert broken(rows) == []
    assert len({bytes(row.previous) for row in rows}) == 36


def test_an_act_that_is_undone_leaves_no_gap_in_the_chain(fleet: Fleet) -> None:
    """The row is of the act's transaction: rolled back, it never was."""
    act(fleet, "operator")
    with fleet.engine("operator").connect() as connection:
        values = {"actor": "me", "action": "undone", "tenant": None, "device": None, "detail": "{}"}
        connection.execute(text(INSERT), values)
        connection.rollback()
    act(fleet, "operator")
    rows = fleet.sql(TEXTS)
    assert len(rows) == 2
    assert broken(rows) == []


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_an_old_snapshot_cannot_fork_the_chain(fleet: Fleet, isolation: str) -> None:
    """A transaction that cannot see the newest row may not add one after an older."""
    act(fleet, "operator")
    with fleet.engine("operator").connect() as connection:
        old = connection.execution_options(isolation_level=isolation)
        old.execute(text("SELECT 1 FROM audit"))
        act(fleet, "operator")
        values = {"actor": "me", "action": "forked", "tenant": None, "device": None, "detail": "{}"}
        with pytest.raises(DBAPIError, match="READ COMMITTED"):
            old.execute(text(INSERT), values)
        old.rollback()
    assert broken(fleet.sql(TEXTS)) == []


def test_tables_and_migrations_agree(fleet: Fleet) -> None:
    """What tables.py says is what the migrations make."""
    check(fleet.engine("migrator"), shipped("alembic"))
