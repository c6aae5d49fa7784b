"""Targets over the RouterOS driver: what a router says is taken apart without an exception, and in linear time."""

from __future__ import annotations

import time
from io import BytesIO
from typing import Final

from backupflow.adapters.reader import wire
from backupflow.core.driver import Asking, Complete, Facts, Incomplete, Reading, Reply
from backupflow.core.export import sections
from backupflow.core.model import RawConfig, Secrets, SecretsPolicy
from backupflow.drivers.routeros.commands import PLAIN, SENSITIVE
from backupflow.drivers.routeros.completeness import judge, major_version, unknown_command
from backupflow.drivers.routeros.driver import RouterOS
from backupflow.drivers.routeros.lexer import decode, encode, printable, strings_end, tokens
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
_MOST_COMMANDS: Final = 6
_STATUSES: Final = (0, None, 1, 255)
MARK: Final = "n0nce"
ANSWER, STDERR = b"\xf0\x0d", b"\xf1\x0d"
DRIVER: Final = RouterOS()


def lexer(data: bytes) -> None:
    """A text is tokens or it is not, and any value survives being written and read."""
    if (found := tokens(data)) is not None:
        law(strings_end(data), "what is made of tokens has no open string")
        for key, value in found:
            law(key is not None or value is not None, "a token is something")
    law(strings_end(data.replace(b'"', b"")), "without quotes there is no open string")
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


def read(data: bytes) -> None:
    """A session of up to six answers is read to a whole export or a reason; see `conversation` for an input."""
    asking, answers = conversation(data)
    replies: list[Reply] = []
    while (command := DRIVER.next_command(asking, replies)) is not None:
        law(command.isascii() and command.isprintable(), "a command is printable ASCII")
        law(len(replies) < _MOST_COMMANDS, "at most six commands")
        status, stdout, stderr = answers.pop(0) if answers else (None, b"", b"")
        replies.append(Reply(command, stdout, stderr, status))
    for reply in replies:
        DRIVER.repeats(reply, MARK)
    found = DRIVER.read(asking, replies)
    if isinstance(found, Incomplete):
        detail_is_ours(found)
    else:
        reading_is_whole(asking, replies, found)
    law(wire.answer_of(memoryview(b"".join(wire.answer(found)))) == found, "what was read comes back over a pipe")
    asked = wire.request_of(BytesIO(b"".join(wire.request("routeros", asking, replies))))
    law((asked.asking, list(asked.replies)) == (asking, replies), "what is to be read comes back over a pipe")


def conversation(data: bytes) -> tuple[Asking, list[tuple[int | None, bytes, bytes]]]:
    """Take an input apart: a byte of switches, then answers; each begins with a byte for its exit status."""
    switches, rest = (data[0], data[1:]) if data else (0, b"")
    remembered = (None, PLAIN, SENSITIVE, "/nothing")[switches >> 1 & 3]
    secrets = SecretsPolicy.OMIT if switches & 1 else SecretsPolicy.COLLECT
    asking = Asking(secrets, remembered, MARK if switches & 8 else None)
    answers = []
    for part in rest.split(ANSWER):
        stdout, _, stderr = part[1:].partition(STDERR)
        answers.append((_STATUSES[part[0] % len(_STATUSES)] if part else None, stdout, stderr))
    return asking, answers


def reading_is_whole(asking: Asking, replies: list[Reply], found: Reading) -> None:
    """Nothing is added, and nothing is left out but an end mark that was asked for."""
    marks = (b"", MARK.encode() + b"\n", MARK.encode() + b"\r\n") if found.marked else (b"",)
    law(any(reply.stdout == found.raw + mark for reply in replies for mark in marks), "an export is as it came")
    law(asking.end_mark is not None or not found.marked, "no end mark unless it was asked for")
    law(isinstance(judge(found.raw), Complete), "a whole answer is a whole file")
    law(found.normal == normalize(found.raw), "the normal form is the export's")
    _is_normal(found.normal)
    facts_are_bounded(found.facts)
    law(found.outline.size == len(found.normal), "the outline is the normal form's")
    law(found.outline.sections <= found.normal.count(b"\n"), "a section is a line at least")
    omits = asking.secrets is SecretsPolicy.OMIT
    law((found.secrets is Secrets.OMITTED) == omits, "what was not asked for was left out")
    law(not (omits and found.outline.secrets), "no secrets where none are wanted")


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
_ASKED: Final = ANSWER.join(b"\0" + text for text in (b"expected end of command (line 1 column 9)\n", EXPORTS[6]))
_MARKED: Final = MARK.encode() + b"\r\n"
_TALKS: Final = (
    *(b"\0\0" + text for text in EXPORTS),
    *(bytes((switches,)) + _ASKED for switches in range(16)),
    *(bytes((switches,)) + b"\0" + EXPORTS[6] + _MARKED for switches in (8, 9, 10)),
    *(b"\x08" + b"\0" + text + ANSWER + b"\0" + EXPORTS[6] for text in (EXPORTS[13], EXPORTS[15], MARK.encode())),
    b"\x00\0" + EXPORTS[15] + ANSWER + b"\1" + EXPORTS[5] + STDERR + EXPORTS[14],
    b"\x01\0" + EXPORTS[13] + ANSWER + b"\0" + EXPORTS[16],
)
TARGETS: Final = (
    Target("lexer", lexer, EXPORTS, TOKENS),
    Target("normalizer", normal, EXPORTS, TOKENS),
    Target("file", file, EXPORTS, TOKENS),
    Target("read", read, _TALKS, (*TOKENS, ANSWER, STDERR, MARK.encode() + b"\n"), wrap=lambda text: b"\0\0" + text),
    Target("pump", pump, _PUMPS, TOKENS, longest=800, seconds=2.0, traced=False, wrap=lambda text: b"\xff\x20" + text),
)
