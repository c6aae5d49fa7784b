"""Targets over the RouterOS driver: what a router says is taken apart without an exception, and in linear time."""

from __future__ import annotations

import time
from typing import Final

from backupflow.core.driver import Complete, Facts, Incomplete
from backupflow.core.export import sections
from backupflow.core.model import RawConfig
from backupflow.drivers.routeros.completeness import judge, major_version, unknown_command
from backupflow.drivers.routeros.driver import RouterOS
from backupflow.drivers.routeros.lexer import Kind, decode, encode, printable, scan, strings_end, tokens
from backupflow.drivers.routeros.normal import normalize
from tools.fuzz.grammar import EXPORTS, TOKENS
from tools.fuzz.harness import Target, law

_LONGEST_FACT: Final = 200  # characters
_LONGEST_DETAIL: Final = 500
_LARGER: Final = 4  # by how much the second look at a pumped text is larger than the first
_PUMPED: Final = 12 * 1024  # bytes of the first
_STEEPEST: Final = 10  # times as long for 4 times the text: linear is 4, quadratic is 16
_NOISE: Final = 0.05  # seconds of CPU that say nothing
_TRIES: Final = 3
DRIVER: Final = RouterOS()


def lexer(data: bytes) -> None:
    """Any text is lines, and any value survives being written and read."""
    last = 0
    for kind, number, path, text in scan(data):
        law(isinstance(kind, Kind), "a line has a kind")
        law(number > last, "lines are numbered upwards")
        last = number
        law(path == b"" or path.startswith(b"/"), "a path begins with a slash")
        if (read := tokens(text)) is not None:
            law(strings_end(text), "what is made of tokens has no open string")
            for key, value in read:
                law(key is not None or value is not None, "a token is something")
    law(last <= data.count(b"\n") + 1, "no more lines than there are")
    round_trip(data)


def round_trip(value: bytes) -> None:
    """decode(encode(x)) is x; as a token too."""
    written = encode(value)
    law(printable(written) == written, "a written value is printable")
    inner = written[1:-1] if written.startswith(b'"') else written
    law(decode(inner) == value, "a value comes back from its written form")
    read = tokens(b" k=" + written)
    law(read is not None and [tuple(token) for token in read] == [(b"k", value)], "a written value is one token")
    decode(value)


def normal(data: bytes) -> None:
    """The normal form is printable ASCII in whole lines, and its own normal form."""
    first = normalize(RawConfig(data))
    _is_normal(first)
    law(normalize(RawConfig(first)) == first, "normalizing twice is normalizing once")
    for section in sections(first):
        law(all(b"\n" not in item for item in section.items), "an item is a line")


def _is_normal(text: bytes) -> None:
    law(text == b"" or text.endswith(b"\n"), "the normal form's lines end")
    law(printable(text.replace(b"\n", b"")) == text.replace(b"\n", b""), "the normal form is printable ASCII")


def file(data: bytes) -> None:
    """A file is judged, and what is said of it is printable and bounded."""
    judged = DRIVER.judge_file(data)
    if isinstance(judged, Complete):
        facts_are_bounded(judged.facts)
    else:
        detail_is_ours(judged)
    unknown_command(data)
    major_version(data)


def facts_are_bounded(facts: Facts) -> None:
    """What a router says of itself goes to rows and screens."""
    said = (facts.version, facts.model, facts.serial, facts.system_id, facts.identity, *facts.markers)
    for fact in said:
        law(fact is None or len(fact) <= _LONGEST_FACT, "a fact is bounded")
        law(fact is None or (fact.isascii() and (fact == "" or fact.isprintable())), "a fact is printable ASCII")
    law(list(facts.markers) == sorted(set(facts.markers)), "markers are sorted, without repeats")


def detail_is_ours(verdict: Incomplete) -> None:
    """A reason is of our own words."""
    law(len(verdict.detail) <= _LONGEST_DETAIL and verdict.detail.isprintable(), "a detail is printable and bounded")


def pump(data: bytes) -> None:
    """Repeating a part of a text makes the work grow no faster than the text."""
    if len(data) < 3:  # noqa: PLR2004 - two lengths, and something to repeat
        return
    begins, length, text = data[0], data[1] + 1, data[2:]
    parts = text[:begins], text[begins : begins + length] or text[-1:], text[begins + length :]
    small, large = (_pumped(*parts, size) for size in (_PUMPED, _PUMPED * _LARGER))
    for work in (_judge, _normalize):
        if _seconds(work, large) > _NOISE:
            least = [min(_seconds(work, text) for _ in range(_TRIES)) for text in (small, large)]
            law(least[1] < _STEEPEST * least[0] + _NOISE, f"{work.__name__[1:]} takes linear time")


def _pumped(before: bytes, part: bytes, after: bytes, size: int) -> bytes:
    return before + part * (size // len(part)) + after


def _seconds(work: object, text: bytes) -> float:
    law(callable(work), "work can be done")
    began = time.thread_time()
    if callable(work):
        work(text)
    return time.thread_time() - began


def _judge(text: bytes) -> None:
    judge(text)


def _normalize(text: bytes) -> None:
    normalize(RawConfig(text))


_PUMPS: Final = tuple(bytes((min(at, 255), 9)) + text for text in EXPORTS for at in (0, len(text) // 2))
TARGETS: Final = (
    Target("lexer", lexer, EXPORTS, TOKENS),
    Target("normalizer", normal, EXPORTS, TOKENS),
    Target("file", file, EXPORTS, TOKENS),
    Target("pump", pump, _PUMPS, TOKENS, longest=600, seconds=2.0, traced=False, wrap=lambda text: b"\xff\x20" + text),
)
