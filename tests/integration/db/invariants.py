"""What must hold of every ledger at any moment, whatever was done to it: asked of the rows themselves."""

from __future__ import annotations

import hashlib
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backupflow.core.model import DeviceId
    from tests.integration.db.fleet import Fleet


def histories(fleet: Fleet) -> dict[DeviceId, list[Any]]:
    """The stored rows of each device, in the order of reading."""
    rows = fleet.sql("SELECT * FROM collection WHERE state = 'stored' ORDER BY device_id, seq")
    return {key: list(group) for key, group in groupby(rows, lambda row: row.device_id)}


def check(fleet: Fleet) -> None:
    """I1 and I3, for every device: over what is stored by now. And I8: what is in doubt is no part of it."""
    devices = {device.id: device for device in fleet.sql("SELECT * FROM device")}
    contents = {(c.device_id, bytes(c.content_hash)): c for c in fleet.sql("SELECT * FROM content")}
    stored = histories(fleet)
    for key, rows in stored.items():
        hashes = [bytes(row.content_hash) for row in rows]
        assert [row.is_change for row in rows] == [True, *(a != b for a, b in pairwise(hashes))]
        assert (devices[key].current_seq, devices[key].current_collection_id) == (rows[-1].seq, rows[-1].id)
        assert [row.content_id for row in rows] == [contents[key, one].id for one in hashes]
    assert {(key, bytes(row.content_hash)) for key, rows in stored.items() for row in rows} == set(contents)
    assert all(device.current_seq == 0 for key, device in devices.items() if key not in stored)
    _check_aside(fleet)


def _check_aside(fleet: Fleet) -> None:
    """What is in doubt is neither current, nor a change, nor a content; what is kept of it is what was read."""
    doubted = {row.id: row for row in fleet.sql("SELECT * FROM collection WHERE state IN ('suspect', 'blocked')")}
    assert all((row.content_id, row.is_change, row.stored_at) == (None, None, None) for row in doubted.values())
    assert not {device.current_collection_id for device in fleet.sql("SELECT * FROM device")} & set(doubted)
    firsts = {(row.device_id, row.first_seq) for row in fleet.sql("SELECT * FROM content")}
    assert not firsts & {(row.device_id, row.seq) for row in doubted.values()}
    kept = "SELECT a.sealed, c.* FROM aside a JOIN collection c ON c.id = a.collection_id"
    for row in fleet.sql(kept):
        assert row.state in {"suspect", "blocked", "failed"}
        assert (row.device_id, row.seq) not in firsts
        assert hashlib.sha256(row.sealed.encode()).digest() == bytes(row.digest)
