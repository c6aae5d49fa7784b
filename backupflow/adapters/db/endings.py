"""How a collection ends short of its observation, and what follows for its device; all in the caller's transaction.

The caller holds the device's lock (lock order: device, then collection, then jump host, profile, site).
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

from backupflow.adapters.db import contacts, host_keys, jump_hosts, observed, refusals
from backupflow.adapters.db.alarms import clear_alarm, raise_alarm
from backupflow.adapters.db.meanwhile import Meanwhile, acted, learn_modern
from backupflow.adapters.db.rotating import other_has_its_turn
from backupflow.core import backoff
from backupflow.core.model import State, Trigger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.ledger import Assignment, Ending, KeptAside, Step
    from backupflow.core.scope import Policy

_END = text("""
    UPDATE collection SET state = :state, code = :code, detail = :detail, ended_at = now(), lease_until = NULL,
        report = CAST(:report AS jsonb)
    WHERE id = :collection AND holder = :holder AND state IN ('running', 'published') RETURNING id""")
# Only what was just read and never passed the fence is kept aside: a published row is the current one, or will be.
_END_ASIDE = text(f"""
    UPDATE collection SET state = :state, code = :code, detail = :detail, ended_at = now(), lease_until = NULL,
        {observed.SET}
    WHERE id = :collection AND holder = :holder AND state = 'running' RETURNING id""")
_ASIDE = text("""
    INSERT INTO aside (collection_id, tenant_id, device_id, sealed) VALUES (:collection, :tenant, :device, :sealed)""")
_FAILED = text("""
    UPDATE device SET failures = failures + :counts,
        losses = CASE WHEN :pauses THEN losses + 1 WHEN :keeps THEN losses ELSE 0 END,
        lane = CASE WHEN :slow THEN 'collect.slow' ELSE lane END,
        next_due_at = CASE WHEN status <> 'active' OR CAST(:wait AS interval) IS NULL THEN next_due_at
                           WHEN :spread THEN greatest(now(), least(next_due_at, now() + :wait)) ELSE now() + :wait END
    WHERE id = :device""")
_BLOCKED = text("SELECT blocked_code FROM device WHERE id = :device")
_BLOCK = text("""
    UPDATE device SET blocked_code = :code, blocked_detail = :detail, blocked_at = now() WHERE id = :device""")


def end(tx: Connection, assignment: Assignment, ending: Ending, defaults: Policy) -> Ending | None:
    """running (or published, after a definite refusal) -> a final state, as it was written; None: the lease is gone."""
    meanwhile = acted(tx, assignment, defaults)
    ending = _unless_answered(meanwhile, replace(ending, detail=observed.storable(ending.detail)))
    ending = other_has_its_turn(tx, assignment, ending) or ending
    ending = _by_force(tx, assignment, ending)
    values = {
        "collection": assignment.collection_id,
        "holder": assignment.holder,
        "state": ending.state,
        "code": ending.code,
        "detail": ending.detail,
        "report": _report(ending.report),
    }
    if not _ended(tx, assignment, values, ending.aside):
        return None
    if ending.aside and ending.state is State.SUSPECT and ending.aside.published.modern_ssh:
        learn_modern(tx, assignment, meanwhile)  # its text is in doubt, not its handshake
    ending = refusals.ended(tx, assignment, ending, another=meanwhile.another)
    _consequences(tx, assignment, ending)
    if not meanwhile.elsewhere:
        contacts.heard(tx, assignment, ending)
        if ending.scanned is not None:
            host_keys.shown(tx, assignment, ending.scanned)
    return ending


def _ended(tx: Connection, assignment: Assignment, values: dict[str, Any], aside: KeptAside | None) -> bool:
    if aside is None:
        return tx.execute(_END, values).scalar() is not None
    del values["report"]
    if tx.execute(_END_ASIDE, values | observed.columns(aside.published)).scalar() is None:
        return False
    owner = {"tenant": assignment.tenant_id, "device": assignment.device_id}
    tx.execute(_ASIDE, owner | {"collection": assignment.collection_id, "sealed": aside.sealed.text})
    host_keys.verified(tx, assignment, aside.published.host_key)
    return True


def _report(steps: Sequence[Step]) -> str | None:
    """What a test or a scan found, as it is kept."""
    said = [
        {"name": step.name, "well": step.well, "says": step.says, "code": step.code, "facts": dict(step.facts)}
        for step in steps
    ]
    return json.dumps(_storable(said)) if said else None


def _storable(said: Any) -> Any:  # noqa: ANN401 - as it is in JSON
    match said:
        case str():
            return observed.storable(said)
        case dict():
            return {name: _storable(value) for name, value in said.items()}
        case list():
            return [_storable(value) for value in said]
        case _:
            return said


def _unless_answered(meanwhile: Meanwhile, ending: Ending) -> Ending:
    """What an operator has answered meanwhile blocks nobody, and counts against nobody.

    A key that was offered then is not written down: it may be another address's. The device is due when the act made it
    so; after a block or a doubt at its own address at once. What is no fault of the device (a pause) stays as it is.
    """
    if not (ending.blocks or ending.counts) or not meanwhile.answers(ending.code):
        return ending
    at_once = (ending.blocks or ending.state is State.SUSPECT) and not meanwhile.elsewhere
    return replace(
        ending,
        state=State.FAILED if ending.state is State.BLOCKED else ending.state,
        counts=False,
        blocks=False,
        again_in=timedelta(0) if at_once else None,
        slow=False,
        offered=None,
        alarm="",
    )


def _by_force(tx: Connection, assignment: Assignment, ending: Ending) -> Ending:
    """What a person tried in spite of a block leaves it as it is, and counts nothing more: it stands for that already.

    Another reason to block is a new one, such as another host key: it takes the place of the one that stood.
    """
    if assignment.trigger is not Trigger.FORCED:
        return ending
    blocked = tx.scalar(_BLOCKED, {"device": assignment.device_id})
    if blocked is None:
        return ending
    blocks = ending.blocks and ending.code != blocked
    if blocks:
        clear_alarm(tx, blocked, f"device {assignment.device_id}")
    return replace(ending, counts=False, blocks=blocks, again_in=None, pauses=False)


def _consequences(tx: Connection, assignment: Assignment, ending: Ending) -> None:
    device = {"device": assignment.device_id}
    if assignment.trigger.observes:
        what = {"counts": int(ending.counts), "wait": ending.again_in, "slow": ending.slow, "pauses": ending.pauses}
        what |= {"spread": backoff.no_later_than_its_turn(ending.again_in), "keeps": ending.jump_trouble is not None}
        tx.execute(_FAILED, device | what)
    if ending.offered is not None:
        host_keys.offer(tx, assignment, ending.offered)
    if ending.alarm:
        detail = f"{assignment.device_name}: {ending.detail}"
        raise_alarm(tx, ending.code, ending.alarm, detail, assignment.tenant_id)
    if ending.blocks:
        tx.execute(_BLOCK, device | {"code": ending.code, "detail": ending.detail})
        scope = f"device {assignment.device_id}"
        raise_alarm(tx, ending.code, scope, f"{assignment.device_name}: {ending.detail}", assignment.tenant_id)
    if ending.jump_trouble is not None:
        jump_hosts.in_trouble(tx, assignment, ending.jump_trouble)
