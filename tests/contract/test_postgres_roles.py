"""The rights of every PostgreSQL role, asked of the real server: what it may do, and that it may do nothing else."""
# ruff: noqa: S608 - the statements are put together of our own constants

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from backupflow.adapters.db.roles import ROLES
from backupflow.adapters.db.tables import metadata
from tests.integration.db.fleet import Fleet, migrated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from backupflow.embedded import Servers

REFUSED = "42501"  # insufficient_privilege
OTHERS = tuple(role for role in ROLES if role != "migrator")
TABLES = [*metadata.tables, "alembic_version"]
SCOPES = "tenant site device_group jump_host"
PROCESS = "alarm process"

# role -> what it may -> tables; `table:a,b` names the only columns. What is not here is refused.
RIGHTS: dict[str, dict[str, str]] = {
    "scheduler": {
        "SELECT": f"{SCOPES} {PROCESS} device collection request job transit_key outbox queue_canary alembic_version "
        "event:due_at,sent_at,given_up_at system_backup escrow "
        "credential_profile:id,tenant_id,device_id,suspended_at,suspended_reason,settings,changed_at,name,trial_at,trials,"
        "next_changed_at",
        "INSERT": f"collection {PROCESS} queue_canary",
        "UPDATE": "process queue_canary "
        "device:next_due_at,anchor_at,last_seq,losses,lane,maintenance_until,offline_since "
        "tenant:maintenance_until device_group:maintenance_until site:maintenance_until,down_since,probe_at,probes "
        "credential_profile:trial_at,trials "
        "request:collection_id,answered_at,answer job:due_at,claimed_at "
        "alarm:cleared_at collection:state,code,detail,emitted_at,emits,ended_at",
        "DELETE": "process",
    },
    "enroller": {
        "SELECT": f"{SCOPES} alarm device collection credential_profile host_key expected_key request transit_key "
        "ignore_rule alembic_version audit:id,digest job:name",
        "INSERT": f"{SCOPES} device credential_profile host_key expected_key request transit_key audit ignore_rule",
        "UPDATE": f"{SCOPES} device credential_profile host_key:status,trusted_how,trusted_by,trusted_at "
        "alarm:cleared_at job:due_at",
        "DELETE": "credential_profile expected_key site device_group jump_host ignore_rule",
    },
    "collector": {
        "SELECT": f"{SCOPES} {PROCESS} device collection credential_profile host_key expected_key queue_canary "
        "alembic_version",
        "INSERT": f"{PROCESS} host_key aside",
        "UPDATE": "process alarm:cleared_at queue_canary:answered_at host_key:status,last_seen_at,last_verified_at "
        "jump_host:failures,down_since,retry_at,blocked_code,blocked_detail,blocked_at,reached_at "
        "device:next_due_at,failures,losses,blocked_code,blocked_detail,blocked_at,remembered_command,lane,"
        "end_mark,modern_ssh_at,answered_at,unreachable_since,probed_at,met_at,hold_until,wary_until,login_on,"
        "refused_on,refused_at,login_since "
        "credential_profile:suspended_at,suspended_reason,trial_at,trials,proved_at "
        "collection:state,code,detail,started_at,holder,lease_until,collected_at,content_hash,digest,shape_hash,"
        "masked_hash,normalization_version,raw_bytes,command,exit_status,facts,report,ended_at,login_id,login_on,"
        "login_sent_at,via_id,log_sealed",
        "DELETE": "process",
    },
    "ingester": {
        "SELECT": f"{PROCESS} device collection content quarantine transit_key queue_canary alembic_version "
        "tenant:id,removed_at",
        "INSERT": f"{PROCESS} content quarantine",
        "UPDATE": "process alarm:cleared_at queue_canary:answered_at quarantine:reason,released_at "
        "device:current_seq,current_collection_id,next_due_at,losses "
        "collection:state,code,stored_at,ended_at,content_id,is_change,interpreted_after_seq,"
        "interpret_tries,interpret_until",
        "DELETE": "process quarantine",
    },
    "interpreter": {
        "SELECT": f"{SCOPES} {PROCESS} device collection content outbox transit_key queue_canary interpretation "
        "ignore_rule alembic_version audit:id,at,action,device_id,detail",
        "INSERT": f"{PROCESS} outbox interpretation",
        "UPDATE": "process alarm:cleared_at queue_canary:answered_at device:lane,flapping_since interpretation "
        "collection:is_change,interpreted_after_seq,interpret_tries,interpret_until",
        "DELETE": "process interpretation",
    },
    "reader": {
        "SELECT": f"{SCOPES} {PROCESS} device collection content host_key request job outbox transit_key quarantine "
        "audit aside expected_key queue_canary event interpretation ignore_rule system_backup escrow alembic_version "
        "credential_profile:id,tenant_id,name,device_id,username,method,suspended_at,suspended_reason,created_at,"
        "settings,changed_at,next_username,next_method,next_changed_at,trial_at,trials,proved_at",
        "INSERT": "audit",
    },
    "operator": {
        "SELECT": f"{SCOPES} {PROCESS} device collection content host_key request job outbox transit_key quarantine "
        "audit aside expected_key queue_canary event interpretation ignore_rule system_backup escrow alembic_version "
        "credential_profile:id,tenant_id,name,device_id,username,method,suspended_at,suspended_reason,created_at,"
        "settings,changed_at,sealed,next_username,next_method,next_changed_at,trial_at,trials,proved_at,next_sealed",
        "INSERT": f"{SCOPES} {PROCESS} device host_key request transit_key audit event escrow",
        "UPDATE": f"{SCOPES} process device collection request job transit_key alarm:cleared_at "
        "outbox:due_at,event_id,sealed interpretation escrow event:sealed,due_at,attempts,failing_since,tried_at,"
        "answer,sent_at,given_up_at "
        "content:sealed,verified_at,normalization_version,content_hash,next_version,next_hash,next_shape_hash,"
        "next_masked_hash host_key:status,last_seen_at aside:sealed,verified_at "
        "credential_profile:suspended_at,suspended_reason,sealed,next_sealed,next_username,next_method,next_changed_at,"
        "trial_at,trials queue_canary:answered_at quarantine:released_at,released_by",
        "DELETE": "process alarm request collection content quarantine outbox credential_profile aside event "
        "interpretation ignore_rule escrow",
    },
}


