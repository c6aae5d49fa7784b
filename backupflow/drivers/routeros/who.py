"""RouterOS's own log of edits: `/system history print detail`, and the clock in the header of an export.

Written from MikroTik's manual (Configuration Management, undo and redo), which shows each edit as

     F redo=/ip firewall filter add action=accept chain=forward
       undo=/ip firewall filter remove *3 action="filter rule added" by="admin"
       policy=write time=oct/10/2019 18:49:03

in newer versions with `/ip/firewall/filter/add` and `time=2019-10-10 18:49:03`, in older ones without redo and undo;
never held against a real router. `redo` and `undo` may hold what was configured, secrets too. What is not understood is
passed over: each text is read once from its beginning to its end, and nothing is ever raised.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Final

from backupflow.core.edits import LONGEST_BY, LONGEST_LOG, MOST_EDITS, Edit, bare

if TYPE_CHECKING:
    from backupflow.core.model import RawConfig

COMMAND: Final = "/system history print detail"
_HEADER: Final = 200  # bytes of an export in which its date stands
_LONGEST_COMMAND: Final = 4096  # characters of one edit that are looked at
_MOST_WORDS: Final = 12  # of a sentence, or a menu
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_VERBS: Final = {
    "add": "added", "remove": "removed", "move": "moved",
    **dict.fromkeys(("set", "unset", "enable", "disable", "comment", "edit", "reset"), "modified"),
}  # fmt: skip
_SAID: Final = {"added": "added", "removed": "removed", "moved": "moved", "changed": "modified"}

_TIME = r"(?P<date>[a-z]{3}/\d{1,2}/\d{4}|\d{4}-\d{2}-\d{2})[ ]+(?P<time>\d{2}:\d{2}:\d{2})"
# One that does not end takes the rest along: looked for anew from each quote it would cost the square of it.
_STRING = r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)'
# One token after the other, so that nothing within quotes is taken for a field. A field of an edit is quoted; a
# property of that name within redo is not, or stands before the last fields.
_TOKEN = re.compile(
    rf"""\baction=(?P<action>"(?:[^"\\]|\\.){{0,500}}")\s+by=(?P<by>"(?:[^"\\]|\\.){{0,200}}")
         (?:\s+policy=[a-z,!-]*)?\s+time={_TIME}
       | \b(?P<field>redo|undo)=
       | {_STRING}""",
    re.VERBOSE | re.DOTALL,
)
_WRAPPED = re.compile(r"\\\r?\n[ \t]*")
_PAIR = re.compile(rf"([a-z0-9.-]+)=({_STRING}|[^\s\"]+)", re.DOTALL)
_MENU = re.compile(r"/[a-z0-9][a-z0-9/ -]*")
_CLOCK = re.compile(rf"\A(?:\s*#)?\s*{_TIME} by RouterOS ", re.IGNORECASE)


def clock(raw: RawConfig) -> datetime | None:
    """What the router's clock showed when it gave this export; None: the header does not say."""
    found = _CLOCK.search(raw[:_HEADER].decode("latin-1"))
    return None if found is None else _at(found)


def edits(text: bytes) -> tuple[Edit, ...]:
    """What a history says, at most MOST_EDITS of its edits; total, and linear in what is kept of a log."""
    said = _WRAPPED.sub("", text[:LONGEST_LOG].decode("latin-1"))
    found: list[Edit] = []
    marks: dict[str, tuple[int, int]] = {}
    for token in _TOKEN.finditer(said):
        if (name := token["field"]) is not None:
            marks = {name: token.span()} if name == "redo" else {**marks, name: token.span()}
        elif token["action"] is not None:
            edit = _edit(said, token, marks)
            marks = {}
            if edit is not None:
                found.append(edit)
                if len(found) == MOST_EDITS:
                    break
    return tuple(found)


def _edit(said: str, token: re.Match[str], marks: dict[str, tuple[int, int]]) -> Edit | None:
    at, by = _at(token), _line(bare(token["by"]))
    if at is None or not by or len(by) > LONGEST_BY:
        return None
    redo, undo = marks.get("redo"), marks.get("undo")
    done = said[redo[1] : undo[0] if undo else token.start()] if redo else ""
    back = said[undo[1] : token.start()] if undo else ""
    component, action = _command(done)
    sentence = _line(bare(token["action"])).lower().split()[:_MOST_WORDS]
    if not action:
        action = next((_SAID[word] for word in sentence if word in _SAID), "")
    values = _values(back) if action == "removed" else _values(done)
    return Edit(at, by, component, frozenset(sentence), action, values)


def _command(text: str) -> tuple[str, str]:
    """The menu and the verb of `/ip firewall filter add …` or `/ip/firewall/filter/add …`."""
    found = _MENU.match(text.lstrip()[:_LONGEST_COMMAND])
    words = re.split(r"[/ ]+", found[0])[1 : _MOST_WORDS + 1] if found else []
    for number, word in enumerate(words):
        if number and word in _VERBS:
            return "/".join(words[:number]), _VERBS[word]
    return "", ""


def _values(text: str) -> frozenset[tuple[str, str]]:
    return frozenset((name, bare(value)) for name, value in _PAIR.findall(text[:_LONGEST_COMMAND]))


def _at(found: re.Match[str]) -> datetime | None:
    date, time = found["date"].lower(), found["time"]
    if "/" in date:
        month, day, year = date.split("/")
        if month not in _MONTHS:
            return None
        date = f"{year}-{_MONTHS.index(month) + 1:02}-{int(day):02}"
    try:
        return datetime.strptime(f"{date} {time}", "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - a router's clock has no zone
    except ValueError:
        return None


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
