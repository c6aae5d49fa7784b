"""Everything that is kept opens, and is what its row says it is (I2, I13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from tests.checker.case import Case, Evidence, Terms
    from tests.checker.values import Opened


def contents_open(evidence: Evidence, _: Terms) -> Iterator[str]:
    """I2: each content names its tenant, its device and the seq that brought it, and has the hash of its row."""
    for case in evidence.cases:
        for content in case.contents:
            opened = evidence.opened.get(content.id)
            if opened is None:
                if content.first_seq > case.device.unreadable_to_seq:
                    yield case.says("I2", f"content {content.id} was not opened")
                continue
            what = f"content {content.id} of seq {content.first_seq}"
            owner = (content.tenant_id, content.device_id, content.first_seq)
            yield from _wrong(case, what, opened, owner, content.content_hash)
            if not opened.trouble and opened.normalization_version > content.normalization_version:
                yield case.says("I2", f"the header of {what} names another normalization")
            if not opened.trouble and opened.raw_bytes != content.raw_bytes:
                yield case.says("I2", f"{what} has {opened.raw_bytes} bytes, its row says {content.raw_bytes}")


def asides_open(evidence: Evidence, _: Terms) -> Iterator[str]:
    """I2: the same of what was kept aside; and none of it is part of the history (I8)."""
    rows = {row.id: row for row in evidence.rows}
    cases = {case.device.id: case for case in evidence.cases}
    for aside in evidence.asides:
        row, case = rows.get(aside.collection_id), cases[aside.device_id]
        if row is None:
            yield case.says("I2", f"what is kept aside of collection {aside.collection_id} has no row")
            continue
        if row.state not in {"suspect", "blocked", "failed"}:
            yield case.says("I8", f"seq {row.seq} is kept aside, and its row is {row.state}")
        opened = evidence.opened_asides.get(aside.collection_id)
        if opened is not None:
            owner = (aside.tenant_id, aside.device_id, row.seq)
            yield from _wrong(case, f"what is kept aside of seq {row.seq}", opened, owner, row.content_hash)


def _wrong(case: Case, what: str, opened: Opened, owner: tuple[UUID, UUID, int], hashed: bytes | None) -> Iterator[str]:
    if opened.trouble:
        yield case.says("I2", f"{what} does not open: {opened.trouble}")
        return
    if (opened.tenant_id, opened.device_id, opened.seq) != owner:
        names = f"tenant {opened.tenant_id}, device {opened.device_id}, seq {opened.seq}"
        yield case.says("I2", f"the header of {what} names {names}")
    comparable = opened.content_hash is not None and owner[2] > case.device.unhashed_to_seq
    if comparable and opened.content_hash != hashed:
        yield case.says("I2", f"the text of {what} does not have the hash of its row")
