"""What a RouterOS console answers to a command line, as far as a backup asks it; errors come on stdout, status 0."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupflow.simulator.drawing import serial

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.simulator.spec import RouterSpec

_STATEMENT = re.compile(r'(?:[^;"]|"(?:[^"\\]|\\.)*")+')
_EXPORT_WORDS = frozenset({"compact", "hide-sensitive", "show-sensitive", "terse", "verbose"})


@dataclass(frozen=True, slots=True)
class ExportWanted:
    """In this place of the answer stands an export, with or without secrets."""

    sensitive: bool


Answer = bytes | ExportWanted


def answers(spec: RouterSpec, command: str) -> list[Answer]:
    """What the statements of one command line answer, in their order; a syntax error anywhere is the only answer."""
    found: list[Answer] = []
    for match in _STATEMENT.finditer(command):
        if match[0].strip():
            answer = _answer(spec, match[0], match.start())
            if isinstance(answer, _SyntaxError):
                return [answer.text]
            found.append(answer)
    return found


@dataclass(frozen=True, slots=True)
class _SyntaxError:
    text: bytes


def _answer(spec: RouterSpec, statement: str, offset: int) -> Answer | _SyntaxError:
    words = list(_words(statement, offset))
    path = " ".join(word for word, _ in words).removeprefix("/")
    verb = words[0][0].removeprefix("/")
    if verb == "export":
        return _export(spec, words[1:])
    if verb == ":put":
        return _row(_unquoted(statement.strip()[4:].strip()))
    if path == "system identity print":
        return _row(f"  name: {spec.identity or spec.name}") + b"\r\n"
    if path == "system resource print":
        return _row(f"  version: {spec.version} (stable)") + _row(f"  board-name: {spec.model}") + b"\r\n"
    if path == "system routerboard print":
        return _row("  routerboard: yes") + _row(f"  serial-number: {serial(spec)}") + b"\r\n"
    if verb == "quit":
        return _row("interrupted")
    at = words[0][1] + (2 if words[0][0].startswith("/") else 1)
    return _SyntaxError(_row(f"bad command name {verb} (line 1 column {at})"))


def _export(spec: RouterSpec, words: list[tuple[str, int]]) -> Answer | _SyntaxError:
    known = _EXPORT_WORDS - ({"show-sensitive"} if spec.old else set())
    for word, at in words:
        if word not in known:
            return _SyntaxError(_row(f"expected end of command (line 1 column {at + 1})"))
    given = {word for word, _ in words}
    return ExportWanted(sensitive="hide-sensitive" not in given if spec.old else "show-sensitive" in given)


def _words(statement: str, offset: int) -> Iterator[tuple[str, int]]:
    for match in re.finditer(r"\S+", statement):
        yield match[0], offset + match.start()


def _unquoted(text: str) -> str:
    return text[1:-1].replace('\\"', '"').replace("\\\\", "\\") if text[:1] == text[-1:] == '"' else text


def _row(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape") + b"\r\n"
