"""A jump host as a collector meets it: assigned, pinned, passed, or found to be in trouble.

Lock order: device, then collection, then jump host. What a session says of a jump host counts only as long as it is the
one that it began with: same address, same login.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, text

from backupflow.adapters.db import host_keys, observed
from backupflow.adapters.db.alarms import clear_alarm, raise_alarm
from backupflow.adapters.db.effective import HOP_DOWN, LOGIN, own_hindrance
from backupflow.adapters.db.expected_keys import expected_of_jump_host
from backupflow.adapters.db.host_keys import Owner
from backupflow.adapters.db.meanwhile import as_sealed, same_login
from backupflow.core.jump import JUMP_HOST_BLOCKED, JUMP_HOST_DOWN, JumpHost, JumpTrouble, scope_of
from backupflow.core.model import HostKey, JumpHostId, SealedSecret, Target
from backupflow.core.scope import resolve
from backupflow.errors import HostKeyMismatch, HostKeyUnapproved, InputInvalid, LoginSuspended

if TYPE_CHECKING:
    from uuid import UUID

    from backupflow.core.ledger import Assignment
    from backupflow.core.model import TrustedHow
    from backupflow.core.scope import Policy

_OF_ITS_KEY = {HostKeyMismatch.code, HostKeyUnapproved.code}
_LOAD = text("""
    SELECT h.name, h.host, h.port, h.settings, h.failures, h.reached_at, t.settings AS tenant_settings,
        hl.settings AS profile_settings, hl.id AS login_id, hl.username, hl.sealed, hl.changed_at, k.key_type, k.blob
    FROM jump_host h JOIN tenant t ON t.id = h.tenant_id JOIN credential_profile hl ON hl.id = h.credential_profile_id
    LEFT JOIN host_key k ON k.jump_host_id = h.id AND k.status = 'pinned' WHERE h.id = :jump_host""")
_SAME = f"(h.host, h.port) = (:host, :port) AND {same_login('hl')}"
# One that others found down may still be tried by who is at it; one that is blocked gets no login from anybody.
_ALLOWED = text(f"""
    SELECT 1 FROM collection c JOIN device d ON d.id = c.device_id {LOGIN}
    JOIN host_key k ON k.jump_host_id = h.id AND k.status = 'pinned' AND k.key_type = :key_type AND k.blob = :blob
    WHERE h.id = :jump_host AND {_SAME} AND (hl.suspended_at IS NULL OR hl.trial_at IS NOT NULL)
      AND h.blocked_code IS NULL AND c.id = :collection AND c.state = 'running' AND c.holder = :holder
      AND {own_hindrance("c.trigger")} IS NULL""")
_LOCK = text(f"""
    SELECT h.failures, h.blocked_code, h.reached_at, {_SAME} AS same,
        h.reached_at > c.started_at AS reached_since, {HOP_DOWN} AND c.started_at < h.retry_at AS known
    FROM jump_host h LEFT JOIN credential_profile hl ON hl.id = h.credential_profile_id
    LEFT JOIN collection c ON c.id = :collection
    WHERE h.id = :jump_host FOR NO KEY UPDATE OF h""")
# Looked at without its lock first: nearly every session finds nothing to write.
_NEWS = text("""
    SELECT 1 FROM jump_host h LEFT JOIN credential_profile hl ON hl.id = h.credential_profile_id
    WHERE h.id = :jump_host AND (h.down_since IS NOT NULL OR h.retry_at IS NOT NULL OR h.failures > 0
        OR hl.changed_at > h.reached_at
        OR coalesce(h.reached_at NOT BETWEEN now() - interval '1 minute' AND now(), true))""")
_REACHED = text("""
    UPDATE jump_host SET failures = 0, down_since = NULL, retry_at = NULL, reached_at = now() WHERE id = :jump_host""")
_DOWN = text("""
    UPDATE jump_host SET failures = failures + 1, down_since = coalesce(down_since, now()), retry_at = now() + :again
    WHERE id = :jump_host""")
_BLOCK = text("""
    UPDATE jump_host SET failures = failures + 1, down_since = coalesce(down_since, now()), retry_at = NULL,
        blocked_code = :code, blocked_detail = :detail, blocked_at = now() WHERE id = :jump_host""")


def assigned(tx: Connection, jump_host_id: UUID, defaults: Policy) -> JumpHost:
    """All that a collector needs to know of it; InputInvalid if its settings make no sense."""
    row = tx.execute(_LOAD, {"jump_host": jump_host_id}).one()
    pinned = HostKey(row.key_type, bytes(row.blob)) if row.blob else None
    policy = _policy(defaults, row)
    expected = () if pinned else expected_of_jump_host(tx, jump_host_id)
    return JumpHost(
        JumpHostId(jump_host_id),
        row.name,
        Target(row.host, row.port, pinned, policy.legacy_ssh, policy.timeouts, expected=expected),
        policy.trust,
        row.username,
        row.login_id,
        SealedSecret(row.sealed),
        row.changed_at,
        row.failures,
        row.reached_at is not None,
    )


def _policy(defaults: Policy, row: Row[Any]) -> Policy:
    """Its own settings before what its profile says of trust, before the tenant's."""
    try:
        trust = {name: value for name, value in (row.profile_settings or {}).items() if name == "trust"}
        return resolve(defaults, row.tenant_settings, trust, row.settings)
    except (ValueError, TypeError, AttributeError, OverflowError) as exc:
        raise InputInvalid(f"a setting of the jump host {row.name} cannot be understood") from exc


