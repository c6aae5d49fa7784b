"""What was made of a change is true: against its true predecessor, and from its text to the change's own (I1, I5)."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checker.case import Case, Evidence, Terms
    from tests.checker.values import Row

KINDS = {"first", "change", "upgrade", "secrets", "order", "unread"}
TAKES_OVER = "device_replaced"


def against_its_predecessor(evidence: Evidence, _: Terms) -> Iterator[str]:
    """I1: what was interpreted is against the stored row just before it of the same router, and recorded once."""
    made = {one.collection_id: one for one in evidence.interpretations}
    for case in evidence.cases:
        others = _others(case)
        for before, row in pairwise((None, *case.stored)):
            if row is None or row.interpreted_after_seq is None:
                continue
            what, one = f"seq {row.seq} is interpreted", made.get(row.id)
            if row.is_change is not True:
                yield case.says("I1", f"{what}, and has is_change {row.is_change}")
            wanted = before.seq if before and _same_router(others, before, row) else 0
            gone = row.interpreted_after_seq < case.device.kept_from_seq
            if row.interpreted_after_seq != wanted and not gone:
                yield case.says("I1", f"{what} against seq {row.interpreted_after_seq}, and follows seq {wanted}")
            if one is None or (one.after_seq, one.seq) != (row.interpreted_after_seq, row.seq):
                yield case.says("I1", f"{what}, and nothing is recorded of that")
            elif one.kind not in KINDS or (one.kind == "first") != (one.after_seq == 0 and one.kind != "unread"):
                yield case.says("I1", f"{what} as {one.kind} after seq {one.after_seq}")


def all_interpreted(evidence: Evidence, terms: Terms) -> Iterator[str]:
    """I9: every change before which nothing may come any more is interpreted; and read, if its keys are there."""
    if not terms.interpreted:
        return
    unread = {one.collection_id: one.detail for one in evidence.interpretations if one.kind == "unread"}
    for case in evidence.cases:
        coming = min((row.seq for row in case.rows if row.state == "published"), default=case.device.last_seq + 1)
        for row in case.stored:
            if row.seq >= coming or row.is_change is False:
                continue
            if row.interpreted_after_seq is None:
                yield case.says("I9", f"the change of seq {row.seq} is not interpreted")
            elif row.id in unread and row.seq > case.device.of_lost_keys + 1 and not _is_damaged(evidence, case):
                yield case.says("I9", f"the change of seq {row.seq} was not read: {unread[row.id]}")


def they_open(evidence: Evidence, _: Terms) -> Iterator[str]:
    """I1, I2, I5: its diff and its changes, applied to the text before, give its own; and are nowhere in clear."""
    cases = {case.device.id: case for case in evidence.cases}
    made = {one.collection_id: one for one in evidence.interpretations}
    for number, trouble in evidence.opened_interpretations.items():
        if trouble:
            yield cases[made[number].device_id].says("I2", f"what is told of seq {made[number].seq}: {trouble}")


def _others(case: Case) -> list[int]:
    """The greatest seq of each router that was behind the name before."""
    return sorted(int(act.detail.get("after_seq", 0)) for act in case.acts if _takes_over(act.action, act.detail))


def _takes_over(action: str, detail: object) -> bool:
    changed = detail.get("changed", ()) if isinstance(detail, dict) else ()
    return action == TAKES_OVER or "router_since_seq" in changed


def _same_router(others: list[int], before: Row, row: Row) -> bool:
    return bisect_left(others, before.seq) == bisect_left(others, row.seq)


def _is_damaged(evidence: Evidence, case: Case) -> bool:
    """Whether an alarm says so."""
    return any(alarm.scope.startswith(f"device {case.device.id} seq") for alarm in evidence.alarms)
