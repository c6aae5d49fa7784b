"""The interpreter's view: changes that are to be interpreted, and what came of it.

What is due is a query, so that nothing is ever lost: stored, not known to be no change, not interpreted, and nothing
of its device that was read before may still come. It is leased, and `interpret_tries` is the fence: it counts before
the work begins, so that whatever kills its reader does so no more than a few times. A lease is taken without the lock
of the device, on rows that nobody holds; what is written is written under that lock, if the predecessor is still the
same.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, Row, text

from backupflow.adapters.db import flapping
from backupflow.adapters.db.alarms import Alarms
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.ignore_rules import rules_of
from backupflow.adapters.db.keys import oldest_version
from backupflow.adapters.db.replacements import replacements_of
from backupflow.adapters.db.snapshots import GIVEN_UP, snapshot_of
from backupflow.adapters.db.told_changes import tell_change
from backupflow.core.export import NORMALIZATION_VERSION
from backupflow.core.flapping import Quota
from backupflow.core.interpretation import Owed
from backupflow.core.model import CollectionId, DeviceId, Purpose, Seq, TenantId
from backupflow.core.told_change import ToldChange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.interpretation import Enclosed, Interpretation

DEFAULT_QUOTA: Final = Quota()
LEASE: Final = timedelta(minutes=2)  # longer than any interpretation takes
# The newest first: what happened just now is asked for, and a past of years that is interpreted anew can wait.
_TAKE = text("""
    WITH coming AS MATERIALIZED (
        SELECT device_id, min(seq) AS seq FROM collection WHERE state = 'published' GROUP BY device_id),
    due AS (
        SELECT c.id FROM collection c JOIN tenant t ON t.id = c.tenant_id
        WHERE c.state = 'stored' AND c.is_change IS NOT FALSE AND c.interpreted_after_seq IS NULL
          AND (c.interpret_until BETWEEN now() AND now() + CAST(:lease AS interval)) IS NOT TRUE
          AND t.removed_at IS NULL AND c.tenant_id <> ALL(CAST(:without AS uuid[]))
          AND NOT EXISTS (SELECT 1 FROM coming p WHERE p.device_id = c.device_id AND p.seq < c.seq)
        ORDER BY c.id DESC LIMIT 1 FOR NO KEY UPDATE OF c SKIP LOCKED)
    UPDATE collection c SET interpret_tries = c.interpret_tries + 1, interpret_until = now() + :lease
    FROM due WHERE c.id = due.id RETURNING c.id""")
_WAITS = text("""
    SELECT EXISTS (
        SELECT 1 FROM collection c JOIN tenant t ON t.id = c.tenant_id
        WHERE c.state = 'stored' AND c.is_change IS NOT FALSE AND c.interpreted_after_seq IS NULL
          AND t.removed_at IS NULL)""")
_SIDE = f"""
    SELECT c.id AS collection_id, c.interpret_tries, c.interpret_until, c.is_change, c.masked_hash, c.facts,
        d.kept_from_seq, d.tenant_id, d.id, d.name, d.driver, t.pepper, c.seq, c.collected_at, o.first_seq,
        coalesce(f.collected_at, o.created_at) AS first_collected_at, o.normalization_version, o.content_hash, o.sealed,
        {GIVEN_UP.format(seq="o.first_seq")}, o.first_seq <= d.unhashed_to_seq AS unhashed,
        c.normalization_version AS row_version, c.log_sealed
    FROM collection c JOIN device d ON d.id = c.device_id JOIN tenant t ON t.id = d.tenant_id
    JOIN content o ON o.id = c.content_id LEFT JOIN collection f ON f.device_id = d.id AND f.seq = o.first_seq
    WHERE {{which}}"""
_AFTER = text(_SIDE.format(which="c.id = :collection"))
_BEFORE = text(_SIDE.format(which="c.device_id = :device AND c.seq = :seq"))
_BEFORE_SEQ = text("""
    SELECT max(seq) FROM collection WHERE device_id = :device AND state = 'stored' AND seq < :seq AND seq > :router""")
_LOCK = text("SELECT kept_from_seq FROM device WHERE id = :device FOR NO KEY UPDATE")
_STANDS = text("""
    SELECT 1 FROM collection WHERE id = :collection AND state = 'stored' AND is_change IS NOT FALSE
      AND interpreted_after_seq IS NULL AND interpret_tries = :tries AND interpret_until = :until FOR NO KEY UPDATE""")
_GIVE_BACK = text("""
    UPDATE collection SET interpret_tries = greatest(interpret_tries - 1, 0), interpret_until = NULL
    WHERE id = :collection AND interpret_tries = :tries AND interpret_until = :until
      AND interpreted_after_seq IS NULL""")
_COLUMNS = (
    "collection_id, tenant_id, device_id, seq, after_seq, at, normalization_version, kind, detail, lines_added, "
    "lines_removed, changes, ignored, components, touched, changes_sealed, diff_sealed"
)
_WRITE = text(f"""
    INSERT INTO interpretation ({_COLUMNS}) VALUES (
        :collection, :tenant, :device, :seq, :after, :at, :version, :kind, :detail, :lines_added, :lines_removed,
        :changes, :ignored, CAST(:components AS jsonb), CAST(:touched AS jsonb), :changes_sealed, :diff_sealed)
    ON CONFLICT (collection_id) DO UPDATE SET ({_COLUMNS}, created_at) = (
        {", ".join(f"excluded.{column.strip()}" for column in _COLUMNS.split(","))}, now())""")
_INTERPRETED = text("""
    UPDATE collection SET is_change = true, interpreted_after_seq = :after, interpret_until = NULL
    WHERE id = :collection""")
_UNCHANGED = text("UPDATE collection SET is_change = false, interpret_until = NULL WHERE id = :collection")
_FORGET = text("DELETE FROM interpretation WHERE collection_id = :collection")


class Interpretations(Alarms):
    """core.ports.InterpretationStore."""

    def __init__(self, engine: Engine, quota: Quota = DEFAULT_QUOTA) -> None:
        super().__init__(engine)
        self._quota = quota

    def take(self, without: Sequence[TenantId] = ()) -> Owed | None:
        """Lease the next one, and count the try; what is of a tenant in `without` waits. None: there is none."""
        with transaction(self._engine) as tx:
            found = tx.scalar(_TAKE, {"lease": LEASE, "without": list(without)})
            if found is None:
                return None
            return _owed(tx, tx.execute(_AFTER, {"collection": found}).one())

    def waits(self) -> bool:
        """Whether anything is to be interpreted, also what somebody has taken."""
        with transaction(self._engine) as tx:
            return bool(tx.scalar(_WAITS))

    def let_go(self) -> int:
        """Look at devices that have flapped for a day; how many do no more."""
        with transaction(self._engine) as tx:
            return flapping.let_go(tx, self._quota)

    def give_back(self, owed: Owed) -> None:
        """It was not its fault: let the next one have it at once, and count nothing."""
        with transaction(self._engine) as tx:
            tx.execute(_GIVE_BACK, _lease(owed))

    def write(self, owed: Owed, found: Interpretation, enclosed: Enclosed) -> bool:
        """Write what it is; False, and nothing is written, if it is another one's by now, or follows another one."""
        with transaction(self._engine) as tx:
            if not _still(tx, owed) or _is_retired(tx, owed.after.tenant_id, enclosed):
                return False
            tx.execute(_WRITE, _values(owed, found, enclosed))
            tx.execute(_INTERPRETED, {"collection": owed.collection_id, "after": _seq_before(owed)})
            owner = (owed.after.tenant_id, owed.after.device_id)
            tell_change(tx, owner, _told(owed, found), enclosed.told)
            flapping.mind(tx, owed.after.device_id, self._quota)
            return True

    def unchanged(self, owed: Owed) -> bool:
        """Two normalizations of one text: it is no change, and nothing is to be told of it."""
        with transaction(self._engine) as tx:
            if not _still(tx, owed):
                return False
            tx.execute(_FORGET, {"collection": owed.collection_id})
            tx.execute(_UNCHANGED, {"collection": owed.collection_id})
            return True


