"""What is enclosed comes back whole, and under its own label alone."""

from __future__ import annotations

import zlib
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.enclosure import Label, What, enclose, enclosed
from backupflow.core.envelope import pack, unpack
from backupflow.core.model import DeviceId, NormalConfig, RawConfig, Seq, TenantId
from backupflow.errors import MessageMalformed

LABEL = Label(TenantId(uuid4()), DeviceId(uuid4()), Seq(7), Seq(5), What.DIFF)
OTHERS = [
    {"tenant_id": TenantId(uuid4())}, {"device_id": DeviceId(uuid4())}, {"seq": Seq(8)}, {"after_seq": Seq(4)},
    {"what": What.CHANGES}, {"seq": Seq(5), "after_seq": Seq(7)},
]  # fmt: skip


@given(st.binary())
def test_a_body_comes_back_as_it_was(body: bytes) -> None:
    """Also an empty one, and exactly as long as it may be."""
    assert enclosed(enclose(LABEL, body), LABEL, len(body)) == body


@pytest.mark.parametrize("other", OTHERS, ids=" ".join)
def test_a_text_of_another_label_is_refused(other: dict[str, Any]) -> None:
    """Somebody may have swapped two texts of one device, which the vault opens alike."""
    with pytest.raises(MessageMalformed, match="another"):
        enclosed(enclose(replace(LABEL, **other), b"body"), LABEL, 100)


def test_an_export_is_no_enclosure_and_an_enclosure_no_export() -> None:
    """Both are sealed for the device under one key."""
    export = pack((LABEL.tenant_id, LABEL.device_id, LABEL.seq), RawConfig(b"raw"), NormalConfig(b"normal"), 1)
    with pytest.raises(MessageMalformed):
        enclosed(export, LABEL, 100)
    with pytest.raises(MessageMalformed):
        unpack(enclose(LABEL, b"body"), 100)


def test_what_inflates_to_more_than_it_may_is_refused() -> None:
    """A bomb costs no more than what is allowed."""
    with pytest.raises(MessageMalformed, match="length"):
        enclosed(enclose(LABEL, bytes(10_000_000)), LABEL, 1000)


@given(st.data())
def test_whatever_is_damaged_is_refused(data: st.DataObject) -> None:
    """Cut anywhere, or with a byte of another value anywhere: never another body, and no other error."""
    body = b"a body of some length " * 9
    whole = bytearray(enclose(LABEL, body))
    at = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(MessageMalformed):
        enclosed(bytes(whole[:at]), LABEL, 1000)
    whole[at] ^= data.draw(st.integers(1, 255))
    with suppress(MessageMalformed):  # a few bits of zlib's header say nothing of what follows
        assert enclosed(bytes(whole), LABEL, 1000) == body


def test_what_follows_an_enclosure_is_refused() -> None:
    """Nothing is hidden behind it."""
    with pytest.raises(MessageMalformed, match="length"):
        enclosed(enclose(LABEL, b"body") + zlib.compress(b"more"), LABEL, 1000)
