"""The little of Tcl that a `.cloginrc` is written in: commands of words, each bare, in braces or in quotes.

A file that RANCID runs as a program is only read here: what would be substituted (`$…`, `[…]`) is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEEPEST = 20
_BLANK = " \t"
_END = "\n;"


@dataclass(frozen=True, slots=True)
class Command:
    """One command; `words` is None if it cannot be read without running it."""

    line: int
    words: tuple[str, ...] | None


class _Refused(Exception):
    """A word that cannot be read."""


@dataclass(slots=True)
class _Reader:
    text: str
    at: int = 0
    line: int = 1

    def commands(self) -> Iterator[Command]:
        while self.at < len(self.text):
            self._skip(_BLANK + _END)
            if self.at >= len(self.text):
                return
            line = self.line
            if self._here() == "#":
                self._rest_of_line()
                continue
            try:
                words = tuple(self._words())
            except _Refused:
                self._rest_of_line()
                yield Command(line, None)
                continue
            yield Command(line, words)

    def _words(self) -> Iterator[str]:
        while True:
            self._skip(_BLANK)
            here = self._here()
            if here in ("", *_END):
                return
            if here == "{":
                yield self._braced()
            elif here == '"':
                yield self._quoted()
            else:
                yield self._bare()

    def _braced(self) -> str:
        """Up to the brace that matches; a backslash before what is no letter or digit takes its meaning away."""
        self._step()
        word, depth = "", 1
        while True:
            here = self._here()
            if not here or depth > _DEEPEST:
                raise _Refused
            if here == "\\":
                word += self._escaped()
                continue
            depth += (here == "{") - (here == "}")
            self._step()
            if depth == 0:
                break
            word += here
        self._must_end()
        return word

    def _quoted(self) -> str:
        self._step()
        word = ""
        while (here := self._here()) != '"':
            if not here or here in "$[":
                raise _Refused
            if here == "\\":
                word += self._escaped()
            else:
                word += here
                self._step()
        self._step()
        self._must_end()
        return word

    def _bare(self) -> str:
        word = ""
        while (here := self._here()) not in ("", *_BLANK, *_END):
            if here in '$[{}"':
                raise _Refused
            if here == "\\":
                word += self._escaped()
            else:
                word += here
                self._step()
        return word

    def _escaped(self) -> str:
        self._step()
        here = self._here()
        if here == "\n":  # the line goes on below
            self._step()
            self._skip(_BLANK)
            return " "
        if not here or here.isalnum():
            raise _Refused
        self._step()
        return here

    def _must_end(self) -> None:
        if self._here() not in ("", *_BLANK, *_END):
            raise _Refused

    def _here(self) -> str:
        return self.text[self.at : self.at + 1]

    def _step(self) -> None:
        self.line += self._here() == "\n"
        self.at += 1

    def _skip(self, what: str) -> None:
        while self._here() and (self._here() in what or self.text[self.at : self.at + 2] == "\\\n"):
            if self._here() == "\\":
                self._step()
            self._step()

    def _rest_of_line(self) -> None:
        while self._here() not in ("", "\n"):
            self._step()


def commands(text: str) -> Iterator[Command]:
    """All commands of a text, in order."""
    return _Reader(text).commands()
