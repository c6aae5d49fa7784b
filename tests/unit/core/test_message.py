"""The bus message and its bytes."""

from __future__ import annotations

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.message import SnapshotMessage, decode, encode
from backupflow.core.model import CollectionId, ContentHash, DeviceId, SealedConfig, Seq, TenantId
from backupflow.errors import MessageMalformed

IDS = st.integers(1, 2**63 - 1)
MESSAGES = st.builds(
    SnapshotMessage,
    st.uuids().map(TenantId),
    st.uuids().map(DeviceId),
    IDS.map(CollectionId),
    IDS.map(Seq),
    st.integers(1, 1000),
    st.binary(min_size=32, max_size=32).map(ContentHash),
    st.just(SealedConfig("vault:v1:QUJD")),
)
ONE = SnapshotMessage(
    TenantId(UUID(int=1)),
    DeviceId(UUID(int=2)),
    CollectionId(3),
    Seq(4),
    1,
    ContentHash(b"h" * 32),
    SealedConfig("vault:v1:QUJD"),
)


@given(MESSAGES)
def test_a_message_comes_back_as_it_was(message: SnapshotMessage) -> None:
    """decode(encode(x)) == x."""
    assert decode(encode(message)) == message


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_malformed(payload: bytes) -> None:
    """Whatever comes off the bus gives a message or MessageMalformed, nothing else."""
    with pytest.raises(MessageMalformed):
        decode(payload)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema_version", 2),
        ("tenant_id", "x"),
        ("device_id", None),
        ("seq", 0),
        ("seq", True),
        ("seq", 2**63),
        ("collection_id", "1"),
        ("content_hash", "00"),
        ("content_hash", 5),
        ("sealed", "# an export in clear"),
        ("sealed", "vault:v1:QUJD\n"),
        ("sealed", None),
    ],
)
def test_one_wrong_field_makes_it_malformed(field: str, value: object) -> None:
    """A message of another schema, with a number out of range or with unsealed text is refused."""
    fields = json.loads(encode(ONE)) | {field: value}
    with pytest.raises(MessageMalformed):
        decode(json.dumps(fields).encode())


def test_a_message_without_a_field_is_malformed() -> None:
    """Each field is needed."""
    for missing in json.loads(encode(ONE)):
        fields = json.loads(encode(ONE))
        del fields[missing]
        with pytest.raises(MessageMalformed):
            decode(json.dumps(fields).encode())


def test_the_message_id_names_the_observation_and_not_its_content() -> None:
    """The same content observed again is another message; a repeated publish is the same."""
    assert ONE.message_id == f"{UUID(int=2)}:4"
