"""What is measured in a process of its own, so that its memory is its own."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Given = ParamSpec("Given")
Found = TypeVar("Found")


def alone(measure: Callable[Given, Found], *given: Given.args, **named: Given.kwargs) -> Found:
    """Call it in a new process, which ends after it; an error there, and a death, is an error here.

    Spawned, since a fork pays for the pages that it shares.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, *given, **named).result()
