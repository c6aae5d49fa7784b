"""The normal form: written and read back, whatever the vendor."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.export import Section, Statement, render, sections

WORD = st.from_regex(rb"[a-z]{1,4}", fullmatch=True)
STATEMENTS = st.lists(st.builds(Statement, path=WORD.map(lambda word: b"/" + word), text=WORD))


def test_items_of_one_section_stand_under_one_line() -> None:
    """Neighbours share their section line, a section that comes again has its own."""
    statements = [Statement(b"/a", b"1"), Statement(b"/a", b"2"), Statement(b"/b", b"3"), Statement(b"/a", b"4")]
    assert render([b"# head"], statements) == b"# head\n/a\n1\n2\n/b\n3\n/a\n4\n"


def test_what_stands_before_the_first_section_has_no_path() -> None:
    """A strange line after the header is kept."""
    assert render([], [Statement(b"", b"strange"), Statement(b"/a", b"1")]) == b"strange\n/a\n1\n"


def test_nothing_is_nothing() -> None:
    """An empty export is an empty text."""
    assert render([], []) == b""
    assert list(sections(render([], []))) == []


@given(st.lists(WORD.map(lambda word: b"# " + word)), STATEMENTS)
def test_sections_are_read_back_as_they_were_written(header: list[bytes], statements: list[Statement]) -> None:
    """The normal form loses neither an item, nor its place, nor the order."""
    found = list(sections(render(header, statements)))
    assert [Statement(path, item) for path, items in found for item in items] == statements
    assert all(one.path != next_.path for one, next_ in pairwise(found))


def test_a_section_knows_its_items() -> None:
    """Sections come in the order of the text."""
    text = render([b"# head"], [Statement(b"/a", b"1"), Statement(b"/b", b"2"), Statement(b"/b", b"3")])
    assert list(sections(text)) == [Section(b"/a", (b"1",)), Section(b"/b", (b"2", b"3"))]
