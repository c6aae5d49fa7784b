"""YAML of Ruby programs: read as text, never run, never larger than it looks."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.adapters.inventories.ruby_regexp import compiled
from backupflow.adapters.inventories.ruby_yaml import load
from backupflow.errors import InputInvalid

_BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcde", "bcdef", strict=True)
)
_MERGES = "a: &a {k: v}\n" + "".join(
    f"{new}: &{new} {{<<: [{','.join([f'*{old}'] * 10)}]}}\n" for old, new in zip("abcde", "bcdef", strict=True)
)


def test_scalars_stay_what_stands_there() -> None:
    """A password may look like a number, a truth, or nothing."""
    document = load("a: 0123\nb: yes\nc: 1e3\nd: ''\ne: ~\nf: null\ng:\nh: '~'\ni: 12:30:45\nj: 2026-01-01\nk: ! 5\n")
    assert document.value == {
        "a": "0123", "b": "yes", "c": "1e3", "d": "", "e": None, "f": None, "g": None, "h": "~",
        "i": "12:30:45", "j": "2026-01-01", "k": "5",
    }  # fmt: skip


def test_symbols_and_anchors_are_followed() -> None:
    """As Ruby writes them."""
    document = load(":name: :routeros\nq: ':kept'\nvars: &v {a: 1, b: 2}\ng: {<<: *v, b: 3}\n")
    assert document.value == {
        "name": "routeros", "q": ":kept", "vars": {"a": "1", "b": "2"}, "g": {"a": "1", "b": "3"},
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "a: !ruby/object:Gem::Installer {i: x}",
        "a: !ruby/object:OpenStruct\n  secret: s3cr3t",
        "a: !!python/object/apply:os.system ['touch /tmp/x']",
        "a: !ruby/hash:Foo {b: 1}",
        "a: !ruby/struct:Foo [1]",
        "a: <%= File.read('/etc/passwd') %>",
    ],
)
def test_nothing_is_made_or_run(text: str) -> None:
    """An object, ERB: nothing stands there, and the line is told."""
    document = load(text)
    assert document.value == {"a": None}
    assert [line for line, _ in document.unread] == [1]
    assert "s3cr3t" not in str(document.unread)


@pytest.mark.parametrize(
    "text",
    [_BOMB, _MERGES, "a: &a [*a]", "[" * 100 + "]" * 100, "a: &a {b: *a}", "a: *b\nb: &b 1", "a: *nobody", "\x01"],
    ids=["aliases", "merges", "itself", "deep", "within", "before", "unknown", "control"],
)
def test_a_bomb_is_refused_before_it_is_built(text: str) -> None:
    """However small it is written."""
    with pytest.raises(InputInvalid):
        load(text)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing else comes out of it."""
    try:
        load(text)
    except InputInvalid as exc:
        assert exc.detail  # noqa: PT017 - whether it is raised depends on the text


@pytest.mark.parametrize(
    ("literal", "text", "parts"),
    [
        ("/:/", "a:b", ["a", "b"]),
        ("/[;,]/", "a;b,c", ["a", "b", "c"]),
        ("/\\s*:\\s*/", "a : b", ["a", "b"]),
        ("/\\t/", "a\tb", ["a", "b"]),
        ("/x/i", "aXb", ["a", "b"]),
        ("/\\./", "a.b", ["a", "b"]),
    ],
)
def test_simple_expressions_mean_what_they_mean_in_ruby(literal: str, text: str, parts: list[str]) -> None:
    """Those that delimiters are made of."""
    assert compiled(literal).split(text) == parts


@pytest.mark.parametrize(
    "literal", ["/(a+)+/", "/a{1,9}/", "/(?=a)/", "/[[:alpha:]]/", "/\\1/", "a", "/a/e", "/\\p{L}/"]
)
def test_what_could_run_away_is_refused(literal: str) -> None:
    """Groups, counts, references: a line is matched in a time that grows with its length."""
    with pytest.raises(InputInvalid):
        compiled(literal)


@given(st.text(alphabet=st.sampled_from(list("ab[]^-\\*+?.|$/:;, {}()wsd")), max_size=15))
def test_any_expression_is_compiled_or_refused(pattern: str) -> None:
    """Never an error of the library."""
    try:
        assert isinstance(compiled(f"/{pattern}/"), re.Pattern)
    except InputInvalid as exc:
        assert exc.detail  # noqa: PT017
