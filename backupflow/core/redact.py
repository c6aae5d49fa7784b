r"""Finds secrets in text that has no properties: scripts, comments, addresses of the web; whatever the vendor.

Only what is recognizable by what stands before it, by its place in an address or by its own form. One too many costs a
reader a little, one too few a secret, so in doubt more is taken: the rest of a word, a statement or a line, all behind
a string that does not end, and everything where looking closer would take too long.

Strings stand in strings there (`source="… add source=\"… password=\\\"x\\\" …\""`): one that begins with a quote behind
n backslashes ends with the next quote that has no more than n before it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MASK: Final = "•••"
"""Stands where a secret stood."""

Span = tuple[int, int]

_LOOKS_A_BYTE: Final = 4  # how often a byte may be looked at; then the whole text is taken for a secret
_LOOKS_ALWAYS: Final = 10_000
_LOOKS_OF_A_MARK: Final = 4  # a quote or a bracket

# All of this is matched against text in lower case. A repeat that could be tried from many places is bounded; that each
# alternative begins with letters lets a search pass quickly over other places.
_REST: Final = rb"[a-z0-9_.-]{0,40}+"
# Blanks, and lines that go on in the next one: `\\` at the end of a line, or as a script in a string spells that.
_BLANK: Final = rb"(?:[ \t]|\\++\r?\n|\\{2,}+(?:r\\++)?n)"
_BLANKS: Final = _BLANK + rb"{0,1000}+"
_SOME_BLANKS: Final = _BLANK + rb"{1,1000}+"
_NAME: Final = (
    rb"(?:"
    + b"|".join(
        (
            *(rb"auth(?:orization)?(?<![a-z]auth)(?<![a-z]authorization)(?![a-z])", rb"cookie(?![a-z])"),
            *(rb"pass(?!thr|ive)" + _REST, rb"pwd" + _REST),
            *(word + _REST for word in (b"psk", b"secret", b"token", b"communit", b"credential")),
            *(rb"p/w(?<![a-z]p/w)", rb"psw" + _REST),
            rb"key(?<!publickey)(?<!public[-_ ]key)(?!-(?:size|usage|type)=)" + _REST,
            *(word + rb"(?<![a-z]" + word + rb")(?![a-z])" + _REST for word in (b"pw", b"pin", b"puk", b"cak")),
        )
    )
    + rb")(?:\\*+[\"'])?[)\]]?+"
)
_WHOLE: Final = (b"auth", b"cookie")  # fields of HTTP whose values have blanks
_IS: Final = _BLANKS + rb"!?+([=:~])[=:>]*+" + _BLANKS
_STRING_FOLLOWS: Final = _SOME_BLANKS + rb"(?=\\*+[\"'({\[])"
_FIGURES_FOLLOW: Final = rb"[ \t\r\n]{1,1000}+(?:is[ \t]{1,1000}+)?(?=[^\s0-9]{0,1000}+[0-9])"
_NAMED: Final = re.compile(_NAME + rb"(?:" + _IS + rb"|" + _STRING_FOLLOWS + rb")")
_NAMED_IN_PROSE: Final = re.compile(
    _NAME + rb"(?:" + _IS + rb"[ \t\r\n]{0,1000}+|" + _STRING_FOLLOWS + rb"|" + _FIGURES_FOLLOW + rb")"
)
# `:local smtpPass "…"`, and what takes its value as the next word (`--token …`, `-u name:…`).
_ASSIGN: Final = (
    rb"(?:" + b"|".join(rb"%b(?<![a-z0-9-]%b)" % (word, word) for word in (b"local", b"global", b"set")) + rb")"
)
_ASSIGNED: Final = re.compile(
    _ASSIGN
    + _SOME_BLANKS
    + rb"(?:\\*+[\"$(]*+([a-z0-9_]{1,60}+)(?![=.-])\\*+\"?+[)]?+|\(([^\n;()]{1,200}+)\))"  # a name, `($a->"name")`
    + _BLANKS
)
_ASSIGNS: Final = re.compile(rb"(?:local|global|set)[ \t\\]")
# Where an item's name, or a value of no telling name, is the secret.
_MENUS: Final = re.compile(
    rb"(?:snmp[ \t/]{1,20}+community|container[ \t/]{1,20}+envs)[ \t\r\n/]{1,20}+"
    rb"(?:add|set|remove|disable|enable)(?![a-z-])" + _BLANKS
)
_OPTION: Final = re.compile(rb"-(?<![a-z0-9-]-)-?([a-z0-9-]{1,60})" + _SOME_BLANKS)
_SECRET_NAME: Final = re.compile(
    rb"pass|pw|psk|secret|token|key(?!size)|(?<![a-z])pin(?!g)|pin\Z|puk|cak|cred|auth|communit|bot|hook|\A[up]\Z"
)
_SCHEME: Final = re.compile(rb"(?:bearer|basic|digest|token)[ \t]")
_KNOWN: Final = re.compile(
    rb"(?<![0-9])[0-9]{6,12}+:[a-z0-9_-]{30,}+"  # a bot of Telegram
    rb"|(?<![a-z0-9_-])eyj[a-z0-9_-]{10,}+\.[a-z0-9_.-]*+"  # a JSON web token
    rb"|(?<![a-z0-9_-])(?:gh[opsur]_|glpat-|xox[abprs]-|github_pat_)[a-z0-9_-]{10,}+"
    rb"|(?<![a-z0-9])bearer[ \t]++[^\s\"]++"
)
_KNOWN_BY: Final = (b":", b"eyj", b"gh", b"glpat", b"xox", b"bearer")
_PRIVATE_KEY: Final = re.compile(rb"-----begin [a-z ]{0,40}?private key-----")
_ADDRESS_ENDS: Final = re.compile(rb"[\s\"]")
_OPENS: Final = re.compile(rb"(\\*+)([\"'])|[({\[]")
_BARE: Final = re.compile(rb"[^\s\"\\]*+(?:\\(?:\r?\n[ \t]*+|.)[^\s\"\\]*+)*+", re.DOTALL)
_REST_OF_STRING: Final = re.compile(rb"[^\n\"\\]*+(?:\\(?:\r?\n)?+[^\n\"\\]*+)*+")
_REST_OF_LINE: Final = re.compile(rb"[^\n]*+")
_JOINS: Final = re.compile(rb"(?:\\*+[\"'])?+" + _BLANKS + rb"\." + _BLANKS + rb"(?=\\*+[\"'$(\[])")
_JOINS_ON: Final = re.compile(rb"\\*+[\"']" + _BLANKS + rb"\." + _BLANKS + rb"(?=\\*+[\"'$(\[])")
_QUOTE: Final = {mark: re.compile(rb"(?<!\\)(\\*+)" + mark) for mark in (b'"', b"'")}
_MARK: Final = re.compile(rb"(?<!\\)(\\*+)\"|([({\[])|([)}\]])|;|\r?\n(?<!\\\n)(?<!\\\r\n)")


def secret_spans(text: bytes, *, prose: bool = False) -> list[Span]:
    """Say where secrets stand: begin and end of each, in order, apart from one another; linear in time.

    `prose`: somebody's remark and no script, so a secret goes on to the end of its line.
    """
    scan = _Scan(text.lower(), prose)
    merged: list[Span] = []
    for begin, end in sorted(scan.spans()):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif begin < end:
            merged.append((begin, end))
    return [(0, len(text))] if scan.left < 0 and text else merged


@dataclass(slots=True)
class _Scan:
    """One pass over a text in lower case."""

    text: bytes
    prose: bool
    left: int = field(init=False)
    """Looks at bytes that are left; below 0 nothing more is looked at, and nothing that was found counts."""

    def __post_init__(self) -> None:
        self.left = _LOOKS_A_BYTE * len(self.text) + _LOOKS_ALWAYS

    def spans(self) -> Iterator[Span]:
        """Give all that is found, in no order."""
        if any(hint in self.text for hint in _KNOWN_BY):
            yield from (found.span() for found in _KNOWN.finditer(self.text))
        yield from self._in_addresses()
        for found in _PRIVATE_KEY.finditer(self.text):
            if self.left < 0:
                return
            end = self.text.find(b"-----end", found.end())
            yield self._charged(found.start(), end if end >= 0 else len(self.text))
        for found in (_NAMED_IN_PROSE if self.prose else _NAMED).finditer(self.text):
            if self.left < 0:
                return
            at = found.end()
            whole = found[1] == b":" or found[0].startswith(_WHOLE) or _SCHEME.match(self.text, at) is not None
            yield self._charged(at, self._value(at, whole=whole))
        yield from self._in_statements()

    def _in_statements(self) -> Iterator[Span]:
        """Give what follows an option, and the rest of a statement that sets a secret."""
        for found in _OPTION.finditer(self.text) if b"-" in self.text else ():
            if _SECRET_NAME.search(found[1]) and self.left >= 0:
                yield self._charged(found.end(), self._value(found.end(), whole=False))
        for found in _ASSIGNED.finditer(self.text) if _ASSIGNS.search(self.text) else ():
            if _SECRET_NAME.search(found[1] or found[2]) and self.left >= 0:
                yield self._charged(found.end(), self._closed(found.end(), statement=True))
        for found in _MENUS.finditer(self.text):
            if self.left >= 0:
                yield self._charged(found.end(), self._closed(found.end(), statement=True))

    def _charged(self, begin: int, end: int) -> Span:
        self.left -= end - begin
        return begin, end

    def _in_addresses(self) -> Iterator[Span]:
        """Give who logs in, what is asked for, and what follows a word such as `webhook`: `scheme://IT@host/…?IT`."""
        at = 0
        while (at := self.text.find(b"://", at)) >= 0:
            begin = at + len(b"://")
            found = _ADDRESS_ENDS.search(self.text, begin)
            at = found.start() if found else len(self.text)
            if (login := self.text.rfind(b"@", begin, at)) >= 0:
                yield begin, login
            path = self.text.find(b"/", begin, at)
            marks = ((b"?", begin), (b"hook", path), (b"/services/", path))
            asked = [place for mark, since in marks if (place := self.text.find(mark, since, at)) >= 0 <= since]
            begins = min(asked) + 1 if asked else at if self.text.endswith(b"bot", 0, at) else None
            if begins is not None and self.left >= 0:
                yield self._charged(begins, self._joined(at))

    def _value(self, at: int, *, whole: bool) -> int:
        """Give the end of the value that begins here, and of all that is joined to it."""
        on = _JOINS_ON.match(self.text, at)  # a string that ends before its secret: `"token: " . …`
        return self._joined(at if on else self._one(at, whole=whole))

    def _joined(self, end: int) -> int:
        """Give the end of all that is joined to what ends here."""
        while (joins := _JOINS.match(self.text, end)) is not None and joins.end() > end:
            end = self._one(joins.end(), whole=False)
        return end

    def _one(self, at: int, *, whole: bool) -> int:
        opens = _OPENS.match(self.text, at)
        if opens is None:
            rest = _REST_OF_LINE if self.prose else _REST_OF_STRING if whole else _BARE
            found = rest.match(self.text, at)
            return found.end() if found else at
        if opens[2] is not None:
            return self._string(opens.end(), len(opens[1]), opens[2])
        return self._closed(at, statement=False)

    def _string(self, at: int, depth: int, mark: bytes) -> int:
        for found in _QUOTE[mark].finditer(self.text, at):
            self.left -= _LOOKS_OF_A_MARK
            if self.left < 0:
                break
            if len(found[1]) <= depth:
                return found.end()
        return len(self.text)

    def _closed(self, at: int, *, statement: bool) -> int:
        """Give the end of the bracket that opens here, or of the statement that goes on here."""
        depth = 0
        while (found := _MARK.search(self.text, at)) is not None:
            at = found.end()
            self.left -= _LOOKS_OF_A_MARK
            if self.left < 0:
                break
            if found[1] is not None:
                at = self._string(at, len(found[1]), b'"')
            elif found[2] is not None:
                depth += 1
            elif found[3] is not None:
                depth -= 1
                if depth <= 0 and not statement:
                    return at
            if statement and (depth < 0 or (depth == 0 and found[3] is None and found[2] is None and found[1] is None)):
                return found.start()
        return len(self.text)
