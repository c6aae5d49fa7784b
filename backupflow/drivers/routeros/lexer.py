r"""Reading an export: bytes in, classified lines and tokens out; pure, and linear in time whatever a router sends.

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
from enum import Enum, auto
from io import BytesIO
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_HASH, _SLASH, _BACKSLASH = b"#/\\"
_VERBS: Final = rb"(?:add|set|remove|unset|enable|disable|move|reset)"
# Before Python 3.11.5 a possessive repeat of a *group* forgets to go back when its body fails midway (gh-106052):
# an open string would pass for a closed one. So a group is repeated greedily here, and a look-ahead lets its body match
# in one way only, as an atomic group would; a repeated character, or a body that fails at once, is not concerned.
_PATH: Final = re.compile(rb"/[A-Za-z0-9_-]++(?:[ /]++[A-Za-z0-9_-]++)*")
_TERSE: Final = re.compile(
    rb"(/[A-Za-z0-9_-]++(?:[ /]++[A-Za-z0-9_-]++)*?)[ \t]++(" + _VERBS + rb"(?:[ \t].*+)?+)", re.DOTALL
)
_ITEM: Final = re.compile(_VERBS + rb"(?:[ \t].*+)?+", re.DOTALL)

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
_TOKENS: Final = re.compile(rb"(?:(?=(" + _ONE_TOKEN + rb"))\1)*[ \t]*+", re.DOTALL)
_STRINGS_END: Final = re.compile(rb'[^"]*+(?:(?=(' + _STRING + rb'[^"]*+))\1)*', re.DOTALL)

_PLAIN: Final = rb"[A-Za-z0-9./,:_!@#*<>~+&-]"  # what RouterOS itself leaves without quotes
_BARE_VALUE: Final = re.compile(_PLAIN + rb"++")
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
_UNPRINTABLE: Final = re.compile(rb"[^ -~]")
_HEX: Final = {byte: f"\\{byte:02X}" for byte in range(256) if not 0x20 <= byte <= 0x7E}  # noqa: PLR2004  (printable ASCII)


class Kind(Enum):
    """What a logical line is, by its shape alone."""

    COMMENT = auto()  # begins with "#": header, device comment or marker, by its place and text
    SECTION = auto()
    ITEM = auto()
    DANGLING = auto()  # the text ends inside a wrapped line
    UNKNOWN = auto()  # nothing that an export holds


# To look a member up in its class takes longer than all else that is done with a short line.
COMMENT, SECTION, ITEM, DANGLING, UNKNOWN = Kind

Line = tuple[Kind, int, bytes, bytes]
"""A logical line, wraps joined and blanks around it gone: what it is; the number of its last physical line, from 1; the
canonical path of the section that it stands in, empty before the first; its text, an item's from its verb on. A plain
tuple: a hostile text has millions.
"""


class Token(NamedTuple):
    """A property (key and decoded value), a word (no key), or a bracket (no value)."""

    key: bytes | None
    value: bytes | None


def scan(text: bytes) -> Iterator[Line]:
    """Classify the logical lines of an export whose physical lines end in a plain newline."""
    path, path_line = b"", b""
    for number, line, dangling in _logical(text):
        first = line[0]
        if dangling:
            yield DANGLING, number, path, line
        elif first == _HASH:
            yield COMMENT, number, path, line
        elif first == _SLASH:
            if line == path_line:
                yield SECTION, number, path, b""
            elif terse := _TERSE.fullmatch(line):
                path, path_line = _canonical_path(terse[1]), b""
                yield ITEM, number, path, terse[2]
            elif _PATH.fullmatch(line):
                path, path_line = _canonical_path(line), line
                yield SECTION, number, path, b""
            else:
                yield UNKNOWN, number, path, line
        elif path and _ITEM.fullmatch(line):
            yield ITEM, number, path, line
        else:
            yield UNKNOWN, number, path, line


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


def printable(text: bytes) -> bytes:
    """Write bytes that are not printable ASCII as escapes."""
    if _UNPRINTABLE.search(text) is None:
        return text
    return text.decode("latin-1").translate(_HEX).encode("ascii")


def _token(found: re.Match[bytes]) -> Token:
    bracket, key, string, bare = found.groups()
    if bracket:
        return Token(bracket, None)
    return Token(key[:-1] if key else None, decode(string[1:-1]) if string else bare)


def _logical(text: bytes) -> Iterator[tuple[int, bytes, bool]]:
    """Join wrapped lines: (number of the last physical line, text, whether the text ended before the line did)."""
    begun, wrapped = BytesIO(), False
    number = 0
    for number, physical in enumerate(BytesIO(text), start=1):
        line = physical.strip(b" \t\n")
        if not line:
            continue  # captures double newlines, also inside wrapped lines
        if line[-1] == _BACKSLASH and (wrapped or line[0] != _HASH) and _odd_backslashes(line):
            begun.write(line[:-1])
            wrapped = True
        elif wrapped:
            begun.write(line)
            yield number, begun.getvalue().strip(b" \t"), False
            begun, wrapped = BytesIO(), False
        else:
            yield number, line, False
    if wrapped:
        yield number, begun.getvalue().lstrip(b" \t") + b"\\", True


def _odd_backslashes(line: bytes) -> bool:
    return (len(line) - len(line.rstrip(b"\\"))) % 2 == 1


def _canonical_path(path: bytes) -> bytes:
    return b"/" + b" ".join(path.replace(b"/", b" ").split())
