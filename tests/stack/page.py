"""The commands of a page, as somebody types them: the words of each line, and what it reads and writes."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

_BLOCK = re.compile(r"^```\w*\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
_AFTER = {"<": "stdin", ">": "stdout"}


@dataclass(frozen=True)
class Line:
    """One command; `stdin` and `stdout` are the names of files, or nothing."""

    words: tuple[str, ...]
    stdin: str = ""
    stdout: str = ""


def blocks(page: str, heading: str) -> list[list[Line]]:
    """The blocks of commands below a heading, to the next one of its kind; ValueError if there is no such heading."""
    _, found, rest = page.partition(f"\n## {heading}\n")
    if not found:
        raise ValueError(f"the page has no heading {heading!r}")
    own = rest.partition("\n## ")[0]
    return [[line(text) for text in block.splitlines() if text.strip()] for block in _BLOCK.findall(own)]


def line(text: str) -> Line:
    """A line as a shell reads it, as far as the pages go: quotes, `<` and `>`; ValueError for anything more."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.commenters = "#"
    lexer.whitespace_split = True
    found: dict[str, str] = {}
    words: list[str] = []
    tokens = iter(lexer)
    for token in tokens:
        if token in _AFTER:
            found[_AFTER[token]] = next(tokens, "")
            if not found[_AFTER[token]]:
                raise ValueError(f"nothing follows {token}: {text}")
        elif set(token) <= set("();<>|&"):
            raise ValueError(f"only < and > are understood, not {token}: {text}")
        else:
            words.append(token)
    return Line(tuple(words), **found)
