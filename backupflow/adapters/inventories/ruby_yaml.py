"""YAML as Ruby programs write it: symbols, regular expressions, anchors; never an object, never a bomb.

Scalars stay the text that stands there: a password `0123` is no number, and one that is `yes` no truth.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml

from backupflow.adapters.inventories.ruby_regexp import compiled
from backupflow.errors import InputInvalid

Value = None | str | re.Pattern[str] | list["Value"] | dict["Key", "Value"]
Key = str | re.Pattern[str]
_MOST_NODES = 50_000  # with each alias counted for all that it stands for
_DEEPEST = 30
_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})
_SYMBOL = re.compile(r":([A-Za-z_]\w*)")
_TEXTS = frozenset({"tag:yaml.org,2002:str", "!", "!str", "!ruby/sym", "!ruby/symbol", "!ruby/string"})
_MAPS = frozenset({"tag:yaml.org,2002:map", "!", "!map"})
_LISTS = frozenset({"tag:yaml.org,2002:seq", "!", "!seq"})
_REGEXP = "!ruby/regexp"


@dataclass(slots=True)
class Document:
    """What was read: `value`, and the places of what was not (line, why)."""

    value: Value = None
    unread: list[tuple[int, str]] = field(default_factory=list)


def load(text: str) -> Document:
    """The first document of a YAML text; InputInvalid with a place, never with what stands there."""
    try:
        _measure(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InputInvalid(f"{where}this is no YAML") from None  # its own words quote the line, passwords and all
    except (yaml.YAMLError, ValueError):
        raise InputInvalid("this is no YAML") from None
    document = Document()
    if node is not None:
        document.value = _Reading(document).value(node)
    return document


def _measure(text: str) -> None:
    """Refuse what is too deep, or too large when its aliases are written out, before anything is built of it."""
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise InputInvalid("an alias stands inside its own anchor, or before it")
            total += sizes[event.anchor]
        elif isinstance(event, yaml.NodeEvent):
            total += 1
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, total - 1))
            elif event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, began = open_nodes.pop()
            if anchor:
                sizes[anchor] = total - began
        if total > _MOST_NODES or len(open_nodes) > _DEEPEST:
            raise InputInvalid("larger or deeper than a configuration of Oxidized can be")


@dataclass(slots=True)
class _Reading:
    document: Document

    def value(self, node: yaml.Node) -> Value:
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if isinstance(node, yaml.SequenceNode) and (node.tag in _LISTS or self._strange(node)):
            return [self.value(child) for child in node.value] if node.tag in _LISTS else None
        if isinstance(node, yaml.MappingNode) and (node.tag in _MAPS or self._strange(node)):
            return self._mapping(node) if node.tag in _MAPS else None
        return None

    def _scalar(self, node: yaml.ScalarNode) -> str | re.Pattern[str] | None:
        text: str = node.value
        if node.tag == _REGEXP:
            return self._regexp(node)
        if "<%" in text:
            self._not_read(node, "ERB (<% … %>) is not run here")
            return None
        if node.style is None:  # not quoted
            symbol = _SYMBOL.fullmatch(text)
            if symbol:
                return symbol[1]
            if text in _NOTHING and node.tag != "!":
                return None
        if node.tag not in _TEXTS and not node.tag.startswith("tag:yaml.org,2002:"):
            self._not_read(node, f"{_tag(node)} is not read")
            return None
        return text

    def _regexp(self, node: yaml.ScalarNode) -> re.Pattern[str] | None:
        """None for one that cannot be followed: who needs it says so (the prompt of each Oxidized is one)."""
        try:
            return compiled(node.value)
        except InputInvalid:
            return None

    def _mapping(self, node: yaml.MappingNode) -> dict[Key, Value]:
        """A later key wins over an earlier one, and both over what is merged in (`<<`)."""
        merged: dict[Key, Value] = {}
        own: dict[Key, Value] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                for each in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                    more = self.value(each)
                    merged = {**(more if isinstance(more, dict) else {}), **merged}
                continue
            key = self.value(key_node)
            if isinstance(key, (str, re.Pattern)):
                own[key] = self.value(value_node)
            elif key_node.tag == _REGEXP:
                self._not_read(key_node, "a regular expression of a map is not followed here")
        return {**merged, **own}

    def _strange(self, node: yaml.Node) -> bool:
        self._not_read(node, f"{_tag(node)} is not read")
        return True

    def _not_read(self, node: yaml.Node, why: str) -> None:
        self.document.unread.append((node.start_mark.line + 1, why))


def _tag(node: yaml.Node) -> str:
    """A tag as it is written, and no more of it than a tag has."""
    return re.sub(r"[^!A-Za-z0-9_./:-]", "", node.tag.replace("tag:yaml.org,2002:", "!!"))[:40]
