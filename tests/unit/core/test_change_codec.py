"""Changes as bytes: what is written is read back, and nothing else is."""

from __future__ import annotations

import json
import zlib
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core import change_codec
from backupflow.core.change_codec import decode, encode
from backupflow.core.changes import Action, Change, Property, TooManyChanges
from backupflow.errors import MessageMalformed

MAGIC = b"changes/1\n"
ONE = Change("ip/pool", Action.ADDED, (Property("name", None, "a"),), None, "add name=a")
TEXTS = st.text(st.characters(codec="utf-8"), max_size=9)
SOME = st.none() | TEXTS
PLACES = st.none() | st.integers(0, 99)
CHANGES = st.builds(
    Change,
    component=TEXTS,
    action=st.sampled_from(Action),
    properties=st.lists(st.builds(Property, TEXTS, SOME, SOME), max_size=3).map(tuple),
    old=SOME,
    new=SOME,
    at_old=PLACES,
    at_new=PLACES,
    moved=st.booleans(),
    secret=st.frozensets(TEXTS, max_size=2),
    ignored=st.booleans(),
    was_in=SOME,
    before=SOME,
    by=SOME,
    made_at=st.none() | st.datetimes(timezones=st.just(UTC)),
)


def packed(*lines: object) -> bytes:
    """What somebody else might have written."""
    return MAGIC + zlib.compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


def fields() -> list[object]:
    """One change as it is written."""
    found: list[object] = json.loads(zlib.decompress(encode([ONE])[len(MAGIC) :]))
    return found


@given(st.lists(CHANGES, max_size=4))
def test_what_is_written_is_read_back(done: list[Change]) -> None:
    """Whatever a router calls its things."""
    assert decode(encode(done)) == tuple(done)


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda some: MAGIC + some))
def test_other_bytes_are_no_changes(data: bytes) -> None:
    """No other error, whatever comes."""
    with pytest.raises(MessageMalformed):
        decode(data)


@given(st.integers(0, 200), st.binary(min_size=1, max_size=3))
def test_damage_shows(at: int, wrong: bytes) -> None:
    """The deflated text has a checksum: what is damaged is no other list."""
    whole = encode([ONE] * 9)
    damaged = whole[:at] + wrong + whole[at + len(wrong) :]
    if damaged != whole:
        with pytest.raises(MessageMalformed):
            decode(damaged)


def test_what_is_cut_off_is_no_list() -> None:
    """At whatever byte."""
    whole = encode([ONE] * 3)
    for at in range(len(whole)):
        with pytest.raises(MessageMalformed):
            decode(whole[:at])


@pytest.mark.parametrize("place", range(14))
@pytest.mark.parametrize("wrong", [{}, 1.5, -1, [[1]], [None], [["a", 1, None]], "\0"])
def test_a_field_of_another_kind_is_refused(place: int, wrong: object) -> None:
    """Each must be what it is written as; the one word that stands anywhere is taken where a text may be."""
    changed = fields()
    changed[place] = wrong
    if wrong == "\0" and place in {0, 3, 4, 10, 11, 12}:
        assert len(decode(packed(changed))) == 1
    else:
        with pytest.raises(MessageMalformed):
            decode(packed(changed))


def test_lists_that_are_none_are_refused() -> None:
    """Too short, nested without end, no list at all."""
    lines: list[object] = [[], fields()[:-1], {}, 1, "changes", None]
    for line in lines:
        with pytest.raises(MessageMalformed):
            decode(packed(line))
    with pytest.raises(MessageMalformed):
        decode(MAGIC + zlib.compress(b"[" * 100_000 + b"\n"))
    with pytest.raises(MessageMalformed):
        decode(packed(fields()) + b"x")
    with pytest.raises(MessageMalformed):
        decode(MAGIC + zlib.compress(json.dumps(fields()).encode()))  # no end of the line


def test_too_much_is_neither_written_nor_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some bytes may inflate to many: reading stops where writing would have."""
    whole = encode([ONE] * 50)
    monkeypatch.setattr(change_codec, "MOST_CHANGES", 49)
    with pytest.raises(MessageMalformed):
        decode(whole)
    monkeypatch.undo()
    monkeypatch.setattr(change_codec, "MOST_BYTES", 999)
    with pytest.raises(MessageMalformed):
        decode(whole)
    with pytest.raises(TooManyChanges):
        encode([ONE] * 50)


def test_long_lines_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script may be longer than what is inflated at once."""
    monkeypatch.setattr(change_codec, "_MOST_AT_ONCE", 7)
    assert decode(encode([ONE, ONE])) == (ONE, ONE)
