"""Every sealed text of a tenant, wherever it lies: what is under which version of its key, and its exchange.

What is left to do is a query on the prefix of the texts, so that moving them can be cut off anywhere. A text is
exchanged only if it is still the one that was read: whoever writes another one meanwhile wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, text

from backupflow.adapters.db.engine import transaction
from backupflow.core.keys import KEYS_LOST, Held, Item, Stock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from backupflow.core.model import Purpose, TenantId

# Of a large text its first page is read, not all of it.
_HEAD = "left({column}, 20)"
_VERSION = f"CAST(substring({_HEAD} FROM '^vault:v([1-9][0-9]*):') AS bigint)"
BATCH = 100  # texts; each has 4 strings of JSON, of which OpenBao takes 1000
BATCH_BYTES = 4 * 1024 * 1024  # well below what OpenBao takes at once; a larger text goes alone


@dataclass(frozen=True, slots=True)
class Place:
    """Where texts of one kind lie, as pieces of SQL: `k` is their table, `d` the device, if they have one."""

    rows: str
    column: str
    key: str
    key_type: str
    context: str
    given_up: str
    name: str
    tenant: str = "k.tenant_id"
    new: str = "true"  # whether it may have come while the others were counted

    @property
    def table(self) -> str:
        """The first word of `rows`."""
        return self.rows.split(" ", 1)[0]

    def filled(self, template: str) -> Any:  # noqa: ANN401 - a statement of SQLAlchemy
        """A statement of this place."""
        column = f"k.{self.column}"
        words = {
            "rows": self.rows,
            "table": self.table,
            "bare": self.column,
            "id": self.key,
            "column": column,
            "key": f"k.{self.key}",
            "type": self.key_type,
            "context": self.context,
            "given_up": self.given_up,
            "name": self.name,
            "tenant": self.tenant,
            "new": self.new,
            "head": _HEAD.format(column=column),
            "version": _VERSION.format(column=column),
        }
        return text(template.format(**words))


# All there are: a test holds that no column of the schema is missing here.
PLACES = {
    Held.PEPPER: Place(
        "tenant k LEFT JOIN device d ON false", "pepper", "id", "uuid", "k.id", "false", "'the pepper'", "k.id"
    ),
    Held.LOGIN: Place(
        "credential_profile k LEFT JOIN device d ON d.id = k.device_id",
        "sealed",
        "id",
        "uuid",
        "coalesce(k.device_id, k.id)",
        f"k.suspended_at IS NOT NULL AND coalesce(k.suspended_reason, '') = '{KEYS_LOST}'",
        "'the login of ' || coalesce(d.name, k.name)",
    ),
    Held.NEXT_LOGIN: Place(
        "credential_profile k LEFT JOIN device d ON d.id = k.device_id",
        "next_sealed",
        "id",
        "uuid",
        "k.id",
        "false",  # with keys that are lost it is dropped
        "'the next login of ' || k.name",
    ),
    Held.ASIDE: Place(
        "aside k JOIN device d ON d.id = k.device_id JOIN collection c ON c.id = k.collection_id",
        "sealed",
        "collection_id",
        "bigint",
        "k.device_id",
        "c.seq <= d.unreadable_to_seq",
        "d.name || ', kept aside from collection ' || c.seq",
    ),
    **{
        held: Place(
            f"{table} k JOIN device d ON d.id = k.device_id AND d.tenant_id = k.tenant_id",
            "sealed",
            "id",
            kind,
            "k.device_id",
            "false",  # with keys that are lost it is told without
            f"d.name || ', what is told of it ({table})'",
        )
        for held, table, kind in ((Held.EVENT, "event", "uuid"), (Held.OUTBOX, "outbox", "bigint"))
    },
    **{
        held: Place(
            "interpretation k JOIN device d ON d.id = k.device_id",
            column,
            "collection_id",
            "bigint",
            "k.device_id",
            "k.seq <= d.unreadable_to_seq",
            f"d.name || ', {held} of ' || k.seq",
            new="k.created_at > now() - interval '10 minutes'",
        )
        for held, column in ((Held.CHANGES, "changes_sealed"), (Held.DIFF, "diff_sealed"))
    },
    Held.LOG: Place(
        "collection k JOIN device d ON d.id = k.device_id",
        "log_sealed",
        "id",
        "bigint",
        "k.device_id",
        "k.seq <= d.unreadable_to_seq",
        "d.name || ', its log of ' || k.seq",
        new="k.collected_at > now() - interval '10 minutes'",
    ),
    Held.CONTENT: Place(
        "content k JOIN device d ON d.id = k.device_id",
        "sealed",
        "id",
        "bigint",
        "k.device_id",
        "k.first_seq <= d.unreadable_to_seq",
        "d.name || ', snapshot ' || k.first_seq",
        new="k.created_at > now() - interval '10 minutes'",
    ),
}
_STOCK = """
    SELECT {version} AS version, {given_up} AS given_up, count(*) AS n FROM {rows}
    WHERE {tenant} = :tenant AND {column} IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2"""
_LEFT = """
    SELECT key, context, sealed, name, given_up FROM (
        SELECT *, sum(octet_length(sealed)) OVER (ORDER BY key) AS bytes, row_number() OVER (ORDER BY key) AS nth FROM (
            SELECT {key} AS key, {context} AS context, {column} AS sealed, {name} AS name, {given_up} AS given_up
            FROM {rows} WHERE {tenant} = :tenant AND {column} IS NOT NULL AND NOT starts_with({head}, :prefix)
              AND (CAST(:after AS {type}) IS NULL OR {key} > :after)
            ORDER BY {key} LIMIT :limit) few) counted
    WHERE nth = 1 OR bytes <= :room ORDER BY key"""
_COUNT = """
    SELECT count(*) FROM {rows} WHERE {tenant} = :tenant AND {column} IS NOT NULL AND (:given_up OR NOT ({given_up}))
      AND (NOT :only_new OR {new}) AND NOT starts_with({head}, :prefix)"""
_REPLACE = "UPDATE {table} SET {bare} = :new WHERE {id} = :key AND {bare} = :old RETURNING {id}"
_DEVICES = "SELECT d.id FROM {rows} WHERE {key} = ANY(:keys) AND d.id IS NOT NULL"
_LOCK = text("SELECT id FROM device WHERE id = ANY(:devices) ORDER BY id FOR NO KEY UPDATE")


_STOCKS, _LEFTS, _COUNTS, _REPLACES, _OWNERS = (
    {held: place.filled(template) for held, place in PLACES.items()}
    for template in (_STOCK, _LEFT, _COUNT, _REPLACE, _DEVICES)
)


class SealedTexts:
    """core.ports.SealedStore."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def stock(self, tenant_id: TenantId) -> list[Stock]:
        """How many there are of each kind and version."""
        with transaction(self._engine) as tx:
            return stock_of(tx, tenant_id)

    def left(self, tenant_id: TenantId, held: Held, newest: int, after: int | UUID | None) -> list[Item]:
        """The next ones by key that are not under the newest version; of bounded number and bytes, at least one."""
        values = {"tenant": tenant_id, "after": after, "limit": BATCH, "room": BATCH_BYTES, "prefix": _prefix(newest)}
        with transaction(self._engine) as tx:
            rows = tx.execute(_LEFTS[held], values).all()
        return [Item(held, row.key, row.context, row.sealed, row.name, row.given_up) for row in rows]

    def count_left(self, tenant_id: TenantId, newest: Mapping[Purpose, int]) -> int:
        """How many are not under the newest version of their key."""
        with transaction(self._engine) as tx:
            return sum(_count(tx, tenant_id, held, newest[held.purpose], given_up=True) for held in Held)

    def replace(self, pairs: Sequence[tuple[Item, str]]) -> int:
        """Put each new text in place of the one that was read; how many: where another is by now, that stays.

        All of one kind. Their devices are locked first, in order of id, as everywhere.
        """
        if not pairs:
            return 0
        held = pairs[0][0].held
        ordered = sorted(pairs, key=lambda pair: pair[0].key)
        with transaction(self._engine) as tx:
            devices = list(tx.scalars(_OWNERS[held], {"keys": [item.key for item, _ in ordered]}))
            tx.execute(_LOCK, {"devices": sorted(set(devices))})
            return sum(_exchanged(tx, item, new) for item, new in ordered)


