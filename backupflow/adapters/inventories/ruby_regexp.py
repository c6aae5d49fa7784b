"""The regular expressions of Ruby that delimiters and maps are made of.

Only characters, classes, escapes, anchors and alternatives at the top, each with at most one repetition: whatever a
file of somebody else says, a line is matched in a time that grows with its length alone.
"""

from __future__ import annotations

import re

from backupflow.errors import InputInvalid

_LONGEST = 100  # characters
_MOST_REPEATED = 3  # parts that may match a varying length
_LITERAL = re.compile(r"/(.*)/([imxounse]*)", re.DOTALL)
_CLASS = r"\[\^?\]?(?:[^\[\]\\&]|\\[a-zA-Z0-9_.:;,|/\\\[\]^-])+\]"
_ONE = rf"{_CLASS}|\\[dDwWsS]|\\[^a-zA-Z0-9\s]|\\t|[^\\\[\](){{}}|?*+^$/\n]|/"
_PART = re.compile(rf"(?P<start>\^|\\A)|(?P<end>\$|\\z|\\Z)|(?P<or>\|)|(?:{_ONE})(?P<times>[?*+])?")
_ANCHORS = {"^": r"\A", "\\A": r"\A", "$": r"\Z", "\\z": r"\Z", "\\Z": r"\Z"}


def compiled(literal: str) -> re.Pattern[str]:
    """`/…/` with its flags, for single lines; InputInvalid if it is more than can be followed here."""
    found = _LITERAL.fullmatch(literal.strip())
    if not found or len(found[1]) > _LONGEST or set(found[2]) - {"i"}:
        raise InputInvalid(
            "a regular expression is not followed here; write the text itself, or a class such as /[:;]/"
        )
    return re.compile(_translated(found[1]), re.IGNORECASE if "i" in found[2] else 0)


def _translated(pattern: str) -> str:
    at, repeated, parts = 0, 0, []
    while at < len(pattern):
        part = _PART.match(pattern, at)
        if not part:
            raise InputInvalid("a regular expression with groups or counts is not followed here")
        repeated += part["times"] in {"*", "+"}
        parts.append(_ANCHORS.get(part[0], part[0]))
        at = part.end()
    if repeated > _MOST_REPEATED:
        raise InputInvalid("a regular expression with so many repetitions is not followed here")
    return "".join(parts)
