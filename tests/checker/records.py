"""Whose each row is (I11), and who did what (I12)."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checker.case import Case, Evidence, Terms

REQUESTED = {"config_backup_manual_trigger", "device_test_requested", "host_key_scan_requested"}


def one_tenant(evidence: Evidence, _: Terms) -> Iterator[str]:
    """I11: whatever belongs to a device belongs to the device's tenant."""
    cases = {case.device.id: case for case in evidence.cases}
    things = [
        *((f"collection {row.id}", row.tenant_id, row.device_id) for row in evidence.rows),
        *((f"content {one.id}", one.tenant_id, one.device_id) for one in evidence.contents),
        *((f"what is kept aside of {one.collection_id}", one.tenant_id, one.device_id) for one in evidence.asides),
        *((f"{one.table} {one.id}", one.tenant_id, one.device_id) for one in evidence.owned),
        *((f"act {act.id}", act.tenant_id, case.device.id) for case in evidence.cases for act in case.acts),
    ]
    for what, tenant, device in things:
        case = cases.get(device)
        if case is None:
            yield f"I11: {what} is of a device that does not exist"
        elif tenant != case.device.tenant_id:
            yield case.says("I11", f"{what} is of another tenant")


def one_device(evidence: Evidence, _: Terms) -> Iterator[str]:
    """I11: what a device refers to is its own."""
    owner = {row.id: row.device_id for row in evidence.rows}
    kept = {one.id: one.device_id for one in evidence.contents}
    for case in evidence.cases:
        own = case.device.id
        for row in case.rows:
            if row.content_id is not None and kept.get(row.content_id, own) != own:
                yield case.says("I11", f"seq {row.seq} refers to a content of another device")
        current = case.device.current_collection_id
        if current is not None and owner.get(current, own) != own:
            yield case.says("I11", "its current row is another device's")


def unbroken_chain(evidence: Evidence, _: Terms) -> Iterator[str]:
    """I12: each act's digest is over the one before it, so that none was altered, taken out or put in."""
    before = b""
    for act in evidence.acts:
        if act.previous != before:
            yield f"I12: act {act.id} ({act.action}) does not follow the one before it: one is missing or was put in"
        if hashlib.sha256(act.previous + act.text.encode()).digest() != act.digest:
            yield f"I12: act {act.id} ({act.action}) is not what was written down: its digest is another"
        before = act.digest


def one_row_an_act(evidence: Evidence, _: Terms) -> Iterator[str]:
    """I12: what only an operator does has its row: a device's life, and each request."""
    for case in evidence.cases:
        yield from _life(case)
    asked = Counter(act.detail.get("request") for act in evidence.acts if act.action in REQUESTED)
    for number in evidence.requests:
        if asked[number] != 1:
            yield f"I12: request {number} was written down {asked[number]} times"


def _life(case: Case) -> Iterator[str]:
    done = Counter(act.action for act in case.acts)
    wanted = {"device_added": 1, "device_removed": int(case.device.status == "removed")}
    for action, count in wanted.items():
        if done[action] != count:
            yield case.says("I12", f"{action} was written down {done[action]} times, and happened {count} times")
    turns = [act.action for act in case.acts if act.action in {"device_paused", "device_resumed"}]
    is_paused = bool(turns) and turns[-1] == "device_paused"
    if case.device.status != "removed" and is_paused != (case.device.status == "paused"):
        yield case.says(
            "I12", f"it is {case.device.status}, and the last word of it is {turns[-1] if turns else 'none'}"
        )
