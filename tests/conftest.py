"""What holds for every test: nothing is skipped, and one setting says how large a run is."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql

from backupflow.adapters.db.engine import ROLE_PREFIX, Postgres, open_engine
from backupflow.adapters.db.migrate import upgrade
from backupflow.adapters.db.roles import ROLES, make_roles
from backupflow.adapters.vault import AppRoleLogin, Vault
from backupflow.adapters.vault_roles import provision
from backupflow.embedded import ServerOptions, Servers, open_folder, start_servers
from backupflow.settings import Settings
from backupflow.wiring import Wiring, shipped

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
Size = Literal["small", "soak"]

SIZE: Size = "soak" if os.environ.get("BACKUPFLOW_TEST_SIZE") == "soak" else "small"

# No deadlines: on a shared machine they measure the neighbours.
settings.register_profile("small", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", parent=settings.get_profile("small"), max_examples=2000)
settings.load_profile(SIZE)


@pytest.fixture(scope="session")
def size() -> Size:
    """How large a run is wanted: `small` for every day, `soak` (BACKUPFLOW_TEST_SIZE=soak) for the full sizes."""
    return SIZE


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Run all four real servers in one folder for the whole session: use databases, prefixes and names of your own.

    `servers.addresses` says where they are; `servers.secret_path("admin.postgres")`, `admin.redis` and `admin.nats` are
    files with the password of the user `admin`, `installer.openbao` one with JSON: role_id and secret_id.
    """
    place = tmp_path_factory.mktemp("servers")
    options = ServerOptions(fsync=False, seal_key=place / "seal.key")
    with open_folder(place / "data") as folder, start_servers(folder, options) as running:
        yield running


_TEMPLATE = "backupflow_template"


@dataclass(frozen=True)
class Database:
    """A migrated database of a test's own; `secrets_dir` has `<role>.postgres` for every role."""

    name: str
    url: str
    secrets_dir: Path

    def wiring(self, **environment: str) -> Wiring:
        """A wiring on it, with these settings beside; to be closed."""
        return Wiring(Settings({"DATABASE_URL": self.url, "CONFIG_SECRETS_DIR": str(self.secrets_dir), **environment}))


@dataclass(frozen=True)
class Install:
    """A database and a vault that were set up, with the tenant `default` and its keys; no process runs."""

    database: Database
    environment: dict[str, str]
    wiring: Wiring


def _admin(servers: Servers) -> psycopg.Connection:
    address = servers.addresses.postgres
    assert address
    password = servers.secret_path("admin.postgres").read_text()
    where = psycopg.conninfo.make_conninfo(host=address.host, port=address.port, dbname="postgres", user="admin")
    return psycopg.connect(where, password=password, autocommit=True)


@pytest.fixture(scope="session")
def postgres_roles(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the roles once, they are the cluster's, and a migrated database to copy; the folder with their logins."""
    secrets_dir = tmp_path_factory.mktemp("logins")
    passwords = {role: secrets.token_urlsafe(16) for role in ROLES}
    for role, password in passwords.items():
        file = secrets_dir / f"{role}.postgres"
        file.touch(mode=0o600)
        file.write_text(password)
    with _admin(servers) as admin:
        admin.execute("SET scram_iterations = 1")  # tests log in thousands of times; nobody guesses these passwords
        make_roles(admin, _TEMPLATE, passwords)
    url = f"postgresql://{servers.addresses.postgres}/{_TEMPLATE}"
    engine = open_engine(Postgres(url, "migrator", passwords["migrator"]))
    upgrade(engine, shipped("alembic"))
    engine.dispose()
    return secrets_dir


@pytest.fixture
def database(servers: Servers, postgres_roles: Path) -> Iterator[Database]:
    """Copy the migrated database for one test."""
    with copied_database(servers, postgres_roles) as made:
        yield made


@contextmanager
def copied_database(servers: Servers, postgres_roles: Path) -> Iterator[Database]:
    """The migrated database once more, with the rights of every role; it is dropped at the end."""
    name = f"test_{secrets.token_hex(6)}"
    copied, owner = sql.Identifier(name), sql.Identifier(f"{ROLE_PREFIX}migrator")
    with _admin(servers) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {} STRATEGY file_copy").format(
                copied, sql.Identifier(_TEMPLATE), owner
            )
        )
        admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(copied))
        for role in ROLES:
            grantee = sql.Identifier(f"{ROLE_PREFIX}{role}")
            admin.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(copied, grantee))
        yield Database(name, f"postgresql://{servers.addresses.postgres}/{name}", postgres_roles)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(copied))


@pytest.fixture(scope="session")
def vault_roles(servers: Servers, postgres_roles: Path) -> Path:
    """Set OpenBao up once; its logins are in the folder that has PostgreSQL's."""
    login = json.loads(servers.secret_path("installer.openbao").read_text())
    installer = Vault(servers.addresses.openbao_url, AppRoleLogin(login["role_id"], login["secret_id"]))
    provision(installer, postgres_roles)
    installer.close()
    return postgres_roles


@pytest.fixture
def install(servers: Servers, database: Database, vault_roles: Path) -> Iterator[Install]:
    """Set up all that commands and flows need but for the bus and the broker, whose roles are the business of `up`."""
    made = install_on(servers, database, vault_roles)
    made.wiring.make_tenant()
    yield made
    made.wiring.close()


def install_on(servers: Servers, database: Database, vault_roles: Path) -> Install:
    """The same without a tenant; close its wiring."""
    environment = {
        "DATABASE_URL": database.url,
        "OPENBAO_ADDR": servers.addresses.openbao_url,
        "CONFIG_SECRETS_DIR": str(vault_roles),
    }
    return Install(database, environment, Wiring(Settings(environment)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip or an expected failure into a failure: a test that does not run proves nothing."""
    report = yield
    return _fail_if_skipped(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself while it is collected."""
    report = yield
    return _fail_if_skipped(report)


def _fail_if_skipped(report: Report) -> Report:
    expected_failure = hasattr(report, "wasxfail")
    if report.skipped or expected_failure:
        why = report.wasxfail if expected_failure else report.longreprtext
        report.outcome = "failed"
        report.longrepr = f"a test may be neither skipped nor expected to fail: {why}"
        if expected_failure:
            del report.wasxfail
    return report