def stock_of(tx: Connection, tenant_id: TenantId) -> list[Stock]:
    """How many there are of each kind and version, within a transaction."""
    return [
        Stock(held, row.version, row.given_up, row.n)
        for held in Held
        for row in tx.execute(_STOCKS[held], {"tenant": tenant_id})
    ]


def older(tx: Connection, tenant_id: TenantId, newest: Mapping[Purpose, int], *, only_new: bool = False) -> list[str]:
    """What is not under the newest version of its key and was not given up, in words.

    `only_new`: of snapshots only the latest are looked at, who looks at all of them has just done so.
    """
    counts = {held: _count(tx, tenant_id, held, newest[held.purpose], only_new=only_new) for held in Held}
    return [f"{n} texts ({held}) are under another version than the newest" for held, n in counts.items() if n]


def _count(
    tx: Connection, tenant_id: TenantId, held: Held, newest: int, *, given_up: bool = False, only_new: bool = False
) -> int:
    values = {"tenant": tenant_id, "prefix": _prefix(newest), "given_up": given_up, "only_new": only_new}
    return int(tx.execute(_COUNTS[held], values).scalar_one())


def _exchanged(tx: Connection, item: Item, new: str) -> bool:
    return tx.scalar(_REPLACES[item.held], {"key": item.key, "old": item.sealed, "new": new}) is not None


def _prefix(version: int) -> str:
    return f"vault:v{version}:"
