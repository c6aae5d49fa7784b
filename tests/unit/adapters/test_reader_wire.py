"""What goes over the pipes to a reading process and back: all of it, and nothing but values of the right types."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.adapters.reader import wire
from backupflow.core.driver import Asking, Facts, Incomplete, Outline, Reading, Reason, Reply
from backupflow.core.export import NORMALIZATION_VERSION
from backupflow.core.model import NormalConfig, RawConfig, Secrets, SecretsPolicy

TEXTS = st.text(max_size=40)  # lone surrogates too: Python makes them of bytes that are no UTF-8
MAYBE = st.none() | TEXTS
NUMBERS = st.integers(-(2**63), 2**63 - 1)
STATUSES = st.none() | st.integers(0, 2**32 - 1)
ASKINGS = st.builds(Asking, st.sampled_from(SecretsPolicy), MAYBE, MAYBE)
REPLIES = st.lists(st.builds(Reply, TEXTS, st.binary(), st.binary(), STATUSES), max_size=4)
READINGS = st.builds(
    Reading,
    raw=st.binary().map(RawConfig),
    normal=st.binary().map(NormalConfig),
    facts=st.builds(Facts, TEXTS, MAYBE, MAYBE, MAYBE, MAYBE, MAYBE, st.lists(TEXTS).map(tuple)),
    outline=st.builds(Outline, NUMBERS, NUMBERS, NUMBERS, st.binary(), st.binary()),
    secrets=st.sampled_from(Secrets),
    command=TEXTS,
    remember=TEXTS,
    exit_status=STATUSES,
    marked=st.booleans(),
    ended=st.booleans(),
    may_hide=st.booleans(),
)
DEFECTS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,60}", fullmatch=True).map(wire.Defect)
ANSWERS = READINGS | st.builds(Incomplete, st.sampled_from(Reason), TEXTS) | DEFECTS

FULL = Reading(
    raw=RawConfig(b"raw"),
    normal=NormalConfig(b"normal"),
    facts=Facts("routeros", "7.14", "RB5009", "HC1", "ABCD-1", "a name", ("#error exporting /a", "b")),
    outline=Outline(11, 12, 13, b"shape", b"masked"),
    secrets=Secrets.HIDDEN,
    command="/export",
    remember="/export terse",
    exit_status=4,
    marked=True,
    ended=True,
    may_hide=True,
)


def understood(pieces: list[bytes]) -> Reading | Incomplete | wire.Defect:
    """What the other end makes of it."""
    return wire.answer_of(memoryview(b"".join(pieces)))


def changed(**fields: object) -> bytes:
    """A whole answer with other fields in its header, and its sizes kept."""
    pieces = wire.answer(FULL)
    header = json.loads(pieces[0][4:])
    said = json.dumps({**header, **fields}).encode()
    return len(said).to_bytes(4) + said + b"".join(pieces[1:])


@given(TEXTS, ASKINGS, REPLIES)
def test_a_request_arrives_as_it_was_sent(driver: str, asking: Asking, replies: list[Reply]) -> None:
    """Each byte of each stream, and which answer it belongs to."""
    stream = io.BytesIO(b"".join(wire.request(driver, asking, replies)))
    assert wire.request_of(stream) == wire.Request(driver, asking, tuple(replies))
    assert not stream.read()


@given(TEXTS, ASKINGS, REPLIES, st.data())
def test_a_request_that_breaks_off_is_not_read(
    driver: str, asking: Asking, replies: list[Reply], data: st.DataObject
) -> None:
    """The worker is gone: half a text must not pass for a whole one."""
    whole = b"".join(wire.request(driver, asking, replies))
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(EOFError):
        wire.request_of(io.BytesIO(whole[:cut]))


def test_a_process_of_another_version_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that was replaced under a running worker would give normal forms that are not what the worker calls them."""
    sent = b"".join(wire.request("routeros", Asking(SecretsPolicy.COLLECT, None), []))
    monkeypatch.setattr("backupflow.adapters.reader.wire.NORMALIZATION_VERSION", NORMALIZATION_VERSION + 1)
    with pytest.raises(wire.OtherVersion):
        wire.request_of(io.BytesIO(sent))


