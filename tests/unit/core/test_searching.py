"""Patterns: what is a line that has one, in which menu it stands, and what is said of a pattern that is none."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.searching import LONGEST_PATTERN, Pattern, component
from backupflow.errors import InputInvalid

TEXT = """# by RouterOS 7.14
# software id = A
/ip address
add address=192.0.2.1/24 interface=ether1
add address=192.0.2.2/24 comment=••• interface=ether2
/ip firewall filter
add action=accept chain=input
/ip firewall nat
add action=masquerade chain=srcnat
/system note
set note="add nothing"
"""


def lines(pattern: str, where: str | None = None, *, text: str = TEXT, **how: bool) -> list[tuple[str, int, str]]:
    """What has it: menu, number and the piece that was found."""
    found = Pattern(pattern, **how).lines(text, where)
    return [(one.component, one.number, one.text[one.start : one.end]) for one in found]


def test_a_text_is_found_as_it_stands() -> None:
    """Signs of regular expressions mean themselves, letters count as they are, and a mask is found like any text."""
    assert lines("192.0.2") == [("ip/address", 4, "192.0.2"), ("ip/address", 5, "192.0.2")]
    assert lines("192.0.2.1/24")[0][1] == 4
    assert lines("1.2.0.2") == []
    assert lines("ADD") == []
    assert lines("•••") == [("ip/address", 5, "•••")]
    assert lines("RouterOS") == [("header", 1, "RouterOS")]


def test_small_letters_are_as_capitals_if_asked() -> None:
    """For texts and for regular expressions."""
    assert lines("ETHER1", ignore_case=True) == [("ip/address", 4, "ether1")]
    assert lines("ETHER[1]", ignore_case=True, regexp=True) == [("ip/address", 4, "ether1")]


def test_a_line_counts_once_and_nothing_spans_two() -> None:
    """However often it has it; ends are those of lines, and nothing matches what ends them."""
    assert [number for _, number, _ in lines("e", text="/a b\neee\ne\n")] == [2, 3]
    assert lines("^add .*$", regexp=True)[0] == ("ip/address", 4, "add address=192.0.2.1/24 interface=ether1")
    assert len(lines("^add .*$", regexp=True)) == 4
    assert lines(r"ether1\n", regexp=True) == []
    assert [number for _, number, _ in lines(r"(?s)nat.*set", regexp=True)] == []
    assert [number for _, number, _ in lines("x*", regexp=True)] == list(range(1, 12))
    assert lines("[^a]+", regexp=True, where="system")[0] == ("system/note", 10, "/system note")


def test_a_line_is_in_the_menu_that_it_stands_in() -> None:
    """Only what is in the menu that was asked for, or below it; a menu whose name begins alike is another."""
    menus = ["ip/address"] * 3 + ["ip/firewall/filter"] * 2 + ["ip/firewall/nat"] * 2 + ["system/note"]
    assert [one[0] for one in lines("a")] == ["header", *menus]
    assert [one[:2] for one in lines("add", "ip/firewall")] == [("ip/firewall/filter", 7), ("ip/firewall/nat", 9)]
    assert lines("add", "ip/fire") == []
    assert lines("add", "system") == [("system/note", 11, "add")]
    assert lines("id", "header") == [("header", 2, "id")]
    assert [one[:2] for one in lines("add", text="/ip address\nadd\n")] == [("ip/address", 1), ("ip/address", 2)]


@given(st.lists(st.sampled_from(["/ip address", "/ip", "/a b c", "add x", "# c", "set y=x", "x"]), max_size=30))
def test_lines_are_found_as_by_looking_at_each(written: list[str]) -> None:
    """The same lines and menus as by going through the text line by line."""
    path, expected = None, []
    for number, line in enumerate(written, start=1):
        path = "/".join(line[1:].split()) if line.startswith("/") else path
        here = path if path is not None else "header" if line.startswith("#") else ""
        if "x" in line or "a" in line:
            expected.append((here, number))
    text = "".join(f"{line}\n" for line in written)
    assert [one[:2] for one in lines("[xa]", text=text, regexp=True)] == expected
    within = [one for one in expected if one[0] == "ip" or one[0].startswith("ip/")]
    assert [one[:2] for one in lines("[xa]", "ip", text=text, regexp=True)] == within


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("ab(c", "a ( is not closed, at character 3"),
        (r"a\(b(c)(", "a ( is not closed, at character 8"),
        ("a[(]b)c", "a ) closes nothing, at character 6"),
        ("a)(b", "a ) closes nothing, at character 2"),
        ("ab[c", "a [ is not closed, at character 3"),
        ("a**", "one repetition stands right behind another, at character 2"),
        ("*a", "nothing stands before a repetition"),
        (r"(a)\1", "there are no back references, at character 4"),
        ("(?<=a)b", "no looking ahead or behind, at character 1"),
        ("x{1001}", "a repetition of more than 1000"),
        ("[z-a]", "a class or range of characters that is none, at character 2"),
        ("a\\", "at its end, at character 2"),
        ("", "the pattern is empty"),
        ("a\nb", "several lines"),
        ("a" * (LONGEST_PATTERN + 1), "more than 4000"),
        ("a\ud800", "characters that are none"),
    ],
)
def test_a_pattern_that_is_none_is_told_with_its_place(pattern: str, says: str) -> None:
    """What is wrong and where, and never the pattern itself: it may be a secret."""
    with pytest.raises(InputInvalid, match=re.escape(says)) as failed:
        Pattern(pattern, regexp=True)
    assert failed.value.__cause__ is None
    assert failed.value.__context__ is None
    assert len(failed.value.detail) < 200


def test_a_text_that_is_no_regular_expression_is_found_all_the_same() -> None:
    """Only what is asked to be one is read as one."""
    assert lines("(a[", text="/x\nb(a[\n") == [("x", 2, "(a[")]


def test_nothing_writes_a_bad_pattern_down() -> None:
    """RE2 itself would print it; another process shows what reaches its standard error."""
    code = (
        "from backupflow.core.searching import Pattern\n"
        "try: Pattern('marker(of(a)secret', regexp=True)\nexcept Exception as exc: print(exc)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "not closed" in done.stdout
    assert "marker" not in done.stdout + done.stderr
    assert not done.stderr


def test_no_pattern_makes_a_text_take_for_ever() -> None:
    """What takes a backtracking engine longer than anybody lives ends here before the test is ended."""
    hostile = Pattern("(a|a|aa)+$|(a*)*b|^(([a-z])+.)+[A-Z]([a-z])+$", regexp=True)
    assert list(hostile.lines("/x\n" + "a" * 300_000 + "!\n")) == []


def test_a_menu_may_be_written_in_either_way() -> None:
    """As a path, or as the router has it."""
    assert component("/ip firewall") == component("ip/firewall/") == component(" ip  firewall ") == "ip/firewall"
    for wrong in ("", "/", "ip\x07"):
        with pytest.raises(InputInvalid, match="component"):
            component(wrong)
