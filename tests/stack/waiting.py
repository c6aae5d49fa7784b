"""Waiting for what must come, by condition."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class NotInTimeError(Exception):
    """What was waited for did not come."""


def wait_for(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Wait until it is so; a failure says what was waited for."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise NotInTimeError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.3)
