"""Looking for a text or a regular expression in configurations: what is wanted, and the lines that have it.

RE2 matches in time linear in the text, whatever the pattern; `^` and `$` are the ends of a line, and nothing spans two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import re2

from backupflow.core.tree import HEADER
from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.core.history import SealedSnapshot
    from backupflow.core.model import DeviceId, TenantId

LONGEST_PATTERN: Final = 4000  # characters
_WHAT: Final = {  # RE2's words for what is wrong → ours
    "missing )": "a ( is not closed",
    "unexpected )": "a ) closes nothing",
    "missing ]": "a [ is not closed",
    "no argument for repetition operator": "nothing stands before a repetition such as * or +",
    "bad repetition operator": "one repetition stands right behind another",
    "invalid repetition size": "a repetition of more than 1000 in all",
    "invalid escape sequence": "an escape that is not known; there are no back references",
    "invalid perl operator": "a (?… that is not known; there is no looking ahead or behind",
    "invalid named capture group": "a named group that is not written (?P<name>…)",
    "invalid character class range": "a class or range of characters that is none",
    "trailing \\": "a \\ at its end",
}


@dataclass(frozen=True, slots=True)
class Search:
    """In which configurations to look: of one device, a group, a site, or all of a tenant.

    `every`: all that are kept, also of devices that were removed; else the current ones. `reveal`: in the text with its
    secrets; else they are masked before anything is looked for.
    """

    tenant_id: TenantId
    device: str | None = None
    group: str | None = None
    site: str | None = None
    every: bool = False
    reveal: bool = False

    @property
    def said(self) -> dict[str, Any]:
        """What the audit says of it."""
        chosen = {"device": self.device, "group": self.group, "site": self.site}
        return {name: value for name, value in chosen.items() if value is not None} | {
            "all": self.every,
            "revealed": self.reveal,
        }


@dataclass(frozen=True, slots=True)
class Extent:
    """What there is to look at: devices by name, and how many configurations."""

    devices: tuple[DeviceId, ...]
    snapshots: int


Cursor = tuple[int, int]  # the place of a device among those that were asked for, and the number of a row


@dataclass(frozen=True, slots=True)
class Candidate:
    """One configuration to look at; `at` orders them. The snapshot is the one that brought it, or the current one."""

    at: Cursor
    snapshot: SealedSnapshot
    is_current: bool
    is_removed: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A line that has what is looked for: `number` from 1 in the normal form, and where in `text` it begins and ends.

    `component` is the menu in which it stands, empty outside of all.
    """

    component: str
    number: int
    text: str = field(repr=False)
    start: int
    end: int


class Pattern:
    """What is looked for; nothing shows or logs it."""

    def __init__(self, text: str, *, regexp: bool = False, ignore_case: bool = False) -> None:
        """Take a text or a regular expression; InputInvalid says what is wrong and where, without showing it."""
        if not text:
            raise InputInvalid("there is nothing to look for: the pattern is empty")
        if len(text) > LONGEST_PATTERN:
            raise InputInvalid(f"a pattern of more than {LONGEST_PATTERN} characters")
        if "\n" in text or "\r" in text:
            raise InputInvalid("a pattern of several lines: each is looked for in one line")
        self._found, wrong = _compiled(text, regexp=regexp, ignore_case=ignore_case)
        if wrong:  # raised outside of every handler: what RE2 raises holds the pattern
            raise InputInvalid(wrong)

    def lines(self, text: str, component: str | None = None) -> Iterator[Line]:
        """The lines of a normal form that have it, each once; only those in that component and below it, if given."""
        encoded = text.encode()
        here = _Place(encoded)
        at = 0
        while at < len(encoded) and (match := self._found.search(encoded, at)) is not None:
            here.go_to(match.start())
            if component is not None and not _is_within(here.component, component):
                at = here.next_section()
                continue
            yield here.line(*match.span())
            at = here.end + 1


