"""What became of configurations, change by change, for who may read: still sealed, in pages, the newest first."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Row, text

from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.ignore_rules import rules_of
from backupflow.adapters.db.replacements import replacements_of, routers
from backupflow.adapters.db.snapshots import GIVEN_UP, device_named, no_snapshot, sealed_snapshot
from backupflow.adapters.db.stretches import number_of
from backupflow.core.model import DeviceId, Seq, TenantId
from backupflow.core.overview import LATE
from backupflow.core.timeline import Entry, FleetHistory, History, Owner, Standing, Told

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backupflow.core.history import Replacement, SealedSnapshot
    from backupflow.core.ignoring import Rule
    from backupflow.core.timeline import Wanted

# A router's first is told of even if its text equals that of the router before it. What is undecided across a change of
# the normalization is not shown as a change.
_OF_DEVICE = """
    c.device_id = :device AND (c.is_change OR c.seq IN (
        SELECT (SELECT min(f.seq) FROM collection f WHERE f.device_id = :device AND f.state = 'stored' AND f.seq >= r)
        FROM unnest(CAST(:routers AS bigint[])) r))"""
_OF_FLEET = "c.tenant_id = :tenant AND d.status <> 'removed' AND c.is_change"
# What is a first one since what was before it was taken away is not news of the fleet.
_NEWS = """(i.kind <> 'first' OR d.kept_from_seq <= 1 OR EXISTS (
        SELECT 1 FROM collection f WHERE f.device_id = c.device_id AND f.state = 'stored' AND f.seq < c.seq))"""
# What was told of a row counts while it says against what (`interpreted_after_seq`), whether or not that is still kept.
_TOLD = "interpretation i ON i.collection_id = c.id AND i.after_seq = c.interpreted_after_seq"
_WITHIN = """(CAST(:component AS text) IS NULL OR EXISTS (
        SELECT 1 FROM jsonb_array_elements_text(i.components) n
        WHERE n = :component OR starts_with(n, :component || '/')))"""
_PAGE = f"""
    WITH page AS (
        SELECT c.id, c.device_id, c.tenant_id, c.seq, c.collected_at, c.facts, c.interpret_tries, i.kind, i.after_seq,
            i.detail, i.lines_added, i.lines_removed, i.changes, i.ignored, i.components, i.changes_sealed,
            {{diff}} AS diff_sealed
        FROM {{rows}}
        WHERE c.state = 'stored' AND {{whose}} AND {_WITHIN}
        ORDER BY {{order}} LIMIT :limit)
    SELECT c.*, d.name, d.driver, {GIVEN_UP.format(seq="c.seq")}, coalesce(p.seq, 0) AS previous_seq,
        p.collected_at AS previous_at, CASE WHEN p.seq IS NOT NULL THEN {number_of("p.seq")} END AS previous_number
    FROM page c JOIN device d ON d.id = c.device_id LEFT JOIN LATERAL (
        SELECT p.seq, p.collected_at FROM collection p
        WHERE p.device_id = c.device_id AND p.state = 'stored' AND p.seq < c.seq
          AND p.seq >= coalesce((SELECT max(r) FROM unnest(CAST(:routers AS bigint[])) r WHERE r <= c.seq), 0)
        ORDER BY p.seq DESC LIMIT 1) p ON true
    ORDER BY {{order}}"""
_NO_DIFF = "CAST(NULL AS text)"  # a list shows none, and they may be large
_SINCE = "(CAST(:since AS timestamptz) IS NULL OR {at} >= :since)"
_HISTORY = text(
    _PAGE.format(
        diff=_NO_DIFF,
        rows=f"collection c LEFT JOIN {_TOLD}",
        whose=f"{_OF_DEVICE} AND {_SINCE.format(at='c.collected_at')}",
        order="c.seq DESC",
    )
)
_FLEET = text(
    _PAGE.format(
        diff=_NO_DIFF,
        rows=f"collection c JOIN {_TOLD} JOIN device d ON d.id = c.device_id",
        whose=f"{_OF_FLEET} AND {_NEWS} AND i.tenant_id = :tenant AND {_SINCE.format(at='i.at')}",
        order="c.collected_at DESC, c.id DESC",
    )
)
# An observation that is kept, or was taken away since the next one that is left says the same (snapshots._BY_SEQ).
_BY_SEQ = """c.seq <= :at AND EXISTS (
        SELECT 1 FROM collection x WHERE x.device_id = :device AND x.state = 'stored'
          AND x.seq = (SELECT min(y.seq) FROM collection y WHERE y.device_id = :device AND y.seq >= :at)
          AND (x.seq = :at OR x.compacted > 0))"""
# The change that an observation belongs to: its own, or the one just before it.
_CHANGE = {
    which: text(
        _PAGE.format(
            diff="i.diff_sealed",
            rows=f"collection c LEFT JOIN {_TOLD}",
            whose=f"{_OF_DEVICE} AND {which}",
            order="c.seq DESC",
        )
    )
    for which in (_BY_SEQ, "c.collected_at <= :at", "CAST(:at AS bigint) IS NULL")
}
_NEXT_CHANGE = text("""
    SELECT min(seq) FROM collection
    WHERE device_id = :device AND state = 'stored' AND seq > :seq AND is_change IS NOT FALSE""")
_DEVICE = text("SELECT id, tenant_id, name, driver, flapping_since, removed_at FROM device WHERE id = :device")
_COMPONENTS = text("""
    SELECT DISTINCT jsonb_array_elements_text(i.components) AS component FROM (
        SELECT components FROM interpretation WHERE tenant_id = :tenant ORDER BY at DESC LIMIT :most) i
    ORDER BY component LIMIT :most""")
_NEWEST_TOLD = 10_000  # changes: what they say of a tenant's menus is said within a fraction of a second
_FIRST_AFTER = text("SELECT min(seq) FROM collection WHERE device_id = :device AND state = 'stored' AND seq > :seq")
# Since the newest change, or the newest row of which that is not decided.
_STANDING = text("""
    WITH first AS (
        SELECT seq, collected_at FROM collection
        WHERE device_id = :device AND state = 'stored' AND (is_change IS NOT FALSE OR seq = :router)
        ORDER BY seq DESC LIMIT 1)
    SELECT f.seq, f.collected_at AS since, max(c.seq) AS last_seq, max(c.collected_at) AS last_seen_at,
        count(*) + coalesce(sum(c.compacted) FILTER (WHERE c.seq > f.seq), 0) AS observations
    FROM first f JOIN collection c ON c.device_id = :device AND c.state = 'stored' AND c.seq >= f.seq
    GROUP BY f.seq, f.collected_at""")
_UNINTERPRETED = """
    SELECT count(*) AS changes, min(c.stored_at) < now() - CAST(:late AS interval) AS late
    FROM collection c JOIN device d ON d.id = c.device_id
    WHERE c.state = 'stored' AND c.is_change IS NOT FALSE AND c.interpreted_after_seq IS NULL AND """
_OWED_BY_DEVICE = text(_UNINTERPRETED + "c.device_id = :device")
_OWED_BY_TENANT = text(_UNINTERPRETED + "c.tenant_id = :tenant AND d.status <> 'removed'")


class Timelines:
    """core.ports.TimelineStore."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def history(self, tenant_id: TenantId, name: str, wanted: Wanted) -> History:
        """A device's changes; NotFound if there is no such device."""
        with transaction(self._engine) as tx:
            device_id = device_named(tx, tenant_id, name)
            device = tx.execute(_DEVICE, {"device": device_id}).one()
            others = replacements_of(tx, device_id)
            values = {"device": device_id, "routers": routers(others), **_values(wanted)}
            rows = tx.execute(_HISTORY, values).all()
            standing = _standing(tx, device_id, others)
            owed = _owed(tx.execute(_OWED_BY_DEVICE, {"device": device_id, "late": LATE}).one())
            entries = _entries(tx, rows)
        marks = (device.flapping_since, *owed, device.removed_at)
        return History(_owner(device), entries, standing, tuple(others), *marks)

    def fleet(self, tenant_id: TenantId, wanted: Wanted) -> FleetHistory:
        """The changes of all devices of a tenant that are there, as far as they are interpreted."""
        values = {"tenant": tenant_id, "routers": [], **_values(wanted)}
        with transaction(self._engine) as tx:
            rows = tx.execute(_FLEET, values).all()
            owed = _owed(tx.execute(_OWED_BY_TENANT, {"tenant": tenant_id, "late": LATE}).one())
            return FleetHistory(_entries(tx, rows), *owed)

    def change(self, tenant_id: TenantId, name: str, at: Seq | datetime | None) -> Entry:
        """The change that brought what was observed then, None: the newest; NotFound if there is none."""
        which = "CAST(:at AS bigint) IS NULL" if at is None else "c.collected_at <= :at"
        statement = _CHANGE[which if at is None or isinstance(at, datetime) else _BY_SEQ]
        with transaction(self._engine) as tx:
            device_id = device_named(tx, tenant_id, name)
            values = {"device": device_id, "routers": routers(replacements_of(tx, device_id)), "at": at}
            row = tx.execute(statement, {**values, "limit": 1, "component": None}).one_or_none()
            if row is None:
                raise no_snapshot(tx, tenant_id, name, at)
        return _entry(row)

    def snapshot(self, tenant_id: TenantId, name: str, at: Seq | datetime | None) -> SealedSnapshot:
        """One observation with its sealed export, None: the current one; nothing is written down."""
        with transaction(self._engine) as tx:
            return sealed_snapshot(tx, tenant_id, name, at)

    def leads(self, older: SealedSnapshot, newer: SealedSnapshot) -> Entry | None:
        """The one change that leads from one observation to the other of a device; None: they are not neighbours."""
        with transaction(self._engine) as tx:
            after = tx.scalar(_NEXT_CHANGE, {"device": older.device_id, "seq": older.seq})
            beyond = None if after is None else tx.scalar(_NEXT_CHANGE, {"device": older.device_id, "seq": after})
            if after is None or not after <= newer.seq or (beyond is not None and beyond <= newer.seq):
                return None
            others = routers(replacements_of(tx, older.device_id))
            values = {"device": older.device_id, "routers": others, "at": after, "limit": 1, "component": None}
            row = tx.execute(_CHANGE[_BY_SEQ], values).one_or_none()
        found = None if row is None else _entry(row)
        return found if found is not None and found.seq == after else None

    def components(self, tenant_id: TenantId) -> tuple[str, ...]:
        """The menus in which a tenant's newest changes were."""
        with transaction(self._engine) as tx:
            return tuple(tx.scalars(_COMPONENTS, {"tenant": tenant_id, "most": _NEWEST_TOLD}))

    def reveal(self, actor: str, owner: Owner, detail: Mapping[str, Any]) -> None:
        """Write down who is shown secrets of a device; to be called before anything is opened for it."""
        with transaction(self._engine) as tx:
            record_act(
                tx, actor, "config_revealed", tenant_id=owner.tenant_id, device_id=owner.device_id, detail=detail
            )


