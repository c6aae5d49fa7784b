"""liveness.answer, the canary of a queue; and the watch that beat keeps: it asks, and tells who does not hear."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from backupflow import telemetry
from backupflow.core import liveness
from backupflow.tasks.app import app
from backupflow.wiring import wiring

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TASK = "liveness.answer"
_LOOKS = 3  # at the rows, in the time between two questions


@app.task(name=TASK, longest=timedelta(0))
def answer(queue: str) -> None:
    """Whoever runs this hears; that it began moves the process's `worked_at` too."""
    wiring().canaries(wiring().settings.process.role).answer(queue)


class Watch:
    """Of one beat; any number may keep it, the rows are the same for all."""

    def __init__(self) -> None:
        self._asked = 0.0  # monotonic seconds

    def ask(self, send: Callable[[Sequence[tuple[str, list[Any], str]]], int]) -> None:
        """Send the canaries that are due."""
        if self._is_early():
            return
        send([(TASK, [queue], queue) for queue in wiring().canaries("scheduler").ask()])

    def broker_is_away(self) -> None:
        """Nobody can hear then, and nobody is to blame."""
        if not self._is_early():
            wiring().canaries("scheduler").not_sent()

    def judge(self) -> None:
        """Raise the alarm of each process that is deaf, clear all others."""
        canaries = wiring().canaries("scheduler")
        found = liveness.deaf(canaries.hearing(), _after())
        for one in canaries.tell(found):
            log = telemetry.logger()
            log.error(telemetry.ALARM_RAISED, code=liveness.PROCESS_DEAF, detail=one.says, scope=one.scope)

    def _is_early(self) -> bool:
        now, every = time.monotonic(), liveness.ask_every(_after()).total_seconds()
        if now - self._asked < every / _LOOKS:
            return True
        self._asked = now
        return False


def _after() -> timedelta:
    return wiring().settings.collecting.deaf_after
