"""A fleet in one migrated database for all these tests, emptied before each: a copy each takes ten times as long."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import psycopg
import pytest

from backupflow.adapters.db.engine import Postgres, open_engine
from backupflow.adapters.db.migrate import upgrade
from backupflow.adapters.db.roles import ROLES, make_roles
from backupflow.wiring import shipped
from tests.integration.db.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backupflow.embedded import Servers


@pytest.fixture(scope="session")
def ledger(servers: Servers, postgres_roles: Path) -> Iterator[Fleet]:
    """Migrate a database of its own."""
    name, address = f"ledger_{secrets.token_hex(4)}", servers.addresses.postgres
    assert address
    admin_password = servers.secret_path("admin.postgres").read_text(encoding="utf-8").strip()
    login = psycopg.conninfo.make_conninfo(host=address.host, port=address.port, dbname="postgres", user="admin")
    passwords = {role: (postgres_roles / f"{role}.postgres").read_text(encoding="utf-8") for role in ROLES}
    with psycopg.connect(login, password=admin_password, autocommit=True) as admin:
        make_roles(admin, name, passwords)
        url = f"postgresql://{address}/{name}"
        migrator = open_engine(Postgres(url, "migrator", passwords["migrator"]), 1)
        upgrade(migrator, shipped("alembic"))
        migrator.dispose()
        made = Fleet(url, postgres_roles, admin_password)
        yield made
        made.close()
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def fleet(ledger: Fleet) -> Fleet:
    """Start with an empty ledger."""
    ledger.empty()
    return ledger
