"""What a diff promises, for whatever two texts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.diff import Diff, Hunk, Line, applied, decode, diff, encode
from backupflow.core.equal_lines import Shared, shared
from backupflow.core.model import NormalConfig
from backupflow.errors import MessageMalformed

NUMBERS = st.lists(st.integers(0, 5), max_size=14)
ITEMS = [b"add name=a", b"add name=b", b"add name=c", b"set enabled=yes"]
LINES = st.sampled_from([b"# by RouterOS 7.1", b"/ip address", b"/ip firewall filter", *ITEMS])
TEXTS = st.lists(LINES, max_size=30).map(lambda lines: text(*lines))


def text(*lines: bytes) -> NormalConfig:
    """A normal form of these lines."""
    return NormalConfig(b"".join(line + b"\n" for line in lines))


def placed(normal: NormalConfig) -> list[tuple[bytes, bytes]]:
    """Its lines, each with its section, by an independent reading."""
    found, path = list[tuple[bytes, bytes]](), b""
    for line in normal.splitlines():
        path = line if line.startswith(b"/") else path
        found.append((b"#" if line.startswith(b"#") else path, line))
    return found


def most_equal(old: list[int], new: list[int]) -> int:
    """The length of a longest common subsequence, by the textbook's table."""
    best = [0] * (len(new) + 1)
    for one in old:
        row = [0]
        for at, other in enumerate(new):
            row.append(best[at] + 1 if one == other else max(row[-1], best[at + 1]))
        best = row
    return best[-1]


def pairs_of(same: Shared) -> list[tuple[int, int]]:
    """Positions of equal lines, one by one."""
    return [(run.old + nth, run.new + nth) for run in same.runs for nth in range(run.length)]


@given(TEXTS, TEXTS)
def test_a_diff_leads_from_the_old_text_to_the_new_one(old: NormalConfig, new: NormalConfig) -> None:
    """Applied to the old text, a diff gives the new one; what it counts is what it shows; nothing of it is left out."""
    change = diff(old, new)
    assert applied(old, change) == new
    marks = [line.mark for hunk in change.hunks for line in hunk.lines]
    assert (marks.count("-"), marks.count("+")) == (change.removed, change.added)
    assert len(placed(old)) - change.removed == len(placed(new)) - change.added
    assert (change.hunks == ()) == (old == new)
    assert decode(encode(change)) == change


@given(TEXTS, TEXTS)
def test_every_line_of_a_diff_stands_where_it_says(old: NormalConfig, new: NormalConfig) -> None:
    """Starts and sections of hunks are those of the two texts."""
    for hunk in diff(old, new).hunks:
        for mark, start, whole in (("+", hunk.old_start, old), ("-", hunk.new_start, new)):
            theirs = [line for line in hunk.lines if line.mark != mark]
            there = placed(whole)[start - 1 : start - 1 + len(theirs)]
            assert [line.text.encode() for line in theirs] == [line for _, line in there]
            names = ["header" if path == b"#" else path[1:].replace(b" ", b"/").decode() for path, _ in there]
            assert [line.component for line in theirs] == names


@given(st.data())
def test_a_hunk_has_at_most_three_equal_lines_on_each_side(data: st.DataObject) -> None:
    """What is far from each other stands in different hunks, and each begins with what its reader knows."""
    lines = [b"add name=%d" % number for number in range(60)]
    edited = data.draw(st.sets(st.integers(0, 59), min_size=1, max_size=5))
    new = [line + b" x=y" if at in edited else line for at, line in enumerate(lines)]
    change = diff(text(*lines), text(*new))
    assert (change.added, change.removed) == (len(edited), len(edited))
    for hunk in change.hunks:
        runs = ["".join(run) for _, run in itertools.groupby(line.mark for line in hunk.lines)]
        assert all(len(run) <= 3 for run in (runs[0], runs[-1]) if run.startswith(" "))
        assert all(len(run) <= 6 for run in runs if run.startswith(" "))


@given(NUMBERS, NUMBERS)
def test_equal_lines_are_paired_in_order(old: list[int], new: list[int]) -> None:
    """Pairs are equal, increase on both sides, and nothing is left uncompared while there are steps."""
    same = shared(old, new)
    assert all(old[one] == new[other] for one, other in pairs_of(same))
    assert all(one[0] < two[0] and one[1] < two[1] for one, two in itertools.pairwise(pairs_of(same)))
    assert not same.uncompared


