"""What is known of the Transit keys: their canaries, the oldest version that is taken in, who works on them.

Two locks, both PostgreSQL's advisory ones, which every role may take: whoever works on a tenant's keys holds one while
it does, and is freed of it by its death; whoever writes a sealed text shares another one, for its transaction, with the
others that do, and excludes who closes a version.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.engine import transaction, translated
from backupflow.adapters.db.sealed import older
from backupflow.core.keys import LATE_MESSAGES, KeyRecord
from backupflow.core.message import decode
from backupflow.core.model import Purpose, SealedSecret, State, TenantId
from backupflow.errors import Conflict, MessageMalformed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from uuid import UUID

_WORKING, _WRITING = 0x62666B77, 0x62666B73  # names of the two locks
_ALL = text(
    "SELECT k.tenant_id, k.purpose, k.mark FROM transit_key k "
    "JOIN tenant t ON t.id = k.tenant_id WHERE t.removed_at IS NULL"
)
_TENANT = text("""
    INSERT INTO tenant (name) VALUES (:name) ON CONFLICT (name) DO UPDATE SET name = excluded.name
    RETURNING id, pepper""")
_MARK = text("INSERT INTO transit_key (tenant_id, purpose, mark) VALUES (:tenant, :purpose, :mark)")
_SEALED = text("""
    SELECT 1 FROM tenant t WHERE t.id = :tenant AND (t.pepper IS NOT NULL
        OR EXISTS (SELECT 1 FROM credential_profile WHERE tenant_id = t.id)
        OR EXISTS (SELECT 1 FROM content WHERE tenant_id = t.id))""")
_PEPPER = text("UPDATE tenant SET pepper = :pepper WHERE id = :tenant AND pepper IS NULL")
_RECORDS = text(
    "SELECT purpose, mark, marked_at, created_at, oldest_version FROM transit_key WHERE tenant_id = :tenant"
)
_REMARK = text("""
    UPDATE transit_key SET mark = :new, marked_at = clock_timestamp()
    WHERE tenant_id = :tenant AND purpose = :purpose AND mark = :old RETURNING mark""")
_WORK = text("SELECT pg_try_advisory_lock(:lock, hashtext(CAST(:tenant AS text)))")
_WORKED = text("SELECT pg_advisory_unlock(:lock, hashtext(CAST(:tenant AS text)))")
_SHARE = text("SELECT pg_advisory_xact_lock_shared(:lock, hashtext(CAST(:tenant AS text)))")
_EXCLUDE = text("SELECT pg_advisory_xact_lock(:lock, hashtext(CAST(:tenant AS text)))")
_OLDEST = text("SELECT oldest_version FROM transit_key WHERE tenant_id = :tenant AND purpose = :purpose")
_CLOSE = text("""
    UPDATE transit_key SET oldest_version = :version
    WHERE tenant_id = :tenant AND purpose = :purpose AND oldest_version < :version""")
_REOPEN = text("UPDATE transit_key SET oldest_version = 1 WHERE tenant_id = :tenant AND purpose = :purpose")
# Of what began before everything had moved: what it has in hand, or has sent, may be under an older version.
# Nor is anything known of what began in the future: the clock was set back since.
_BEFORE = """(c.started_at <= (SELECT max(marked_at) FROM transit_key WHERE tenant_id = :tenant)
    OR c.started_at > clock_timestamp())"""
_UNDER_WAY = text(f"""
    SELECT c.state, count(*) AS n FROM collection c
    WHERE c.tenant_id = :tenant AND c.state IN ('running', 'published') AND {_BEFORE} GROUP BY c.state""")
_LATE = text(f"""
    SELECT count(*) FROM collection c WHERE c.tenant_id = :tenant AND c.state = 'lost' AND c.digest IS NOT NULL
      AND c.ended_at > now() - :late AND {_BEFORE}""")
_QUARANTINED = text("""
    SELECT id, payload FROM quarantine WHERE payload IS NOT NULL AND id > :after ORDER BY id LIMIT 4""")
_AWAITED = text("""
    SELECT 1 FROM collection
    WHERE id = :collection AND tenant_id = :tenant AND digest = :digest AND state IN ('published', 'lost')""")


class Keys:
    """core.ports.KeyLedger and KeyStore, and the record of newly made keys."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all_marks(self) -> dict[tuple[TenantId, Purpose], str]:
        """The canary of each key of each tenant."""
        with transaction(self._engine) as tx:
            return {(TenantId(row.tenant_id), Purpose(row.purpose)): row.mark for row in tx.execute(_ALL)}

    def tenant(self, name: str) -> tuple[TenantId, bool]:
        """The tenant of that name, made if it is missing, and whether it has its keys."""
        with transaction(self._engine) as tx:
            row = tx.execute(_TENANT, {"name": name}).one()
            return TenantId(row.id), row.pepper is not None

    def nothing_sealed(self, tenant_id: TenantId) -> bool:
        """Whether no row holds anything that was sealed with this tenant's keys."""
        with transaction(self._engine) as tx:
            return tx.scalar(_SEALED, {"tenant": tenant_id}) is None

    def keep(self, tenant_id: TenantId, pepper: SealedSecret, marks: Mapping[Purpose, str]) -> None:
        """Record a new tenant's sealed pepper and canaries, together."""
        with transaction(self._engine) as tx:
            tx.execute(_PEPPER, {"tenant": tenant_id, "pepper": pepper.text})
            for purpose, mark in marks.items():
                tx.execute(_MARK, {"tenant": tenant_id, "purpose": purpose, "mark": mark})

    @contextmanager
    def alone(self, tenant_id: TenantId) -> Iterator[None]:
        """Nobody else works on this tenant's keys meanwhile; Conflict if somebody does. Ends with this process."""
        values = {"lock": _WORKING, "tenant": tenant_id}
        with translated():
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            with translated():
                if not connection.scalar(_WORK, values):
                    raise Conflict("another command works on the keys of this tenant: wait until it has ended")
            yield
        finally:
            with suppress(DBAPIError):  # with its connection the lock is gone too
                connection.execute(_WORKED, values)
            connection.close()

    def records(self, tenant_id: TenantId) -> dict[Purpose, KeyRecord]:
        """What is known of each key of a tenant; empty if it has none."""
        with transaction(self._engine) as tx:
            rows = tx.execute(_RECORDS, {"tenant": tenant_id}).all()
        return {
            Purpose(row.purpose): KeyRecord(row.mark, row.marked_at, row.created_at, row.oldest_version) for row in rows
        }

    def record(self, tenant_id: TenantId, actor: str, action: str, detail: Mapping[str, Any]) -> None:
        """Write down what is about to be done outside of the database."""
        with transaction(self._engine) as tx:
            record_act(tx, actor, action, tenant_id=tenant_id, detail=detail)

    def remark(self, tenant_id: TenantId, purpose: Purpose, old: str, new: str) -> None:
        """Let a canary be the one of another version, of now even if it is the same; Conflict if it is not `old`."""
        values = {"tenant": tenant_id, "purpose": purpose, "old": old, "new": new}
        with transaction(self._engine) as tx:
            if tx.scalar(_REMARK, values) is None:
                raise Conflict(f"the {purpose} key was changed by somebody else meanwhile")

    def close(self, tenant_id: TenantId, versions: Mapping[Purpose, int], actor: str) -> list[str]:
        """Take in nothing any more that is sealed under older versions than these; why not yet, if that cannot be.

        Looked at twice: at all of it, and then, while nobody can write a sealed text, at what came since.
        """
        with transaction(self._engine) as tx:
            # In this order: what is stored between the two looks is seen by the second.
            holds = [*_under_way(tx, tenant_id, versions[Purpose.DATA]), *older(tx, tenant_id, versions)]
        if holds:
            return holds
        with transaction(self._engine) as tx:
            tx.execute(_EXCLUDE, {"lock": _WRITING, "tenant": tenant_id})
            holds = older(tx, tenant_id, versions, only_new=True)
            if not holds:
                for purpose, version in versions.items():
                    tx.execute(_CLOSE, {"tenant": tenant_id, "purpose": purpose, "version": version})
                detail = {purpose.value: version for purpose, version in versions.items()}
                record_act(tx, actor, "key_versions_retired", tenant_id=tenant_id, detail=detail)
            return holds

    def reopen(self, tenant_id: TenantId, purpose: Purpose) -> None:
        """Take in what is sealed under any version again."""
        with transaction(self._engine) as tx:
            tx.execute(_REOPEN, {"tenant": tenant_id, "purpose": purpose})


