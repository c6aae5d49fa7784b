"""What follows for the database when keys are given up for good: all of it in one transaction, with its audit row.

Lock order: the tenant's devices, in order of id, then all that belongs to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, text

from backupflow.adapters.db.audit import record_act
from backupflow.adapters.db.effective import LOGIN
from backupflow.adapters.db.engine import transaction
from backupflow.adapters.db.rotating import UNKNOWN
from backupflow.adapters.db.told_changes import tell_without_lines
from backupflow.core.keys import KEY_MADE, KEYS_LOST, Renewal, Renewed
from backupflow.core.ledger import COLLECTING
from backupflow.core.model import Purpose
from backupflow.errors import Conflict, TransitKeyMissing

if TYPE_CHECKING:
    from backupflow.core.model import TenantId

DONE = "keys_renewed"  # action in the audit
_LOCK = text("SELECT id FROM device WHERE tenant_id = :tenant ORDER BY id FOR NO KEY UPDATE")
_MARK = text("""
    UPDATE transit_key SET mark = :new, created_at = now(), marked_at = now(), oldest_version = 1
    WHERE tenant_id = :tenant AND purpose = :purpose AND mark = :old RETURNING purpose""")
_SEALED_PEPPER = text("SELECT pepper FROM tenant WHERE id = :tenant")
_PEPPER = text("UPDATE tenant SET pepper = :pepper WHERE id = :tenant")
# What was read until now is not opened any more. It is the same router: what is known of it without being sealed, its
# serial number and the size of its export, is compared as ever. Hashes of before equal none under the new pepper.
_SNAPSHOTS = text("UPDATE device SET unreadable_to_seq = last_seq WHERE tenant_id = :tenant AND last_seq > 0")
_HASHES = text("UPDATE device SET unhashed_to_seq = last_seq WHERE tenant_id = :tenant AND last_seq > 0")
# Soon, since what there is cannot be read; but not all at once.
_SOON = text("""
    UPDATE device SET next_due_at = least(next_due_at, now() + random() * interval '5 minutes')
    WHERE tenant_id = :tenant AND status = 'active'""")
_LOST = "coalesce(CAST(substring({column} FROM '^vault:v([1-9][0-9]*):') AS bigint) > :above, true)"
# A rotation of which one login is lost cannot go on: nobody knows what is on which router, and one secret is to be set.
_ROTATIONS = text(f"""
    SELECT id FROM credential_profile WHERE tenant_id = :tenant AND next_sealed IS NOT NULL
      AND ({_LOST.format(column="sealed")} OR {_LOST.format(column="next_sealed")}) ORDER BY id FOR NO KEY UPDATE""")
_LOGINS = text(f"""
    UPDATE credential_profile SET suspended_at = now(), suspended_reason = :reason, trial_at = NULL, trials = 0,
        next_username = NULL, next_method = NULL, next_sealed = NULL, next_changed_at = NULL
    WHERE tenant_id = :tenant AND ({_LOST.format(column="sealed")} OR id = ANY(:rotations))""")
_NOT_ASKED = text(f"""
    UPDATE device x SET {UNKNOWN} FROM (SELECT d.id FROM device d {LOGIN} WHERE l.id = ANY(:rotations)) rotated
    WHERE x.id = rotated.id""")
_CLAIMS = text("""
    UPDATE collection SET state = 'withdrawn', code = 'withdrawn', detail = 'the keys were renewed', ended_at = now()
    WHERE tenant_id = :tenant AND state = 'claimed'""")
# No other process clears it before something is published again; beat and ingest see by themselves that theirs is over.
_ALARM = text("""
    UPDATE alarm SET cleared_at = now()
    WHERE scope = :scope AND code = :code AND cleared_at IS NULL""")
_MADE = text("""
    SELECT detail FROM audit WHERE tenant_id = :tenant AND action = :made AND id > coalesce(
        (SELECT max(id) FROM audit WHERE tenant_id = :tenant AND action = :done), 0) ORDER BY id""")


class Renewals:
    """core.ports.RenewalStore."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def made(self, tenant_id: TenantId) -> dict[Purpose, str]:
        """The marks of keys that were made since a renewal last came to its end."""
        with transaction(self._engine) as tx:
            details = tx.scalars(_MADE, {"tenant": tenant_id, "made": KEY_MADE, "done": DONE}).all()
        return {Purpose(name): mark for detail in details for name, mark in detail.items()}

    def renew(self, renewal: Renewal, actor: str) -> Renewed:
        """Write all that follows; Conflict if a canary is not the one any more that was found to be lost."""
        tenant = {"tenant": renewal.tenant_id}
        with transaction(self._engine) as tx:
            tx.execute(_LOCK, tenant).all()
            _marks(tx, renewal)
            devices = logins = 0
            pepper_before = tx.scalar(_SEALED_PEPPER, tenant)
            if renewal.pepper is not None:
                tx.execute(_PEPPER, tenant | {"pepper": renewal.pepper.text})
                devices = tx.execute(_HASHES, tenant).rowcount
            if renewal.gives_up_snapshots:
                devices = tx.execute(_SNAPSHOTS, tenant).rowcount
                tell_without_lines(tx, renewal.tenant_id)
            if renewal.logins_above is not None:
                logins = _give_logins_up(tx, renewal, renewal.logins_above)
            tx.execute(_CLAIMS, tenant)
            tx.execute(_SOON, tenant)
            tx.execute(_ALARM, {"scope": COLLECTING, "code": TransitKeyMissing.code})
            done = Renewed(renewal.lost, devices, logins)
            record_act(tx, actor, DONE, tenant_id=renewal.tenant_id, detail=_detail(renewal, done, pepper_before))
            return done


def _give_logins_up(tx: Connection, renewal: Renewal, above: int) -> int:
    """How many are to be set again. Whatever their devices were on, the next secret is the only one."""
    values = {"tenant": renewal.tenant_id, "above": above}
    rotations = list(tx.scalars(_ROTATIONS, values))
    tx.execute(_NOT_ASKED, {"rotations": rotations})
    return tx.execute(_LOGINS, values | {"reason": KEYS_LOST, "rotations": rotations}).rowcount


def _marks(tx: Connection, renewal: Renewal) -> None:
    for purpose, old in renewal.before.items():
        values = {"tenant": renewal.tenant_id, "purpose": purpose, "old": old, "new": renewal.marks[purpose]}
        if tx.scalar(_MARK, values) is None:
            raise Conflict(f"the {purpose} key was changed by somebody else meanwhile; nothing was written")


def _detail(renewal: Renewal, done: Renewed, pepper_before: str | None) -> dict[str, object]:
    """With the canaries of before, and the pepper, still sealed: they serve should the old keys come back."""
    return {
        "lost": {purpose.value: why.name.lower() for purpose, why in renewal.lost.items()},
        "canaries_before": {purpose.value: mark for purpose, mark in renewal.before.items()},
        "pepper": renewal.pepper is not None,
        "sealed_pepper_before": pepper_before if renewal.pepper is not None else None,
        "snapshots_of_devices": done.devices if Purpose.DATA in renewal.lost else 0,
        "logins": done.logins,
    }
