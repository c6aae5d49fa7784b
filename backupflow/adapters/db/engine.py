"""Connections to PostgreSQL, one login role a process, and its errors as ours."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from backupflow.adapters.db.unanswered import no_answer
from backupflow.core.tls import refusal
from backupflow.errors import SchemaOutdated, SettingsInvalid, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROLE_PREFIX = "backupflow_"
CONNECT_SECONDS = 5
STATEMENT_SECONDS = 30
LOCK_SECONDS = 10
# A process that is stopped within a transaction (SIGSTOP, a frozen machine) keeps its locks until the server ends it:
# sooner than anybody who waits for them gives up.
IDLE_SECONDS = 8

# SQLSTATE classes that say "not now" rather than "never": connection, resources, operator intervention, system, and
# the codes of lock wait, deadlock, read-only standby and a transaction that was idle for too long.
_PASSING = ("08", "53", "57", "58", "55P03", "40", "25006", "25P03", "28")

LOCKED = ("55P03", "40P01")  # waited too long for a lock, deadlock


@dataclass(frozen=True, slots=True)
class Postgres:
    """Where the database is (an address without a login) and who connects."""

    url: str
    role: str
    password: str = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict)  # of libpq: how it is trusted (core.tls)


def open_engine(postgres: Postgres, pool: int = 5) -> Engine:
    """An engine that has not connected yet; it holds at most `pool` connections and tests each before use."""
    return create_engine(
        _url(postgres),
        pool_size=pool,
        max_overflow=0,
        pool_timeout=LOCK_SECONDS,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            **postgres.options,
            "connect_timeout": CONNECT_SECONDS,
            "application_name": f"backupflow {postgres.role}",
            "keepalives_idle": 30,
            "tcp_user_timeout": 20_000,
            "options": (
                f"-c statement_timeout={STATEMENT_SECONDS}s -c lock_timeout={LOCK_SECONDS}s "
                f"-c idle_in_transaction_session_timeout={IDLE_SECONDS}s -c timezone=UTC"
            ),
        },
    )


def _url(postgres: Postgres) -> URL:
    try:
        url = make_url(postgres.url)
    except ArgumentError as exc:
        raise SettingsInvalid("DATABASE_URL is not an address such as postgresql://host:5432/backupflow") from exc
    if url.password is not None or url.username is not None:
        raise SettingsInvalid("DATABASE_URL must not hold a login; logins are files in CONFIG_SECRETS_DIR")
    return url.set(drivername="postgresql+psycopg", username=ROLE_PREFIX + postgres.role, password=postgres.password)


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """One transaction; StoreUnavailable if the database is away, whatever became of a commit under way."""
    with translated(), engine.begin() as connection:
        yield connection


def waited_in_vain(exc: StoreUnavailable) -> bool:
    """Whether only a lock was not to be had: nothing was written, and it may be tried again."""
    cause = exc.__cause__
    return isinstance(cause, DBAPIError) and getattr(cause.orig, "sqlstate", None) in LOCKED


@contextmanager
def translated() -> Iterator[None]:
    """Foreign errors become ours; what is a defect of ours (a constraint, a syntax error) stays what it is."""
    try:
        yield
    except PoolTimeout as exc:
        raise StoreUnavailable("no free connection") from exc
    except DBAPIError as exc:
        state = getattr(exc.orig, "sqlstate", None) or ""
        # Without an SQLSTATE it is the client: no connection, or a value that cannot be sent, which is a defect.
        away = state.startswith(_PASSING) if state else isinstance(exc, OperationalError | InterfaceError)
        if exc.connection_invalidated or away:
            says = str(exc.orig)
            raise StoreUnavailable(f"SQLSTATE {state}" if state else refusal(says) or no_answer(says)) from exc
        if state == "42P01":
            raise SchemaOutdated("a table is missing") from exc
        raise


def server_version(engine: Engine) -> str:
    """The version that the server states, for `doctor`."""
    with transaction(engine) as tx:
        return str(tx.execute(text("SHOW server_version")).scalar_one())
