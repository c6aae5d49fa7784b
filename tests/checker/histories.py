"""What is stored is what was observed (I1, I8, I16), and the newest of it is the current one (I3)."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.checker.case import Case, Evidence, Terms
    from tests.checker.routers import Export
    from tests.checker.values import Row


def run_lengths(evidence: Evidence, _: Terms) -> Iterator[str]:
    """I1: a row is a change where it differs from the stored row just before it, and nowhere else."""
    for case in evidence.cases:
        for before, row in pairwise((None, *case.stored)):
            # What hashes cannot tell, of two versions of the normalization, the texts have told, or will.
            if row is not None and (wanted := _is_change(before, row)) is not None and row.is_change != wanted:
                after = f"after seq {before.seq}" if before else "as the first"
                yield case.says("I1", f"seq {row.seq} {after} has is_change {row.is_change}, and should have {wanted}")


def contents_once(evidence: Evidence, _: Terms) -> Iterator[str]:
    """I1: each text of a device is kept once, by the row that brought it; I8: of no stored row is it missing."""
    for case in evidence.cases:
        kept = {content.id: content for content in case.contents}
        texts = Counter((one.normalization_version, one.content_hash) for one in case.contents)
        for (_version, text), count in texts.items():
            if count > 1:
                yield case.says("I1", f"the content {text.hex()[:12]} is kept {count} times")
        for row in case.stored:
            content = kept.get(row.content_id or 0)
            if content is None:
                yield case.says("I8", f"the content of the stored seq {row.seq} is gone")
            elif (content.content_hash, content.normalization_version) != (
                row.content_hash,
                row.normalization_version,
            ):
                yield case.says("I1", f"seq {row.seq} refers to a content of another text")
        used = {row.content_id for row in case.stored}
        yield from (case.says("I1", f"content {one} is of no stored row") for one in kept.keys() - used)
        there = {row.seq for row in case.stored}
        for one in case.contents:
            if one.first_seq not in there and one.first_seq >= case.device.kept_from_seq:
                yield case.says("I1", f"content {one.id} was brought by seq {one.first_seq}, which is not stored")


def nothing_missing(evidence: Evidence, _: Terms) -> Iterator[str]:
    """I8: every seq that was ever given has its row, or is counted by the next one; but for what retention took."""
    for case in evidence.cases:
        there = {row.seq for row in case.rows}
        counted = {seq for row in case.rows for seq in range(row.seq - row.compacted, row.seq)}
        there |= counted
        gone = [seq for seq in range(max(1, case.device.kept_from_seq), case.device.last_seq + 1) if seq not in there]
        if gone:
            yield case.says("I8", f"the rows of seq {', '.join(map(str, gone))} are gone")
        if beyond := [seq for seq in there if seq > case.device.last_seq]:
            yield case.says("I1", f"seq {max(beyond)} was given, and last_seq is {case.device.last_seq}")


def as_observed(evidence: Evidence, _: Terms) -> Iterator[str]:
    """I1, I8, I16: each stored row is a whole export of its own session, and equal texts have equal hashes."""
    for case in evidence.cases:
        if not case.simulated:
            continue
        told = {row.seq: _whole(case, row) for row in case.stored}
        for row in case.stored:
            if told[row.seq]:
                continue
            sessions = case.sessions.get(row.seq, ())
            broken = [export for session in sessions for export in session.exports]
            if broken:
                yield case.says("I8", f"seq {row.seq} is stored, and its export broke off at {broken[-1].at}")
            else:
                began = f"begun at {row.started_at}, collected at {row.collected_at}"
                yield case.says("I1", f"seq {row.seq} is stored ({began}), and the router sent nothing then")
        yield from _byte_for_byte(evidence, case, told)
        yield from _same_text_same_hash(case, told)


def newest_is_current(evidence: Evidence, terms: Terms) -> Iterator[str]:
    """I3: the current observation is the stored one with the greatest seq; where it is asked for, the router's own."""
    for case in evidence.cases:
        device, newest = case.device, case.stored[-1] if case.stored else None
        if device.current_seq != (newest.seq if newest else 0):
            greatest = f"the greatest stored is {newest.seq}" if newest else "none is stored"
            yield case.says("I3", f"current seq is {device.current_seq}, {greatest}")
        elif newest and device.current_collection_id != newest.id:
            yield case.says("I3", f"current seq is {device.current_seq}, but its row is another one's")
        if device.status == "removed" or not case.simulated:
            continue
        there = {export.revision for row in case.stored for export in _whole(case, row)}
        if missing := set(terms.revisions.get(device.name, ())) - there:
            yield case.says("I1", f"the revisions {sorted(missing)} are not in the history")
        if device.name in terms.settled:
            shown = {export.revision for export in _whole(case, newest)} if newest else set[int]()
            if case.router.revision not in shown:
                yield case.says("I1", f"the router is at revision {case.router.revision}, the current row at {shown}")


def _is_change(before: Row | None, row: Row) -> bool | None:
    if before is None:
        return True
    if before.normalization_version != row.normalization_version:
        return None
    return before.content_hash != row.content_hash


def _whole(case: Case, row: Row) -> list[Export]:
    """What was sent to its end in the sessions of a row."""
    return [one for session in case.sessions.get(row.seq, ()) for one in session.exports if one.complete]


def _byte_for_byte(evidence: Evidence, case: Case, told: dict[int, list[Export]]) -> Iterator[str]:
    for content in case.contents:
        opened, sent = evidence.opened.get(content.id), told.get(content.first_seq)
        if opened and not opened.trouble and sent and opened.raw_sha256 not in {export.sent for export in sent}:
            yield case.says("I16", f"the export of seq {content.first_seq} is not what the router sent then")


def _same_text_same_hash(case: Case, told: dict[int, list[Export]]) -> Iterator[str]:
    """The hash of a row says which of the router's texts was read: that of the row which brought the content."""
    text_of: dict[bytes, tuple[set[str], int]] = {}
    hash_of: dict[str, tuple[bytes, int]] = defaultdict()
    for row in case.stored:
        texts = {export.text for export in told[row.seq]}
        if not texts or row.content_hash is None or row.seq <= case.device.of_lost_keys:
            continue
        known, where = text_of.setdefault(row.content_hash, (texts, row.seq))
        if not known & texts:
            yield case.says("I1", f"seq {row.seq} is stored with the text of seq {where}, and the router sent another")
        if len(texts) == 1:
            other, where = hash_of.setdefault(min(texts), (row.content_hash, row.seq))
            if other != row.content_hash:
                yield case.says("I1", f"the router sent the same text at seq {where} and {row.seq}, stored as two")
