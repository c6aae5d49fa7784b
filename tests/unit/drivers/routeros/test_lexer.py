"""The lexer: lines, tokens and values of an export."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.drivers.routeros.lexer import Token, decode, encode, printable, strings_end, tokens


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


@given(st.binary())
def test_tokens_are_total(text: bytes) -> None:
    """Whatever the bytes, they are split or said to be none; what is split begins and ends with its strings."""
    read = tokens(text)
    if read is not None:
        assert strings_end(text)
        assert all(token.key is not None or token.value is not None for token in read)


@given(st.binary(), st.booleans())
def test_printable_text_is_ascii_and_stays(text: bytes, lines: bool) -> None:
    """Every byte is kept or written as an escape, newlines as asked."""
    written = printable(text, lines=lines)
    kept = {*range(0x20, 0x7F), *(b"\n" if lines else b"")}
    assert written == b"".join(bytes((byte,)) if byte in kept else b"\\%02X" % byte for byte in text)
    assert printable(written, lines=lines) == written


# ----------------------------------------------------------- patterns: what Python before 3.11.5 cannot do (gh-106052)
def midway(pattern: Any) -> list[str]:  # noqa: ANN401  (the parser of `re` carries no types)
    """Name the possessive repeats of a pattern whose body could fail after it has begun."""
    found: list[str] = []
    for operation, argument in pattern:
        name = str(operation)
        if name == "POSSESSIVE_REPEAT" and not all(map(fails_at_once, branches(argument[2]))):
            found.append(str(argument[2]))
        for part in argument if isinstance(argument, tuple) else ():
            if type(part).__name__ == "SubPattern":
                found += midway(part)
            elif isinstance(part, list):
                found += [each for branch in part if type(branch).__name__ == "SubPattern" for each in midway(branch)]
    return found


def branches(body: Any) -> list[Any]:  # noqa: ANN401
    """Give the alternatives of a body that is nothing but alternatives, or the body."""
    if len(body) == 1 and str(body[0][0]) == "SUBPATTERN":
        return branches(body[0][1][-1])
    return list(body[0][1][1]) if len(body) == 1 and str(body[0][0]) == "BRANCH" else [body]


def fails_at_once(body: Any) -> bool:  # noqa: ANN401
    """What follows the first part cannot fail: it may match nothing, or was looked at before, or is any byte."""
    if str(body[0][0]) == "ASSERT":
        return True
    rest = [(str(operation), argument) for operation, argument in body[1:]]
    return all(name == "ANY" or (name.endswith("REPEAT") and argument[0] == 0) for name, argument in rest)


@pytest.mark.parametrize("module", ["lexer", "canonical", "pieces", "normal", "noise", "completeness"])
def test_no_possessive_group_can_fail_midway(module: str) -> None:
    """Where it does, older interpreters forget to go back: an open string passes for a closed one."""
    parser = importlib.import_module("re._parser")
    inside = vars(importlib.import_module(f"backupflow.drivers.routeros.{module}"))
    patterns = [value for value in inside.values() if isinstance(value, re.Pattern)]
    assert patterns or module == "canonical"
    for pattern in patterns:
        assert midway(parser.parse(pattern.pattern, pattern.flags)) == [], pattern.pattern


@pytest.mark.parametrize(("pattern", "wrong"), [(rb"(?:=b)?+", 1), (rb"(?:a|(?:=b)*+)*+", 1), (rb"(?:a++|b)*+c?+", 0)])
def test_a_possessive_group_that_can_fail_midway_is_found(pattern: bytes, wrong: int) -> None:
    """A check of the check above."""
    assert len(midway(importlib.import_module("re._parser").parse(pattern))) == wrong
