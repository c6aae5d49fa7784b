"""The database as one moment of a backup of the system: held while it is copied, and put into place where it goes."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.engine import ROLE_PREFIX, transaction, translated
from backupflow.adapters.db.keys import take_work
from backupflow.errors import Conflict, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from typing import LiteralString
    from uuid import UUID

_ASIDE: Final = "_replaced"
_TENANTS = text("SELECT id FROM tenant")
_LOCKS = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
_FREE = text("SELECT pg_advisory_unlock_all()")
_PATIENT = (text("SET LOCAL statement_timeout = 0"), text("SET LOCAL idle_in_transaction_session_timeout = 0"))
_EXPORT = text("SELECT pg_export_snapshot()")
# What is counted before and after: all that somebody would miss.
COUNTED = ("tenant", "device", "host_key", "credential_profile", "collection", "content", "audit", "alarm")
_SIZE = text("SELECT pg_database_size(current_database())")
_VERSION = text("SELECT current_setting('server_version_num')::int / 10000, split_part(version(), ' ', 2)")
_CLOCK = text("SELECT clock_timestamp()")
_MADE = text("INSERT INTO system_backup (made_at, made_by, revision, bytes) VALUES (:at, :by, :revision, :bytes)")
# Of a database into which nothing was put yet but what a set-up puts there itself.
_TABLES: Final = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
_OURS: Final = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename = 'jump_host'"
_HOLDS: Final = """
    SELECT (SELECT count(*) FROM device) + (SELECT count(*) FROM collection) + (SELECT count(*) FROM credential_profile)
        + (SELECT count(*) FROM jump_host) + (SELECT greatest(count(*) - 1, 0) FROM tenant)"""


@dataclass(frozen=True, slots=True)
class Moment:
    """The database as it was at one moment, for who has the name of that: `snapshot` is PostgreSQL's."""

    snapshot: str
    at: datetime
    rows: Mapping[str, int]
    bytes: int


class SystemBackups:
    """What a backup of the system reads. `migrator` owns the tables, `operator` may hold the keys."""

    def __init__(self, migrator: Engine, operator: Engine) -> None:
        self._migrator = migrator
        self._operator = operator

    def server(self) -> tuple[int, str]:
        """The server's major version, and its version in full."""
        with transaction(self._migrator) as tx:
            major, version = tx.execute(_VERSION).one()
            return int(major), str(version)

    def clock(self) -> datetime:
        """PostgreSQL's time of day."""
        with transaction(self._migrator) as tx:
            now: datetime = tx.execute(_CLOCK).scalar_one()
            return now

    def begun(self, actor: str, detail: Mapping[str, str]) -> None:
        """Write down, before anything is read, that somebody takes all there is with him."""
        with transaction(self._operator) as tx:
            record_act(tx, actor, "system_backup_begun", detail=detail)

    def made(self, actor: str, at: datetime, revision: str, size: int, sha256: str) -> None:
        """Write down that it is whole; only the owner may say so, since the warning that there is none ends with it."""
        with transaction(self._migrator) as tx:
            tx.execute(_MADE, {"at": at, "by": actor, "revision": revision, "bytes": size})
            record_act(tx, actor, "system_backup_made", detail={"bytes": size, "sha256": sha256})

    def restored(self, actor: str, at: datetime, revision: str, size: int, sha256: str) -> None:
        """Write down where all of this comes from: the newest backup of it is the file that it was restored from."""
        with transaction(self._migrator) as tx:
            tx.execute(_MADE, {"at": at, "by": actor, "revision": revision, "bytes": size})
            record_act(tx, actor, "system_restored", detail={"made_at": at.isoformat(), "sha256": sha256})

    def rows(self) -> dict[str, int]:
        """How many there are now."""
        with transaction(self._migrator) as tx:
            for statement in _PATIENT:
                tx.execute(statement)
            return _counted(tx)

    @contextmanager
    def still(self) -> Iterator[Moment]:
        """One moment of the database; until this is left nobody works on any tenant's keys.

        So the vault that is copied after the database has every key that it needs: none is retired or destroyed
        meanwhile. Conflict if somebody works on keys; StoreUnavailable if the hold was lost before the end.
        """
        with translated():
            keeper = self._operator.connect().execution_options(isolation_level="AUTOCOMMIT")
        held: set[UUID] = set()
        try:
            with self._moment(keeper, held) as moment:
                yield moment
            with translated():
                if keeper.execute(_LOCKS).scalar_one() < min(len(held), 1):
                    raise StoreUnavailable("the hold on the keys was lost meanwhile: make it again")
        finally:
            with suppress(DBAPIError):
                keeper.execute(_FREE)
            keeper.close()

    @contextmanager
    def _moment(self, keeper: Connection, held: set[UUID]) -> Iterator[Moment]:
        """Begin it again until it has no tenant whose keys were free when it began."""
        with translated():
            _hold(keeper, held, set(keeper.execute(_TENANTS).scalars()))
            while True:
                with self._migrator.connect().execution_options(isolation_level="REPEATABLE READ") as tx, tx.begin():
                    for statement in _PATIENT:
                        tx.execute(statement)
                    at, snapshot = tx.execute(_CLOCK).scalar_one(), tx.execute(_EXPORT).scalar_one()
                    missed = set(tx.execute(_TENANTS).scalars()) - held
                    if not missed:
                        yield Moment(snapshot, at, _counted(tx), tx.execute(_SIZE).scalar_one())
                        return
                _hold(keeper, held, missed)