class _Place:
    """Where in a text somebody is: goes forward only, so that all of it is read once."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._number = 1
        self._begin = 0
        self._section: bytes | None = None
        self._looked_to = 0
        self.end = 0

    @property
    def component(self) -> str:
        """The menu of this line."""
        if self._section is not None:
            return "/".join(self._section[1:].decode().split())
        return HEADER if self._text.startswith(b"#", self._begin) else ""

    def go_to(self, at: int) -> None:
        """Be in the line of this byte, which is not before the one before."""
        begin = self._text.rfind(b"\n", self._begin, at) + 1 or self._begin
        self._number += self._text.count(b"\n", self._begin, begin)
        self._begin = begin
        end = self._text.find(b"\n", at)
        self.end = len(self._text) if end < 0 else end
        if self._text.startswith(b"/", begin):
            self._section = self._text[begin : self.end]
        else:
            last = self._text.rfind(b"\n/", self._looked_to, begin)
            if last >= 0:
                self._section = self._text[last + 1 : self._text.index(b"\n", last + 1)]
            elif self._looked_to == 0 and self._text.startswith(b"/"):
                self._section = self._text[: self._text.index(b"\n")]
        self._looked_to = max(begin - 1, 0)

    def next_section(self) -> int:
        """Where the next section begins; the end of the text if there is none."""
        found = self._text.find(b"\n/", self.end)
        return len(self._text) if found < 0 else found + 1

    def line(self, start: int, end: int) -> Line:
        """This line, with what was found in it."""
        line = self._text[self._begin : self.end]
        first, last = (len(line[: at - self._begin].decode(errors="replace")) for at in (start, end))
        return Line(self.component, self._number, line.decode(errors="replace"), first, last)


def component(text: str) -> str:
    """A menu as somebody wrote it (`/ip firewall`, `ip/firewall`) in the one spelling; InputInvalid if it is none."""
    words = text.strip().replace("/", " ").split()
    if not words or not all(word.isprintable() for word in words):
        raise InputInvalid("a component is a menu's path, such as ip/firewall")
    return "/".join(words)


def _compiled(pattern: str, *, regexp: bool, ignore_case: bool) -> tuple[Any, str]:
    """What RE2 makes of it, or what is wrong with it."""
    options = re2.Options()
    options.log_errors = False  # it would print the pattern
    options.never_nl = True
    options.case_sensitive = not ignore_case
    options.literal = not regexp
    try:
        encoded = pattern.encode()
        found = re2.compile(encoded, options)
        return (re2.compile(b"(?m:" + encoded + b")", options) if regexp else found), ""
    except UnicodeEncodeError:
        return None, "a pattern with characters that are none"
    except re2.error as exc:
        return None, _why(pattern, exc)


def _is_within(here: str, wanted: str) -> bool:
    return here == wanted or here.startswith(f"{wanted}/")


def _why(pattern: str, exc: Exception) -> str:
    """What is wrong, and where, without the pattern: it may be a secret."""
    says, _, piece = (exc.args[0].decode(errors="replace") if exc.args else "").partition(": ")
    why = _WHAT.get(says, "it is none")
    if says in {"missing )", "unexpected )"}:
        at: int | None = _unbalanced(pattern)
    elif says == "trailing \\":
        at = len(pattern) - 1
    else:
        at = pattern.find(piece) if piece and pattern.count(piece) == 1 else None
    where = "" if at is None else f", at character {at + 1}"
    return f"the regular expression is not understood: {why}{where}"


def _unbalanced(pattern: str) -> int | None:
    """Where the first ) is that closes nothing, else the last ( that is not closed."""
    opened: list[int] = []
    at, in_class = 0, False
    while at < len(pattern):
        match pattern[at]:
            case "\\":
                at += 1
            case "[":
                in_class = True
            case "]":
                in_class = False
            case "(" if not in_class:
                opened.append(at)
            case ")" if not in_class:
                if not opened:
                    return at
                opened.pop()
        at += 1
    return opened[-1] if opened else None
