"""Many configurations, to be searched: page by page, who searches written down before the first one is read.

Which devices these are is settled then: one that is renamed or moved meanwhile is neither missed nor searched twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, text

from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.snapshots import GIVEN_UP, device_named, snapshot_of
from backupflow.adapters.db.stretches import number_of
from backupflow.core.model import DeviceId
from backupflow.core.searching import Candidate, Extent
from backupflow.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from backupflow.core.searching import Cursor, Search

PAGE: Final = 100
PAGE_BYTES: Final = 4 * 1024 * 1024  # of sealed text; a larger one is a page alone
_NAMED: Final = {
    "group": text("SELECT id FROM device_group WHERE tenant_id = :tenant AND name = :name"),
    "site": text("SELECT id FROM site WHERE tenant_id = :tenant AND name = :name"),
}
# A content is what was collected with one text, however often: it is searched once.
_OF: Final = """
    JOIN content o ON o.tenant_id = d.tenant_id AND o.device_id = d.id
    LEFT JOIN collection c ON c.device_id = d.id AND c.seq = d.current_seq AND c.state = 'stored'
    WHERE d.tenant_id = :tenant AND (:every OR c.content_id = o.id)"""
_COUNT = text(f"""
    SELECT d.id, count(*) AS snapshots FROM device d {_OF}
      AND (CAST(:device AS uuid) IS NULL OR d.id = :device)
      AND (CAST(:group AS uuid) IS NULL OR d.device_group_id = :group)
      AND (CAST(:site AS uuid) IS NULL OR d.site_id = :site)
      AND (:every OR d.status <> 'removed' OR d.id = :device)
    GROUP BY d.id ORDER BY d.name, d.id""")
_PAGE = text(f"""
    WITH next AS (
        SELECT x.place, o.id AS content, octet_length(o.sealed) AS size, coalesce(c.content_id = o.id, false) AS current
        FROM unnest(CAST(:devices AS uuid[])) WITH ORDINALITY x (id, place) JOIN device d ON d.id = x.id {_OF}
          AND (x.place, o.id) > (:place, :content)
        ORDER BY x.place, o.id LIMIT :page),
    fitting AS (SELECT *, sum(size) OVER (ORDER BY place, content) - size AS before FROM next)
    SELECT n.place, n.content, n.current, d.tenant_id, d.id, d.name, d.driver, d.status, t.pepper,
        CASE WHEN n.current THEN c.seq ELSE o.first_seq END AS seq,
        CASE WHEN n.current THEN c.collected_at ELSE coalesce(f.collected_at, o.created_at) END AS collected_at,
        o.first_seq, coalesce(f.collected_at, o.created_at) AS first_collected_at, o.normalization_version,
        o.content_hash, o.sealed, {GIVEN_UP.format(seq="o.first_seq")}, o.first_seq <= d.unhashed_to_seq AS unhashed,
        CASE WHEN n.current THEN {number_of("c.seq")} ELSE o.first_seq END AS stretch
    FROM fitting n JOIN content o ON o.id = n.content JOIN device d ON d.id = o.device_id
    JOIN tenant t ON t.id = d.tenant_id
    LEFT JOIN collection c ON c.device_id = d.id AND c.seq = d.current_seq
    LEFT JOIN collection f ON f.device_id = d.id AND f.seq = o.first_seq
    WHERE n.before < :bytes ORDER BY n.place, n.content""")


class Searching:
    """core.ports.SearchStore."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self, search_id: UUID, wanted: Search, actor: str) -> Extent:
        """Count them; who searches is written down in the same transaction. NotFound names what there is not."""
        with transaction(self._engine) as tx:
            values = _values(tx, wanted)
            rows = tx.execute(_COUNT, values).all()
            extent = Extent(tuple(DeviceId(row.id) for row in rows), sum(row.snapshots for row in rows))
            said = {"search": search_id, **wanted.said, "devices": len(extent.devices), "snapshots": extent.snapshots}
            owner = {"tenant_id": wanted.tenant_id, "device_id": values["device"]}
            record_act(tx, actor, "config_searched", **owner, detail=said)
        return extent

    def page(self, wanted: Search, devices: Sequence[DeviceId], after: Cursor | None) -> Sequence[Candidate]:
        """The next ones of these devices, in their order, of bounded number and bytes."""
        place, content = after or (0, 0)
        values = {"tenant": wanted.tenant_id, "every": wanted.every, "devices": list(devices)}
        bounds = {"page": PAGE, "bytes": PAGE_BYTES}
        with transaction(self._engine) as tx:
            rows = tx.execute(_PAGE, {**values, "place": place, "content": content, **bounds}).all()
        return [
            Candidate((row.place, row.content), snapshot_of(row), row.current, row.status == "removed") for row in rows
        ]

    def ended(self, search_id: UUID, wanted: Search, actor: str, found: Mapping[str, Any]) -> None:
        """Write down what came of it."""
        with transaction(self._engine) as tx:
            detail = {"search": search_id, **found}
            record_act(tx, actor, "config_search_ended", tenant_id=wanted.tenant_id, detail=detail)


def _values(tx: Connection, wanted: Search) -> dict[str, Any]:
    values: dict[str, Any] = {"tenant": wanted.tenant_id, "every": wanted.every, "device": None}
    if wanted.device is not None:
        values["device"] = device_named(tx, wanted.tenant_id, wanted.device)
    for kind, name in (("group", wanted.group), ("site", wanted.site)):
        values[kind] = None if name is None else tx.scalar(_NAMED[kind], {"tenant": wanted.tenant_id, "name": name})
        if name is not None and values[kind] is None:
            raise NotFound(f"{kind} {name!r}; see `{kind} list`")
    return values