def take_work(connection: Connection, tenant_id: UUID) -> bool:
    """Whether this connection now is who works on this tenant's keys, as `Keys.alone`; until it ends or frees it."""
    return bool(connection.scalar(_WORK, {"lock": _WORKING, "tenant": tenant_id}))


def oldest_version(tx: Connection, tenant_id: TenantId, purpose: Purpose) -> int:
    """What may still be written of this purpose, until the transaction ends; to be asked after all other locks."""
    tx.execute(_SHARE, {"lock": _WRITING, "tenant": tenant_id})
    found = tx.scalar(_OLDEST, {"tenant": tenant_id, "purpose": purpose})
    return 1 if found is None else int(found)


def _under_way(tx: Connection, tenant_id: TenantId, version: int) -> list[str]:
    """What may still come, sealed under an older version, in words."""
    tenant = {"tenant": tenant_id}
    counts = {row.state: row.n for row in tx.execute(_UNDER_WAY, tenant)}
    counts["lost"] = tx.execute(_LATE, tenant | {"late": LATE_MESSAGES}).scalar_one()
    counts["quarantined"] = _quarantined(tx, tenant_id, version)
    return [says.format(n=counts[kind]) for kind, says in _SAYS.items() if counts.get(kind)]


_SAYS = {
    State.RUNNING.value: "{n} collections run that began before everything had moved",
    State.PUBLISHED.value: "{n} collections of before are published and not stored yet",
    State.LOST.value: "{n} collections of before were lost in the last 10 min: their messages may still come",
    "quarantined": "{n} messages in quarantine are sealed under an older version and could still be stored: "
    "`quarantine list`, then release or drop them",
}


def _quarantined(tx: Connection, tenant_id: TenantId, version: int) -> int:
    """Those that would be stored if they were released, as their rows stand."""
    found, after = 0, 0
    while rows := tx.execute(_QUARANTINED, {"after": after}).all():  # of 8 MiB each, at the most
        found += sum(_awaited(tx, tenant_id, version, bytes(row.payload)) for row in rows)
        after = rows[-1].id
    return found


def _awaited(tx: Connection, tenant_id: TenantId, version: int, payload: bytes) -> bool:
    try:
        message = decode(payload)
    except MessageMalformed:
        return False
    if message.tenant_id != tenant_id or message.sealed.key_version >= version:
        return False
    values = {"collection": message.collection_id, "tenant": tenant_id, "digest": message.sealed.digest}
    return tx.scalar(_AWAITED, values) is not None