def _hold(keeper: Connection, held: set[UUID], tenants: set[UUID]) -> None:
    for tenant in sorted(tenants):
        if not take_work(keeper, tenant):
            raise Conflict("another command works on the keys of a tenant: wait until it has ended")
        held.add(tenant)


def _counted(tx: Connection) -> dict[str, int]:
    return {table: tx.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in COUNTED}


def is_of_another(admin: psycopg.Connection) -> bool:
    """Whether the roles of a backupflow are there already: they are the whole server's."""
    return admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [f"{ROLE_PREFIX}migrator"]).fetchone() is not None


def is_there(admin: psycopg.Connection, name: str) -> bool:
    """Whether there is a database of that name."""
    return admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None


def holds(there: psycopg.Connection) -> bool:
    """Whether this database has anything that a set-up did not put there itself."""
    if not _number(there, _TABLES):
        return False
    return not _number(there, _OURS) or bool(_number(there, _HOLDS))


def _number(there: psycopg.Connection, statement: LiteralString) -> int:
    row = there.execute(statement).fetchone()
    return int(row[0]) if row else 0


def drop(admin: psycopg.Connection, name: str) -> None:
    """Take a draft away, whoever uses it; nothing if there is none. StoreUnavailable if that cannot be."""
    try:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
    except psycopg.Error as exc:
        raise StoreUnavailable(f"the database {name} cannot be taken away, SQLSTATE {exc.sqlstate}") from exc


def put_aside(admin: psycopg.Connection, name: str) -> None:
    """Give it another name, under which nobody looks for it; nothing if there is none.

    Conflict if somebody is connected to it: whoever uses it is not thrown out.
    """
    if is_there(admin, name):
        _rename(admin, name, name + _ASIDE)


def put_back(admin: psycopg.Connection, name: str) -> None:
    """Give what was put aside its name again, unless another one has it by now; nothing if nothing was."""
    if is_there(admin, name + _ASIDE) and not is_there(admin, name):
        _rename(admin, name + _ASIDE, name)


def put_into_place(admin: psycopg.Connection, draft: str, name: str) -> None:
    """Let a database that is whole have the name; what was put aside goes. Conflict if there is one of that name."""
    if is_there(admin, name):
        raise Conflict(f"a database {name} was made meanwhile: stop what sets it up, remove it, and restore again")
    _rename(admin, draft, name)
    with suppress(psycopg.Error):  # all is in its place; who is connected to the empty one harms nothing
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name + _ASIDE)))


def aside_of(name: str) -> str:
    """The name of what was put aside."""
    return name + _ASIDE


def _rename(admin: psycopg.Connection, name: str, to: str) -> None:
    try:
        admin.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(to)))
    except psycopg.Error as exc:
        raise Conflict(f"the database {name} is used: stop all processes of backupflow, and restore again") from exc
