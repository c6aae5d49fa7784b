"""How a collection ends short of its observation, and what follows for its device; all in the caller's transaction.

The caller holds the device's lock (lock order: device, then collection).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

from backupflow.adapters.db import host_keys, observed
from backupflow.adapters.db.alarms import raise_alarm
from backupflow.adapters.db.claims import LOGIN
from backupflow.core import backoff
from backupflow.core.model import State
from backupflow.errors import ExportSuspect

if TYPE_CHECKING:
    from backupflow.core.ledger import Assignment, Ending, KeptAside

_END = text("""
    UPDATE collection SET state = :state, code = :code, detail = :detail, ended_at = now(), lease_until = NULL
    WHERE id = :collection AND holder = :holder AND state IN ('running', 'published') RETURNING id""")
# Only what was just read and never passed the fence is kept aside: a published row is the current one, or will be.
_END_ASIDE = text(f"""
    UPDATE collection SET state = :state, code = :code, detail = :detail, ended_at = now(), lease_until = NULL,
        {observed.SET}
    WHERE id = :collection AND holder = :holder AND state = 'running' RETURNING id""")
_ASIDE = text("""
    INSERT INTO aside (collection_id, tenant_id, device_id, sealed) VALUES (:collection, :tenant, :device, :sealed)""")
_FAILED = text("""
    UPDATE device SET failures = failures + :counts, losses = CASE WHEN :pauses THEN losses + 1 ELSE 0 END,
        lane = CASE WHEN :slow THEN 'collect.slow' ELSE lane END,
        next_due_at = CASE WHEN status <> 'active' OR CAST(:wait AS interval) IS NULL THEN next_due_at
                           WHEN :spread THEN greatest(now(), least(next_due_at, now() + :wait)) ELSE now() + :wait END
    WHERE id = :device""")
# An operator has acted while the session ran: what it was refused for is not the device's login, key or router any
# more, SHA-1 was allowed anew, or the next export is to be believed. Of a router that was replaced nothing blocks.
_ANSWERED = text(f"""
    SELECT 1 FROM device d {LOGIN} LEFT JOIN host_key k ON k.device_id = d.id AND k.status = 'pinned'
    WHERE d.id = :device AND (:code = 'authentication_failed' AND l.id IS DISTINCT FROM :login
        OR :code = 'host_key_mismatch' AND k.blob = :offered
        OR :code = 'ssh_downgraded' AND d.modern_ssh_at IS NULL
        OR :code = 'export_suspect' AND d.believe_seq >= :seq
        OR d.router_since_seq >= :seq)""")
_BLOCK = text("""
    UPDATE device SET blocked_code = :code, blocked_detail = :detail, blocked_at = now() WHERE id = :device""")


def end(tx: Connection, assignment: Assignment, ending: Ending) -> bool:
    """running (or published, after a definite refusal) -> a final state; False if the lease is gone."""
    ending = _unless_answered(tx, assignment, replace(ending, detail=observed.storable(ending.detail)))
    values = {
        "collection": assignment.collection_id,
        "holder": assignment.holder,
        "state": ending.state,
        "code": ending.code,
        "detail": ending.detail,
    }
    if not _ended(tx, assignment, values, ending.aside):
        return False
    _consequences(tx, assignment, ending)
    return True


def _ended(tx: Connection, assignment: Assignment, values: dict[str, Any], aside: KeptAside | None) -> bool:
    if aside is None:
        return tx.execute(_END, values).scalar() is not None
    if tx.execute(_END_ASIDE, values | observed.columns(aside.published)).scalar() is None:
        return False
    owner = {"tenant": assignment.tenant_id, "device": assignment.device_id}
    tx.execute(_ASIDE, owner | {"collection": assignment.collection_id, "sealed": aside.sealed.text})
    host_keys.verified(tx, assignment, aside.published.host_key)
    return True


def _unless_answered(tx: Connection, assignment: Assignment, ending: Ending) -> Ending:
    """A block that an operator has answered meanwhile blocks nobody: the device is tried again at once.

    Nor does a doubt that compares with a router which was replaced meanwhile, or that was answered.
    """
    if not ending.blocks and ending.code != ExportSuspect.code:
        return ending
    asked = {
        "device": assignment.device_id,
        "seq": assignment.seq,
        "code": ending.code,
        "login": assignment.login_id,
        "offered": ending.offered.blob if ending.offered else None,
    }
    if tx.scalar(_ANSWERED, asked) is None:
        return ending
    state = State.FAILED if ending.blocks else ending.state
    return replace(ending, state=state, counts=False, blocks=False, again_in=timedelta(0), offered=None, alarm="")


def _consequences(tx: Connection, assignment: Assignment, ending: Ending) -> None:
    device = {"device": assignment.device_id}
    what = {"counts": int(ending.counts), "wait": ending.again_in, "slow": ending.slow, "pauses": ending.pauses}
    tx.execute(_FAILED, device | what | {"spread": backoff.no_later_than_its_turn(ending.again_in)})
    if ending.offered is not None:
        host_keys.offer(tx, assignment, ending.offered)
    if ending.alarm:
        detail = f"{assignment.device_name}: {ending.detail}"
        raise_alarm(tx, ending.code, ending.alarm, detail, assignment.tenant_id)
    if ending.blocks:
        tx.execute(_BLOCK, device | {"code": ending.code, "detail": ending.detail})
        scope = f"device {assignment.device_id}"
        raise_alarm(tx, ending.code, scope, f"{assignment.device_name}: {ending.detail}", assignment.tenant_id)
