"""Where in what is told of a device it became another router: a line of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from backupflow.cli import output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from backupflow.core.history import Replacement

T = TypeVar("T")


def among(told: Iterable[T], others: Sequence[Replacement], last_seq: Callable[[T], int]) -> Iterator[T | Replacement]:
    """The newest first, as `told` is; what came before the oldest of it is left out.

    `others`: the oldest first; `last_seq`: the number of the newest collection of one of `told`.
    """
    left = list(others)
    for one in told:
        while left and left[-1].after_seq >= last_seq(one):
            yield left.pop()
        yield one


def in_words(other: Replacement) -> str:
    """As `device replaced` said."""
    return f"another router since {output.in_words(other.at)}"


def documents(others: Sequence[Replacement]) -> list[dict[str, Any]]:
    """As JSON, the newest first."""
    return [{"since": other.at, "after_snapshot": other.after_seq} for other in reversed(others)]