@given(NUMBERS.map(lambda few: few + few), NUMBERS.map(lambda few: few + few))
def test_as_many_lines_as_possible_stay_where_none_comes_once(old: list[int], new: list[int]) -> None:
    """Without anchors the comparison is exact: no shorter diff exists."""
    assert len(pairs_of(shared(old, new))) == most_equal(old, new)


@given(NUMBERS, NUMBERS, st.integers(0, 20))
def test_a_diff_that_ran_out_of_steps_is_still_true(old: list[int], new: list[int], steps: int) -> None:
    """Whatever was not compared is told, and lies between the pairs."""
    same = shared(old, new, steps)
    assert all(old[one] == new[other] for one, other in pairs_of(same))
    assert all(one[0] < two[0] and one[1] < two[1] for one, two in itertools.pairwise(pairs_of(same)))
    for stretch in same.uncompared:
        inside = [
            (one, other)
            for one, other in pairs_of(same)
            if stretch.old <= one < stretch.old_end or stretch.new <= other < stretch.new_end
        ]
        assert inside == []
    if not same.uncompared:
        assert same == shared(old, new)


def test_a_pair_of_texts_made_to_be_hard_gives_a_coarse_diff_that_says_so() -> None:
    """Thousands of lines of a few kinds, in another order: bounded, true, and told."""
    old = text(*(ITEMS[at * at % 4] for at in range(6000)), *(ITEMS[at % 3] for at in range(6000)))
    new = text(*(ITEMS[at % 3] for at in range(6000, 0, -1)), *(ITEMS[at * 3 % 4] for at in range(6000)))
    change = diff(old, new)
    assert "too different" in change.coarse
    assert applied(old, change) == new
    assert decode(encode(change)).coarse == change.coarse


def test_the_same_line_in_another_section_is_another_line() -> None:
    """`set enabled=yes` that goes from one menu to another is removed here and added there."""
    old = text(b"/ip dns", b"set enabled=yes", b"/ip ssh")
    new = text(b"/ip dns", b"/ip ssh", b"set enabled=yes")
    change = diff(old, new)
    assert [line for line in change.hunks[0].lines if line.mark != " "] == [
        Line("-", "ip/dns", "set enabled=yes"),
        Line("+", "ip/ssh", "set enabled=yes"),
    ]


def test_a_diff_is_not_applied_to_another_text() -> None:
    """It would give a text that no router ever had."""
    change = diff(text(*ITEMS), text(*ITEMS[:2]))
    with pytest.raises(ValueError, match="not of this text"):
        applied(text(*reversed(ITEMS)), change)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"form":2}',
        b"[" * 100_000,
        b'{"form":1,"added":1,"removed":0,"coarse":"","hunks":[[1,1,[]]]}',
        b'{"form":1,"added":1,"removed":0,"coarse":"","hunks":[[1,1,[["a",["no mark"]]]]]}',
        b'{"form":1,"added":1,"removed":0,"coarse":"","hunks":[[1,1,[["a",[""]]]]]}',
        b'{"form":1,"added":1,"removed":0,"coarse":"","hunks":[[1,1,7]]}',
        b'{"form":1,"added":Infinity,"removed":0,"coarse":"","hunks":[]}',
    ],
)
def test_what_is_no_diff_is_refused(body: bytes) -> None:
    """With one error, whatever is wrong with it."""
    with pytest.raises(MessageMalformed):
        decode(body)


def test_an_empty_diff_is_of_equal_texts() -> None:
    """No hunk, no line, and nothing to be said."""
    assert diff(text(*ITEMS), text(*ITEMS)) == Diff((), 0, 0)
    assert diff(NormalConfig(b""), NormalConfig(b"")) == Diff((), 0, 0)


def test_a_first_text_is_all_added() -> None:
    """Against nothing, from line 1."""
    change = diff(NormalConfig(b""), text(b"/ip dns", ITEMS[0]))
    lines = (Line("+", "ip/dns", "/ip dns"), Line("+", "ip/dns", "add name=a"))
    assert change == Diff((Hunk("ip/dns", 1, 1, lines),), 2, 0)
