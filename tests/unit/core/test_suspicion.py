"""Which whole exports are believed: compared with the last one, and with what was kept aside."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.driver import Facts
from backupflow.core.model import ContentHash, Secrets
from backupflow.core.suspicion import NOTHING, Accepted, Known, Observed, OtherRouter, Suspect, completed, judge

FACTS = Facts("toy", version="7.1", serial="A1", markers=("error exporting /a",))
BEFORE = Observed(ContentHash(b"1"), 1, b"shape", b"masked", 10, 1000, 3, Secrets.SHOWN, FACTS, known_serial="A1")


def marked(*markers: str) -> Facts:
    """The same router, which could not export these."""
    return replace(FACTS, markers=markers)


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (replace(BEFORE, sections=5), "5 sections, it had 10"),
        (replace(BEFORE, size=500), "500 bytes, it had 1000"),
        (replace(BEFORE, facts=marked("error exporting /a", "error exporting /b")), "new: error exporting /b"),
        (replace(BEFORE, facts=marked("b", "c", "d")), "new: b and 2 more"),
        (replace(BEFORE, sections=0, size=1), "0 sections, it had 10; 1 bytes, it had 1000"),
        (replace(BEFORE, facts=replace(FACTS, serial=None)), "no serial number, it was A1"),
    ],
)
def test_what_lost_half_or_a_menu_is_suspect(now: Observed, why: str) -> None:
    """Half of the sections, half of the bytes, or a menu that the router could not export this time (I8)."""
    assert judge(Known(BEFORE), now) == Suspect(why)


@pytest.mark.parametrize(
    "now",
    [
        BEFORE,
        replace(BEFORE, sections=6, size=501),
        replace(BEFORE, sections=100, size=10**6),
        replace(BEFORE, facts=marked()),
        replace(BEFORE, facts=replace(FACTS, version="7.2")),
    ],
)
def test_what_is_more_than_half_is_believed(now: Observed) -> None:
    """Also what grew, a menu that is back, and another version."""
    assert judge(Known(BEFORE), now) == Accepted()


def test_a_first_export_is_believed() -> None:
    """There is nothing to compare it with."""
    assert judge(NOTHING, BEFORE) == Accepted()


def test_a_row_of_old_knows_no_markers_to_compare_with() -> None:
    """A menu that could never be exported is nothing new because it is seen for the first time."""
    old = replace(BEFORE, shape_hash=b"", sections=0, size=0, facts=marked())
    assert judge(Known(old), replace(BEFORE, facts=marked("error exporting /b"))) == Accepted()


SMALL = replace(BEFORE, content_hash=ContentHash(b"2"), shape_hash=b"small", size=100)


@pytest.mark.parametrize(
    ("aside", "believed"),
    [
        (SMALL, True),
        (replace(SMALL, shape_hash=b"another"), True),
        (replace(SMALL, content_hash=ContentHash(b"3")), True),
        (replace(SMALL, content_hash=ContentHash(b"3"), shape_hash=b"another"), False),
        (replace(SMALL, facts=marked("error exporting /c")), False),
        (replace(SMALL, normalization_version=2), False),
        (replace(SMALL, facts=replace(FACTS, serial=None)), False),
    ],
)
def test_what_was_said_twice_is_believed(aside: Observed, believed: bool) -> None:
    """The same text, or the same items of every menu: a note with the time in it is never the same text twice."""
    assert isinstance(judge(Known(BEFORE, aside), SMALL), Accepted if believed else Suspect)


def test_a_menu_that_is_named_twice_is_missing_for_good() -> None:
    """Whatever else went on meanwhile: a list that a script keeps is another one at each look."""
    now = replace(BEFORE, content_hash=ContentHash(b"2"), shape_hash=b"2", facts=marked("error exporting /b"))
    aside = replace(now, content_hash=ContentHash(b"3"), shape_hash=b"3")
    assert judge(Known(BEFORE, aside), now) == Accepted()


def test_what_an_operator_believes_is_believed() -> None:
    """Once, however it looks; but for another router."""
    assert judge(Known(BEFORE, SMALL, believes=True), replace(SMALL, shape_hash=b"another", sections=1)) == Accepted()
    other = replace(SMALL, facts=replace(FACTS, serial="B2"))
    assert isinstance(judge(Known(BEFORE, other, believes=True), other), OtherRouter)


@pytest.mark.parametrize("aside", [None, SMALL, replace(SMALL, shape_hash=b"another")])
def test_what_may_have_lost_its_end_is_believed_when_it_is_said_twice(aside: Observed | None) -> None:
    """The caller has a reason of its own; it holds also where nothing is known to compare with."""
    verdict = judge(Known(SMALL, aside), SMALL, cut="no end mark")
    assert verdict == (Accepted() if aside == SMALL else verdict)
    assert isinstance(verdict, Accepted | Suspect)
    assert judge(NOTHING, SMALL, cut="no end mark") == Suspect("no end mark")


@pytest.mark.parametrize("aside", [None, replace(BEFORE, facts=replace(FACTS, serial="B2"))])
@pytest.mark.parametrize("before", [BEFORE, replace(BEFORE, facts=replace(FACTS, serial=None))])
def test_another_serial_number_is_never_believed(before: Observed, aside: Observed | None) -> None:
    """However often it is said, and also if the last export named none: only an operator can say so."""
    now = replace(BEFORE, facts=replace(FACTS, serial="B2"))
    assert judge(Known(before, aside), now) == OtherRouter("serial number B2, it was A1")


@pytest.mark.parametrize(("named", "known"), [("B2", "B2"), (None, "A1")])
def test_a_serial_number_is_known_until_another_one_is(named: str | None, known: str) -> None:
    """An export without one does not make it forgotten."""
    now = replace(BEFORE, facts=replace(FACTS, serial=named), known_serial=None)
    assert completed(BEFORE, now, may_hide=False).known_serial == known
    assert completed(None, now, may_hide=False).known_serial == named


observed = st.builds(
    replace,
    st.just(BEFORE),
    sections=st.integers(0, 20),
    size=st.integers(0, 2000),
    shape_hash=st.sampled_from([b"a", b"b"]),
    content_hash=st.sampled_from([ContentHash(b"a"), ContentHash(b"b")]),
    facts=st.builds(marked, st.sampled_from(["x", "y", "z"])),
)


@given(before=observed, now=observed)
def test_a_second_look_at_the_same_always_ends_the_doubt(before: Observed, now: Observed) -> None:
    """Whatever is suspect is believed when the next collection says exactly the same: nothing is suspect for ever."""
    assert judge(Known(before, now), now) == Accepted()


@given(before=observed, aside=observed, now=observed)
def test_what_was_kept_aside_never_makes_anything_suspect(before: Observed, aside: Observed, now: Observed) -> None:
    """It can only end a doubt."""
    if judge(Known(before), now) == Accepted():
        assert judge(Known(before, aside), now) == Accepted()


@given(before=observed, looks=st.lists(observed, min_size=1, max_size=5))
def test_an_operator_ends_every_doubt(before: Observed, looks: list[Observed]) -> None:
    """Nothing is suspect for ever: where no look is like the one before it, a person may say that the next is true."""
    known = Known(before)
    for now in looks:
        if isinstance(judge(known, now), Suspect):
            known = replace(known, aside=now)
    assert judge(replace(known, believes=True), looks[-1]) == Accepted()


NONE = replace(BEFORE, secret_count=0, secrets=Secrets.NONE)


@pytest.mark.parametrize(
    ("before", "now", "secrets"),
    [
        (None, NONE, Secrets.NONE),
        (BEFORE, NONE, Secrets.HIDDEN),
        (BEFORE, replace(NONE, masked_hash=b"edited too"), Secrets.HIDDEN),
        (replace(BEFORE, secret_count=1), NONE, Secrets.HIDDEN),
        (replace(BEFORE, secret_count=1), replace(NONE, masked_hash=b"another note"), Secrets.HIDDEN),
        (replace(BEFORE, secret_count=1), replace(NONE, masked_hash=b"-", shape_hash=b"its item went"), Secrets.NONE),
        (replace(BEFORE, secret_count=1), replace(NONE, normalization_version=2), Secrets.NONE),
        (replace(NONE, secrets=Secrets.HIDDEN), NONE, Secrets.HIDDEN),
        (replace(NONE, secrets=Secrets.OMITTED), NONE, Secrets.NONE),
        (NONE, NONE, Secrets.NONE),
        (BEFORE, replace(NONE, secrets=Secrets.OMITTED), Secrets.OMITTED),
        (replace(NONE, secrets=Secrets.HIDDEN), BEFORE, Secrets.SHOWN),
    ],
)
def test_secrets_that_vanish_without_a_word_are_hidden(
    before: Observed | None, now: Observed, secrets: Secrets
) -> None:
    """RouterOS 6 leaves them out in silence; the last one may as well have been deleted."""
    assert completed(before, now, may_hide=True).secrets is secrets


@pytest.mark.parametrize("before", [BEFORE, replace(NONE, secrets=Secrets.HIDDEN)])
def test_a_router_that_says_when_it_hides_has_none_if_it_shows_none(before: Observed) -> None:
    """RouterOS 7 refuses, so the last secret was deleted: nobody has to look for rights."""
    assert completed(before, NONE, may_hide=False).secrets is Secrets.NONE
