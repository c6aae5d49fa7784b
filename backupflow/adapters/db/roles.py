"""The login roles of PostgreSQL. What each may do stands in the migrations; here they are made, with an admin login."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from backupflow.adapters.db.engine import ROLE_PREFIX
from backupflow.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

ROLES = ("migrator", "scheduler", "enroller", "collector", "ingester", "interpreter", "reader", "operator")


def make_roles(admin: psycopg.Connection, database: str, passwords: Mapping[str, str]) -> None:
    """Make or mend the roles and the database; `passwords` has one for each of ROLES. Can be run again at any time.

    The migrator owns the database; nobody else may create anything in it.
    """
    try:
        for role in ROLES:
            _make_role(admin, ROLE_PREFIX + role, passwords[role])
        _make_database(admin, database)
    except psycopg.Error as exc:
        # The statement holds a password: neither it nor its context may travel on.
        raise StoreUnavailable(f"roles could not be made, SQLSTATE {exc.sqlstate}") from None


def _make_role(admin: psycopg.Connection, name: str, password: str) -> None:
    # The password is hashed here (SCRAM-SHA-256), so that no log of statements ever shows it.
    hashed = admin.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    there = admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone()
    verb = sql.SQL("ALTER ROLE") if there else sql.SQL("CREATE ROLE")
    options = sql.SQL("LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD")
    admin.execute(sql.SQL("{} {} {} {}").format(verb, sql.Identifier(name), options, sql.Literal(hashed)))


def _make_database(admin: psycopg.Connection, database: str) -> None:
    owner = sql.Identifier(ROLE_PREFIX + "migrator")
    name = sql.Identifier(database)
    if not admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
        # A non-superuser admin may only give away what it is a member of.
        admin.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(owner))
        admin.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} ENCODING 'UTF8' TEMPLATE template0 LOCALE 'C'").format(name, owner)
        )
    admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    for role in ROLES:
        grantee = sql.Identifier(ROLE_PREFIX + role)
        admin.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, grantee))
