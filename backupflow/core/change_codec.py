"""Changes as bytes, for the vault: a line of JSON each, deflated.

Who reads them opened them with a key of ours. All the same nothing that stands in them is believed: what is no list of
changes, or inflates beyond the bound, is MessageMalformed.
"""

from __future__ import annotations

import json
import zlib
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from backupflow.core.changes import MOST_CHANGES, Action, Change, Property, TooManyChanges
from backupflow.errors import MessageMalformed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MAGIC: Final = b"changes/1\n"
MOST_BYTES: Final = 128 * 1024 * 1024  # inflated: the texts of two exports of 16 MiB, and what differs in them
_MOST_AT_ONCE: Final = 1 << 20  # inflated bytes


def encode(done: Iterable[Change]) -> bytes:
    """Write changes; raises TooManyChanges if they are longer than `decode` reads."""
    deflater = zlib.compressobj()
    parts, size = [_MAGIC], 0
    for change in done:
        line = json.dumps(_fields(change), separators=(",", ":")).encode("ascii") + b"\n"
        size += len(line)
        if size > MOST_BYTES:
            raise TooManyChanges
        parts.append(deflater.compress(line))
    return b"".join([*parts, deflater.flush()])


def decode(data: bytes) -> tuple[Change, ...]:
    """Read changes back; MessageMalformed if that is none, is damaged or cut off, or has more than `encode` writes."""
    return tuple(decoded(data))


def decoded(data: bytes) -> Iterator[Change]:
    """The same one after the other, in bounded memory: what is damaged may be found as late as at the end."""
    if not data.startswith(_MAGIC):
        raise MessageMalformed("not a list of changes")
    try:
        for number, line in enumerate(_lines(data[len(_MAGIC) :])):
            if number == MOST_CHANGES:
                raise MessageMalformed("more changes than there can be")
            yield _change(json.loads(line))
    except (ValueError, KeyError, TypeError, RecursionError, zlib.error) as error:
        raise MessageMalformed("a list of changes is damaged") from error


def _lines(data: bytes) -> Iterator[bytes]:
    """Inflate line by line, in bounded memory."""
    inflater, begun, size = zlib.decompressobj(), list[bytes](), 0
    while not inflater.eof:
        part = inflater.decompress(data, _MOST_AT_ONCE)
        data = inflater.unconsumed_tail
        size += len(part)
        if size > MOST_BYTES:
            raise MessageMalformed("changes that inflate beyond all bounds")
        if not part and not data and not inflater.eof:
            raise MessageMalformed("a list of changes is cut off")
        first, *others = part.split(b"\n")
        begun.append(first)
        for line in others:
            yield b"".join(begun)
            begun = [line]
    if any(begun) or inflater.unused_data:
        raise MessageMalformed("a list of changes does not end where it should")


def _fields(change: Change) -> list[object]:
    return [
        change.component,
        change.action.value,
        [[each.name, each.old, each.new] for each in change.properties],
        change.old,
        change.new,
        change.at_old,
        change.at_new,
        change.moved,
        sorted(change.secret),
        change.ignored,
        change.was_in,
        change.before,
        change.by,
        None if change.made_at is None else change.made_at.isoformat(),
    ]


def _change(fields: Any) -> Change:  # noqa: ANN401  (whatever JSON says)
    component, action, properties, old, new, at_old, at_new, moved, secret, ignored, was_in, before, by, made_at = (
        fields
    )
    return Change(
        _text(component),
        Action(action),
        tuple(Property(_text(name), _some(before), _some(after)) for name, before, after in _many(properties)),
        _some(old),
        _some(new),
        _place(at_old),
        _place(at_new),
        _truth(moved),
        frozenset(map(_text, _many(secret))),
        _truth(ignored),
        _some(was_in),
        _some(before),
        _some(by),
        None if made_at is None else _time(made_at),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _some(value: object) -> str | None:
    return None if value is None else _text(value)


def _place(value: object) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise TypeError
    return value


def _time(value: object) -> datetime:
    at = datetime.fromisoformat(_text(value))
    if at.tzinfo is None:
        raise ValueError
    return at


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _many(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value
