"""The lexer: lines, tokens and values of an export."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.drivers.routeros.lexer import Kind, Token, decode, encode, scan, strings_end, tokens


@given(st.binary())
def test_a_value_survives_being_written_and_read(value: bytes) -> None:
    """Nothing is lost by encoding, whatever the bytes."""
    written = encode(value)
    inner = written[1:-1] if written.startswith(b'"') else written
    assert decode(inner) == value


@given(st.binary())
def test_a_written_value_is_one_token_of_printable_ascii(value: bytes) -> None:
    """A written value stands in a line without breaking it."""
    read = tokens(b"key=" + encode(value) + b" next")
    assert read is not None
    assert list(read) == [Token(b"key", value), Token(None, b"next")]
    assert all(0x20 <= byte <= 0x7E for byte in encode(value))


@pytest.mark.parametrize(
    ("inner", "value"),
    [
        (rb"a\_b", b"a b"),
        (rb"\"\\\?\$", b'"\\?$'),
        (rb"\a\b\f\n\r\t\v", b"\a\b\f\n\r\t\v"),
        (rb"\CF\EE", b"\xcf\xee"),
        (rb"\cf \q", rb"\cf \q"),
        (rb"\\n", rb"\n"),
        (rb"\\\\\\\"", b'\\\\\\"'),
        (rb"\BBQ", b"\xbbQ"),
    ],
)
def test_escapes_are_resolved_once(inner: bytes, value: bytes) -> None:
    """Each escape of RouterOS means one byte; what is none of them stays."""
    assert decode(inner) == value


def test_lines_are_classified_by_their_shape() -> None:
    """Sections carry over to the items below them; the terse form names its own."""
    text = b"# c\n/ip address\nadd a=b\n/ip/dns set x=y\nset z\n[admin@R1] > quit\n/ip address add n=1\n/ip=\n"
    assert [(kind, path, line) for kind, _, path, line in scan(text)] == [
        (Kind.COMMENT, b"", b"# c"),
        (Kind.SECTION, b"/ip address", b""),
        (Kind.ITEM, b"/ip address", b"add a=b"),
        (Kind.ITEM, b"/ip dns", b"set x=y"),
        (Kind.ITEM, b"/ip dns", b"set z"),
        (Kind.UNKNOWN, b"/ip dns", b"[admin@R1] > quit"),
        (Kind.ITEM, b"/ip address", b"add n=1"),
        (Kind.UNKNOWN, b"/ip address", b"/ip="),
    ]


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        (b"/a\nadd k=\\\n    v", b"add k=v"),
        (b'/a\nadd k="one\\\n    \\_two"', b'add k="one\\_two"'),
        (b"/a\nadd k=a\\  \n\n\n    b", b"add k=ab"),
        (b'/a\nadd k="\\\\\\\n    b"', b'add k="\\\\b"'),
        (b'/a\nadd k="x\\n\\\n    # not a comment\\\n    "', b'add k="x\\n# not a comment"'),
        (b'/a\nadd k="x\\n\\\n# not a comment"', b'add k="x\\n# not a comment"'),
    ],
)
def test_wrapped_lines_are_joined(text: bytes, joined: bytes) -> None:
    """An odd number of backslashes at the end goes on in the next line, whose blanks are dropped."""
    assert [line for kind, _, _, line in scan(text) if kind is Kind.ITEM] == [joined]


def test_escaped_backslashes_at_the_end_do_not_wrap() -> None:
    """An even number of them is part of the line."""
    assert [line for kind, _, _, line in scan(b"/a\nadd k=a\\\\\nadd k=b\n") if kind is Kind.ITEM] == [
        b"add k=a\\\\",
        b"add k=b",
    ]


def test_a_comment_never_goes_on_in_the_next_line() -> None:
    """A device comment that ends in a backslash swallows no item."""
    assert [kind for kind, *_ in scan(b"/a\n# odd \\\nadd k=v\n")] == [Kind.SECTION, Kind.COMMENT, Kind.ITEM]


def test_an_end_inside_a_wrapped_line_is_seen() -> None:
    """The text of a line that breaks off keeps its backslash."""
    assert [(kind, line) for kind, _, _, line in scan(b"/a\nadd k=\\\n")][1:] == [(Kind.DANGLING, b"add k=\\")]


def test_lines_are_numbered_as_an_editor_does() -> None:
    """A joined line has the number of its last physical line."""
    assert [number for _, number, _, _ in scan(b"/a\n\nadd \\\n  k=v\nadd\n")] == [1, 4, 5]


def test_an_item_is_split_into_tokens() -> None:
    """Selectors, properties, unset properties and flags."""
    read = tokens(b' [ find default-name=ether1 ] .mode=ap !comment name="a b]" empty="" none= "two words" 0')
    assert read is not None
    assert list(read) == [
        Token(b"[", None),
        Token(None, b"find"),
        Token(b"default-name", b"ether1"),
        Token(b"]", None),
        Token(b".mode", b"ap"),
        Token(None, b"!comment"),
        Token(b"name", b"a b]"),
        Token(b"empty", b""),
        Token(b"none", b""),
        Token(None, b"two words"),
        Token(None, b"0"),
    ]


@pytest.mark.parametrize("text", [b'a="b', b'a="b"c', b'a"b"', b"a=[b]", b'"a"=b', b'a="\\"'])
def test_what_is_no_token_is_said_to_be_none(text: bytes) -> None:
    """Open strings and things glued together are not guessed at."""
    assert tokens(text) is None


@pytest.mark.parametrize(("text", "end"), [(b'a="b\\""', True), (b'a="b', False), (b'"a""', False), (b"a", True)])
def test_an_open_string_is_seen(text: bytes, end: bool) -> None:
    """An escaped quote does not end a string."""
    assert strings_end(text) is end
