"""Which whole exports are believed: compared with the last one, and with what was kept aside."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.driver import Facts
from backupflow.core.model import ContentHash, Secrets
from backupflow.core.suspicion import Accepted, Observed, OtherRouter, Suspect, judge, visibility

FACTS = Facts("toy", version="7.1", serial="A1", markers=("error exporting /a",))
BEFORE = Observed(ContentHash(b"1"), 1, b"shape", b"masked", 10, 1000, 3, Secrets.SHOWN, FACTS)


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
    ],
)
def test_what_lost_half_or_a_menu_is_suspect(now: Observed, why: str) -> None:
    """Half of the sections, half of the bytes, or a menu that the router could not export this time (I8)."""
    assert judge(BEFORE, None, now) == Suspect(why)


@pytest.mark.parametrize(
    "now",
    [
        BEFORE,
        replace(BEFORE, sections=6, size=501),
        replace(BEFORE, sections=100, size=10**6),
        replace(BEFORE, facts=marked()),
        replace(BEFORE, facts=replace(FACTS, version="7.2", serial=None)),
    ],
)
def test_what_is_more_than_half_is_believed(now: Observed) -> None:
    """Also what grew, a menu that is back, and an export that names no serial number."""
    assert judge(BEFORE, None, now) == Accepted()


def test_a_first_export_is_believed() -> None:
    """There is nothing to compare it with."""
    assert judge(None, None, BEFORE) == Accepted()


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
    ],
)
def test_what_was_said_twice_is_believed(aside: Observed, believed: bool) -> None:
    """The same text, or the same items of every menu: a note with the time in it is never the same text twice."""
    assert isinstance(judge(BEFORE, aside, SMALL), Accepted if believed else Suspect)


@pytest.mark.parametrize("aside", [None, replace(BEFORE, facts=replace(FACTS, serial="B2"))])
def test_another_serial_number_is_never_believed(aside: Observed | None) -> None:
    """However often it is said: only an operator can say that the router was replaced."""
    now = replace(BEFORE, facts=replace(FACTS, serial="B2"))
    assert judge(BEFORE, aside, now) == OtherRouter("serial number B2, it was A1")


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
    assert judge(before, now, now) == Accepted()


@given(before=observed, aside=observed, now=observed)
def test_what_was_kept_aside_never_makes_anything_suspect(before: Observed, aside: Observed, now: Observed) -> None:
    """It can only end a doubt."""
    if judge(before, None, now) == Accepted():
        assert judge(before, aside, now) == Accepted()


NONE = replace(BEFORE, secret_count=0, secrets=Secrets.NONE)


@pytest.mark.parametrize(
    ("before", "now", "secrets"),
    [
        (None, NONE, Secrets.NONE),
        (BEFORE, NONE, Secrets.HIDDEN),
        (BEFORE, replace(NONE, masked_hash=b"edited too"), Secrets.HIDDEN),
        (replace(BEFORE, secret_count=1), NONE, Secrets.HIDDEN),
        (replace(BEFORE, secret_count=1), replace(NONE, masked_hash=b"its item went"), Secrets.NONE),
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
    assert visibility(before, now) is secrets