def allowed(tx: Connection, assignment: Assignment, key: HostKey) -> bool:
    """Whether its login may still be sent to it: the caller's row, its address, key and login are still these."""
    hop = assignment.jump_host
    if hop is None:
        return False
    row = {"collection": assignment.collection_id, "holder": assignment.holder}
    return tx.scalar(_ALLOWED, _same(hop) | row | {"key_type": key.key_type, "blob": key.blob}) is not None


def pin(tx: Connection, assignment: Assignment, key: HostKey, how: TrustedHow, defaults: Policy) -> None:
    """Trust a key on first sight, as it is trusted by now; fails as `host_keys.pin_first` does."""
    hop = _hop(assignment)
    if not (row := _locked(tx, assignment, hop)) or not row.same:
        raise LoginSuspended("the jump host has another address or login since the collection began")
    try:
        trust = assigned(tx, hop.jump_host_id, defaults).trust
    except InputInvalid as exc:
        raise LoginSuspended(exc.detail) from exc
    host_keys.pin_first(tx, Owner.hop(assignment), key, how, trust)


def reached(tx: Connection, assignment: Assignment) -> None:
    """A session has passed it: whatever trouble there was is over, but for a block, which a person takes away."""
    hop = _hop(assignment)
    if tx.scalar(_NEWS, {"jump_host": hop.jump_host_id}) is None:
        return
    row = _locked(tx, assignment, hop)
    if row is None or not row.same or row.blocked_code:
        return
    tx.execute(_REACHED, {"jump_host": hop.jump_host_id})
    if hop.target.pinned is not None:
        host_keys.verified(tx, assignment, hop.target.pinned, Owner.hop(assignment))
    clear_alarm(tx, JUMP_HOST_DOWN, scope_of(hop.jump_host_id))


def in_trouble(tx: Connection, assignment: Assignment, trouble: JumpTrouble) -> None:
    """Write down what a session met there, if nobody knows it by now, and nobody has reached or changed it since."""
    hop = _hop(assignment)
    row = _locked(tx, assignment, hop)
    if row is None or not row.same:
        return
    if trouble.code in _OF_ITS_KEY and not host_keys.same_as(tx, hop.jump_host_id, hop.target):
        return  # accepted, reset or foretold meanwhile
    if trouble.offered is not None:
        host_keys.offer(tx, assignment, trouble.offered, Owner.hop(assignment))
    if row.blocked_code:  # those who only shared the attempt may have said so first, without its key
        return
    if trouble.refuses_to_forward and row.reached_at is not None:  # somebody has come through it since
        return
    detail = observed.storable(trouble.detail)
    values = {"jump_host": hop.jump_host_id, "code": trouble.code, "detail": detail}
    scope, says = scope_of(hop.jump_host_id), detail or trouble.code
    says = says if says.startswith(f"{hop.name}: ") else f"{hop.name}: {says}"  # some details name it themselves
    if trouble.blocks:
        tx.execute(_BLOCK, values)
        clear_alarm(tx, JUMP_HOST_DOWN, scope)
        raise_alarm(tx, JUMP_HOST_BLOCKED, scope, says, assignment.tenant_id)
    elif not row.known and not row.reached_since:
        tx.execute(_DOWN, {"jump_host": hop.jump_host_id, "again": trouble.again_in})
        raise_alarm(tx, JUMP_HOST_DOWN, scope, says, assignment.tenant_id)


def _hop(assignment: Assignment) -> JumpHost:
    if assignment.jump_host is None:
        raise LoginSuspended("the device is reached without a jump host")
    return assignment.jump_host


def _locked(tx: Connection, assignment: Assignment, hop: JumpHost) -> Row[Any] | None:
    return tx.execute(_LOCK, _same(hop) | {"collection": assignment.collection_id}).one_or_none()


def _same(hop: JumpHost) -> dict[str, Any]:
    return as_sealed(hop) | {"jump_host": hop.jump_host_id, "host": hop.target.host, "port": hop.target.port}
