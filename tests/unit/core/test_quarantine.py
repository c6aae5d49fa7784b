"""What a message claims, read with bounds, and compared with the row that it names."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.ledger import Stored
from backupflow.core.message import SnapshotMessage, encode
from backupflow.core.model import CollectionId, ContentHash, DeviceId, SealedConfig, Seq, State, TenantId
from backupflow.core.quarantine import Claims, Named, claims, compare
from backupflow.core.storing import Fenced, Holder, Standing, judge

ONE = SnapshotMessage(
    TenantId(UUID(int=1)),
    DeviceId(UUID(int=2)),
    CollectionId(3),
    Seq(4),
    1,
    ContentHash(b"h" * 32),
    SealedConfig("vault:v1:QUJD"),
)
ROW = Named(UUID(int=1), "main", UUID(int=2), "core-1", 4, "published", 1, b"h" * 32, ONE.sealed.digest)
SAID = Claims(1, UUID(int=1), UUID(int=2), 3, 4, 1, b"h" * 32, "vault:v1:QUJD")
NAMES = st.sampled_from(["tenant_id", "collection_id", "seq", "sealed", "content_hash", "x"])
ODD = st.recursive(
    st.integers() | st.text() | st.none() | st.floats(),
    lambda inner: st.dictionaries(NAMES, inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=8,
)


def differing(said: Claims, subject: str = ONE.subject, row: Named | None = ROW) -> set[str]:
    """The fields that are not what the row says."""
    return {one.name for one in compare(said, subject, row) if one.differs}


def test_an_honest_message_claims_what_its_row_says() -> None:
    """Then nothing differs, and the reason must be another one."""
    assert claims(encode(ONE)) == SAID
    assert SAID.digest == hashlib.sha256(b"vault:v1:QUJD").digest()
    assert differing(SAID) == set()


@pytest.mark.parametrize(
    ("forged", "names"),
    [
        (replace(SAID, schema_version=2), {"schema_version"}),
        (replace(SAID, tenant_id=UUID(int=9)), {"tenant_id"}),
        (replace(SAID, device_id=UUID(int=9)), {"device_id"}),
        (replace(SAID, seq=5), {"seq"}),
        (replace(SAID, normalization_version=2), {"normalization_version"}),
        (replace(SAID, content_hash=None), {"content_hash"}),
        (replace(SAID, sealed="vault:v1:QUJE"), {"digest"}),
        (Claims(), {one.name for one in compare(SAID, ONE.subject, ROW)} - {"subject"}),
    ],
)
def test_each_field_that_differs_is_named(forged: Claims, names: set[str]) -> None:
    """One by one; what is missing differs too."""
    assert differing(forged) == names


def test_a_subject_is_compared_with_the_device_of_the_row() -> None:
    """Or, if there is no such row, with the one that the message names itself."""
    assert differing(SAID, "config.snapshot.create.x") == {"subject"}
    assert differing(SAID, "config.snapshot.create.x", None) == {"subject"}
    assert differing(SAID, ONE.subject, None) == set()
    assert differing(Claims(), "config.snapshot.create.x", None) == {"schema_version"}


@given(st.binary(max_size=200) | ODD.map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_is_read(payload: bytes) -> None:
    """No message is so malformed that nobody could look at it, or that it could not be put aside."""
    said = claims(payload)
    assert said.seq is None or -(2**63) <= said.seq < 2**63
    compare(said, "x", ROW)
    compare(said, "x", None)


def test_looking_at_a_large_message_costs_no_more_than_a_few_times_its_size() -> None:
    """It is looked at when it is put aside: what fells the ingester there would come again for ever."""
    payload = b"[" + b"[]," * (8 * 2**20 // 3)
    tracemalloc.start()
    try:
        assert claims(payload) == Claims()
        assert claims(b"[" * 9_000) == Claims()
        assert tracemalloc.get_traced_memory()[1] < 4 * len(payload)
    finally:
        tracemalloc.stop()


CHANGED = {
    "tenant_id": st.uuids(),
    "device_id": st.uuids(),
    "seq": st.integers(1, 2**63 - 1),
    "normalization_version": st.integers(1, 2**63 - 1),
    "content_hash": st.binary(min_size=32, max_size=32),
    "sealed": st.from_regex(r"vault:v[1-9]:[A-Za-z0-9+/]{4,40}", fullmatch=True).map(SealedConfig),
}
FENCED = Fenced(ONE.sealed.digest, ONE.content_hash, ONE.normalization_version)


@given(st.sampled_from(list(CHANGED)), st.data(), st.sampled_from(State), st.booleans())
def test_a_message_with_one_field_changed_is_never_stored(
    name: str, data: st.DataObject, state: State, removed: bool
) -> None:
    """Whatever state its row is in; unchanged it is stored where its collection awaits it."""
    value = data.draw(CHANGED[name].filter(lambda drawn: drawn != getattr(ONE, name)))
    row = Standing(ONE.tenant_id, ONE.device_id, ONE.seq, state, FENCED)
    device = Holder(ONE.tenant_id, removed, Seq(0), Seq(0))
    forged: SnapshotMessage = replace(ONE, **{name: value})  # type: ignore[arg-type]
    assert not judge(forged, row, device).acceptable
    awaited = state in {State.PUBLISHED, State.LOST} and not removed
    assert (judge(ONE, row, device) is Stored.STORED) is awaited
