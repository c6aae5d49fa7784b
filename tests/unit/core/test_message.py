"""The bus message and its bytes."""

from __future__ import annotations

import json
import tracemalloc
from uuid import UUID

import pytest
from hypothesis import example, given
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
    IDS,
    st.binary(min_size=32, max_size=32).map(ContentHash),
    st.from_regex(r"vault:v[1-9][0-9]{0,8}:[A-Za-z0-9+/]{1,40}={0,2}", fullmatch=True).map(SealedConfig),
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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
FIELDS = list(json.loads(encode(ONE)))


@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_bytes_are_malformed(payload: bytes) -> None:
    """Whatever comes off the bus gives a message or MessageMalformed, nothing else."""
    with pytest.raises(MessageMalformed):
        decode(payload)


@given(MESSAGES, st.data())
def test_what_is_damaged_is_malformed_or_another_message(message: SnapshotMessage, data: st.DataObject) -> None:
    """Cut, overwritten, grown: it is refused, or it says something else; never two forms of one message."""
    payload = encode(message)
    at = data.draw(st.integers(0, len(payload)))
    upto = data.draw(st.integers(at, min(len(payload), at + 3)))
    damaged = payload[:at] + data.draw(st.binary(max_size=3)) + payload[upto:]
    try:
        read = decode(damaged)
    except MessageMalformed:
        return
    assert encode(read) == damaged
    assert (read == message) is (damaged == payload)


@given(MESSAGES, st.sampled_from(FIELDS), JSON)
@example(message=ONE, field="schema_version", value=True)
@example(message=ONE, field="seq", value=4.0)
@example(message=ONE, field="collection_id", value=float("nan"))
@example(message=ONE, field="tenant_id", value="{00000000-0000-0000-0000-000000000001}")
@example(message=ONE, field="device_id", value="0" * 31 + "2")
@example(message=ONE, field="content_hash", value=" ".join(["68"] * 32))
@example(message=ONE, field="sealed", value="vault:v1:QUJD\ud800")
@example(message=ONE, field="sealed", value="vault:v1:QUJD\u202e")
def test_no_field_can_be_changed_unnoticed(message: SnapshotMessage, field: str, value: object) -> None:
    """Another value of one field, of any type: no message any more, or one that differs in just this."""
    fields = json.loads(encode(message))
    forged = json.dumps(fields | {field: value}).encode()
    try:
        read = decode(forged)
    except MessageMalformed:
        return
    assert read != message or value == fields[field]


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


TWICE = b'"seq": 4, "seq": 4,'
NOT_QUITE = {
    "a field twice": encode(ONE).replace(b'"seq": 4,', TWICE),
    "a field too many": encode(ONE)[:-1] + b', "x": 1}',
    "a float": encode(ONE).replace(b'"seq": 4,', b'"seq": 4.0,'),
    "an exponent": encode(ONE).replace(b'"seq": 4,', b'"seq": 4e0,'),
    "an escape": encode(ONE).replace(b'"seq"', rb'"\u0073eq"'),
    "other spaces": encode(ONE).replace(b": ", b":"),
    "a line after it": encode(ONE) + b"\n",
    "a byte order mark": b"\xef\xbb\xbf" + encode(ONE),
    "another order": json.dumps(json.loads(encode(ONE)), sort_keys=True).encode(),
    "capitals": encode(ONE).replace(b"68" * 32, b"6A" * 32),
    "UTF-16": encode(ONE).decode().encode("utf-16"),
    "UTF-32": encode(ONE).decode().encode("utf-32-le"),
    "NUL": encode(ONE) + b"\0",
    "nothing": b"",
    "infinity": encode(ONE).replace(b'"seq": 4,', b'"seq": Infinity,'),
    "a number of many digits": encode(ONE).replace(b'"seq": 4,', b'"seq": ' + b"9" * 5000 + b","),
    "a list of it": b"[" + encode(ONE) + b"]",
    "deep": b"[" * 100_000,
    "a deep field": encode(ONE)[:-1] + b', "x": ' + b'{"":' * 50_000,
}


@pytest.mark.parametrize("payload", NOT_QUITE.values(), ids=NOT_QUITE)
def test_a_message_has_one_form(payload: bytes) -> None:
    """What another reader might take for the same message, or for another, is none."""
    with pytest.raises(MessageMalformed):
        decode(payload)


@pytest.mark.parametrize("version", [0, 2, 99, 10**8])
def test_another_schema_is_told_from_noise(version: int) -> None:
    """Whoever reads why a message was put aside learns that another version wrote it, whatever else it holds."""
    fields = json.loads(encode(ONE)) | {"schema_version": version, "parts": [{"n": n} for n in range(100)]}
    with pytest.raises(MessageMalformed, match="unknown schema version"):
        decode(json.dumps(fields).encode())


@pytest.mark.parametrize("part", [b"[],", b"{},", b'{"a":', b"1,", b'"",'])
def test_a_large_message_costs_no_more_than_a_few_times_its_size(part: bytes) -> None:
    """8 MiB of empty lists would be 180 MB once parsed: whoever counts on that fells the ingester, again and again."""
    payload = b"[" + part * (8 * 2**20 // len(part))
    tracemalloc.start()
    try:
        with pytest.raises(MessageMalformed):
            decode(payload)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(payload)
    finally:
        tracemalloc.stop()
