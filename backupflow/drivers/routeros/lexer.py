r"""Reading an export: what its items are made of; pure, and linear in time whatever a router sends.

    export   = [junk] header { section | item | comment } ;      no trailer
    section  = "/" path EOL                                      path words by blank, or by "/" in RouterOS 7
    item     = [ "/" path " " ] verb { token }                   the form with a path is what `terse` writes
    token    = key "=" value | word | "[" | "]"                 a selector is "[" "find" … "]", an unset property "!key"
    value    = bare | '"' { char | escape } '"'                  never holds a raw newline
    escape   = \" \\ \? \$ \_ (a blank) \a \b \f \n \r \t \v | \HH (two upper-case hexadecimal digits, one byte)
    wrap     = "\" EOL { blank }                                 anywhere, also inside strings and words

Read off exports of RouterOS 5.7 to 7.21. Text stays bytes: a value may be in any code page.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

# Before Python 3.11.5 a possessive repeat of a *group* forgets to go back when its body fails midway (gh-106052):
# an open string would pass for a closed one. So a group is repeated greedily here, and a look-ahead lets its body match
# in one way only, as an atomic group would; a repeated character, or a body that fails at once, is not concerned.
_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_BARE: Final = rb'[^ \t"\[\]]'
_KEY: Final = rb'[^ \t"=\[\]]++='
_BREAK: Final = rb"(?=[ \t\]]|\Z)"
_TOKEN: Final = re.compile(
    b"".join((rb"[ \t]*+(?!\Z)(?:([\[\]])|(", _KEY, rb")?(?:(", _STRING, rb")|(", _BARE, rb"*+))", _BREAK, rb")")),
    re.DOTALL,
)
_ONE_TOKEN: Final = b"".join((
    rb"[ \t]*+(?:[\[\]]|(?:", _KEY, rb"(?:", _STRING, rb"|", _BARE, rb"*+)|", _STRING, rb"|", _BARE, rb"++)",
    _BREAK, rb")",
))  # fmt: skip
# Some hundred bytes are kept for each repeat that could go back: a thousand at a time, of which only the end is kept.
_TOKENS: Final = re.compile(rb"(?:(?=((?:" + _ONE_TOKEN + rb"){1,1000}))\1)*[ \t]*+", re.DOTALL)
_STRINGS_END: Final = re.compile(rb'[^"]*+(?:(?=((?:' + _STRING + rb'[^"]*+){1,1000}))\1)*', re.DOTALL)

PLAIN: Final = rb"[A-Za-z0-9./,:_!@#*<>~+&-]"  # what RouterOS itself leaves without quotes
_BARE_VALUE: Final = re.compile(PLAIN + rb"++")
_NAMED: Final = {rb"\"": b'"', rb"\\": b"\\", rb"\?": b"?", rb"\$": b"$", rb"\_": b" "}
_NAMED_CONTROLS: Final = {rb"\a": b"\a", rb"\b": b"\b", rb"\f": b"\f", rb"\n": b"\n", rb"\r": b"\r", rb"\t": b"\t"}
_ESCAPES: Final = {
    **_NAMED,
    **_NAMED_CONTROLS,
    rb"\v": b"\v",
    **{b"\\%02X" % byte: bytes((byte,)) for byte in range(256)},
}
_ESCAPE: Final = re.compile(rb'\\(?:[0-9A-F]{2}|["\\?$_abfnrtv])')
_WRITTEN: Final = (
    (b"\\", rb"\\"),
    (b'"', rb"\""),
    (b"?", rb"\?"),
    (b"$", rb"\$"),
    (b"\n", rb"\n"),
    (b"\r", rb"\r"),
    (b"\t", rb"\t"),
)
_PRINTABLE: Final = bytes(range(0x20, 0x7F))
_DROPPED: Final = b"\0"


def _spelled(kept: bytes) -> tuple[bytes, ...]:
    """Three bytes for each: an escape, or two that are dropped and the byte itself. So nothing loops over bytes."""
    return tuple(
        bytes((0, 0, byte)[place] if byte in kept else (b"\\%02X" % byte)[place] for byte in range(256))
        for place in range(3)
    )


_SPELLED: Final = {kept: _spelled(kept) for kept in (_PRINTABLE, _PRINTABLE + b"\n")}


class Token(NamedTuple):
    """A property (key and decoded value), a word (no key), or a bracket (no value)."""

    key: bytes | None
    value: bytes | None


def tokens(text: bytes) -> Iterator[Token] | None:
    """Split what follows a verb; None if the text is not made of tokens (a string that does not end, for one)."""
    return map(_token, _TOKEN.finditer(text)) if _TOKENS.fullmatch(text) else None


def strings_end(text: bytes) -> bool:
    """Tell whether every string that begins in this text ends in it."""
    return b'"' not in text or _STRINGS_END.fullmatch(text) is not None


def decode(inner: bytes) -> bytes:
    """Resolve the escapes of a string's inside; an escape that RouterOS does not know stays as it is."""
    return _ESCAPE.sub(lambda found: _ESCAPES[found[0]], inner) if b"\\" in inner else inner


def encode(value: bytes) -> bytes:
    """Write a value in the one canonical way: bare if RouterOS would, else a string of printable ASCII."""
    if _BARE_VALUE.fullmatch(value):
        return value
    for raw, written in _WRITTEN:
        value = value.replace(raw, written)
    return b'"' + printable(value) + b'"'


def printable(text: bytes, *, lines: bool = False) -> bytes:
    """Write bytes that are not printable ASCII as escapes; `lines`: but for newlines."""
    kept = _PRINTABLE + b"\n" if lines else _PRINTABLE
    if not text.translate(None, kept):
        return text
    spelled = bytearray(3 * len(text))
    for place, table in enumerate(_SPELLED[kept]):
        spelled[place::3] = text.translate(table)
    return bytes(spelled.translate(None, _DROPPED))


def _token(found: re.Match[bytes]) -> Token:
    bracket, key, string, bare = found.groups()
    if bracket:
        return Token(bracket, None)
    return Token(key[:-1] if key else None, decode(string[1:-1]) if string else bare)