@pytest.fixture(scope="module")
def fleet(servers: Servers, postgres_roles: Path) -> Iterator[Fleet]:
    """Migrate a database; nothing that is tried here is committed."""
    with migrated(servers, postgres_roles) as made:
        yield made


@pytest.fixture(scope="module")
def engines(fleet: Fleet) -> dict[str, Engine]:
    """Log every role in."""
    return {role: fleet.engine(role) for role in ROLES}


def columns(table: str) -> list[str]:
    """The columns of a table."""
    return list(metadata.tables[table].columns.keys()) if table in metadata.tables else ["version_num"]


def granted(role: str, verb: str) -> set[str]:
    """What the matrix says, a column each for reading and updating, a table each for the rest."""
    said = set()
    for entry in RIGHTS[role].get(verb, "").split():
        table, _, names = entry.partition(":")
        if verb in {"SELECT", "UPDATE"}:
            said |= {f"{table}.{column}" for column in (names.split(",") if names else columns(table))}
        else:
            said.add(table)
    return said


def statements(verb: str) -> dict[str, str]:
    """What to try, by the name of the right."""
    match verb:
        case "SELECT":
            return {f"{t}.{c}": f"SELECT {c} FROM {t} LIMIT 0" for t in TABLES for c in columns(t)}
        case "UPDATE":
            return {f"{t}.{c}": f"UPDATE {t} SET {c} = DEFAULT WHERE false" for t in TABLES for c in columns(t)}
        case "INSERT":
            return {t: f"INSERT INTO {t} DEFAULT VALUES" for t in TABLES}
        case "DELETE":
            return {t: f"DELETE FROM {t} WHERE false" for t in TABLES}
        case _:
            return {t: f"TRUNCATE {t} CASCADE" for t in TABLES}


def may(engine: Engine, statement: str, *, keep: bool = False) -> bool:
    """Whether the server lets this role do it; any other answer than a refusal went past the rights. Rolled back."""
    with engine.connect() as connection:
        try:
            connection.connection.cursor().execute(statement)
        except psycopg.Error as exc:
            return exc.sqlstate != REFUSED
        finally:
            connection.commit() if keep else connection.rollback()
    return True


