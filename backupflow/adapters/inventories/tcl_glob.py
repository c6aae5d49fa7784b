"""Globs of Tcl over host names: in a time that grows with the product of both lengths, whatever the glob is."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST = 500  # characters; a longer one matches nothing
_SET = re.compile(r"\[(\^|!)?((?:[^\]\\]|\\.){1,200})\]")
_MANY = None  # `*`
_ANY = "(?s:.)"


@dataclass(frozen=True)
class Glob:
    """`*`, `?`, a set in brackets, and a backslash before what stands for itself; upper and lower case are one."""

    text: str

    def matches(self, host: str) -> bool:
        """Whether the whole name is of this glob: the last `*` takes more where it took too little, no earlier one."""
        tokens, name = self._tokens, host.lower()
        at, here, star, taken = 0, 0, -1, 0
        while here < len(name):
            token = tokens[at] if at < len(tokens) else ""
            if token is _MANY:
                star, taken = at, here
                at += 1
            elif token and _is_one(token, name[here]):
                at, here = at + 1, here + 1
            elif star >= 0:
                taken += 1
                at, here = star + 1, taken
            else:
                return False
        return all(token is _MANY for token in tokens[at:])

    @cached_property
    def _tokens(self) -> tuple[str | None, ...]:
        return tuple(_parts(self.text.lower())) if len(self.text) <= _LONGEST else ("(?!)",)


def _parts(glob: str) -> Iterator[str | None]:
    at = 0
    while at < len(glob):
        found = _SET.match(glob, at)
        if found:
            inside = re.sub(r"([\\\[&~|^])", r"\\\1", re.sub(r"\\(.)", r"\1", found[2]))
            yield _checked(f"[{'^' if found[1] else ''}{inside}]")
            at = found.end()
            continue
        escaped = glob[at] == "\\" and at + 1 < len(glob)
        at += escaped
        yield {"*": _MANY, "?": _ANY}.get(glob[at], glob[at]) if not escaped else glob[at]
        at += 1


def _is_one(token: str, character: str) -> bool:
    """Whether it is this character, or one of a set."""
    return token == character if len(token) == 1 else _compiled(token).fullmatch(character) is not None


def _checked(pattern: str) -> str:
    """A set that is none, such as one from z to a, holds nothing."""
    try:
        _compiled(pattern)
    except re.error:
        return "(?!)"
    return pattern


@lru_cache(maxsize=_LONGEST)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Without Python's word on what `--` in a set may come to mean some day: here it is Tcl's range."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return re.compile(pattern)