def _owed(row: Row[Any]) -> tuple[int, bool]:
    return int(row.changes), bool(row.late)


def _values(wanted: Wanted) -> dict[str, Any]:
    return {"limit": wanted.limit, "since": wanted.since, "component": wanted.component}


def _standing(tx: Connection, device_id: DeviceId, others: Sequence[Replacement]) -> Standing | None:
    first_of_router = max((one.after_seq for one in others), default=0)
    router = tx.scalar(_FIRST_AFTER, {"device": device_id, "seq": first_of_router})
    row = tx.execute(_STANDING, {"device": device_id, "router": router}).one_or_none()
    if row is None:
        return None
    return Standing(Seq(row.seq), row.since, Seq(row.last_seq), row.last_seen_at, int(row.observations))


def _owner(row: Row[Any]) -> Owner:
    return Owner(TenantId(row.tenant_id), DeviceId(row.id), row.name, row.driver)


def _entries(tx: Connection, rows: Sequence[Row[Any]]) -> tuple[Entry, ...]:
    """With the rules of now: one that was added since hides what it would have hidden."""
    rules = rules_of(tx, [DeviceId(device_id) for device_id in sorted({row.device_id for row in rows})])
    return tuple(_entry(row, rules.get(row.device_id, ())) for row in rows)


def _entry(row: Row[Any], rules: tuple[Rule, ...] = ()) -> Entry:
    return Entry(
        Owner(TenantId(row.tenant_id), DeviceId(row.device_id), row.name, row.driver),
        Seq(row.seq),
        row.collected_at,
        Seq(row.previous_seq),
        row.previous_at,
        row.facts or {},
        _told(row),
        row.interpret_tries,
        row.given_up_at,
        rules,
        row.previous_number,
    )


def _told(row: Row[Any]) -> Told | None:
    if row.kind is None:
        return None
    return Told(
        row.kind,
        Seq(row.after_seq),
        row.detail,
        row.lines_added,
        row.lines_removed,
        row.changes,
        row.ignored,
        tuple(row.components),
        row.changes_sealed,
        row.diff_sealed,
    )
