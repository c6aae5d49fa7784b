"""Pages as somebody follows them: what their blocks say to type, in order, and what each is to answer.

A block of `sh` is run by bash. A block of `text` after it is what it answers, line by line, `…` for anything. Comments,
which no reader sees, say what he does beside typing:

    <!-- router: NAME ADDRESS [VERSION] --> a router of the page
    <!-- jump: NAME ADDRESS ROUTER … --> a jump host of the page, and the routers that it alone reaches
    <!-- test: not -->               the next block is not typed: it is for another machine, or was done
    <!-- test: types ONE TWO -->     what is typed where the next block asks
    <!-- test: fails 1 -->           it ends with that status
    <!-- test: edits ROUTER [KIND] -->   the router is edited, by its simulator's own kinds of edits
    <!-- test: gives FILE NAME --> the public key in that file becomes one of its user's
    <!-- test: sshd -->              the next block, which is none of sh, stands in an sshd_config
    <!-- test: password WORD ROUTER … --> their user has another one
    <!-- test: key ROUTER -->        it gets another host key
    <!-- test: sh                    what was done before the page begins
    … -->
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PART = re.compile(
    r"^<!-- test: sh\n(?P<before>.*?)^-->$"
    r"|^<!-- test: (?P<does>[^\n]*?) -->$"
    r"|^```(?P<kind>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
ACTS = {"edits", "gives", "password", "key"}
_ROUTER = re.compile(r"^<!-- router: (\S+) (\S+)(?: (\S+))? -->$", re.MULTILINE)
_JUMP = re.compile(r"^<!-- jump: (\S+) (\S+) (.+) -->$", re.MULTILINE)
_SSHD = re.compile(r"^<!-- test: sshd -->\n```text\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Step:
    """What is typed, with the answer that the page promises, or an act of somebody else: then `text` is empty."""

    line: int  # of the page
    text: str
    does: tuple[str, ...] = ()
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Router:
    """A router of a page: `<!-- router: NAME ADDRESS [VERSION] -->`."""

    name: str
    host: str
    version: str


@dataclass(frozen=True, slots=True)
class Jump:
    """A jump host of a page; its key's fingerprint is READ there, in the words of the page."""

    name: str
    host: str
    behind: tuple[str, ...]


READ = "SHA256:THE-ONE-THAT-YOU-READ"


def routers(page: str) -> list[Router]:
    """The routers that a page speaks of."""
    return [Router(name, host, version or "7.14") for name, host, version in _ROUTER.findall(page)]


def jumps(page: str) -> list[Jump]:
    """The jump hosts that a page speaks of."""
    return [Jump(name, host, tuple(behind.split())) for name, host, behind in _JUMP.findall(page)]


def sshd_block(page: str) -> str:
    """What a page has somebody put at the end of an sshd_config."""
    return "".join(_SSHD.findall(page))


def steps(page: str) -> list[Step]:
    """The steps of a page, in order."""
    found: list[Step] = []
    said: tuple[str, ...] = ()  # of the next block
    answered = False  # whether the last block that was seen is the last step
    for part in _PART.finditer(page):
        line = page.count("\n", 0, part.start()) + 1
        if part["before"] is not None:
            found.append(Step(line, part["before"]))
        elif part["does"] is not None:
            does = tuple(part["does"].split())
            said = () if does[0] in ACTS else does
            found += [Step(line, "", does)] if does[0] in ACTS else []
        else:
            if part["kind"] == "sh" and said != ("not",):
                found.append(Step(line, part["text"], said))
            elif part["kind"] == "text" and answered:
                found[-1] = replace(found[-1], answer=part["text"])
            answered, said = part["kind"] == "sh" and said != ("not",), ()
    return found


def missing(answer: str, said: str) -> str | None:
    """The first promised line that was not said after the ones before it; None if all were."""
    lines: Iterator[str] = iter(said.splitlines())
    for promised in answer.splitlines():
        pattern = re.compile(r"\s+".join(map(_word, promised.split())))
        if promised.strip() and not any(pattern.search(" ".join(line.split())) for line in lines):
            return promised
    return None


def _word(word: str) -> str:
    return ".*".join(map(re.escape, word.split("…")))
