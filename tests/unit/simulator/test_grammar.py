"""The text of simulated exports has the forms that RouterOS prints."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.simulator.grammar import WIDTH, Item, Section, body, line, quoted, wrapped

PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from("\r\n\t"), max_size=300)


def unwrapped(text: str) -> str:
    """The reader's rule: join after an odd number of backslashes, drop the leading blanks of the next row."""
    rows = text.split("\r\n")
    joined = rows[0]
    for row in rows[1:]:
        slashes = len(joined) - len(joined.rstrip("\\"))
        assert slashes % 2 == 1
        joined = joined[:-1] + row.lstrip(" ")
    return joined


def decoded(value: str) -> str:
    """The value behind the quotes and escapes."""
    if not value.startswith('"'):
        return value
    plain = {"n": "\n", "r": "\r", "t": "\t", "_": " "}
    return re.sub(r"\\(.)", lambda found: plain.get(found[1], found[1]), value[1:-1])


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ("bridge", "bridge"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("two words", '"two words"'),
        ("", '""'),
        ('say "$x"?', '"say \\"\\$x\\"\\?"'),
        ("a\r\nb", '"a\\r\\nb"'),
        ("\x1b[1m", '"\\1B[1m"'),
        ("\x00", '"\\00"'),
        ("\N{LATIN SMALL LETTER E WITH ACUTE}", '"\\C3\\A9"'),
        ("<b>", "<b>"),
    ],
)
def test_a_value_is_quoted_only_where_routeros_does(value: str, printed: str) -> None:
    """Blanks and special characters stand in quotes, escaped; other values are bare."""
    assert quoted(value) == printed


@given(PRINTABLE, st.integers(0, 90))
def test_wrapping_loses_nothing(value: str, lead: int) -> None:
    """Whatever the value and where it stands, a reader that joins the rows finds it again."""
    item = Item("add", (("name", "n" * lead), ("comment", value), ("list", "end")))
    joined = unwrapped(wrapped(line(item, sensitive=True)))
    found = re.fullmatch(r'add name=(?:n*|"") comment=(.*) list=end', joined, re.DOTALL)
    assert found is not None
    assert decoded(found[1]) == value


@given(PRINTABLE)
def test_no_row_is_wider_than_routeros_prints_it(value: str) -> None:
    """Rows end at the 80th column; those that go on end in a backslash, the next begins with four blanks."""
    rows = wrapped(line(Item("add", (("comment", value), ("source", value))), sensitive=True)).split("\r\n")
    assert max(map(len, rows)) <= WIDTH + 1
    assert all(row.endswith("\\") for row in rows[:-1])
    assert all(row.startswith("    ") for row in rows[1:])


def test_a_long_rule_breaks_between_arguments_and_after_the_equals_sign() -> None:
    """As in real exports: a value that does not fit goes to the next row, its key stays."""
    item = Item(
        "add", (("action", "accept"), ("chain", "input"), ("comment", "accept what is established, related or new"))
    )
    longer = Item("add", (*item.args, ("connection-state", "established,related"), ("in-interface", "bridge")))
    assert wrapped(line(longer, sensitive=True)).split("\r\n") == [
        "add action=accept chain=input comment=\\",
        '    "accept what is established, related or new" connection-state=\\',
        "    established,related in-interface=bridge",
    ]


def test_secrets_are_left_out_with_their_keys() -> None:
    """Hidden exports do not show that there is a secret at all."""
    item = Item("add", (("name", "u"), ("password", "hush"), ("profile", "default")))
    assert line(item, sensitive=False) == "add name=u profile=default"
    assert line(item, sensitive=True) == "add name=u password=hush profile=default"


def test_places_for_device_comments_are_at_the_start_of_their_items() -> None:
    """An offset points to the first byte of the item that the comment is about."""
    items = (Item("add", (("name", "a"),)), Item("add", (("name", "b"),), about="b not ready"))
    text = body((Section("/interface list", items),), sensitive=True)
    ((offset, about),) = text.spots
    assert about == "b not ready"
    assert text.text[offset:] == b"add name=b\r\n"
    assert text.markers == ()


def test_a_section_that_could_not_be_exported_is_only_a_marker_between_two_others() -> None:
    """The offset points to where its section would begin."""
    items = (Item("add", (("name", "a"),)),)
    sections = (Section("/interface list", items), Section("/ip dns", items, error="#error"), Section("/ppp", items))
    text = body(sections, sensitive=True)
    assert text.text == b"/interface list\r\nadd name=a\r\n/ppp\r\nadd name=a\r\n"
    ((offset, row),) = text.markers
    assert (row, text.text[offset:]) == ("#error", b"/ppp\r\nadd name=a\r\n")
