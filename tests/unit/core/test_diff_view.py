"""A diff as it is read: unified, side by side, and without secrets."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.diff import Diff, Hunk, Line, diff
from backupflow.core.diff_view import CHANGED, MASKED, Row, side_by_side, unified, unmasked
from backupflow.core.model import NormalConfig

SECRET = re.compile(r"(password|key)=\S+")


def mask(component: str, text: str) -> str:
    """Hide what follows `password=` and `key=`, as a driver's grammar would."""
    return SECRET.sub(rf"\1={MASKED}", text)


def text(*lines: str) -> NormalConfig:
    """A normal form of these lines."""
    return NormalConfig("".join(f"{line}\n" for line in lines).encode())


WORDS = st.sampled_from(["add name=a", "add name=b", "set enabled=yes", "/ip dns", "/user"])
VALUES = st.integers(0, 99).map(lambda number: f"s3cr3t{number:02}")
SECRETS = st.builds(lambda name, one, two: f"add name={name} password={one} key={two}", WORDS, VALUES, VALUES)
TEXTS = st.lists(st.one_of(WORDS, SECRETS), max_size=20).map(lambda lines: text(*lines))


@given(TEXTS, TEXTS)
def test_no_secret_is_in_a_masked_diff(old: NormalConfig, new: NormalConfig) -> None:
    """Neither unified nor side by side; unmasked, all that differs is there."""
    change = diff(old, new)
    rows = [row.old + row.new + row.heading for row in side_by_side(change, 400, mask)]
    assert "s3cr3t" not in "".join(rows) + "".join(unified(change, mask))
    shown = list(unified(change, unmasked))
    for hunk in change.hunks:
        assert all(line.mark + line.text in shown for line in hunk.lines)


@given(TEXTS, TEXTS, st.integers(0, 60))
def test_two_columns_show_all_that_one_shows(old: NormalConfig, new: NormalConfig, width: int) -> None:
    """Folded to the width that there is, and nothing is left out or cut off."""
    change = diff(old, new)
    left, right, rows = [], [], list(side_by_side(change, width, unmasked))
    for row in (row for row in rows if not row.heading):
        assert len(row.old) == len(row.new) == max((width - 5) // 2, 10)
        left += [row.old.rstrip()] if row.old_mark else []
        right += [row.new.rstrip()] if row.new_mark else []
        if not row.old_mark and left and row.old.strip():
            left[-1] += row.old.rstrip()
        if not row.new_mark and right and row.new.strip():
            right[-1] += row.new.rstrip()
    lines = [line for hunk in change.hunks for line in hunk.lines]
    squeezed = [re.sub(r"\s", "", one) for one in left + right]
    theirs = [line.text for line in lines if line.mark != "+"] + [line.text for line in lines if line.mark != "-"]
    assert squeezed == [re.sub(r"\s", "", one) for one in theirs]


def test_a_column_ends_at_a_blank_that_is_near() -> None:
    """No word is cut in two that would begin in the second half of a row; a longer one goes on below as it is."""
    old = text("# x", "/user", "add name=a")
    new = text("# x", "/user", "add name=a", f"add comment=to-be-removed group=full name={'b' * 40}")
    rows = [row.new for row in side_by_side(diff(old, new), 77, unmasked) if not row.heading]
    assert {len(row) for row in rows} == {36}
    assert [row.rstrip() for row in rows[-3:]] == [
        "add comment=to-be-removed",
        f"group=full name={'b' * 20}",
        "b" * 20,
    ]


def test_a_unified_diff_is_as_programs_expect_it() -> None:
    """Heading with both ranges and the menu of the first difference, then each line after its mark."""
    old = text("# by RouterOS 7.1", "/ip dns", "set servers=1.1.1.1", "/user", "add name=a")
    new = text("# by RouterOS 7.1", "/ip dns", "set servers=9.9.9.9", "/user", "add name=a", "add name=b")
    assert list(unified(diff(old, new), mask)) == [
        "@@ -1,5 +1,6 @@ ip/dns",
        " # by RouterOS 7.1",
        " /ip dns",
        "-set servers=1.1.1.1",
        "+set servers=9.9.9.9",
        " /user",
        " add name=a",
        "+add name=b",
    ]


def test_a_hunk_without_old_lines_names_the_line_before() -> None:
    """As `diff -u` does: of an empty text that is 0."""
    assert next(unified(diff(text(), text("/user")), mask)) == "@@ -0,0 +1,1 @@ user"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("add password=one key=k", "add password=two key=k", f"add password={CHANGED} key={MASKED}"),
        ("add password=one key=k", "add password=one key=l", f"add password={MASKED} key={CHANGED}"),
        ("add password=one key=k", "add password=two key=l", f"add password={CHANGED} key={CHANGED}"),
        ("add password=one x=1", "add password=two x=2", f"add password={MASKED} x=2"),
    ],
)
def test_a_line_that_only_a_secret_tells_apart_says_so(old: str, new: str, told: str) -> None:
    """Two equal lines, one removed and one added, would be a riddle."""
    shown = list(unified(diff(text("/user", old), text("/user", new)), mask))
    assert shown[-2:] == [f"-{mask('user', old)}", f"+{told}"]


class Counted(str):
    """A text that counts how often one of its kind is compared with another."""

    __slots__ = ()
    times = 0

    def __eq__(self, other: object) -> bool:
        Counted.times += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_each_of_many_lines_that_look_the_same_is_looked_up_once() -> None:
    """A router can have many thousands of lines that differ in a secret alone: no pair of them is compared."""
    count = 400
    lines = [Line(mark, "user", Counted(f"add password={mark}{n}")) for mark in "-+" for n in range(count)]
    change = Diff((Hunk("user", 1, 1, tuple(lines)),), count, count, "")
    Counted.times = 0
    assert list(unified(change, mask))[1:] == [f"-add password={MASKED}"] * count + [f"+add password={CHANGED}"] * count
    assert Counted.times < 4 * count


def test_a_line_that_only_moved_has_no_changed_secret() -> None:
    """Its secret is the same at both places."""
    lines = ["add name=a password=one", "add name=b", "add name=c"]
    shown = list(unified(diff(text(*lines), text(*lines[1:], lines[0])), mask))
    assert shown[-1] == f"+add name=a password={MASKED}"


def test_a_coarse_diff_says_so_where_it_is_read() -> None:
    """First of all, in both forms, as a remark that programs skip."""
    change = replace(diff(text("/user"), text("/ip dns")), coarse="too different")
    assert next(unified(change, mask)).startswith("\\ too different")
    assert next(side_by_side(change, 80, mask)).heading.startswith("\\ too different")


def test_removed_lines_stand_beside_those_that_came_in_their_place() -> None:
    """Row by row; what has no partner stands alone."""
    old, new = text("/user", "add name=a", "add name=b"), text("/user", "add name=c")
    rows = [(row.old_mark, row.old.rstrip(), row.new_mark, row.new.rstrip()) for row in rows_of(old, new)]
    assert rows == [
        (" ", "/user", " ", "/user"),
        ("-", "add name=a", "+", "add name=c"),
        ("-", "add name=b", "", ""),
    ]


def rows_of(old: NormalConfig, new: NormalConfig) -> list[Row]:
    """The rows without their headings."""
    return [row for row in side_by_side(diff(old, new), 60, mask) if not row.heading]
