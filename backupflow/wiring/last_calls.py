"""How the last call of each server by this process went: the vault and the bus as its own logins see them.

Beat looks at both with a login and a network of its own, and cannot see that another process is refused or cut off.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class LastCalls:
    """Of every client that was handed out; any thread may note."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: dict[str, tuple[str, float]] = {}  # by client: the code, and when

    def of(self, client: str) -> Callable[[str], None]:
        """What that client says after each call: the code of its failure, empty if it succeeded."""

        def note(code: str) -> None:
            if code:
                self._failed[client] = code, self._clock()
            elif client in self._failed:
                self._failed.pop(client, None)

        return note

    def failing(self) -> dict[str, timedelta]:
        """By code, how long ago the last call failed of those whose last call did."""
        now, ages = self._clock(), dict[str, float]()
        for code, at in tuple(self._failed.values()):
            ages[code] = min(now - at, ages.get(code, now - at))
        return {code: timedelta(seconds=age) for code, age in ages.items()}