def _owed(tx: Connection, after: Row[Any]) -> Owed:
    seq = _before(tx, DeviceId(after.id), Seq(after.seq))
    before = tx.execute(_BEFORE, {"device": after.id, "seq": seq}).one() if seq else None
    return Owed(
        CollectionId(after.collection_id),
        after.interpret_tries,
        after.interpret_until,
        after.collected_at,
        undecided=after.is_change is None,
        only_secrets=before is not None and _only_secrets(before, after),
        versions=(_fact(before, "version"), _fact(after, "version")),
        after=snapshot_of(after),
        before=None if before is None else snapshot_of(before),
        before_is_gone=before is None and after.kept_from_seq > 1,
        rules=rules_of(tx, [DeviceId(after.id)]).get(DeviceId(after.id), ()),
        log=after.log_sealed,
    )


def _before(tx: Connection, device_id: DeviceId, seq: Seq) -> Seq:
    """The stored observation just before, 0: none; of an earlier router behind the name none counts."""
    ends = [one.after_seq for one in replacements_of(tx, device_id) if one.after_seq < seq]
    values = {"device": device_id, "seq": seq, "router": max(ends, default=0)}
    return Seq(tx.scalar(_BEFORE_SEQ, values) or 0)


def _only_secrets(before: Row[Any], after: Row[Any]) -> bool:
    """As adapters.db.snapshots has it: equal but for the secrets, which one of them shows and the other hides."""
    equal = after.masked_hash is not None and before.masked_hash == after.masked_hash
    shown = _fact(before, "secrets"), _fact(after, "secrets")
    return equal and before.row_version == after.row_version and shown[0] != shown[1] and all(shown)


