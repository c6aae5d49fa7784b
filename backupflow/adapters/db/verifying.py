"""What verifying sees of the ledger, a row at a time, and what it writes: when each was looked at, and alarms.

Nothing is locked: each question is one statement, so that it sees one moment, and ingest goes on meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, Row, TextClause, text

from backupflow.adapters.db.alarms import clear_alarm, raise_alarm
from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.snapshots import snapshot_of
from backupflow.core.model import DeviceId, Seq, TenantId
from backupflow.core.verification import (
    DAMAGED,
    Due,
    Flaw,
    Kept,
    Keyless,
    Sight,
    Standing,
    Wanted,
    alarm_scope,
    keys_scope,
)
from backupflow.errors import TransitKeyMissing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

MOST_FLAWS = 100  # of one device: the first of them say what there is to say
# What is asked for: the keys of a tenant that was removed may be gone, and nobody may ask for what was its.
_ASKED = """t.removed_at IS NULL AND (CAST(:tenant AS uuid) IS NULL OR d.tenant_id = :tenant)
    AND (CAST(:device AS uuid) IS NULL OR d.id = :device)"""
_OPENED = "d.tenant_id <> ALL(CAST(:without AS uuid[]))"
_OWNER = "JOIN device d ON d.id = k.device_id AND d.tenant_id = k.tenant_id JOIN tenant t ON t.id = d.tenant_id"
_KEPT = {
    Kept.CONTENT: f"content k {_OWNER}",
    Kept.ASIDE: f"aside k {_OWNER} JOIN collection c ON c.id = k.collection_id",
}
_NUMBER = {Kept.CONTENT: "k.id", Kept.ASIDE: "k.collection_id"}
_SEQ = {Kept.CONTENT: "k.first_seq", Kept.ASIDE: "c.seq"}
_READABLE = {kept: f"{seq} > d.unreadable_to_seq" for kept, seq in _SEQ.items()}
_DONE = "k.verified_at >= :before"
# By the greatest seq and not by what the device's row says, which is to be verified itself.
_NEWEST = """LATERAL (
    SELECT c.seq, c.content_id FROM collection c WHERE c.device_id = d.id AND c.state = 'stored'
    ORDER BY c.seq DESC LIMIT 1)"""
_BEFORE = text("SELECT now() - coalesce(CAST(:window AS interval), interval '0')")
_COUNT = {
    kept: f"""
        SELECT count(*) FILTER (WHERE {_READABLE[kept]}) AS readable,
            count(*) FILTER (WHERE NOT {_READABLE[kept]}) AS unreadable,
            count(*) FILTER (WHERE {_READABLE[kept]} AND {_DONE} AND {{counts}}) AS done
        FROM {_KEPT[kept]} WHERE {_ASKED}"""
    for kept in Kept
}
_COUNT_CONTENTS = text(
    _COUNT[Kept.CONTENT].format(
        counts="NOT EXISTS (SELECT 1 FROM collection x WHERE x.id = d.current_collection_id AND x.content_id = k.id)"
    )
)
_COUNT_ASIDES = text(_COUNT[Kept.ASIDE].format(counts="true"))
_WAITING = f"""
    device d JOIN tenant t ON t.id = d.tenant_id CROSS JOIN {_NEWEST} n
    LEFT JOIN content k ON k.id = n.content_id AND {_READABLE[Kept.CONTENT]}
    WHERE {_ASKED} AND ((d.history_verified_at >= :before) IS NOT TRUE
        OR k.id IS NOT NULL AND ({_DONE}) IS NOT TRUE AND {_OPENED})"""
_COUNT_DEVICES = text(f"SELECT count(*) FROM {_WAITING}")
_DEVICES = text(f"""
    SELECT d.id, d.name, k.id AS content FROM {_WAITING} AND (CAST(:after AS uuid) IS NULL OR d.id > :after)
    ORDER BY d.id LIMIT :limit""")
# A row's `is_change` is decided by the one before it; across versions of the normalization it takes both texts.
_FLAWS = text(f"""
    WITH stored AS (
        SELECT c.seq, c.collected_at, c.is_change, o.id AS content, lag(c.seq) OVER w AS before,
            c.content_hash <> lag(c.content_hash) OVER w AS differs,
            c.normalization_version <> lag(c.normalization_version) OVER w AS undecided
        FROM collection c LEFT JOIN content o ON o.id = c.content_id AND o.device_id = c.device_id
        WHERE c.device_id = :device AND c.state = 'stored' WINDOW w AS (ORDER BY c.seq)),
    flaw AS (
        SELECT seq, collected_at, CASE
            WHEN content IS NULL THEN 'it is stored, and its content is not there'
            WHEN before IS NULL AND is_change IS NOT TRUE THEN 'it is the oldest one, and does not count as a change'
            WHEN NOT undecided AND is_change IS DISTINCT FROM differs THEN
                CASE WHEN differs THEN 'it differs from the one before it, and does not count as a change'
                     ELSE 'it equals the one before it, and counts as a change' END END AS why
        FROM stored
        UNION ALL
        SELECT n.seq, c.collected_at, 'it is the newest one, and ' || CASE d.current_seq WHEN 0 THEN 'none'
            ELSE 'snapshot ' || d.current_seq END || ' is the current one'
        FROM device d CROSS JOIN {_NEWEST} n JOIN collection c ON c.device_id = d.id AND c.seq = n.seq
        WHERE d.id = :device AND (d.current_seq, d.current_collection_id) IS DISTINCT FROM (n.seq, c.id))
    SELECT seq, collected_at, why FROM flaw WHERE why IS NOT NULL ORDER BY seq LIMIT {MOST_FLAWS}""")
# In two parts, each of which the index gives in its order: to sort all that is not done takes as long as it is much.
_UNSEEN_OR_SEEN = ("k.verified_at IS NULL", "k.verified_at < :before")
_OLDEST = {
    kept: text(
        "SELECT number FROM ("
        + " UNION ALL ".join(
            f"""(SELECT {_NUMBER[kept]} AS number, k.verified_at FROM {_KEPT[kept]}
            WHERE {_ASKED} AND {_OPENED} AND {_READABLE[kept]} AND {when}
            ORDER BY k.verified_at NULLS FIRST, {_NUMBER[kept]} LIMIT :limit)"""
            for when in _UNSEEN_OR_SEEN
        )
        + ") oldest ORDER BY verified_at NULLS FIRST, number LIMIT :limit"
    )
    for kept in Kept
}
_OWNED = "d.tenant_id, d.id, d.name, d.driver, t.pepper"
_SIGHT = {
    Kept.CONTENT: text(f"""
        SELECT {_OWNED}, k.first_seq AS seq, coalesce(f.collected_at, k.created_at) AS collected_at, k.first_seq,
            coalesce(f.collected_at, k.created_at) AS first_collected_at, k.normalization_version, k.content_hash,
            k.sealed, NULL AS given_up_at, k.first_seq <= d.unhashed_to_seq AS unhashed, CASE
                WHEN r.rows = 0 THEN 'no collection refers to it'
                WHEN r.other IS NOT NULL THEN 'snapshot ' || r.other || ' refers to it and has another hash'
                WHEN f.id IS NOT NULL AND NOT r.first THEN 'the collection that brought it refers to another one'
                ELSE '' END AS why
        FROM {_KEPT[Kept.CONTENT]}
        LEFT JOIN collection f ON f.device_id = k.device_id AND f.seq = k.first_seq
        CROSS JOIN LATERAL (
            SELECT count(*) AS rows, bool_or(c.seq = k.first_seq) AS first, min(c.seq) FILTER (
                WHERE (c.content_hash, c.normalization_version)
                    IS DISTINCT FROM (k.content_hash, k.normalization_version)) AS other
            FROM collection c WHERE c.device_id = k.device_id AND c.state = 'stored' AND c.content_id = k.id) r
        WHERE k.id = :number AND {_READABLE[Kept.CONTENT]}"""),
    Kept.ASIDE: text(f"""
        SELECT {_OWNED}, c.seq, c.collected_at, c.seq AS first_seq, c.collected_at AS first_collected_at,
            c.normalization_version, c.content_hash, k.sealed,
            NULL AS given_up_at, c.seq <= d.unhashed_to_seq AS unhashed,
            CASE WHEN c.state IN ('suspect', 'blocked') THEN ''
                 ELSE 'its collection ended as ' || c.state END AS why
        FROM {_KEPT[Kept.ASIDE]} WHERE k.collection_id = :number AND {_READABLE[Kept.ASIDE]}"""),
}
_LOOKED_AT = {
    Kept.CONTENT: text("UPDATE content SET verified_at = now() WHERE id = ANY(:numbers)"),
    Kept.ASIDE: text("UPDATE aside SET verified_at = now() WHERE collection_id = ANY(:numbers)"),
}
# One that somebody works on is left to the next part.
_LOOKED_AT_HISTORIES = text("""
    UPDATE device SET history_verified_at = now() WHERE id IN (
        SELECT id FROM device WHERE id = ANY(:devices) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)""")
_CLEAR = text("""
    UPDATE alarm SET cleared_at = now() WHERE code = :code AND scope = ANY(:scopes) AND cleared_at IS NULL""")
# Kept exports whose alarm stands, by the alarm: there are few of those.
_ALARM_OF = {
    kept: f"""
        device d JOIN tenant t ON t.id = d.tenant_id
        JOIN {kept} k ON k.tenant_id = d.tenant_id AND k.device_id = d.id
        {"JOIN collection c ON c.id = k.collection_id" if kept is Kept.ASIDE else ""}
        WHERE d.id::text = split_part(a.scope, ' ', 2) AND a.scope = 'device ' || d.id || ' seq ' || {_SEQ[kept]}
          AND {_READABLE[kept]}"""
    for kept in Kept
}
_STANDS = "a.code = :code AND a.cleared_at IS NULL"
_ALARMED = {
    kept: text(f"""
        SELECT {_NUMBER[kept]} AS number FROM alarm a CROSS JOIN {_ALARM_OF[kept]}
          AND {_ASKED} AND {_OPENED} AND ({_DONE}) IS NOT TRUE AND {_STANDS}
        ORDER BY number LIMIT :limit""")
    for kept in Kept
}
# Of what is not kept any more, or was given up with its keys: nothing is left to be done about it.
_POINTLESS = text(f"""
    UPDATE alarm a SET cleared_at = now() WHERE {_STANDS} AND a.scope LIKE 'device %'
      AND NOT EXISTS (
        SELECT 1 FROM device d JOIN tenant t ON t.id = d.tenant_id CROSS JOIN {_NEWEST} n
        WHERE d.id::text = split_part(a.scope, ' ', 2) AND a.scope = 'device ' || d.id || ' history'
          AND t.removed_at IS NULL)
      AND NOT EXISTS (SELECT 1 FROM {_ALARM_OF[Kept.CONTENT]} AND t.removed_at IS NULL)
      AND NOT EXISTS (SELECT 1 FROM {_ALARM_OF[Kept.ASIDE]} AND t.removed_at IS NULL)""")


class Verifying:
    """core.ports.VerifyStore, as a role that may read all of it and write when it was looked at."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self, wanted: Wanted) -> Standing:
        """Count what there is, and write down that a person looks at it, before anything is opened."""
        with transaction(self._engine) as tx:
            values = _values(wanted, tx.execute(_BEFORE, {"window": wanted.window}).scalar_one())
            contents = tx.execute(_COUNT_CONTENTS, values).one()
            asides = tx.execute(_COUNT_ASIDES, values).one()
            devices = tx.execute(_COUNT_DEVICES, values).scalar_one()
            if wanted.actor is not None:
                owner = {"tenant_id": wanted.tenant_id, "device_id": wanted.device_id}
                record_act(tx, wanted.actor, "snapshots_verified", **owner, detail={"share": wanted.share})
            tx.execute(_POINTLESS, {"code": DAMAGED})
        unreadable = contents.unreadable + asides.unreadable
        return Standing(
            values["before"], devices, contents.readable, contents.done, asides.readable, asides.done, unreadable
        )

    def devices(self, wanted: Wanted, before: datetime, after: DeviceId | None, limit: int) -> Sequence[Due]:
        """The next devices by id whose newest observation was not looked at since then."""
        rows = self._all(_DEVICES, _values(wanted, before) | {"after": after, "limit": limit})
        return [Due(DeviceId(row.id), row.name, row.content) for row in rows]

    def flaws(self, device_id: DeviceId) -> Sequence[Flaw]:
        """What in a device's history contradicts itself, the oldest first, of bounded number."""
        return [Flaw(Seq(row.seq), row.collected_at, row.why) for row in self._all(_FLAWS, {"device": device_id})]

    def settle_history(self, due: Due, flaws: Sequence[Flaw]) -> bool:
        """Let the alarm of a device's history stand, or clear it; True if it is new."""
        scope = alarm_scope(due.device_id, None)
        with transaction(self._engine) as tx:
            if not flaws:
                tx.execute(_CLEAR, {"code": DAMAGED, "scopes": [scope]})
                return False
            more = f" (and {len(flaws) - 1} more)" if flaws[1:] else ""
            which = f"snapshot {flaws[0].seq}: " if flaws[0].seq else ""
            return raise_alarm(tx, DAMAGED, scope, f"{due.device_name}: {which}{flaws[0].why}{more}")

    def settle_keys(self, tenant_id: TenantId, why: str = "") -> bool:
        """Let the alarm of a tenant that has not its keys stand, or clear it; True if it is new."""
        scope, code = keys_scope(tenant_id), TransitKeyMissing.code
        with transaction(self._engine) as tx:
            if not why:
                clear_alarm(tx, code, scope)
                return False
            says = f"nothing of the tenant {tenant_id} can be verified: {why}"
            return raise_alarm(tx, code, scope, says, tenant_id)

    def oldest(self, kept: Kept, wanted: Wanted, before: datetime, limit: int) -> Sequence[int]:
        """The numbers of those that were not looked at for longest, and not since then."""
        rows = self._all(_OLDEST[kept], _values(wanted, before) | {"limit": limit})
        return [row.number for row in rows]

    def alarmed(self, kept: Kept, wanted: Wanted, before: datetime, limit: int) -> Sequence[int]:
        """The numbers of those whose alarm stands, and that were not looked at since then."""
        rows = self._all(_ALARMED[kept], _values(wanted, before) | {"limit": limit, "code": DAMAGED})
        return [row.number for row in rows]

    def sight(self, kept: Kept, number: int) -> Sight | Keyless | None:
        """One of them; None if it is gone, or was given up with its keys."""
        rows = self._all(_SIGHT[kept], {"number": number})
        if not rows:
            return None
        try:
            return Sight(snapshot_of(rows[0]), rows[0].why)
        except TransitKeyMissing as exc:
            return Keyless(TenantId(rows[0].tenant_id), exc.detail)

    def looked_at(self, kept: Kept, numbers: Sequence[int], whole: Sequence[str]) -> None:
        """Write down that they were looked at now, whatever was found; `whole` are the scopes of alarms to clear."""
        with transaction(self._engine) as tx:
            tx.execute(_LOOKED_AT[kept], {"numbers": list(numbers)})
            tx.execute(_CLEAR, {"code": DAMAGED, "scopes": list(whole)})

    def looked_at_histories(self, devices: Sequence[DeviceId]) -> None:
        """Write down that the histories of these devices were looked at now, whatever was found."""
        with transaction(self._engine) as tx:
            tx.execute(_LOOKED_AT_HISTORIES, {"devices": list(devices)})

    def _all(self, statement: TextClause, values: dict[str, Any]) -> Sequence[Row[Any]]:
        with transaction(self._engine) as tx:
            return tx.execute(statement, values).all()


def _values(wanted: Wanted, before: datetime) -> dict[str, Any]:
    return {
        "tenant": wanted.tenant_id,
        "device": wanted.device_id,
        "before": before,
        "without": list(wanted.without),
    }
