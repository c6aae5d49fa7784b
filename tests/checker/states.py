"""Every collection ends once, with a reason (I10), and none waits in silence (I9)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from backupflow.core.backoff import LONGEST_WAIT
from backupflow.core.flapping import reckoned_from
from backupflow.core.scope import Policy, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checker.case import Evidence, Terms
    from tests.checker.values import Device, Row

OPEN = {"claimed", "running", "published"}
NEEDS_A_REASON = {"withdrawn", "lost", "failed", "blocked", "suspect"}
SHORTEST_OVERDUE = timedelta(minutes=15)
LONGEST_SPREAD = timedelta(minutes=5)  # of a device that was just added


def ends_once(evidence: Evidence, _: Terms) -> Iterator[str]:
    """I10: a row is open, or has ended with a reason where it needs one; a stored one has its content, others none."""
    for case in evidence.cases:
        for row in case.rows:
            yield from (case.says("I10", f"seq {row.seq} is {row.state} {what}") for what in _wrong(row))
        if len([row for row in case.rows if row.state in {"claimed", "running"}]) > 1:
            yield case.says("I10", "two of its rows are open at once")


def nothing_lies_about(evidence: Evidence, terms: Terms) -> Iterator[str]:
    """I10: no row is open beyond its time, and none was emitted more often than its age allows (I9)."""
    for case in evidence.cases:
        for row in case.rows:
            until = row.started_at or row.ended_at or evidence.now
            allowed = 1 + (until - row.claimed_at + terms.grace) // terms.emit_again_after
            if row.emits > allowed:
                yield case.says("I9", f"seq {row.seq} was emitted {row.emits} times, and may have been {allowed}")
            if terms.at_work and (late := _late(row, evidence, terms)):
                yield case.says("I10", f"seq {row.seq} is {row.state}, and {late}")


def attempted_or_due(evidence: Evidence, terms: Terms) -> Iterator[str]:
    """I9: each device that is to be collected is due soon enough, or a row of it is open; and none is overdue."""
    for case in evidence.cases:
        device = case.device
        is_open = any(row.state in {"claimed", "running"} for row in case.rows)
        if not device.is_due_at_times or is_open:
            continue
        interval = _policy(device, terms).timetable.period(evidence.now)
        if device.next_due_at is None:
            yield case.says("I9", "it is active, and never due")
            continue
        late = terms.overdue or max(SHORTEST_OVERDUE, interval / 10)
        if terms.at_work and device.next_due_at + late < evidence.now:
            yield case.says("I9", f"it is due since {device.next_due_at}, and was not attempted until {evidence.now}")
        wait = max(interval, LONGEST_SPREAD, LONGEST_WAIT if device.failures + device.losses else timedelta(0))
        since = reckoned_from(evidence.now, device.flapping_since)
        if device.next_due_at > since + wait + terms.grace:
            yield case.says("I9", f"it is due at {device.next_due_at} only, with an interval of {interval}")


def alarms_are_over(evidence: Evidence, terms: Terms) -> Iterator[str]:
    """I15: what is over raises no alarm any more; only where the caller says which may stand."""
    for alarm in evidence.alarms:
        if terms.alarms is not None and alarm.code not in terms.alarms:
            yield f"I15: the alarm {alarm.code} of {alarm.scope} stands since {alarm.since}: {alarm.detail}"


def _wrong(row: Row) -> Iterator[str]:
    if row.state in OPEN:
        if row.ended_at or (row.state == "claimed" and row.started_at):
            yield "and has an end, or a beginning"
    elif row.ended_at is None:
        yield "and has no end"
    if row.state in NEEDS_A_REASON and not row.code:
        yield "without a reason"
    if row.state == "stored" and row.code:
        yield f"with the reason {row.code}"
    whole = row.content_id is not None and row.stored_at is not None
    if (row.state == "stored") != whole or (row.state != "stored" and row.is_change is not None):
        yield "with what only a stored one has" if row.state != "stored" else "without its content or time"
    if row.state in {"published", "stored", "suspect"} and None in {row.collected_at, row.content_hash, row.digest}:
        yield "and never passed the fence"
    times = [at for at in (row.claimed_at, row.started_at, row.collected_at, row.stored_at) if at]
    if times != sorted(times):
        yield "with times that are not in order"


def _late(row: Row, evidence: Evidence, terms: Terms) -> str:
    now, grace = evidence.now, terms.grace
    if row.state == "running" and row.lease_until and row.lease_until + grace < now:
        return f"its lease was over at {row.lease_until}"
    if row.state == "claimed" and row.emitted_at + terms.emit_again_after + grace < now:
        return f"it was emitted last at {row.emitted_at}"
    if row.state == "published" and row.collected_at and row.collected_at + terms.lost_after + grace < now:
        return f"it was collected at {row.collected_at}"
    return ""


def _policy(device: Device, terms: Terms) -> Policy:
    tenant, site, group = device.scopes
    return resolve(terms.policy, tenant, site, group, device.settings)
