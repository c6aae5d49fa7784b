"""What a RouterOS console answers to a command line, as far as a backup asks it; errors come on stdout, status 0."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupflow.simulator.behaviour import HEALTHY, Behaviour
from backupflow.simulator.drawing import serial

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupflow.simulator.spec import RouterSpec

_STATEMENT = re.compile(r'(?:[^;"]|"(?:[^"\\]|\\.)*")+')
_EXPORT_WORDS = frozenset({"compact", "hide-sensitive", "show-sensitive", "terse", "verbose"})
_MENUS = frozenset({"interface", "ip", "ipv6", "ppp", "queue", "routing", "snmp", "system", "tool", "user"})


@dataclass(frozen=True, slots=True)
class ExportWanted:
    """In this place of the answer stands an export, with or without secrets, of one menu (`/ip dns`) or of all ("")."""

    sensitive: bool
    menu: str = ""


@dataclass(frozen=True, slots=True)
class EditLogWanted:
    """In this place of the answer stands the router's log of edits."""


Answer = bytes | ExportWanted | EditLogWanted


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What is answered to a statement that does not run; one that could not even be read is all of the answer."""

    text: bytes
    unread: bool = True


def answers(spec: RouterSpec, command: str, behaviour: Behaviour = HEALTHY) -> list[Answer]:
    """What the statements of one command line answer, in their order, up to the first that fails."""
    statements = list(_STATEMENT.finditer(command))
    if len(statements) > 1 and not behaviour.end_mark:
        return [_row(f"syntax error (line 1 column {statements[0].end() + 1})")]
    found: list[Answer] = []
    failed = False
    for match in statements:
        answer = _answer(spec, behaviour, match) if match[0].strip() else b""
        if isinstance(answer, _Refusal) and answer.unread:
            return [answer.text]
        if answer and not failed:
            found.append(answer.text if isinstance(answer, _Refusal) else answer)
        failed = failed or isinstance(answer, _Refusal)
    return found


def _answer(spec: RouterSpec, behaviour: Behaviour, match: re.Match[str]) -> Answer | _Refusal:
    statement, words = match[0], list(_words(match))
    path = [name for word, _ in words for name in word.split("/") if name]
    verb = words[0][0].removeprefix("/")
    if verb == ":put":
        return _row(_unquoted(statement.strip()[4:].strip()))
    if path[:1] == ["export"] or (path[0] in _MENUS and "export" in path):
        return _export(spec, behaviour, words)
    if path == ["system", "identity", "print"]:
        return _row(f"  name: {spec.identity or spec.name}") + b"\r\n"
    if path == ["system", "resource", "print"]:
        return _row(f"  version: {spec.version} (stable)") + _row(f"  board-name: {spec.model}") + b"\r\n"
    if path == ["system", "routerboard", "print"]:
        return _row("  routerboard: yes") + _row(f"  serial-number: {serial(spec)}") + b"\r\n"
    if path == ["system", "history", "print", "detail"] and behaviour.edit_log is not None:
        return behaviour.edit_log or EditLogWanted()
    if verb == "quit":
        return _row("interrupted")
    at = words[0][1] + (2 if words[0][0].startswith("/") else 1)
    return _Refusal(_row(f"bad command name {verb} (line 1 column {at})"))


def _export(spec: RouterSpec, behaviour: Behaviour, words: list[tuple[str, int]]) -> Answer | _Refusal:
    """`/export`, `/system identity export`, `/system/identity/export`, each with words that say how."""
    path: list[str] = []
    while path[-1:] != ["export"]:
        path += [name for name in words.pop(0)[0].split("/") if name]
    known = _EXPORT_WORDS - ({"show-sensitive"} if spec.old else set())
    for word, at in words:
        if word not in known:
            return _Refusal(_row(f"expected end of command (line 1 column {at + 1})"))
    asked = {word for word, _ in words}
    if "show-sensitive" in asked and not behaviour.sensitive:
        return _Refusal(_row("not enough permissions (9)"), unread=False)
    shown = behaviour.sensitive and ("hide-sensitive" not in asked if spec.old else "show-sensitive" in asked)
    return ExportWanted(shown, "/" + " ".join(path[:-1]) if path[:-1] else "")


def _words(statement: re.Match[str]) -> Iterator[tuple[str, int]]:
    for match in re.finditer(r"\S+", statement[0]):
        yield match[0], statement.start() + match.start()


def _unquoted(text: str) -> str:
    return text[1:-1].replace('\\"', '"').replace("\\\\", "\\") if text[:1] == text[-1:] == '"' else text


def _row(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape") + b"\r\n"
