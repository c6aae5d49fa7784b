"""What is sealed, and how damage to it is found."""

from __future__ import annotations

import zlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.envelope import pack, unpack
from backupflow.core.model import DeviceId, NormalConfig, RawConfig, Seq, TenantId
from backupflow.errors import MessageMalformed

OWNER = (TenantId(UUID(int=1)), DeviceId(UUID(int=2)), Seq(7))
LARGEST = 4096


@given(st.binary(max_size=LARGEST))
def test_an_export_comes_back_byte_for_byte(raw: bytes) -> None:
    """Whatever bytes a router sent, opening the envelope gives exactly them, and says whose they are."""
    header, back = unpack(pack(OWNER, RawConfig(raw), NormalConfig(raw.lower()), 1), LARGEST)
    assert back == raw
    assert (header.tenant_id, header.device_id, header.seq) == OWNER


@given(st.binary(min_size=1, max_size=200), st.data())
def test_a_flipped_bit_is_found(raw: bytes, data: st.DataObject) -> None:
    """No single flipped bit gives another export with the same header."""
    whole = pack(OWNER, RawConfig(raw), NormalConfig(raw), 1)
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    flipped = bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        _, back = unpack(bytes(flipped), LARGEST)
    except MessageMalformed:
        return
    assert back == raw  # the bit was one of the header's that do not concern the export


def test_an_export_under_the_header_of_another_is_found() -> None:
    """Both are whole: only the digest in the header says that they do not belong together."""
    ours, other = (pack(OWNER, RawConfig(raw), NormalConfig(raw), 1) for raw in (b"ours", b"other"))
    magic, head, _ = ours.split(b"\n", 2)
    body = other.split(b"\n", 2)[2]
    with pytest.raises(MessageMalformed, match="digest"):
        unpack(b"\n".join((magic, head, body)), LARGEST)


def test_a_bomb_is_refused() -> None:
    """An envelope that inflates above the limit is refused without inflating all of it."""
    whole = pack(OWNER, RawConfig(b"x" * (LARGEST + 1)), NormalConfig(b""), 1)
    with pytest.raises(MessageMalformed):
        unpack(whole, LARGEST)


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"backupflow/1\n",
        b"backupflow/1\n{}\n",
        b"backupflow/1\n[]\n" + zlib.compress(b""),
        b"backupflow/1\n" + b"[" * 100_000 + b"\n",
        b'backupflow/1\n{"tenant": []}\n',
        b'backupflow/1\n{"tenant": "%b", "device": "%b", "seq": Infinity}\n' % ((str(UUID(int=1)).encode(),) * 2),
    ],
)
def test_what_is_no_envelope_is_refused(junk: bytes) -> None:
    """Anything else is malformed, in one kind of error."""
    with pytest.raises(MessageMalformed):
        unpack(junk, LARGEST)