@pytest.mark.parametrize("verb", ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"])
@pytest.mark.parametrize("role", OTHERS)
def test_each_role_may_do_only_what_it_is_for(engines: dict[str, Engine], role: str, verb: str) -> None:
    """Every column of every table for reading and updating, every table for the rest: exactly what is listed."""
    assert {name for name, sql in statements(verb).items() if may(engines[role], sql)} == granted(role, verb)


@pytest.mark.parametrize(
    ("column", "readers"),
    [
        ("credential_profile.sealed", {"collector", "enroller", "operator"}),
        ("credential_profile.next_sealed", {"collector", "enroller", "operator"}),
        ("tenant.pepper", set(OTHERS) - {"ingester"}),
        ("content.sealed", {"ingester", "interpreter", "reader", "operator"}),
        ("aside.sealed", {"reader", "operator"}),
    ],
)
def test_sealed_texts_are_read_by_who_needs_them(engines: dict[str, Engine], column: str, readers: set[str]) -> None:
    """Also in a whole row, in a function, or by the way of another column."""
    table, name = column.split(".")
    ways = [
        f"SELECT {name} FROM {table}",
        f"SELECT * FROM {table}",
        f"SELECT to_jsonb(x) FROM {table} x",
        f"SELECT 1 FROM {table} WHERE {name} LIKE 'vault:%'",
        f"SELECT 1 FROM {table} ORDER BY {name}",
        f"COPY {table} TO STDOUT",
    ]
    for way in ways:
        assert {role for role in OTHERS if may(engines[role], way)} == readers, way


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (x int)",
        "CREATE TEMP TABLE mine (x int)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE device ADD COLUMN x int",
        "ALTER TABLE audit DISABLE TRIGGER ALL",
        "ALTER TABLE audit DISABLE TRIGGER audit_refuse",
        "DROP TRIGGER host_key_fixed ON host_key",
        "DROP TABLE outbox",
        "CREATE INDEX ON device (host)",
        "COMMENT ON TABLE device IS 'mine'",
        "CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "LOCK TABLE audit IN ACCESS EXCLUSIVE MODE",
        "SET ROLE backupflow_migrator",
        "SET SESSION AUTHORIZATION backupflow_migrator",
        "CREATE ROLE mine",
        "ALTER ROLE backupflow_migrator PASSWORD 'x'",
        "ALTER ROLE backupflow_migrator SUPERUSER",
        "SET session_replication_role = replica",
        "SELECT rolpassword FROM pg_authid",
        "SELECT pg_read_file('postgresql.conf')",
        "COPY device TO PROGRAM 'true'",
        "COPY device TO '/tmp/x'",
        "SELECT setval(pg_get_serial_sequence('audit', 'id'), 1)",
        "SELECT last_value FROM audit_id_seq",
    ],
)
def test_nobody_but_the_migrator_changes_the_house(engines: dict[str, Engine], statement: str) -> None:
    """Neither the schema nor its guards, nor rights, roles, files or the server; a role stays what it is."""
    for role in OTHERS:
        assert not may(engines[role], statement), role


@pytest.mark.parametrize("statement", ["CREATE DATABASE mine", "ALTER SYSTEM SET log_statement = 'all'"])
def test_nobody_changes_the_server(engines: dict[str, Engine], statement: str) -> None:
    """Nor what all databases on it share; these cannot be tried in a transaction."""
    for role in ROLES:
        with engines[role].connect() as connection:
            outside = connection.execution_options(isolation_level="AUTOCOMMIT")
            with pytest.raises(DBAPIError, match="permission denied"):
                outside.execute(text(statement))


def test_rights_cannot_be_passed_on(engines: dict[str, Engine]) -> None:
    """Without a grant option PostgreSQL only warns: nobody got anything."""
    for role in OTHERS:
        may(engines[role], "GRANT SELECT ON credential_profile TO PUBLIC", keep=True)
        with engines["migrator"].begin() as tx:
            given = "SELECT has_table_privilege('public', 'credential_profile', 'SELECT')"
            assert tx.scalar(text(given)) is False


def test_the_migrator_is_no_superuser(engines: dict[str, Engine]) -> None:
    """It owns the database and nothing beyond it."""
    for statement in ("CREATE ROLE mine", "SELECT rolpassword FROM pg_authid", "COPY device TO PROGRAM 'true'"):
        assert not may(engines["migrator"], statement)
    assert may(engines["migrator"], "CREATE TABLE mine (x int)")


def test_strangers_do_not_get_in(fleet: Fleet, engines: dict[str, Engine]) -> None:
    """No right is given to PUBLIC: a role of another install on the same server may not even connect."""
    with engines["migrator"].begin() as tx:
        has = "SELECT has_database_privilege('public', current_database(), :right)"
        given = [tx.scalar(text(has), {"right": right}) for right in ("CONNECT", "TEMP", "CREATE")]
        schema = tx.scalar(text("SELECT has_schema_privilege('public', 'public', 'USAGE')"))
    assert (given, schema) == ([False] * 3, False)
    url = make_url(fleet.url)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host=url.host, port=url.port, dbname=url.database, user="backupflow_reader", password="wrong")
