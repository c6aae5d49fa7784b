"""Values as JSON or a test may give them, read into the kind that a behaviour holds; TypeError or ValueError if not."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Value = TypeVar("Value")
NO_TIME = timedelta()


def optional(read: Callable[[object], Value]) -> Callable[[object], Value | None]:
    """None, or what `read` reads."""
    return lambda value: None if value is None else read(value)


def one_of(*choices: str) -> Callable[[object], str]:
    """One of these words."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError
        return value

    return read


def some_of(*choices: str) -> Callable[[object], tuple[str, ...]]:
    """Any of these words, in the given order."""

    def read(value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not set(value) <= set(choices):
            raise ValueError
        return tuple(value)

    return read


def flag(value: object) -> bool:
    """Yes or no, and no number."""
    if not isinstance(value, bool):
        raise TypeError
    return value


def text(value: object) -> str:
    """Words."""
    if not isinstance(value, str):
        raise TypeError
    return value


def menus(value: object) -> tuple[str, ...]:
    """Paths such as `/ip ssh`."""
    if not isinstance(value, list | tuple) or not all(isinstance(path, str) and path[:1] == "/" for path in value):
        raise ValueError
    return tuple(value)


def span(value: object) -> timedelta:
    """A span, or its seconds."""
    found = value if isinstance(value, timedelta) else timedelta(seconds=_number(value))
    if found < NO_TIME:
        raise ValueError
    return found


def probability(value: object) -> float:
    """From 0 to 1."""
    if not 0 <= (number := _number(value)) <= 1:
        raise ValueError
    return number


def count(value: object) -> int:
    """A whole number, not below 0."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    if value < 0:
        raise ValueError
    return value


def speed(value: object) -> int:
    """A whole number above 0: at none, nothing would ever come."""
    if (found := count(value)) == 0:
        raise ValueError
    return found


def octets(value: object) -> bytes:
    """Bytes, or text that stands for its UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-8")
    if not isinstance(value, bytes):
        raise TypeError
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return float(value)
