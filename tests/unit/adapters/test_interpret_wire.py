"""What goes over the pipes to an interpreting process and back: all of it, and only values of the right types."""

from __future__ import annotations

import dataclasses
import io
import json
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.adapters.reader import frame, interpret_wire
from backupflow.core.edits import Log, Witness
from backupflow.core.export import NORMALIZATION_VERSION
from backupflow.core.ignoring import Rule
from backupflow.core.interpretation import Answer, Interpretation, Kind, Question
from backupflow.core.model import ContentHash, Pepper, RawConfig

TEXTS = st.text(max_size=40)
LISTS = st.lists(TEXTS, max_size=3).map(tuple)
COUNTS = st.integers(0, 2**31 - 1)
HASHES = st.none() | st.binary(min_size=32, max_size=32).map(ContentHash)
ZONED = st.datetimes(timezones=st.just(UTC))
LOGS = st.builds(Log, st.binary(), st.none() | st.datetimes())
QUESTIONS = st.builds(
    Question,
    TEXTS,
    st.none() | st.binary().map(RawConfig),
    st.binary().map(RawConfig),
    st.binary().map(Pepper),
    st.tuples(TEXTS, TEXTS),
    st.booleans(),
    st.lists(st.builds(Rule, TEXTS, TEXTS, st.none() | TEXTS), max_size=3).map(tuple),
    st.none() | st.builds(Witness, LOGS, ZONED, ZONED),
)
INTERPRETATIONS = st.builds(
    Interpretation, st.sampled_from(Kind), TEXTS, COUNTS, COUNTS, COUNTS, COUNTS, LISTS, LISTS,
    st.none() | st.binary(), st.none() | st.binary(), LISTS,
)  # fmt: skip
ANSWERS = st.builds(Answer, HASHES, HASHES, st.booleans(), INTERPRETATIONS) | st.builds(
    frame.Defect, st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,60}", fullmatch=True)
)
FULL = Answer(
    ContentHash(b"1" * 32), ContentHash(b"2" * 32), is_same=False,
    interpretation=Interpretation(
        Kind.CHANGE, "coarse", 1, 2, 3, 4, ("ip/address",), ("ab12",), b"changes", b"diff", ("a line",)
    ),
)  # fmt: skip
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


def test_every_field_of_a_full_answer_has_a_value_of_its_own() -> None:
    """So that the tests below would see one that gets lost."""
    for one in (FULL, FULL.interpretation):
        values = [getattr(one, field.name) for field in dataclasses.fields(one)]
        assert len({repr(value) for value in values}) == len(values)


@given(QUESTIONS)
def test_a_question_arrives_as_it_was_asked(question: Question) -> None:
    """Every field, whatever bytes there are; and what was cut off is no question."""
    whole = b"".join(interpret_wire.request(question))
    stream = io.BytesIO(whole)
    assert interpret_wire.question_under(frame.header_of(stream), stream) == question
    cut = io.BytesIO(whole[:-1])
    with pytest.raises(EOFError):
        interpret_wire.question_under(frame.header_of(cut), cut)


def test_a_question_of_another_normalizer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code was replaced under a running worker: the hashes would be compared with those of another version."""
    stream = io.BytesIO(b"".join(interpret_wire.request(Question("routeros", None, RawConfig(b"x"), Pepper(b"y")))))
    monkeypatch.setattr(interpret_wire, "NORMALIZATION_VERSION", NORMALIZATION_VERSION + 1)
    with pytest.raises(frame.OtherVersion):
        interpret_wire.question_under(frame.header_of(stream), stream)


@given(ANSWERS)
def test_an_answer_arrives_as_it_was_given(answer: Answer | frame.Defect) -> None:
    """Every field."""
    assert interpret_wire.answer_of(memoryview(b"".join(interpret_wire.answer(answer)))) == answer


@given(ANSWERS, st.data())
def test_an_answer_that_is_cut_or_goes_on_is_none(answer: Answer | frame.Defect, data: st.DataObject) -> None:
    """The process was killed while it spoke, or says more than it should."""
    whole = b"".join(interpret_wire.answer(answer))
    for wrong in (whole[: data.draw(st.integers(0, len(whole) - 1))], whole + b"x"):
        with pytest.raises(frame.Unreadable):
            interpret_wire.answer_of(memoryview(wrong))


def changed(**fields: Any) -> bytes:  # noqa: ANN401 - whatever JSON can say
    """The full answer with another header."""
    head, *parts = interpret_wire.answer(FULL)
    said = json.dumps(json.loads(head[4:]) | fields).encode()
    return b"".join([len(said).to_bytes(4), said, *parts])


@given(st.sampled_from([*json.loads(interpret_wire.answer(FULL)[0][4:])]), JSONS)
def test_whatever_a_header_says_it_is_of_the_right_types_or_none(field: str, value: object) -> None:
    """A process that was taken over gets nothing else into the worker."""
    try:
        answer = interpret_wire.answer_of(memoryview(changed(**{field: value})))
    except frame.Unreadable:
        return
    if isinstance(answer, Answer):
        made = answer.interpretation
        assert isinstance(made.kind, Kind)
        assert all(isinstance(text, str) for text in (made.detail, *made.components, *made.touched, *made.summaries))
        assert all(number in range(2**31) for number in (made.lines_added, made.lines_removed, made.count))
        assert all(part is None or isinstance(part, bytes) for part in (made.changes, made.diff))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", -1), ("count", 2**31), ("count", True), ("ignored", 1.5), ("kind", "nothing"), ("kind", None),
        ("hash_after", "xyz"), ("components", "ip"), ("components", [1]), ("there", [1, 0]), ("there", [True]),
        ("sizes", [7]), ("sizes", [-1, 12]), ("is_same", 0), ("detail", 7),
    ],
)  # fmt: skip
def test_what_is_of_another_type_is_refused(field: str, value: object) -> None:
    """Each of these once."""
    with pytest.raises(frame.Unreadable):
        interpret_wire.answer_of(memoryview(changed(**{field: value})))