@given(ANSWERS)
def test_an_answer_arrives_as_it_was_sent(answer: Reading | Incomplete | wire.Defect) -> None:
    """The same value, of the same types all the way down."""
    arrived = understood(wire.answer(answer))
    assert arrived == answer
    assert repr(arrived) == repr(answer)


def test_no_field_of_a_reading_is_left_behind() -> None:
    """One that is added to it later, with a default, would otherwise get lost here without a word."""
    for value, kind in ((FULL, Reading), (FULL.facts, Facts), (FULL.outline, Outline)):
        defaults = {field.name: field.default for field in dataclasses.fields(kind)}
        assert all(getattr(value, name) not in {default, None, "", 0} for name, default in defaults.items())
    assert understood(wire.answer(FULL)) == FULL


@given(ANSWERS, st.data())
def test_an_answer_that_breaks_off_is_unreadable(
    answer: Reading | Incomplete | wire.Defect, data: st.DataObject
) -> None:
    """At any byte: half a normal form must not pass for a whole one. Nor does one pass that goes on after its end."""
    whole = b"".join(wire.answer(answer))
    cut = data.draw(st.integers(0, len(whole) - 1))
    for wrong in (whole[:cut], whole + b"x"):
        with pytest.raises(wire.Unreadable):
            wire.answer_of(memoryview(wrong))


@given(st.binary())
def test_noise_is_unreadable(noise: bytes) -> None:
    """Whatever it is; nothing else is raised."""
    with pytest.raises(wire.Unreadable):
        wire.answer_of(memoryview(noise))


JSONS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([*json.loads(wire.answer(FULL)[0][4:])]), JSONS)
def test_a_field_of_another_kind_is_unreadable_or_a_value_of_its_type(field: str, value: object) -> None:
    """What a process sends that a text took over has wrong values at worst: never another type, nor more bytes."""
    try:
        answer = wire.answer_of(memoryview(changed(**{field: value})))
    except wire.Unreadable:
        return
    assert isinstance(answer, Reading | Incomplete | wire.Defect)
    if isinstance(answer, Reading):
        assert all(type(getattr(answer, each.name)) is type(getattr(FULL, each.name)) for each in _fields(answer))
        assert len(answer.raw) + len(answer.normal) == len(FULL.raw) + len(FULL.normal)


def _fields(answer: Reading) -> list[dataclasses.Field[object]]:
    return [field for field in dataclasses.fields(answer) if field.name != "exit_status"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sizes", [3, 5]),
        ("sizes", [3, 7]),
        ("sizes", [-3, 12]),
        ("sizes", [9]),
        ("sizes", [3, 6, 0]),
        ("sizes", [True, 8]),
        ("exit_status", "4"),
        ("exit_status", 2**63),
        ("marked", 1),
        ("command", None),
        ("secrets", "unknown"),
        ("facts", {}),
        ("outline", []),
        ("kind", "defect"),
        ("kind", "incomplete"),
    ],
)
def test_a_wrong_field_is_unreadable(field: str, value: object) -> None:
    """Each bound by itself."""
    with pytest.raises(wire.Unreadable):
        wire.answer_of(memoryview(changed(**{field: value})))


@pytest.mark.parametrize("name", ["a word", "x" * 101, "", "a\nb", "\x1b[2J", 5])
def test_the_name_of_a_defect_is_a_name(name: object) -> None:
    """It goes into logs and rows."""
    header = json.dumps({"kind": "defect", "name": name, "sizes": []}).encode()
    with pytest.raises(wire.Unreadable):
        wire.answer_of(memoryview(len(header).to_bytes(4) + header))


def test_a_header_is_not_read_beyond_its_bounds() -> None:
    """Neither too long a one, nor one so deep that reading it overflows."""
    for header in (b"[" * 500_000, b" " * (wire.LARGEST_HEADER + 1)):
        with pytest.raises(wire.Unreadable):
            wire.answer_of(memoryview(len(header).to_bytes(4) + header))
