"""`router.db` of Oxidized: no fixed columns; a delimiter and two maps of the configuration say what stands where."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from backupflow.adapters.inventories.ruby_yaml import Key, Value
    from backupflow.adapters.inventories.tally import Tally

_FILE = "~/.config/oxidized/router.db"
_MAP = {"name": 0, "model": 1}
_LONGEST_LINE = 16_384
_MOST_COLUMNS = 200
_KNOWN = ("name", "ip", "model", "username", "password", "group", "input")
_NOT_TEXTS = {"nil": None, "false": None, "": None}  # what Ruby makes of these words; true is asked for where it counts


@dataclass(frozen=True, slots=True)
class Node:
    """One line, with what it says itself."""

    line: int
    name: str
    ip: str | None = None
    model: str | None = None
    group: str | None = None
    input: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    vars: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the table is, and what stands where in it."""

    file: str = _FILE
    delimiter: str | re.Pattern[str] = ":"
    columns: Mapping[str, int] = field(default_factory=dict)
    vars: Mapping[str, int] = field(default_factory=dict)
    model_map: Mapping[Key, Value] = field(default_factory=dict)
    group_map: Mapping[Key, Value] = field(default_factory=dict)

    @classmethod
    def of(cls, table: Mapping[Key, Value], config: Mapping[Key, Value]) -> Layout:
        """The layout of `source.csv`; InputInvalid for what cannot be read."""
        if table.get("gpg") == "true":
            raise InputInvalid(
                "router.db is encrypted (gpg: true): decrypt it beside the configuration with mode 0600, set "
                "gpg: false, import it, and remove it"
            )
        delimiter = table.get("delimiter", ":")
        if not isinstance(delimiter, (str, re.Pattern)) or not delimiter:
            raise InputInvalid("source.csv.delimiter is not followed here: write the character itself, as in ':'")
        file = table.get("file")
        columns = _positions(table.get("map"), "map") or _MAP
        if "name" not in columns:
            raise InputInvalid("source.csv.map has no name")
        maps = [config.get(name) for name in ("model_map", "group_map")]
        return cls(
            file if isinstance(file, str) and file else _FILE,
            delimiter,
            columns,
            _positions(table.get("vars_map"), "vars_map"),
            *(found if isinstance(found, dict) else {} for found in maps),
        )


def read(text: str, layout: Layout, tally: Tally, file: str) -> Sequence[Node]:
    """All lines that name a device, those that do not apart."""
    strange = sorted(set(layout.columns) - set(_KNOWN))
    if strange:
        tally.one(file, f"columns without meaning here: {', '.join(strange)}")
    nodes = []
    for number, fields in _lines(text, layout.delimiter, tally, file):
        node = _node(number, fields, layout)
        if node is None:
            tally.count(file, "without a name", f"line {number}")
        else:
            nodes.append(node)
    return nodes


def mapped(value: str, given: Mapping[Key, Value]) -> str:
    """The first entry of a map that is this text, or whose expression is found in it, says what it is called."""
    for key, name in given.items():
        if isinstance(name, str) and (key.search(value) if isinstance(key, re.Pattern) else key == value):
            return name
    return value


def _positions(given: Value, what: str) -> dict[str, int]:
    if given is None or given == {}:
        return {}
    found = {}
    for key, position in given.items() if isinstance(given, dict) else ():
        if isinstance(key, str) and isinstance(position, str) and position.isdigit() and int(position) < _MOST_COLUMNS:
            found[key] = int(position)
        else:
            raise InputInvalid(f"source.csv.{what} has something else than names and numbers of columns")
    if not found:
        raise InputInvalid(f"source.csv.{what} is not understood")
    return found


def _lines(text: str, delimiter: str | re.Pattern[str], tally: Tally, file: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if len(line) > _LONGEST_LINE:
            tally.count(file, "too long to be read", f"line {number}")
            continue
        fields = line.split(delimiter) if isinstance(delimiter, str) else delimiter.split(line)
        yield number, _addresses_whole(fields, delimiter)


def _addresses_whole(fields: list[str], delimiter: str | re.Pattern[str]) -> list[str]:
    """An IPv6 address in brackets is one field, also where its colons delimit."""
    if not (delimiter == ":" if isinstance(delimiter, str) else delimiter.search(":")):
        return fields
    whole: list[str] = []
    at = 0
    while at < len(fields):
        end = at
        if fields[at].strip().startswith("["):
            end = next((i for i in range(at, min(at + 9, len(fields))) if fields[i].rstrip().endswith("]")), at)
        joined = ":".join(fields[at : end + 1])
        if end > at and not _is_address(joined.strip()[1:-1]):
            joined, end = fields[at], at
        whole.append(joined)
        at = end + 1
    return whole


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _node(number: int, fields: list[str], layout: Layout) -> Node | None:
    def at(position: int | None) -> str | None:
        found = fields[position] if position is not None and position < len(fields) else None
        return _NOT_TEXTS.get(found, found) if found is not None else None

    def word(name: str) -> str | None:
        found = at(layout.columns.get(name))
        return (found.strip() or None) if found else None

    name = word("name")
    if name is None:
        return None
    model, group = word("model"), word("group")
    return Node(
        number,
        name,
        _address(word("ip")),
        mapped(model, layout.model_map) if model else None,
        mapped(group, layout.group_map) if group else None,
        word("input"),
        at(layout.columns.get("username")),
        at(layout.columns.get("password")),
        {name: found for name, position in layout.vars.items() if (found := at(position))},
    )


def _address(text: str | None) -> str | None:
    """Without a prefix length, which Oxidized ignores, and without brackets; what is no address says nothing."""
    bare = text.split("/")[0].strip().removeprefix("[").removesuffix("]") if text else ""
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return None