def _fact(row: Row[Any] | None, name: str) -> str:
    found = (row.facts or {}).get(name) if row is not None else None
    return found if isinstance(found, str) else ""


def _still(tx: Connection, owed: Owed) -> bool:
    """Under the lock of the device: it waits for whoever took it, and its predecessor is the one of then.

    One that retention has taken away since then was the right one all the same.
    """
    kept_from = tx.scalar(_LOCK, {"device": owed.after.device_id})
    stands = tx.scalar(_STANDS, _lease(owed))
    if stands is None:
        return False
    now, then = _before(tx, owed.after.device_id, owed.after.seq), _seq_before(owed)
    return now == then or (now == 0 and then < kept_from)


def _lease(owed: Owed) -> dict[str, object]:
    return {"collection": owed.collection_id, "tries": owed.tries, "until": owed.leased_until}


def _is_retired(tx: Connection, tenant_id: TenantId, enclosed: Enclosed) -> bool:
    """Whether the vault opens nothing any more that is sealed under the version that this is."""
    sealed_under = enclosed.oldest_version
    return sealed_under is not None and sealed_under < oldest_version(tx, tenant_id, Purpose.DATA)


def _seq_before(owed: Owed) -> Seq:
    return owed.before.seq if owed.before else Seq(0)


def _values(owed: Owed, found: Interpretation, enclosed: Enclosed) -> dict[str, object]:
    return {
        "collection": owed.collection_id,
        "tenant": owed.after.tenant_id,
        "device": owed.after.device_id,
        "seq": owed.after.seq,
        "after": _seq_before(owed),
        "at": owed.collected_at,
        "version": NORMALIZATION_VERSION,
        "kind": found.kind,
        "detail": found.detail,
        "lines_added": found.lines_added,
        "lines_removed": found.lines_removed,
        "changes": found.count,
        "ignored": found.ignored,
        "components": json.dumps(found.components),
        "touched": json.dumps(found.touched),
        "changes_sealed": enclosed.changes.text if enclosed.changes else None,
        "diff_sealed": enclosed.diff.text if enclosed.diff else None,
    }


def _told(owed: Owed, found: Interpretation) -> ToldChange:
    return ToldChange(
        found.kind,
        owed.after.seq,
        _seq_before(owed),
        found.count,
        found.ignored,
        found.lines_added,
        found.lines_removed,
        found.components,
    )
